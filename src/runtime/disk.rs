//! Watches the free space of the disk: too little pauses sources and writes until there is room again.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use headwater_types::{Clock, Error};

/// Below this, or below 2 % of the disk, nothing more is taken: room for compaction, a checkpoint and a person.
const FREE_BYTES_MIN: u64 = 2 << 30;
const FREE_PERCENT_MIN: u64 = 2;
pub(crate) const CHECK_EVERY: Duration = Duration::from_secs(1);

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
    pub fn refused(&mut self) {
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
