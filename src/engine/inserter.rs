//! Arrow in and out without SQL: batches into a table, changes of a view.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use headwater_catalog::Object;
use headwater_runtime::{EpochChanges, Runtime, TableWrite, WriteDone};
use headwater_types::{Clock, Error, Result, equal_floats};
use tokio::sync::mpsc;

use crate::connect::dated;

/// Inserts batches into one table.
pub struct Inserter {
    runtime: Runtime,
    clock: Arc<dyn Clock>,
    table: Arc<Object>,
}

impl Inserter {
    pub(crate) fn new(runtime: Runtime, clock: Arc<dyn Clock>, table: Arc<Object>) -> Self {
        Self { runtime, clock, table }
    }

    /// The columns that a batch must have: names, types, order.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        self.table.schema()
    }

    /// Inserts the rows of `batch`; says how many and in which epoch, once that is durable. Several may wait at once and share a sync. Rows without a
    /// usable event time go to the table's `$errors` and are counted apart.
    ///
    /// # Errors
    /// `Invalid` for other columns or a NULL where none may be; 23505 for a key that is there already.
    pub async fn insert(&self, batch: RecordBatch) -> Result<WriteDone> {
        let mut columns = batch.columns().to_vec();
        for &key in self.table.key().unwrap_or_default().iter().filter(|key| **key < batch.num_columns()) {
            columns[key] = equal_floats(&columns[key]);
        }
        let rows = RecordBatch::try_new(self.schema(), columns)
            .map_err(|e| Error::invalid(format!("the batch does not fit table \"{}\": {e}", self.table.name)).with_sqlstate("42804"))?;
        let dated = dated(&self.runtime, self.clock.as_ref(), &self.table, rows)?;
        let write = TableWrite { insert: Some(dated.rows), refused: dated.refused, ..TableWrite::default() };
        self.runtime.write(self.table.id, write).await
    }
}

/// The changes of one relation.
pub struct Subscription {
    schema: SchemaRef,
    changes: mpsc::Receiver<EpochChanges>,
}

impl Subscription {
    pub(crate) fn new(schema: SchemaRef, changes: mpsc::Receiver<EpochChanges>) -> Self {
        Self { schema, changes }
    }

    /// The relation's columns.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// The next epoch that changed the relation; the first has its rows as they were at the start. `None` when the database closed, the relation
    /// was dropped, its view failed, or the subscriber fell more than a thousand epochs behind.
    pub async fn next(&mut self) -> Option<EpochChanges> {
        self.changes.recv().await
    }
}
