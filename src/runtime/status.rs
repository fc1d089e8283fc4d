//! How everything stands, as plain data for the system relations and the progress line.

use std::collections::BTreeMap;
use std::time::Duration;

use headwater_types::{Epoch, Micros, ObjectId};

/// The whole database.
#[derive(Debug, Clone, Default)]
pub struct Status {
    /// The last committed epoch.
    pub epoch: Epoch,
    /// Its time.
    pub now: Micros,
    /// Rows taken from sources since the start of the process.
    pub rows: u64,
    /// Resident bytes of all views' state.
    pub state_bytes: usize,
    /// The last durable checkpoint's epoch.
    pub checkpoint: Option<Epoch>,
    /// Why all sources pause, if they do.
    pub paused: Option<String>,
    /// The last epochs of this process, oldest first.
    pub epochs: Vec<EpochStatus>,
    /// Sources that are read.
    pub sources: Vec<SourceStatus>,
    /// Tables with a watermark.
    pub tables: Vec<TableStatus>,
    /// Materialized views.
    pub views: Vec<ViewStatus>,
    /// Sinks.
    pub sinks: Vec<SinkStatus>,
    /// Views that are catching up.
    pub jobs: Vec<JobStatus>,
}

/// One committed epoch.
#[derive(Debug, Clone)]
pub struct EpochStatus {
    /// Its number.
    pub epoch: Epoch,
    /// Its time, which is `now()` in views.
    pub now: Micros,
    /// Rows that came in from sources and by INSERT.
    pub rows: u64,
    /// From its first row to its commit.
    pub duration: Duration,
}

/// One pass over a source.
#[derive(Debug, Clone)]
pub struct SourceStatus {
    /// The source.
    pub id: ObjectId,
    /// Views that it feeds.
    pub subscribers: Vec<ObjectId>,
    /// `running`, `waiting`, `stopped`, `finished` or `unread`.
    pub state: &'static str,
    /// What it waits for, or why it stopped.
    pub message: Option<String>,
    /// How often its readers were opened anew after a failure.
    pub retries: u64,
    /// Its watermark.
    pub watermark: Option<Micros>,
    /// Rows read since the start of the process.
    pub rows: u64,
    /// Rows in `$errors`.
    pub errors: u64,
    /// Its partitions.
    pub partitions: Vec<PartitionStatus>,
}

/// One partition.
#[derive(Debug, Clone)]
pub struct PartitionStatus {
    /// The connector's name of it.
    pub partition: String,
    /// The connector's own text.
    pub position: Option<String>,
    /// Records still to come, where known.
    pub lag: Option<u64>,
    /// The greatest event time seen.
    pub max_event_time: Option<Micros>,
    /// Set aside: at its end and silent.
    pub idle: bool,
    /// It gives nothing more.
    pub closed: bool,
}

/// The event time of one table.
#[derive(Debug, Clone)]
pub struct TableStatus {
    /// The table.
    pub id: ObjectId,
    /// Its watermark.
    pub watermark: Option<Micros>,
    /// The greatest event time inserted.
    pub max_event_time: Option<Micros>,
    /// Silent for longer than its time-out.
    pub idle: bool,
}

/// One materialized view.
#[derive(Debug, Clone)]
pub struct ViewStatus {
    /// The view.
    pub id: ObjectId,
    /// On the cut: neither catching up nor failed.
    pub is_live: bool,
    /// Rows it holds.
    pub rows: u64,
    /// Resident bytes of its operators and rows.
    pub state_bytes: usize,
    /// Rows in `$late`.
    pub late: u64,
    /// Rows in `$errors`.
    pub errors: u64,
    /// Why it is off the cut, if it is.
    pub error: Option<String>,
    /// The least watermark of its refusing operator's input: windows that end at or below it are closed.
    pub watermark: Option<Micros>,
    /// Groups of the refusing operator whose key is below this are closed.
    pub closed_below: Option<Micros>,
    /// For each operator its name, rows or groups kept, bytes.
    pub operators: Vec<(String, u64, usize)>,
}

/// One sink.
#[derive(Debug, Clone)]
pub struct SinkStatus {
    /// The sink.
    pub id: ObjectId,
    /// All epochs up to this one are delivered.
    pub delivered: Option<Epoch>,
    /// Bytes pinned in the outbox.
    pub backlog_bytes: usize,
    /// Failures since the start of the process.
    pub retries: u64,
    /// What it waits for, or why it stopped.
    pub message: Option<String>,
    /// Trying again does not help.
    pub stopped: bool,
}

/// A view that is catching up with what it reads.
#[derive(Debug, Clone)]
pub struct JobStatus {
    /// The view.
    pub object: ObjectId,
    /// `backfill`.
    pub kind: &'static str,
    /// `running`, `waiting`, `failed`.
    pub state: &'static str,
    /// Rows taken.
    pub rows: u64,
    /// Rows in all, where known.
    pub rows_total: Option<u64>,
    /// What it still has to read.
    pub message: Option<String>,
}

/// Why a source or a sink does not get on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// The reason, in one line.
    pub message: String,
    /// Trying again does not help; otherwise it is tried again.
    pub stopped: bool,
}

/// Every source and sink that does not get on.
pub type Troubles = BTreeMap<ObjectId, Trouble>;
