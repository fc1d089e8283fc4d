//! Where a reader stands in a file, and what it reads there in one go.

use arrow::array::RecordBatch;
use headwater_types::{Error, Result};

use crate::{Position, Reject};

/// A place between two records of a file. As a position: `offset:line`, with `:end` if no whole record followed when it was noted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// Bytes before it (in Parquet files: rows).
    pub offset: u64,
    /// Lines before it (0 in Parquet files).
    pub line: u64,
    /// The file had been read to its end.
    pub is_end: bool,
}

impl Place {
    pub(super) fn position(self) -> Position {
        let end = if self.is_end { ":end" } else { "" };
        Position(format!("{}:{}{end}", self.offset, self.line))
    }

    pub(super) fn read(position: &Position) -> Result<Self> {
        let (text, is_end) = match position.0.strip_suffix(":end") {
            Some(text) => (text, true),
            None => (position.0.as_str(), false),
        };
        let parts = text.split_once(':').and_then(|(offset, line)| Some((offset.parse().ok()?, line.parse().ok()?)));
        let (offset, line) = parts.ok_or_else(|| Error::corrupt(format!("'{}' is no position in a file", position.0)))?;
        Ok(Self { offset, line, is_end })
    }
}

/// Rows read in one go.
pub(super) struct Piece {
    pub rows: RecordBatch,
    pub rejects: Vec<Reject>,
    /// Where the file stands after them.
    pub place: Place,
}
