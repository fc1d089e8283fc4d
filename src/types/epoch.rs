//! Numbers that name things: epochs, points in event time, objects of the catalog.

use serde::{Deserialize, Serialize};

/// Microseconds since 1970-01-01 UTC: event time, epoch time and every timestamp inside.
pub type Micros = i64;

/// The watermark of a stream that has ended: 10000-01-01 UTC, above every event time (`max_ahead` keeps later ones out) and far enough below
/// the greatest `i64` for window arithmetic.
pub const END_OF_TIME: Micros = 253_402_300_800_000_000;

/// One step of the database: the unit of visibility, atomicity and recovery. The first is 1; 0 is "before anything".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The epoch that follows this one.
    #[must_use]
    pub fn next(self) -> Epoch {
        Epoch(self.0 + 1)
    }
}

impl std::fmt::Display for Epoch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// The number of a catalog object (source, table, view, sink). Never used again after a drop. Prefix of all its keys in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectId(pub u32);

impl std::fmt::Display for ObjectId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// The watermarks of one stream, by column index: `Some(t)` promises that no later row has a value below `t` in that column.
/// A column without a watermark, or one that has not spoken yet, is `None`; columns beyond the end are `None` too.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Watermarks(Vec<Option<Micros>>);

impl Watermarks {
    /// No watermark on any column.
    #[must_use]
    pub fn none() -> Self {
        Self(Vec::new())
    }

    /// The watermark of `column`, if it has one.
    #[must_use]
    pub fn get(&self, column: usize) -> Option<Micros> {
        self.0.get(column).copied().flatten()
    }

    /// Sets the watermark of `column`.
    pub fn set(&mut self, column: usize, at: Option<Micros>) {
        if self.0.len() <= column {
            self.0.resize(column + 1, None);
        }
        self.0[column] = at;
    }

    /// Column by column the least of both; a column that one side lacks has none.
    #[must_use]
    pub fn least(&self, other: &Watermarks) -> Watermarks {
        let columns = self.0.len().min(other.0.len());
        Watermarks((0..columns).map(|c| Some(self.get(c)?.min(other.get(c)?))).collect())
    }

    /// Column by column the greatest of both: watermarks never go back.
    pub fn advance(&mut self, other: &Watermarks) {
        for column in 0..other.0.len() {
            self.set(column, self.get(column).max(other.get(column)));
        }
    }
}
