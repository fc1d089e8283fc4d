//! What tables, views, `$late` and `$errors` are kept in: sorted or append-only rows behind one face, and the outbox of their epochs.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::SchemaRef;
use headwater_types::{ChangeBatch, Epoch, Error, Result};

use crate::{Matches, Snapshot, Store, TableId, Writes};

/// How a relation keeps its rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    /// Changes; sorted by these key columns (maybe none) and then by all others.
    Keyed(Vec<usize>),
    /// Insertions only, in the order of their arrival.
    AppendOnly,
}

/// The rows of a table or view. Its outbox keeps the changes of each epoch for sinks and subscriptions until they are released.
pub struct Relation {
    schema: SchemaRef,
}

impl Relation {
    /// The relation that table `id` holds, or an empty one.
    ///
    /// # Errors
    /// A column without an order; those of the block store; `Corrupt` if it was written with another schema.
    pub fn open(_store: &Arc<Store>, _id: TableId, schema: SchemaRef, _shape: Shape) -> Result<Relation> {
        Ok(Relation { schema })
    }

    /// Adds changes; `lookup` sees them at once.
    ///
    /// # Errors
    /// Another schema; a deletion from an append-only relation.
    pub fn apply(&mut self, _changes: ChangeBatch) -> Result<()> {
        Err(Error::unsupported("relation"))
    }

    /// What was applied since the last flush, as the epoch's run.
    ///
    /// # Errors
    /// Those of the block store; `Bug` (checked in debug builds) if a row would be there fewer than zero times.
    pub fn flush(&mut self, _epoch: Epoch, _writes: &mut Writes) -> Result<()> {
        Err(Error::unsupported("relation"))
    }

    /// The rows as they are now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::empty(self.schema.clone())
    }

    /// All rows whose key columns equal one of `keys`.
    ///
    /// # Errors
    /// `Unsupported` for append-only relations; those of the block store.
    pub fn lookup(&self, _keys: &[ArrayRef]) -> Result<Matches> {
        Err(Error::unsupported("relation"))
    }

    /// The net weight of each of `rows` (whole rows).
    ///
    /// # Errors
    /// As [`Relation::lookup`].
    pub fn weights_of(&self, _rows: &RecordBatch) -> Result<Vec<i64>> {
        Err(Error::unsupported("relation"))
    }

    /// Whether to keep each epoch's own changes from now on. What is kept survives a reopen; this switch does not: its owner sets it again.
    pub fn keep_epochs(&mut self, _keep: bool) {}

    /// The changes of each kept epoch after `after`, oldest first, consolidated.
    ///
    /// # Errors
    /// Those of the block store.
    pub fn epochs_after(&self, _after: Epoch) -> Result<Vec<(Epoch, Vec<ChangeBatch>)>> {
        Err(Error::unsupported("relation"))
    }

    /// Forgets kept epochs up to `upto`; durable with the next flush.
    pub fn release(&mut self, _upto: Epoch) {}

    /// Drops the oldest rows of an append-only relation until at most `bytes_max` stored bytes remain; durable with the next flush.
    ///
    /// # Errors
    /// `Unsupported` for keyed relations.
    pub fn trim(&mut self, _bytes_max: usize) -> Result<()> {
        Err(Error::unsupported("relation"))
    }

    /// Stored bytes that the outbox holds.
    #[must_use]
    pub fn kept_bytes(&self) -> usize {
        0
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
