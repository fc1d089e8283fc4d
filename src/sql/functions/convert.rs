//! Conversions that Arrow's casts do differently: text to values and back as PostgreSQL writes them, numbers rounded and checked, lengths kept.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Float64Array, StringArray};
use datafusion::arrow::compute::cast_with_options;
use datafusion::arrow::compute::kernels::cast::CastOptions;
use datafusion::arrow::datatypes::{DataType, Decimal128Type, Float64Type, Time64MicrosecondType, TimeUnit, TimestampMicrosecondType};
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::{ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

use super::exact_floats::exact_floats;
use super::render::{output, render};
use super::{any_scalar, arrays, over_rows, parse, parse_interval, parse_time};
use crate::type_names::type_name;

/// What is converted to what.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Conversion {
    /// A value to the type; which values there are, [`convert`] says.
    To(DataType),
    /// Anything to text, as it is shown: unlike a cast, `t` and `f` for booleans.
    Output,
    /// Text of at most so many characters: what is longer fails, unless only blanks are too many.
    Fit(usize),
    /// Text cut to so many characters, by a cast that is written.
    Cut(usize),
    /// A time rounded to so many digits of a second.
    Round(u32),
}

/// A conversion as a function.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Convert {
    conversion: Conversion,
    signature: Signature,
}

impl Convert {
    pub(crate) fn call(conversion: Conversion, value: Expr) -> Expr {
        ScalarUDF::new_from_impl(Self { conversion, signature: Signature::any(1, Volatility::Immutable) }).call(vec![value])
    }
}

impl ScalarUDFImpl for Convert {
    fn name(&self) -> &str {
        match &self.conversion {
            Conversion::To(to) => match to {
                DataType::Utf8 => "to_text",
                DataType::Binary => "to_bytea",
                DataType::FixedSizeBinary(_) => "to_uuid",
                DataType::Int16 => "to_smallint",
                DataType::Int32 => "to_integer",
                DataType::Int64 => "to_bigint",
                DataType::Float32 => "to_real",
                DataType::Float64 => "to_double",
                DataType::Decimal128(..) => "to_numeric",
                DataType::Boolean => "to_boolean",
                DataType::Date32 => "to_date",
                DataType::Time64(_) => "to_time",
                DataType::Timestamp(_, None) => "to_timestamp",
                DataType::Timestamp(_, Some(_)) => "to_timestamptz",
                DataType::Interval(_) => "to_interval",
                _ => "to_array",
            },
            Conversion::Output => "output",
            Conversion::Fit(_) => "fit_varchar",
            Conversion::Cut(_) => "cut_varchar",
            Conversion::Round(_) => "round_time",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, args: &[DataType]) -> Result<DataType> {
        Ok(match &self.conversion {
            Conversion::To(to) => to.clone(),
            Conversion::Output | Conversion::Fit(_) | Conversion::Cut(_) => DataType::Utf8,
            Conversion::Round(_) => args[0].clone(),
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let scalar = any_scalar(&args.args);
        over_rows(&args.args, args.number_rows, scalar, |arrays| match &self.conversion {
            Conversion::To(to) => convert(&arrays[0], to),
            Conversion::Output => output(&arrays[0]),
            Conversion::Fit(length) => fit(&cast(&arrays[0], &DataType::Utf8)?, *length, false),
            Conversion::Cut(length) => fit(&cast(&arrays[0], &DataType::Utf8)?, *length, true),
            Conversion::Round(digits) => rounded(&arrays[0], *digits),
        })
    }
}

fn cast(array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    Ok(cast_with_options(array, to, &CastOptions { safe: false, ..CastOptions::default() })?)
}

/// Each value of `array` as one of type `to`.
///
/// # Errors
/// `Execution`, in PostgreSQL's words, if a value is none of that type.
pub(super) fn convert(array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    match array.data_type() {
        from if from == to => Ok(array.clone()),
        DataType::LargeUtf8 | DataType::Utf8View => convert(&cast(array, &DataType::Utf8)?, to),
        DataType::Utf8 => from_text(array, to),
        from if *to == DataType::Utf8 => match render(array.as_ref())? {
            Some(text) => Ok(text),
            None if from.is_null() => cast(array, to),
            None => cast(array, to),
        },
        from if from.is_numeric() && to.is_integer() => to_integer(array, to),
        from if from.is_decimal() && to.is_floating() => exact_floats(array, to),
        from if from.is_numeric() && matches!(to, DataType::Decimal128(..)) => {
            let overflow = |_| DataFusionError::Execution("numeric field overflow".to_owned());
            cast(array, to).map_err(overflow)
        }
        _ => cast(array, to),
    }
}

/// The same for one value.
///
/// # Errors
/// As [`convert`].
pub(crate) fn convert_value(value: &ScalarValue, to: &DataType) -> Result<ScalarValue> {
    ScalarValue::try_from_array(&convert(&value.to_array()?, to)?, 0)
}

fn from_text(array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    let text: &StringArray = array.as_string();
    match to {
        DataType::Binary => parse::bytea(text),
        DataType::FixedSizeBinary(16) => parse::uuids(text),
        DataType::Int16 | DataType::Int32 | DataType::Int64 => parse::integers(text, to),
        DataType::Float32 | DataType::Float64 => parse::floats(text, to),
        DataType::Decimal128(precision, scale) => parse::numerics(text, *precision, *scale),
        DataType::Boolean => parse::booleans(text),
        DataType::Date32 => parse_time::dates(text),
        DataType::Time64(TimeUnit::Microsecond) => parse_time::times(text),
        DataType::Timestamp(TimeUnit::Microsecond, zone) => parse_time::timestamps(text, zone.clone()),
        DataType::Interval(_) => parse_interval::intervals(text),
        DataType::List(item) => arrays::lists(text, item),
        other => cast(array, other),
    }
}

fn to_integer(array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    let out_of_range = || DataFusionError::Execution(format!("{} out of range", type_name(to)));
    let whole: ArrayRef = match array.data_type() {
        // One digit more before the point: rounding may carry.
        DataType::Decimal128(_, scale) if *scale > 0 => {
            Arc::new(cast(array, &DataType::Decimal128(38, 0))?.as_primitive::<Decimal128Type>().clone())
        }
        DataType::Float32 | DataType::Float64 => {
            let floats = cast(array, &DataType::Float64)?;
            let rounded: Float64Array = floats.as_primitive::<Float64Type>().unary(f64::round_ties_even);
            if rounded.values().iter().enumerate().any(|(row, v)| v.is_nan() && rounded.is_valid(row)) {
                return Err(out_of_range());
            }
            Arc::new(rounded)
        }
        _ => array.clone(),
    };
    cast(&whole, to).map_err(|_| out_of_range())
}

/// Text of at most `max` characters; what is longer is cut, or fails if more than blanks would be lost.
fn fit(array: &ArrayRef, max: usize, cuts: bool) -> Result<ArrayRef> {
    let fits = |text: &str| text.len() <= max || text.chars().count() <= max;
    if array.as_string::<i32>().iter().flatten().all(fits) {
        return Ok(array.clone());
    }
    let cut = |text: &str| {
        let end = text.char_indices().nth(max).map_or(text.len(), |(at, _)| at);
        let (kept, rest) = text.split_at(end);
        if cuts || rest.trim_end_matches(' ').is_empty() {
            return Ok(kept.to_owned());
        }
        Err(DataFusionError::Execution(format!("value too long for type character varying({max})")))
    };
    let values = array.as_string::<i32>().iter().map(|text| text.map(cut).transpose()).collect::<Result<Vec<_>>>()?;
    Ok(Arc::new(StringArray::from(values)))
}

/// Microseconds rounded half away from zero to `digits` digits of a second.
fn rounded(array: &ArrayRef, digits: u32) -> Result<ArrayRef> {
    let unit = 10i64.pow(6u32.saturating_sub(digits));
    let round = |micros: i64| {
        let down = micros - micros.rem_euclid(unit);
        if (micros - down) * 2 >= unit { down.saturating_add(unit) } else { down }
    };
    Ok(match array.data_type() {
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            let values = array.as_primitive::<TimestampMicrosecondType>().unary::<_, TimestampMicrosecondType>(round);
            Arc::new(values.with_timezone_opt(zone.clone()))
        }
        DataType::Time64(TimeUnit::Microsecond) => {
            Arc::new(array.as_primitive::<Time64MicrosecondType>().unary::<_, Time64MicrosecondType>(round))
        }
        other => return Err(DataFusionError::Internal(format!("{other} has no digits of a second"))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let texts: ArrayRef = Arc::new(StringArray::from(vec!["ab  ", "äöü"]));
        assert_eq!(fit(&texts, 3, false).expect("fits").as_ref(), &StringArray::from(vec!["ab ", "äöü"]));
        assert!(fit(&texts, 1, false).is_err());
        assert_eq!(fit(&texts, 1, true).expect("cut").as_ref(), &StringArray::from(vec!["a", "ä"]));
    }
}
