//! What a data directory knows about itself, and whether it or the newest checkpoint is the one to open.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::Path;

use headwater_types::{Epoch, Error, Result};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Incarnation, Manifest};

/// The file in the data directory that holds its [`Identity`]; never uploaded, because a restored directory is another one.
pub(crate) const IDENTITY_FILE: &str = "headwater.json";

const FORMAT: u32 = 1;

/// Which database a data directory belongs to, and along which incarnations it came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The version of this file's format.
    pub format: u32,
    /// The database.
    pub database: Uuid,
    /// This directory; a restore makes a new one.
    pub directory: Uuid,
    /// Its incarnations, oldest first; never empty.
    pub lineage: Vec<Incarnation>,
}

impl Default for Identity {
    fn default() -> Self {
        Self::new()
    }
}

impl Identity {
    /// A new database in a new directory, incarnation 0.
    #[must_use]
    pub fn new() -> Self {
        let first = Incarnation { incarnation: 0, began: 0, epoch: Epoch(0) };
        Self { format: FORMAT, database: Uuid::new_v4(), directory: Uuid::new_v4(), lineage: vec![first] }
    }

    /// The directory `directory` in the history that `manifest` ends.
    pub(crate) fn of(manifest: &Manifest, directory: Uuid) -> Self {
        Self { format: FORMAT, database: manifest.database, directory, lineage: manifest.lineage.clone() }
    }

    /// The current incarnation: two stores with the same one agree about what an epoch number holds.
    #[must_use]
    pub fn incarnation(&self) -> u64 {
        self.lineage.last().map_or(0, |last| last.incarnation)
    }

    /// The identity kept in `directory`, or None where it has none.
    pub fn load(directory: &Path) -> Result<Option<Self>> {
        let path = directory.join(IDENTITY_FILE);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::storage(format!("cannot read {}: {e}", path.display()))),
        };
        let damaged = |why: &str| Error::corrupt(format!("{} is damaged: {why}", path.display()));
        let identity: Self = serde_json::from_slice(&text).map_err(|e| damaged(&e.to_string()))?;
        if identity.format > FORMAT {
            return Err(Error::corrupt(format!(
                "{} was written by a newer version of Headwater (format {})",
                path.display(),
                identity.format
            )));
        }
        if identity.lineage.is_empty() { Err(damaged("it has no incarnation")) } else { Ok(Some(identity)) }
    }

    /// Writes it into `directory`, which must exist: whole or not at all, and synced.
    pub fn save(&self, directory: &Path) -> Result<()> {
        let text = serde_json::to_vec_pretty(self).map_err(|e| Error::bug(format!("an identity cannot be written as JSON: {e}")))?;
        let (path, fresh) = (directory.join(IDENTITY_FILE), directory.join("headwater.json.new"));
        let write = || {
            let mut file = File::create(&fresh)?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&fresh, &path)?;
            File::open(directory)?.sync_all()
        };
        write().map_err(|e: std::io::Error| Error::storage(format!("cannot write {}: {e}", path.display())))
    }
}

/// A data directory as found: who it is, and the last epoch in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalIdentity {
    /// Who it is.
    pub identity: Identity,
    /// Its last durable epoch.
    pub epoch: Epoch,
}

/// What to open the database with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenWith {
    /// The data directory as it is.
    Local,
    /// The newest checkpoint, restored into the empty directory.
    Restore,
    /// Nothing: neither side has data.
    Fresh,
}

/// Local wins if it is of the same incarnation as the newest manifest and not older; an empty directory takes the checkpoint.
/// Everything else is refused: guessing would lose one of the two.
pub fn decide(local: Option<&LocalIdentity>, remote: Option<&Manifest>) -> Result<OpenWith> {
    let (local, manifest) = match (local, remote) {
        (None, None) => return Ok(OpenWith::Fresh),
        (None, Some(manifest)) => return Ok(if manifest.has_data() { OpenWith::Restore } else { OpenWith::Fresh }),
        (Some(_), None) => return Ok(OpenWith::Local),
        (Some(local), Some(manifest)) => (local, manifest),
    };
    let identity = &local.identity;
    let refuse = |why: String| {
        let both = format!(
            "the data directory holds database {}, incarnation {}, epoch {}; the checkpoint holds database {}, incarnation {}, epoch {} (manifest {}, made by {})",
            identity.database,
            identity.incarnation(),
            local.epoch,
            manifest.database,
            manifest.incarnation(),
            manifest.epoch,
            manifest.number,
            manifest.holder
        );
        Error::fenced(why).with_detail(both).with_hint("to go on from the checkpoint, open it with an empty data directory; to go on from the data directory, give it another checkpoint URL")
    };
    if identity.database != manifest.database {
        return Err(refuse("the data directory and the checkpoint URL belong to different databases".into()));
    }
    if identity.incarnation() != manifest.incarnation() {
        return Err(refuse("the database has been restored elsewhere since this data directory was last used".into()));
    }
    if local.epoch < manifest.epoch {
        return Err(refuse("the data directory is older than the checkpoint".into()));
    }
    Ok(OpenWith::Local)
}
