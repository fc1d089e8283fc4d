//! Columns of text, as parameters and COPY bring them, to columns of their type.

use super::array_literal::split_items;
use super::interval::read_interval;
use crate::encode::read_numeric_text;
use arrow::array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Decimal128Array, FixedSizeBinaryArray, ListArray, PrimitiveArray, StringArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Field, FieldRef, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type,
    IntervalMonthDayNanoType, IntervalUnit, Time64MicrosecondType, TimeUnit, TimestampMicrosecondType, UInt32Type,
};
use headwater::moment::{Moment, read_moment, read_time};
use headwater::system::{format_type, wire_type};
use headwater_types::{Error, Result};
use std::sync::Arc;

/// The values of `texts` as the type of `field`.
///
/// # Errors
/// `Invalid` with PostgreSQL's message and SQLSTATE for the first text that is no value of the type; `Unsupported` for records and maps.
pub fn read_text_column(texts: &StringArray, field: &Field) -> Result<ArrayRef> {
    let refuse = |text: &str| refused(text, field);
    Ok(match field.data_type() {
        DataType::Utf8 => Arc::new(texts.clone()),
        DataType::Boolean => {
            Arc::new(texts.iter().map(|t| t.map(|t| read_bool(t).ok_or_else(|| refuse(t))).transpose()).collect::<Result<BooleanArray>>()?)
        }
        DataType::Int16 => primitive::<Int16Type>(texts, field, |t| t.trim().parse().ok())?,
        DataType::Int32 => primitive::<Int32Type>(texts, field, |t| t.trim().parse().ok())?,
        DataType::Int64 => primitive::<Int64Type>(texts, field, |t| t.trim().parse().ok())?,
        DataType::UInt32 => primitive::<UInt32Type>(texts, field, |t| t.trim().parse().ok())?,
        // Rust reads the same spellings of NaN and the infinities as PostgreSQL, in any case.
        DataType::Float32 => primitive::<Float32Type>(texts, field, |t| t.trim().parse().ok())?,
        DataType::Float64 => primitive::<Float64Type>(texts, field, |t| t.trim().parse().ok())?,
        DataType::Decimal128(precision, scale) => {
            let limit = 10_i128.checked_pow(u32::from(*precision)).unwrap_or(i128::MAX);
            let read = |t: &str| read_numeric_text(t.trim(), *scale).filter(|v| v.unsigned_abs() < limit.unsigned_abs());
            let values =
                texts.iter().map(|t| t.map(|t| read(t).ok_or_else(|| refuse(t))).transpose()).collect::<Result<Decimal128Array>>()?;
            Arc::new(values.with_precision_and_scale(*precision, *scale)?)
        }
        DataType::Binary => {
            let values = texts.iter().map(|t| t.map(|t| read_bytea(t).ok_or_else(|| refuse(t))).transpose()).collect::<Result<Vec<_>>>()?;
            Arc::new(values.iter().map(Option::as_deref).collect::<BinaryArray>())
        }
        DataType::FixedSizeBinary(16) => {
            let read = |t: &str| uuid::Uuid::try_parse(t.trim()).map(uuid::Uuid::into_bytes).map_err(|_| refuse(t));
            let values = texts.iter().map(|t| t.map(read).transpose()).collect::<Result<Vec<_>>>()?;
            Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(values.into_iter(), 16)?)
        }
        DataType::Date32 => primitive::<Date32Type>(texts, field, |t| i32::try_from(read_moment(t)?.days).ok())?,
        DataType::Time64(TimeUnit::Microsecond) => primitive::<Time64MicrosecondType>(texts, field, |t| Some(read_time(t)?.0))?,
        DataType::Timestamp(TimeUnit::Microsecond, None) => {
            primitive::<TimestampMicrosecondType>(texts, field, |t| read_moment(t).and_then(Moment::local_us))?
        }
        DataType::Timestamp(TimeUnit::Microsecond, Some(zone)) => {
            let values = read_primitive::<TimestampMicrosecondType>(texts, field, |t| read_moment(t).and_then(Moment::utc_us))?;
            Arc::new(values.with_timezone(Arc::clone(zone)))
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => primitive::<IntervalMonthDayNanoType>(texts, field, read_interval)?,
        DataType::List(item) => read_lists(texts, item, field)?,
        other => return Err(Error::unsupported(format!("input of the type {other}"))),
    })
}

fn primitive<T: ArrowPrimitiveType>(texts: &StringArray, field: &Field, read: impl Fn(&str) -> Option<T::Native>) -> Result<ArrayRef> {
    Ok(Arc::new(read_primitive::<T>(texts, field, read)?))
}

fn read_primitive<T: ArrowPrimitiveType>(
    texts: &StringArray,
    field: &Field,
    read: impl Fn(&str) -> Option<T::Native>,
) -> Result<PrimitiveArray<T>> {
    texts.iter().map(|t| t.map(|t| read(t).ok_or_else(|| refused(t, field))).transpose()).collect()
}

fn read_lists(texts: &StringArray, item: &FieldRef, field: &Field) -> Result<ArrayRef> {
    let mut items: Vec<Option<String>> = Vec::new();
    let mut lengths = Vec::with_capacity(texts.len());
    for text in texts {
        let Some(text) = text else {
            lengths.push(0);
            continue;
        };
        let mut split = split_items(text).ok_or_else(|| {
            Error::invalid(format!("malformed array literal: \"{text}\""))
                .with_sqlstate("22P02")
                .with_detail(format!("for {}", field.name()))
        })?;
        lengths.push(split.len());
        items.append(&mut split);
    }
    let values = read_text_column(&StringArray::from(items), item)?;
    let nulls = texts.nulls().map(|n| NullBuffer::new(n.inner().clone()));
    Ok(Arc::new(ListArray::try_new(Arc::clone(item), OffsetBuffer::from_lengths(lengths), values, nulls)?))
}

/// The spellings of PostgreSQL: unique prefixes of true, false, yes, no, on, off, and 1 and 0.
fn read_bool(text: &str) -> Option<bool> {
    let text = text.trim().to_ascii_lowercase();
    let is_prefix = |word: &str, least: usize| text.len() >= least && word.starts_with(&text);
    if is_prefix("true", 1) || is_prefix("yes", 1) || text == "on" || text == "1" {
        Some(true)
    } else if is_prefix("false", 1) || is_prefix("no", 1) || is_prefix("off", 2) || text == "0" {
        Some(false)
    } else {
        None
    }
}

/// `\x` and hex digits, or PostgreSQL's older form in which `\\` is a backslash and `\nnn` an octal byte.
fn read_bytea(text: &str) -> Option<Vec<u8>> {
    if let Some(hex) = text.strip_prefix("\\x") {
        let digits: Vec<u8> = hex.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
        if !digits.len().is_multiple_of(2) {
            return None;
        }
        let digit = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
        return digits.chunks_exact(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect();
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        if *first != b'\\' {
            bytes.push(*first);
        } else if let Some(tail) = rest.strip_prefix(b"\\") {
            bytes.push(b'\\');
            rest = tail;
        } else {
            let octal = std::str::from_utf8(rest.get(..3)?).ok()?;
            bytes.push(u8::from_str_radix(octal, 8).ok()?);
            rest = &rest[3..];
        }
    }
    Some(bytes)
}

/// PostgreSQL's message for a text that is no value of the type.
fn refused(text: &str, field: &Field) -> Error {
    let name = wire_type(field).map_or_else(|| field.data_type().to_string(), |w| format_type(w.oid, -1));
    let is_integer = matches!(field.data_type(), DataType::Int16 | DataType::Int32 | DataType::Int64 | DataType::UInt32);
    let digits = text.trim().trim_start_matches(['-', '+']);
    if is_integer && !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
        return Error::invalid(format!("value \"{text}\" is out of range for type {name}")).with_sqlstate("22003");
    }
    if matches!(field.data_type(), DataType::Decimal128(..)) && read_numeric_text(text.trim(), 0).is_some() {
        return Error::invalid("numeric field overflow").with_sqlstate("22003").with_detail(format!("{text} as {}", field.data_type()));
    }
    let sqlstate = match field.data_type() {
        DataType::Date32 | DataType::Time64(_) | DataType::Timestamp(..) | DataType::Interval(_) => "22007",
        _ => "22P02",
    };
    Error::invalid(format!("invalid input syntax for type {name}: \"{text}\"")).with_sqlstate(sqlstate)
}

#[cfg(test)]
mod tests {
    use super::super::read_text;
    use super::*;
    use datafusion::common::ScalarValue;

    #[test]
    fn texts_become_values() {
        assert_eq!(read_text(Some(" 42 "), &DataType::Int64).expect("int"), ScalarValue::Int64(Some(42)));
        assert_eq!(read_text(None, &DataType::Int64).expect("null"), ScalarValue::Int64(None));
        assert_eq!(read_text(Some("of"), &DataType::Boolean).expect("bool"), ScalarValue::Boolean(Some(false)));
        assert_eq!(read_text(Some("-1.5"), &DataType::Decimal128(10, 2)).expect("numeric"), ScalarValue::Decimal128(Some(-150), 10, 2));
        assert_eq!(read_text(Some("\\x00ff"), &DataType::Binary).expect("bytea"), ScalarValue::Binary(Some(vec![0, 255])));
        assert_eq!(read_text(Some("a\\\\\\001"), &DataType::Binary).expect("bytea"), ScalarValue::Binary(Some(vec![b'a', b'\\', 1])));
    }

    #[test]
    fn errors_are_postgres_own() {
        let error = read_text(Some("x"), &DataType::Int32).expect_err("no number");
        assert_eq!((error.message(), error.sqlstate()), ("invalid input syntax for type integer: \"x\"", "22P02"));
        let error = read_text(Some("99999"), &DataType::Int16).expect_err("too large");
        assert_eq!((error.message(), error.sqlstate()), ("value \"99999\" is out of range for type smallint", "22003"));
        assert_eq!(read_text(Some("123"), &DataType::Decimal128(3, 1)).expect_err("too large").sqlstate(), "22003");
        assert_eq!(read_text(Some("2024-02-30"), &DataType::Date32).expect_err("no day").sqlstate(), "22007");
    }

    #[test]
    fn arrays_nest() {
        let list = DataType::new_list(DataType::new_list(DataType::Int32, true), true);
        let value = read_text(Some("{{1,2},{NULL}}"), &list).expect("array");
        assert_eq!(value.to_string(), "[[1, 2], []]", "an empty place is a NULL");
    }
}
