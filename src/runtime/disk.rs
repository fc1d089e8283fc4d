//! Watches the free space of the disk: too little pauses the sources until there is room again.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use headwater_types::Clock;

/// Below this, or below 2 % of the disk, nothing more is taken: room for compaction, a checkpoint and a person.
const FREE_BYTES_MIN: u64 = 2 << 30;
const FREE_PERCENT_MIN: u64 = 2;
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// The disk of one directory; none for a database in memory.
pub(crate) struct DiskWatch {
    directory: Option<PathBuf>,
    full: Option<String>,
    checked: Option<Duration>,
}

impl DiskWatch {
    pub fn new(directory: Option<PathBuf>) -> Self {
        Self { directory, full: None, checked: None }
    }

    /// Why nothing more is taken, if so.
    pub fn full(&self) -> Option<String> {
        self.full.clone()
    }

    /// Looks at the disk, at most once a second.
    pub fn check(&mut self, clock: &Arc<dyn Clock>) {
        let Some(directory) = &self.directory else { return };
        if self.checked.is_some_and(|at| clock.elapsed() < at + CHECK_EVERY) {
            return;
        }
        self.checked = Some(clock.elapsed());
        // A disk that cannot be asked will be heard of by the next write.
        let Ok(disk) = rustix::fs::statvfs(directory) else { return };
        let (free, total) = (disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize);
        self.full = too_full(free, total).then(|| {
            let at = directory.display();
            format!("no space: {} MiB free on the disk of {at}; sources are paused until there is room", free >> 20)
        });
    }

    /// How long the loop may sleep before the next look; only a full disk needs looking at while nothing happens.
    pub fn check_in(&self, reads: bool) -> Option<Duration> {
        (self.full.is_some() && reads).then_some(CHECK_EVERY)
    }
}

fn too_full(free: u64, total: u64) -> bool {
    free < FREE_BYTES_MIN.min(total / 10) || free < total / 100 * FREE_PERCENT_MIN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_disk_may_be_used_a_large_one_keeps_two_gigabytes() {
        assert!(!too_full(200 << 20, 1 << 30));
        assert!(too_full(50 << 20, 1 << 30));
        assert!(too_full(1 << 30, 50 << 30));
        assert!(too_full(3 << 30, 200 << 30));
        assert!(!too_full(5 << 30, 200 << 30));
    }
}
