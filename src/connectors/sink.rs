//! The contract of a sink: whole epochs delivered with a mark that says how far.

use async_trait::async_trait;
use headwater_types::{ChangeBatch, Epoch, Result};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// How far a sink delivered, kept in the target in the same transaction as the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Which sink.
    pub sink: Uuid,
    /// Which line of time: grows with every restore.
    pub incarnation: u64,
    /// All epochs up to this one are in the target.
    pub epoch: Epoch,
}

/// The net change of the epochs after `after` up to the mark's: at most one deletion and one insertion a key, deletions first.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The mark that the target must hold before (compare-and-set); none before the first delivery.
    pub before: Option<Mark>,
    /// The mark that it holds afterwards.
    pub mark: Mark,
    /// Rows of the view's columns with weights.
    pub changes: Vec<ChangeBatch>,
}

/// Delivers a view to a target. Connects at its first call; after an `External` error the caller drops it and opens it anew.
#[async_trait]
pub trait Sink: Send {
    /// The mark that the target holds; `None` where it has none, or where the target cannot keep one (then the mark kept here counts).
    /// Also checks that the target exists and has columns of fitting types.
    ///
    /// # Errors
    /// `External` when it cannot be reached; `Invalid` when the target is missing or of other types.
    async fn mark(&mut self) -> Result<Option<Mark>>;

    /// True where the target keeps the mark in the transaction of the rows.
    fn keeps_mark(&self) -> bool;

    /// Writes `delivery` and its mark in one transaction (where the target has such); returns when the target says it is durable.
    ///
    /// # Errors
    /// `External`: the outcome may be unknown, the next `mark` tells. `Fenced`: another writer has this sink.
    async fn deliver(&mut self, delivery: &Delivery) -> Result<()>;

    /// Makes the target equal to `rows` (the whole view), whatever it held: upserts them and deletes target keys that are not among them.
    ///
    /// # Errors
    /// As `deliver`; `Unsupported` for append sinks.
    async fn rewrite(&mut self, rows: Vec<ChangeBatch>, mark: Mark) -> Result<()>;
}
