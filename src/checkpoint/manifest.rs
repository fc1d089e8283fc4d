//! The manifest: a small JSON document that names every file of one checkpoint and who made it.

use headwater_types::{Epoch, Error, Micros, Result};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::Holder;

/// The manifest format that this program writes; it reads this one and all before it.
pub(crate) const FORMAT: u32 = 1;

/// A stretch of a database's history in which an epoch number names one set of changes. A restore begins a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incarnation {
    /// Its number: the fence of the lease under which it began. Grows along a lineage.
    pub incarnation: u64,
    /// The number of the manifest in which it began; 0 if it began without an object store.
    pub began: u64,
    /// Epochs up to this one are the predecessor's; later numbers name other changes.
    pub epoch: Epoch,
}

/// One file of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestFile {
    /// Its name in the data directory; a plain file name.
    pub name: String,
    /// The object that holds its bytes, relative to the URL.
    pub object: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// SHA-256 of its bytes, in lower-case hexadecimal.
    pub sha256: String,
}

/// One link of the chain: who holds the lease, and the files of the newest checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of this document's format.
    pub format: u32,
    /// Its place in the chain, from 1, without holes above the newest pruned one.
    pub number: u64,
    /// Counts the holders: one more for each that took the lease. The higher one may write.
    pub fence: u64,
    /// Random, new for each manifest: tells our own create from another's after a lost reply.
    pub nonce: Uuid,
    /// Random, new for each holding of the lease.
    pub lease: Uuid,
    /// Who holds the lease.
    pub holder: Holder,
    /// The database; never changes along the chain.
    pub database: Uuid,
    /// The incarnations up to the current one, oldest first; never empty.
    pub lineage: Vec<Incarnation>,
    /// The last synced epoch that the files hold.
    pub epoch: Epoch,
    /// The number of the manifest that first named these files; 0 while there is no checkpoint yet.
    pub checkpoint: u64,
    /// The objects of all manifests below this number are deleted, but for those that a later one names too.
    pub pruned_below: u64,
    /// When it was made, by the holder's clock.
    pub created_at: Micros,
    /// The files of the checkpoint, sorted by name.
    pub files: Vec<ManifestFile>,
}

impl Manifest {
    /// The current incarnation.
    #[must_use]
    pub fn incarnation(&self) -> u64 {
        self.lineage.last().map_or(0, |last| last.incarnation)
    }

    /// False for a chain whose first checkpoint was never finished.
    #[must_use]
    pub fn has_data(&self) -> bool {
        self.checkpoint > 0
    }

    /// Bytes of all files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    pub(crate) fn encode(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|e| Error::bug(format!("a manifest cannot be written as JSON: {e}")))
    }

    /// Reads manifest `number`; `name` is the object it came from, for messages.
    pub(crate) fn decode(name: &str, number: u64, bytes: &[u8]) -> Result<Manifest> {
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let damaged = |why: String| Error::corrupt(format!("the manifest {name} is damaged: {why}"));
        let Format { format } = serde_json::from_slice(bytes).map_err(|e| damaged(e.to_string()))?;
        if format > FORMAT {
            let message = format!("the manifest {name} has format {format}; this version of Headwater reads formats up to {FORMAT}");
            return Err(Error::corrupt(message).with_hint("open it with the version that wrote it, or a newer one"));
        }
        let manifest: Manifest = serde_json::from_slice(bytes).map_err(|e| damaged(e.to_string()))?;
        if manifest.number != number {
            return Err(damaged(format!("it says that it is number {}", manifest.number)));
        }
        if manifest.lineage.is_empty() {
            return Err(damaged("it has no incarnation".into()));
        }
        match manifest.files.iter().find(|file| !is_plain_name(&file.name)) {
            Some(file) => Err(damaged(format!("{:?} is not a plain file name", file.name))),
            None => Ok(manifest),
        }
    }
}

/// True for a name that stays in its directory.
fn is_plain_name(name: &str) -> bool {
    !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\\', '\0'])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A manifest as format 1 wrote it on its first day. It must open for ever.
    const FORMAT_1: &str = include_str!("golden/manifest_1.json");

    #[test]
    fn format_1_still_opens() {
        let manifest = Manifest::decode("manifest/7", 7, FORMAT_1.as_bytes()).unwrap();
        assert_eq!((manifest.fence, manifest.incarnation(), manifest.epoch, manifest.checkpoint), (3, 2, Epoch(4711), 6));
        assert_eq!(manifest.files[1].name, "000012.sst");
        assert_eq!(manifest.bytes(), 16 + 4096);
        assert_eq!(Manifest::decode("manifest/7", 7, &manifest.encode().unwrap()).unwrap(), manifest);
    }

    #[test]
    fn newer_and_damaged_manifests_are_refused_by_name() {
        let newer = FORMAT_1.replace("\"format\": 1", "\"format\": 2");
        let error = Manifest::decode("manifest/7", 7, newer.as_bytes()).unwrap_err();
        assert!(error.message().contains("format 2") && error.message().contains("manifest/7"), "{error}");
        for (from, to) in [("000012.sst\",", "../000012.sst\","), ("\"number\": 7", "\"number\": 8"), ("{", "[")] {
            let error = Manifest::decode("manifest/7", 7, FORMAT_1.replacen(from, to, 1).as_bytes()).unwrap_err();
            assert_eq!(error.kind(), headwater_types::ErrorKind::Corrupt);
            assert!(error.message().contains("manifest/7"), "{error}");
        }
    }
}
