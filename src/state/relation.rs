//! What tables, views, `$late` and `$errors` are kept in: sorted or append-only rows behind one face, and the outbox of their epochs.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, UInt32Array};
use arrow::datatypes::SchemaRef;
use arrow::util::pretty::pretty_format_batches;
use headwater_types::{ChangeBatch, Epoch, Error, Result};

use crate::roster::Roster;
use crate::{Log, Matches, Snapshot, Store, TableId, Trace, Writes};

/// How a relation keeps its rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    /// Changes; sorted by these key columns (maybe none) and then by all others.
    Keyed(Vec<usize>),
    /// Insertions only, in the order of their arrival.
    AppendOnly,
}

/// The rows of a table or view. Its outbox keeps the changes of each epoch for sinks and subscriptions until they are released: not as copies,
/// but as the epochs' own runs.
pub struct Relation {
    table: TableId,
    rows: Rows,
}

enum Rows {
    Keyed(Box<Trace>),
    AppendOnly(Box<Log>),
}

impl Relation {
    /// The relation that table `id` holds, or an empty one.
    ///
    /// # Errors
    /// A column without an order; those of the block store; `Corrupt` if it was written with another schema or shape.
    pub fn open(store: &Arc<Store>, id: TableId, schema: SchemaRef, shape: Shape) -> Result<Relation> {
        let rows = match shape {
            Shape::Keyed(key) => Rows::Keyed(Box::new(Trace::open(store, id, schema, &key)?)),
            Shape::AppendOnly => Rows::AppendOnly(Box::new(Log::open(store, id, schema)?)),
        };
        Ok(Relation { table: id, rows })
    }

    /// Adds changes; `lookup` sees them at once.
    ///
    /// # Errors
    /// Other column types; `Bug` for a deletion from an append-only relation.
    pub fn apply(&mut self, changes: ChangeBatch) -> Result<()> {
        match &mut self.rows {
            Rows::Keyed(trace) => trace.insert(changes),
            Rows::AppendOnly(log) => match changes.weights() {
                None => log.append(changes.rows().clone()),
                Some(weights) if weights.iter().all(|&w| w == 1) => log.append(changes.rows().clone()),
                Some(weights) => log.append(repeat(&changes, weights, self.table)?),
            },
        }
    }

    /// What was applied since the last flush, as the epoch's run.
    ///
    /// # Errors
    /// Those of the block store; `Bug` (checked in debug builds) if a row would be there fewer than zero times.
    pub fn flush(&mut self, epoch: Epoch, writes: &mut Writes) -> Result<()> {
        match &mut self.rows {
            Rows::Keyed(trace) => {
                if cfg!(debug_assertions) {
                    check_multiplicities(trace).map_err(|e| e.context(format!("object {}, epoch {epoch}", self.table.object)))?;
                }
                trace.flush(epoch, writes)
            }
            Rows::AppendOnly(log) => log.flush(epoch, writes),
        }
    }

    /// The rows as they are now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        match &self.rows {
            Rows::Keyed(trace) => trace.snapshot(),
            Rows::AppendOnly(log) => log.snapshot(),
        }
    }

    /// All rows whose key columns equal one of `keys`.
    ///
    /// # Errors
    /// `Unsupported` for append-only relations and those without a key; those of the block store.
    pub fn lookup(&self, keys: &[ArrayRef]) -> Result<Matches> {
        match &self.rows {
            Rows::Keyed(trace) => trace.lookup(keys),
            Rows::AppendOnly(_) => Err(Error::unsupported("a lookup in an append-only relation")),
        }
    }

    /// The net weight of each of `rows` (whole rows).
    ///
    /// # Errors
    /// As [`Relation::lookup`].
    pub fn weights_of(&self, rows: &RecordBatch) -> Result<Vec<i64>> {
        match &self.rows {
            Rows::Keyed(trace) => trace.weights_of(rows),
            Rows::AppendOnly(_) => Err(Error::unsupported("a lookup in an append-only relation")),
        }
    }

    /// Whether to keep each epoch's own changes from now on. What is kept survives a reopen; this switch does not: its owner sets it again.
    /// Switched off, what is kept stays until it is released.
    pub fn keep_epochs(&mut self, keep: bool) {
        self.roster_mut().keep_epochs(keep);
    }

    /// The changes of each kept epoch after `after`, oldest first, consolidated; read as the iterator goes. An epoch without changes is not there.
    ///
    /// # Errors
    /// Those of the block store.
    pub fn epochs_after(&self, after: Epoch) -> impl Iterator<Item = Result<(Epoch, Vec<ChangeBatch>)>> + '_ {
        self.roster().kept_after(after).map(|(epoch, run)| {
            let blocks = (0..run.blocks()).map(|number| Ok(run.block_once(number)?.changes().clone()));
            Ok((epoch, blocks.collect::<Result<Vec<ChangeBatch>>>()?))
        })
    }

    /// Forgets kept epochs up to `upto`; durable with the next flush.
    pub fn release(&mut self, upto: Epoch) {
        self.roster_mut().release(upto);
    }

    /// Drops the oldest rows of an append-only relation until at most `bytes_max` stored bytes remain; durable with the next flush.
    ///
    /// # Errors
    /// `Unsupported` for keyed relations.
    pub fn trim(&mut self, bytes_max: usize) -> Result<()> {
        match &mut self.rows {
            Rows::Keyed(_) => Err(Error::unsupported("trimming a keyed relation")),
            Rows::AppendOnly(log) => {
                log.trim(bytes_max);
                Ok(())
            }
        }
    }

    /// Stored bytes that the outbox holds.
    #[must_use]
    pub fn kept_bytes(&self) -> usize {
        self.roster().kept_bytes()
    }

    /// Net rows.
    #[must_use]
    pub fn rows(&self) -> u64 {
        match &self.rows {
            Rows::Keyed(trace) => trace.rows(),
            Rows::AppendOnly(log) => log.rows(),
        }
    }

    /// Bytes in memory, the shared cache not counted.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match &self.rows {
            Rows::Keyed(trace) => trace.bytes(),
            Rows::AppendOnly(log) => log.bytes(),
        }
    }

    fn roster(&self) -> &Roster {
        match &self.rows {
            Rows::Keyed(trace) => trace.roster(),
            Rows::AppendOnly(log) => log.roster(),
        }
    }

    fn roster_mut(&mut self) -> &mut Roster {
        match &mut self.rows {
            Rows::Keyed(trace) => trace.roster_mut(),
            Rows::AppendOnly(log) => log.roster_mut(),
        }
    }
}

/// Rows of weight n as n rows.
fn repeat(changes: &ChangeBatch, weights: &[i64], table: TableId) -> Result<RecordBatch> {
    let mut indices = Vec::new();
    for (row, &weight) in weights.iter().enumerate() {
        let times = usize::try_from(weight);
        let times = times.map_err(|_| Error::bug(format!("a deletion from the append-only relation of object {}", table.object)))?;
        indices.resize(indices.len() + times, row as u32);
    }
    Ok(changes.take(&UInt32Array::from(indices))?.rows().clone())
}

/// Every row that this epoch deletes must be there at least zero times afterwards.
fn check_multiplicities(trace: &Trace) -> Result<()> {
    let fresh = trace.fresh_changes()?;
    let Some(weights) = fresh.weights().filter(|weights| weights.iter().any(|&w| w < 0)) else { return Ok(()) };
    let deleted = fresh.filter(&BooleanArray::from_iter(weights.iter().map(|&w| Some(w < 0))))?;
    let net = trace.weights_of(deleted.rows())?;
    match net.iter().position(|&weight| weight < 0) {
        None => Ok(()),
        Some(row) => {
            let shown = pretty_format_batches(&[deleted.rows().slice(row, 1)])?;
            Err(Error::bug(format!("a row would be there {} times", net[row])).with_detail(shown.to_string()))
        }
    }
}
