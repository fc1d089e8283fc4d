//! The ordered, atomic, checkpointable home of blocks, and the one write batch of an epoch.

use std::path::Path;

use headwater_types::Result;

/// The key spaces of a store; in RocksDB one column family each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// Small and few: format version, catalog, positions, watermarks, run lists, sink marks.
    Meta,
    /// Columnar blocks of runs, logs and resident tables.
    Blocks,
}

/// A put (with a value) or a delete of a key.
pub type WriteEntry = (Family, Vec<u8>, Option<Vec<u8>>);

/// What one epoch writes: puts and deletes over all families, applied as a whole or not at all.
#[derive(Debug, Default)]
pub struct Writes {
    entries: Vec<WriteEntry>,
    bytes: usize,
}

impl Writes {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts `value` at `key`.
    pub fn put(&mut self, family: Family, key: Vec<u8>, value: Vec<u8>) {
        self.bytes += key.len() + value.len();
        self.entries.push((family, key, Some(value)));
    }

    /// Deletes `key`; no error if it is not there.
    pub fn delete(&mut self, family: Family, key: Vec<u8>) {
        self.bytes += key.len();
        self.entries.push((family, key, None));
    }

    /// Adds all of `other` after what is there.
    pub fn append(&mut self, other: Writes) {
        self.bytes += other.bytes;
        self.entries.extend(other.entries);
    }

    /// All entries in the order they were made; a later one on the same key wins.
    #[must_use]
    pub fn entries(&self) -> &[WriteEntry] {
        &self.entries
    }

    /// Bytes of keys and values.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// True if nothing would be written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// An ordered map from bytes to bytes with atomic batches. `RocksStore` keeps it on disk, `MemoryStore` for tests and databases without a directory.
///
/// A written batch is visible to reads at once and survives the end of the process; it survives power loss only after [`BlockStore::sync`].
/// After a failed write or sync the store is closed: every later call fails with the same error. Only a disk without room
/// ([`headwater_types::Error::is_disk_full`]) leaves it open: the write was not applied, what was written before is still readable, and the same
/// calls succeed once there is room.
pub trait BlockStore: Send + Sync {
    /// The value at `key`.
    ///
    /// # Errors
    /// `Storage`, or `Corrupt` with the file's name.
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>>;

    /// Calls `visit(key, value)` for every key that starts with `prefix`, in byte order.
    ///
    /// # Errors
    /// As [`BlockStore::get`], or the first error of `visit`.
    #[allow(clippy::type_complexity, reason = "a name for the type would hide that it is any closure")]
    fn scan(&self, family: Family, prefix: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> Result<()>) -> Result<()>;

    /// Applies `writes`, all or nothing.
    ///
    /// # Errors
    /// `Storage`. The store is closed afterwards, unless the disk is full.
    fn write(&self, writes: &Writes) -> Result<()>;

    /// Makes everything written so far survive power loss.
    ///
    /// # Errors
    /// `Storage`. The store is closed afterwards, unless the disk is full.
    fn sync(&self) -> Result<()>;

    /// Puts a consistent copy of everything written so far into the new directory `directory` (hard links where the store has files).
    ///
    /// # Errors
    /// `Storage`; `Unsupported` for a store without files.
    fn checkpoint(&self, directory: &Path) -> Result<()>;
}
