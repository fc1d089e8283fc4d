//! `sign(x)`: -1, 0 or 1, numeric of a numeric, else double precision.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, Decimal128Array, Float64Array};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Decimal128Type, Float64Type};
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

use super::{any_scalar, over_rows};

/// The type of a numeric's sign.
const DIGIT: DataType = DataType::Decimal128(1, 0);

#[derive(Debug, PartialEq, Eq, Hash)]
struct Sign {
    signature: Signature,
}

pub(super) fn function() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::new_from_impl(Sign { signature: Signature::user_defined(Volatility::Immutable) }))
}

impl ScalarUDFImpl for Sign {
    fn name(&self) -> &str {
        "sign"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, args: &[DataType]) -> Result<Vec<DataType>> {
        match args {
            [DataType::Decimal128(..)] => Ok(args.to_vec()),
            [other] if other.is_numeric() || other.is_null() || *other == DataType::Utf8 => Ok(vec![DataType::Float64]),
            _ => plan_err!("Function 'sign' does not take these arguments"),
        }
    }

    fn return_type(&self, args: &[DataType]) -> Result<DataType> {
        Ok(if matches!(args, [DataType::Decimal128(..)]) { DIGIT } else { DataType::Float64 })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let scalar = any_scalar(&args.args);
        over_rows(&args.args, args.number_rows, scalar, |arrays| match arrays[0].data_type() {
            DataType::Decimal128(..) => {
                let signs: Decimal128Array = arrays[0].as_primitive::<Decimal128Type>().unary(i128::signum);
                Ok(Arc::new(signs.with_data_type(DIGIT)))
            }
            _ => {
                let floats: ArrayRef = cast(&arrays[0], &DataType::Float64)?;
                let sign = |x: f64| if x == 0.0 || x.is_nan() { x + 0.0 } else { x.signum() };
                let signs: Float64Array = floats.as_primitive::<Float64Type>().unary(sign);
                Ok(Arc::new(signs))
            }
        })
    }
}
