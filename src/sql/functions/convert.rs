//! Conversions that Arrow's casts do differently: to and from text, bytes and UUIDs, and numbers rounded to integers.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BinaryBuilder, Date32Array, FixedSizeBinaryBuilder, Float64Array, Time64MicrosecondArray,
    TimestampMicrosecondArray,
};
use datafusion::arrow::compute::cast_with_options;
use datafusion::arrow::compute::kernels::cast::CastOptions;
use datafusion::arrow::datatypes::{DataType, Decimal128Type, Float64Type};
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::{ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility, lit};

use super::render::render;
use crate::moment::{Moment, read_moment, read_time};
use crate::types::type_name;

/// What is converted to what.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Conversion {
    /// Anything to text.
    Text,
    /// Text in hexadecimal (`\x…`) or escape form to bytes.
    Bytes,
    /// Text to the 16 bytes of a UUID.
    Uuid,
    /// A number with a fraction to this integer type, rounded: numeric half away from zero, floats half to even.
    Integer(DataType),
    /// Text to this type of dates and times.
    Time(DataType),
    /// Text checked to be no longer than the second argument says; blanks beyond it are cut off.
    Varchar,
}

/// A conversion as a function.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Convert {
    conversion: Conversion,
    signature: Signature,
}

impl Convert {
    pub(crate) fn call(conversion: Conversion, value: Expr) -> Expr {
        function(conversion, 1).call(vec![value])
    }
}

/// `value`, at most `length` characters long, or error 22001.
pub(crate) fn varchar(value: Expr, length: i64) -> Expr {
    function(Conversion::Varchar, 2).call(vec![value, lit(length)])
}

fn function(conversion: Conversion, args: usize) -> ScalarUDF {
    ScalarUDF::new_from_impl(Convert { conversion, signature: Signature::any(args, Volatility::Immutable) })
}

impl ScalarUDFImpl for Convert {
    fn name(&self) -> &str {
        match &self.conversion {
            Conversion::Text => "to_text",
            Conversion::Bytes => "to_bytea",
            Conversion::Uuid => "to_uuid",
            Conversion::Integer(DataType::Int16) => "to_smallint",
            Conversion::Integer(DataType::Int32) => "to_integer",
            Conversion::Integer(_) => "to_bigint",
            Conversion::Time(DataType::Date32) => "to_date",
            Conversion::Time(DataType::Time64(_)) => "to_time",
            Conversion::Time(DataType::Timestamp(_, Some(_))) => "to_timestamptz",
            Conversion::Time(_) => "to_timestamp",
            Conversion::Varchar => "to_varchar",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _args: &[DataType]) -> Result<DataType> {
        Ok(match &self.conversion {
            Conversion::Text | Conversion::Varchar => DataType::Utf8,
            Conversion::Bytes => DataType::Binary,
            Conversion::Uuid => DataType::FixedSizeBinary(16),
            Conversion::Integer(to) | Conversion::Time(to) => to.clone(),
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let is_scalar = matches!(args.args[0], ColumnarValue::Scalar(_));
        let array = args.args[0].to_array(if is_scalar { 1 } else { args.number_rows })?;
        let result = match &self.conversion {
            Conversion::Text => to_text(&array)?,
            Conversion::Bytes => to_bytes(&cast(&array, &DataType::Utf8)?)?,
            Conversion::Uuid => to_uuid(&cast(&array, &DataType::Utf8)?)?,
            Conversion::Integer(to) => to_integer(&array, to)?,
            Conversion::Time(to) => to_time(&cast(&array, &DataType::Utf8)?, to)?,
            Conversion::Varchar => to_varchar(&cast(&array, &DataType::Utf8)?, &args.args[1])?,
        };
        Ok(if is_scalar { ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?) } else { ColumnarValue::Array(result) })
    }
}

fn cast(array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    Ok(cast_with_options(array, to, &CastOptions { safe: false, ..CastOptions::default() })?)
}

fn to_text(array: &ArrayRef) -> Result<ArrayRef> {
    match render(array.as_ref())? {
        Some(text) => Ok(text),
        None => cast(array, &DataType::Utf8),
    }
}

fn wrong(what: &str, text: &str) -> DataFusionError {
    DataFusionError::Execution(format!("invalid input syntax for type {what}: \"{text}\""))
}

fn to_time(array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    let texts = array.as_string::<i32>();
    let micros = |read: fn(&str) -> Option<i64>| -> Result<Vec<Option<i64>>> {
        texts.iter().map(|text| text.map(|text| read(text).ok_or_else(|| wrong(&type_name(to), text))).transpose()).collect()
    };
    Ok(match to {
        DataType::Date32 => {
            let days = micros(|text| Some(read_moment(text)?.days))?;
            let day = |day: Option<i64>| day.map(|d| i32::try_from(d).map_err(|_| wrong("date", &d.to_string()))).transpose();
            Arc::new(days.into_iter().map(day).collect::<Result<Date32Array>>()?)
        }
        DataType::Time64(_) => Arc::new(Time64MicrosecondArray::from(micros(|text| Some(read_time(text)?.0))?)),
        DataType::Timestamp(_, zone) => {
            let read: fn(&str) -> Option<i64> = match zone {
                Some(_) => |text| read_moment(text).and_then(Moment::utc_us),
                None => |text| read_moment(text).and_then(Moment::local_us),
            };
            Arc::new(TimestampMicrosecondArray::from(micros(read)?).with_timezone_opt(zone.clone()))
        }
        other => return Err(DataFusionError::Internal(format!("{other} is no type of dates and times"))),
    })
}

fn to_bytes(array: &ArrayRef) -> Result<ArrayRef> {
    let mut builder = BinaryBuilder::new();
    for text in array.as_string::<i32>() {
        match text {
            None => builder.append_null(),
            Some(text) => builder.append_value(bytes(text).ok_or_else(|| wrong("bytea", text))?),
        }
    }
    Ok(Arc::new(builder.finish()))
}

/// The bytes of `\x00ff` or of `a\\b\001`.
fn bytes(text: &str) -> Option<Vec<u8>> {
    if let Some(digits) = text.strip_prefix("\\x") {
        return hex(&digits.bytes().filter(|b| !b.is_ascii_whitespace()).collect::<Vec<_>>());
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = match (first, after) {
            (b'\\', [b'\\', more @ ..]) => {
                bytes.push(b'\\');
                more
            }
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', more @ ..]) => {
                bytes.push((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'));
                more
            }
            (b'\\', _) => return None,
            (plain, more) => {
                bytes.push(*plain);
                more
            }
        };
    }
    Some(bytes)
}

fn hex(digits: &[u8]) -> Option<Vec<u8>> {
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    let digit = |d: u8| char::from(d).to_digit(16).and_then(|d| u8::try_from(d).ok());
    digits.chunks(2).map(|pair| Some(digit(pair[0])? * 16 + digit(pair[1])?)).collect()
}

fn to_uuid(array: &ArrayRef) -> Result<ArrayRef> {
    let mut builder = FixedSizeBinaryBuilder::with_capacity(array.len(), 16);
    for text in array.as_string::<i32>() {
        match text {
            None => builder.append_null(),
            Some(text) => {
                let uuid = uuid::Uuid::try_parse(text.trim()).map_err(|_| wrong("uuid", text))?;
                builder.append_value(uuid.as_bytes())?;
            }
        }
    }
    Ok(Arc::new(builder.finish()))
}

fn to_integer(array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    match array.data_type() {
        DataType::Decimal128(_, scale) if *scale > 0 => {
            // One digit more before the point: rounding may carry.
            let rounded = cast(array, &DataType::Decimal128(38, 0))?;
            let wide = rounded.as_primitive::<Decimal128Type>();
            cast(&(Arc::new(wide.clone()) as ArrayRef), to)
        }
        DataType::Float32 | DataType::Float64 => {
            let floats = cast(array, &DataType::Float64)?;
            let rounded: Float64Array = floats.as_primitive::<Float64Type>().unary(f64::round_ties_even);
            let nan = rounded.values().iter().enumerate().any(|(row, v)| v.is_nan() && rounded.is_valid(row));
            if nan {
                return Err(DataFusionError::Execution(format!("{} out of range", crate::types::type_name(to))));
            }
            cast(&(Arc::new(rounded) as ArrayRef), to)
        }
        _ => cast(array, to),
    }
}

fn to_varchar(array: &ArrayRef, length: &ColumnarValue) -> Result<ArrayRef> {
    let ColumnarValue::Scalar(ScalarValue::Int64(Some(length))) = length else {
        return Err(DataFusionError::Internal("the length of a varchar is a literal".to_owned()));
    };
    let max = usize::try_from(*length).unwrap_or(0);
    let fits = |text: &str| text.len() <= max || text.chars().count() <= max;
    if array.as_string::<i32>().iter().flatten().all(fits) {
        return Ok(array.clone());
    }
    let cut = |text: &str| {
        let end = text.char_indices().nth(max).map_or(text.len(), |(at, _)| at);
        let (kept, rest) = text.split_at(end);
        if rest.trim_end_matches(' ').is_empty() {
            return Ok(kept.to_owned());
        }
        Err(DataFusionError::Execution(format!("value too long for type character varying({max})")))
    };
    let values = array.as_string::<i32>().iter().map(|text| text.map(cut).transpose()).collect::<Result<Vec<_>>>()?;
    Ok(Arc::new(datafusion::arrow::array::StringArray::from(values)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_read_in_both_forms() {
        assert_eq!(bytes("\\x00ff10"), Some(vec![0, 255, 16]));
        assert_eq!(bytes("\\x"), Some(vec![]));
        assert_eq!(bytes("a\\\\b\\001"), Some(vec![b'a', b'\\', b'b', 1]));
        assert_eq!(bytes("\\x0"), None);
        assert_eq!(bytes("\\q"), None);
    }

    #[test]
    fn numbers_are_rounded_as_in_postgresql() {
        let decimals = |values: Vec<i128>| -> ArrayRef {
            Arc::new(datafusion::arrow::array::Decimal128Array::from(values).with_precision_and_scale(10, 1).expect("fits"))
        };
        let whole = to_integer(&decimals(vec![25, -25, 24, 5]), &DataType::Int32).expect("in range");
        assert_eq!(whole.as_ref(), &datafusion::arrow::array::Int32Array::from(vec![3, -3, 2, 1]));
        let floats: ArrayRef = Arc::new(Float64Array::from(vec![2.5, 3.5, -0.4]));
        let whole = to_integer(&floats, &DataType::Int64).expect("in range");
        assert_eq!(whole.as_ref(), &datafusion::arrow::array::Int64Array::from(vec![2, 4, 0]));
        let large: ArrayRef = Arc::new(Float64Array::from(vec![1e300]));
        assert!(to_integer(&large, &DataType::Int64).is_err());
    }

    #[test]
    fn long_text_is_refused_unless_only_blanks_are_too_many() {
        let texts: ArrayRef = Arc::new(datafusion::arrow::array::StringArray::from(vec!["ab  ", "äöü"]));
        let three = ColumnarValue::Scalar(ScalarValue::Int64(Some(3)));
        let cut = to_varchar(&texts, &three).expect("fits");
        assert_eq!(cut.as_ref(), &datafusion::arrow::array::StringArray::from(vec!["ab ", "äöü"]));
        assert!(to_varchar(&texts, &ColumnarValue::Scalar(ScalarValue::Int64(Some(1)))).is_err());
    }
}
