//! Append-only state: blocks in arrival order, small ones joined, oldest ones trimmed.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use headwater_types::{Epoch, Error, Result};

use crate::{Snapshot, Store, TableId, Writes};

/// Insertions only, in the order of their arrival, in blocks of up to 8,192 rows.
pub struct Log {
    schema: SchemaRef,
}

impl Log {
    /// Rows of `schema` as table `id`.
    ///
    /// # Errors
    /// Those of the block store; `Corrupt` if the table was written with another schema.
    pub fn open(_store: &Arc<Store>, _id: TableId, schema: SchemaRef) -> Result<Log> {
        Ok(Log { schema })
    }

    /// Adds rows at the end; snapshots see them at once, the store after flush and write.
    ///
    /// # Errors
    /// Another schema.
    pub fn append(&mut self, _rows: RecordBatch) -> Result<()> {
        Err(Error::unsupported("log"))
    }

    /// What was appended since the last flush, as one run.
    ///
    /// # Errors
    /// Those of the block store.
    pub fn flush(&mut self, _epoch: Epoch, _writes: &mut Writes) -> Result<()> {
        Err(Error::unsupported("log"))
    }

    /// Drops the oldest rows until at most `bytes_max` stored bytes remain; durable with the next flush.
    pub fn trim(&mut self, _bytes_max: usize) {}

    /// The rows as they are now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::empty(self.schema.clone())
    }

    /// Rows.
    #[must_use]
    pub fn rows(&self) -> u64 {
        0
    }

    /// Bytes in memory, the shared cache not counted.
    #[must_use]
    pub fn bytes(&self) -> usize {
        0
    }
}
