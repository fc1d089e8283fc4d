//! Dates and times as people and clients write them: ISO 8601 and PostgreSQL's own output.

/// Microseconds of a day.
const DAY_US: i64 = 86_400_000_000;

/// A date with its time of day and, where one was written, its distance from UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Days after 1970-01-01.
    pub days: i64,
    /// Microseconds after midnight; 24:00:00 is allowed.
    pub time_us: i64,
    /// Seconds east of UTC.
    pub zone_s: Option<i64>,
}

impl Moment {
    /// Microseconds after 1970-01-01 00:00, the written zone left aside.
    #[must_use]
    pub fn local_us(self) -> Option<i64> {
        self.days.checked_mul(DAY_US)?.checked_add(self.time_us)
    }

    /// Microseconds after 1970-01-01 00:00 UTC; without a zone the text is taken as UTC.
    #[must_use]
    pub fn utc_us(self) -> Option<i64> {
        self.local_us()?.checked_sub(self.zone_s.unwrap_or(0) * 1_000_000)
    }
}

/// Reads `YYYY-MM-DD[(T| )HH:MM[:SS[.ffffff]]][zone][ BC]`. None where it is no such thing.
#[must_use]
pub fn read_moment(text: &str) -> Option<Moment> {
    let text = text.trim();
    let (text, before_christ) = match text.len().checked_sub(2).and_then(|at| text.split_at_checked(at)) {
        Some((head, era)) if era.eq_ignore_ascii_case("bc") => (head.trim_end(), true),
        Some((head, era)) if era.eq_ignore_ascii_case("ad") => (head.trim_end(), false),
        _ => (text, false),
    };
    let (date, rest) = match text.find(['T', 't', ' ']) {
        Some(at) => (&text[..at], Some(text[at + 1..].trim_start())),
        None => (text, None),
    };
    let mut parts = date.splitn(3, '-');
    let (year, month, day) = (number(parts.next()?, 7)?, number(parts.next()?, 2)?, number(parts.next()?, 2)?);
    let year = if before_christ { 1 - year } else { year };
    if (year < 1 && !before_christ) || !(1..=12).contains(&month) || day < 1 || day > days_of_month(year, month) {
        return None;
    }
    let (time_us, zone_s) = match rest {
        Some(rest) if !rest.is_empty() => read_time(rest)?,
        _ => (0, None),
    };
    Some(Moment { days: days_of_civil(year, month, day), time_us, zone_s })
}

/// Reads `HH:MM[:SS[.ffffff]][zone]` as microseconds after midnight and seconds east of UTC.
#[must_use]
pub fn read_time(text: &str) -> Option<(i64, Option<i64>)> {
    let text = text.trim();
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == ':' || c == '.')).unwrap_or(text.len());
    let (clock, zone) = text.split_at(end);
    let mut parts = clock.splitn(3, ':');
    let (hour, minute) = (number(parts.next()?, 2)?, number(parts.next()?, 2)?);
    let (second, fraction) = match parts.next() {
        Some(seconds) => {
            let (whole, fraction) = seconds.split_once('.').unwrap_or((seconds, ""));
            (number(whole, 2)?, read_fraction(fraction)?)
        }
        None => (0, 0),
    };
    let time_us = ((hour * 60 + minute) * 60 + second) * 1_000_000 + fraction;
    // PostgreSQL takes second 60 (a leap second) as the next minute, and 24:00:00 as the end of the day.
    if minute > 59 || second > 60 || time_us > DAY_US {
        return None;
    }
    Some((time_us, read_zone(zone.trim())?))
}

fn read_zone(zone: &str) -> Option<Option<i64>> {
    if zone.is_empty() {
        return Some(None);
    }
    if zone.eq_ignore_ascii_case("z") || zone.eq_ignore_ascii_case("utc") || zone.eq_ignore_ascii_case("gmt") {
        return Some(Some(0));
    }
    let (sign, digits) = match zone.as_bytes()[0] {
        b'+' => (1, &zone[1..]),
        b'-' => (-1, &zone[1..]),
        _ => return None,
    };
    let (hours, minutes, seconds) = if digits.contains(':') {
        let mut parts = digits.splitn(3, ':');
        (number(parts.next()?, 2)?, number(parts.next()?, 2)?, parts.next().map_or(Some(0), |s| number(s, 2))?)
    } else if digits.len() > 2 {
        (number(digits.get(..digits.len() - 2)?, 2)?, number(digits.get(digits.len() - 2..)?, 2)?, 0)
    } else {
        (number(digits, 2)?, 0, 0)
    };
    (hours <= 15 && minutes < 60 && seconds < 60).then_some(Some(sign * (hours * 3_600 + minutes * 60 + seconds)))
}

/// The digits behind the point as microseconds, rounded at the seventh.
fn read_fraction(digits: &str) -> Option<i64> {
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let mut value = 0;
    for i in 0..6 {
        value = value * 10 + i64::from(digits.as_bytes().get(i).map_or(0, |b| b - b'0'));
    }
    Some(value + i64::from(digits.as_bytes().get(6).is_some_and(|b| *b >= b'5')))
}

fn number(digits: &str, digits_max: usize) -> Option<i64> {
    if digits.is_empty() || digits.len() > digits_max || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

/// Days from 1970-01-01 to a day of the proleptic Gregorian calendar (the algorithm of Howard Hinnant's `days_from_civil`).
fn days_of_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

fn days_of_month(year: i64, month: i64) -> i64 {
    let is_leap = year.rem_euclid(4) == 0 && (year.rem_euclid(100) != 0 || year.rem_euclid(400) == 0);
    match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utc(text: &str) -> Option<i64> {
        read_moment(text).and_then(Moment::utc_us)
    }

    #[test]
    fn moments_in_every_usual_spelling() {
        assert_eq!(utc("1970-01-01"), Some(0));
        assert_eq!(utc("1970-01-01 00:00:01.5"), Some(1_500_000));
        assert_eq!(utc("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(utc("1970-01-01 10:30"), Some(37_800_000_000));
        assert_eq!(utc("1970-01-01 02:00:00+02"), Some(0));
        assert_eq!(utc("1970-01-01 00:00:00-0530"), Some(19_800_000_000));
        assert_eq!(utc("1970-01-01 00:00:00.1234567"), Some(123_457));
        assert_eq!(utc("2024-02-29 24:00:00"), utc("2024-03-01"));
        assert_eq!(read_moment("0001-03-15 BC").map(|m| m.days), Some(days_of_civil(0, 3, 15)));
        assert_eq!(days_of_civil(2000, 3, 1), 11_017);
    }

    #[test]
    fn what_is_no_date_is_refused() {
        for text in
            ["", "today", "2024-02-30", "2023-02-29", "2024-13-01", "2024-01-01 25:00", "2024-01-01 10:61", "2024-01-01 10:00 Mars", "1-1"]
        {
            assert_eq!(read_moment(text), None, "{text}");
        }
    }
}
