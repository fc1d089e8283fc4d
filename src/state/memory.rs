//! A block store in memory, for tests, simulations and databases without a directory; it can lose what was not synced, or fail on command.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use headwater_types::{Error, Result};
use parking_lot::RwLock;

use crate::{BlockStore, Family, Writes};

type Contents = BTreeMap<(Family, Vec<u8>), Arc<[u8]>>;
type Entry = (Family, Vec<u8>, Option<Arc<[u8]>>);

/// A block store without a disk. `sync` marks what a power loss, played by [`MemoryStore::crash`], leaves behind.
#[derive(Default)]
pub struct MemoryStore {
    state: RwLock<State>,
}

#[derive(Default)]
struct State {
    written: Contents,
    synced: Contents,
    /// What was written since the last sync, in order.
    unsynced: Vec<Entry>,
    /// Writes and syncs that still succeed; none means all.
    calls_left: Option<usize>,
    failed: Option<Error>,
    /// The disk has no room.
    full: bool,
}

impl State {
    fn check(&self) -> Result<()> {
        self.failed.clone().map_or(Ok(()), Err)
    }

    fn count_call(&mut self) -> Result<()> {
        self.check()?;
        if self.full {
            return Err(Error::storage("no space left, as the test asked").with_sqlstate(Error::DISK_FULL));
        }
        match &mut self.calls_left {
            Some(0) => {
                let error = Error::storage("the disk failed, as the test asked");
                self.failed = Some(error.clone());
                Err(error)
            }
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Power loss: back to the last sync. Heals a failed store too, as a restart of the machine would.
    pub fn crash(&self) {
        let state = &mut *self.state.write();
        state.written = state.synced.clone();
        state.unsynced.clear();
        state.calls_left = None;
        state.failed = None;
        state.full = false;
    }

    /// Lets `calls` more writes and syncs succeed and the next one fail, as a full or broken disk would.
    pub fn fail_after(&self, calls: usize) {
        self.state.write().calls_left = Some(calls);
    }

    /// Writes and syncs find no room, or find room again.
    pub fn set_full(&self, full: bool) {
        self.state.write().full = full;
    }

    /// Bytes of all keys and values.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.state.read().written.iter().map(|((_, key), value)| key.len() + value.len()).sum()
    }
}

impl BlockStore for MemoryStore {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let state = self.state.read();
        state.check()?;
        Ok(state.written.get(&(family, key.to_vec())).map(|value| value.to_vec()))
    }

    fn scan(&self, family: Family, prefix: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> Result<()>) -> Result<()> {
        // Copied out (values by reference), so that `visit` may use the store.
        let found: Vec<(Vec<u8>, Arc<[u8]>)> = {
            let state = self.state.read();
            state.check()?;
            let from = (family, prefix.to_vec());
            let range = state.written.range(from..).take_while(|((f, key), _)| *f == family && key.starts_with(prefix));
            range.map(|((_, key), value)| (key.clone(), value.clone())).collect()
        };
        found.iter().try_for_each(|(key, value)| visit(key, value))
    }

    fn write(&self, writes: &Writes) -> Result<()> {
        let state = &mut *self.state.write();
        state.count_call()?;
        for (family, key, value) in writes.entries() {
            let entry = (*family, key.clone(), value.as_deref().map(Arc::from));
            apply(&mut state.written, entry.clone());
            state.unsynced.push(entry);
        }
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        let state = &mut *self.state.write();
        state.count_call()?;
        for entry in state.unsynced.drain(..) {
            apply(&mut state.synced, entry);
        }
        Ok(())
    }

    fn checkpoint(&self, _directory: &Path) -> Result<()> {
        Err(Error::unsupported("a checkpoint of a database in memory").with_hint("start with a data directory"))
    }
}

fn apply(contents: &mut Contents, (family, key, value): Entry) {
    match value {
        Some(value) => contents.insert((family, key), value),
        None => contents.remove(&(family, key)),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(store: &MemoryStore, key: &str) -> Result<()> {
        let mut writes = Writes::new();
        writes.put(Family::Meta, key.as_bytes().to_vec(), b"1".to_vec());
        store.write(&writes)
    }

    #[test]
    fn a_crash_goes_back_to_the_last_sync() {
        let store = MemoryStore::new();
        put(&store, "a").unwrap();
        store.sync().unwrap();
        put(&store, "b").unwrap();
        let mut writes = Writes::new();
        writes.delete(Family::Meta, b"a".to_vec());
        store.write(&writes).unwrap();
        assert!(store.get(Family::Meta, b"a").unwrap().is_none());
        store.crash();
        assert!(store.get(Family::Meta, b"a").unwrap().is_some());
        assert!(store.get(Family::Meta, b"b").unwrap().is_none());
    }

    #[test]
    fn a_full_store_stays_open() {
        let store = MemoryStore::new();
        put(&store, "a").unwrap();
        store.set_full(true);
        assert!(put(&store, "b").unwrap_err().is_disk_full() && store.sync().unwrap_err().is_disk_full());
        assert!(store.get(Family::Meta, b"a").unwrap().is_some() && store.get(Family::Meta, b"b").unwrap().is_none());
        store.set_full(false);
        put(&store, "b").unwrap();
        store.sync().unwrap();
        assert!(store.get(Family::Meta, b"b").unwrap().is_some());
    }

    #[test]
    fn a_failed_store_stays_closed() {
        let store = MemoryStore::new();
        store.fail_after(1);
        put(&store, "a").unwrap();
        let first = put(&store, "b").unwrap_err();
        assert_eq!(store.get(Family::Meta, b"a").unwrap_err().message(), first.message());
        assert_eq!(store.sync().unwrap_err().message(), first.message());
        store.crash();
        assert!(store.get(Family::Meta, b"a").unwrap().is_none());
    }
}
