//! Ordered state: a stack of immutable sorted runs whose sum are the rows, searched by key and merged in small portions.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::datatypes::{DataType, SchemaRef, TimeUnit};
use headwater_types::{ChangeBatch, Epoch, Error, Micros, Result, consolidate};

use crate::block::Block;
use crate::keys::Meta;
use crate::merge::{Floor, Sorted};
use crate::roster::Roster;
use crate::run::RunWriter;
use crate::schema::{TableKind, TableSchema, conform};
use crate::spine::{Spine, block_rows};
use crate::stack::{Orders, Stack};
use crate::{Family, Snapshot, Store, TableId, Writes};

/// Blocks that are made side by side.
const BLOCKS_AT_ONCE: usize = 64;

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
    /// The listed runs and the fresh blocks.
    stack: Stack,
    /// Inserted since the last flush: each sorted and net, none larger than the half of the one before.
    fresh: Vec<Arc<Block>>,
    /// Inserted since the last search, which is what sorts: most traces are only flushed.
    unsorted: Vec<ChangeBatch>,
    /// All of `unsorted`, if there was a search since the last insert.
    sorted: OnceLock<Arc<Block>>,
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
        let mut trace = Trace {
            store: store.clone(),
            table: id,
            stored,
            roster,
            spine,
            stack,
            fresh: Vec::new(),
            unsorted: Vec::new(),
            sorted: OnceLock::new(),
            is_floor_stored: true,
        };
        trace.restack();
        Ok(trace)
    }

    /// Adds changes; lookups and snapshots see them at once, the store after flush and write.
    ///
    /// # Errors
    /// Other column types.
    pub fn insert(&mut self, changes: ChangeBatch) -> Result<()> {
        let changes = changes.with_rows(conform(&self.stack.schema, changes.rows())?)?;
        if let Some(sorted) = self.sorted.take() {
            self.unsorted.clear();
            self.add_fresh(sorted)?;
        }
        if !changes.is_empty() {
            self.unsorted.push(changes);
        }
        Ok(())
    }

    /// Joins `block` with the ones before that are not twice its size: like the sizes of runs, so that a row is sorted only O(log n) times.
    fn add_fresh(&mut self, block: Arc<Block>) -> Result<()> {
        let mut batches = vec![block.changes().clone()];
        let mut rows = block.len();
        while let Some(last) = self.fresh.pop_if(|last| last.len() < rows * 2) {
            rows += last.len();
            batches.push(last.changes().clone());
        }
        match &batches[..] {
            [_] => self.fresh.push(block),
            _ => self.fresh.push(Arc::new(Block::new(self.sort(&batches)?))),
        }
        self.restack();
        Ok(())
    }

    fn sort(&self, batches: &[ChangeBatch]) -> Result<ChangeBatch> {
        consolidate(&self.stack.schema, &self.stack.orders.rows, batches)
    }

    /// The stack with everything that was inserted.
    fn search(&self) -> Cow<'_, Stack> {
        if self.unsorted.is_empty() {
            return Cow::Borrowed(&self.stack);
        }
        let sorted = self.sorted.get_or_init(|| {
            Arc::new(Block::new(self.sort(&self.unsorted).expect("inserted batches have the types of the schema, which can be sorted")))
        });
        let mut stack = self.stack.clone();
        stack.parts.push(Sorted::Fresh(sorted.clone()));
        Cow::Owned(stack)
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
        self.search().lookup(keys)
    }

    /// For each key the row at `end` with positive net weight: an index per key into the returned batch, or None if the key has no rows.
    /// Found by seeking, whatever the number of the key's rows.
    ///
    /// # Errors
    /// As [`Trace::lookup`].
    pub fn edge(&self, keys: &[ArrayRef], end: End) -> Result<(Vec<Option<u32>>, RecordBatch)> {
        self.search().edge(keys, end)
    }

    /// The net weight of each of `rows` (whole rows of the schema).
    ///
    /// # Errors
    /// As [`Trace::lookup`].
    pub fn weights_of(&self, rows: &RecordBatch) -> Result<Vec<i64>> {
        self.search().weights_of(rows)
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
        if self.fresh.is_empty() && self.unsorted.is_empty() {
            return Ok(0);
        }
        let net = self.fresh_changes()?;
        self.fresh.clear();
        self.unsorted.clear();
        self.sorted.take();
        let Stack { schema, orders, .. } = &self.stack;
        if net.is_empty() {
            return Ok(0);
        }
        self.stored.flush(writes)?;
        let (rows, bytes) = (net.len() as u64, Block::new(net.clone()).bytes() as u64);
        let mut run = RunWriter::sorted(&self.store, self.table, schema, orders, (rows, bytes))?;
        let rows_max = block_rows(rows, bytes);
        let starts: Vec<usize> = (0..net.len()).step_by(rows_max).collect();
        for starts in starts.chunks(BLOCKS_AT_ONCE) {
            let block = |&at: &usize| compact(&net, at, rows_max.min(net.len() - at));
            run.push_all(starts.iter().map(block).collect::<Result<Vec<_>>>()?, writes)?;
        }
        if let Some(run) = run.finish(writes)? {
            self.roster.add_epoch(epoch, &run, writes)?;
        }
        Ok(rows)
    }

    /// What was inserted since the last flush, net and sorted.
    pub(crate) fn fresh_changes(&self) -> Result<ChangeBatch> {
        let mut batches: Vec<ChangeBatch> = self.fresh.iter().map(|block| block.changes().clone()).collect();
        match self.sorted.get() {
            Some(sorted) => batches.push(sorted.changes().clone()),
            None => batches.extend_from_slice(&self.unsorted),
        }
        let is_sorted = self.sorted.get().is_some() || self.unsorted.is_empty();
        match &batches[..] {
            [one] if is_sorted => Ok(one.clone()),
            _ => self.sort(&batches),
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
        Snapshot::sorted(self.search().into_owned())
    }

    /// Net rows; forgotten ones count until their run is rewritten.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.search().rows()
    }

    /// Bytes in memory, the shared cache not counted.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let fresh: usize = self.fresh.iter().chain(self.sorted.get()).map(|block| block.memory_bytes()).sum();
        let unsorted: usize = self.unsorted.iter().map(ChangeBatch::bytes).sum();
        self.roster.memory_bytes() + fresh + unsorted
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
