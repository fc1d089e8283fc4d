//! Files that are in the object store already, but in no manifest yet.

use std::collections::HashMap;

use crate::ManifestFile;

/// Immutable files that an upload has moved before it failed, by name: the next upload names them without moving them again.
#[derive(Default)]
pub(crate) struct Unnamed(HashMap<String, ManifestFile>);

impl Unnamed {
    /// The file that was moved as `name`.
    pub fn get(&self, name: &str) -> Option<&ManifestFile> {
        self.0.get(name)
    }

    pub fn insert(&mut self, file: ManifestFile) {
        self.0.insert(file.name.clone(), file);
    }

    /// All are named now.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// True if the next manifest may name `object`.
    pub fn holds(&self, object: &str) -> bool {
        self.0.values().any(|file| file.object == object)
    }
}
