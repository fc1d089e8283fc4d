//! What a database is opened with.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use headwater_checkpoint::Remote;
use headwater_connectors::Registry;
use headwater_state::BlockStore;
use headwater_types::{Clock, SystemClock};

/// Enough to spread the cost of an epoch, few enough that the other views hardly wait.
const BACKFILL_ROWS: usize = 65_536;

/// How a database is opened. Settings are plain values; clock, connectors and store are components that a test may replace.
#[derive(Clone)]
pub struct Options {
    /// The data directory; none keeps everything in memory.
    pub data: Option<PathBuf>,
    /// Where checkpoints go: `s3://bucket/prefix` or `file:///directory`.
    pub checkpoint: Option<String>,
    /// Takes the checkpoint URL over from a holder that does not answer any more.
    pub take_over: bool,
    /// Time between two checkpoints.
    pub checkpoint_interval: Duration,
    /// Resident state of all views together; a quarter of the machine unless set.
    pub memory_limit_bytes: usize,
    /// Rows of its tables and views that a new view takes in one epoch while it is catching up.
    pub backfill_rows: usize,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// The connectors that `connector = '…'` may name.
    pub registry: Registry,
    /// A store given by the caller, instead of one in `data`.
    pub blocks: Option<Arc<dyn BlockStore>>,
    /// The object store that `checkpoint` names, opened by the caller.
    pub remote: Option<Remote>,
}

impl Options {
    /// A database that ends with the process.
    #[must_use]
    pub fn in_memory() -> Self {
        Self {
            data: None,
            checkpoint: None,
            take_over: false,
            checkpoint_interval: Duration::from_secs(10),
            memory_limit_bytes: quarter_of_the_machine(),
            backfill_rows: BACKFILL_ROWS,
            clock: Arc::new(SystemClock::default()),
            registry: headwater_connectors::all(),
            blocks: None,
            remote: None,
        }
    }

    /// The database in directory `data`, which is made if it is not there.
    #[must_use]
    pub fn at(data: impl Into<PathBuf>) -> Self {
        Self { data: Some(data.into()), ..Self::in_memory() }
    }
}

fn quarter_of_the_machine() -> usize {
    let memory = rustix::system::sysinfo();
    let bytes = u64::from(memory.mem_unit) * memory.totalram / 4;
    usize::try_from(bytes).unwrap_or(usize::MAX).max(256 << 20)
}
