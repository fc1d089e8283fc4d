//! A column as one array parameter: written from Arrow straight into PostgreSQL's binary form, with nothing allocated per row.

use std::error::Error as StdError;
use std::fmt::Write as _;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type, IntervalMonthDayNanoType,
    Time64MicrosecondType, TimestampMicrosecondType,
};
use bytes::{BufMut, BytesMut};
use tokio_postgres::types::{IsNull, Kind, ToSql, Type, to_sql_checked};

use super::numeric::put_numeric;

/// 2000-01-01, where PostgreSQL counts from.
const EPOCH_DAYS: i32 = 10_957;
const EPOCH_MICROS: i64 = EPOCH_DAYS as i64 * 86_400_000_000;

type Failure = Box<dyn StdError + Sync + Send>;

/// All values of a column.
#[derive(Debug)]
pub(super) struct Values(pub(super) ArrayRef);

impl ToSql for Values {
    fn to_sql(&self, to: &Type, out: &mut BytesMut) -> Result<IsNull, Failure> {
        let Kind::Array(element) = to.kind() else { return Err(format!("{to} is no array").into()) };
        let array = self.0.as_ref();
        out.put_i32(i32::from(!array.is_empty()));
        out.put_i32(i32::from(array.null_count() > 0));
        out.put_u32(element.oid());
        if !array.is_empty() {
            out.put_i32(i32::try_from(array.len())?);
            out.put_i32(1);
            put_elements(array, element, out)?;
        }
        Ok(IsNull::No)
    }

    fn accepts(to: &Type) -> bool {
        matches!(to.kind(), Kind::Array(_))
    }

    to_sql_checked!();
}

/// Writes length and bytes of every element; NULL has the length -1.
fn put_elements(array: &dyn Array, element: &Type, out: &mut BytesMut) -> Result<(), Failure> {
    match array.data_type() {
        DataType::Boolean => {
            let values = array.as_boolean();
            each(array, out, 1, |row, out| out.put_u8(values.value(row).into()))
        }
        DataType::Int16 => {
            let values = array.as_primitive::<Int16Type>().values();
            each(array, out, 2, |row, out| out.put_i16(values[row]))
        }
        DataType::Int32 => {
            let values = array.as_primitive::<Int32Type>().values();
            each(array, out, 4, |row, out| out.put_i32(values[row]))
        }
        DataType::Int64 => {
            let values = array.as_primitive::<Int64Type>().values();
            each(array, out, 8, |row, out| out.put_i64(values[row]))
        }
        DataType::Float32 => {
            let values = array.as_primitive::<Float32Type>().values();
            each(array, out, 4, |row, out| out.put_f32(values[row]))
        }
        DataType::Float64 => {
            let values = array.as_primitive::<Float64Type>().values();
            each(array, out, 8, |row, out| out.put_f64(values[row]))
        }
        DataType::Time64(_) => {
            let values = array.as_primitive::<Time64MicrosecondType>().values();
            each(array, out, 8, |row, out| out.put_i64(values[row]))
        }
        DataType::Date32 => {
            let values = array.as_primitive::<Date32Type>().values();
            each(array, out, 4, |row, out| out.put_i32(values[row].saturating_sub(EPOCH_DAYS)))
        }
        DataType::Timestamp(_, _) => {
            let values = array.as_primitive::<TimestampMicrosecondType>().values();
            each(array, out, 8, |row, out| out.put_i64(values[row].saturating_sub(EPOCH_MICROS)))
        }
        DataType::Interval(_) => {
            let values = array.as_primitive::<IntervalMonthDayNanoType>().values();
            each(array, out, 16, |row, out| {
                out.put_i64(values[row].nanoseconds / 1000);
                out.put_i32(values[row].days);
                out.put_i32(values[row].months);
            })
        }
        _ => put_sized(array, element, out),
    }
}

/// Elements that are not all of one length.
fn put_sized(array: &dyn Array, element: &Type, out: &mut BytesMut) -> Result<(), Failure> {
    match array.data_type() {
        DataType::Decimal128(_, scale) => {
            let (values, scale) = (array.as_primitive::<Decimal128Type>().values(), u8::try_from(*scale)?);
            measured(array, out, |row, out| {
                put_numeric(values[row], scale, out);
                Ok(())
            })
        }
        DataType::Utf8 => {
            let values = array.as_string::<i32>();
            // The binary form of jsonb begins with its version.
            let is_jsonb = *element == Type::JSONB;
            measured(array, out, |row, out| {
                if is_jsonb {
                    out.put_u8(1);
                }
                out.put_slice(values.value(row).as_bytes());
                Ok(())
            })
        }
        DataType::Binary => {
            let values = array.as_binary::<i32>();
            measured(array, out, |row, out| {
                out.put_slice(values.value(row));
                Ok(())
            })
        }
        DataType::FixedSizeBinary(_) => {
            let values = array.as_fixed_size_binary();
            measured(array, out, |row, out| {
                out.put_slice(values.value(row));
                Ok(())
            })
        }
        DataType::List(_) => {
            let values = array.as_list::<i32>();
            measured(array, out, |row, out| put_list(values.value(row).as_ref(), out))
        }
        other => Err(format!("{other} has no form in PostgreSQL").into()),
    }
}

fn each(array: &dyn Array, out: &mut BytesMut, length: i32, mut put: impl FnMut(usize, &mut BytesMut)) -> Result<(), Failure> {
    out.reserve(array.len() * (4 + usize::try_from(length)?));
    for row in 0..array.len() {
        if array.is_null(row) {
            out.put_i32(-1);
        } else {
            out.put_i32(length);
            put(row, out);
        }
    }
    Ok(())
}

fn measured(
    array: &dyn Array,
    out: &mut BytesMut,
    mut put: impl FnMut(usize, &mut BytesMut) -> Result<(), Failure>,
) -> Result<(), Failure> {
    for row in 0..array.len() {
        if array.is_null(row) {
            out.put_i32(-1);
            continue;
        }
        let at = out.len();
        out.put_i32(0);
        put(row, out)?;
        let length = i32::try_from(out.len() - at - 4)?;
        out[at..at + 4].copy_from_slice(&length.to_be_bytes());
    }
    Ok(())
}

/// A list in its text form: `{1,NULL,"a \"b\""}`.
fn put_list(list: &dyn Array, out: &mut BytesMut) -> Result<(), Failure> {
    out.put_u8(b'{');
    for row in 0..list.len() {
        if row > 0 {
            out.put_u8(b',');
        }
        if list.is_null(row) {
            out.put_slice(b"NULL");
            continue;
        }
        match list.data_type() {
            DataType::Boolean => out.put_u8(if list.as_boolean().value(row) { b't' } else { b'f' }),
            DataType::Int16 => write!(out, "{}", list.as_primitive::<Int16Type>().value(row))?,
            DataType::Int32 => write!(out, "{}", list.as_primitive::<Int32Type>().value(row))?,
            DataType::Int64 => write!(out, "{}", list.as_primitive::<Int64Type>().value(row))?,
            DataType::Utf8 => put_quoted(list.as_string::<i32>().value(row), out),
            other => return Err(format!("a list of {other} has no form in PostgreSQL").into()),
        }
    }
    out.put_u8(b'}');
    Ok(())
}

fn put_quoted(text: &str, out: &mut BytesMut) {
    out.put_u8(b'"');
    for byte in text.bytes() {
        if byte == b'"' || byte == b'\\' {
            out.put_u8(b'\\');
        }
        out.put_u8(byte);
    }
    out.put_u8(b'"');
}
