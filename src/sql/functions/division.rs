//! Division as in PostgreSQL: a numeric quotient has at least 16 digits behind the point, and nothing is divided by zero.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Decimal128Array};
use datafusion::arrow::compute::cast;
use datafusion::arrow::compute::kernels::numeric;
use datafusion::arrow::datatypes::{ArrowPrimitiveType, DataType, Decimal128Type, Float32Type, Float64Type, i256};
use datafusion::arrow::error::ArrowError;
use datafusion::common::{DataFusionError, Result};
use datafusion::logical_expr::{ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

use super::{any_scalar, over_rows};

/// `divide(a, b)` of two numerics, or of two floats of one type.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Division {
    /// What it gives.
    quotient: DataType,
    signature: Signature,
}

impl Division {
    /// `left / right` where PostgreSQL divides numerics or floats; none for other types.
    pub(crate) fn quotient(left: &DataType, right: &DataType) -> Option<DataType> {
        let decimal = |t: &DataType| match t {
            DataType::Decimal128(precision, scale) => Some((*precision, *scale)),
            DataType::Int16 => Some((5, 0)),
            DataType::Int32 => Some((10, 0)),
            DataType::Int64 => Some((19, 0)),
            _ => None,
        };
        match (left, right) {
            (DataType::Float32, DataType::Float32) => Some(DataType::Float32),
            (l, r) if l.is_numeric() && r.is_numeric() && (l.is_floating() || r.is_floating()) => Some(DataType::Float64),
            (DataType::Decimal128(..), _) | (_, DataType::Decimal128(..)) => {
                let ((p1, s1), (_, s2)) = (decimal(left)?, decimal(right)?);
                let whole = (i16::from(p1) - i16::from(s1) + i16::from(s2)).clamp(0, 38);
                let scale = i16::from(s1.max(s2)).min(38 - whole).max(16);
                Some(DataType::Decimal128(38, i8::try_from(scale).ok()?))
            }
            _ => None,
        }
    }

    /// `left / right` with a result of type `quotient`.
    pub(crate) fn call(quotient: DataType, left: Expr, right: Expr) -> Expr {
        ScalarUDF::new_from_impl(Self { quotient, signature: Signature::any(2, Volatility::Immutable) }).call(vec![left, right])
    }
}

impl ScalarUDFImpl for Division {
    fn name(&self) -> &str {
        "divide"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _args: &[DataType]) -> Result<DataType> {
        Ok(self.quotient.clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let scalar = any_scalar(&args.args);
        over_rows(&args.args, args.number_rows, scalar, |arrays| match &self.quotient {
            DataType::Decimal128(_, scale) => numerics(&decimal(&arrays[0])?, &decimal(&arrays[1])?, *scale),
            DataType::Float32 => floats::<Float32Type>(&cast(&arrays[0], &DataType::Float32)?, &cast(&arrays[1], &DataType::Float32)?),
            _ => floats::<Float64Type>(&cast(&arrays[0], &DataType::Float64)?, &cast(&arrays[1], &DataType::Float64)?),
        })
    }
}

fn by_zero() -> DataFusionError {
    DataFusionError::ArrowError(Box::new(ArrowError::DivideByZero), None)
}

fn decimal(array: &ArrayRef) -> Result<Decimal128Array> {
    let array = match array.data_type() {
        DataType::Decimal128(..) => array.clone(),
        _ => cast(array, &DataType::Decimal128(38, 0))?,
    };
    Ok(array.as_primitive::<Decimal128Type>().clone())
}

fn floats<T: ArrowPrimitiveType>(left: &ArrayRef, right: &ArrayRef) -> Result<ArrayRef>
where
    T::Native: Default + PartialEq,
{
    let zero = T::Native::default();
    let divisors = right.as_primitive::<T>().values();
    if divisors.iter().enumerate().any(|(row, value)| *value == zero && left.is_valid(row) && right.is_valid(row)) {
        return Err(by_zero());
    }
    Ok(numeric::div(left, right)?)
}

/// Quotients with `scale` digits behind the point, rounded half away from zero.
fn numerics(left: &Decimal128Array, right: &Decimal128Array, scale: i8) -> Result<ArrayRef> {
    // left / 10^s1 divided by right / 10^s2, times 10^scale.
    let shift = i32::from(scale) - i32::from(left.scale()) + i32::from(right.scale());
    let overflow = || DataFusionError::Execution("value overflows numeric format: out of range".to_owned());
    let quotient = |(l, r): (Option<i128>, Option<i128>)| match l.zip(r) {
        None => Ok(None),
        Some((_, 0)) => Err(by_zero()),
        Some((l, r)) => divide(l, r, shift).filter(|q| q.unsigned_abs() < 10u128.pow(38)).map(Some).ok_or_else(overflow),
    };
    let values = left.iter().zip(right.iter()).map(quotient).collect::<Result<Decimal128Array>>()?;
    Ok(Arc::new(values.with_precision_and_scale(38, scale)?))
}

/// `left * 10^shift / right`, rounded half away from zero.
fn divide(left: i128, right: i128, shift: i32) -> Option<i128> {
    let power = |exponent: i32| u32::try_from(exponent.max(0)).ok().and_then(|e| 10i128.checked_pow(e));
    if let (Some(up), true) = (power(shift), shift >= 0)
        && let Some(left) = left.checked_mul(up)
    {
        let (quotient, rest) = (left.checked_div(right)?, left.checked_rem(right)?);
        let away = rest.unsigned_abs() >= right.unsigned_abs() - rest.unsigned_abs();
        return quotient.checked_add(if away { left.signum() * right.signum() } else { 0 });
    }
    let wide = |value: i128| i256::from_i128(value);
    let ten_to = |exponent: i32| (0..exponent.max(0)).try_fold(wide(1), |power, _| power.checked_mul(wide(10)));
    let (left, right) = (wide(left).checked_mul(ten_to(shift)?)?, wide(right).checked_mul(ten_to(-shift)?)?);
    let (quotient, rest) = (left.checked_div(right)?, left.checked_rem(right)?);
    let doubled = rest.wrapping_abs().checked_mul(wide(2))?;
    let away = doubled >= right.wrapping_abs();
    let sign = wide(if (left < wide(0)) == (right < wide(0)) { 1 } else { -1 });
    quotient.checked_add(if away { sign } else { wide(0) })?.to_i128()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotients_are_rounded() {
        assert_eq!(divide(1, 3, 4), Some(3333));
        assert_eq!(divide(-2, 3, 4), Some(-6667));
        assert_eq!(divide(2, -3, 4), Some(-6667));
        assert_eq!(divide(10i128.pow(37), 7, 3), None);
        assert_eq!(divide(10i128.pow(37), 10i128.pow(10), 5), Some(10i128.pow(32)));
        assert_eq!(divide(25, 1, -1), Some(3));
    }
}
