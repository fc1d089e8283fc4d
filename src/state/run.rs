//! A run: immutable rows in blocks, sorted and net (of a trace) or in arrival order (of a log).

use std::sync::{Arc, OnceLock};

use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::datatypes::SchemaRef;
use arrow::row::Rows;
use headwater_types::{ChangeBatch, Error, Result, RowOrder};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::block::{Block, BlockEncoder, decode};
use crate::filter::{Filter, hash_rows, is_hashable};
use crate::keys::{FENCES, FILTER, block_key};
use crate::stack::Orders;
use crate::store::RunHold;
use crate::{Family, Store, TableId, Writes};

/// Runs up to this size stay in memory once read or written: most runs are small, most lookups hit them, and together they are few.
const RESIDENT_BYTES_MAX: usize = 64 << 10;

/// What is stored of a run beside its blocks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RunEntry {
    /// In the outbox, where the key says the epoch: the run's number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) number: Option<u64>,
    /// Rows, whatever their weights.
    pub(crate) rows: u64,
    /// The sum of their weights.
    pub(crate) net: i64,
    pub(crate) blocks: u32,
    /// Encoded bytes of the blocks.
    pub(crate) bytes: u64,
    /// Decoded bytes of the blocks.
    pub(crate) decoded: u64,
    /// True if it has a filter.
    #[serde(default)]
    pub(crate) filter: bool,
}

impl RunEntry {
    pub(crate) fn encode(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|e| Error::bug(format!("a run's entry cannot be written: {e}")))
    }

    pub(crate) fn decode(table: TableId, value: &[u8]) -> Result<RunEntry> {
        serde_json::from_slice(value)
            .map_err(|e| Error::corrupt(format!("a run's entry of table {} of object {} is unreadable: {e}", table.number, table.object)))
    }
}

/// First row of each block, and the last row of the run.
pub(crate) struct Fences {
    pub(crate) rows: RecordBatch,
    pub(crate) keys: Rows,
}

pub(crate) struct Run {
    hold: RunHold,
    schema: SchemaRef,
    entry: RunEntry,
    fences: OnceLock<Fences>,
    filter: OnceLock<Filter>,
    /// The blocks of a small run, none of a large one.
    resident: Vec<OnceLock<Arc<Block>>>,
}

impl Run {
    pub(crate) fn open(store: &Arc<Store>, table: TableId, number: u64, schema: SchemaRef, entry: RunEntry) -> Arc<Run> {
        Arc::new(Run::new(RunHold::new(store, table, number), schema, entry))
    }

    fn new(hold: RunHold, schema: SchemaRef, entry: RunEntry) -> Run {
        let kept = if entry.decoded as usize <= RESIDENT_BYTES_MAX { entry.blocks as usize } else { 0 };
        Run {
            hold,
            schema,
            entry,
            fences: OnceLock::new(),
            filter: OnceLock::new(),
            resident: (0..kept).map(|_| OnceLock::new()).collect(),
        }
    }

    pub(crate) fn number(&self) -> u64 {
        self.hold.run()
    }

    pub(crate) fn entry(&self) -> &RunEntry {
        &self.entry
    }

    pub(crate) fn blocks(&self) -> u32 {
        self.entry.blocks
    }

    /// Bytes in memory outside the shared cache.
    pub(crate) fn memory_bytes(&self) -> usize {
        let resident: usize = self.resident.iter().filter_map(OnceLock::get).map(|block| block.memory_bytes()).sum();
        let fences = self.fences.get().map_or(0, |f| f.rows.get_array_memory_size() + f.keys.size());
        size_of::<Run>() + resident + fences + self.filter.get().map_or(0, Filter::bytes)
    }

    /// Block `number`, from memory if it is there.
    pub(crate) fn block(&self, number: u32) -> Result<Arc<Block>> {
        self.find(number, true)
    }

    /// As `block`, but leaves the cache as it is: for scans and merges, which read a block once.
    pub(crate) fn block_once(&self, number: u32) -> Result<Arc<Block>> {
        self.find(number, false)
    }

    fn find(&self, number: u32, keep: bool) -> Result<Arc<Block>> {
        if let Some(slot) = self.resident.get(number as usize) {
            if let Some(block) = slot.get() {
                return Ok(block.clone());
            }
            let block = Arc::new(Block::new(self.read(number, None)?));
            return Ok(slot.get_or_init(|| block).clone());
        }
        let id = (self.hold.table(), self.hold.run(), number);
        if let Some(block) = self.hold.store().cached(&id) {
            return Ok(block);
        }
        let block = Arc::new(Block::new(self.read(number, None)?));
        if keep {
            self.hold.store().cache(id, block.clone());
        }
        Ok(block)
    }

    /// The columns `projection` of block `number`: from memory if it is there, else only they are decoded.
    pub(crate) fn columns(&self, number: u32, projection: &[usize]) -> Result<ChangeBatch> {
        let id = (self.hold.table(), self.hold.run(), number);
        let resident = self.resident.get(number as usize).and_then(OnceLock::get).cloned();
        match resident.or_else(|| self.hold.store().cached(&id)) {
            Some(block) => block.changes().project(projection),
            None => self.read(number, Some(projection)),
        }
    }

    fn read(&self, number: u32, projection: Option<&[usize]>) -> Result<ChangeBatch> {
        let (table, run) = (self.hold.table(), self.hold.run());
        let place = || format!("block {number} of run {run} of table {} of object {}", table.number, table.object);
        match self.hold.store().blocks().get(Family::Blocks, &block_key(table, run, number))? {
            Some(bytes) => decode(&self.schema, bytes, projection).map_err(|e| e.context(place())),
            None => Err(Error::corrupt(format!("{} is missing", place()))),
        }
    }

    /// The filter of a large run's keys.
    pub(crate) fn filter(&self) -> Result<Option<&Filter>> {
        if !self.entry.filter {
            return Ok(None);
        }
        if let Some(filter) = self.filter.get() {
            return Ok(Some(filter));
        }
        let (table, run) = (self.hold.table(), self.hold.run());
        let place = || format!("filter of run {run} of table {} of object {}", table.number, table.object);
        let bytes = self.hold.store().blocks().get(Family::Blocks, &block_key(table, run, FILTER))?;
        let bytes = bytes.ok_or_else(|| Error::corrupt(format!("the {} is missing", place())))?;
        let filter = Filter::decode(&bytes).map_err(|e| e.context(place()))?;
        Ok(Some(self.filter.get_or_init(|| filter)))
    }

    /// First row of each block and last row of all, of a sorted run.
    pub(crate) fn fences(&self, order: &RowOrder) -> Result<&Fences> {
        if let Some(fences) = self.fences.get() {
            return Ok(fences);
        }
        let rows = if self.entry.blocks == 1 {
            let block = self.block(0)?;
            ends(&block)?
        } else {
            self.read(FENCES, None)?.rows().clone()
        };
        let keys = order.rows(&rows)?;
        Ok(self.fences.get_or_init(|| Fences { rows, keys }))
    }
}

fn ends(block: &Block) -> Result<RecordBatch> {
    let last = u32::try_from(block.len() - 1).map_err(|_| Error::bug("a block of more than 2^32 rows"))?;
    Ok(block.changes().take(&UInt32Array::from(vec![0, last]))?.rows().clone())
}

/// Writes a run block by block, over one epoch or many.
pub(crate) struct RunWriter {
    hold: RunHold,
    schema: SchemaRef,
    encoder: BlockEncoder,
    entry: RunEntry,
    /// The orders of a sorted run; none for logs.
    orders: Option<Arc<Orders>>,
    /// First rows of the blocks so far, and the last row of the last one, of a sorted run.
    fences: Vec<RecordBatch>,
    filter: Option<Filter>,
    /// The blocks, while the run may still be a small one.
    blocks: Vec<Arc<Block>>,
}

impl RunWriter {
    /// A run in order of arrival.
    pub(crate) fn new(store: &Arc<Store>, table: TableId, schema: &SchemaRef) -> Result<RunWriter> {
        Ok(RunWriter {
            hold: RunHold::new(store, table, store.next_run()?),
            schema: schema.clone(),
            encoder: BlockEncoder::new()?,
            entry: RunEntry::default(),
            orders: None,
            fences: Vec::new(),
            filter: None,
            blocks: Vec::new(),
        })
    }

    /// A sorted run of about `rows` rows of `bytes` decoded bytes: gets fences, and if it is large a filter.
    pub(crate) fn sorted(
        store: &Arc<Store>,
        table: TableId,
        schema: &SchemaRef,
        orders: &Arc<Orders>,
        (rows, bytes): (u64, u64),
    ) -> Result<RunWriter> {
        let key = orders.key.columns();
        let is_filtered =
            bytes as usize > RESIDENT_BYTES_MAX && !key.is_empty() && key.iter().all(|&c| is_hashable(schema.field(c).data_type()));
        let filter = is_filtered.then(|| Filter::new(rows));
        Ok(RunWriter { orders: Some(orders.clone()), filter, ..RunWriter::new(store, table, schema)? })
    }

    pub(crate) fn number(&self) -> u64 {
        self.hold.run()
    }

    pub(crate) fn blocks(&self) -> u32 {
        self.entry.blocks
    }

    /// Adds a block, not empty, that follows the ones before. Its buffers should hold little but itself.
    pub(crate) fn push(&mut self, changes: ChangeBatch, writes: &mut Writes) -> Result<()> {
        let bytes = self.encoder.encode(&changes)?;
        self.add(changes, bytes, writes)
    }

    /// Adds blocks, encoded side by side.
    pub(crate) fn push_all(&mut self, blocks: Vec<ChangeBatch>, writes: &mut Writes) -> Result<()> {
        if blocks.len() == 1 {
            return blocks.into_iter().try_for_each(|block| self.push(block, writes));
        }
        let encode = |changes: ChangeBatch| {
            let bytes = BlockEncoder::new()?.encode(&changes)?;
            Ok((changes, bytes))
        };
        let encoded = blocks.into_par_iter().map(encode).collect::<Result<Vec<_>>>()?;
        encoded.into_iter().try_for_each(|(changes, bytes)| self.add(changes, bytes, writes))
    }

    fn add(&mut self, changes: ChangeBatch, bytes: Vec<u8>, writes: &mut Writes) -> Result<()> {
        let number = self.entry.blocks;
        let block = Arc::new(Block::new(changes));
        if let Some(orders) = &self.orders {
            let ends = ends(&block)?;
            self.fences.truncate(number as usize);
            self.fences.push(ends.slice(0, 1));
            self.fences.push(ends.slice(1, 1));
            if let Some(filter) = &mut self.filter {
                let rows = block.changes().rows();
                let key: Vec<ArrayRef> = orders.key.columns().iter().map(|&c| rows.column(c).clone()).collect();
                hash_rows(&key).into_iter().for_each(|hash| filter.insert(hash));
            }
        }
        self.entry.rows += block.len() as u64;
        self.entry.net += block.changes().weights().map_or(block.len() as i64, |w| w.iter().sum());
        self.entry.blocks += 1;
        self.entry.bytes += bytes.len() as u64;
        self.entry.decoded += block.bytes() as u64;
        writes.put(Family::Blocks, block_key(self.hold.table(), self.hold.run(), number), bytes);
        if self.entry.decoded as usize <= RESIDENT_BYTES_MAX {
            self.blocks.push(block);
        } else {
            // Until it is surely in the store, the cache is where readers find it.
            let id = |number: usize| (self.hold.table(), self.hold.run(), number as u32);
            for (number, block) in self.blocks.drain(..).enumerate() {
                self.hold.store().cache_written(id(number), block);
            }
            self.hold.store().cache_written(id(number as usize), block);
        }
        Ok(())
    }

    /// The run, or none if no block was added.
    pub(crate) fn finish(mut self, writes: &mut Writes) -> Result<Option<Arc<Run>>> {
        if self.entry.blocks == 0 {
            return Ok(None);
        }
        let fences = match &self.orders {
            Some(orders) => Some(self.write_fences(orders.rows.clone(), writes)?),
            None => None,
        };
        // Rows may have cancelled out in a merge: a small run is in memory anyway.
        let filter = self.filter.take().filter(|_| self.entry.decoded as usize > RESIDENT_BYTES_MAX);
        if let Some(filter) = &filter {
            writes.put(Family::Blocks, block_key(self.hold.table(), self.hold.run(), FILTER), filter.encode());
            self.entry.filter = true;
        }
        let run = Run::new(self.hold, self.schema, self.entry);
        for (slot, block) in run.resident.iter().zip(self.blocks) {
            slot.get_or_init(|| block);
        }
        if let Some(fences) = fences {
            run.fences.get_or_init(|| fences);
        }
        if let Some(filter) = filter {
            run.filter.get_or_init(|| filter);
        }
        Ok(Some(Arc::new(run)))
    }

    fn write_fences(&mut self, order: Arc<RowOrder>, writes: &mut Writes) -> Result<Fences> {
        let rows = arrow::compute::concat_batches(&self.schema, &self.fences)?;
        if self.entry.blocks > 1 {
            let bytes = self.encoder.encode(&ChangeBatch::insertions(rows.clone()))?;
            writes.put(Family::Blocks, block_key(self.hold.table(), self.hold.run(), FENCES), bytes);
        }
        let keys = order.rows(&rows)?;
        Ok(Fences { rows, keys })
    }
}
