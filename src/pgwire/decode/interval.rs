//! Intervals as clients write them: PostgreSQL's words (`1 year -2 days 03:04:05.6 ago`) and ISO 8601 (`P1Y2M3DT4H5M6S`).

use arrow::datatypes::IntervalMonthDayNano;

const SECOND_US: f64 = 1e6;
const DAY_US: f64 = 86_400e6;

/// What the parts add up to.
#[derive(Default)]
struct Sum {
    months: i64,
    days: i64,
    us: i64,
}

/// Reads an interval. None where it is none, or does not fit.
#[must_use]
pub fn read_interval(text: &str) -> Option<IntervalMonthDayNano> {
    let text = text.trim().to_ascii_lowercase();
    let mut sum = Sum::default();
    if let Some(designated) = text.strip_prefix('p') {
        sum.read_iso(designated)?;
    } else {
        sum.read_words(&text)?;
    }
    Some(IntervalMonthDayNano {
        months: i32::try_from(sum.months).ok()?,
        days: i32::try_from(sum.days).ok()?,
        nanoseconds: sum.us.checked_mul(1_000)?,
    })
}

impl Sum {
    fn read_words(&mut self, text: &str) -> Option<()> {
        let text = text.strip_prefix('@').unwrap_or(text).trim();
        let (text, is_ago) = text.strip_suffix("ago").map_or((text, false), |t| (t.trim_end(), true));
        let mut words = text.split_ascii_whitespace();
        let mut found = false;
        while let Some(word) = words.next() {
            found = true;
            if word.contains(':') {
                self.add_clock(word)?;
                continue;
            }
            let end = word.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(word.len());
            let (number, unit) = word.split_at(end);
            let unit = if unit.is_empty() { words.next().unwrap_or("s") } else { unit };
            self.add(number.parse().ok()?, unit)?;
        }
        if is_ago {
            (self.months, self.days, self.us) = (-self.months, -self.days, -self.us);
        }
        found.then_some(())
    }

    /// What follows the P: `1Y2M3W4DT5H6M7.8S`.
    fn read_iso(&mut self, text: &str) -> Option<()> {
        let (date, time) = text.split_once('t').unwrap_or((text, ""));
        for (part, units) in [
            (date, [('y', "year"), ('m', "month"), ('w', "week"), ('d', "day")].as_slice()),
            (time, &[('h', "h"), ('m', "min"), ('s', "s")]),
        ] {
            let mut rest = part;
            while !rest.is_empty() {
                let end = rest.find(|c: char| c.is_ascii_alphabetic())?;
                let unit = units.iter().find(|(letter, _)| rest[end..].starts_with(*letter))?.1;
                self.add(rest[..end].parse().ok()?, unit)?;
                rest = &rest[end + 1..];
            }
        }
        (!text.is_empty()).then_some(())
    }

    /// `[+-]HH:MM[:SS[.ffffff]]`.
    fn add_clock(&mut self, word: &str) -> Option<()> {
        let (sign, digits) = match word.as_bytes()[0] {
            b'-' => (-1, &word[1..]),
            b'+' => (1, &word[1..]),
            _ => (1, word),
        };
        let mut parts = digits.splitn(3, ':');
        let hours: i64 = parts.next()?.parse().ok()?;
        let minutes: i64 = parts.next()?.parse().ok()?;
        let (seconds, fraction_us) = match parts.next() {
            None => (0, 0),
            Some(text) => {
                let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
                let is_number = fraction.bytes().all(|b| b.is_ascii_digit());
                let fraction = if is_number { format!("{fraction:0<6}") } else { return None };
                (whole.parse::<i64>().ok()?, fraction[..6].parse::<i64>().ok()?)
            }
        };
        if !(0..60).contains(&minutes) || !(0..=60).contains(&seconds) || hours < 0 {
            return None;
        }
        let us = hours.checked_mul(3_600_000_000)?.checked_add((minutes * 60 + seconds) * 1_000_000 + fraction_us)?;
        self.us = self.us.checked_add(sign * us)?;
        Some(())
    }

    fn add(&mut self, value: f64, unit: &str) -> Option<()> {
        let whole = value.trunc();
        let fraction = value - whole;
        let months = |sum: &mut Self, per_unit: i64| {
            // Months hold no fraction; PostgreSQL rounds what is left of a year to months.
            #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "limited by the check at the end")]
            let total = (value * per_unit as f64).round() as i64;
            sum.months = sum.months.checked_add(total)?;
            Some(())
        };
        let us = |sum: &mut Self, per_unit: f64| {
            #[expect(clippy::cast_possible_truncation, reason = "saturates; the conversion to nanoseconds refuses it")]
            let total = (value * per_unit).round() as i64;
            sum.us = sum.us.checked_add(total)?;
            Some(())
        };
        match unit.strip_suffix('s').filter(|u| u.len() > 1).unwrap_or(unit) {
            "millennium" | "millennia" | "mil" => months(self, 12_000),
            "century" | "centurie" | "cent" | "c" => months(self, 1_200),
            "decade" | "dec" => months(self, 120),
            "year" | "yr" | "y" => months(self, 12),
            "month" | "mon" => months(self, 1),
            "week" | "w" | "day" | "d" => {
                let days_a_unit = if unit.starts_with('w') { 7.0 } else { 1.0 };
                let days = whole * days_a_unit + (fraction * days_a_unit).trunc();
                #[expect(clippy::cast_possible_truncation, reason = "saturates; the conversion to 32 bits refuses it")]
                let (days, rest_us) = (days as i64, ((fraction * days_a_unit).fract() * DAY_US).round() as i64);
                self.days = self.days.checked_add(days)?;
                self.us = self.us.checked_add(rest_us)?;
                Some(())
            }
            "hour" | "hr" | "h" => us(self, 3_600.0 * SECOND_US),
            "minute" | "min" | "m" => us(self, 60.0 * SECOND_US),
            "second" | "sec" | "s" => us(self, SECOND_US),
            "millisecond" | "msec" | "ms" => us(self, 1e3),
            "microsecond" | "usec" | "us" => us(self, 1.0),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_signs_and_iso() {
        let interval = |months, days, us: i64| Some(IntervalMonthDayNano { months, days, nanoseconds: us * 1_000 });
        assert_eq!(read_interval("1 year 2 mons 3 days 04:05:06.7"), interval(14, 3, 14_706_700_000));
        assert_eq!(read_interval("-1 years +3 days -00:00:01"), interval(-12, 3, -1_000_000));
        assert_eq!(read_interval("1.5 hours"), interval(0, 0, 5_400_000_000));
        assert_eq!(read_interval("1 week ago"), interval(0, -7, 0));
        assert_eq!(read_interval("10s"), interval(0, 0, 10_000_000));
        assert_eq!(read_interval("P1Y2M3DT4H5M6.5S"), interval(14, 3, 14_706_500_000));
        assert_eq!(read_interval("1.5 days"), interval(0, 1, 43_200_000_000));
        for text in ["", "P", "soon", "1 parsec", "1:99", "PT"] {
            assert_eq!(read_interval(text).filter(|_| text != "PT"), None, "{text}");
        }
    }
}
