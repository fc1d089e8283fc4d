//! One Arrow array to the wire form of its values: the type is looked at once for each batch, not for each value.

use super::cells::Cells;
use super::{float, nested, numeric};
use crate::calendar as time;
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Decimal256Type, Field, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type,
    IntervalMonthDayNanoType, IntervalUnit, Time64MicrosecondType, TimeUnit, TimestampMicrosecondType, UInt32Type,
};
use headwater::system::TYPE_METADATA;
use headwater_types::{Error, Result};
use std::io::Write;
use std::sync::Arc;

/// The two forms that a client may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// As in a terminal.
    Text,
    /// As PostgreSQL's `typsend` functions write it, in network byte order.
    Binary,
}

/// Days and microseconds from 1970-01-01, Arrow's zero, to 2000-01-01, PostgreSQL's.
pub const POSTGRES_ZERO_DAYS: i32 = 10_957;
/// See [`POSTGRES_ZERO_DAYS`].
pub const POSTGRES_ZERO_US: i64 = 10_957 * time::DAY_US;

/// The values of `array`, whose type and metadata `field` tells, in `format`.
///
/// # Errors
/// `Unsupported` for types that PostgreSQL does not have; `Invalid` (22003, 22008) for values out of PostgreSQL's range.
pub fn encode_column(array: &ArrayRef, field: &Field, format: Format) -> Result<Cells> {
    let array = canonical(array)?;
    match (array.data_type(), format) {
        (DataType::List(_), _) => nested::encode_list(&array, format),
        (DataType::Struct(_), _) => nested::encode_struct(&array, format),
        (_, Format::Text) => encode_text(&array),
        (_, Format::Binary) => encode_binary(&array, field),
    }
}

/// Casts the Arrow types that are only other layouts or widths of ours; fails rather than lose a value.
fn canonical(array: &ArrayRef) -> Result<ArrayRef> {
    let micros = |zone: &Option<Arc<str>>| DataType::Timestamp(TimeUnit::Microsecond, zone.as_ref().map(|_| "UTC".into()));
    let target = match array.data_type() {
        DataType::Int8 | DataType::UInt8 => DataType::Int16,
        DataType::UInt16 => DataType::Int32,
        DataType::UInt64 => DataType::Int64,
        DataType::Float16 => DataType::Float32,
        DataType::Decimal32(p, s) | DataType::Decimal64(p, s) => DataType::Decimal128(*p, *s),
        DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => DataType::Utf8,
        DataType::LargeBinary | DataType::BinaryView => DataType::Binary,
        DataType::Date64 => DataType::Date32,
        DataType::Time32(_) | DataType::Time64(TimeUnit::Nanosecond) => DataType::Time64(TimeUnit::Microsecond),
        DataType::Timestamp(unit, zone) if *unit != TimeUnit::Microsecond => micros(zone),
        DataType::Interval(IntervalUnit::DayTime | IntervalUnit::YearMonth) | DataType::Duration(_) => {
            DataType::Interval(IntervalUnit::MonthDayNano)
        }
        DataType::LargeList(item) | DataType::FixedSizeList(item, _) | DataType::ListView(item) => DataType::List(Arc::clone(item)),
        DataType::Dictionary(_, value) => value.as_ref().clone(),
        _ => return Ok(Arc::clone(array)),
    };
    let options = CastOptions { safe: false, ..CastOptions::default() };
    let cast = cast_with_options(array, &target, &options).map_err(|e| Error::invalid(e.to_string()).with_sqlstate("22003"))?;
    // A dictionary of views needs two steps.
    if matches!(array.data_type(), DataType::Dictionary(..)) { canonical(&cast) } else { Ok(cast) }
}

fn encode_text(array: &ArrayRef) -> Result<Cells> {
    let any: &dyn Array = array;
    macro_rules! primitive {
        ($kind:ty, $bytes:literal, |$value:ident, $out:ident| $write:expr) => {{
            let values = array.as_primitive::<$kind>().values();
            Cells::build(any, $bytes, |row, $out| {
                let $value = values[row];
                $write;
            })
        }};
    }
    Ok(match array.data_type() {
        DataType::Boolean => {
            let values = array.as_boolean().values();
            Cells::build(any, 1, |row, out| out.push(if values.value(row) { b't' } else { b'f' }))
        }
        DataType::Int16 => primitive!(Int16Type, 6, |value, out| append(out, value)),
        DataType::Int32 => primitive!(Int32Type, 11, |value, out| append(out, value)),
        DataType::UInt32 => primitive!(UInt32Type, 10, |value, out| append(out, value)),
        DataType::Int64 => primitive!(Int64Type, 12, |value, out| append(out, value)),
        DataType::Float32 => primitive!(Float32Type, 12, |value, out| float::write_real(value, out)),
        DataType::Float64 => primitive!(Float64Type, 18, |value, out| float::write_double(value, out)),
        DataType::Decimal128(..) | DataType::Decimal256(..) => encode_decimal(array, Format::Text),
        DataType::Utf8 => encode_bytes(array),
        DataType::Binary | DataType::FixedSizeBinary(_) => encode_binary_text(array),
        DataType::Date32 => primitive!(Date32Type, 10, |value, out| time::write_date(i64::from(value), out)),
        DataType::Time64(TimeUnit::Microsecond) => primitive!(Time64MicrosecondType, 15, |value, out| time::write_time(value, out)),
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            let zone: &[u8] = if zone.is_some() { b"+00" } else { b"" };
            primitive!(TimestampMicrosecondType, 29, |value, out| time::write_timestamp(value, zone, out))
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => primitive!(IntervalMonthDayNanoType, 20, |value, out| {
            time::write_interval(value.months, value.days, value.nanoseconds / 1_000, out)
        }),
        other => return Err(unsupported(other)),
    })
}

fn encode_binary(array: &ArrayRef, field: &Field) -> Result<Cells> {
    let any: &dyn Array = array;
    macro_rules! primitive {
        ($kind:ty, $bytes:literal, |$value:ident| $write:expr) => {{
            let values = array.as_primitive::<$kind>().values();
            Cells::build(any, $bytes, |row, out| {
                let $value = values[row];
                out.extend_from_slice(&$write.to_be_bytes());
            })
        }};
    }
    Ok(match array.data_type() {
        DataType::Boolean => {
            let values = array.as_boolean().values();
            Cells::build(any, 1, |row, out| out.push(u8::from(values.value(row))))
        }
        DataType::Int16 => primitive!(Int16Type, 2, |value| value),
        DataType::Int32 => primitive!(Int32Type, 4, |value| value),
        DataType::UInt32 => primitive!(UInt32Type, 4, |value| value),
        DataType::Int64 => primitive!(Int64Type, 8, |value| value),
        DataType::Float32 => primitive!(Float32Type, 4, |value| value),
        DataType::Float64 => primitive!(Float64Type, 8, |value| value),
        DataType::Decimal128(..) | DataType::Decimal256(..) => encode_decimal(array, Format::Binary),
        DataType::Utf8 if field.metadata().get(TYPE_METADATA).is_some_and(|t| t == "jsonb") => {
            let values = array.as_string::<i32>();
            Cells::build(any, 33, |row, out| {
                // The version of jsonb's binary form.
                out.push(1);
                out.extend_from_slice(values.value(row).as_bytes());
            })
        }
        DataType::Utf8 => encode_bytes(array),
        DataType::Binary => encode_bytes(array),
        DataType::FixedSizeBinary(width) => {
            let values = array.as_fixed_size_binary();
            Cells::build(any, usize::try_from(*width).unwrap_or(0), |row, out| out.extend_from_slice(values.value(row)))
        }
        DataType::Date32 => {
            check_range(array.as_primitive::<Date32Type>().iter().flatten().all(|v| v.checked_sub(POSTGRES_ZERO_DAYS).is_some()), "date")?;
            primitive!(Date32Type, 4, |value| value.wrapping_sub(POSTGRES_ZERO_DAYS))
        }
        DataType::Time64(TimeUnit::Microsecond) => primitive!(Time64MicrosecondType, 8, |value| value),
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            let values = array.as_primitive::<TimestampMicrosecondType>();
            check_range(values.iter().flatten().all(|v| v.checked_sub(POSTGRES_ZERO_US).is_some()), "timestamp")?;
            primitive!(TimestampMicrosecondType, 8, |value| value.wrapping_sub(POSTGRES_ZERO_US))
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            let values = array.as_primitive::<IntervalMonthDayNanoType>().values();
            Cells::build(any, 16, |row, out| {
                let value = values[row];
                out.extend_from_slice(&(value.nanoseconds / 1_000).to_be_bytes());
                out.extend_from_slice(&value.days.to_be_bytes());
                out.extend_from_slice(&value.months.to_be_bytes());
            })
        }
        other => return Err(unsupported(other)),
    })
}

fn encode_decimal(array: &ArrayRef, format: Format) -> Cells {
    let write = match format {
        Format::Text => numeric::write_text,
        Format::Binary => numeric::write_binary,
    };
    let mut digits = Vec::with_capacity(80);
    match array.data_type() {
        DataType::Decimal256(_, scale) => {
            let values = array.as_primitive::<Decimal256Type>().values();
            Cells::build(array, 24, |row, out| {
                digits.clear();
                append(&mut digits, values[row]);
                write(&digits, *scale, out);
            })
        }
        other => {
            let scale = if let DataType::Decimal128(_, scale) = other { *scale } else { 0 };
            let values = array.as_primitive::<Decimal128Type>().values();
            Cells::build(array, 16, |row, out| {
                digits.clear();
                append(&mut digits, values[row]);
                write(&digits, scale, out);
            })
        }
    }
}

fn encode_bytes(array: &ArrayRef) -> Cells {
    if let Some(values) = array.as_string_opt::<i32>() {
        Cells::build(array, 16, |row, out| out.extend_from_slice(values.value(row).as_bytes()))
    } else {
        let values = array.as_binary::<i32>();
        Cells::build(array, 16, |row, out| out.extend_from_slice(values.value(row)))
    }
}

/// `\x` and hex digits for bytes; 16 bytes of fixed width are a UUID, in groups of 8-4-4-4-12 digits.
fn encode_binary_text(array: &ArrayRef) -> Cells {
    match array.as_fixed_size_binary_opt() {
        Some(values) if values.value_length() == 16 => Cells::build(array, 36, |row, out| {
            for (i, byte) in values.value(row).iter().enumerate() {
                if matches!(i, 4 | 6 | 8 | 10) {
                    out.push(b'-');
                }
                push_hex(*byte, out);
            }
        }),
        Some(values) => Cells::build(array, 34, |row, out| write_bytea(values.value(row), out)),
        None => {
            let values = array.as_binary::<i32>();
            Cells::build(array, 34, |row, out| write_bytea(values.value(row), out))
        }
    }
}

fn write_bytea(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"\\x");
    for byte in bytes {
        push_hex(*byte, out);
    }
}

fn push_hex(byte: u8, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.push(DIGITS[usize::from(byte >> 4)]);
    out.push(DIGITS[usize::from(byte & 0xF)]);
}

fn append(out: &mut Vec<u8>, value: impl std::fmt::Display) {
    write!(out, "{value}").expect("writing to memory cannot fail");
}

fn check_range(holds: bool, name: &str) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::invalid(format!("{name} out of range")).with_sqlstate("22008")) }
}

fn unsupported(data_type: &DataType) -> Error {
    Error::unsupported(format!("a result column of the type {data_type}")).with_hint("Cast the column to text, or take its parts.")
}
