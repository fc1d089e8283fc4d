//! Takes checkpoints: every few seconds, on request, and at the end; ends the database when its lease is lost.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use headwater_checkpoint::{Lease, prune, upload};
use headwater_runtime::Runtime;
use headwater_types::{Clock, Epoch, Error, Micros, Result};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::system::CheckpointStatus;
use crate::tasks::Task;

/// The folder, inside the data directory, in which a checkpoint stands while it is uploaded.
const FOLDER: &str = "checkpoint.new";
/// So many checkpoints are remembered to be shown.
const SHOWN_MAX: usize = 60;

/// Takes checkpoints of one database.
pub(crate) struct Checkpointer {
    taker: Arc<Taker>,
    tasks: Mutex<Vec<Task>>,
}

struct Taker {
    lease: Lease,
    data: PathBuf,
    clock: Arc<dyn Clock>,
    shown: Mutex<VecDeque<CheckpointStatus>>,
    /// Why the last checkpoint was not taken, or left something behind.
    failing: watch::Sender<Option<String>>,
    /// One at a time; the epoch of the last durable one.
    last: tokio::sync::Mutex<Option<Epoch>>,
}

impl Checkpointer {
    /// For the database in `data`, whose lease is held and kept alive by `keeper`.
    pub fn new(lease: Lease, data: PathBuf, clock: Arc<dyn Clock>, keeper: Task) -> Self {
        let failing = watch::Sender::default();
        let taker = Taker { lease, data, clock, shown: Mutex::default(), failing, last: tokio::sync::Mutex::new(None) };
        Self { taker: Arc::new(taker), tasks: Mutex::new(vec![keeper]) }
    }

    /// Starts taking checkpoints of `runtime` every `interval`, and watching the lease.
    pub fn start(&self, runtime: &Runtime, interval: Duration) {
        let (taker, of) = (self.taker.clone(), runtime.clone());
        let periodic = Task::start(async move {
            loop {
                tokio::time::sleep(interval).await;
                // It is told by `failing`, and tried again.
                let _failed = taker.take(&of).await;
            }
        });
        let (lease, of) = (self.taker.lease.clone(), runtime.clone());
        let watch = Task::start(async move {
            let error = lease.lost().await;
            of.fail(error);
        });
        self.tasks.lock().extend([periodic, watch]);
    }

    /// The checkpoints that this process has taken, oldest first.
    pub fn taken(&self) -> Vec<CheckpointStatus> {
        self.taker.shown.lock().iter().cloned().collect()
    }

    /// Follows why checkpoints fail, if they do.
    pub fn failing(&self) -> watch::Receiver<Option<String>> {
        self.taker.failing.subscribe()
    }

    /// Takes a checkpoint now; returns when it is durable.
    ///
    /// # Errors
    /// `External` if the object store cannot be reached; `Fenced` if the lease is lost.
    pub async fn take(&self, runtime: &Runtime) -> Result<()> {
        self.taker.take(runtime).await
    }

    /// Takes a last checkpoint and gives the lease up.
    ///
    /// # Errors
    /// As [`Checkpointer::take`].
    pub async fn close(&self, runtime: &Runtime) -> Result<()> {
        let taken = self.taker.take(runtime).await;
        self.abandon();
        let released = self.taker.lease.release().await;
        taken.and(released)
    }

    /// Stops without another word to the object store.
    pub fn abandon(&self) {
        self.tasks.lock().clear();
    }
}

impl Taker {
    async fn take(&self, runtime: &Runtime) -> Result<()> {
        let outcome = self.take_now(runtime).await;
        let failing = match &outcome {
            Ok(left_behind) => left_behind.as_ref().map(|e| format!("what earlier checkpoints left cannot be removed: {e}")),
            Err(e) => Some(e.to_string()),
        };
        self.failing.send_if_modified(|told| {
            let is_new = *told != failing;
            *told = failing;
            is_new
        });
        outcome.map(drop)
    }

    /// A checkpoint that is durable is one, even if what it makes superfluous could not be removed: then that error is given.
    async fn take_now(&self, runtime: &Runtime) -> Result<Option<Error>> {
        let mut last = self.last.lock().await;
        if last.is_some_and(|epoch| epoch == runtime.published().epoch) {
            return Ok(None);
        }
        let began = self.clock.elapsed();
        let directory = self.data.join(FOLDER);
        remove(directory.clone()).await?;
        let epoch = runtime.checkpoint(directory.clone()).await?;
        let bytes = AtomicU64::new(0);
        let manifest = upload(&self.lease, &directory, epoch, &|progress| bytes.store(progress.bytes_total, Ordering::Relaxed)).await?;
        *last = Some(epoch);
        self.show(manifest.number, epoch, manifest.created_at, bytes.into_inner(), began);
        runtime.checkpoint_durable(epoch).await?;
        remove(directory).await?;
        Ok(prune(&self.lease).await.err())
    }

    fn show(&self, number: u64, epoch: Epoch, taken_at_us: Micros, bytes: u64, began: Duration) {
        let duration_us = Micros::try_from((self.clock.elapsed() - began).as_micros()).unwrap_or(Micros::MAX);
        let mut shown = self.shown.lock();
        shown.push_back(CheckpointStatus { number, epoch, taken_at_us, bytes, duration_us });
        if shown.len() > SHOWN_MAX {
            shown.pop_front();
        }
    }
}

/// Removes `directory` if it is there.
async fn remove(directory: PathBuf) -> Result<()> {
    let gone = move || match std::fs::remove_dir_all(&directory) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::storage(format!("cannot remove {}: {e}", directory.display()))),
        _ => Ok(()),
    };
    tokio::task::spawn_blocking(gone).await.map_err(|e| Error::bug(e.to_string()))?
}
