//! Logarithms, roots and powers that fail where they have no value, as in PostgreSQL, instead of giving NaN or infinity.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, Float64Array};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Float64Type};
use datafusion::common::{DataFusionError, Result, plan_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

use super::{any_scalar, over_rows};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Function {
    Ln,
    Log10,
    Log,
    Sqrt,
    Power,
}

/// `ln(x)`, `log10(x)`, `log([base,] x)`, `sqrt(x)`, `power(x, y)` over double precision.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Number {
    function: Function,
    signature: Signature,
    aliases: Vec<String>,
}

/// All of them.
pub(super) fn functions() -> Vec<Arc<ScalarUDF>> {
    let all = [Function::Ln, Function::Log10, Function::Log, Function::Sqrt, Function::Power];
    let one = |function| {
        let aliases = if function == Function::Power { vec!["pow".to_owned()] } else { Vec::new() };
        Arc::new(ScalarUDF::new_from_impl(Number { function, signature: Signature::user_defined(Volatility::Immutable), aliases }))
    };
    all.into_iter().map(one).collect()
}

impl ScalarUDFImpl for Number {
    fn name(&self) -> &str {
        match self.function {
            Function::Ln => "ln",
            Function::Log10 => "log10",
            Function::Log => "log",
            Function::Sqrt => "sqrt",
            Function::Power => "power",
        }
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, args: &[DataType]) -> Result<Vec<DataType>> {
        let right = match self.function {
            Function::Ln | Function::Log10 | Function::Sqrt => args.len() == 1,
            Function::Log => args.len() == 1 || args.len() == 2,
            Function::Power => args.len() == 2,
        };
        if !right || !args.iter().all(|t| t.is_numeric() || t.is_null() || *t == DataType::Utf8) {
            return plan_err!("Function '{}' does not take these arguments", self.name());
        }
        Ok(vec![DataType::Float64; args.len()])
    }

    fn return_type(&self, _args: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let scalar = any_scalar(&args.args);
        over_rows(&args.args, args.number_rows, scalar, |arrays| {
            let floats = arrays.iter().map(|a| cast(a, &DataType::Float64)).collect::<Result<Vec<ArrayRef>, _>>()?;
            let values = |at: usize| floats[at].as_primitive::<Float64Type>().iter();
            let result: Float64Array = match (self.function, floats.len()) {
                (Function::Power, _) => values(0).zip(values(1)).map(|(x, y)| x.zip(y).map(power).transpose()).collect::<Result<_>>()?,
                (Function::Log, 2) => values(0).zip(values(1)).map(|(b, x)| b.zip(x).map(logarithm).transpose()).collect::<Result<_>>()?,
                (Function::Sqrt, _) => values(0).map(|x| x.map(root).transpose()).collect::<Result<_>>()?,
                (Function::Ln, _) => values(0).map(|x| x.map(|x| positive(x).map(f64::ln)).transpose()).collect::<Result<_>>()?,
                _ => values(0).map(|x| x.map(|x| positive(x).map(f64::log10)).transpose()).collect::<Result<_>>()?,
            };
            Ok(Arc::new(result))
        })
    }
}

fn no_value(message: &str) -> DataFusionError {
    DataFusionError::Execution(message.to_owned())
}

/// # Errors
/// A logarithm has no value at `x`.
fn positive(x: f64) -> Result<f64> {
    if x == 0.0 {
        return Err(no_value("cannot take logarithm of zero"));
    }
    if x < 0.0 { Err(no_value("cannot take logarithm of a negative number")) } else { Ok(x) }
}

fn logarithm((base, x): (f64, f64)) -> Result<f64> {
    let (base, x) = (positive(base)?, positive(x)?);
    if base == 1.0 {
        Err(DataFusionError::ArrowError(Box::new(datafusion::arrow::error::ArrowError::DivideByZero), None))
    } else {
        Ok(x.log(base))
    }
}

fn root(x: f64) -> Result<f64> {
    if x < 0.0 { Err(no_value("cannot take square root of a negative number")) } else { Ok(x.sqrt()) }
}

fn power((x, y): (f64, f64)) -> Result<f64> {
    if x == 0.0 && y < 0.0 {
        return Err(no_value("zero raised to a negative power is undefined"));
    }
    if x < 0.0 && x.is_finite() && y.is_finite() && y.fract() != 0.0 {
        return Err(no_value("a negative number raised to a non-integer power yields a complex result"));
    }
    let result = x.powf(y);
    if result.is_infinite() && x.is_finite() && y.is_finite() { Err(no_value("value out of range: overflow")) } else { Ok(result) }
}
