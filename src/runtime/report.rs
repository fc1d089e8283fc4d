//! Says how everything stands: all of it when it is asked, what does not get on when that changes.

use headwater_connectors::Partition;
use headwater_state::Relation;
use headwater_types::ObjectId;

use crate::epoch_loop::{EpochLoop, FailedView};
use crate::feed::{Feed, PartitionState};
use crate::graph::RunningView;
use crate::sinks::RunningSink;
use crate::{JobStatus, PartitionStatus, SinkStatus, SourceStatus, Status, Trouble, Troubles, ViewStatus};

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
            tables: self.tables.values().filter_map(|t| t.status(self.now)).collect(),
            views: self.views.values().map(|v| self.view_status(v)).chain(self.failed.iter().map(failed_status)).collect(),
            jobs: self.jobs(),
            sinks: self.sinks.values().map(|s| self.sink_status(s)).collect(),
        }
    }

    /// Tells whoever listens, if anything is different from the last call.
    pub(crate) fn tell_troubles(&self) {
        let feeds = self.feeds.values().filter_map(of_feed);
        let now: Troubles = feeds.chain(self.sinks.values().filter_map(of_sink)).collect();
        self.troubles.send_if_modified(|told| {
            let changed = *told != now;
            *told = now;
            changed
        });
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
            backlog_bytes: self.relation(sink.def.from).map_or(0, Relation::kept_bytes),
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
        let trouble = self.what_it_waits_for(id);
        let state = match () {
            () if self.stopped_apart(id).is_some() => "failed",
            () if waits || trouble.is_some() => "waiting",
            () => "running",
        };
        let message = Some(trouble.unwrap_or_else(|| self.what_is_missing(id)));
        JobStatus { object: id, kind: "backfill", state, rows, rows_total, message }
    }

    /// What a source waits for that `view` reads apart from the others.
    fn what_it_waits_for(&self, view: ObjectId) -> Option<String> {
        let apart = self.feeds.values().filter(|f| f.record.subscribers.contains(&view) && !self.is_shared(f) && f.stopped.is_none());
        let waiting = |feed: &Feed| Some((self.source_name(feed.record.source)?.to_owned(), feed.waiting.clone()?));
        apart.filter_map(waiting).map(|(source, reason)| format!("source \"{source}\" waits: {reason}")).next()
    }
}

fn of_feed(feed: &Feed) -> Option<(ObjectId, Trouble)> {
    // What nobody reads is not tried any more.
    if feed.is_unread() {
        return None;
    }
    let stopped = feed.stopped.as_ref().map(ToString::to_string);
    let is_stopped = stopped.is_some();
    let message = stopped.or_else(|| feed.waiting.clone())?;
    Some((feed.record.source, Trouble { message: one_line(&message), stopped: is_stopped }))
}

fn of_sink(sink: &RunningSink) -> Option<(ObjectId, Trouble)> {
    let message = sink.state.message.as_ref()?;
    Some((sink.def.id, Trouble { message: one_line(message), stopped: sink.state.stopped }))
}

/// An error's message with its detail in parentheses, without the hint.
pub(crate) fn one_line(text: &str) -> String {
    let detail = text.lines().find_map(|line| line.strip_prefix("DETAIL: "));
    let message = text.lines().next().unwrap_or_default();
    detail.map_or_else(|| message.to_owned(), |detail| format!("{message} ({detail})"))
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

#[cfg(test)]
mod tests {
    use super::one_line;
    use headwater_types::Error;

    #[test]
    fn an_error_is_one_line() {
        let error = Error::external("no broker answers").with_detail("Connection refused").with_hint("start it");
        assert_eq!(one_line(&error.to_string()), "no broker answers (Connection refused)");
        assert_eq!(one_line("it waits"), "it waits");
    }
}
