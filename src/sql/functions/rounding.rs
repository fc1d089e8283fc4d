//! `round` and `trunc`: of a numeric to a number of digits that is a literal, a numeric of that scale, as in PostgreSQL.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, Float64Array, Int64Array};
use datafusion::arrow::compute::cast_with_options;
use datafusion::arrow::compute::kernels::cast::CastOptions;
use datafusion::arrow::datatypes::{DataType, Decimal128Type, Field, FieldRef, Int64Type};
use datafusion::common::{DataFusionError, Result, ScalarValue, plan_err};
use datafusion::logical_expr::{ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

use super::{any_scalar, over_rows};

/// How digits are dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Way {
    /// Half away from zero; floats without a number of digits half to even.
    Round,
    /// Towards zero.
    Truncate,
}

/// `round(x [, digits])` or `trunc(x [, digits])`. Of a numeric: a numeric whose scale is `digits` where that is a literal, else the argument's. Of
/// anything else: double precision, whole.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Rounding {
    way: Way,
    scale: Scale,
    signature: Signature,
}

/// What decides the scale of the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Scale {
    /// The second argument, while the statement is planned.
    Open,
    /// This number of digits, or the value's own scale. It stays when an optimizer folds the second argument to a literal.
    Settled(Option<i64>),
}

/// Both functions.
pub(super) fn functions() -> Vec<Arc<ScalarUDF>> {
    vec![Arc::new(udf(Way::Round, Scale::Open)), Arc::new(udf(Way::Truncate, Scale::Open))]
}

fn udf(way: Way, scale: Scale) -> ScalarUDF {
    ScalarUDF::new_from_impl(Rounding { way, scale, signature: Signature::user_defined(Volatility::Immutable) })
}

impl Rounding {
    /// The function to call instead of `function` with `args`, whose type does not change any more; none if it is another one.
    pub(crate) fn settled(function: &ScalarUDF, args: &[Expr]) -> Option<ScalarUDF> {
        let open = function.inner().downcast_ref::<Self>().filter(|rounding| rounding.scale == Scale::Open)?;
        let digits = match args.get(1) {
            None => Some(0),
            Some(Expr::Literal(value, _)) => digits_of(value),
            Some(_) => None,
        };
        Some(udf(open.way, Scale::Settled(digits)))
    }
}

/// The scale of the result and the most digits that it can need.
fn numeric_type(precision: u8, scale: i8, digits: Option<i64>) -> DataType {
    let scale_to = match digits {
        None => scale,
        Some(digits) => i8::try_from(digits.clamp(0, 38)).unwrap_or(38),
    };
    // One digit more before the point: rounding may carry.
    let whole = i16::from(precision) - i16::from(scale) + 1;
    let precision = (whole + i16::from(scale_to)).clamp(1, 38);
    DataType::Decimal128(u8::try_from(precision).unwrap_or(38), scale_to.min(i8::try_from(precision).unwrap_or(38)))
}

fn digits_of(value: &ScalarValue) -> Option<i64> {
    match value.cast_to(&DataType::Int64) {
        Ok(ScalarValue::Int64(digits)) => Some(digits.unwrap_or(0)),
        _ => None,
    }
}

impl ScalarUDFImpl for Rounding {
    fn name(&self) -> &str {
        match self.way {
            Way::Round => "round",
            Way::Truncate => "trunc",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, args: &[DataType]) -> Result<Vec<DataType>> {
        let name = self.name();
        let (value, digits) = match args {
            [value] => (value, None),
            [value, digits] => (value, Some(digits)),
            _ => return plan_err!("Function '{name}' takes one or two arguments"),
        };
        if digits.is_some_and(|t| !t.is_integer() && !t.is_null()) {
            return plan_err!("Function '{name}': the number of digits is an integer");
        }
        let value = match value {
            DataType::Decimal128(..) => value.clone(),
            DataType::Decimal32(p, s) | DataType::Decimal64(p, s) => DataType::Decimal128(*p, *s),
            integer if integer.is_integer() && digits.is_some() => DataType::Decimal128(20, 0),
            number if number.is_numeric() || number.is_null() => DataType::Float64,
            DataType::Utf8 => DataType::Float64,
            other => return plan_err!("Function '{name}' does not take {}", crate::type_names::type_name(other)),
        };
        // The digits keep their type: a literal stays one, so that the result's type never changes.
        Ok(std::iter::once(value).chain(digits.cloned()).collect())
    }

    fn return_type(&self, _args: &[DataType]) -> Result<DataType> {
        Err(DataFusionError::Internal("the type depends on the arguments".to_owned()))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let digits = match (self.scale, args.scalar_arguments.get(1)) {
            (Scale::Settled(digits), _) => digits,
            (Scale::Open, None) => Some(0),
            (Scale::Open, Some(argument)) => argument.and_then(digits_of),
        };
        let data_type = match args.arg_fields[0].data_type() {
            DataType::Decimal128(precision, scale) => numeric_type(*precision, *scale, digits),
            _ => DataType::Float64,
        };
        let nullable = args.arg_fields.iter().any(|f| f.is_nullable());
        Ok(Arc::new(Field::new(self.name(), data_type, nullable)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let to = args.return_field.data_type().clone();
        let scalar = any_scalar(&args.args);
        over_rows(&args.args, args.number_rows, scalar, |arrays| {
            let digits = match arrays.get(1) {
                Some(digits) => cast(digits, &DataType::Int64)?.as_primitive::<Int64Type>().clone(),
                None => Int64Array::from(vec![0; arrays[0].len()]),
            };
            match (arrays[0].data_type(), &to) {
                (DataType::Decimal128(_, from), DataType::Decimal128(precision, scale)) => {
                    self.numerics(arrays[0].as_primitive(), &digits, (*from, *precision, *scale))
                }
                _ => Ok(self.floats(cast(&arrays[0], &DataType::Float64)?.as_primitive(), &digits, arrays.len() == 1)),
            }
        })
    }
}

fn cast(array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    Ok(cast_with_options(array, to, &CastOptions { safe: false, ..CastOptions::default() })?)
}

impl Rounding {
    fn floats(&self, values: &Float64Array, digits: &Int64Array, whole: bool) -> ArrayRef {
        let rounded = values.iter().zip(digits.iter()).map(|(value, digits)| {
            let (value, digits) = (value?, digits?);
            Some(match (self.way, whole) {
                (Way::Round, true) => value.round_ties_even(),
                (Way::Truncate, true) => value.trunc(),
                (way, false) => {
                    let factor = 10f64.powi(i32::try_from(digits.clamp(-300, 300)).unwrap_or(0));
                    let scaled = value * factor;
                    if scaled.is_finite() { (if way == Way::Round { scaled.round() } else { scaled.trunc() }) / factor } else { value }
                }
            })
        });
        Arc::new(rounded.collect::<Float64Array>())
    }

    /// Numerics of scale `from` cut to `digits` digits and written with the scale `to`.
    fn numerics(&self, values: &Decimal128Array, digits: &Int64Array, (from, precision, to): (i8, u8, i8)) -> Result<ArrayRef> {
        let overflow = || DataFusionError::Execution("numeric field overflow".to_owned());
        let one = |value: i128, digits: i64| {
            let dropped = i64::from(from) - digits;
            let kept = if dropped <= 0 { value } else { self.cut(value, u32::try_from(dropped.min(39)).unwrap_or(39)) };
            let value = rescaled(kept, to - from).ok_or_else(overflow)?;
            if value.unsigned_abs() >= 10u128.pow(u32::from(precision)) { Err(overflow()) } else { Ok(value) }
        };
        let pairs = values.iter().zip(digits.iter());
        let cut = pairs.map(|(value, digits)| value.zip(digits).map(|(v, d)| one(v, d)).transpose()).collect::<Result<Vec<_>>>()?;
        let array = datafusion::arrow::array::PrimitiveArray::<Decimal128Type>::from(cut).with_precision_and_scale(precision, to)?;
        Ok(Arc::new(array))
    }

    /// `value` with its last `dropped` digits zero.
    fn cut(&self, value: i128, dropped: u32) -> i128 {
        let Some(unit) = 10i128.checked_pow(dropped) else { return 0 };
        let rest = value % unit;
        let down = value - rest;
        match self.way {
            Way::Round if rest.unsigned_abs() >= unit.unsigned_abs() - rest.unsigned_abs() => down.saturating_add(unit * value.signum()),
            _ => down,
        }
    }
}

/// `value` with its point moved: `by` more digits behind it, or as many fewer.
fn rescaled(value: i128, by: i8) -> Option<i128> {
    let unit = 10i128.checked_pow(u32::from(by.unsigned_abs()))?;
    if by >= 0 { value.checked_mul(unit) } else { Some(value / unit) }
}
