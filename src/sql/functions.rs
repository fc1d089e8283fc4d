//! Functions that stand in for operators, casts and functions of the same name where PostgreSQL's results differ from DataFusion's.

mod arithmetic;
mod arrays;
mod cast_call;
mod convert;
mod division;
mod encodings;
mod exact_floats;
mod interval_scale;
mod numbers;
mod parse;
mod parse_interval;
mod parse_time;
mod random_uuid;
mod render;
mod rounding;
mod sign;
mod time;
mod time_parts;
mod to_char;
mod type_of;

use std::sync::Arc;

use datafusion::arrow::array::ArrayRef;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{ColumnarValue, ScalarUDF};

pub(crate) use arithmetic::{Arithmetic, IntegerOperator};
pub(crate) use cast_call::CastCall;
pub(crate) use convert::{Conversion, Convert, convert_value};
pub(crate) use division::Division;
pub(crate) use interval_scale::IntervalScale;
pub(crate) use parse_interval::interval as parse_interval;
pub(crate) use rounding::Rounding;
pub(crate) use time::{difference, span};
pub(crate) use time_parts::extract;

/// Functions that take the place of DataFusion's of the same name.
pub(crate) fn library() -> Vec<Arc<ScalarUDF>> {
    let alone = vec![random_uuid::function(), sign::function(), type_of::function()];
    let numbers = [alone, rounding::functions(), numbers::functions()].concat();
    [numbers, time::functions(), time_parts::functions(), to_char::functions(), encodings::functions()].concat()
}

/// True if no argument has a value a row.
fn any_scalar(args: &[ColumnarValue]) -> bool {
    args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)))
}

/// `compute` over the arguments as arrays of equal length; the result of `scalar` arguments is one value.
fn over_rows(
    args: &[ColumnarValue],
    rows: usize,
    scalar: bool,
    compute: impl FnOnce(&[ArrayRef]) -> Result<ArrayRef>,
) -> Result<ColumnarValue> {
    let arrays = args.iter().map(|arg| arg.to_array(if scalar { 1 } else { rows })).collect::<Result<Vec<_>>>()?;
    let result = compute(&arrays)?;
    Ok(if scalar { ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?) } else { ColumnarValue::Array(result) })
}
