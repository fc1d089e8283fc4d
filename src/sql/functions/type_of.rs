//! `pg_typeof(x)`: the name of a value's type.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

use crate::type_names::{TYPE_KEY, type_name};

#[derive(Debug, PartialEq, Eq, Hash)]
struct TypeOf {
    signature: Signature,
}

pub(super) fn function() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::new_from_impl(TypeOf { signature: Signature::any(1, Volatility::Immutable) }))
}

/// The name without length and digits, which PostgreSQL's function does not tell either.
fn bare_name(field: &FieldRef) -> String {
    if let Some(name @ ("uuid" | "json" | "jsonb")) = field.metadata().get(TYPE_KEY).map(String::as_str) {
        return name.to_owned();
    }
    match field.data_type() {
        DataType::Null => "unknown".to_owned(),
        DataType::FixedSizeBinary(16) => "uuid".to_owned(),
        DataType::Decimal128(..) => "numeric".to_owned(),
        other => type_name(other),
    }
}

impl ScalarUDFImpl for TypeOf {
    fn name(&self) -> &str {
        "pg_typeof"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _args: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let name = args.arg_fields.first().map(bare_name);
        Ok(ColumnarValue::Scalar(ScalarValue::Utf8(name)))
    }
}
