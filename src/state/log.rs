//! Append-only state: blocks in arrival order, small runs joined, oldest ones trimmed.
//!
//! An epoch appends a run. When the eight newest runs are of one size (each size eight times the one below), they are joined into one, up to
//! a size at which joining no longer pays; so neither runs nor blocks stay small, and order is never lost. As joined runs are the newest ones
//! and get a new number, runs in the order of their numbers are the rows in the order of their arrival.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use headwater_types::{BATCH_ROWS_MAX, ChangeBatch, Epoch, Result, data_bytes};
use rayon::prelude::*;

use crate::roster::Roster;
use crate::run::{Run, RunWriter};
use crate::schema::{TableKind, TableSchema, conform};
use crate::snapshot::Logged;
use crate::{Snapshot, Store, TableId, Writes};

/// Runs of one size that are joined, and the ratio of sizes.
const FAN_IN: usize = 8;

/// Blocks that are made side by side.
const BLOCKS_AT_ONCE: usize = 16;

/// Runs from this size on are left as they are,
const JOINED_ROWS_MAX: u64 = 65_536;
/// … or from this one, in memory: what is joined is there as a whole.
const JOINED_BYTES_MAX: u64 = 16 << 20;

/// Insertions only, in the order of their arrival, in blocks of up to 8,192 rows.
pub struct Log {
    store: Arc<Store>,
    table: TableId,
    schema: SchemaRef,
    stored: TableSchema,
    roster: Roster,
    fresh: Vec<RecordBatch>,
    /// Runs that were trimmed since the last flush.
    trimmed: Vec<Arc<Run>>,
}

impl Log {
    /// Rows of `schema` as table `id`.
    ///
    /// # Errors
    /// Those of the block store; `Corrupt` if the table was written with another schema.
    pub fn open(store: &Arc<Store>, id: TableId, schema: SchemaRef) -> Result<Log> {
        let stored = TableSchema::open(store, id, TableKind::Log, &schema, &[])?;
        let roster = Roster::open(store, id, &schema)?;
        Ok(Log { store: store.clone(), table: id, schema, stored, roster, fresh: Vec::new(), trimmed: Vec::new() })
    }

    /// Adds rows at the end; snapshots see them at once, the store after flush and write.
    ///
    /// # Errors
    /// Other column types.
    pub fn append(&mut self, rows: RecordBatch) -> Result<()> {
        if rows.num_rows() > 0 {
            self.fresh.push(conform(&self.schema, &rows)?);
        }
        Ok(())
    }

    /// What was appended since the last flush, as one run.
    ///
    /// # Errors
    /// Those of the block store.
    pub fn flush(&mut self, epoch: Epoch, writes: &mut Writes) -> Result<()> {
        self.roster.flush_released(writes);
        let trimmed = std::mem::take(&mut self.trimmed);
        self.roster.replace(&trimmed, None, writes)?;
        if self.fresh.is_empty() {
            return Ok(());
        }
        self.stored.flush(writes)?;
        let mut run = BlockFiller::new(RunWriter::new(&self.store, self.table, &self.schema)?, &self.schema);
        for rows in std::mem::take(&mut self.fresh) {
            run.push(rows, writes)?;
        }
        if let Some(run) = run.finish(writes)? {
            self.roster.add_epoch(epoch, &run, writes)?;
        }
        while let Some(count) = self.joinable() {
            self.join(count, writes)?;
        }
        Ok(())
    }

    /// How many of the newest runs are to be joined now.
    fn joinable(&self) -> Option<usize> {
        let runs = self.roster.listed();
        let class = size_class(runs.last()?.entry().rows);
        let is_small = |run: &&Arc<Run>| run.entry().rows < JOINED_ROWS_MAX && run.entry().decoded < JOINED_BYTES_MAX;
        let count = runs.iter().rev().take_while(|run| size_class(run.entry().rows) <= class && is_small(run)).count();
        (count >= FAN_IN).then_some(count)
    }

    fn join(&mut self, count: usize, writes: &mut Writes) -> Result<()> {
        let runs = self.roster.listed();
        let inputs: Vec<Arc<Run>> = runs[runs.len() - count..].to_vec();
        let mut joined = BlockFiller::new(RunWriter::new(&self.store, self.table, &self.schema)?, &self.schema);
        for run in &inputs {
            for number in 0..run.blocks() {
                joined.push(run.block_once(number)?.changes().rows().clone(), writes)?;
            }
        }
        let joined = joined.finish(writes)?;
        self.roster.replace(&inputs, joined.as_ref(), writes)
    }

    /// Drops the oldest runs until at most `bytes_max` stored bytes remain, the newest run always; durable with the next flush.
    pub fn trim(&mut self, bytes_max: usize) {
        let left = &self.roster.listed()[self.trimmed.len()..];
        let mut bytes: u64 = left.iter().map(|run| run.entry().bytes).sum();
        let mut gone = Vec::new();
        for run in left.iter().take(left.len().saturating_sub(1)) {
            if bytes <= bytes_max as u64 {
                break;
            }
            bytes -= run.entry().bytes;
            gone.push(run.clone());
        }
        self.trimmed.append(&mut gone);
    }

    pub(crate) fn roster(&self) -> &Roster {
        &self.roster
    }

    pub(crate) fn roster_mut(&mut self) -> &mut Roster {
        &mut self.roster
    }

    /// The rows as they are now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let runs = self.roster.listed()[self.trimmed.len()..].to_vec();
        Snapshot::logged(self.schema.clone(), Logged { runs, fresh: self.fresh.clone() })
    }

    /// Rows.
    #[must_use]
    pub fn rows(&self) -> u64 {
        let of_runs: u64 = self.roster.listed()[self.trimmed.len()..].iter().map(|run| run.entry().rows).sum();
        of_runs + self.fresh.iter().map(|rows| rows.num_rows() as u64).sum::<u64>()
    }

    /// Bytes in memory, the shared cache not counted.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.roster.memory_bytes() + self.fresh.iter().map(data_bytes).sum::<usize>()
    }
}

fn size_class(rows: u64) -> u32 {
    rows.max(1).ilog(FAN_IN as u64)
}

/// Cuts batches of any size into full blocks.
struct BlockFiller<'a> {
    run: RunWriter,
    schema: &'a SchemaRef,
    /// Pieces of full blocks, and of the one that is being filled, if it is.
    blocks: Vec<Vec<RecordBatch>>,
    /// Rows of the last block.
    rows: usize,
}

impl<'a> BlockFiller<'a> {
    fn new(run: RunWriter, schema: &'a SchemaRef) -> BlockFiller<'a> {
        BlockFiller { run, schema, blocks: vec![Vec::new()], rows: 0 }
    }

    fn push(&mut self, mut rows: RecordBatch, writes: &mut Writes) -> Result<()> {
        while rows.num_rows() > 0 {
            if self.rows == BATCH_ROWS_MAX {
                self.start_block(writes)?;
            }
            let taken = rows.num_rows().min(BATCH_ROWS_MAX - self.rows);
            self.blocks.last_mut().expect("a block is being filled").push(rows.slice(0, taken));
            self.rows += taken;
            rows = rows.slice(taken, rows.num_rows() - taken);
        }
        Ok(())
    }

    fn start_block(&mut self, writes: &mut Writes) -> Result<()> {
        if self.blocks.len() == BLOCKS_AT_ONCE {
            self.write(writes)?;
        }
        self.blocks.push(Vec::new());
        self.rows = 0;
        Ok(())
    }

    fn write(&mut self, writes: &mut Writes) -> Result<()> {
        let (schema, blocks) = (self.schema, std::mem::take(&mut self.blocks));
        let joined = |pieces: &Vec<RecordBatch>| Ok(ChangeBatch::insertions(concat_batches(schema, pieces)?));
        let blocks = blocks.par_iter().map(joined).collect::<Result<Vec<_>>>()?;
        self.run.push_all(blocks, writes)
    }

    fn finish(mut self, writes: &mut Writes) -> Result<Option<Arc<Run>>> {
        if self.rows > 0 {
            self.write(writes)?;
        }
        self.run.finish(writes)
    }
}
