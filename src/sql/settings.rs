//! What a session has set, as plain data.

use std::collections::BTreeMap;

use headwater_types::{Error, Result};

/// A session's user, database and variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Who is connected.
    pub user: String,
    /// To which database.
    pub database: String,
    values: BTreeMap<String, String>,
}

impl Settings {
    /// Every setting at its default.
    #[must_use]
    pub fn new(user: impl Into<String>, database: impl Into<String>) -> Self {
        Self { user: user.into(), database: database.into(), values: BTreeMap::new() }
    }

    /// The value of `name` (any case), set or default.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let _ = name;
        None
    }

    /// Sets `name`, or with no value puts it back to its default.
    ///
    /// # Errors
    /// `NotFound` (42704) for an unknown setting; `Invalid` for a value it cannot take.
    pub fn set(&mut self, name: &str, value: Option<&str>) -> Result<()> {
        let _ = (name, value, &mut self.values);
        Err(Error::unsupported("SET"))
    }

    /// RESET ALL.
    pub fn reset_all(&mut self) {
        self.values.clear();
    }
}
