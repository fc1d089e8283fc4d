//! The thread that writes an epoch while the next one is gathered.
//!
//! While more rows wait than the loop can take, its own time is the limit: what it spends on writing, nobody uses. So then the write is handed to this
//! thread, one at a time; whatever needs the store as the loop left it settles it first. Where nothing waits, the loop writes itself, which is quicker.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded};
use headwater_state::BlockStore;
use headwater_types::{Error, Result};

use super::Commit;
use crate::spawn_thread;

/// A commit whose write failed, unless it went well.
type Outcome = std::result::Result<(), (Error, Commit)>;

/// The loop's end of the thread.
pub(crate) struct Committer {
    commits: Option<Sender<Commit>>,
    outcomes: Receiver<Outcome>,
    thread: Option<std::thread::JoinHandle<()>>,
    is_busy: bool,
}

impl Committer {
    /// Starts the thread over `blocks`.
    ///
    /// # Errors
    /// No thread to give.
    pub fn start(blocks: Arc<dyn BlockStore>) -> Result<Self> {
        let (commits, inbox) = bounded::<Commit>(1);
        let (told, outcomes) = bounded(1);
        let run = move || {
            for commit in inbox {
                let outcome = match blocks.write(&commit.writes) {
                    Ok(()) => {
                        (commit.then)();
                        Ok(())
                    }
                    Err(error) => Err((error, commit)),
                };
                if told.send(outcome).is_err() {
                    return;
                }
            }
        };
        // Its end of the channel is dropped: the loop learns of it when it settles.
        let thread = spawn_thread("commit", run, drop)?;
        Ok(Self { commits: Some(commits), outcomes, thread: Some(thread), is_busy: false })
    }

    /// Hands over a write; the one before is settled.
    ///
    /// # Errors
    /// The thread has ended: a bug.
    pub fn write(&mut self, commit: Commit) -> Result<()> {
        debug_assert!(!self.is_busy, "one write at a time");
        self.is_busy = true;
        let commits = self.commits.as_ref().expect("the thread lives as long as its owner");
        commits.send(commit).map_err(|_| ended())
    }

    /// Waits for the write that was handed over, if one was; gives it back if it failed.
    ///
    /// # Errors
    /// The thread has ended: a bug.
    pub fn settle(&mut self) -> Result<Outcome> {
        if !std::mem::replace(&mut self.is_busy, false) {
            return Ok(Ok(()));
        }
        self.outcomes.recv().map_err(|_| ended())
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.commits = None;
        if let Some(thread) = self.thread.take() {
            // The store must not be closed under a running write; a panic is no matter any more.
            let _nobody_to_tell = thread.join();
        }
    }
}

fn ended() -> Error {
    Error::bug("the thread that writes epochs has panicked")
}
