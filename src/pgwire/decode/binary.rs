//! Parameters in PostgreSQL's binary form.

use crate::encode::{POSTGRES_ZERO_DAYS, POSTGRES_ZERO_US, read_numeric_binary};
use arrow::array::{ArrayRef, ListArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, FieldRef, IntervalMonthDayNano, IntervalUnit, TimeUnit};
use datafusion::common::ScalarValue;
use headwater::system::JSONB_OID;
use headwater_types::{Error, Result};
use std::sync::Arc;

/// The value of `bytes`, written by the client as the type `oid` (0 where it left that to us), as `data_type`.
///
/// # Errors
/// `Invalid` (22P03) where the bytes are not of that type; `Unsupported` for types without a binary form here.
pub fn read_binary(bytes: Option<&[u8]>, data_type: &DataType, oid: u32) -> Result<ScalarValue> {
    let Some(bytes) = bytes else {
        return ScalarValue::try_from(data_type).map_err(|e| Error::bug(e.to_string()));
    };
    let refused = || {
        let message = format!("incorrect binary data format of a parameter of the type {data_type}");
        Error::invalid(message).with_sqlstate("22P03").with_detail(format!("{} bytes", bytes.len()))
    };
    read_value(bytes, data_type, oid)?.ok_or_else(refused)
}

fn read_value(bytes: &[u8], data_type: &DataType, oid: u32) -> Result<Option<ScalarValue>> {
    Ok(match data_type {
        DataType::Boolean => fixed(bytes).map(|[b]: [u8; 1]| ScalarValue::Boolean(Some(b != 0))),
        DataType::Int16 => integer(bytes).and_then(|v| i16::try_from(v).ok()).map(|v| ScalarValue::Int16(Some(v))),
        DataType::Int32 => integer(bytes).and_then(|v| i32::try_from(v).ok()).map(|v| ScalarValue::Int32(Some(v))),
        DataType::Int64 => integer(bytes).map(|v| ScalarValue::Int64(Some(v))),
        DataType::UInt32 => fixed(bytes).map(|b| ScalarValue::UInt32(Some(u32::from_be_bytes(b)))),
        DataType::Float32 => fixed(bytes).map(|b| ScalarValue::Float32(Some(f32::from_be_bytes(b)))),
        DataType::Float64 => match bytes.len() {
            4 => fixed(bytes).map(|b| ScalarValue::Float64(Some(f64::from(f32::from_be_bytes(b))))),
            _ => fixed(bytes).map(|b| ScalarValue::Float64(Some(f64::from_be_bytes(b)))),
        },
        DataType::Decimal128(precision, scale) => {
            read_numeric_binary(bytes, *scale).map(|v| ScalarValue::Decimal128(Some(v), *precision, *scale))
        }
        DataType::Utf8 => {
            let text = match bytes.split_first() {
                Some((1, text)) if oid == JSONB_OID => text,
                _ => bytes,
            };
            std::str::from_utf8(text).ok().map(|t| ScalarValue::Utf8(Some(t.to_owned())))
        }
        DataType::Binary => Some(ScalarValue::Binary(Some(bytes.to_vec()))),
        DataType::FixedSizeBinary(16) => fixed(bytes).map(|b: [u8; 16]| ScalarValue::FixedSizeBinary(16, Some(b.to_vec()))),
        DataType::Date32 => {
            fixed(bytes).and_then(|b| i32::from_be_bytes(b).checked_add(POSTGRES_ZERO_DAYS)).map(|v| ScalarValue::Date32(Some(v)))
        }
        DataType::Time64(TimeUnit::Microsecond) => fixed(bytes).map(|b| ScalarValue::Time64Microsecond(Some(i64::from_be_bytes(b)))),
        DataType::Timestamp(TimeUnit::Microsecond, zone) => fixed(bytes)
            .and_then(|b| i64::from_be_bytes(b).checked_add(POSTGRES_ZERO_US))
            .map(|v| ScalarValue::TimestampMicrosecond(Some(v), zone.clone())),
        DataType::Interval(IntervalUnit::MonthDayNano) => read_interval(bytes),
        DataType::List(item) => read_list(bytes, item)?,
        other => return Err(Error::unsupported(format!("a binary parameter of the type {other}")).with_hint("Send it as text.")),
    })
}

fn fixed<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    bytes.try_into().ok()
}

/// An integer in as many bytes as the client found fit: drivers send what their language has.
fn integer(bytes: &[u8]) -> Option<i64> {
    match bytes.len() {
        2 => fixed(bytes).map(|b| i64::from(i16::from_be_bytes(b))),
        4 => fixed(bytes).map(|b| i64::from(i32::from_be_bytes(b))),
        _ => fixed(bytes).map(i64::from_be_bytes),
    }
}

fn read_interval(bytes: &[u8]) -> Option<ScalarValue> {
    let us = i64::from_be_bytes(fixed(bytes.get(..8)?)?);
    let days = i32::from_be_bytes(fixed(bytes.get(8..12)?)?);
    let months = i32::from_be_bytes(fixed(bytes.get(12..)?)?);
    let nanoseconds = us.checked_mul(1_000)?;
    Some(ScalarValue::IntervalMonthDayNano(Some(IntervalMonthDayNano { months, days, nanoseconds })))
}

/// Dimensions (0 or 1 here), has_null, item OID, then length and lower bound, then sized items.
fn read_list(bytes: &[u8], item: &FieldRef) -> Result<Option<ScalarValue>> {
    let word = |at: usize| bytes.get(at..at + 4).and_then(fixed).map(i32::from_be_bytes);
    let (Some(dimensions), Some(oid)) = (word(0), word(8)) else { return Ok(None) };
    if dimensions > 1 {
        return Err(Error::unsupported("a binary parameter that is an array of several dimensions").with_hint("Send it as text."));
    }
    let length = if dimensions == 0 { 0 } else { word(12).unwrap_or(-1) };
    let Ok(length) = usize::try_from(length) else { return Ok(None) };
    let mut at = 20;
    let mut values = Vec::new();
    for _ in 0..length {
        let Some(size) = word(at) else { return Ok(None) };
        at += 4;
        let value = match usize::try_from(size) {
            Err(_) => None,
            Ok(size) => {
                let Some(value) = bytes.get(at..at + size) else { return Ok(None) };
                at += size;
                Some(value)
            }
        };
        values.push(read_binary(value, item.data_type(), oid.cast_unsigned())?);
    }
    let bug = |e: datafusion::error::DataFusionError| Error::bug(format!("items of an array parameter: {e}"));
    let items: ArrayRef = if values.is_empty() {
        arrow::array::new_empty_array(item.data_type())
    } else {
        ScalarValue::iter_to_array(values).map_err(bug)?
    };
    let list = ListArray::try_new(Arc::clone(item), OffsetBuffer::from_lengths([length]), items, None)?;
    Ok(Some(ScalarValue::List(Arc::new(list))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_of_any_width() {
        assert_eq!(read_binary(Some(&7_i32.to_be_bytes()), &DataType::Int64, 20).expect("int4"), ScalarValue::Int64(Some(7)));
        assert_eq!(read_binary(Some(&70_000_i32.to_be_bytes()), &DataType::Int16, 21).expect_err("too large").sqlstate(), "22P03");
        assert_eq!(read_binary(None, &DataType::Int16, 21).expect("null"), ScalarValue::Int16(None));
    }

    #[test]
    fn damaged_bytes_are_refused() {
        for data_type in [DataType::Int64, DataType::Date32, DataType::FixedSizeBinary(16), DataType::new_list(DataType::Int32, true)] {
            assert_eq!(read_binary(Some(&[1, 2, 3]), &data_type, 0).expect_err("3 bytes").sqlstate(), "22P03", "{data_type}");
        }
        assert_eq!(read_binary(Some(&[0xFF]), &DataType::Utf8, 25).expect_err("no UTF-8").sqlstate(), "22P03");
    }

    #[test]
    fn lists_item_by_item() {
        let mut bytes = Vec::new();
        for word in [1_i32, 1, 23, 2, 1, 4, 5, -1] {
            bytes.extend_from_slice(&word.to_be_bytes());
        }
        let value = read_binary(Some(&bytes), &DataType::new_list(DataType::Int32, true), 1007).expect("array");
        assert_eq!(value.to_string(), "[5, ]");
    }
}
