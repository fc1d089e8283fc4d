//! `gen_random_uuid()`: a UUID of random bits (version 4) for each row.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, FixedSizeBinaryArray};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::Result;
use datafusion::logical_expr::{ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

use crate::type_names::TYPE_KEY;

#[derive(Debug, PartialEq, Eq, Hash)]
struct RandomUuid {
    signature: Signature,
}

pub(super) fn function() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::new_from_impl(RandomUuid { signature: Signature::nullary(Volatility::Volatile) }))
}

impl ScalarUDFImpl for RandomUuid {
    fn name(&self) -> &str {
        "gen_random_uuid"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _args: &[DataType]) -> Result<DataType> {
        Ok(DataType::FixedSizeBinary(16))
    }

    fn return_field_from_args(&self, _args: ReturnFieldArgs) -> Result<FieldRef> {
        let field = Field::new(self.name(), DataType::FixedSizeBinary(16), false);
        Ok(Arc::new(field.with_metadata([(TYPE_KEY.to_owned(), "uuid".to_owned())].into())))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let uuids = (0..args.number_rows).map(|_| Some(uuid::Uuid::new_v4().into_bytes()));
        let array = FixedSizeBinaryArray::try_from_sparse_iter_with_size(uuids, 16)?;
        Ok(ColumnarValue::Array(Arc::new(array) as ArrayRef))
    }
}
