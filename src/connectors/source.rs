//! The contract of a source reader: decoded batches by partition, each with the position after it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use headwater_types::Result;
use serde::{Deserialize, Serialize};

/// The name of a part of a source that is read in order by itself: a Kafka partition, a Kinesis shard, a file.
pub type Partition = Arc<str>;

/// Where a reader stands in a partition: the connector's own text, compared only for equality.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position(pub String);

/// The position of each partition: everything before it has been read.
pub type Positions = BTreeMap<Partition, Position>;

/// A record that is no row: kept in `<source>$errors`.
#[derive(Debug, Clone)]
pub struct Reject {
    /// Where it stands: the connector's own text.
    pub position: String,
    /// Why, for a person.
    pub reason: String,
    /// Its bytes, the first 64 KiB of them.
    pub payload: Vec<u8>,
}

/// Decoded rows of one partition.
#[derive(Debug, Clone)]
pub struct SourceBatch {
    /// Whose rows these are.
    pub partition: Partition,
    /// Rows of the source's schema, at most 8,192.
    pub rows: RecordBatch,
    /// Records between them that could not be decoded or break a constraint.
    pub rejects: Vec<Reject>,
    /// Where the partition stands after them.
    pub next: Position,
    /// Records still to come in this partition, where the connector knows.
    pub lag: Option<u64>,
}

/// What a reader tells, in order.
#[derive(Debug, Clone)]
pub enum SourceEvent {
    /// Rows.
    Rows(SourceBatch),
    /// A partition that was not known before, empty so far; it holds back the watermark until it speaks or is idle.
    Found(Partition, Position),
    /// This partition has been read to its end as of now.
    AtEnd(Partition),
    /// This partition will give nothing more, ever (the end of a file, a shard that was split).
    Closed(Partition),
    /// Everything that existed when [`Source::flush`] was called with this token has been told.
    Flushed(u64),
    /// A bounded source has been read to its end; nothing follows.
    Finished,
    /// All is well again, or what the reader is waiting for, in a sentence for `headwater.sources`.
    State(Option<String>),
}

/// One reader of a source, on a thread of its own. It may block, but not for longer than it was told.
pub trait Source: Send {
    /// Adds what has come to `events`, waiting up to `wait` for the first of it. Decodes; batches hold at most 8,192 rows.
    ///
    /// # Errors
    /// `External`: the reader is dropped and opened anew from the last position told, with back-off. Any other kind stops the source.
    fn poll(&mut self, wait: Duration, events: &mut Vec<SourceEvent>) -> Result<()>;

    /// Notes the end of what exists now; a later `poll` gives [`SourceEvent::Flushed`] once everything before it was told.
    ///
    /// # Errors
    /// As `poll`.
    fn flush(&mut self, token: u64) -> Result<()>;

    /// Told at most once, before the first `poll`: each partition is read to its position in `upto`, exactly, and one without a position there is
    /// found but not read. The reader then waits: it tells no end, does not finish and answers no flush. So a view that is catching up with others
    /// never passes them.
    ///
    /// # Errors
    /// As `poll`.
    fn stop_at(&mut self, upto: &Positions) -> Result<()>;
}
