//! Intervals in text: PostgreSQL's form (`1 year 2 mons 3 days 04:05:06`) and ISO 8601's (`P1Y2M3DT4H5M6S`).

use arrow::datatypes::IntervalMonthDayNano;

use super::number::Number;
use super::time::time_of_day;

/// Months, days and microseconds being added up.
#[derive(Default)]
struct Sum {
    months: i64,
    days: i64,
    micros: i64,
}

impl Sum {
    /// Adds `quantity` of `unit`; fractions only of days and what is shorter.
    fn add(&mut self, quantity: &Number<'_>, unit: &[u8]) -> Option<()> {
        const DAY: i64 = 86_400_000_000;
        let unit = unit.to_ascii_lowercase();
        let whole = |factor: i64| quantity.integer()?.checked_mul(factor);
        let fraction = |micros: i64| i64::try_from(quantity.scaled(6)?.checked_mul(i128::from(micros))? / 1_000_000).ok();
        match unit.as_slice() {
            b"y" | b"yr" | b"yrs" | b"year" | b"years" => self.months = self.months.checked_add(whole(12)?)?,
            b"mon" | b"mons" | b"month" | b"months" => self.months = self.months.checked_add(whole(1)?)?,
            b"w" | b"week" | b"weeks" => self.days = self.days.checked_add(whole(7)?)?,
            b"d" | b"day" | b"days" => {
                let micros = fraction(DAY)?;
                self.days = self.days.checked_add(micros / DAY)?;
                self.micros = self.micros.checked_add(micros % DAY)?;
            }
            b"h" | b"hr" | b"hrs" | b"hour" | b"hours" => self.micros = self.micros.checked_add(fraction(3_600_000_000)?)?,
            b"m" | b"min" | b"mins" | b"minute" | b"minutes" => self.micros = self.micros.checked_add(fraction(60_000_000)?)?,
            b"s" | b"sec" | b"secs" | b"second" | b"seconds" => self.micros = self.micros.checked_add(fraction(1_000_000)?)?,
            b"ms" | b"msec" | b"msecs" | b"millisecond" | b"milliseconds" => self.micros = self.micros.checked_add(fraction(1_000)?)?,
            b"us" | b"usec" | b"usecs" | b"microsecond" | b"microseconds" => self.micros = self.micros.checked_add(fraction(1)?)?,
            _ => return None,
        }
        Some(())
    }

    fn interval(&self) -> Option<IntervalMonthDayNano> {
        let (months, days) = (i32::try_from(self.months).ok()?, i32::try_from(self.days).ok()?);
        Some(IntervalMonthDayNano::new(months, days, self.micros.checked_mul(1_000)?))
    }
}

/// The interval that `text` is.
pub(crate) fn interval(text: &[u8]) -> Option<IntervalMonthDayNano> {
    let text = text.trim_ascii();
    if let Some(designators) = text.strip_prefix(b"P") {
        return iso_8601(designators);
    }
    let mut sum = Sum::default();
    let mut words = text.split(u8::is_ascii_whitespace).filter(|w| !w.is_empty()).peekable();
    words.peek()?;
    while let Some(word) = words.next() {
        if word.contains(&b':') {
            let (sign, time) = match word.split_first()? {
                (b'-', time) => (-1, time),
                (b'+', time) => (1, time),
                _ => (1, word),
            };
            sum.micros = sum.micros.checked_add(sign * time_of_day(time)?)?;
            continue;
        }
        let digits = word.iter().position(u8::is_ascii_alphabetic).unwrap_or(word.len());
        let unit = if digits < word.len() { &word[digits..] } else { words.next()? };
        sum.add(&Number::text(&word[..digits])?, unit)?;
    }
    sum.interval()
}

fn iso_8601(text: &[u8]) -> Option<IntervalMonthDayNano> {
    let mut sum = Sum::default();
    let (mut rest, mut is_time) = (text, false);
    if rest.is_empty() {
        return None;
    }
    while let Some(first) = rest.first() {
        if *first == b'T' && !is_time {
            (is_time, rest) = (true, &rest[1..]);
            continue;
        }
        let digits = rest.iter().position(u8::is_ascii_alphabetic)?;
        let unit: &[u8] = match (rest[digits], is_time) {
            (b'Y', false) => b"y",
            (b'M', false) => b"mon",
            (b'W', false) => b"w",
            (b'D', false) => b"d",
            (b'H', true) => b"h",
            (b'M', true) => b"m",
            (b'S', true) => b"s",
            _ => return None,
        };
        sum.add(&Number::text(&rest[..digits])?, unit)?;
        rest = &rest[digits + 1..];
    }
    sum.interval()
}

/// The length of an interval without months in microseconds, a day being 24 hours; for options such as `'30 seconds'`.
pub(crate) fn duration_micros(text: &str) -> Option<i64> {
    let interval = interval(text.as_bytes()).filter(|i| i.months == 0)?;
    (i64::from(interval.days) * 86_400_000_000).checked_add(interval.nanoseconds / 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read() {
        let expected = |months, days, micros: i64| Some(IntervalMonthDayNano::new(months, days, micros * 1_000));
        let time = (4 * 3_600 + 5 * 60 + 6) * 1_000_000;
        for text in
            ["1 year 2 mons 3 days 04:05:06", "P1Y2M3DT4H5M6S", "1y 2mons 3d 4h 5m 6s", "14 months 3 day 4 hours 5 minutes 6 seconds"]
        {
            assert_eq!(interval(text.as_bytes()), expected(14, 3, time), "{text}");
        }
        assert_eq!(interval(b"-1 day -00:00:01.5"), expected(0, -1, -1_500_000));
        assert_eq!(interval(b"1.5 hours"), expected(0, 0, 5_400_000_000));
        assert_eq!(interval(b"1.5 days"), expected(0, 1, 43_200_000_000));
        assert_eq!(duration_micros("1 day 1ms"), Some(86_400_001_000));
        for bad in ["", "P", "1", "1 parsec", "day", "1.5 months", "P1S", "99999999999 years", "1 month x"] {
            assert_eq!(interval(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(duration_micros("1 month"), None);
    }
}
