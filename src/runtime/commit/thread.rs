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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use headwater_state::{Family, MemoryStore, Writes};

    use super::*;

    fn commit(key: &[u8], followed: &Arc<AtomicUsize>) -> Commit {
        let mut writes = Writes::new();
        writes.put(Family::Meta, key.to_vec(), Vec::new());
        let followed = followed.clone();
        let then = move || followed.store(followed.load(Ordering::SeqCst) + 1, Ordering::SeqCst);
        Commit { writes, then: Box::new(then) }
    }

    #[test]
    fn what_follows_a_write_comes_after_it_and_only_if_it_went_well() {
        let (blocks, followed) = (Arc::new(MemoryStore::new()), Arc::new(AtomicUsize::new(0)));
        let mut committer = Committer::start(blocks.clone()).unwrap();
        assert!(committer.settle().unwrap().is_ok(), "nothing was handed over");
        committer.write(commit(b"a", &followed)).unwrap();
        assert!(committer.settle().unwrap().is_ok());
        assert_eq!(followed.load(Ordering::SeqCst), 1);
        assert!(blocks.get(Family::Meta, b"a").unwrap().is_some());

        blocks.set_full(true);
        committer.write(commit(b"b", &followed)).unwrap();
        let (_, failed) = committer.settle().unwrap().unwrap_err();
        assert_eq!(followed.load(Ordering::SeqCst), 1);
        assert_eq!(failed.writes.entries().len(), 1, "it can be tried again");
    }
}
