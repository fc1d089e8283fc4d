//! Objects come and go inside the loop: created, restored, set aside, dropped.

use headwater_state::{Family, Writes};
use headwater_types::{Error, ObjectId, Result};

use crate::command::Reply;
use crate::epoch_loop::{EpochLoop, FailedView, answer};
use crate::graph::{FailureRecord, RunningView};
use crate::sources::RunningSource;
use crate::status::{PartitionStatus, SinkStatus, SourceStatus, Status, ViewStatus};
use crate::table::RunningTable;
use crate::{Definition, ViewDef, persisted};

impl EpochLoop {
    /// Starts a new object and commits `catalog` in the same epoch.
    pub(crate) fn create(&mut self, object: Definition, catalog: Writes, reply: Reply<headwater_types::Epoch>) -> Result<()> {
        match self.add(object, true) {
            Ok(()) => self.commit_catalog(catalog, reply),
            Err(error) => {
                answer(reply, Err(error));
                Ok(())
            }
        }
    }

    /// Commits `catalog`; `reply` is told once that is durable.
    pub(crate) fn commit_catalog(&mut self, catalog: Writes, reply: Reply<headwater_types::Epoch>) -> Result<()> {
        self.writes.append(catalog);
        self.wanted = true;
        let epoch = self.epoch.next();
        self.on_durable.push(Box::new(move |synced| answer(reply, synced.map(|()| epoch))));
        self.step(crate::gather::Wake::Due)
    }

    /// Everything that was there at the last commit.
    pub(crate) fn restore(&mut self, objects: Vec<Definition>) -> Result<()> {
        let (sinks, others): (Vec<_>, Vec<_>) = objects.into_iter().partition(|o| matches!(o, Definition::Sink(_)));
        for object in others {
            self.add(object, false)?;
        }
        self.restore_feeds()?;
        for sink in sinks {
            self.add(sink, false)?;
        }
        Ok(())
    }

    fn add(&mut self, object: Definition, fresh: bool) -> Result<()> {
        match object {
            Definition::Source(def) => {
                let id = def.id;
                let source = RunningSource::open(&self.store, def)?;
                self.sources.insert(id, source);
                if fresh {
                    let feed = self.new_feed(id);
                    self.sources.entry(id).and_modify(|s| s.shared = Some(feed));
                }
                Ok(())
            }
            Definition::Table(def) => {
                let id = def.id;
                let table = RunningTable::open(&self.store, def)?;
                self.tables.insert(id, table);
                self.appeared.push(id);
                Ok(())
            }
            Definition::View(def) => self.add_view(*def, fresh),
            Definition::Sink(def) => self.start_sink(*def),
        }
    }

    fn add_view(&mut self, def: ViewDef, fresh: bool) -> Result<()> {
        let (id, name) = (def.id, def.name.clone());
        let record: Option<FailureRecord> = persisted::get(self.store.blocks().as_ref(), &persisted::object_key("failed", id))?;
        if let Some(record) = record {
            let error = if record.limit { Error::limit(record.message) } else { Error::bug(record.message) };
            self.failed.insert(id, FailedView { name, error });
            return Ok(());
        }
        let view = RunningView::open(&self.store, def, fresh)?;
        let off = view.reads().into_iter().find(|from| self.failed.contains_key(from));
        if let Some(from) = off {
            return Err(self.why_off(from));
        }
        if fresh {
            for from in view.reads() {
                self.feed_view(id, from);
            }
        }
        self.views.insert(id, view);
        Ok(())
    }

    /// A view has failed: it and all above it flush nothing of this epoch and drop their state; the others go on.
    pub(crate) fn set_aside(&mut self, id: ObjectId, error: Error) {
        let Some(view) = self.views.remove(&id) else { return };
        let name = view.def.name.clone();
        let mut writes = std::mem::take(&mut self.writes);
        self.unfeed_view(id, &mut writes);
        self.writes = writes;
        self.wanted = true;
        let record = FailureRecord::of(&error);
        if persisted::put(&mut self.writes, persisted::object_key("failed", id), &record).is_err() {
            debug_assert!(false, "a failure is plain text");
        }
        let readers: Vec<ObjectId> = self.views.values().filter(|v| v.reads().contains(&id)).map(|v| v.id).collect();
        self.failed.insert(id, FailedView { name: name.clone(), error });
        for reader in readers {
            let above = Error::new(self.failed[&id].error.kind(), format!("it reads view \"{name}\", which is off the cut"));
            self.set_aside(reader, above);
        }
    }

    /// Ends `objects` and deletes what they keep.
    pub(crate) fn drop_objects(&mut self, objects: &[ObjectId], catalog: Writes, reply: Reply<headwater_types::Epoch>) -> Result<()> {
        let mut writes = std::mem::take(&mut self.writes);
        for id in objects {
            self.stop_sink(*id, &mut writes);
            if self.views.remove(id).is_some() || self.failed.remove(id).is_some() {
                self.unfeed_view(*id, &mut writes);
            }
            self.tables.remove(id);
            self.erase_source(*id, &mut writes);
            for kind in ["view", "failed", "table"] {
                writes.delete(Family::Meta, persisted::object_key(kind, *id));
            }
            self.unpublish(*id);
            self.subscriptions.retain(|(relation, _)| relation != id);
            self.store.drop_object(*id, &mut writes)?;
        }
        self.writes = writes;
        self.commit_catalog(catalog, reply)
    }

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
            views: self.views.values().map(view_status).chain(self.failed.iter().map(failed_status)).collect(),
            sinks: self.sinks.values().map(|s| self.sink_status(s)).collect(),
        }
    }

    fn source_status(&self, feed: &crate::feed::Feed) -> SourceStatus {
        let source = self.sources.get(&feed.record.source);
        let event_time = source.and_then(|s| s.def.event_time.as_ref());
        let partition = |(name, state): (&headwater_connectors::Partition, &crate::feed::PartitionState)| PartitionStatus {
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

    fn sink_status(&self, sink: &crate::sinks::RunningSink) -> SinkStatus {
        SinkStatus {
            id: sink.def.id,
            delivered: sink.mark.map(|m| m.epoch),
            backlog_bytes: self.relation(sink.def.from).map_or(0, headwater_state::Relation::kept_bytes),
            retries: sink.state.retries,
            message: sink.state.message.clone(),
            stopped: sink.state.stopped,
        }
    }
}

fn view_status(view: &RunningView) -> ViewStatus {
    let closed_below = view.closed_below();
    ViewStatus {
        id: view.id,
        rows: view.relation.rows(),
        state_bytes: view.state_bytes(),
        late: view.diverted.late_rows,
        errors: view.diverted.error_rows,
        error: None,
        watermark: closed_below,
        closed_below,
        operators: view.operators(),
    }
}

fn failed_status((id, failed): (&ObjectId, &FailedView)) -> ViewStatus {
    let error = Some(failed.error.to_string());
    ViewStatus { id: *id, rows: 0, state_bytes: 0, late: 0, errors: 0, error, watermark: None, closed_below: None, operators: Vec::new() }
}
