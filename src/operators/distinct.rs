//! Distinct: every row once, however often it is in the input.

use arrow::datatypes::SchemaRef;
use headwater_types::{Error, Result};

use crate::{Operator, OperatorSpec, StatePlace};

/// The rows that the input holds at least once. Output schema: the input's. Watermarks pass.
#[derive(Debug, Clone)]
pub struct Distinct {
    schema: SchemaRef,
}

impl Distinct {
    /// Distinct rows of `schema`.
    #[must_use]
    pub fn new(schema: SchemaRef) -> Self {
        Self { schema }
    }
}

impl OperatorSpec for Distinct {
    fn name(&self) -> &'static str {
        "Distinct"
    }

    fn describe(&self) -> String {
        String::new()
    }

    fn fingerprint(&self) -> String {
        crate::operator::types_of(&self.schema)
    }

    fn open(&self, _place: &mut StatePlace) -> Result<Box<dyn Operator>> {
        Err(Error::unsupported("DISTINCT in a view"))
    }
}
