//! Kept rows: columnar blocks in an ordered, atomic store, and the three shapes that every operator and relation is made of.
#![deny(unsafe_code)]

mod block;
mod block_store;
mod cache;
mod filter;
mod key_index;
mod keys;
mod log;
mod memory;
mod merge;
mod pack;
mod relation;
mod resident;
mod rocks;
mod roster;
mod run;
mod schema;
mod shard;
mod snapshot;
mod spine;
mod stack;
mod state_columns;
mod store;
mod synced;
mod trace;
mod word_table;

pub use block_store::{BlockStore, Family, WriteEntry, Writes};
pub use log::Log;
pub use memory::MemoryStore;
pub use relation::{Relation, Shape};
pub use resident::ResidentTable;
pub use rocks::{FORMAT_VERSION, RocksOptions, RocksStore};
pub use shard::{NewState, Shard, WholePartition};
pub use snapshot::Snapshot;
pub use state_columns::StateColumns;
pub use store::{Store, StoreOptions, TableId};
pub use trace::{End, Matches, Trace};
