//! A cast while its statement is planned: a function, because DataFusion's names leave casts out and would take `max(n)` and `max(n::int)` for one.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{DataFusionError, Result};
use datafusion::logical_expr::expr::Cast;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

/// `CAST(x AS type)`. The analyzer puts the cast itself in its place.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct CastCall {
    name: String,
    field: FieldRef,
    signature: Signature,
}

impl CastCall {
    /// The function that casts to `field`, known by `name`.
    pub(crate) fn function(name: &str, field: FieldRef) -> ScalarUDF {
        ScalarUDF::new_from_impl(Self { name: name.to_owned(), field, signature: Signature::any(1, Volatility::Immutable) })
    }

    /// The target of the cast, if `function` is one.
    pub(crate) fn target(function: &ScalarUDF) -> Option<&FieldRef> {
        function.inner().downcast_ref::<Self>().map(|cast| &cast.field)
    }
}

impl ScalarUDFImpl for CastCall {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _args: &[DataType]) -> Result<DataType> {
        Ok(self.field.data_type().clone())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let nullable = args.arg_fields.iter().any(|f| f.is_nullable());
        let field = Field::new(&self.name, self.field.data_type().clone(), nullable);
        Ok(Arc::new(field.with_metadata(self.field.metadata().clone())))
    }

    fn simplify(&self, args: Vec<Expr>, _info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        match <[Expr; 1]>::try_from(args) {
            Ok([value]) => Ok(ExprSimplifyResult::Simplified(Expr::Cast(Cast::new_from_field(Box::new(value), self.field.clone())))),
            Err(args) => Ok(ExprSimplifyResult::Original(args)),
        }
    }

    fn invoke_with_args(&self, _args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Err(DataFusionError::Internal("a cast that was not replaced".to_owned()))
    }
}
