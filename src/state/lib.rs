//! Kept rows: columnar blocks in an ordered, atomic store, and the three shapes that every operator and relation is made of.
#![deny(unsafe_code)]

mod block_store;
mod log;
mod memory;
mod relation;
mod resident;
mod rocks;
mod snapshot;
mod store;
mod trace;

pub use block_store::{BlockStore, Family, Writes};
pub use log::Log;
pub use memory::MemoryStore;
pub use relation::{Relation, Shape};
pub use resident::{ResidentTable, StateColumns};
pub use rocks::{FORMAT_VERSION, RocksOptions, RocksStore};
pub use snapshot::Snapshot;
pub use store::{Store, StoreOptions, TableId};
pub use trace::{End, Matches, Trace};
