//! Hashed state: groups in memory under typed keys, logged as columnar after-images.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::SchemaRef;
use headwater_types::{Error, Result};

use crate::{Store, TableId, Writes};

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

/// Groups by partition, each partition a hash index over typed key columns and the owner's state columns.
///
/// A partition is the watermarked key's value, so that a closed window is dropped whole; 0 where there is none.
pub struct ResidentTable<S: StateColumns> {
    partitions: BTreeMap<i64, S>,
    #[allow(dead_code)]
    new: Box<dyn Fn() -> S + Send>,
}

impl<S: StateColumns> ResidentTable<S> {
    /// Restores what table `id` holds. `new` makes empty state columns of `state_schema`.
    ///
    /// # Errors
    /// Those of the block store; `Corrupt` if it was written with another schema.
    pub fn open(
        _store: &Arc<Store>,
        _id: TableId,
        _key_schema: SchemaRef,
        _state_schema: SchemaRef,
        new: Box<dyn Fn() -> S + Send>,
    ) -> Result<Self> {
        Ok(Self { partitions: BTreeMap::new(), new })
    }

    /// Finds or adds each row's key in `partition` and marks it touched; slot numbers, one per row, into `slots` (cleared first).
    /// Gives the partition's state columns, large enough for every slot.
    ///
    /// # Errors
    /// Keys of other types.
    pub fn intern(&mut self, _partition: i64, _keys: &[ArrayRef], _slots: &mut Vec<u32>) -> Result<&mut S> {
        Err(Error::unsupported("resident table"))
    }

    /// All partitions, ascending.
    pub fn partitions(&self) -> impl Iterator<Item = i64> {
        self.partitions.keys().copied()
    }

    /// A whole partition: its state, the keys of its live slots in the order of those slots, and the live slots.
    ///
    /// # Errors
    /// Keys that cannot be turned back into columns: a bug.
    pub fn partition(&self, _partition: i64) -> Result<Option<(&S, Vec<ArrayRef>, Vec<u32>)>> {
        Err(Error::unsupported("resident table"))
    }

    /// The key columns of `slots` of `partition`.
    ///
    /// # Errors
    /// No such partition: a bug.
    pub fn keys_of(&self, _partition: i64, _slots: &[u32]) -> Result<Vec<ArrayRef>> {
        Err(Error::unsupported("resident table"))
    }

    /// The state columns of `partition`.
    #[must_use]
    pub fn state(&self, partition: i64) -> Option<&S> {
        self.partitions.get(&partition)
    }

    /// The state columns of `partition`, to change. The slots must have been touched by `intern` in this epoch.
    pub fn state_mut(&mut self, partition: i64) -> Option<&mut S> {
        self.partitions.get_mut(&partition)
    }

    /// True if `slot` was added in this epoch, so that it has no old value.
    #[must_use]
    pub fn is_new(&self, _partition: i64, _slot: u32) -> bool {
        false
    }

    /// Live slots touched since the last flush, each once, by partition.
    pub fn touched(&self) -> impl Iterator<Item = (i64, &[u32])> {
        self.partitions.keys().map(|&p| (p, &[][..]))
    }

    /// These groups are gone: their slots are set back, used again after the next flush, and their deletion is logged.
    pub fn remove(&mut self, _partition: i64, _slots: &[u32]) {}

    /// The partition is gone with all its groups.
    pub fn drop_partition(&mut self, partition: i64) {
        self.partitions.remove(&partition);
    }

    /// The after-images of what was touched, removed and dropped since the last flush.
    ///
    /// # Errors
    /// Those of `gather`.
    pub fn flush(&mut self, _writes: &mut Writes) -> Result<()> {
        Err(Error::unsupported("resident table"))
    }

    /// Live groups.
    #[must_use]
    pub fn groups(&self) -> usize {
        0
    }

    /// Bytes in memory, keys, index and state.
    #[must_use]
    pub fn bytes(&self) -> usize {
        0
    }
}
