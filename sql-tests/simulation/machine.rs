//! One machine of the simulation: a data directory, a process on it, and that process's view of the object store with its failures.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use headwater::checkpoint::{Faults, FaultyStore, Remote, Timing};
use headwater::{Database, Options, Session};
use headwater_types::{Error, HeldClock};
use object_store::memory::InMemory;

use super::connector::WorldConnector;
use super::world::World;

/// So many times faster than in earnest a lease is renewed and lost.
const HURRY: u32 = 20;
/// How often a start is tried again, as whoever watches over the process would.
const STARTS_MAX: usize = 60;
const START_AGAIN: Duration = Duration::from_millis(50);

/// Failures of an object store on a bad day.
pub const BAD_DAY: Faults =
    Faults { fail: 0.05, lose_reply: 0.05, arrive_late: 0.05, delay: 0.2, delay_max: Duration::from_millis(5), ignore_conditions: false };

/// What a start meets at most. An error ends a start, and waiting for a lease is many requests: on a bad day none would succeed.
const STARTING: Faults = Faults { fail: 0.01, lose_reply: 0.01, ..BAD_DAY };

/// What all machines share.
pub struct Outside {
    pub world: Arc<World>,
    pub objects: Arc<InMemory>,
    home: tempfile::TempDir,
    machines: usize,
    /// Stores of processes that are gone: writes of theirs may still be on their way.
    gone: Vec<FaultyStore>,
}

impl Outside {
    /// An empty object store, and room for directories.
    ///
    /// # Errors
    /// No temporary directory.
    pub fn new(world: Arc<World>) -> Result<Self, Error> {
        Ok(Self { world, objects: Arc::new(InMemory::new()), home: tempfile::tempdir()?, machines: 0, gone: Vec::new() })
    }

    /// A directory where nothing ever was.
    pub fn new_directory(&mut self) -> PathBuf {
        self.machines += 1;
        self.home.path().join(format!("machine-{}", self.machines))
    }

    /// What processes that are gone had sent arrives now.
    pub async fn deliver_late(&mut self) {
        for store in self.gone.drain(..) {
            store.deliver_late().await;
        }
    }

    /// Starts a process on `directory`, again and again while the store does not answer it; `faults` set in when it runs.
    ///
    /// # Errors
    /// An error that trying again does not cure.
    pub async fn start(&mut self, directory: PathBuf, seed: u64, faults: Faults) -> Result<Machine, Error> {
        let clock = Arc::new(HeldClock::at(HeldClock::TEST_START));
        let mut last = None;
        for attempt in 0..STARTS_MAX as u64 {
            let store = FaultyStore::new(self.objects.clone(), seed + attempt, STARTING);
            let remote = Remote::with_store("memory", Arc::new(store.handle()), clock.clone()).await;
            let opened = match remote {
                Ok(remote) => {
                    Database::open(self.options(directory.clone(), remote.with_timing(Timing::hurried(HURRY)), clock.clone())).await
                }
                Err(error) => Err(error),
            };
            match opened {
                Ok(database) => {
                    store.set_faults(faults);
                    return Ok(Machine { session: database.session(), database, store, directory });
                }
                Err(error) if error.kind().is_retryable() || is_held_by_us(&error) => last = Some(error),
                Err(error) => return Err(error),
            }
            store.die();
            self.gone.push(store);
            tokio::time::sleep(START_AGAIN).await;
        }
        Err(last.unwrap_or_else(|| Error::bug("at least one start was tried")))
    }

    fn options(&self, directory: PathBuf, remote: Remote, clock: Arc<HeldClock>) -> Options {
        let mut options = Options {
            checkpoint: Some("memory://".to_owned()),
            checkpoint_interval: Duration::from_millis(150),
            take_over: true,
            remote: Some(remote),
            clock,
            ..Options::at(directory)
        };
        options.registry.register(Arc::new(WorldConnector(self.world.clone())));
        options
    }

    /// The process ends where it stands; what it had sent to the object store may arrive later.
    pub async fn kill(&mut self, machine: Machine) -> PathBuf {
        let Machine { session, database, store, directory } = machine;
        store.die();
        drop(session);
        database.abandon().await;
        self.gone.push(store);
        directory
    }
}

/// A directory whose last holder is not quite gone: other than a process that dies, a task that is dropped finishes the call that it is in.
fn is_held_by_us(error: &Error) -> bool {
    error.detail().is_some_and(|detail| detail.contains("lock hold by current process"))
}

/// A running process.
pub struct Machine {
    pub session: Session,
    pub database: Database,
    pub store: FaultyStore,
    pub directory: PathBuf,
}
