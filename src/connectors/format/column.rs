//! One column being filled: typed values appended one by one, cut back when a record turns out to be none.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, BooleanBufferBuilder, Date32Array, Decimal128Array, FixedSizeBinaryArray, Float32Array,
    Float64Array, Int16Array, Int32Array, Int64Array, IntervalMonthDayNanoArray, ListArray, NullBufferBuilder, StringArray,
    Time64MicrosecondArray, TimestampMicrosecondArray,
};
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Field, FieldRef, IntervalMonthDayNano, IntervalUnit, TimeUnit};
use headwater_types::{BATCH_ROWS_MAX, Error, Micros, Result};

use super::number::{Number, power_of_ten};
use super::text;

/// The unit of a number that stands for a point in time, as the decimal places that make it microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EpochUnit {
    /// Seconds since 1970.
    Seconds,
    /// Milliseconds since 1970.
    Millis,
    /// Microseconds since 1970.
    Micros,
    /// Numbers are no points in time.
    Refused,
}

/// Values of one column and which of them are NULL.
pub(crate) struct Column {
    field: FieldRef,
    epoch_unit: EpochUnit,
    pub(super) values: Values,
    nulls: NullBufferBuilder,
}

/// The values by type. Those of NULLs are zero or empty.
pub(super) enum Values {
    Boolean(BooleanBufferBuilder),
    Int16(Vec<i16>),
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    Float32(Vec<f32>),
    Float64(Vec<f64>),
    Decimal(Vec<i128>),
    Text(Bytes),
    Json(Bytes),
    Binary(Bytes),
    Date(Vec<i32>),
    Time(Vec<i64>),
    Timestamp(Vec<Micros>),
    Interval(Vec<IntervalMonthDayNano>),
    Uuid(Vec<[u8; 16]>),
    List { ends: Vec<i32>, items: Box<Column> },
}

/// Byte strings one after another, each with its end.
#[derive(Default)]
pub(super) struct Bytes {
    ends: Vec<i32>,
    bytes: Vec<u8>,
}

impl Bytes {
    #[inline]
    fn push(&mut self, value: &[u8]) -> Result<(), String> {
        self.bytes.extend_from_slice(value);
        // Arrow's offsets have 31 bits; a batch that large is cut far earlier by whoever fills it.
        self.ends.push(i32::try_from(self.bytes.len()).map_err(|_| String::from("the batch is larger than 2 GiB"))?);
        Ok(())
    }

    fn truncate(&mut self, len: usize) {
        self.ends.truncate(len);
        self.bytes.truncate(end_of(&self.ends));
    }

    fn finish(&mut self) -> (OffsetBuffer<i32>, Buffer) {
        let bytes = std::mem::take(&mut self.bytes);
        self.bytes.reserve(bytes.len());
        (offsets(&mut self.ends), Buffer::from_vec(bytes))
    }
}

fn end_of(ends: &[i32]) -> usize {
    ends.last().map_or(0, |end| usize::try_from(*end).expect("ends only grow from zero"))
}

fn offsets(ends: &mut Vec<i32>) -> OffsetBuffer<i32> {
    let mut all = Vec::with_capacity(ends.len() + 1);
    all.push(0);
    all.append(ends);
    OffsetBuffer::new(ScalarBuffer::from(all))
}

fn taken<T>(values: &mut Vec<T>) -> Vec<T> {
    let next = Vec::with_capacity(values.len());
    std::mem::replace(values, next)
}

fn is_marked(field: &Field, what: &str) -> bool {
    field.metadata().get("headwater.type").is_some_and(|t| t == what)
}

impl Values {
    fn new(field: &Field) -> Result<Self> {
        Ok(match field.data_type() {
            DataType::Boolean => Values::Boolean(BooleanBufferBuilder::new(BATCH_ROWS_MAX)),
            DataType::Int16 => Values::Int16(Vec::new()),
            DataType::Int32 => Values::Int32(Vec::new()),
            DataType::Int64 => Values::Int64(Vec::new()),
            DataType::Float32 => Values::Float32(Vec::new()),
            DataType::Float64 => Values::Float64(Vec::new()),
            DataType::Decimal128(..) => Values::Decimal(Vec::new()),
            DataType::Utf8 if is_marked(field, "jsonb") => Values::Json(Bytes::default()),
            DataType::Utf8 => Values::Text(Bytes::default()),
            DataType::Binary => Values::Binary(Bytes::default()),
            DataType::Date32 => Values::Date(Vec::new()),
            DataType::Time64(TimeUnit::Microsecond) => Values::Time(Vec::new()),
            DataType::Timestamp(TimeUnit::Microsecond, _) => Values::Timestamp(Vec::new()),
            DataType::Interval(IntervalUnit::MonthDayNano) => Values::Interval(Vec::new()),
            DataType::FixedSizeBinary(16) => Values::Uuid(Vec::new()),
            DataType::List(item) => Values::List { ends: Vec::new(), items: Box::new(Column::new(item.clone(), EpochUnit::Millis)?) },
            other => {
                let message = format!("column \"{}\": a source cannot have columns of type {other}", field.name());
                return Err(Error::unsupported(message));
            }
        })
    }

    fn truncate(&mut self, len: usize) {
        match self {
            Values::Boolean(v) => v.truncate(len),
            Values::Int16(v) => v.truncate(len),
            Values::Int32(v) | Values::Date(v) => v.truncate(len),
            Values::Int64(v) | Values::Time(v) | Values::Timestamp(v) => v.truncate(len),
            Values::Float32(v) => v.truncate(len),
            Values::Float64(v) => v.truncate(len),
            Values::Decimal(v) => v.truncate(len),
            Values::Text(v) | Values::Json(v) | Values::Binary(v) => v.truncate(len),
            Values::Interval(v) => v.truncate(len),
            Values::Uuid(v) => v.truncate(len),
            Values::List { ends, items } => {
                ends.truncate(len);
                items.truncate(end_of(ends));
            }
        }
    }

    /// Appends the value that stands for NULL.
    fn push_default(&mut self) -> Result<(), String> {
        match self {
            Values::Boolean(v) => v.append(false),
            Values::Int16(v) => v.push(0),
            Values::Int32(v) | Values::Date(v) => v.push(0),
            Values::Int64(v) | Values::Time(v) | Values::Timestamp(v) => v.push(0),
            Values::Float32(v) => v.push(0.0),
            Values::Float64(v) => v.push(0.0),
            Values::Decimal(v) => v.push(0),
            Values::Text(v) | Values::Json(v) | Values::Binary(v) => v.push(&[])?,
            Values::Interval(v) => v.push(IntervalMonthDayNano::ZERO),
            Values::Uuid(v) => v.push([0; 16]),
            Values::List { ends, .. } => ends.push(ends.last().copied().unwrap_or(0)),
        }
        Ok(())
    }
}

impl Column {
    /// An empty column for `field`; `epoch_unit` says what numbers mean where a point in time is wanted.
    ///
    /// # Errors
    /// `Unsupported` for a type that no record can carry.
    pub(crate) fn new(field: FieldRef, epoch_unit: EpochUnit) -> Result<Self> {
        let mut values = Values::new(&field)?;
        if let Values::List { items, .. } = &mut values {
            items.epoch_unit = epoch_unit;
        }
        Ok(Self { field, epoch_unit, values, nulls: NullBufferBuilder::new(BATCH_ROWS_MAX) })
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        self.field.name()
    }

    /// How many values it has.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.nulls.len()
    }

    /// Takes back all values but the first `len`, half-appended ones too.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.nulls.truncate(len);
        self.values.truncate(len);
    }

    /// The value was appended to `values`: counts it.
    #[inline]
    pub(super) fn count(&mut self) {
        self.nulls.append_non_null();
    }

    /// Appends NULL.
    ///
    /// # Errors
    /// The column is NOT NULL.
    pub(crate) fn push_null(&mut self) -> Result<(), String> {
        if !self.field.is_nullable() {
            return Err(format!("column \"{}\" is NOT NULL", self.name()));
        }
        self.values.push_default()?;
        self.nulls.append_null();
        Ok(())
    }

    /// Appends a truth value.
    ///
    /// # Errors
    /// The column is not BOOLEAN.
    pub(crate) fn push_bool(&mut self, value: bool) -> Result<(), String> {
        match &mut self.values {
            Values::Boolean(values) => values.append(value),
            _ => return Err(self.refuse(if value { b"true" } else { b"false" })),
        }
        self.count();
        Ok(())
    }

    /// Appends a number.
    ///
    /// # Errors
    /// The column is of no numeric type (nor a point in time), or the number is out of its range.
    #[inline]
    pub(crate) fn push_number(&mut self, number: &Number<'_>) -> Result<(), String> {
        if self.try_push_number(number).is_none() {
            return Err(self.refuse(number.text));
        }
        self.count();
        Ok(())
    }

    #[inline]
    fn try_push_number(&mut self, number: &Number<'_>) -> Option<()> {
        match &mut self.values {
            Values::Int64(values) => values.push(number.integer()?),
            Values::Int32(values) => values.push(i32::try_from(number.integer()?).ok()?),
            Values::Int16(values) => values.push(i16::try_from(number.integer()?).ok()?),
            Values::Float64(values) => values.push(number.double()?),
            Values::Float32(values) => values.push(number.single()?),
            Values::Decimal(values) => values.push(decimal(number, self.field.data_type())?),
            Values::Timestamp(values) => {
                let places = match self.epoch_unit {
                    EpochUnit::Seconds => 6,
                    EpochUnit::Millis => 3,
                    EpochUnit::Micros => 0,
                    EpochUnit::Refused => return None,
                };
                values.push(i64::try_from(number.scaled(places)?).ok()?);
            }
            _ => return None,
        }
        Some(())
    }

    /// Appends a value given as text, by the column's type: PostgreSQL's text forms, numeric strings, base64 or hex for bytes.
    ///
    /// # Errors
    /// `value` is no text of that type.
    #[inline]
    pub(crate) fn push_text(&mut self, value: &[u8]) -> Result<(), String> {
        if let Values::Text(values) = &mut self.values {
            values.push(value)?;
        } else if self.try_push_text(value).is_none() {
            return Err(self.refuse(value));
        }
        self.count();
        Ok(())
    }

    fn try_push_text(&mut self, value: &[u8]) -> Option<()> {
        match &mut self.values {
            Values::Boolean(values) => values.append(text::boolean(value)?),
            Values::Float64(values) => values.push(text::double(value)?),
            Values::Float32(values) => values.push(text::single(value)?),
            Values::Text(values) => values.push(value).ok()?,
            Values::Json(values) => values.push(text::json(value)?).ok()?,
            Values::Binary(values) => values.push(&text::bytes(value)?).ok()?,
            Values::Date(values) => values.push(super::time::date(value)?),
            Values::Time(values) => values.push(super::time::time_of_day(value)?),
            Values::Timestamp(values) => match super::time::timestamp(value) {
                Some(micros) => values.push(micros),
                None => self.try_push_number(&Number::text(value)?)?,
            },
            Values::Interval(values) => values.push(super::interval::interval(value)?),
            Values::Uuid(values) => values.push(*uuid::Uuid::try_parse_ascii(value.trim_ascii()).ok()?.as_bytes()),
            Values::List { .. } => return None,
            Values::Int16(_) | Values::Int32(_) | Values::Int64(_) | Values::Decimal(_) => {
                self.try_push_number(&Number::text(value)?)?;
            }
        }
        Some(())
    }

    /// Appends a JSON value that has been checked, as its text, to a JSON column.
    ///
    /// # Errors
    /// The batch is too large.
    pub(super) fn push_json(&mut self, value: &[u8]) -> Result<(), String> {
        if let Values::Json(values) = &mut self.values {
            values.push(value)?;
        }
        self.count();
        Ok(())
    }

    /// Appends bytes as they are; a text column takes them if they are UTF-8.
    ///
    /// # Errors
    /// The column takes no bytes.
    pub(crate) fn push_bytes(&mut self, value: &[u8]) -> Result<(), String> {
        match &mut self.values {
            Values::Binary(values) => values.push(value)?,
            _ if std::str::from_utf8(value).is_ok() => return self.push_text(value),
            _ => return Err(format!("column \"{}\" takes text, and the bytes are not UTF-8", self.name())),
        }
        self.count();
        Ok(())
    }

    /// Appends a point in time; a whole-number column takes its microseconds.
    ///
    /// # Errors
    /// The column takes neither.
    pub(crate) fn push_micros(&mut self, micros: Micros) -> Result<(), String> {
        match &mut self.values {
            Values::Timestamp(values) | Values::Int64(values) => values.push(micros),
            _ => return Err(format!("column \"{}\" takes no timestamp", self.name())),
        }
        self.count();
        Ok(())
    }

    /// Appends a whole number; a text column takes its digits.
    ///
    /// # Errors
    /// The column takes neither, or the number is out of its range.
    pub(crate) fn push_integer(&mut self, value: i64) -> Result<(), String> {
        match &mut self.values {
            Values::Int64(values) => values.push(value),
            _ => return self.push_text(value.to_string().as_bytes()),
        }
        self.count();
        Ok(())
    }

    /// The items appended to a list column since its last value become its next value.
    pub(super) fn close_list(&mut self) -> Result<(), String> {
        if let Values::List { ends, items } = &mut self.values {
            ends.push(i32::try_from(items.len()).map_err(|_| String::from("the batch has more than 2^31 list items"))?);
        }
        self.count();
        Ok(())
    }

    /// Why `value` does not fit, in words.
    #[cold]
    pub(super) fn refuse(&self, value: &[u8]) -> String {
        let shown = String::from_utf8_lossy(&value[..value.len().min(100)]);
        let dots = if value.len() > 100 { "…" } else { "" };
        format!("column \"{}\" ({}) cannot hold {shown}{dots}", self.name(), text::type_name(&self.field))
    }

    /// The column's values as an array; the column is empty afterwards.
    pub(crate) fn finish(&mut self) -> Result<ArrayRef> {
        let nulls = self.nulls.finish();
        let data_type = self.field.data_type();
        Ok(match &mut self.values {
            Values::Boolean(v) => Arc::new(BooleanArray::new(v.finish(), nulls)),
            Values::Int16(v) => Arc::new(Int16Array::new(taken(v).into(), nulls)),
            Values::Int32(v) => Arc::new(Int32Array::new(taken(v).into(), nulls)),
            Values::Int64(v) => Arc::new(Int64Array::new(taken(v).into(), nulls)),
            Values::Float32(v) => Arc::new(Float32Array::new(taken(v).into(), nulls)),
            Values::Float64(v) => Arc::new(Float64Array::new(taken(v).into(), nulls)),
            Values::Decimal(v) => Arc::new(Decimal128Array::new(taken(v).into(), nulls).with_data_type(data_type.clone())),
            Values::Text(v) | Values::Json(v) => {
                let (offsets, bytes) = v.finish();
                Arc::new(StringArray::try_new(offsets, bytes, nulls)?)
            }
            Values::Binary(v) => {
                let (offsets, bytes) = v.finish();
                Arc::new(BinaryArray::try_new(offsets, bytes, nulls)?)
            }
            Values::Date(v) => Arc::new(Date32Array::new(taken(v).into(), nulls)),
            Values::Time(v) => Arc::new(Time64MicrosecondArray::new(taken(v).into(), nulls)),
            Values::Timestamp(v) => Arc::new(TimestampMicrosecondArray::new(taken(v).into(), nulls).with_data_type(data_type.clone())),
            Values::Interval(v) => Arc::new(IntervalMonthDayNanoArray::new(taken(v).into(), nulls)),
            Values::Uuid(v) => {
                let bytes = Buffer::from_vec(taken(v).into_flattened());
                Arc::new(FixedSizeBinaryArray::try_new(16, bytes, nulls)?)
            }
            Values::List { ends, items } => {
                let DataType::List(item) = data_type else {
                    return Err(Error::bug("a list column is of a list type"));
                };
                Arc::new(ListArray::try_new(item.clone(), offsets(ends), items.finish()?, nulls)?)
            }
        })
    }
}

fn decimal(number: &Number<'_>, data_type: &DataType) -> Option<i128> {
    let DataType::Decimal128(precision, scale) = data_type else {
        return None;
    };
    let value = number.scaled(i32::from(*scale))?;
    (value.abs() < power_of_ten(usize::from(*precision))).then_some(value)
}
