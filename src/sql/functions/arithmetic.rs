//! Integer addition, subtraction and multiplication that fail on overflow instead of wrapping around.

use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::compute::kernels::numeric;
use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::error::ArrowError;
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::expr::ScalarFunction;
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

/// A chain of operators from left to right, `a + b - c`, as one call: a call in a call for each operator would make the time to plan grow with the
/// square of the chain's length and more, since DataFusion types and names each level anew.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Arithmetic {
    /// For each argument after the first: the operator before it, and the type of the result.
    steps: Vec<(IntegerOperator, DataType)>,
    signature: Signature,
}

impl Arithmetic {
    /// `left operator right` with a result of `data_type`, to which each side is converted.
    pub(crate) fn call(operator: IntegerOperator, left: Expr, right: Expr, data_type: DataType) -> Expr {
        let chain = |call: &ScalarFunction| call.func.inner().downcast_ref::<Self>().map(|chain| chain.steps.clone());
        let (mut steps, mut args) = match left {
            Expr::ScalarFunction(call) => match chain(&call) {
                Some(steps) => (steps, call.args),
                None => (Vec::new(), vec![Expr::ScalarFunction(call)]),
            },
            other => (Vec::new(), vec![other]),
        };
        steps.push((operator, data_type));
        args.push(right);
        let signature = Signature::any(args.len(), Volatility::Immutable);
        ScalarUDF::new_from_impl(Self { steps, signature }).call(args)
    }

    /// The type of `expr` if it is such a call, without looking at its arguments.
    pub(crate) fn result_type(expr: &Expr) -> Option<DataType> {
        let Expr::ScalarFunction(call) = expr else { return None };
        call.func.inner().downcast_ref::<Self>().map(Self::last_type)
    }

    fn last_type(&self) -> DataType {
        self.steps.last().map_or(DataType::Int64, |(_, data_type)| data_type.clone())
    }
}

impl ScalarUDFImpl for Arithmetic {
    fn name(&self) -> &str {
        match self.steps.as_slice() {
            [(IntegerOperator::Add, _)] => "integer_add",
            [(IntegerOperator::Subtract, _)] => "integer_subtract",
            [(IntegerOperator::Multiply, _)] => "integer_multiply",
            _ => "integer_chain",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _args: &[DataType]) -> Result<DataType> {
        Ok(self.last_type())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let mut args = args.args.into_iter();
        let Some(mut value) = args.next() else {
            return Err(DataFusionError::Internal(format!("{} takes arguments", self.name())));
        };
        for ((operator, data_type), arg) in self.steps.iter().zip(args) {
            value = step(*operator, &value.cast_to(data_type, None)?, &arg.cast_to(data_type, None)?, data_type)?;
        }
        Ok(value)
    }
}

fn step(operator: IntegerOperator, left: &ColumnarValue, right: &ColumnarValue, data_type: &DataType) -> Result<ColumnarValue> {
    let kernel = match operator {
        IntegerOperator::Add => numeric::add,
        IntegerOperator::Subtract => numeric::sub,
        IntegerOperator::Multiply => numeric::mul,
    };
    let result: Result<ArrayRef, ArrowError> = match (left, right) {
        (ColumnarValue::Array(l), ColumnarValue::Array(r)) => kernel(l, r),
        (ColumnarValue::Array(l), ColumnarValue::Scalar(r)) => kernel(l, &r.to_scalar()?),
        (ColumnarValue::Scalar(l), ColumnarValue::Array(r)) => kernel(&l.to_scalar()?, r),
        (ColumnarValue::Scalar(l), ColumnarValue::Scalar(r)) => kernel(&l.to_scalar()?, &r.to_scalar()?),
    };
    let result = result.map_err(|e| out_of_range(&e, data_type))?;
    if matches!((left, right), (ColumnarValue::Scalar(_), ColumnarValue::Scalar(_))) {
        return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?));
    }
    Ok(ColumnarValue::Array(result))
}

fn out_of_range(error: &ArrowError, data_type: &DataType) -> DataFusionError {
    match error {
        ArrowError::ArithmeticOverflow(_) => {
            DataFusionError::Execution(format!("{} out of range", crate::type_names::type_name(data_type)))
        }
        other => DataFusionError::Internal(other.to_string()),
    }
}
