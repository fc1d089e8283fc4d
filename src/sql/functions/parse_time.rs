//! Text to dates, times and timestamps, in the forms that PostgreSQL reads (with `DateStyle` ISO, MDY).

use std::sync::Arc;

use chrono::{Datelike, FixedOffset, NaiveDate, NaiveDateTime, Offset, TimeZone};
use datafusion::arrow::array::timezone::Tz;
use datafusion::arrow::array::{ArrayRef, Date32Array, StringArray, Time64MicrosecondArray, TimestampMicrosecondArray};
use datafusion::common::{DataFusionError, Result};

use super::parse::{each, wrong};

pub(super) const DAY_US: i64 = 86_400_000_000;

/// Why a text is no time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// It has another form.
    Syntax,
    /// A field is too large, such as month 13.
    Range,
}

impl Fault {
    fn of(self, what: &str, text: &str) -> DataFusionError {
        match self {
            Fault::Syntax => wrong(what, text),
            Fault::Range => DataFusionError::Execution(format!("date/time field value out of range: \"{text}\"")),
        }
    }
}

/// What a text says: a day, microseconds since midnight, a zone.
#[derive(Debug, Clone, Copy, Default)]
struct Moment {
    date: Option<NaiveDate>,
    time_us: Option<i64>,
    zone: Option<Tz>,
}

pub(super) fn dates(text: &StringArray) -> Result<ArrayRef> {
    each::<_, Date32Array>(text, |t| {
        let moment = moment(t).map_err(|f| f.of("date", t))?;
        let date = moment.date.ok_or_else(|| wrong("date", t))?;
        Ok(date.num_days_from_ce() - UNIX_DAY)
    })
}

/// The number of 1970-01-01, counted from year 1.
const UNIX_DAY: i32 = 719_163;

pub(super) fn times(text: &StringArray) -> Result<ArrayRef> {
    each::<_, Time64MicrosecondArray>(text, |t| {
        let moment = moment(t).map_err(|f| f.of("time", t))?;
        moment.time_us.ok_or_else(|| wrong("time", t))
    })
}

/// Without `zone`, what the text says of a zone is passed over; with it (UTC), a text without zone is in UTC.
pub(super) fn timestamps(text: &StringArray, zone: Option<Arc<str>>) -> Result<ArrayRef> {
    let what = if zone.is_some() { "timestamp with time zone" } else { "timestamp" };
    let values = text.iter().map(|t| t.map(|t| timestamp(t, zone.is_some()).map_err(|f| f.of(what, t))).transpose());
    let values = values.collect::<Result<TimestampMicrosecondArray>>()?;
    Ok(Arc::new(values.with_timezone_opt(zone)))
}

fn timestamp(text: &str, zoned: bool) -> std::result::Result<i64, Fault> {
    if text.trim().eq_ignore_ascii_case("epoch") {
        return Ok(0);
    }
    let moment = moment(text)?;
    let date = moment.date.ok_or(Fault::Syntax)?;
    let days = i64::from(date.num_days_from_ce() - UNIX_DAY);
    let local = days.checked_mul(DAY_US).and_then(|us| us.checked_add(moment.time_us.unwrap_or(0))).ok_or(Fault::Range)?;
    match moment.zone.filter(|_| zoned) {
        Some(zone) => to_utc(local, zone).ok_or(Fault::Range),
        None => Ok(local),
    }
}

/// The instant at which clocks in `zone` show `local`, both in microseconds since 1970. Where clocks show it twice, the later one, in standard time;
/// where they skip it, as if they had not been moved yet.
pub(super) fn to_utc(local: i64, zone: Tz) -> Option<i64> {
    let at = naive(local)?;
    let offset = match zone.offset_from_local_datetime(&at) {
        chrono::LocalResult::Single(offset) | chrono::LocalResult::Ambiguous(_, offset) => offset.fix(),
        chrono::LocalResult::None => zone.offset_from_utc_datetime(&(at - chrono::Duration::days(1))).fix(),
    };
    local.checked_sub(offset_us(offset))
}

/// What clocks in `zone` show at the instant `utc`.
pub(super) fn to_local(utc: i64, zone: Tz) -> Option<i64> {
    utc.checked_add(offset_us(zone.offset_from_utc_datetime(&naive(utc)?).fix()))
}

fn offset_us(offset: FixedOffset) -> i64 {
    i64::from(offset.local_minus_utc()) * 1_000_000
}

pub(super) fn naive(micros: i64) -> Option<NaiveDateTime> {
    chrono::DateTime::from_timestamp_micros(micros).map(|at| at.naive_utc())
}

fn moment(text: &str) -> std::result::Result<Moment, Fault> {
    let text = text.trim();
    let mut moment = Moment::default();
    // A `T` between digits parts a date from a time.
    let separated: String = match text.split_once(['T', 't']) {
        Some((date, time)) if date.ends_with(|c: char| c.is_ascii_digit()) && time.starts_with(|c: char| c.is_ascii_digit()) => {
            format!("{date} {time}")
        }
        _ => text.to_owned(),
    };
    let mut words: Vec<&str> = separated.split([' ', ',']).filter(|w| !w.is_empty()).collect();
    if let [first, .., last] = words.as_slice()
        && first.contains(':')
        && let Some(half) = half_of_day(last)
    {
        // Only a time: `02:00 PM`.
        words.pop();
        let [time] = words.as_slice() else { return Err(Fault::Syntax) };
        moment.time_us = Some(of_half(clock(time)?.0, half)?);
        return Ok(moment);
    }
    let from_time = words.iter().position(|w| w.contains(':')).unwrap_or(words.len());
    let (date, rest) = words.split_at(from_time);
    let (date, compact) = split_compact(date);
    if !date.is_empty() {
        moment.date = Some(day(date)?);
    }
    if let Some(time) = compact {
        moment.time_us = Some(compact_clock(time)?);
    }
    read_time(rest, &mut moment)?;
    if moment.date.is_none() && moment.time_us.is_none() { Err(Fault::Syntax) } else { Ok(moment) }
}

/// `20200102 101112`: the second word is a time.
fn split_compact<'w>(words: &'w [&'w str]) -> (&'w [&'w str], Option<&'w str>) {
    match words {
        [date, time]
            if date.bytes().filter(u8::is_ascii_digit).count() >= 6
                && !date.contains(char::is_alphabetic)
                && time.len() >= 4
                && time.bytes().all(|b| b.is_ascii_digit()) =>
        {
            (&words[..1], Some(time))
        }
        _ => (words, None),
    }
}

fn compact_clock(digits: &str) -> std::result::Result<i64, Fault> {
    let two = |at: usize| digits.get(at..at + 2).and_then(|d| d.parse::<i64>().ok());
    match digits.len() {
        4 | 6 => of_fields(two(0).ok_or(Fault::Syntax)?, two(2).ok_or(Fault::Syntax)?, two(4).unwrap_or(0), 0),
        _ => Err(Fault::Syntax),
    }
}

/// `10:00:00.5+02`, `10:00 PM`, `10:00 Europe/Berlin`.
fn read_time(words: &[&str], moment: &mut Moment) -> std::result::Result<(), Fault> {
    let Some((first, rest)) = words.split_first() else { return Ok(()) };
    let (mut time_us, glued) = clock(first)?;
    let mut rest = rest.iter().copied();
    let mut zone = if glued.is_empty() { rest.next() } else { Some(glued) };
    if let Some(half) = zone.and_then(half_of_day) {
        time_us = of_half(time_us, half)?;
        zone = rest.next();
    }
    if rest.next().is_some() {
        return Err(Fault::Syntax);
    }
    moment.time_us = Some(time_us);
    moment.zone = zone.map(|z| time_zone(z).ok_or(Fault::Syntax)).transpose()?;
    Ok(())
}

fn half_of_day(word: &str) -> Option<bool> {
    match word.to_ascii_lowercase().as_str() {
        "am" | "a.m." => Some(false),
        "pm" | "p.m." => Some(true),
        _ => None,
    }
}

fn of_half(time_us: i64, afternoon: bool) -> std::result::Result<i64, Fault> {
    let noon = DAY_US / 2;
    match (time_us >= noon, afternoon) {
        _ if time_us >= noon + 3_600_000_000 || time_us < 0 => Err(Fault::Range),
        (true, false) => Ok(time_us - noon),
        (false, true) => Ok(time_us + noon),
        _ => Ok(time_us),
    }
}

/// The microseconds of a clock time at the front of `word`, and what follows it.
fn clock(word: &str) -> std::result::Result<(i64, &str), Fault> {
    let end = word.find(|c: char| !c.is_ascii_digit() && c != ':' && c != '.').unwrap_or(word.len());
    let (time, rest) = word.split_at(end);
    let mut fields = time.split(':');
    let mut whole = |required: bool| match fields.next() {
        Some(field) if !field.is_empty() => Ok(Some(field)),
        None if !required => Ok(None),
        _ => Err(Fault::Syntax),
    };
    let (hours, minutes, seconds) = (whole(true)?, whole(true)?, whole(false)?);
    if fields.next().is_some() {
        return Err(Fault::Syntax);
    }
    let number = |field: Option<&str>| field.map_or(Ok(0), |f| f.parse::<i64>().map_err(|_| Fault::Syntax));
    let (seconds, micros) = match seconds.and_then(|s| s.split_once('.')) {
        Some((seconds, fraction)) => (number(Some(seconds))?, fraction_us(fraction).ok_or(Fault::Syntax)?),
        None => (number(seconds)?, 0),
    };
    Ok((of_fields(number(hours)?, number(minutes)?, seconds, micros)?, rest))
}

fn of_fields(hours: i64, minutes: i64, seconds: i64, micros: i64) -> std::result::Result<i64, Fault> {
    let time_us = ((hours * 60 + minutes) * 60 + seconds) * 1_000_000 + micros;
    let fits = hours <= 24 && minutes < 60 && seconds <= 60 && time_us <= DAY_US;
    if fits { Ok(time_us) } else { Err(Fault::Range) }
}

/// Microseconds of the digits behind a point, rounded.
pub(super) fn fraction_us(digits: &str) -> Option<i64> {
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let mut micros = 0;
    for at in 0..6 {
        micros = micros * 10 + digits.as_bytes().get(at).map_or(0, |b| i64::from(b - b'0'));
    }
    Some(micros + i64::from(digits.as_bytes().get(6).is_some_and(|b| *b >= b'5')))
}

/// `Z`, `UTC`, `+02`, `-05:30`, `+0530`, `Europe/Berlin`.
pub(super) fn time_zone(word: &str) -> Option<Tz> {
    if word.eq_ignore_ascii_case("z") || word.eq_ignore_ascii_case("utc") || word.eq_ignore_ascii_case("gmt") {
        return "+00:00".parse().ok();
    }
    let Some(digits) = word.strip_prefix(['+', '-']) else { return word.parse().ok() };
    let digits: String = digits.chars().filter(|c| *c != ':').collect();
    let padded = match digits.len() {
        1 => format!("0{digits}00"),
        2 => format!("{digits}00"),
        3 => format!("0{digits}"),
        4 => digits,
        _ => return None,
    };
    let (hours, minutes) = padded.split_at_checked(2)?;
    if hours.parse::<u8>().ok()? > 15 || minutes.parse::<u8>().ok()? > 59 {
        return None;
    }
    format!("{}{hours}:{minutes}", &word[..1]).parse().ok()
}

const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];

fn month(word: &str) -> Option<u32> {
    let word = word.to_ascii_lowercase();
    let full = ["january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november", "december"];
    let at = MONTHS.iter().position(|m| *m == word).or_else(|| full.iter().position(|m| *m == word));
    at.or((word == "sept").then_some(8)).and_then(|at| u32::try_from(at + 1).ok())
}

/// `2020-01-02`, `2020/1/2`, `1/2/2020` (month first), `20200102`, `2 Jan 2020`, `Jan 2, 2020`, `2020-Jan-02`.
fn day(words: &[&str]) -> std::result::Result<NaiveDate, Fault> {
    let parts: Vec<&str> = words.iter().flat_map(|w| w.split(['-', '/', '.'])).collect();
    let number = |part: &str| part.parse::<u32>().map_err(|_| Fault::Syntax);
    let year = |part: &str| if part.len() >= 3 { part.parse::<i32>().map_err(|_| Fault::Syntax) } else { Err(Fault::Syntax) };
    let (year, month, day) = match parts.as_slice() {
        [compact] if compact.len() == 8 && compact.bytes().all(|b| b.is_ascii_digit()) => {
            (year(&compact[..4])?, number(&compact[4..6])?, number(&compact[6..])?)
        }
        [y, m, d] if y.len() >= 3 && y.bytes().all(|b| b.is_ascii_digit()) => {
            (year(y)?, month(m).map_or_else(|| number(m), Ok)?, number(d)?)
        }
        [m, d, y] if month(m).is_some() => (year(y)?, month(m).unwrap_or(0), number(d)?),
        [d, m, y] if month(m).is_some() => (year(y)?, month(m).unwrap_or(0), number(d)?),
        [m, d, y] => (year(y)?, number(m)?, number(d)?),
        _ => return Err(Fault::Syntax),
    };
    NaiveDate::from_ymd_opt(year, month, day).filter(|_| year > 0).ok_or(Fault::Range)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, zoned: bool) -> String {
        match timestamp(text, zoned) {
            Ok(micros) => naive(micros).expect("in range").to_string(),
            Err(fault) => format!("{fault:?}"),
        }
    }

    #[test]
    fn timestamps_are_read_in_many_forms() {
        for text in [
            "2020-01-02 10:00",
            "2020-01-02T10:00",
            " 2020-01-02 10:00:00 ",
            "20200102 100000",
            "20200102T1000",
            "Jan 2, 2020 10:00 AM",
            "2 January 2020 10:00:00+02",
            "1/2/2020 10:00 Europe/Berlin",
            "2020-Jan-02 10:00Z",
        ] {
            assert_eq!(shown(text, false), "2020-01-02 10:00:00", "{text}");
        }
        assert_eq!(shown("2020-01-02 10:00:00.1234567+02", true), "2020-01-02 08:00:00.123457");
        assert_eq!(shown("2020-07-02 10:00 America/New_York", true), "2020-07-02 14:00:00");
        assert_eq!(shown("2020-01-02 24:00", false), "2020-01-03 00:00:00");
        assert_eq!(shown("2020-01-02", false), "2020-01-02 00:00:00");
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in ["", "x", "10:00", "2020-01", "2020-01-02 10", "2020-01-02 10:00:00:00", "2020-01-02 10:00 Nowhere/City"] {
            assert_eq!(shown(text, false), "Syntax", "{text}");
        }
        for text in ["2020-13-01", "2020-02-30", "2020-01-02 25:00", "2020-01-02 10:60"] {
            assert_eq!(shown(text, false), "Range", "{text}");
        }
    }

    #[test]
    fn clocks_that_jump() {
        let zone: Tz = "America/New_York".parse().expect("known");
        let at = |text: &str| timestamp(text, false).expect("a timestamp");
        assert_eq!(to_utc(at("2021-11-07 01:30"), zone), Some(at("2021-11-07 06:30")));
        assert_eq!(to_utc(at("2021-03-14 02:30"), zone), Some(at("2021-03-14 07:30")));
        assert_eq!(to_local(at("2021-07-01 12:00"), zone), Some(at("2021-07-01 08:00")));
    }
}
