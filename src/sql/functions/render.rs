//! Values as PostgreSQL writes them, where Arrow writes them differently.

use std::fmt::Write;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, ListArray, StringArray, StringBuilder};
use datafusion::arrow::datatypes::{
    DataType, Float32Type, Float64Type, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit, Time64MicrosecondType, TimeUnit,
    TimestampMicrosecondType,
};
use datafusion::arrow::temporal_conversions::timestamp_us_to_datetime;
use datafusion::common::{DataFusionError, Result};

use super::convert::convert;

/// The text of each value of `array`; none if Arrow's text is right already.
pub(super) fn render(array: &dyn Array) -> Result<Option<ArrayRef>> {
    let mut builder = StringBuilder::with_capacity(array.len(), array.len() * 16);
    match array.data_type() {
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            let values = array.as_primitive::<TimestampMicrosecondType>();
            each(array, &mut builder, |row, out| timestamp(values.value(row), zone.is_some(), out))?;
        }
        DataType::Float32 => {
            let values = array.as_primitive::<Float32Type>();
            each(array, &mut builder, |row, out| float(&format!("{:e}", values.value(row)), f64::from(values.value(row)), 6, out))?;
        }
        DataType::Float64 => {
            let values = array.as_primitive::<Float64Type>();
            each(array, &mut builder, |row, out| float(&format!("{:e}", values.value(row)), values.value(row), 15, out))?;
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            let values = array.as_primitive::<IntervalMonthDayNanoType>();
            each(array, &mut builder, |row, out| interval(values.value(row), out))?;
        }
        DataType::Binary => {
            let values = array.as_binary::<i32>();
            each(array, &mut builder, |row, out| hex(values.value(row), "\\x", &[], out))?;
        }
        DataType::FixedSizeBinary(16) => {
            let values = array.as_fixed_size_binary();
            each(array, &mut builder, |row, out| hex(values.value(row), "", &[4, 6, 8, 10], out))?;
        }
        DataType::Time64(TimeUnit::Microsecond) => {
            let values = array.as_primitive::<Time64MicrosecondType>();
            each(array, &mut builder, |row, out| time(values.value(row), out))?;
        }
        DataType::List(_) => {
            let lists: &ListArray = array.as_list();
            let elements = output(lists.values())?;
            let nested = matches!(lists.value_type(), DataType::List(_));
            each(array, &mut builder, |row, out| {
                let offsets = lists.value_offsets();
                let range = usize::try_from(offsets[row]).unwrap_or(0)..usize::try_from(offsets[row + 1]).unwrap_or(0);
                list(elements.as_string(), range, nested, out)
            })?;
        }
        _ => return Ok(None),
    }
    Ok(Some(Arc::new(builder.finish())))
}

/// The text of each value as a client sees it, and as `concat` and arrays hold it: booleans are `t` and `f`.
pub(super) fn output(array: &ArrayRef) -> Result<ArrayRef> {
    if let DataType::Boolean = array.data_type() {
        let letter = |value: bool| if value { "t" } else { "f" };
        return Ok(Arc::new(array.as_boolean().iter().map(|value| value.map(letter)).collect::<StringArray>()));
    }
    convert(array, &DataType::Utf8)
}

/// `{1,NULL,"a b"}`.
fn list(elements: &StringArray, range: std::ops::Range<usize>, nested: bool, out: &mut String) -> std::fmt::Result {
    out.push('{');
    for at in range.clone() {
        if at > range.start {
            out.push(',');
        }
        if elements.is_null(at) {
            out.push_str("NULL");
            continue;
        }
        let text = elements.value(at);
        let special = |c: char| c.is_whitespace() || matches!(c, '{' | '}' | ',' | '"' | '\\');
        if nested || !(text.is_empty() || text.eq_ignore_ascii_case("null") || text.contains(special)) {
            out.push_str(text);
            continue;
        }
        out.push('"');
        for c in text.chars() {
            if matches!(c, '"' | '\\') {
                out.push('\\');
            }
            out.push(c);
        }
        out.push('"');
    }
    out.push('}');
    Ok(())
}

fn time(micros: i64, out: &mut String) -> std::fmt::Result {
    let seconds = micros / 1_000_000;
    write!(out, "{:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60)?;
    fraction(micros % 1_000_000, out)
}

fn each(
    array: &dyn Array,
    builder: &mut StringBuilder,
    mut write: impl FnMut(usize, &mut String) -> Result<(), std::fmt::Error>,
) -> Result<()> {
    let mut text = String::new();
    for row in 0..array.len() {
        if array.is_null(row) {
            builder.append_null();
            continue;
        }
        text.clear();
        write(row, &mut text).map_err(|_| DataFusionError::Execution("timestamp out of range".to_owned()))?;
        builder.append_value(&text);
    }
    Ok(())
}

fn timestamp(micros: i64, zoned: bool, out: &mut String) -> std::fmt::Result {
    let at = timestamp_us_to_datetime(micros).ok_or(std::fmt::Error)?;
    write!(out, "{}", at.format("%Y-%m-%d %H:%M:%S"))?;
    fraction(micros.rem_euclid(1_000_000), out)?;
    if zoned { write!(out, "+00") } else { Ok(()) }
}

/// `.25` for 250,000 microseconds; nothing for none.
fn fraction(micros: i64, out: &mut String) -> std::fmt::Result {
    if micros == 0 {
        return Ok(());
    }
    let digits = format!("{micros:06}");
    write!(out, ".{}", digits.trim_end_matches('0'))
}

/// `scientific` is the shortest text that reads back, as `d.ddde-n`; exponents below -4 or from `digits` on stay, with at least two digits.
fn float(scientific: &str, value: f64, digits: i32, out: &mut String) -> std::fmt::Result {
    if value.is_nan() {
        return write!(out, "NaN");
    }
    if value.is_infinite() {
        return write!(out, "{}Infinity", if value < 0.0 { "-" } else { "" });
    }
    let (mantissa, exponent) = scientific.split_once('e').ok_or(std::fmt::Error)?;
    let exponent: i32 = exponent.parse().map_err(|_| std::fmt::Error)?;
    if (-4..digits).contains(&exponent) {
        return positional(mantissa, exponent, out);
    }
    write!(out, "{mantissa}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}

/// `-1.25` and 3 as `-1250`.
fn positional(mantissa: &str, exponent: i32, out: &mut String) -> std::fmt::Result {
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |m| ("-", m));
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    write!(out, "{sign}")?;
    if exponent < 0 {
        return write!(out, "0.{}{digits}", "0".repeat(exponent.unsigned_abs() as usize - 1));
    }
    let whole = exponent as usize + 1;
    if digits.len() <= whole {
        return write!(out, "{digits}{}", "0".repeat(whole - digits.len()));
    }
    write!(out, "{}.{}", &digits[..whole], &digits[whole..])
}

fn interval(value: IntervalMonthDayNano, out: &mut String) -> std::fmt::Result {
    let (years, months) = (value.months / 12, value.months % 12);
    for (count, one, many) in [(years, "year", "years"), (months, "mon", "mons"), (value.days, "day", "days")] {
        if count != 0 {
            let space = if out.is_empty() { "" } else { " " };
            write!(out, "{space}{count} {}", if count == 1 { one } else { many })?;
        }
    }
    let micros = value.nanoseconds / 1_000;
    if micros != 0 || out.is_empty() {
        let space = if out.is_empty() { "" } else { " " };
        let sign = if micros < 0 { "-" } else { "" };
        let seconds = (micros / 1_000_000).abs();
        write!(out, "{space}{sign}{:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60)?;
        fraction((micros % 1_000_000).abs(), out)?;
    }
    Ok(())
}

/// Hexadecimal digits, with a dash before the bytes of these numbers.
fn hex(bytes: &[u8], prefix: &str, dashes: &[usize], out: &mut String) -> std::fmt::Result {
    out.push_str(prefix);
    for (at, byte) in bytes.iter().enumerate() {
        if dashes.contains(&at) {
            out.push('-');
        }
        write!(out, "{byte:02x}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut String) -> std::fmt::Result) -> String {
        let mut out = String::new();
        write(&mut out).expect("in range");
        out
    }

    #[test]
    fn values_look_as_in_postgresql() {
        let double = |v: f64| written(|out| float(&format!("{v:e}"), v, 15, out));
        let expected =
            ["1", "0.30000000000000004", "100000", "1e+20", "1e-07", "0.0001", "-1250.5", "0", "NaN", "-Infinity", "123456789012345"];
        let values = [1.0, 0.1 + 0.2, 100_000.0, 1e20, 1e-7, 1e-4, -1250.5, 0.0, f64::NAN, f64::NEG_INFINITY, 123_456_789_012_345.0];
        assert_eq!(values.map(double), expected);
        assert_eq!(written(|out| timestamp(1_735_700_645_250_000, false, out)), "2025-01-01 03:04:05.25");
        assert_eq!(written(|out| timestamp(-1, true, out)), "1969-12-31 23:59:59.999999+00");
        let span = |months, days, micros: i64| written(|out| interval(IntervalMonthDayNano::new(months, days, micros * 1_000), out));
        assert_eq!(span(14, 0, 0), "1 year 2 mons");
        assert_eq!(span(0, 1, 7_384_000_000), "1 day 02:03:04");
        assert_eq!(span(0, -1, -1_500_000), "-1 days -00:00:01.5");
        assert_eq!(span(0, 0, 0), "00:00:00");
        assert_eq!(written(|out| hex(&[0, 255, 16], "\\x", &[], out)), "\\x00ff10");
    }
}
