//! How many rows a generator makes, how fast, and how its positions name them.

use headwater_types::{Error, Micros, Result};

use crate::{Partition, Position, Positions};

/// Rows `first`, `first + step`, … of a stream, `count` of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Range {
    pub first: u64,
    pub step: u64,
    pub count: usize,
}

impl Range {
    pub(super) fn numbers(self) -> impl Iterator<Item = u64> {
        (0..self.count as u64).map(move |at| self.first + at * self.step)
    }
}

/// How much there is to make, how fast, and in how many parts.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    /// Rows of all splits together; `None`: no end.
    pub total: Option<u64>,
    /// Rows a second of all splits together; `None`: as fast as they are taken.
    pub rate: Option<f64>,
    /// Partitions; split `k` of `n` makes rows `k`, `k + n`, `k + 2n`, …
    pub splits: u64,
}

impl Plan {
    /// The positions of a source that starts at `base` (the time that "now" means in its options).
    pub(super) fn start(&self, base: Micros) -> Positions {
        (0..self.splits).map(|k| (Partition::from(k.to_string()), position(0, base))).collect()
    }

    /// Rows of split `split`, if there is an end.
    pub(super) fn rows_of(&self, split: u64) -> Option<u64> {
        self.total.map(|total| total.saturating_sub(split).div_ceil(self.splits))
    }
}

/// A position: rows made so far in this split, and the time at which the source began.
pub(super) fn position(made: u64, base: Micros) -> Position {
    Position(format!("{made}@{base}"))
}

/// The inverse of [`position`].
///
/// # Errors
/// `Corrupt` for a text that is none.
pub(super) fn read_position(position: &Position) -> Result<(u64, Micros)> {
    let parts = position.0.split_once('@');
    parts
        .and_then(|(made, base)| Some((made.parse().ok()?, base.parse().ok()?)))
        .ok_or_else(|| Error::corrupt(format!("'{}' is no position of a generator", position.0)))
}
