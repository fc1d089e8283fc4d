//! Columns to JSON: each row an object of chosen columns.

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Date32Array, Decimal128Array, FixedSizeBinaryArray, Float32Array, Float64Array,
    Int16Array, Int32Array, Int64Array, IntervalMonthDayNanoArray, ListArray, RecordBatch, StringArray, Time64MicrosecondArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Field, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type, IntervalMonthDayNano,
    IntervalMonthDayNanoType, IntervalUnit, Schema, Time64MicrosecondType, TimeUnit, TimestampMicrosecondType,
};
use headwater_types::{Error, Result};
use std::io::Write as _;

use super::{text, time};

/// Writes rows as JSON objects `{"column":value,…}`: numbers as numbers, NUMERIC as a string, timestamps ISO 8601, bytes base64, NULL as null.
pub(crate) struct JsonEncoder {
    columns: Vec<(usize, Vec<u8>, Field)>,
}

impl JsonEncoder {
    /// An encoder of the columns at `columns` of `schema`, in that order (all of them for a value, the key's for a key).
    ///
    /// # Errors
    /// `Unsupported` for a column type that has no JSON form.
    pub(crate) fn new(schema: &Schema, columns: &[usize]) -> Result<Self> {
        let prepare = |at: &usize| {
            let field = schema.fields().get(*at).ok_or_else(|| Error::bug(format!("there is no column {at}")))?;
            Cells::new(&arrow::array::new_empty_array(field.data_type()), field)?;
            let mut name = Vec::new();
            write_string(field.name(), &mut name);
            name.push(b':');
            Ok((*at, name, field.as_ref().clone()))
        };
        Ok(Self { columns: columns.iter().map(prepare).collect::<Result<_>>()? })
    }

    /// Looks at `batch`, which has the schema this encoder was made for, so that its rows can be written one by one.
    ///
    /// # Errors
    /// `Bug` if it has another schema.
    pub(crate) fn rows<'a>(&'a self, batch: &'a RecordBatch) -> Result<JsonRows<'a>> {
        let look = |(at, name, field): &'a (usize, Vec<u8>, Field)| {
            let array = batch.columns().get(*at).filter(|a| a.data_type() == field.data_type());
            let array = array.ok_or_else(|| Error::bug(format!("column {at} of the batch is not {}", field.data_type())))?;
            Ok((name.as_slice(), Cells::new(array, field)?, array.is_nullable().then_some(array)))
        };
        Ok(JsonRows { columns: self.columns.iter().map(look).collect::<Result<_>>()? })
    }
}

/// The rows of one batch, ready to be written.
pub(crate) struct JsonRows<'a> {
    /// Name and colon, values, and the array where it has NULLs.
    columns: Vec<(&'a [u8], Cells<'a>, Option<&'a ArrayRef>)>,
}

impl JsonRows<'_> {
    /// Appends the object of row `row` to `out`, without a line end.
    pub(crate) fn write(&self, row: usize, out: &mut Vec<u8>) {
        out.push(b'{');
        for (at, (name, cells, nulls)) in self.columns.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            out.extend_from_slice(name);
            match nulls {
                Some(array) if array.is_null(row) => out.extend_from_slice(b"null"),
                _ => cells.write(row, out),
            }
        }
        out.push(b'}');
    }
}

/// The values of a column by type.
enum Cells<'a> {
    Boolean(&'a BooleanArray),
    Int16(&'a Int16Array),
    Int32(&'a Int32Array),
    Int64(&'a Int64Array),
    Float32(&'a Float32Array),
    Float64(&'a Float64Array),
    Decimal(&'a Decimal128Array, u32),
    Text(&'a StringArray),
    Json(&'a StringArray),
    Binary(&'a BinaryArray),
    Date(&'a Date32Array),
    Time(&'a Time64MicrosecondArray),
    Timestamp(&'a TimestampMicrosecondArray, &'static [u8]),
    Interval(&'a IntervalMonthDayNanoArray),
    Uuid(&'a FixedSizeBinaryArray),
    List(&'a ListArray, &'a Field),
}

impl<'a> Cells<'a> {
    fn new(array: &'a ArrayRef, field: &'a Field) -> Result<Self> {
        let is_jsonb = field.metadata().get("headwater.type").is_some_and(|t| t == "jsonb");
        Ok(match field.data_type() {
            DataType::Boolean => Cells::Boolean(array.as_boolean()),
            DataType::Int16 => Cells::Int16(array.as_primitive::<Int16Type>()),
            DataType::Int32 => Cells::Int32(array.as_primitive::<Int32Type>()),
            DataType::Int64 => Cells::Int64(array.as_primitive::<Int64Type>()),
            DataType::Float32 => Cells::Float32(array.as_primitive::<Float32Type>()),
            DataType::Float64 => Cells::Float64(array.as_primitive::<Float64Type>()),
            DataType::Decimal128(_, scale) if *scale >= 0 => {
                Cells::Decimal(array.as_primitive::<Decimal128Type>(), u32::from(scale.unsigned_abs()))
            }
            DataType::Utf8 if is_jsonb => Cells::Json(array.as_string()),
            DataType::Utf8 => Cells::Text(array.as_string()),
            DataType::Binary => Cells::Binary(array.as_binary()),
            DataType::Date32 => Cells::Date(array.as_primitive::<Date32Type>()),
            DataType::Time64(TimeUnit::Microsecond) => Cells::Time(array.as_primitive::<Time64MicrosecondType>()),
            DataType::Timestamp(TimeUnit::Microsecond, zone) => {
                let suffix: &[u8] = if zone.is_some() { b"Z" } else { b"" };
                Cells::Timestamp(array.as_primitive::<TimestampMicrosecondType>(), suffix)
            }
            DataType::Interval(IntervalUnit::MonthDayNano) => Cells::Interval(array.as_primitive::<IntervalMonthDayNanoType>()),
            DataType::FixedSizeBinary(16) => Cells::Uuid(array.as_fixed_size_binary()),
            DataType::List(item) => {
                let list: &ListArray = array.as_list();
                Cells::new(list.values(), item)?;
                Cells::List(list, item)
            }
            other => return Err(Error::unsupported(format!("column \"{}\" of type {other} as JSON", field.name()))),
        })
    }

    fn write(&self, row: usize, out: &mut Vec<u8>) {
        match self {
            Cells::Boolean(a) => out.extend_from_slice(if a.value(row) { b"true" } else { b"false" }),
            Cells::Int16(a) => write_integer(i64::from(a.value(row)), out),
            Cells::Int32(a) => write_integer(i64::from(a.value(row)), out),
            Cells::Int64(a) => write_integer(a.value(row), out),
            Cells::Float32(a) if a.value(row).is_finite() => write_shown(a.value(row), out),
            Cells::Float64(a) if a.value(row).is_finite() => write_shown(a.value(row), out),
            Cells::Float32(a) => write_special(f64::from(a.value(row)), out),
            Cells::Float64(a) => write_special(a.value(row), out),
            Cells::Decimal(a, scale) => quoted(out, |out| write_decimal(a.value(row), *scale, out)),
            Cells::Text(a) => write_string(a.value(row), out),
            Cells::Json(a) => out.extend_from_slice(a.value(row).as_bytes()),
            Cells::Binary(a) => quoted(out, |out| text::write_base64(a.value(row), out)),
            Cells::Date(a) => quoted(out, |out| time::write_date(i64::from(a.value(row)), out)),
            Cells::Time(a) => quoted(out, |out| time::write_time(a.value(row), out)),
            Cells::Timestamp(a, suffix) => quoted(out, |out| {
                time::write_timestamp(a.value(row), out);
                out.extend_from_slice(suffix);
            }),
            Cells::Interval(a) => quoted(out, |out| write_interval(a.value(row), out)),
            Cells::Uuid(a) => quoted(out, |out| {
                let id = uuid::Uuid::from_slice(a.value(row)).unwrap_or_default();
                out.extend_from_slice(id.hyphenated().encode_lower(&mut uuid::Uuid::encode_buffer()).as_bytes());
            }),
            Cells::List(a, item) => write_list(&a.value(row), item, out),
        }
    }
}

fn quoted(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    out.push(b'"');
    write(out);
    out.push(b'"');
}

fn write_list(items: &ArrayRef, item: &Field, out: &mut Vec<u8>) {
    out.push(b'[');
    // The item type was checked when the encoder was made.
    if let Ok(cells) = Cells::new(items, item) {
        for at in 0..items.len() {
            if at > 0 {
                out.push(b',');
            }
            if items.is_null(at) {
                out.extend_from_slice(b"null");
            } else {
                cells.write(at, out);
            }
        }
    }
    out.push(b']');
}

fn write_integer(value: i64, out: &mut Vec<u8>) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    let mut rest = value.unsigned_abs();
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if value < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(&digits[at..]);
}

/// The shortest digits that read back as the same number.
fn write_shown(value: impl std::fmt::Debug, out: &mut Vec<u8>) {
    write!(out, "{value:?}").expect("writing to memory cannot fail");
}

/// JSON has no word for these: they are strings.
fn write_special(value: f64, out: &mut Vec<u8>) {
    let word: &[u8] = match value {
        v if v.is_nan() => b"\"NaN\"",
        v if v > 0.0 => b"\"Infinity\"",
        _ => b"\"-Infinity\"",
    };
    out.extend_from_slice(word);
}

fn write_decimal(value: i128, scale: u32, out: &mut Vec<u8>) {
    let (magnitude, one) = (value.unsigned_abs(), 10u128.pow(scale));
    if value < 0 {
        out.push(b'-');
    }
    let width = scale as usize;
    let written = match scale {
        0 => write!(out, "{magnitude}"),
        _ => write!(out, "{}.{:0width$}", magnitude / one, magnitude % one),
    };
    written.expect("writing to memory cannot fail");
}

/// An interval as PostgreSQL writes it: `1 year 2 mons 3 days 04:05:06.5`.
fn write_interval(value: IntervalMonthDayNano, out: &mut Vec<u8>) {
    let start = out.len();
    let months = i64::from(value.months);
    for (count, one, many) in [(months / 12, "year", "years"), (months % 12, "mon", "mons"), (i64::from(value.days), "day", "days")] {
        if count != 0 {
            let space = if out.len() > start { " " } else { "" };
            let unit = if count == 1 { one } else { many };
            write!(out, "{space}{count} {unit}").expect("writing to memory cannot fail");
        }
    }
    let micros = value.nanoseconds / 1_000;
    if micros != 0 || out.len() == start {
        if out.len() > start {
            out.push(b' ');
        }
        if micros < 0 {
            out.push(b'-');
        }
        time::write_time(i64::try_from(micros.unsigned_abs()).unwrap_or(i64::MAX), out);
    }
}

/// Appends `value` as a JSON string.
pub(crate) fn write_string(value: &str, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    let mut start = 0;
    let bytes = value.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        if !matches!(byte, b'"' | b'\\' | 0..0x20) {
            continue;
        }
        out.extend_from_slice(&bytes[start..at]);
        start = at + 1;
        match byte {
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0..0x20 => {
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            }
            same => out.extend_from_slice(&[b'\\', *same]),
        }
    }
    out.extend_from_slice(&bytes[start..]);
    out.push(b'"');
}
