//! An epoch that finds no room on the disk waits, whole, until there is some.

use crossbeam_channel::RecvTimeoutError;
use headwater_types::{Error, Result};

use super::Commit;
use crate::command::Command;
use crate::disk::{CHECK_EVERY, no_room};
use crate::epoch_loop::{EpochLoop, answer};

/// Commands kept while an epoch waits for room; the rest stays in its queue.
const DEFERRED_MAX: usize = 1_024;

impl EpochLoop {
    /// Writes an epoch. Without room for it the epoch waits, whole: its rows are in the operators already, so nothing is taken until it is
    /// written, and what came with it is neither lost nor refused.
    pub(crate) fn write_commit(&mut self, commit: Commit) -> Result<()> {
        let outcome = self.store.blocks().write(&commit.writes);
        self.settle(outcome, commit)
    }

    /// Waits until the epoch before is written.
    pub(crate) fn settle_commit(&mut self) -> Result<()> {
        match self.committer.settle()? {
            Ok(()) => Ok(()),
            Err((error, commit)) => self.settle(Err(error), commit),
        }
    }

    /// As [`EpochLoop::settle_commit`], before `command` is handled; gives it back if it is still to be.
    pub(crate) fn settle_before(&mut self, command: Command) -> Result<Option<Command>> {
        match self.committer.settle()? {
            Ok(()) => Ok(Some(command)),
            Err((error, commit)) if error.is_disk_full() => {
                self.disk.refused();
                if let Some(command) = self.answer_without_room(command, &error)? {
                    // It was before all that are kept.
                    self.deferred.push_front(command);
                }
                self.settle(Err(error), commit).map(|()| None)
            }
            Err((error, _)) => Err(error),
        }
    }

    fn settle(&mut self, mut outcome: Result<()>, commit: Commit) -> Result<()> {
        loop {
            match outcome {
                Err(error) if error.is_disk_full() => {
                    self.disk.refused();
                    self.wait_for_room(error)?;
                }
                Err(error) => return Err(error),
                Ok(()) => {
                    (commit.then)();
                    return Ok(());
                }
            }
            outcome = self.store.blocks().write(&commit.writes);
        }
    }

    /// A second in which only those are answered who need no epoch.
    ///
    /// # Errors
    /// `full`, if the database is to end meanwhile.
    fn wait_for_room(&mut self, full: Error) -> Result<()> {
        let until = self.clock.elapsed() + CHECK_EVERY;
        loop {
            let left = until.saturating_sub(self.clock.elapsed());
            if self.deferred.len() >= DEFERRED_MAX {
                std::thread::park_timeout(left);
                return Ok(());
            }
            match self.inbox.recv_timeout(left) {
                Ok(command) => {
                    let kept = self.answer_without_room(command, &full)?;
                    self.deferred.extend(kept);
                }
                Err(RecvTimeoutError::Timeout) => return Ok(()),
                Err(RecvTimeoutError::Disconnected) => return Err(full),
            }
        }
    }

    /// Answers a command that needs no epoch; gives back any other, which is to be kept.
    ///
    /// # Errors
    /// `full`, if the database is to end.
    fn answer_without_room(&mut self, command: Command, full: &Error) -> Result<Option<Command>> {
        match command {
            Command::Status { reply } => answer(reply, Ok(self.status())),
            Command::Write { reply, .. } => answer(reply, Err(no_room(self.disk.full().unwrap_or_default()))),
            Command::Abandon => {
                self.abandoned = true;
                return Err(full.clone());
            }
            Command::Stop { reply } => {
                answer(reply, Err(full.clone()));
                return Err(full.clone());
            }
            other => return Ok(Some(other)),
        }
        Ok(None)
    }
}
