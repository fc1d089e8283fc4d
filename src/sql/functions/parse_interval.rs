//! Text to intervals: `1 day 02:00:00`, `1.5 hours`, `-3 mons`, `1-2`, `PT1H30M`, `90` (seconds).

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, IntervalMonthDayNanoArray, StringArray};
use datafusion::arrow::datatypes::IntervalMonthDayNano;
use datafusion::common::{DataFusionError, Result};

use super::parse::wrong;

const SECOND_US: f64 = 1_000_000.0;

pub(super) fn intervals(text: &StringArray) -> Result<ArrayRef> {
    let parse = |t: &str| {
        let sum = read(t).ok_or_else(|| wrong("interval", t))?;
        sum.value().ok_or_else(|| DataFusionError::Execution(format!("interval field value out of range: \"{t}\"")))
    };
    let values = text.iter().map(|t| t.map(parse).transpose()).collect::<Result<IntervalMonthDayNanoArray>>()?;
    Ok(Arc::new(values))
}

/// The interval that `text` says, if it does.
pub(crate) fn interval(text: &str) -> Option<IntervalMonthDayNano> {
    read(text)?.value()
}

/// Fields as they are added up.
#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    months: f64,
    days: f64,
    micros: f64,
}

impl Sum {
    /// `count` units of so many months, days or microseconds; what is left of a whole month goes to days, of a day to time.
    fn add(&mut self, count: f64, unit: &Unit) {
        match unit {
            Unit::Months(months) => {
                let all = count * months;
                // Fractions of years become whole months, of months become days.
                let whole = if *months > 1.0 { all.round() } else { all.trunc() };
                self.months += whole;
                if *months <= 1.0 {
                    self.add_days((all - whole) * 30.0);
                }
            }
            Unit::Days(days) => self.add_days(count * days),
            Unit::Micros(micros) => self.micros += (count * micros).round(),
        }
    }

    fn add_days(&mut self, days: f64) {
        // A fraction such as 0.1 * 30 is a whole number but for its last bits.
        let days = if (days - days.round()).abs() < 1e-9 { days.round() } else { days };
        self.days += days.trunc();
        self.micros += ((days - days.trunc()) * 86_400.0 * SECOND_US).round();
    }

    #[expect(clippy::cast_possible_truncation, reason = "checked to be in range")]
    fn value(self) -> Option<IntervalMonthDayNano> {
        let fits = |number: f64, max: f64| number.abs() <= max;
        if !fits(self.months, f64::from(i32::MAX)) || !fits(self.days, f64::from(i32::MAX)) || !fits(self.micros, 9.2e15) {
            return None;
        }
        Some(IntervalMonthDayNano::new(self.months as i32, self.days as i32, self.micros as i64 * 1_000))
    }
}

enum Unit {
    Months(f64),
    Days(f64),
    Micros(f64),
}

fn unit(name: &str) -> Option<Unit> {
    Some(match name {
        "us" | "usec" | "usecs" | "usecond" | "useconds" | "microsecond" | "microseconds" => Unit::Micros(1.0),
        "ms" | "msec" | "msecs" | "msecond" | "mseconds" | "millisecond" | "milliseconds" => Unit::Micros(1_000.0),
        "s" | "sec" | "secs" | "second" | "seconds" => Unit::Micros(SECOND_US),
        "m" | "min" | "mins" | "minute" | "minutes" => Unit::Micros(60.0 * SECOND_US),
        "h" | "hr" | "hrs" | "hour" | "hours" => Unit::Micros(3_600.0 * SECOND_US),
        "d" | "day" | "days" => Unit::Days(1.0),
        "w" | "week" | "weeks" => Unit::Days(7.0),
        "mon" | "mons" | "month" | "months" => Unit::Months(1.0),
        "y" | "yr" | "yrs" | "year" | "years" => Unit::Months(12.0),
        "dec" | "decs" | "decade" | "decades" => Unit::Months(120.0),
        "c" | "cent" | "century" | "centuries" => Unit::Months(1_200.0),
        "mil" | "mils" | "millennium" | "millennia" => Unit::Months(12_000.0),
        _ => return None,
    })
}

fn read(text: &str) -> Option<Sum> {
    let text = text.trim().to_ascii_lowercase();
    if let Some(iso) = text.strip_prefix('p') {
        return read_iso(iso);
    }
    let mut words: Vec<&str> = text.trim_start_matches('@').split_ascii_whitespace().collect();
    let ago = words.last() == Some(&"ago");
    if ago {
        words.pop();
    }
    let mut sum = Sum::default();
    let mut rest = words.iter().copied().peekable();
    let mut any = false;
    while let Some(word) = rest.next() {
        any = true;
        if word.contains(':') {
            sum.micros += clock(word)?;
            continue;
        }
        let (number, name) = split_number(word)?;
        match (name, rest.peek()) {
            ("", None) => sum.add(number, &Unit::Micros(SECOND_US)),
            // `1 02:00:00`: the number before a clock time is one of days.
            ("", Some(next)) if next.contains(':') => sum.add(number, &Unit::Days(1.0)),
            ("", Some(next)) => {
                sum.add(number, &unit(next)?);
                rest.next();
            }
            (name, _) if name.starts_with('-') && name.len() > 1 => sum.months += years_and_months(number, &name[1..], word)?,
            (glued, _) => read_glued(number, glued, &mut sum)?,
        }
    }
    if !any {
        return None;
    }
    let sign = if ago { -1.0 } else { 1.0 };
    Some(Sum { months: sum.months * sign, days: sum.days * sign, micros: sum.micros * sign })
}

/// A number with its sign at the front of `word`, and what follows.
fn split_number(word: &str) -> Option<(f64, &str)> {
    let sign = usize::from(word.starts_with(['-', '+']));
    let end = word[sign..].find(|c: char| !c.is_ascii_digit() && c != '.').map_or(word.len(), |at| at + sign);
    let (number, rest) = word.split_at(end);
    Some((number.parse().ok()?, rest))
}

/// `1h30m`.
fn read_glued(number: f64, rest: &str, sum: &mut Sum) -> Option<()> {
    let (mut number, mut rest) = (number, rest);
    loop {
        let end = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        sum.add(number, &unit(&rest[..end])?);
        rest = &rest[end..];
        if rest.is_empty() {
            return Some(());
        }
        (number, rest) = split_number(rest)?;
    }
}

/// `1-2`: years and months.
fn years_and_months(years: f64, months: &str, word: &str) -> Option<f64> {
    let months: u32 = months.parse().ok().filter(|m| *m < 12)?;
    let sign = if word.starts_with('-') { -1.0 } else { 1.0 };
    (years.fract() == 0.0).then_some(years * 12.0 + sign * f64::from(months))
}

/// The microseconds of `[-]hours:minutes[:seconds]`.
fn clock(word: &str) -> Option<f64> {
    let (sign, digits) = match word.strip_prefix(['-', '+']) {
        Some(rest) => (if word.starts_with('-') { -1.0 } else { 1.0 }, rest),
        None => (1.0, word),
    };
    let mut fields = digits.split(':');
    let whole = |field: &str| field.bytes().all(|b| b.is_ascii_digit()).then(|| field.parse::<f64>().ok()).flatten();
    let (hours, minutes) = (whole(fields.next()?)?, whole(fields.next()?)?);
    let seconds: f64 = match fields.next() {
        Some(seconds) if seconds.bytes().all(|b| b.is_ascii_digit() || b == b'.') => seconds.parse().ok()?,
        Some(_) => return None,
        None => 0.0,
    };
    if fields.next().is_some() || minutes >= 60.0 || seconds >= 61.0 {
        return None;
    }
    Some(sign * ((hours * 60.0 + minutes) * 60.0 * SECOND_US + (seconds * SECOND_US).round()))
}

/// What follows the `P` of ISO 8601: `1Y2M3DT4H5M6.5S`, `2W`.
fn read_iso(text: &str) -> Option<Sum> {
    let mut sum = Sum::default();
    let (date, time) = text.split_once('t').unwrap_or((text, ""));
    if date.is_empty() && time.is_empty() {
        return None;
    }
    for (part, units) in [(date, "ymwd"), (time, "hms")] {
        let mut rest = part;
        while !rest.is_empty() {
            let (number, after) = split_number(rest)?;
            let letter = after.get(..1).filter(|l| units.contains(l))?;
            let unit = match (letter, units) {
                ("m", "ymwd") => Unit::Months(1.0),
                _ => unit(letter)?,
            };
            sum.add(number, &unit);
            rest = &after[1..];
        }
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_read_in_many_forms() {
        let span = |months, days, micros: i64| Some(IntervalMonthDayNano::new(months, days, micros * 1_000));
        let (second, hour) = (1_000_000, 3_600_000_000);
        for (text, expected) in [
            ("1 day 02:00:00", span(0, 1, 2 * hour)),
            ("00:01:30", span(0, 0, 90 * second)),
            ("-1 days -00:00:01.5", span(0, -1, -1_500_000)),
            ("1 year 2 mons", span(14, 0, 0)),
            ("PT1H", span(0, 0, hour)),
            ("P1Y2M3DT4H5M6.5S", span(14, 3, 4 * hour + 306_500_000)),
            ("90", span(0, 0, 90 * second)),
            ("1.5 hours", span(0, 0, 5_400_000_000)),
            ("1.5 mons", span(1, 15, 0)),
            ("1.5 years", span(18, 0, 0)),
            ("1.5 days", span(0, 1, 12 * hour)),
            ("2 weeks ago", span(0, -14, 0)),
            ("1-2", span(14, 0, 0)),
            ("-1-2", span(-14, 0, 0)),
            ("1h30m", span(0, 0, 5_400_000_000)),
            ("3 04:05", span(0, 3, 4 * hour + 300_000_000)),
            ("0.1 mons", span(0, 3, 0)),
            ("1 fortnight", None),
            ("", None),
            ("day", None),
            ("1:2:3:4", None),
            ("99999999999 years", None),
        ] {
            assert_eq!(interval(text), expected, "{text}");
        }
    }
}
