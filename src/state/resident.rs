//! Hashed state: groups in memory under typed keys, logged as columnar after-images.
//!
//! Per epoch and touched partition blocks go to the log: the groups removed (weight -1, keys only matter) and the groups touched as they are now.
//! Replaying a partition's blocks in order gives its groups. When the log of a partition holds twice as many rows as it has groups, it is written
//! anew from block 0; a dropped partition's blocks are deleted key by key.
//!
//! In memory the groups of a busy partition are split over shards, so that threads share the work and what one of them works on stays in its
//! cache. The log knows nothing of shards: their number may change at every start.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::{concat, take};
use arrow::datatypes::{Schema, SchemaRef};
use headwater_types::{BATCH_ROWS_MAX, ChangeBatch, Error, INLINE_ROWS_MAX, Result};
use rayon::prelude::*;

use crate::block::{BlockEncoder, decode};
use crate::keys::{block_key, parse_partition_key, partition_number, table_bytes};
use crate::schema::{TableKind, TableSchema};
use crate::shard::{LogSlots, NewState, Shard};
use crate::state_columns::StateColumns;
use crate::{Family, Store, TableId, Writes};

/// Rows of a block of the log at most.
const BLOCK_ROWS_MAX: usize = 65_536;

/// A log this much longer than twice its groups is written anew; keeps small partitions from being written anew all the time.
const LOG_ROWS_SPARE: u64 = 256;

/// … but not with more bytes than these: few groups may have large states.
const LOG_BYTES_SPARE: u64 = 1 << 20;

/// A log with so many blocks is written anew before their numbers run out.
const LOG_BLOCKS_MAX: u32 = u32::MAX / 2;

/// Groups by partition, each partition a hash index over typed key columns and the owner's state columns.
///
/// A partition is the watermarked key's value, so that a closed window is dropped whole; 0 where there is none. Its groups are in shard 0 until it
/// is [split](ResidentTable::split).
pub struct ResidentTable<S: StateColumns> {
    table: TableId,
    stored: TableSchema,
    key_columns: usize,
    /// Keys, then state.
    schema: SchemaRef,
    shards: Vec<Shard<S>>,
    split: BTreeSet<i64>,
    /// How long the log of each partition is that the store knows.
    logs: BTreeMap<i64, LogLength>,
    /// Partitions dropped since the last flush, and how many blocks their logs have.
    dropped: Vec<(i64, u32)>,
    encoder: BlockEncoder,
}

#[derive(Debug, Clone, Copy, Default)]
struct LogLength {
    blocks: u32,
    rows: u64,
    /// As they are stored.
    bytes: u64,
}

/// A block of the log to be: slots of these shards.
struct Piece {
    partition: i64,
    number: u32,
    slots: Vec<(usize, LogSlots)>,
}

impl<S: StateColumns> ResidentTable<S> {
    /// Groups are split over so many shards at most.
    pub const SHARDS: usize = 32;

    /// Restores what table `id` holds. `new` makes empty state columns of `state_schema`.
    ///
    /// # Errors
    /// Those of the block store; `Corrupt` if it was written with another schema.
    pub fn open(store: &Arc<Store>, id: TableId, key_schema: SchemaRef, state_schema: SchemaRef, new: NewState<S>) -> Result<Self> {
        let fields: Vec<_> = key_schema.fields().iter().chain(state_schema.fields()).cloned().collect();
        let schema = Arc::new(Schema::new(fields));
        let key_columns = key_schema.fields().len();
        let stored = TableSchema::open(store, id, TableKind::Resident, &schema, &(0..key_columns).collect::<Vec<_>>())?;
        let shards = (0..Self::SHARDS).map(|_| Shard::new(key_schema.clone(), new.clone())).collect();
        let (split, logs, dropped, encoder) = (BTreeSet::new(), BTreeMap::new(), Vec::new(), BlockEncoder::new()?);
        let mut table = Self { table: id, stored, key_columns, schema, shards, split, logs, dropped, encoder };
        store.blocks().scan(Family::Blocks, &table_bytes(id), &mut |key, value| {
            let (partition, number) = parse_partition_key(key)?;
            let place = || format!("block {number} of partition {partition} of table {} of object {}", id.number, id.object);
            let changes = decode(&table.schema, value.to_vec(), None).map_err(|e| e.context(place()))?;
            table.replay(partition, number, &changes, value.len() as u64).map_err(|e| e.context(place()))
        })?;
        Ok(table)
    }

    fn replay(&mut self, partition: i64, number: u32, changes: &ChangeBatch, bytes: u64) -> Result<()> {
        let log = self.logs.entry(partition).or_default();
        if number != log.blocks {
            return Err(Error::corrupt(format!("it follows block {}, which is missing", log.blocks)));
        }
        *log = LogLength { blocks: number + 1, rows: log.rows + changes.len() as u64, bytes: log.bytes + bytes };
        let shard = &mut self.shards[0];
        let mut slots = Vec::new();
        let mut kept = changes.rows().clone();
        if changes.weights().is_some() {
            let is_kept: BooleanArray = changes.weights_or_ones().iter().map(|&w| Some(w > 0)).collect();
            let removed = changes.filter(&arrow::compute::not(&is_kept)?)?;
            if !removed.is_empty() {
                shard.intern(partition, &removed.rows().columns()[..self.key_columns], &mut slots)?;
                shard.remove(partition, &slots);
                shard.forget_marks(partition);
            }
            kept = changes.filter(&is_kept)?.rows().clone();
        }
        if kept.num_rows() > 0 {
            let state = shard.intern(partition, &kept.columns()[..self.key_columns], &mut slots)?;
            state.scatter(&slots, &kept.columns()[self.key_columns..])?;
        }
        shard.forget_marks(partition);
        Ok(())
    }

    /// All shards. Groups of a partition that was not split are in the first.
    #[must_use]
    pub fn shards(&self) -> &[Shard<S>] {
        &self.shards
    }

    /// All shards, to change; different ones by different threads.
    pub fn shards_mut(&mut self) -> &mut [Shard<S>] {
        &mut self.shards
    }

    /// Whether the groups of `partition` are split over the shards.
    #[must_use]
    pub fn is_split(&self, partition: i64) -> bool {
        self.split.contains(&partition)
    }

    /// Splits the groups of `partition`, which may have none yet: `shard_of` says for each key to which shard it belongs from now on. Does nothing
    /// where groups were touched since the last flush, because their owner may know their slots.
    ///
    /// # Errors
    /// Those of `shard_of`.
    pub fn split(&mut self, partition: i64, shard_of: impl Fn(&[ArrayRef]) -> Result<Vec<u8>>) -> Result<()> {
        if self.is_split(partition) || self.shards[0].is_dirty(partition) {
            return Ok(());
        }
        self.split.insert(partition);
        let live = self.shards[0].live(partition).slots;
        if live.is_empty() {
            return Ok(());
        }
        let columns = self.shards[0].gather(partition, &live)?;
        self.shards[0].drop_partition(partition);
        self.shards.iter_mut().for_each(|shard| shard.expect(live.len() / Self::SHARDS));
        let shards = shard_of(&columns[..self.key_columns])?;
        let mut slots = Vec::new();
        for (number, shard) in self.shards.iter_mut().enumerate() {
            let rows: UInt32Array = (0_u32..).zip(&shards).filter(|(_, s)| usize::from(**s) == number).map(|(row, _)| row).collect();
            if rows.is_empty() {
                continue;
            }
            let columns = columns.iter().map(|c| Ok(take(c, &rows, None)?)).collect::<Result<Vec<_>>>()?;
            let state = shard.intern(partition, &columns[..self.key_columns], &mut slots)?;
            state.scatter(&slots, &columns[self.key_columns..])?;
            shard.forget_marks(partition);
        }
        Ok(())
    }

    /// Live groups of `partition`.
    #[must_use]
    pub fn groups_of(&self, partition: i64) -> usize {
        self.shards.iter().map(|shard| shard.groups_of(partition)).sum()
    }

    /// All partitions, ascending.
    #[must_use]
    pub fn partitions(&self) -> BTreeSet<i64> {
        self.shards.iter().flat_map(Shard::partitions).collect()
    }

    /// The partition is gone with all its groups.
    pub fn drop_partition(&mut self, partition: i64) {
        self.shards.iter_mut().for_each(|shard| shard.drop_partition(partition));
        self.split.remove(&partition);
        if let Some(log) = self.logs.remove(&partition) {
            self.dropped.push((partition, log.blocks));
        }
    }

    /// The after-images of what was touched, removed and dropped since the last flush.
    ///
    /// # Errors
    /// Those of `gather`.
    pub fn flush(&mut self, writes: &mut Writes) -> Result<()> {
        for (partition, blocks) in std::mem::take(&mut self.dropped) {
            delete_blocks(self.table, partition, 0..blocks, writes);
        }
        let dirty: BTreeSet<i64> = self.shards.iter().flat_map(Shard::dirty).collect();
        let mut pieces = Vec::new();
        for &partition in &dirty {
            self.plan(partition, &mut pieces, writes);
        }
        if !pieces.is_empty() {
            self.stored.flush(writes)?;
        }
        for (piece, block) in pieces.iter().zip(self.encode(&pieces)?) {
            self.logs.entry(piece.partition).or_default().bytes += block.len() as u64;
            writes.put(Family::Blocks, block_key(self.table, partition_number(piece.partition), piece.number), block);
        }
        for shard in &mut self.shards {
            dirty.iter().for_each(|&partition| shard.forget_marks(partition));
        }
        Ok(())
    }

    /// Decides which blocks `partition` needs, and numbers them. The blocks that are left of a log written anew go in the same write.
    fn plan(&mut self, partition: i64, pieces: &mut Vec<Piece>, writes: &mut Writes) {
        let groups = self.groups_of(partition);
        let changes: usize = self.shards.iter().map(|shard| shard.changes_of(partition)).sum();
        let log = self.logs.entry(partition).or_default();
        let old = *log;
        if groups == 0 {
            delete_blocks(self.table, partition, 0..old.blocks, writes);
            self.logs.remove(&partition);
            self.drop_partition(partition);
            return;
        }
        let spare = if old.bytes > LOG_BYTES_SPARE { 0 } else { LOG_ROWS_SPARE };
        let is_anew = old.rows + changes as u64 > 2 * groups as u64 + spare || old.blocks > LOG_BLOCKS_MAX;
        if is_anew {
            *log = LogLength::default();
        }
        let slots = |shard: &Shard<S>| if is_anew { shard.live(partition) } else { shard.changed(partition) };
        let slots = self.shards.iter().map(slots).enumerate().filter(|(_, slots)| !slots.slots.is_empty());
        let rows = if is_anew { groups } else { changes };
        log.rows += rows as u64;
        let blocks =
            if rows <= BATCH_ROWS_MAX { vec![slots.collect()] } else { slots.flat_map(|(shard, slots)| chunks(shard, &slots)).collect() };
        for slots in blocks.into_iter().filter(|block: &Vec<_>| !block.is_empty()) {
            pieces.push(Piece { partition, number: log.blocks, slots });
            log.blocks += 1;
        }
        delete_blocks(self.table, partition, log.blocks..old.blocks, writes);
    }

    /// The bytes of each piece; over all threads where they are many.
    fn encode(&mut self, pieces: &[Piece]) -> Result<Vec<Vec<u8>>> {
        let rows: usize = pieces.iter().flat_map(|piece| &piece.slots).map(|(_, slots)| slots.slots.len()).sum();
        let (shards, schema) = (&self.shards, &self.schema);
        if rows < INLINE_ROWS_MAX || pieces.len() == 1 {
            return pieces.iter().map(|piece| self.encoder.encode(&piece.rows(shards, schema)?)).collect();
        }
        pieces.par_iter().map(|piece| BlockEncoder::new()?.encode(&piece.rows(shards, schema)?)).collect()
    }

    /// Live groups.
    #[must_use]
    pub fn groups(&self) -> usize {
        self.shards.iter().map(Shard::groups).sum()
    }

    /// Bytes in memory, keys, index and state.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.shards.iter().map(Shard::bytes).sum()
    }
}

impl Piece {
    /// Keys and states; removed groups have weight -1.
    fn rows<S: StateColumns>(&self, shards: &[Shard<S>], schema: &SchemaRef) -> Result<ChangeBatch> {
        let gather = |(shard, slots): &(usize, LogSlots)| shards[*shard].gather(self.partition, &slots.slots);
        let gathered = self.slots.iter().map(gather).collect::<Result<Vec<_>>>()?;
        let column = |at: usize| match &gathered[..] {
            [one] => Ok(one[at].clone()),
            several => Ok(concat(&several.iter().map(|columns| columns[at].as_ref()).collect::<Vec<_>>())?),
        };
        let columns = (0..schema.fields().len()).map(column).collect::<Result<Vec<_>>>()?;
        let rows = self.slots.iter().map(|(_, slots)| slots.slots.len()).sum();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(schema.clone(), columns, &options)?;
        if self.slots.iter().all(|(_, slots)| slots.removed == 0) {
            return Ok(ChangeBatch::insertions(batch));
        }
        let weights = |(_, slots): &(usize, LogSlots)| {
            let removed = slots.removed;
            (0..slots.slots.len()).map(move |row| if row < removed { -1 } else { 1 })
        };
        ChangeBatch::new(batch, self.slots.iter().flat_map(weights).collect::<Vec<i64>>())
    }
}

/// The slots of one shard, cut into blocks.
fn chunks(shard: usize, slots: &LogSlots) -> Vec<Vec<(usize, LogSlots)>> {
    let mut removed = slots.removed;
    let chunk = |chunk: &[u32]| {
        let here = removed.min(chunk.len());
        removed -= here;
        vec![(shard, LogSlots { slots: chunk.to_vec(), removed: here })]
    };
    slots.slots.chunks(BLOCK_ROWS_MAX).map(chunk).collect()
}

fn delete_blocks(table: TableId, partition: i64, blocks: std::ops::Range<u32>, writes: &mut Writes) {
    for number in blocks {
        writes.delete(Family::Blocks, block_key(table, partition_number(partition), number));
    }
}
