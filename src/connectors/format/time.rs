//! Dates and times in text: ISO 8601 and PostgreSQL's forms, in and out.

use headwater_types::Micros;

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;

/// Days since 1970-01-01 of a date of the proleptic Gregorian calendar (year 0 is 1 BC); the month is 1 to 12.
/// The algorithm is Howard Hinnant's `days_from_civil`.
pub(crate) fn days_from_date(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// The inverse of [`days_from_date`]: year, month, day.
pub(crate) fn date_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// A point in time: date, and where there is one time and zone (without: UTC), as microseconds since 1970 UTC. More than six digits of the
/// second are rounded.
#[inline]
pub(crate) fn timestamp(text: &[u8]) -> Option<Micros> {
    if let Some(micros) = plain_timestamp(text) {
        return Some(micros);
    }
    let mut reader = Reader { text: text.trim_ascii(), at: 0 };
    let (year, month, day) = reader.date()?;
    let mut micros = 0;
    let mut offset = 0;
    if matches!(reader.peek(), Some(b'T' | b't' | b' ')) && reader.text.get(reader.at + 1).is_some_and(u8::is_ascii_digit) {
        reader.at += 1;
        micros = reader.time()?;
        offset = reader.zone()?;
    }
    let year = if reader.take(b" BC") { 1 - year } else { year };
    let days = days_from_date(year, month, day);
    let at = days.checked_mul(DAY)?.checked_add(micros)?.checked_sub(offset)?;
    (reader.at == reader.text.len()).then_some(at)
}

/// The commonest form, `YYYY-MM-DD?HH:MM:SS` with up to six digits of fraction and perhaps a `Z`, without a branch a character.
#[inline]
fn plain_timestamp(text: &[u8]) -> Option<Micros> {
    let head: &[u8; 19] = text.first_chunk()?;
    let digit = |at: usize| head[at].wrapping_sub(b'0');
    let pair = |at: usize| i64::from(digit(at)) * 10 + i64::from(digit(at + 1));
    let worst = [0, 1, 2, 3, 5, 6, 8, 9, 11, 12, 14, 15, 17, 18].iter().fold(0, |worst, &at| worst.max(digit(at)));
    let marks = [head[4], head[7], head[13], head[16]] == *b"--::" && matches!(head[10], b'T' | b' ');
    if worst > 9 || !marks {
        return None;
    }
    let (year, month, day) = (pair(0) * 100 + pair(2), pair(5), pair(8));
    let (hour, minute, second) = (pair(11), pair(14), pair(17));
    if !(1..=12).contains(&month) || day < 1 || day > days_in_month(year, month) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let fraction = match text.get(19) {
        None => 0,
        Some(b'Z') if text.len() == 20 => 0,
        Some(b'.') => {
            let digits = text[20..].strip_suffix(b"Z").unwrap_or(&text[20..]);
            if digits.is_empty() || digits.len() > 6 || !digits.iter().all(u8::is_ascii_digit) {
                return None;
            }
            let value = digits.iter().fold(0, |v, d| v * 10 + i64::from(d - b'0'));
            value * 10i64.pow(u32::try_from(6 - digits.len()).ok()?)
        }
        Some(_) => return None,
    };
    Some(days_from_date(year, month, day) * DAY + ((hour * 60 + minute) * 60 + second) * SECOND + fraction)
}

/// A date, or the date of a timestamp, as days since 1970-01-01.
pub(crate) fn date(text: &[u8]) -> Option<i32> {
    let mut reader = Reader { text: text.trim_ascii(), at: 0 };
    let (year, month, day) = reader.date()?;
    if reader.at == reader.text.len() {
        return i32::try_from(days_from_date(year, month, day)).ok();
    }
    i32::try_from(timestamp(text)?.div_euclid(DAY)).ok()
}

/// A time of day, as microseconds since midnight.
pub(crate) fn time_of_day(text: &[u8]) -> Option<i64> {
    let mut reader = Reader { text: text.trim_ascii(), at: 0 };
    let micros = reader.time()?;
    (reader.at == reader.text.len()).then_some(micros)
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn take(&mut self, expected: &[u8]) -> bool {
        let found = self.text[self.at..].get(..expected.len()).is_some_and(|t| t.eq_ignore_ascii_case(expected));
        self.at += if found { expected.len() } else { 0 };
        found
    }

    /// A number of `least` to `most` digits.
    fn number(&mut self, least: usize, most: usize) -> Option<i64> {
        let rest = &self.text[self.at..];
        let digits = rest.iter().take(most).take_while(|b| b.is_ascii_digit()).count();
        self.at += digits;
        (digits >= least).then(|| rest[..digits].iter().fold(0, |v, d| v * 10 + i64::from(d - b'0')))
    }

    fn date(&mut self) -> Option<(i64, i64, i64)> {
        let year = self.number(4, 6)?;
        let month = self.take(b"-").then(|| self.number(1, 2))??;
        let day = self.take(b"-").then(|| self.number(1, 2))??;
        ((1..=12).contains(&month) && day >= 1 && day <= days_in_month(year, month)).then_some((year, month, day))
    }

    /// `HH:MM[:SS[.fraction]]`; midnight may be 24:00, a leap second counts as the next second.
    fn time(&mut self) -> Option<i64> {
        let hour = self.number(1, 2)?;
        let minute = self.take(b":").then(|| self.number(2, 2))??;
        let second = if self.take(b":") { self.number(2, 2)? } else { 0 };
        let mut micros = ((hour * 60 + minute) * 60 + second) * SECOND;
        if self.take(b".") {
            let start = self.at;
            let fraction = self.number(1, 6)?;
            micros += fraction * 10i64.pow(u32::try_from(6 - (self.at - start)).ok()?);
            micros += i64::from(self.peek().is_some_and(|b| (b'5'..=b'9').contains(&b)));
            while self.peek().is_some_and(|b| b.is_ascii_digit()) {
                self.at += 1;
            }
        }
        (minute < 60 && second <= 60 && (hour < 24 || micros == DAY)).then_some(micros)
    }

    /// Nothing, `Z`, `UTC`, `GMT`, or an offset `±HH[[:]MM[:SS]]`: microseconds east of UTC.
    fn zone(&mut self) -> Option<i64> {
        let before = self.at;
        self.take(b" ");
        if self.take(b"Z") || self.take(b"UTC") || self.take(b"GMT") {
            return Some(0);
        }
        let sign = if self.take(b"+") {
            1
        } else if self.take(b"-") {
            -1
        } else {
            self.at = before;
            return Some(0);
        };
        let hours = self.number(2, 2)?;
        let minutes = if self.take(b":") || self.peek().is_some_and(|b| b.is_ascii_digit()) { self.number(2, 2)? } else { 0 };
        let seconds = if self.take(b":") { self.number(2, 2)? } else { 0 };
        (hours <= 15 && minutes < 60 && seconds < 60).then_some(sign * ((hours * 60 + minutes) * 60 + seconds) * SECOND)
    }
}

/// Appends `days` as `YYYY-MM-DD`; years beyond four digits get a sign, as ISO 8601 wants.
pub(crate) fn write_date(days: i64, out: &mut Vec<u8>) {
    let (year, month, day) = date_from_days(days);
    if (0..=9_999).contains(&year) {
        write_digits(year, 4, out);
    } else {
        out.push(if year < 0 { b'-' } else { b'+' });
        write_digits(year.abs(), 6, out);
    }
    out.push(b'-');
    write_digits(month, 2, out);
    out.push(b'-');
    write_digits(day, 2, out);
}

/// Appends a time of day as `HH:MM:SS`, with six digits of fraction where there is one.
pub(crate) fn write_time(micros: i64, out: &mut Vec<u8>) {
    let (seconds, fraction) = (micros / SECOND, micros % SECOND);
    write_digits(seconds / 3_600, 2, out);
    out.push(b':');
    write_digits(seconds / 60 % 60, 2, out);
    out.push(b':');
    write_digits(seconds % 60, 2, out);
    if fraction != 0 {
        out.push(b'.');
        write_digits(fraction, 6, out);
    }
}

/// Appends a point in time as `YYYY-MM-DDTHH:MM:SS[.ffffff]`, without a zone.
pub(crate) fn write_timestamp(micros: Micros, out: &mut Vec<u8>) {
    write_date(micros.div_euclid(DAY), out);
    out.push(b'T');
    write_time(micros.rem_euclid(DAY), out);
}

fn write_digits(value: i64, width: u32, out: &mut Vec<u8>) {
    for place in (0..width).rev() {
        let digit = value / 10i64.pow(place) % 10;
        out.push(b'0' + u8::try_from(digit).unwrap_or(0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(text: &str) -> Option<i64> {
        let parsed = chrono::DateTime::parse_from_rfc3339(text).ok()?;
        Some(parsed.timestamp_micros())
    }

    #[test]
    fn timestamps_of_every_form_agree_with_chrono() {
        for (text, same) in [
            ("2026-03-01T12:34:56Z", "2026-03-01T12:34:56Z"),
            ("2026-03-01 12:34:56", "2026-03-01T12:34:56Z"),
            ("2026-03-01T12:34:56.5", "2026-03-01T12:34:56.5Z"),
            ("2026-03-01T12:34:56.123456Z", "2026-03-01T12:34:56.123456Z"),
            ("2026-03-01T12:34:56.1234567Z", "2026-03-01T12:34:56.123457Z"),
            ("2026-03-01T12:34:56.123456499+05:30", "2026-03-01T07:04:56.123456Z"),
            ("2026-03-01 12:34:56-08", "2026-03-01T20:34:56Z"),
            ("2026-03-01 12:34:56+0130", "2026-03-01T11:04:56Z"),
            ("2026-03-01 12:34 UTC", "2026-03-01T12:34:00Z"),
            ("2026-03-01", "2026-03-01T00:00:00Z"),
            (" 2024-02-29 24:00:00 ", "2024-03-01T00:00:00Z"),
            ("1969-12-31T23:59:59.999999Z", "1969-12-31T23:59:59.999999Z"),
            ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
        ] {
            assert_eq!(timestamp(text.as_bytes()), micros(same), "{text}");
        }
        assert_eq!(timestamp(b"0001-01-01 00:00:00 BC"), timestamp(b"0001-01-01").map(|t| t - 366 * DAY));
    }

    #[test]
    fn what_is_no_timestamp_is_refused() {
        for text in [
            "",
            "2026",
            "2026-13-01",
            "2026-02-29",
            "2026-00-10",
            "2026-01-00",
            "2026-01-01T25:00:00",
            "2026-01-01T24:00:01",
            "2026-01-01T12:60",
            "2026-01-01T12:00:00.",
            "2026-01-01T12:00:00x",
            "2026-01-01T",
            "26-01-01",
            "2026-01-01T12:00:00+",
            "2026-01-01T12:00:00+99",
            "infinity",
            "2026-01-01T12:00:00.12345x",
            "2026-01-01T12:00:61",
        ] {
            assert_eq!(timestamp(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn every_date_comes_back() {
        for days in (-800_000..800_000).step_by(37) {
            let (year, month, day) = date_from_days(days);
            assert_eq!(days_from_date(year, month, day), days);
            let mut text = Vec::new();
            write_date(days, &mut text);
            if year >= 0 {
                assert_eq!(date(&text), i32::try_from(days).ok());
            }
        }
        let mut text = Vec::new();
        write_timestamp(-1, &mut text);
        assert_eq!(text, b"1969-12-31T23:59:59.999999");
        assert_eq!(time_of_day(b"23:59:59.5"), Some(DAY - SECOND / 2));
        assert_eq!(time_of_day(b"7:05"), Some((7 * 60 + 5) * 60 * SECOND));
        assert_eq!(date(b"2026-03-01T23:00:00Z"), date(b"2026-03-01"));
    }
}
