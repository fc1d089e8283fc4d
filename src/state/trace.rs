//! Ordered state: a stack of immutable sorted runs whose sum are the rows, searched by key and merged in small portions.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::SchemaRef;
use headwater_types::{ChangeBatch, Epoch, Error, Micros, Result};

use crate::{Snapshot, Store, TableId, Writes};

/// Which end of a key's rows: the least or the greatest by the columns after the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The least row.
    First,
    /// The greatest row.
    Last,
}

/// Rows found for a batch of keys. A row may come in several pieces whose weights add up.
#[derive(Debug, Clone)]
pub struct Matches {
    /// `probe[i]` is the index of the key that row `i` of `rows` belongs to; ascending.
    pub probe: Vec<u32>,
    /// Whole rows of the schema.
    pub rows: ChangeBatch,
}

/// Rows with weights, ordered by key columns and then by all others.
pub struct Trace {
    schema: SchemaRef,
}

impl Trace {
    /// Rows of `schema`, ordered by the columns `key` and then by all other columns in schema order.
    ///
    /// # Errors
    /// A column without an order; those of the block store; `Corrupt` if the table was written with another schema.
    pub fn open(_store: &Arc<Store>, _id: TableId, schema: SchemaRef, _key: &[usize]) -> Result<Trace> {
        Ok(Trace { schema })
    }

    /// Adds changes; lookups and snapshots see them at once, the store after flush and write.
    ///
    /// # Errors
    /// Another schema.
    pub fn insert(&mut self, _changes: ChangeBatch) -> Result<()> {
        Err(Error::unsupported("trace"))
    }

    /// All rows whose key columns equal one of `keys` (columns in the order of `key`). NULL keys match NULL keys.
    ///
    /// # Errors
    /// Other key types; those of the block store.
    pub fn lookup(&self, _keys: &[ArrayRef]) -> Result<Matches> {
        Err(Error::unsupported("trace"))
    }

    /// For each key the row at `end` with positive net weight: an index per key into the returned batch, or None if the key has no rows.
    ///
    /// # Errors
    /// As [`Trace::lookup`].
    pub fn edge(&self, _keys: &[ArrayRef], _end: End) -> Result<(Vec<Option<u32>>, RecordBatch)> {
        Err(Error::unsupported("trace"))
    }

    /// The net weight of each of `rows` (whole rows of the schema).
    ///
    /// # Errors
    /// As [`Trace::lookup`].
    pub fn weights_of(&self, _rows: &RecordBatch) -> Result<Vec<i64>> {
        Err(Error::unsupported("trace"))
    }

    /// Deletes all rows whose first key column, a timestamp in microseconds, is below `below`: forgotten state. Emits nothing. NULL stays.
    /// Such rows that come later are forgotten too.
    ///
    /// # Errors
    /// The first key column is no timestamp in microseconds.
    pub fn forget_below(&mut self, _below: Micros) -> Result<()> {
        Err(Error::unsupported("trace"))
    }

    /// What was inserted since the last flush, as one run, and a portion of the merges that are due.
    ///
    /// # Errors
    /// Those of the block store.
    pub fn flush(&mut self, _epoch: Epoch, _writes: &mut Writes) -> Result<()> {
        Err(Error::unsupported("trace"))
    }

    /// The rows as they are now, for readers on other threads.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::empty(self.schema.clone())
    }

    /// Net rows.
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
