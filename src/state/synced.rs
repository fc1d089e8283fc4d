//! How far the log on disk was synced, noted beside it: tells a log that a power loss cut short from one that lost what was promised.
//!
//! The note is written after each sync and never synced itself. So it can be older than the truth, after a power loss, but never ahead of it.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

use headwater_types::Result;

const FILE: &str = "SYNCED";

pub(crate) struct SyncedNote {
    file: File,
}

impl SyncedNote {
    /// The note in `directory`, made if it is not there.
    pub fn open(directory: &Path) -> Result<SyncedNote> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(directory.join(FILE))?;
        Ok(Self { file })
    }

    /// The greatest sequence number that is known to be synced in `directory`; 0 if nothing is known.
    pub fn read(directory: &Path) -> u64 {
        std::fs::read_to_string(directory.join(FILE)).ok().and_then(|digits| digits.trim().parse().ok()).unwrap_or(0)
    }

    /// Everything up to `sequence` is synced. Always as many bytes, so that one write replaces the other. On a full disk the note stays as it was.
    pub fn write(&self, sequence: u64) -> Result<()> {
        match self.file.write_all_at(format!("{sequence:020}\n").as_bytes(), 0) {
            Err(error) if error.kind() == std::io::ErrorKind::StorageFull => Ok(()),
            outcome => Ok(outcome?),
        }
    }
}
