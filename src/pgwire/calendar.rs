//! Dates, times and intervals as PostgreSQL writes them in DateStyle ISO, in the proleptic Gregorian calendar.

/// Microseconds of a day.
pub const DAY_US: i64 = 86_400_000_000;

/// Appends `YYYY-MM-DD` of the day `days` after 1970-01-01; years before 1 end in ` BC`.
pub fn write_date(days: i64, out: &mut Vec<u8>) {
    if write_calendar_day(days, out) {
        out.extend_from_slice(b" BC");
    }
}

/// Appends `YYYY-MM-DD HH:MM:SS[.ffffff]` of `us` microseconds after 1970-01-01, then `zone`, then ` BC` where it applies.
pub fn write_timestamp(us: i64, zone: &[u8], out: &mut Vec<u8>) {
    let before_christ = write_calendar_day(us.div_euclid(DAY_US), out);
    out.push(b' ');
    write_time(us.rem_euclid(DAY_US), out);
    out.extend_from_slice(zone);
    if before_christ {
        out.extend_from_slice(b" BC");
    }
}

/// Appends `HH:MM:SS[.ffffff]` of `us` microseconds after midnight; the hours may have more than two digits.
pub fn write_time(us: i64, out: &mut Vec<u8>) {
    let seconds = us / 1_000_000;
    write_padded(seconds / 3_600, 2, out);
    out.push(b':');
    write_padded(seconds / 60 % 60, 2, out);
    out.push(b':');
    write_padded(seconds % 60, 2, out);
    let mut fraction = us % 1_000_000;
    if fraction == 0 {
        return;
    }
    let mut width = 6;
    while fraction % 10 == 0 {
        fraction /= 10;
        width -= 1;
    }
    out.push(b'.');
    write_padded(fraction, width, out);
}

/// Appends an interval in IntervalStyle postgres: `1 year 2 mons -3 days +04:05:06.7`.
///
/// Each part has its own sign; a part behind a negative one says `+` when it is not negative.
pub fn write_interval(months: i32, days: i32, us: i64, out: &mut Vec<u8>) {
    let start = out.len();
    let mut after_negative = false;
    for (value, unit) in [(months / 12, "year"), (months % 12, "mon"), (days, "day")] {
        if value == 0 {
            continue;
        }
        if out.len() > start {
            out.push(b' ');
        }
        if after_negative && value > 0 {
            out.push(b'+');
        }
        let plural = if value == 1 { "" } else { "s" };
        out.extend_from_slice(format!("{value} {unit}{plural}").as_bytes());
        after_negative = value < 0;
    }
    if us == 0 && out.len() > start {
        return;
    }
    if out.len() > start {
        out.push(b' ');
    }
    if us < 0 {
        out.push(b'-');
    } else if after_negative {
        out.push(b'+');
    }
    // i64::MIN has no absolute value; hours come first, so that it never matters.
    let magnitude = us.unsigned_abs();
    write_padded(i64::try_from(magnitude / 3_600_000_000).unwrap_or(0), 2, out);
    let rest = i64::try_from(magnitude % 3_600_000_000).unwrap_or(0);
    let mut time = Vec::with_capacity(16);
    write_time(rest, &mut time);
    out.extend_from_slice(&time[2..]);
}

/// Appends the date without its era; true where the year is before 1.
fn write_calendar_day(days: i64, out: &mut Vec<u8>) -> bool {
    let (year, month, day) = civil_of_days(days);
    let (shown, before_christ) = if year > 0 { (year, false) } else { (1 - year, true) };
    write_padded(shown, 4, out);
    out.push(b'-');
    write_padded(month, 2, out);
    out.push(b'-');
    write_padded(day, 2, out);
    before_christ
}

fn write_padded(value: i64, width: usize, out: &mut Vec<u8>) {
    let mut digits = [b'0'; 20];
    let mut at = digits.len();
    let mut rest = value;
    while rest > 0 {
        at -= 1;
        digits[at] = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
    }
    out.extend_from_slice(&digits[at.min(digits.len() - width)..]);
}

/// Year, month and day of the day `days` after 1970-01-01 (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms").
#[must_use]
pub fn civil_of_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The inverse of [`civil_of_days`].
    fn days_of_civil(year: i64, month: i64, day: i64) -> i64 {
        let year = year - i64::from(month <= 2);
        let era = year.div_euclid(400);
        let year_of_era = year.rem_euclid(400);
        let day_of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        era * 146_097 + day_of_era - 719_468
    }

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).expect("ASCII")
    }

    #[test]
    fn calendar_round_trips() {
        for days in (-2_500_000..3_000_000).step_by(997) {
            let (year, month, day) = civil_of_days(days);
            assert_eq!(days_of_civil(year, month, day), days);
        }
        assert_eq!(civil_of_days(0), (1970, 1, 1));
        assert_eq!(days_of_civil(2000, 3, 1), 11_017);
    }

    #[test]
    fn dates_and_timestamps() {
        assert_eq!(written(|o| write_date(19_723, o)), "2024-01-01");
        assert_eq!(written(|o| write_date(days_of_civil(0, 3, 15), o)), "0001-03-15 BC");
        assert_eq!(written(|o| write_date(days_of_civil(12_345, 1, 2), o)), "12345-01-02");
        assert_eq!(written(|o| write_timestamp(-1, b"+00", o)), "1969-12-31 23:59:59.999999+00");
        assert_eq!(written(|o| write_timestamp(1_500_000, b"", o)), "1970-01-01 00:00:01.5");
    }

    #[test]
    fn intervals_in_the_postgres_style() {
        let interval = |m, d, us| written(|o| write_interval(m, d, us, o));
        assert_eq!(interval(0, 0, 0), "00:00:00");
        assert_eq!(interval(14, 1, 7_384_000_000), "1 year 2 mons 1 day 02:03:04");
        assert_eq!(interval(-14, 3, -1_500_000), "-1 years -2 mons +3 days -00:00:01.5");
        assert_eq!(interval(0, -1, 3_600_000_000), "-1 days +01:00:00");
        assert_eq!(interval(0, 0, 360_000_000_000), "100:00:00");
        assert_eq!(interval(1, 0, 0), "1 mon");
    }
}
