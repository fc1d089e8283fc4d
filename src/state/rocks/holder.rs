//! The note beside a data directory's lock that says which process holds it, for the message to a second one.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use arrow::temporal_conversions::timestamp_s_to_datetime;

/// The file's name. It holds the number of the process in decimal digits; it was written when that opened the directory.
const FILE: &str = "HOLDER";

/// Written by who has the lock, and removed before the lock is given back. One that a killed process left behind is overwritten by the next.
pub(crate) struct HolderNote(PathBuf);

impl HolderNote {
    /// Notes that this process holds `directory`.
    pub fn write(directory: &Path) -> HolderNote {
        let path = directory.join(FILE);
        // Without it a second process is refused all the same, and told less.
        let _is_told_less = std::fs::write(&path, std::process::id().to_string());
        HolderNote(path)
    }
}

impl Drop for HolderNote {
    fn drop(&mut self) {
        // One that stays misleads nobody: it is read only while somebody has the lock, who has written another.
        let _stays = std::fs::remove_file(&self.0);
    }
}

/// Who holds `directory`, in words: `process 4711 since 2026-01-31 12:00:00 UTC`, as far as it is noted.
pub(crate) fn holder(directory: &Path) -> String {
    let path = directory.join(FILE);
    let number = std::fs::read_to_string(&path).ok().and_then(|text| text.trim().parse::<u32>().ok());
    let since = std::fs::metadata(&path).and_then(|m| m.modified()).ok();
    let since = since.and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
    let since = since.and_then(|at| timestamp_s_to_datetime(at.as_secs().cast_signed()));
    match (number, since) {
        (Some(number), Some(since)) => format!("process {number} since {since} UTC"),
        (Some(number), None) => format!("process {number}"),
        (None, _) => String::from("another process"),
    }
}
