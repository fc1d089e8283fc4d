//! How everything stands, as plain data for the system relations and the progress line.

use std::time::Duration;

use headwater_connectors::Partition;
use headwater_types::{Epoch, Micros, ObjectId};

use crate::epoch_loop::{EpochLoop, FailedView};
use crate::feed::{Feed, PartitionState};
use crate::graph::RunningView;
use crate::sinks::RunningSink;

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

impl EpochLoop {
    /// How everything stands.
    pub(crate) fn status(&self) -> Status {
        Status {
            epoch: self.epoch,
            now: self.now,
            rows: self.rows,
            state_bytes: self.views.values().map(RunningView::state_bytes).sum(),
            checkpoint: Some(*self.checkpointed.borrow()).filter(|e| e.0 > 0),
            paused: self.disk.full(),
            epochs: self.recent.iter().cloned().collect(),
            sources: self.feeds.values().map(|f| self.source_status(f)).collect(),
            views: self.views.values().map(|v| self.view_status(v)).chain(self.failed.iter().map(failed_status)).collect(),
            jobs: self.jobs(),
            sinks: self.sinks.values().map(|s| self.sink_status(s)).collect(),
        }
    }

    fn source_status(&self, feed: &Feed) -> SourceStatus {
        let source = self.sources.get(&feed.record.source);
        let event_time = source.and_then(|s| s.def.event_time.as_ref());
        let partition = |(name, state): (&Partition, &PartitionState)| PartitionStatus {
            partition: name.to_string(),
            position: state.position.as_ref().map(|p| p.0.clone()),
            lag: state.lag,
            max_event_time: state.clock.max_seen,
            idle: event_time.is_some_and(|e| state.clock.is_idle(e, self.now)),
            closed: state.clock.closed,
        };
        SourceStatus {
            id: feed.record.source,
            subscribers: feed.record.subscribers.iter().copied().collect(),
            state: feed.state(),
            message: feed.stopped.as_ref().map(ToString::to_string).or_else(|| feed.waiting.clone()),
            retries: feed.retries,
            watermark: feed.record.watermark,
            rows: feed.rows,
            errors: source.map_or(0, |s| s.errors.rows),
            partitions: feed.partitions.iter().map(partition).collect(),
        }
    }

    fn sink_status(&self, sink: &RunningSink) -> SinkStatus {
        SinkStatus {
            id: sink.def.id,
            delivered: sink.mark.map(|m| m.epoch),
            backlog_bytes: self.relation(sink.def.from).map_or(0, headwater_state::Relation::kept_bytes),
            retries: sink.state.retries,
            message: sink.state.message.clone(),
            stopped: sink.state.stopped,
        }
    }

    fn view_status(&self, view: &RunningView) -> ViewStatus {
        let closed_below = view.closed_below();
        ViewStatus {
            id: view.id,
            is_live: self.is_live(view.id),
            rows: view.relation.rows(),
            state_bytes: view.state_bytes(),
            late: view.diverted.late.as_ref().map_or(0, |late| late.rows),
            errors: view.diverted.errors.rows,
            error: None,
            watermark: closed_below,
            closed_below,
            operators: view.operators(),
        }
    }

    fn jobs(&self) -> Vec<JobStatus> {
        self.view_ids().into_iter().filter(|id| !self.is_live(*id)).map(|id| self.job(id)).collect()
    }

    fn job(&self, id: ObjectId) -> JobStatus {
        let backfill = self.views.get(&id).and_then(|v| v.backfill.as_ref());
        let waits = backfill.is_some_and(|b| !b.is_started());
        let (mut rows, mut rows_total) = backfill.map_or((0, Some(0)), |b| (b.rows, Some(b.rows_total.max(b.rows))));
        for feed in self.feeds.values().filter(|f| f.record.subscribers.contains(&id) && !self.is_shared(f)) {
            let lag = feed.partitions.values().map(|p| p.lag).sum::<Option<u64>>();
            rows += feed.rows;
            rows_total = rows_total.zip(lag).map(|(total, lag)| total + feed.rows + lag);
        }
        let state = match () {
            () if self.stopped_apart(id).is_some() => "failed",
            () if waits => "waiting",
            () => "running",
        };
        JobStatus { object: id, kind: "backfill", state, rows, rows_total, message: Some(self.what_is_missing(id)) }
    }
}

fn failed_status((id, failed): (&ObjectId, &FailedView)) -> ViewStatus {
    let error = Some(failed.error.to_string());
    ViewStatus {
        id: *id,
        is_live: false,
        rows: 0,
        state_bytes: 0,
        late: 0,
        errors: 0,
        error,
        watermark: None,
        closed_below: None,
        operators: Vec::new(),
    }
}
