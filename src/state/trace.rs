//! Ordered state: a stack of immutable sorted runs whose sum are the rows, searched by key and merged in small portions.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::datatypes::{DataType, SchemaRef, TimeUnit};
use headwater_types::{ChangeBatch, Epoch, Error, Micros, Result, consolidate};

use crate::block::Block;
use crate::keys::Meta;
use crate::merge::{Floor, Sorted};
use crate::roster::Roster;
use crate::run::RunWriter;
use crate::schema::{TableKind, TableSchema};
use crate::spine::{Spine, block_rows};
use crate::stack::{Orders, Stack};
use crate::{Family, Snapshot, Store, TableId, Writes};

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
    store: Arc<Store>,
    table: TableId,
    stored: TableSchema,
    roster: Roster,
    spine: Spine,
    /// The listed runs and the fresh blocks, for searching.
    stack: Stack,
    /// Inserted since the last flush: each sorted and net, none larger than the half of the one before.
    fresh: Vec<Arc<Block>>,
    is_floor_stored: bool,
}

impl Trace {
    /// Rows of `schema`, ordered by the columns `key` and then by all other columns in schema order.
    ///
    /// # Errors
    /// A column without an order; those of the block store; `Corrupt` if the table was written with another schema.
    pub fn open(store: &Arc<Store>, id: TableId, schema: SchemaRef, key: &[usize]) -> Result<Trace> {
        let orders = Arc::new(Orders::new(&schema, key)?);
        let stored = TableSchema::open(store, id, TableKind::Trace, &schema, key)?;
        let roster = Roster::open(store, id, &schema)?;
        let floor = match store.blocks().get(Family::Meta, &Meta::Floor.of_table(id))? {
            None => None,
            Some(bytes) => {
                let bytes = bytes.try_into().map_err(|_| Error::corrupt("a table's floor is malformed"))?;
                let column = *key.first().ok_or_else(|| Error::corrupt("a table without a key has a floor"))?;
                Some(Floor { column, below: i64::from_be_bytes(bytes) })
            }
        };
        let stack = Stack { schema, orders, parts: Vec::new(), floor };
        let spine = Spine::new(store, id);
        let mut trace = Trace { store: store.clone(), table: id, stored, roster, spine, stack, fresh: Vec::new(), is_floor_stored: true };
        trace.restack();
        Ok(trace)
    }

    /// Adds changes; lookups and snapshots see them at once, the store after flush and write.
    ///
    /// # Errors
    /// Other column types.
    pub fn insert(&mut self, changes: ChangeBatch) -> Result<()> {
        let mut batches = vec![changes];
        // Like the sizes of runs: a row is sorted anew only O(log n) times.
        let mut rows = batches[0].len();
        while self.fresh.last().is_some_and(|last| last.len() < rows * 2) {
            batches.extend(self.fresh.pop().map(|last| last.changes().clone()));
            rows = batches.iter().map(ChangeBatch::len).sum();
        }
        let net = consolidate(&self.stack.schema, &self.stack.orders.rows, &batches)?;
        if !net.is_empty() {
            self.fresh.push(Arc::new(Block::new(net)));
        }
        self.restack();
        Ok(())
    }

    fn restack(&mut self) {
        let runs = self.roster.listed().iter().cloned().map(Sorted::Run);
        self.stack.parts = runs.chain(self.fresh.iter().cloned().map(Sorted::Fresh)).collect();
    }

    /// All rows whose key columns equal one of `keys` (columns in the order of `key`). NULL keys match NULL keys.
    ///
    /// # Errors
    /// Other key types; a trace without a key; those of the block store.
    pub fn lookup(&self, keys: &[ArrayRef]) -> Result<Matches> {
        self.stack.lookup(keys)
    }

    /// For each key the row at `end` with positive net weight: an index per key into the returned batch, or None if the key has no rows.
    /// Found by seeking, whatever the number of the key's rows.
    ///
    /// # Errors
    /// As [`Trace::lookup`].
    pub fn edge(&self, keys: &[ArrayRef], end: End) -> Result<(Vec<Option<u32>>, RecordBatch)> {
        self.stack.edge(keys, end)
    }

    /// The net weight of each of `rows` (whole rows of the schema).
    ///
    /// # Errors
    /// As [`Trace::lookup`].
    pub fn weights_of(&self, rows: &RecordBatch) -> Result<Vec<i64>> {
        self.stack.weights_of(rows)
    }

    /// Deletes all rows whose first key column, a timestamp in microseconds, is below `below`: forgotten state. Emits nothing. NULL stays.
    /// Such rows that come later are forgotten too.
    ///
    /// # Errors
    /// The first key column is no timestamp in microseconds.
    pub fn forget_below(&mut self, below: Micros) -> Result<()> {
        let column = self.stack.orders.key.columns().first().copied();
        let column = column.filter(|&c| matches!(self.stack.schema.field(c).data_type(), DataType::Timestamp(TimeUnit::Microsecond, _)));
        let column = column.ok_or_else(|| Error::bug("forgotten rows need a timestamp in microseconds first in the key"))?;
        if self.stack.floor.is_none_or(|floor| floor.below < below) {
            self.stack.floor = Some(Floor { column, below });
            self.is_floor_stored = false;
        }
        Ok(())
    }

    /// What was inserted since the last flush, as one run, and a portion of the merges that are due.
    ///
    /// # Errors
    /// Those of the block store.
    pub fn flush(&mut self, epoch: Epoch, writes: &mut Writes) -> Result<()> {
        self.roster.flush_released(writes);
        if !self.is_floor_stored {
            self.flush_floor(writes)?;
        }
        let inserted = self.flush_fresh(epoch, writes)?;
        if inserted > 0 {
            self.spine.advance(&self.stack, &mut self.roster, inserted, writes)?;
        }
        self.restack();
        Ok(())
    }

    fn flush_floor(&mut self, writes: &mut Writes) -> Result<()> {
        let Some(floor) = self.stack.floor else { return Ok(()) };
        self.stored.flush(writes)?;
        writes.put(Family::Meta, Meta::Floor.of_table(self.table), floor.below.to_be_bytes().to_vec());
        self.is_floor_stored = true;
        self.spine.forget(&self.stack, &mut self.roster, writes)
    }

    /// The fresh rows as the epoch's run; how many there were.
    fn flush_fresh(&mut self, epoch: Epoch, writes: &mut Writes) -> Result<u64> {
        if self.fresh.is_empty() {
            return Ok(0);
        }
        let Stack { schema, orders, .. } = &self.stack;
        let net = self.fresh_changes()?;
        self.fresh.clear();
        if net.is_empty() {
            return Ok(0);
        }
        self.stored.flush(writes)?;
        let mut run = RunWriter::new(&self.store, self.table, schema, Some(&orders.rows))?;
        let rows = net.len() as u64;
        let rows_max = block_rows(rows, Block::new(net.clone()).bytes() as u64);
        for at in (0..net.len()).step_by(rows_max) {
            run.push(compact(&net, at, rows_max.min(net.len() - at))?, writes)?;
        }
        if let Some(run) = run.finish(writes)? {
            self.roster.add_epoch(epoch, &run, writes)?;
        }
        Ok(rows)
    }

    /// What was inserted since the last flush, net and sorted.
    pub(crate) fn fresh_changes(&self) -> Result<ChangeBatch> {
        let batches: Vec<ChangeBatch> = self.fresh.iter().map(|block| block.changes().clone()).collect();
        match &batches[..] {
            [one] => Ok(one.clone()),
            _ => consolidate(&self.stack.schema, &self.stack.orders.rows, &batches),
        }
    }

    pub(crate) fn roster(&self) -> &Roster {
        &self.roster
    }

    pub(crate) fn roster_mut(&mut self) -> &mut Roster {
        &mut self.roster
    }

    /// The rows as they are now, for readers on other threads.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::sorted(self.stack.clone())
    }

    /// Net rows; forgotten ones count until their run is rewritten.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.stack.rows()
    }

    /// Bytes in memory, the shared cache not counted.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.roster.memory_bytes() + self.fresh.iter().map(|block| block.memory_bytes()).sum::<usize>()
    }
}

/// Rows `from` on of a large batch, in buffers of their own: a cached block must not keep the whole batch alive.
fn compact(changes: &ChangeBatch, from: usize, length: usize) -> Result<ChangeBatch> {
    if length == changes.len() {
        return Ok(changes.clone());
    }
    let indices = UInt32Array::from_iter_values(from as u32..(from + length) as u32);
    changes.take(&indices)
}
