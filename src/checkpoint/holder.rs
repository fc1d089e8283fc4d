//! Who holds a lease: machine, process and data directory, precise enough to recognise the same directory on the same running machine.

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A process with its data directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The machine's name, for messages.
    pub host: String,
    /// What the running system calls this boot; empty where it does not say. Two machines never share it, clones of a disk included.
    pub boot: String,
    /// The process number.
    pub pid: u32,
    /// The data directory's own number.
    pub directory: Uuid,
    /// Device and inode of the data directory: a copy of it has another one. Empty if it does not exist yet.
    pub place: String,
    /// The data directory's path, for messages.
    pub path: String,
}

impl Holder {
    /// This process, with the data directory `path` whose number is `directory`.
    #[must_use]
    pub fn here(directory: Uuid, path: &Path) -> Self {
        Self {
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            boot: std::fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned()).unwrap_or_default(),
            pid: std::process::id(),
            directory,
            place: place_of(path),
            path: path.display().to_string(),
        }
    }

    /// True if both are the same directory on the same running machine. Whoever has that directory's lock then knows that the other is dead.
    #[must_use]
    pub fn is_same_place(&self, other: &Holder) -> bool {
        let known = !self.boot.is_empty() && !self.place.is_empty();
        known && self.boot == other.boot && self.place == other.place && self.directory == other.directory
    }
}

fn place_of(path: &Path) -> String {
    rustix::fs::stat(path).map(|stat| format!("{}:{}", stat.st_dev, stat.st_ino)).unwrap_or_default()
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} on {} (data directory {})", self.pid, self.host, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copied_directory_is_another_place() {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let id = Uuid::new_v4();
        let first = Holder::here(id, a.path());
        assert!(first.is_same_place(&Holder::here(id, a.path())));
        assert!(!first.is_same_place(&Holder::here(id, b.path())));
        assert!(!first.is_same_place(&Holder::here(Uuid::new_v4(), a.path())));
        let absent = Holder::here(id, Path::new("/nowhere/at/all"));
        assert!(!absent.is_same_place(&absent.clone()), "an unknown place is never the same");
    }
}
