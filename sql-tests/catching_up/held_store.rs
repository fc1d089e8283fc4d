//! A store in memory that holds the writes of the commit thread back, for as long as a test wants.

use std::path::Path;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use headwater::{BlockStore, MemoryStore, Result};
use headwater_state::{Family, Writes};

#[derive(Default)]
pub struct HeldStore {
    inner: MemoryStore,
    hold: Mutex<Hold>,
    changed: Condvar,
}

#[derive(Default)]
struct Hold {
    is_on: bool,
    /// A write waits.
    is_met: bool,
}

impl HeldStore {
    /// From now on the commit thread's writes wait, or no longer. What the loop writes itself never does.
    pub fn hold(&self, is_on: bool) {
        *self.hold.lock().unwrap_or_else(PoisonError::into_inner) = Hold { is_on, is_met: false };
        self.changed.notify_all();
    }

    /// Whether an epoch is on its way to the store, and will be until it is let go; waits for one for so long.
    pub fn holds_within(&self, wait: Duration) -> bool {
        let hold = self.hold.lock().unwrap_or_else(PoisonError::into_inner);
        self.changed.wait_timeout_while(hold, wait, |hold| !hold.is_met).unwrap_or_else(PoisonError::into_inner).0.is_met
    }

    fn wait(&self) {
        if std::thread::current().name() != Some("commit") {
            return;
        }
        let mut hold = self.hold.lock().unwrap_or_else(PoisonError::into_inner);
        while hold.is_on {
            hold.is_met = true;
            self.changed.notify_all();
            hold = self.changed.wait(hold).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl BlockStore for HeldStore {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.inner.get(family, key)
    }

    fn scan(&self, family: Family, prefix: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> Result<()>) -> Result<()> {
        self.inner.scan(family, prefix, visit)
    }

    fn write(&self, writes: &Writes) -> Result<()> {
        self.wait();
        self.inner.write(writes)
    }

    fn sync(&self) -> Result<()> {
        self.inner.sync()
    }

    fn checkpoint(&self, directory: &Path) -> Result<()> {
        self.inner.checkpoint(directory)
    }
}
