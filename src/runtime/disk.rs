//! Watches the free space of the disk: too little pauses the sources, none at all holds the epoch, until there is room again.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::RecvTimeoutError;
use headwater_state::Writes;
use headwater_types::{Clock, Error, Result};

use crate::command::Command;
use crate::epoch_loop::{EpochLoop, answer};

/// Below this, or below 2 % of the disk, nothing more is taken: room for compaction, a checkpoint and a person.
const FREE_BYTES_MIN: u64 = 2 << 30;
const FREE_PERCENT_MIN: u64 = 2;
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// Commands kept while an epoch waits for room; the rest stays in its queue.
const DEFERRED_MAX: usize = 1_024;

/// Free bytes and all bytes of a disk.
type Space = (u64, u64);

/// The disk of one directory; none for a database in memory.
pub(crate) struct DiskWatch {
    /// Where the data are, for messages.
    place: String,
    space: Box<dyn Fn() -> Option<Space> + Send>,
    full: Option<String>,
    checked: Option<Duration>,
}

impl DiskWatch {
    pub fn new(directory: Option<PathBuf>) -> Self {
        let place = directory.as_deref().map_or_else(|| "memory".to_owned(), |d| format!("the disk of {}", d.display()));
        // A disk that cannot be asked will be heard of by the next write.
        Self::of(place, move || directory.as_deref().and_then(space_of))
    }

    fn of(place: String, space: impl Fn() -> Option<Space> + Send + 'static) -> Self {
        Self { place, space: Box::new(space), full: None, checked: None }
    }

    /// Why nothing more is taken, if so.
    pub fn full(&self) -> Option<String> {
        self.full.clone()
    }

    /// Looks at the disk, at most once a second.
    pub fn check(&mut self, clock: &Arc<dyn Clock>) {
        if self.checked.is_some_and(|at| clock.elapsed() < at + CHECK_EVERY) {
            return;
        }
        self.checked = Some(clock.elapsed());
        self.full = (self.space)().filter(|space| too_full(*space)).map(|(free, _)| {
            let place = &self.place;
            format!("no space: {} MiB free on {place}; sources and writes are paused until there is room", free >> 20)
        });
    }

    /// A write found no room, whatever the last look said.
    fn refused(&mut self) {
        let place = &self.place;
        self.full = Some(format!("no space left on {place}; sources and writes are paused until there is room"));
        self.checked = None;
    }

    /// How long the loop may sleep before the next look; only a full disk needs looking at while nothing happens.
    pub fn check_in(&self, reads: bool) -> Option<Duration> {
        (self.full.is_some() && reads).then_some(CHECK_EVERY)
    }
}

fn space_of(directory: &Path) -> Option<Space> {
    let disk = rustix::fs::statvfs(directory).ok()?;
    Some((disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize))
}

fn too_full((free, total): Space) -> bool {
    free < FREE_BYTES_MIN.min(total / 10) || free < total / 100 * FREE_PERCENT_MIN
}

/// What a write is told while nothing more is taken.
pub(crate) fn no_room(message: String) -> Error {
    Error::storage(message).with_sqlstate(Error::DISK_FULL).with_hint("free some space, then repeat the statement")
}

impl EpochLoop {
    /// Writes an epoch. Without room for it the epoch waits, whole: its rows are in the operators already, so nothing is taken until it is
    /// written, and what came with it is neither lost nor refused.
    pub(crate) fn write_epoch(&mut self, writes: &Writes) -> Result<()> {
        loop {
            match self.store.blocks().write(writes) {
                Err(error) if error.is_disk_full() => {
                    self.disk.refused();
                    self.wait_for_room(error)?;
                }
                outcome => return outcome,
            }
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
                Ok(Command::Status { reply }) => answer(reply, Ok(self.status())),
                Ok(Command::Write { reply, .. }) => answer(reply, Err(no_room(self.disk.full().unwrap_or_default()))),
                Ok(Command::Abandon) => {
                    self.abandoned = true;
                    return Err(full);
                }
                Ok(Command::Stop { reply }) => {
                    answer(reply, Err(full.clone()));
                    return Err(full);
                }
                Ok(other) => self.deferred.push_back(other),
                Err(RecvTimeoutError::Timeout) => return Ok(()),
                Err(RecvTimeoutError::Disconnected) => return Err(full),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use headwater_types::SystemClock;

    use super::*;

    #[test]
    fn a_small_disk_may_be_used_a_large_one_keeps_two_gigabytes() {
        assert!(!too_full((200 << 20, 1 << 30)));
        assert!(too_full((50 << 20, 1 << 30)));
        assert!(too_full((1 << 30, 50 << 30)));
        assert!(too_full((3 << 30, 200 << 30)));
        assert!(!too_full((5 << 30, 200 << 30)));
    }

    #[test]
    fn a_full_disk_says_so_until_there_is_room() {
        let free = Arc::new(AtomicU64::new(100 << 30));
        let seen = free.clone();
        let mut watch = DiskWatch::of("the disk of /data".into(), move || Some((seen.load(Ordering::SeqCst), 200 << 30)));
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
        let mut look = || {
            watch.checked = None;
            watch.check(&clock);
            watch.full()
        };
        assert_eq!(look(), None);
        free.store(1 << 30, Ordering::SeqCst);
        assert!(look().is_some_and(|m| m.contains("1024 MiB free on the disk of /data")));
        free.store(100 << 30, Ordering::SeqCst);
        assert_eq!(look(), None);
        watch.refused();
        assert!(watch.full().is_some_and(|m| m.starts_with("no space left on the disk of /data")));
        watch.check(&clock);
        assert_eq!(watch.full(), None, "the next look decides");
    }
}
