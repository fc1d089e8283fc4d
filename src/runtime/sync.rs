//! The thread that makes epochs durable: one sync serves everyone who waits at that moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use headwater_state::BlockStore;
use headwater_types::{Epoch, Error, Result};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::spawn_thread;

/// A written epoch is synced at the latest after this time, also when nobody waits for it.
const SYNC_EVERY: Duration = Duration::from_secs(1);
/// Pause between two syncs while the disk has no room.
const FULL_AGAIN: Duration = Duration::from_millis(100);
/// Requests that may wait; the loop waits for room beyond them.
const REQUESTS_MAX: usize = 256;

/// What is to be done once an epoch is durable, or has failed to become it.
pub(crate) type Waiter = Box<dyn FnOnce(Result<()>) + Send>;

struct Request {
    epoch: Epoch,
    waiters: Vec<Waiter>,
    now: bool,
}

/// The loop's end of the sync thread.
pub(crate) struct Syncer {
    requests: Option<Sender<Request>>,
    abandoned: Arc<AtomicBool>,
    failed: Arc<Mutex<Option<Error>>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Syncer {
    /// Starts the thread; `synced` tells the latest durable epoch.
    ///
    /// # Errors
    /// No thread to give.
    pub fn start(blocks: Arc<dyn BlockStore>, synced: watch::Sender<Epoch>) -> Result<Self> {
        let (requests, inbox) = bounded(REQUESTS_MAX);
        let failed = Arc::new(Mutex::new(None));
        let abandoned = Arc::new(AtomicBool::new(false));
        let is_abandoned = abandoned.clone();
        let (on_error, on_panic) = (failed.clone(), failed.clone());
        let run = move || sync_loop(blocks.as_ref(), &inbox, &synced, (&on_error, &is_abandoned));
        let thread = spawn_thread("sync", run, move |panic| *on_panic.lock() = Some(panic))?;
        Ok(Self { requests: Some(requests), abandoned, failed, thread: Some(thread) })
    }

    /// # Errors
    /// An earlier sync failed: the store is closed.
    pub fn check(&self) -> Result<()> {
        self.failed.lock().clone().map_or(Ok(()), Err)
    }

    /// To be called when `epoch` is written: it is synced at once if `now`, otherwise within a second; then `waiters` are called.
    pub fn on_written(&self, epoch: Epoch, waiters: Vec<Waiter>, now: bool) -> impl FnOnce() + Send + use<> {
        let requests = self.requests.clone().expect("the thread lives as long as its owner");
        // The thread ends early only after an error, which it has left for the next check; whoever waits learns that nobody answers.
        move || drop(requests.send(Request { epoch, waiters, now }))
    }

    /// Ends the thread without another sync.
    pub fn abandon(&mut self) {
        self.abandoned.store(true, Ordering::SeqCst);
        self.requests = None;
    }

    /// Waits until everything written is durable, and ends the thread.
    ///
    /// # Errors
    /// A sync failed.
    pub fn stop(&mut self) -> Result<()> {
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            thread.join().map_err(|_| Error::bug("the sync thread panicked"))?;
        }
        self.failed.lock().clone().map_or(Ok(()), Err)
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            // The store must not be closed under a running sync; a panic has left its message in `failed`.
            let _message_kept = thread.join();
        }
    }
}

/// The outcome of a sync, tried again as long as the disk has no room: what was written before is still to become durable. None if the database
/// ends meanwhile.
fn sync_with_room(blocks: &dyn BlockStore, abandoned: &AtomicBool) -> Option<Result<()>> {
    loop {
        match blocks.sync() {
            Err(error) if error.is_disk_full() && !abandoned.load(Ordering::SeqCst) => std::thread::park_timeout(FULL_AGAIN),
            Err(error) if error.is_disk_full() => return None,
            outcome => return Some(outcome),
        }
    }
}

fn sync_loop(
    blocks: &dyn BlockStore,
    inbox: &Receiver<Request>,
    synced: &watch::Sender<Epoch>,
    (failed, abandoned): (&Mutex<Option<Error>>, &AtomicBool),
) {
    while let Ok(first) = inbox.recv() {
        let mut urgent = first.now;
        let mut requests = vec![first];
        let deadline = crossbeam_channel::after(SYNC_EVERY);
        while !urgent {
            crossbeam_channel::select! {
                recv(inbox) -> request => match request {
                    Ok(request) => { urgent = request.now; requests.push(request); }
                    Err(_) => break,
                },
                recv(deadline) -> _ => break,
            }
        }
        requests.extend(inbox.try_iter());
        if abandoned.load(Ordering::SeqCst) {
            return;
        }
        let Some(outcome) = sync_with_room(blocks, abandoned) else { return };
        if let Err(error) = &outcome {
            *failed.lock() = Some(error.clone());
        } else if let Some(epoch) = requests.iter().map(|r| r.epoch).max() {
            synced.send_replace(epoch);
        }
        for waiter in requests.into_iter().flat_map(|r| r.waiters) {
            waiter(outcome.clone());
        }
        if outcome.is_err() {
            return;
        }
    }
}
