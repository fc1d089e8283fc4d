//! The rows of a relation as of one moment, held by reference: readers never block and are never blocked.

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::SchemaRef;
use headwater_types::{ChangeBatch, Error, Result};

use crate::Matches;

/// Rows with positive weights, as of the moment it was taken. Cheap to clone; holds its runs until dropped.
#[derive(Clone)]
pub struct Snapshot {
    schema: SchemaRef,
}

impl Snapshot {
    /// No rows of `schema`.
    #[must_use]
    pub fn empty(schema: SchemaRef) -> Self {
        Self { schema }
    }

    /// The schema of the rows.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// How many rows, as an estimate for the optimizer.
    #[must_use]
    pub fn rows(&self) -> u64 {
        0
    }

    /// The net rows, a row of weight n appearing n times, in batches of at most 8,192 rows with the columns of `projection`, block by block.
    ///
    /// # Errors
    /// A column that is not there; each item those of the block store.
    pub fn scan(&self, _projection: Option<&[usize]>) -> Result<Box<dyn Iterator<Item = Result<RecordBatch>> + Send>> {
        Err(Error::unsupported("snapshot"))
    }

    /// The net rows with their weights.
    ///
    /// # Errors
    /// Each item those of the block store.
    pub fn changes(&self) -> Result<Box<dyn Iterator<Item = Result<ChangeBatch>> + Send>> {
        Err(Error::unsupported("snapshot"))
    }

    /// All rows whose key columns equal one of `keys`.
    ///
    /// # Errors
    /// `Unsupported` for append-only shapes, which have no key; those of the block store.
    pub fn lookup(&self, _keys: &[ArrayRef]) -> Result<Matches> {
        Err(Error::unsupported("snapshot"))
    }
}
