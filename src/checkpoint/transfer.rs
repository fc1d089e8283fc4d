//! How much is moved at a time, and how far it is.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use headwater_types::{Error, Result};

/// Files moved at the same time. With [`PARTS_PARALLEL`] parts each this bounds the memory of a transfer to 64 MiB.
pub(crate) const FILES_PARALLEL: usize = 4;
/// Parts of one file on their way at the same time.
pub(crate) const PARTS_PARALLEL: usize = 2;
/// One request moves at most this; S3 wants parts of at least 5 MiB, and at most 10,000 of them.
pub(crate) const PART_BYTES: u64 = 8 << 20;

/// How far a transfer is. Files that the other side has already are not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Files moved.
    pub files_done: usize,
    /// Files to move.
    pub files_total: usize,
    /// Bytes moved.
    pub bytes_done: u64,
    /// Bytes to move.
    pub bytes_total: u64,
}

/// Called after each part and each file; must return quickly.
pub type OnProgress<'a> = &'a (dyn Fn(Progress) + Send + Sync);

/// Counts for an [`OnProgress`].
pub(crate) struct Tally<'a> {
    files_total: usize,
    bytes_total: u64,
    files_done: AtomicUsize,
    bytes_done: AtomicU64,
    tell: OnProgress<'a>,
}

impl<'a> Tally<'a> {
    pub fn new(files_total: usize, bytes_total: u64, tell: OnProgress<'a>) -> Self {
        Self { files_total, bytes_total, files_done: AtomicUsize::new(0), bytes_done: AtomicU64::new(0), tell }
    }

    pub fn moved(&self, bytes: u64) {
        self.bytes_done.fetch_add(bytes, Ordering::Relaxed);
        self.report();
    }

    /// A file is tried again: what was counted of it is not moved.
    pub fn taken_back(&self, bytes: u64) {
        self.bytes_done.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub fn file_done(&self) {
        self.files_done.fetch_add(1, Ordering::Relaxed);
        self.report();
    }

    fn report(&self) {
        (self.tell)(Progress {
            files_done: self.files_done.load(Ordering::Relaxed),
            files_total: self.files_total,
            bytes_done: self.bytes_done.load(Ordering::Relaxed),
            bytes_total: self.bytes_total,
        });
    }
}

/// Runs file work on a thread that may block.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|e| Error::bug(format!("the file work of a checkpoint panicked: {e}")))?
}
