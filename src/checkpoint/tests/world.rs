//! Data directories that change as RocksDB's do, processes that die, and a store under them all.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use headwater_types::{Epoch, Result, SystemClock};
use object_store::ObjectStore;
use object_store::memory::InMemory;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tempfile::TempDir;

use crate::{Claim, Faults, FaultyStore, Identity, Lease, LocalIdentity, Manifest, Progress, Remote, Timing, prune, upload};

pub const QUIET: &(dyn Fn(Progress) + Send + Sync) = &|_| {};

/// One store, seen by each process through its own faults.
pub struct World {
    pub store: Arc<InMemory>,
    pub timing: Timing,
}

impl World {
    pub fn new(hurry: u32) -> Self {
        Self { store: Arc::new(InMemory::new()), timing: Timing::hurried(hurry) }
    }

    /// What a process with these faults sees; opened before they set in.
    pub async fn remote(&self, seed: u64, faults: Faults) -> (Remote, FaultyStore) {
        let faulty = FaultyStore::new(self.store.clone(), seed, Faults::default());
        let remote = Remote::with_store("memory", Arc::new(faulty.handle()), Arc::new(SystemClock::default())).await.unwrap();
        faulty.set_faults(faults);
        (remote.with_timing(self.timing), faulty)
    }

    pub async fn plain(&self) -> Remote {
        self.remote(0, Faults::default()).await.0
    }

    pub async fn exists(&self, object: &str) -> bool {
        use object_store::ObjectStoreExt;
        self.store.head(&object.into()).await.is_ok()
    }

    pub fn raw(&self) -> Arc<dyn ObjectStore> {
        self.store.clone()
    }
}

/// A directory with immutable tables that come and go, and small files that change.
pub struct Disk {
    pub directory: TempDir,
    pub identity: Identity,
    pub epoch: Epoch,
    random: SmallRng,
    next: u64,
    tables: Vec<String>,
}

impl Disk {
    pub fn new(seed: u64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let random = SmallRng::seed_from_u64(seed);
        Self { directory, identity: Identity::new(), epoch: Epoch(0), random, next: 1, tables: Vec::new() }
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// An epoch of work: a table or two more, some compacted away, the small files rewritten.
    pub fn work(&mut self) {
        self.epoch = self.epoch.next();
        for _ in 0..self.random.random_range(0..3) {
            let name = format!("{:06}.sst", self.next);
            self.next += 1;
            self.write(&name);
            self.tables.push(name);
        }
        while self.tables.len() > 5 {
            let gone = self.tables.swap_remove(self.random.random_range(0..5));
            std::fs::remove_file(self.path().join(gone)).unwrap();
        }
        self.write("MANIFEST-000001");
        self.write("CURRENT");
    }

    fn write(&mut self, name: &str) {
        let bytes: [u8; 24] = self.random.random();
        std::fs::write(self.path().join(name), bytes).unwrap();
    }

    pub fn claim(&self, take_over: bool) -> Claim {
        let local = LocalIdentity { identity: self.identity.clone(), epoch: self.epoch };
        Claim { local: (self.epoch > Epoch(0)).then_some(local), directory: self.path().to_owned(), take_over }
    }

    /// Takes the lease; a new database gets its identity.
    pub async fn open(&mut self, remote: &Remote, take_over: bool) -> Result<Lease> {
        let (lease, _) = Lease::acquire(remote, self.claim(take_over)).await?;
        if self.epoch == Epoch(0) {
            self.identity = lease.begin().await?;
        }
        Ok(lease)
    }

    pub async fn upload(&self, lease: &Lease) -> Result<Manifest> {
        upload(lease, self.path(), self.epoch, QUIET).await
    }

    pub async fn upload_and_prune(&self, lease: &Lease) -> Result<Manifest> {
        let manifest = self.upload(lease).await?;
        prune(lease).await?;
        Ok(manifest)
    }
}

/// Name and content of all files that a checkpoint would hold.
pub fn content(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(directory).unwrap().map(Result::unwrap);
    let named = entries.map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap()));
    named.filter(|(name, _)| name != "headwater.json").collect()
}
