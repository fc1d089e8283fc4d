//! Numerics as the floats nearest to them: Arrow multiplies or divides by a power of ten that is none itself.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Float32Array, Float64Array};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Decimal128Type, Decimal256Type};
use datafusion::common::{DataFusionError, Result};

use crate::type_names::type_name;

/// The powers of ten that a double holds exactly.
const POWERS: [f64; 23] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22];

/// Whole numbers up to this one are doubles.
const WHOLE_MAX: u128 = 1 << 53;

/// The decimals of `array` as floats of type `to`, each the one nearest to it.
///
/// # Errors
/// `Execution` if a value is beyond the greatest of `to`.
pub(super) fn exact_floats(array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    match array.data_type() {
        DataType::Decimal128(_, scale) => {
            let values = array.as_primitive::<Decimal128Type>();
            match to {
                DataType::Float32 => singles(values.iter().map(|v| v.map(|v| text(v, *scale)))),
                _ => Ok(Arc::new(values.unary::<_, datafusion::arrow::datatypes::Float64Type>(|v| double(v, *scale)))),
            }
        }
        DataType::Decimal256(_, scale) => {
            let texts = array.as_primitive::<Decimal256Type>().iter().map(|v| v.map(|v| text(v, *scale)));
            match to {
                DataType::Float32 => singles(texts),
                _ => Ok(Arc::new(texts.map(|t| t.and_then(|t| t.parse().ok())).collect::<Float64Array>())),
            }
        }
        DataType::Decimal32(p, s) | DataType::Decimal64(p, s) => exact_floats(&cast(array, &DataType::Decimal128(*p, *s))?, to),
        other => Err(DataFusionError::Internal(format!("{other} is no numeric"))),
    }
}

fn singles(texts: impl Iterator<Item = Option<String>>) -> Result<ArrayRef> {
    let nearest = |text: String| match text.parse::<f32>() {
        Ok(value) if value.is_finite() => Ok(value),
        _ => Err(DataFusionError::Execution(format!("\"{text}\" is out of range for type {}", type_name(&DataType::Float32)))),
    };
    let values = texts.map(|text| text.map(nearest).transpose());
    Ok(Arc::new(values.collect::<Result<Float32Array>>()?))
}

/// `mantissa / 10^scale`, rounded once: by one division of numbers that are exact, else by reading its digits.
fn double(mantissa: i128, scale: i8) -> f64 {
    let power = POWERS.get(usize::from(scale.unsigned_abs())).filter(|_| mantissa.unsigned_abs() <= WHOLE_MAX);
    match power {
        Some(power) if scale >= 0 => mantissa as f64 / power,
        Some(power) => mantissa as f64 * power,
        // Text of this form always reads.
        None => text(mantissa, scale).parse().unwrap_or(f64::NAN),
    }
}

fn text(mantissa: impl std::fmt::Display, scale: i8) -> String {
    format!("{mantissa}e{}", -i32::from(scale))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_the_nearest() {
        assert_eq!(double(1, -9), 1e9);
        assert_eq!(double(1, -15), 1e15);
        assert_eq!(double(711_728_322_359_000_000_000, 10), 71_172_832_235.9);
        assert_eq!(double(-15, 1), -1.5);
        assert_eq!(double(123_456_789_012_345_678_901, 0), 123_456_789_012_345_678_901.0);
        assert_eq!(double(1, 38), 1e-38);
    }
}
