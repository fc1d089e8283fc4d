//! Splits a text into statements.

use headwater_types::{Error, Result};

/// One statement of a text. Places in errors count in the whole text that was parsed.
#[derive(Debug, Clone)]
pub struct Statement {
    text: String,
    offset: usize,
}

impl Statement {
    /// Its own text, without the final semicolon.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// How many characters of the whole text stand before it.
    #[must_use]
    pub fn offset(&self) -> usize {
        self.offset
    }
}

/// The statements of `text`.
///
/// # Errors
/// `Invalid` (42601) with the place, if any of them is no statement.
pub fn parse(text: &str) -> Result<Vec<Statement>> {
    Err(Error::unsupported(format!("parse {text}")))
}
