//! Hashed state: groups in memory under typed keys, logged as columnar after-images.
//!
//! Per epoch and touched partition one block goes to the log: the groups removed (weight -1, keys only matter), then the groups touched as they
//! are now. Replaying a partition's blocks in order gives its groups. When the log of a partition holds twice as many rows as it has groups, it is
//! written anew from block 0; a dropped partition's blocks are deleted key by key.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Schema, SchemaRef};
use headwater_types::{ChangeBatch, Error, Result};

use crate::block::{BlockEncoder, decode};
use crate::key_index::{KeyIndex, Slots};
use crate::keys::{block_key, parse_partition_key, partition_number, table_bytes};
use crate::schema::{TableKind, TableSchema};
use crate::{Family, Store, TableId, Writes};

/// Rows of a block of the log at most.
const BLOCK_ROWS_MAX: usize = 65_536;

/// A log this much longer than twice its groups is written anew; keeps small partitions from being written anew all the time.
const LOG_ROWS_SPARE: u64 = 256;

/// Marks of a slot.
const LIVE: u8 = 1;
const TOUCHED: u8 = 2;
/// Added since the last flush: the log does not know it.
const NEW: u8 = 4;

/// The typed state columns beside a resident table's keys; slot i of every column belongs to key i.
pub trait StateColumns: Send {
    /// Makes room for `slots` slots; new ones are in the initial state.
    fn resize(&mut self, slots: usize);

    /// Sets these slots back to the initial state; they will be used for other keys.
    fn reset(&mut self, slots: &[u32]);

    /// The state of these slots as columns of the state schema.
    ///
    /// # Errors
    /// A state that no column can hold.
    fn gather(&self, slots: &[u32]) -> Result<Vec<ArrayRef>>;

    /// Overwrites the state of these slots, each at most once, with what `gather` gave (restart).
    ///
    /// # Errors
    /// Other columns than `gather` gives.
    fn scatter(&mut self, slots: &[u32], columns: &[ArrayRef]) -> Result<()>;

    /// Bytes in memory.
    fn bytes(&self) -> usize;
}

/// The state columns of a partition, the keys of its live slots in the order of those slots, and the live slots, ascending.
pub type WholePartition<'a, S> = (&'a S, Vec<ArrayRef>, Vec<u32>);

/// Groups by partition, each partition a hash index over typed key columns and the owner's state columns.
///
/// A partition is the watermarked key's value, so that a closed window is dropped whole; 0 where there is none.
pub struct ResidentTable<S: StateColumns> {
    table: TableId,
    stored: TableSchema,
    key_schema: SchemaRef,
    /// Keys, then state.
    schema: SchemaRef,
    new: Box<dyn Fn() -> S + Send>,
    partitions: BTreeMap<i64, Partition<S>>,
    /// Groups of the partition that was dropped last: the next one will hardly be smaller, and growing a table means hashing it again.
    groups_expected: usize,
    /// Partitions dropped since the last flush, and how many blocks their logs have.
    dropped: Vec<(i64, u32)>,
    encoder: BlockEncoder,
}

struct Partition<S> {
    index: KeyIndex,
    slots: Slots,
    state: S,
    /// By slot.
    marks: Vec<u8>,
    live: usize,
    /// Live slots touched since the last flush.
    touched: Vec<u32>,
    /// Slots removed since the last flush that the log knows.
    removed: Vec<u32>,
    /// Slots removed since the last flush, all of them.
    freed: Vec<u32>,
    log_blocks: u32,
    log_rows: u64,
}

impl<S: StateColumns> ResidentTable<S> {
    /// Restores what table `id` holds. `new` makes empty state columns of `state_schema`.
    ///
    /// # Errors
    /// Those of the block store; `Corrupt` if it was written with another schema.
    pub fn open(
        store: &Arc<Store>,
        id: TableId,
        key_schema: SchemaRef,
        state_schema: SchemaRef,
        new: Box<dyn Fn() -> S + Send>,
    ) -> Result<Self> {
        let fields: Vec<_> = key_schema.fields().iter().chain(state_schema.fields()).cloned().collect();
        let schema = Arc::new(Schema::new(fields));
        let keys: Vec<usize> = (0..key_schema.fields().len()).collect();
        let stored = TableSchema::open(store, id, TableKind::Resident, &schema, &keys)?;
        let (partitions, dropped, encoder) = (BTreeMap::new(), Vec::new(), BlockEncoder::new()?);
        let mut table = Self { table: id, stored, key_schema, schema, new, partitions, groups_expected: 0, dropped, encoder };
        store.blocks().scan(Family::Blocks, &table_bytes(id), &mut |key, value| {
            let (partition, number) = parse_partition_key(key)?;
            let place = || format!("block {number} of partition {partition} of table {} of object {}", id.number, id.object);
            let changes = decode(&table.schema, value.to_vec(), None).map_err(|e| e.context(place()))?;
            table.replay(partition, number, &changes).map_err(|e| e.context(place()))
        })?;
        table.partitions.values_mut().for_each(Partition::forget_marks);
        Ok(table)
    }

    fn replay(&mut self, partition: i64, number: u32, changes: &ChangeBatch) -> Result<()> {
        let expected = self.entry(partition)?.log_blocks;
        if number != expected {
            return Err(Error::corrupt(format!("it follows block {expected}, which is missing")));
        }
        let key_columns = self.key_schema.fields().len();
        let mut slots = Vec::new();
        let mut kept = changes.rows().clone();
        if changes.weights().is_some() {
            let is_kept: BooleanArray = changes.weights_or_ones().iter().map(|&w| Some(w > 0)).collect();
            let removed = changes.filter(&arrow::compute::not(&is_kept)?)?;
            if !removed.is_empty() {
                self.intern(partition, &removed.rows().columns()[..key_columns], &mut slots)?;
                self.remove(partition, &slots);
                self.entry(partition)?.free_slots();
            }
            kept = changes.filter(&is_kept)?.rows().clone();
        }
        if kept.num_rows() > 0 {
            let state = self.intern(partition, &kept.columns()[..key_columns], &mut slots)?;
            state.scatter(&slots, &kept.columns()[key_columns..])?;
        }
        let entry = self.entry(partition)?;
        entry.log_blocks = number + 1;
        entry.log_rows += changes.len() as u64;
        Ok(())
    }

    fn entry(&mut self, partition: i64) -> Result<&mut Partition<S>> {
        use std::collections::btree_map::Entry;
        match self.partitions.entry(partition) {
            Entry::Occupied(entry) => Ok(entry.into_mut()),
            Entry::Vacant(entry) => Ok(entry.insert(Partition::new(KeyIndex::new(&self.key_schema, self.groups_expected)?, (self.new)()))),
        }
    }

    /// Finds or adds each row's key in `partition` and marks it touched; slot numbers, one per row, into `slots` (cleared first).
    /// Gives the partition's state columns, large enough for every slot. Without key columns there is one group, and `slots` gets its one number.
    ///
    /// # Errors
    /// Keys of other types.
    pub fn intern(&mut self, partition: i64, keys: &[ArrayRef], slots: &mut Vec<u32>) -> Result<&mut S> {
        slots.clear();
        let entry = self.entry(partition)?;
        entry.index.intern(keys, &mut entry.slots, slots)?;
        entry.touch(slots);
        Ok(&mut entry.state)
    }

    /// All partitions, ascending.
    pub fn partitions(&self) -> impl Iterator<Item = i64> {
        self.partitions.keys().copied()
    }

    /// A whole partition, if it is there.
    ///
    /// # Errors
    /// Keys that cannot be turned back into columns: a bug.
    pub fn partition(&self, partition: i64) -> Result<Option<WholePartition<'_, S>>> {
        let Some(entry) = self.partitions.get(&partition) else { return Ok(None) };
        let live = entry.live_slots();
        Ok(Some((&entry.state, entry.index.gather(&live)?, live)))
    }

    /// The key columns of `slots` of `partition`.
    ///
    /// # Errors
    /// No such partition: a bug.
    pub fn keys_of(&self, partition: i64, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        match self.partitions.get(&partition) {
            Some(entry) => entry.index.gather(slots),
            None => Err(Error::bug(format!("there is no partition {partition}"))),
        }
    }

    /// The state columns of `partition`.
    #[must_use]
    pub fn state(&self, partition: i64) -> Option<&S> {
        self.partitions.get(&partition).map(|entry| &entry.state)
    }

    /// The state columns of `partition`, to change. The slots must have been touched by `intern` in this epoch.
    pub fn state_mut(&mut self, partition: i64) -> Option<&mut S> {
        self.partitions.get_mut(&partition).map(|entry| &mut entry.state)
    }

    /// True if `slot` was added in this epoch, so that it has no old value.
    #[must_use]
    pub fn is_new(&self, partition: i64, slot: u32) -> bool {
        self.partitions.get(&partition).is_some_and(|entry| entry.marks[slot as usize] & NEW != 0)
    }

    /// Live slots touched since the last flush, each once, by partition ascending.
    pub fn touched(&self) -> impl Iterator<Item = (i64, &[u32])> {
        self.partitions.iter().filter(|(_, entry)| !entry.touched.is_empty()).map(|(&partition, entry)| (partition, &entry.touched[..]))
    }

    /// These groups are gone: their slots are set back, used again after the next flush, and their deletion is logged.
    pub fn remove(&mut self, partition: i64, slots: &[u32]) {
        if let Some(entry) = self.partitions.get_mut(&partition) {
            entry.remove(slots);
        }
    }

    /// The partition is gone with all its groups.
    pub fn drop_partition(&mut self, partition: i64) {
        let Some(entry) = self.partitions.remove(&partition) else { return };
        self.groups_expected = entry.live;
        if entry.log_blocks > 0 {
            self.dropped.push((partition, entry.log_blocks));
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
        let mut emptied = Vec::new();
        for (&partition, entry) in &mut self.partitions {
            if entry.touched.is_empty() && entry.freed.is_empty() {
                continue;
            }
            if entry.live == 0 {
                delete_blocks(self.table, partition, 0..entry.log_blocks, writes);
                emptied.push(partition);
                continue;
            }
            self.stored.flush(writes)?;
            let mut log = LogWriter { table: self.table, partition, schema: &self.schema, encoder: &mut self.encoder };
            entry.flush(&mut log, writes)?;
        }
        for partition in emptied {
            self.partitions.remove(&partition);
        }
        Ok(())
    }

    /// Live groups.
    #[must_use]
    pub fn groups(&self) -> usize {
        self.partitions.values().map(|entry| entry.live).sum()
    }

    /// Bytes in memory, keys, index and state.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.partitions.values().map(|entry| entry.index.bytes() + entry.state.bytes() + entry.marks.capacity()).sum()
    }
}

impl<S: StateColumns> Partition<S> {
    fn new(index: KeyIndex, state: S) -> Self {
        Self {
            index,
            slots: Slots::default(),
            state,
            marks: Vec::new(),
            live: 0,
            touched: Vec::new(),
            removed: Vec::new(),
            freed: Vec::new(),
            log_blocks: 0,
            log_rows: 0,
        }
    }

    fn touch(&mut self, slots: &[u32]) {
        let count = self.slots.count as usize;
        if self.marks.len() < count {
            self.marks.resize(count, 0);
            self.state.resize(count);
        }
        for &slot in slots {
            let mark = &mut self.marks[slot as usize];
            if *mark & TOUCHED == 0 {
                if *mark & LIVE == 0 {
                    *mark = LIVE | NEW;
                    self.live += 1;
                }
                *mark |= TOUCHED;
                self.touched.push(slot);
            }
        }
    }

    fn live_slots(&self) -> Vec<u32> {
        (0..self.slots.count).filter(|&slot| self.marks[slot as usize] & LIVE != 0).collect()
    }

    fn remove(&mut self, slots: &[u32]) {
        for &slot in slots {
            let mark = &mut self.marks[slot as usize];
            if *mark & LIVE == 0 {
                continue;
            }
            if *mark & NEW == 0 {
                self.removed.push(slot);
            }
            *mark = 0;
            self.index.remove(slot);
            self.freed.push(slot);
            self.live -= 1;
        }
        self.state.reset(slots);
        let marks = &self.marks;
        self.touched.retain(|&slot| marks[slot as usize] & TOUCHED != 0);
    }

    fn flush(&mut self, log: &mut LogWriter<'_>, writes: &mut Writes) -> Result<()> {
        let rows = self.log_rows + (self.removed.len() + self.touched.len()) as u64;
        if rows > 2 * self.live as u64 + LOG_ROWS_SPARE || self.log_blocks == u32::MAX {
            self.rewrite(log, writes)?;
        } else {
            let mut slots = std::mem::take(&mut self.removed);
            let removed = slots.len();
            slots.extend_from_slice(&self.touched);
            self.append(log, &slots, removed, writes)?;
        }
        self.forget_marks();
        Ok(())
    }

    /// The whole partition from block 0 on. The blocks that are left of the old log go in the same write.
    fn rewrite(&mut self, log: &mut LogWriter<'_>, writes: &mut Writes) -> Result<()> {
        let old = std::mem::replace(&mut self.log_blocks, 0);
        self.log_rows = 0;
        self.append(log, &self.live_slots(), 0, writes)?;
        delete_blocks(log.table, log.partition, self.log_blocks..old, writes);
        Ok(())
    }

    /// Blocks of `slots`, of which the first `removed` are removed.
    fn append(&mut self, log: &mut LogWriter<'_>, slots: &[u32], removed: usize, writes: &mut Writes) -> Result<()> {
        let mut removed_left = removed;
        for slots in slots.chunks(BLOCK_ROWS_MAX) {
            let mut columns = self.index.gather(slots)?;
            columns.extend(self.state.gather(slots)?);
            let here = removed_left.min(slots.len());
            removed_left -= here;
            log.write(self.log_blocks, columns, slots.len(), here, writes)?;
            self.log_blocks += 1;
            self.log_rows += slots.len() as u64;
        }
        Ok(())
    }

    fn free_slots(&mut self) {
        self.slots.free.append(&mut self.freed);
        self.removed.clear();
    }

    /// An epoch ends: nothing is touched, removed slots can be used again.
    fn forget_marks(&mut self) {
        for slot in self.touched.drain(..) {
            self.marks[slot as usize] = LIVE;
        }
        self.free_slots();
        self.index.compact();
    }
}

/// Where the blocks of a partition's log go.
struct LogWriter<'a> {
    table: TableId,
    partition: i64,
    schema: &'a SchemaRef,
    encoder: &'a mut BlockEncoder,
}

impl LogWriter<'_> {
    /// Block `number` of `rows` rows, the first `removed` of them removed.
    fn write(&mut self, number: u32, columns: Vec<ArrayRef>, rows: usize, removed: usize, writes: &mut Writes) -> Result<()> {
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?;
        let changes = if removed == 0 {
            ChangeBatch::insertions(batch)
        } else {
            let weights: Vec<i64> = (0..rows).map(|row| if row < removed { -1 } else { 1 }).collect();
            ChangeBatch::new(batch, weights)?
        };
        let key = block_key(self.table, partition_number(self.partition), number);
        writes.put(Family::Blocks, key, self.encoder.encode(&changes)?);
        Ok(())
    }
}

fn delete_blocks(table: TableId, partition: i64, blocks: std::ops::Range<u32>, writes: &mut Writes) {
    for number in blocks {
        writes.delete(Family::Blocks, block_key(table, partition_number(partition), number));
    }
}
