//! Cursors over a query or over the changes of a relation, and COPY … TO.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::compute;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::execution::SendableRecordBatchStream;
use futures::StreamExt;
use headwater_runtime::EpochChanges;
use headwater_sql::{CopyOut, CursorQuery, Target};
use headwater_types::{ChangeBatch, Error, Result};
use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::provider::{external, ours};
use crate::{CopyKind, Outcome, Rows, Session};

/// An open cursor: rows that were made and not fetched yet, and where more come from.
pub(crate) struct Cursor {
    schema: SchemaRef,
    ready: Vec<RecordBatch>,
    more: More,
}

enum More {
    /// Behind a lock that nobody waits for, so that a session can be shared between threads.
    Query(Mutex<SendableRecordBatchStream>),
    Changes(mpsc::Receiver<EpochChanges>),
    Ended,
}

impl Cursor {
    /// A cursor over a query ends with its block; a subscription is made to last.
    pub fn outlives_block(&self) -> bool {
        matches!(self.more, More::Changes(_))
    }

    /// What it returns.
    pub fn columns(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// Takes at most `rows` rows of what is ready.
    fn take(&mut self, rows: u64) -> Vec<RecordBatch> {
        let (mut taken, mut left) = (Vec::new(), usize::try_from(rows).unwrap_or(usize::MAX));
        while left > 0 && !self.ready.is_empty() {
            let first = &mut self.ready[0];
            if first.num_rows() <= left {
                left -= first.num_rows();
                taken.push(self.ready.remove(0));
            } else {
                taken.push(first.slice(0, left));
                *first = first.slice(left, first.num_rows() - left);
                left = 0;
            }
        }
        taken
    }

    fn ready_rows(&self) -> u64 {
        self.ready.iter().map(|b| b.num_rows() as u64).sum()
    }

    /// Makes up to `rows` rows ready; a subscription waits up to `timeout` for the first.
    async fn fill(&mut self, rows: u64, timeout: Duration) -> Result<()> {
        while self.ready_rows() < rows {
            match &mut self.more {
                More::Ended => return Ok(()),
                More::Query(stream) => match stream.get_mut().next().await {
                    Some(batch) => self.ready.push(batch.map_err(ours)?),
                    None => self.more = More::Ended,
                },
                More::Changes(changes) => {
                    let wait = if self.ready.is_empty() { timeout } else { Duration::ZERO };
                    match tokio::time::timeout(wait, changes.recv()).await {
                        Err(_) => return Ok(()),
                        Ok(None) => return Err(ended()),
                        Ok(Some(change)) => {
                            for batch in &change.changes {
                                self.ready.push(change_rows(&self.schema, change.epoch.0, batch)?);
                            }
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

fn ended() -> Error {
    Error::limit("the subscription has ended: its relation was dropped, or it fell too far behind")
}

/// The columns of a subscription: the relation's, then `op` ('insert' or 'delete'), `weight`, `epoch`.
fn change_schema(columns: &SchemaRef) -> SchemaRef {
    let mut fields: Vec<_> = columns.fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new("headwater_weight", DataType::Int64, false)));
    fields.push(Arc::new(Field::new("headwater_epoch", DataType::Int64, false)));
    Arc::new(Schema::new(fields))
}

fn change_rows(schema: &SchemaRef, epoch: u64, batch: &ChangeBatch) -> Result<RecordBatch> {
    let mut columns: Vec<ArrayRef> = batch.rows().columns().to_vec();
    columns.push(Arc::new(Int64Array::new(batch.weights_or_ones(), None)));
    let epoch = i64::try_from(epoch).map_err(|_| Error::bug("an epoch fits 63 bits"))?;
    columns.push(Arc::new(Int64Array::from(vec![epoch; batch.len()])));
    Ok(RecordBatch::try_new(schema.clone(), columns)?)
}

impl Session {
    pub(crate) async fn declare(&mut self, name: String, query: CursorQuery) -> Result<Outcome> {
        if self.cursors.contains_key(&name) {
            return Err(Error::exists(format!("cursor \"{name}\" already exists")).with_sqlstate("42P03"));
        }
        self.release_script().await?;
        let cursor = match query {
            CursorQuery::Query(plan) => {
                if self.block.is_none() {
                    return Err(Error::invalid("DECLARE CURSOR can only be used in transaction blocks").with_sqlstate("25P01"));
                }
                let cut = self.cut();
                let rows = self.stream(plan, &cut).await?;
                Cursor { schema: rows.schema, ready: Vec::new(), more: More::Query(Mutex::new(rows.stream)) }
            }
            CursorQuery::Subscription(target) => {
                let (schema, changes) = self.changes_of(&target).await?;
                Cursor { schema, ready: Vec::new(), more: More::Changes(changes) }
            }
        };
        self.cursors.insert(name, cursor);
        Ok(Outcome::done("DECLARE CURSOR"))
    }

    async fn changes_of(&self, target: &Target) -> Result<(SchemaRef, mpsc::Receiver<EpochChanges>)> {
        let headwater_sql::RelationId::Object(id, part) = target.id else {
            return Err(Error::unsupported(format!("a subscription to \"{}\"", target.name)));
        };
        Ok((change_schema(&target.schema), self.shared.runtime.subscribe(part.of(id)).await?))
    }

    pub(crate) async fn fetch(&mut self, fetch: headwater_sql::Cursor) -> Result<Outcome> {
        let missing = || Error::not_found(format!("cursor \"{}\" does not exist", fetch.name)).with_sqlstate("34000");
        let cursor = self.cursors.get_mut(&fetch.name).ok_or_else(missing)?;
        let timeout = Duration::from_micros(u64::try_from(fetch.timeout_us.unwrap_or(0)).unwrap_or(0));
        let wanted = fetch.rows_max.unwrap_or(u64::MAX);
        cursor.fill(wanted, timeout).await?;
        let batches = cursor.take(wanted);
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        if fetch.skip {
            return Ok(Outcome::done(format!("MOVE {rows}")));
        }
        let batch = compute::concat_batches(&cursor.schema, batches.iter())?;
        Ok(Outcome::batch(&format!("FETCH {rows}"), batch))
    }

    pub(crate) fn close_cursor(&mut self, name: Option<String>) -> Result<Outcome> {
        match name {
            None => self.cursors.clear(),
            Some(name) => {
                let missing = || Error::not_found(format!("cursor \"{name}\" does not exist")).with_sqlstate("34000");
                self.cursors.remove(&name).ok_or_else(missing)?;
            }
        }
        Ok(Outcome::done("CLOSE CURSOR"))
    }

    pub(crate) async fn copy_out(&mut self, copy: CopyOut) -> Result<Outcome> {
        self.release_script().await?;
        let (rows, format) = match copy {
            CopyOut::Query(plan, format) => {
                let cut = self.cut();
                (self.stream(plan, &cut).await?, format)
            }
            CopyOut::Subscribe(target, format) => {
                let (schema, changes) = self.changes_of(&target).await?;
                let rows_schema = schema.clone();
                let rows = futures::stream::unfold(changes, |mut changes| async move { Some((changes.recv().await?, changes)) });
                let rows = rows.flat_map(move |change| {
                    let row = |batch: &ChangeBatch| change_rows(&rows_schema, change.epoch.0, batch).map_err(external);
                    futures::stream::iter(change.changes.iter().map(row).collect::<Vec<_>>())
                });
                let stream = datafusion::physical_plan::stream::RecordBatchStreamAdapter::new(schema.clone(), rows);
                (Rows { schema, stream: Box::pin(stream), sources: Vec::new() }, format)
            }
        };
        Ok(Outcome { rows: Some(rows), copy: CopyKind::Out(format), ..Outcome::done("COPY") })
    }
}
