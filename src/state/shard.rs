//! A shard of a resident table: groups in memory under typed keys, with marks of what the log does not know yet.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::SchemaRef;
use headwater_types::{Error, Result};

use crate::key_index::{KeyIndex, Slots};
use crate::state_columns::StateColumns;

/// Makes empty state columns.
pub type NewState<S> = Arc<dyn Fn() -> S + Send + Sync>;

/// The state columns of a partition, the keys of its live slots in the order of those slots, and the live slots, ascending.
pub type WholePartition<'a, S> = (&'a S, Vec<ArrayRef>, Vec<u32>);

/// Marks of a slot.
const LIVE: u8 = 1;
const TOUCHED: u8 = 2;
/// Added since the last flush: the log does not know it.
const NEW: u8 = 4;

/// Slots that are marked at a time.
const CHUNK_SLOTS: usize = 256;

/// With more groups a partition is in use, and not what a few stray rows have opened.
const STRAY_GROUPS_MAX: usize = 64;

/// The groups that one thread works on at a time: all of a partition, or those whose keys fall to this shard.
pub struct Shard<S> {
    key_schema: SchemaRef,
    new: NewState<S>,
    partitions: BTreeMap<i64, Partition<S>>,
    /// Groups of the partition that was dropped last: the next one will hardly be smaller, and growing a table means hashing it again.
    groups_expected: usize,
}

/// Slots of a partition for the log.
pub(crate) struct LogSlots {
    pub(crate) slots: Vec<u32>,
    /// The first so many were removed.
    pub(crate) removed: usize,
}

struct Partition<S> {
    index: KeyIndex,
    slots: Slots,
    state: S,
    /// How many groups it will have as things stand.
    groups_expected: usize,
    /// By slot.
    marks: Vec<u8>,
    live: usize,
    /// Live slots touched since the last flush.
    touched: Vec<u32>,
    /// Slots removed since the last flush that the log knows.
    removed: Vec<u32>,
    /// Slots removed since the last flush, all of them.
    freed: Vec<u32>,
}

impl<S: StateColumns> Shard<S> {
    /// No groups. Keys have the columns `key_schema`; `new` makes empty state columns.
    #[must_use]
    pub fn new(key_schema: SchemaRef, new: NewState<S>) -> Self {
        Self { key_schema, new, partitions: BTreeMap::new(), groups_expected: 0 }
    }

    /// Finds or adds each row's key in `partition` and marks it touched; slot numbers, one per row, into `slots` (cleared first).
    /// Gives the partition's state columns, large enough for every slot. Without key columns there is one group, and `slots` gets its one number.
    ///
    /// # Errors
    /// Keys of other types.
    pub fn intern(&mut self, partition: i64, keys: &[ArrayRef], slots: &mut Vec<u32>) -> Result<&mut S> {
        use std::collections::btree_map::Entry;
        slots.clear();
        let entry = match self.partitions.entry(partition) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(Partition::new(&self.key_schema, (self.new)(), self.groups_expected)?),
        };
        entry.index.intern(keys, &mut entry.slots, slots)?;
        entry.touch(slots);
        Ok(&mut entry.state)
    }

    /// The partitions of which it has groups, ascending.
    pub fn partitions(&self) -> impl Iterator<Item = i64> {
        self.partitions.keys().copied()
    }

    /// All that it has of a partition, if it has any.
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
        self.get(partition)?.index.gather(slots)
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

    /// Live groups.
    #[must_use]
    pub fn groups(&self) -> usize {
        self.partitions.values().map(|entry| entry.live).sum()
    }

    pub(crate) fn groups_of(&self, partition: i64) -> usize {
        self.partitions.get(&partition).map_or(0, |entry| entry.live)
    }

    /// Partitions of which something was touched or removed since the last flush.
    pub(crate) fn dirty(&self) -> impl Iterator<Item = i64> {
        self.partitions.iter().filter(|(_, entry)| entry.is_dirty()).map(|(&partition, _)| partition)
    }

    pub(crate) fn is_dirty(&self, partition: i64) -> bool {
        self.partitions.get(&partition).is_some_and(Partition::is_dirty)
    }

    /// How many slots [`Shard::changed`] gives.
    pub(crate) fn changes_of(&self, partition: i64) -> usize {
        self.partitions.get(&partition).map_or(0, |entry| entry.removed.len() + entry.touched.len())
    }

    /// What the log does not know yet: removed groups, then touched ones.
    pub(crate) fn changed(&self, partition: i64) -> LogSlots {
        let Some(entry) = self.partitions.get(&partition) else { return LogSlots { slots: Vec::new(), removed: 0 } };
        LogSlots { slots: [&entry.removed[..], &entry.touched[..]].concat(), removed: entry.removed.len() }
    }

    /// All groups.
    pub(crate) fn live(&self, partition: i64) -> LogSlots {
        LogSlots { slots: self.partitions.get(&partition).map_or_else(Vec::new, Partition::live_slots), removed: 0 }
    }

    /// Key and state columns of `slots`; of removed ones the keys alone mean something.
    pub(crate) fn gather(&self, partition: i64, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        let entry = self.get(partition)?;
        let mut columns = entry.index.gather(slots)?;
        columns.extend(entry.state.gather(slots)?);
        Ok(columns)
    }

    /// The log knows everything about `partition`: nothing is touched, removed slots can be used again.
    pub(crate) fn forget_marks(&mut self, partition: i64) {
        if let Some(entry) = self.partitions.get_mut(&partition) {
            entry.forget_marks();
        }
    }

    /// The next partition will have about so many groups.
    pub(crate) fn expect(&mut self, groups: usize) {
        self.groups_expected = groups;
    }

    /// The partition is gone with all its groups.
    pub fn drop_partition(&mut self, partition: i64) {
        if let Some(entry) = self.partitions.remove(&partition) {
            self.groups_expected = entry.live;
        }
    }

    /// Bytes in memory, keys, index and state.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.partitions.values().map(|entry| entry.index.bytes() + entry.state.bytes() + entry.marks.capacity()).sum()
    }

    fn get(&self, partition: i64) -> Result<&Partition<S>> {
        self.partitions.get(&partition).ok_or_else(|| Error::bug(format!("there is no partition {partition}")))
    }
}

impl<S: StateColumns> Partition<S> {
    fn new(keys: &SchemaRef, state: S, groups_expected: usize) -> Result<Self> {
        Ok(Self {
            index: KeyIndex::new(keys)?,
            slots: Slots::default(),
            state,
            groups_expected,
            marks: Vec::new(),
            live: 0,
            touched: Vec::new(),
            removed: Vec::new(),
            freed: Vec::new(),
        })
    }

    fn is_dirty(&self) -> bool {
        !self.touched.is_empty() || !self.freed.is_empty()
    }

    /// Marks what was met. Which groups are met for the first time cannot be guessed, so nothing depends on a branch.
    fn touch(&mut self, slots: &[u32]) {
        self.make_room();
        let (mut first, mut added) = ([0; CHUNK_SLOTS], 0);
        for chunk in slots.chunks(CHUNK_SLOTS) {
            let mut count = 0;
            for &slot in chunk {
                let mark = &mut self.marks[slot as usize];
                let is_added = *mark & LIVE == 0;
                added += usize::from(is_added);
                first[count % CHUNK_SLOTS] = slot;
                count += usize::from(*mark & TOUCHED == 0);
                *mark |= LIVE | TOUCHED | if is_added { NEW } else { 0 };
            }
            self.touched.extend_from_slice(&first[..count]);
        }
        self.live += added;
    }

    /// Room for every slot, and at once for all that are expected: what grows bit by bit is copied again and again.
    fn make_room(&mut self) {
        let count = self.slots.count as usize;
        if self.marks.len() >= count {
            return;
        }
        let room = if count > STRAY_GROUPS_MAX { count.max(self.groups_expected) } else { count };
        self.index.reserve(room - count);
        self.marks.resize(room, 0);
        self.state.resize(room);
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

    fn forget_marks(&mut self) {
        for slot in self.touched.drain(..) {
            self.marks[slot as usize] = LIVE;
        }
        self.slots.free.append(&mut self.freed);
        self.removed.clear();
        self.index.compact();
    }
}
