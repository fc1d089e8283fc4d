//! Integer addition, subtraction and multiplication that fail on overflow instead of wrapping around.

use std::sync::Arc;

use datafusion::arrow::compute::kernels::numeric;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::{ColumnarValue, Expr, Operator, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

/// Which operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum IntegerOperator {
    Add,
    Subtract,
    Multiply,
}

impl IntegerOperator {
    /// The one that `operator` is on integers, if it is one that can overflow.
    pub(crate) fn of(operator: Operator) -> Option<Self> {
        match operator {
            Operator::Plus => Some(Self::Add),
            Operator::Minus => Some(Self::Subtract),
            Operator::Multiply => Some(Self::Multiply),
            _ => None,
        }
    }
}

/// `integer_add(a, b)` and its like: both arguments and the result are of one integer type.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Arithmetic {
    operator: IntegerOperator,
    signature: Signature,
}

impl Arithmetic {
    /// `left operator right`, both of `data_type`.
    pub(crate) fn call(operator: IntegerOperator, left: Expr, right: Expr) -> Expr {
        let function = Self { operator, signature: Signature::any(2, Volatility::Immutable) };
        ScalarUDF::new_from_impl(function).call(vec![left, right])
    }
}

impl ScalarUDFImpl for Arithmetic {
    fn name(&self) -> &str {
        match self.operator {
            IntegerOperator::Add => "integer_add",
            IntegerOperator::Subtract => "integer_subtract",
            IntegerOperator::Multiply => "integer_multiply",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, args: &[DataType]) -> Result<DataType> {
        Ok(args[0].clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [left, right] = args.args.as_slice() else {
            return Err(DataFusionError::Internal(format!("{} takes two arguments", self.name())));
        };
        let kernel = match self.operator {
            IntegerOperator::Add => numeric::add,
            IntegerOperator::Subtract => numeric::sub,
            IntegerOperator::Multiply => numeric::mul,
        };
        let both_scalars = matches!((left, right), (ColumnarValue::Scalar(_), ColumnarValue::Scalar(_)));
        let result = match (left, right) {
            (ColumnarValue::Array(l), ColumnarValue::Array(r)) => kernel(l, r),
            (ColumnarValue::Array(l), ColumnarValue::Scalar(r)) => kernel(l, &r.to_scalar()?),
            (ColumnarValue::Scalar(l), ColumnarValue::Array(r)) => kernel(&l.to_scalar()?, r),
            (ColumnarValue::Scalar(l), ColumnarValue::Scalar(r)) => kernel(&l.to_scalar()?, &r.to_scalar()?),
        };
        let result = result.map_err(|e| out_of_range(&e, args.return_field.data_type()))?;
        if both_scalars {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?));
        }
        Ok(ColumnarValue::Array(Arc::clone(&result)))
    }
}

fn out_of_range(error: &datafusion::arrow::error::ArrowError, data_type: &DataType) -> DataFusionError {
    match error {
        datafusion::arrow::error::ArrowError::ArithmeticOverflow(_) => {
            DataFusionError::Execution(format!("{} out of range", crate::types::type_name(data_type)))
        }
        other => DataFusionError::Internal(other.to_string()),
    }
}
