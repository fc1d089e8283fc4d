//! Sources inside the loop: which feed serves which view, when feeds meet, how far a flush is.

use std::sync::Arc;

use headwater_connectors::Positions;
use headwater_state::{Family, Store, Writes};
use headwater_types::{Epoch, Error, Micros, ObjectId, Result, Watermarks};

use crate::SourceDef;
use crate::command::Reply;
use crate::diverted::SourceErrors;
use crate::epoch_loop::{EpochLoop, PendingFlush, answer};
use crate::feed::{Feed, FeedId, FeedRecord, PartitionState};
use crate::persisted;

/// A source that may be read.
pub(crate) struct RunningSource {
    pub def: SourceDef,
    pub errors: SourceErrors,
    /// Where it starts, once known: resolved when it was created and kept for ever.
    pub start: Option<Positions>,
    /// The feed that views join when they have caught up.
    pub shared: Option<FeedId>,
}

impl RunningSource {
    pub fn open(store: &Arc<Store>, def: SourceDef) -> Result<Self> {
        let errors = SourceErrors::open(store, def.id)?;
        let start = persisted::get(store.blocks().as_ref(), &persisted::object_key("start", def.id))?;
        Ok(Self { def, errors, start, shared: None })
    }
}

impl EpochLoop {
    /// The feeds as they were at the last commit; the oldest of a source is the shared one.
    pub(crate) fn restore_feeds(&mut self) -> Result<()> {
        let blocks = self.store.blocks().clone();
        for (name, record) in persisted::scan::<FeedRecord>(blocks.as_ref(), b"runtime/feed/")? {
            let id: FeedId = name.parse().map_err(|_| Error::corrupt(format!("feed '{name}' has no number")))?;
            let prefix = persisted::key("part", &format!("{name}/"));
            let partitions = persisted::scan::<PartitionState>(blocks.as_ref(), &prefix)?;
            let mut feed = Feed::restored(id, record, partitions.into_iter().map(|(n, s)| (n.into(), s)).collect());
            // Silence counts from now: nobody listened before.
            let now = self.now.max(self.clock.now());
            feed.partitions.values_mut().for_each(|p| p.clock.active_at = now);
            let Some(source) = self.sources.get_mut(&feed.record.source) else { continue };
            feed.started = source.start.is_some();
            source.shared.get_or_insert(id);
            self.feeds.insert(id, feed);
        }
        Ok(())
    }

    /// A new feed of `source` from its start on.
    pub(crate) fn new_feed(&mut self, source: ObjectId) -> FeedId {
        let id = self.feeds.keys().next_back().map_or(1, |last| last + 1);
        let start = self.sources.get(&source).and_then(|s| s.start.clone());
        self.feeds.insert(id, Feed::new(id, source, start));
        id
    }

    /// A view reads `source` from its start: on the shared feed if that has not moved yet, else on one of its own until both meet.
    pub(crate) fn feed_view(&mut self, view: ObjectId, source: ObjectId) {
        let Some(running) = self.sources.get(&source) else { return };
        let shared = running.shared.filter(|id| self.feeds.get(id).is_some_and(|f| unmoved(f, running.start.as_ref())));
        let id = match shared {
            Some(id) => id,
            None => self.new_feed(source),
        };
        if let Some(running) = self.sources.get_mut(&source) {
            running.shared.get_or_insert(id);
        }
        if let Some(feed) = self.feeds.get_mut(&id) {
            feed.set_subscribed(view, true);
        }
    }

    /// A view reads its sources no more. A feed without views is erased; the next view starts anew.
    pub(crate) fn unfeed_view(&mut self, view: ObjectId, writes: &mut Writes) {
        for feed in self.feeds.values_mut().filter(|f| f.record.subscribers.contains(&view)) {
            feed.set_subscribed(view, false);
        }
        let unread: Vec<FeedId> = self.feeds.values().filter(|f| f.record.subscribers.is_empty()).map(|f| f.id).collect();
        for id in unread {
            self.erase_feed(id, writes);
        }
    }

    pub(crate) fn erase_feed(&mut self, id: FeedId, writes: &mut Writes) {
        let Some(feed) = self.feeds.remove(&id) else { return };
        feed.erase(writes);
        let source = feed.record.source;
        for (token, _) in feed.flushes {
            self.flushed(token, id);
        }
        let heir = self.feeds.values().find(|f| f.record.source == source).map(|f| f.id);
        if let Some(running) = self.sources.get_mut(&source).filter(|s| s.shared == Some(id)) {
            running.shared = heir;
        }
    }

    /// The start of a source is known.
    pub(crate) fn source_started(&mut self, id: FeedId, start: Positions) -> Result<()> {
        let now = self.now;
        let Some(source) = self.feeds.get(&id).map(|f| f.record.source) else { return Ok(()) };
        let Some(running) = self.sources.get_mut(&source) else { return Ok(()) };
        if running.start.is_none() {
            persisted::put(&mut self.writes, persisted::object_key("start", source), &start)?;
            running.start = Some(start);
        }
        let start = running.start.clone().unwrap_or_default();
        for feed in self.feeds.values_mut().filter(|f| f.record.source == source && !f.started) {
            feed.start_at(start.clone(), now);
            feed.group = None;
        }
        Ok(())
    }

    /// Opens what should be read and is not.
    pub(crate) fn open_due_feeds(&mut self) {
        if self.disk.full().is_some() {
            return;
        }
        for feed in self.feeds.values_mut() {
            let Some(source) = self.sources.get(&feed.record.source) else { continue };
            if !self.held || !feed.started {
                feed.open_if_due(&source.def, self.setup.readers_max, &self.clock);
            }
        }
    }

    /// Feeds whose messages are taken now.
    pub(crate) fn readable_feeds(&self) -> Vec<FeedId> {
        let paused = self.disk.full().is_some();
        self.feeds.values().filter(|f| f.group.is_some() && !paused).map(|f| f.id).collect()
    }

    pub(crate) fn update_source_watermarks(&mut self) {
        for feed in self.feeds.values_mut() {
            let event_time = self.sources.get(&feed.record.source).and_then(|s| s.def.event_time.as_ref());
            if let Some(event_time) = event_time {
                feed.update_watermark(event_time, self.now);
            }
        }
    }

    /// The watermark of `source` as far as `view` has read it.
    pub(crate) fn source_watermarks(&self, view: ObjectId, source: ObjectId) -> Watermarks {
        let mut watermarks = Watermarks::none();
        let event_time = self.sources.get(&source).and_then(|s| s.def.event_time.as_ref());
        let feed = self.feeds.values().find(|f| f.record.source == source && f.record.subscribers.contains(&view));
        if let (Some(event_time), Some(feed)) = (event_time, feed) {
            watermarks.set(event_time.column, feed.record.watermark);
        }
        watermarks
    }

    /// When the next partition becomes idle.
    pub(crate) fn sources_due(&self) -> Option<Micros> {
        let due = |feed: &Feed| {
            let event_time = self.sources.get(&feed.record.source)?.def.event_time.as_ref()?;
            feed.idle_due(event_time, self.now)
        };
        self.feeds.values().filter_map(due).min()
    }

    /// At the end of an epoch: a private feed that stands where the shared one stands hands its views over.
    pub(crate) fn merge_feeds(&mut self, writes: &mut Writes) {
        let shared: Vec<(ObjectId, FeedId)> = self.sources.iter().filter_map(|(id, s)| Some((*id, s.shared?))).collect();
        for (source, shared) in shared {
            let Some(main) = self.feeds.get(&shared) else { continue };
            let meets = |f: &&Feed| f.id != shared && f.record.source == source && f.started && f.meets(main);
            let met: Vec<FeedId> = self.feeds.values().filter(meets).map(|f| f.id).collect();
            for id in met {
                let views = self.feeds[&id].record.subscribers.clone();
                for view in views {
                    if let Some(main) = self.feeds.get_mut(&shared) {
                        main.set_subscribed(view, true);
                    }
                }
                self.erase_feed(id, writes);
            }
        }
    }

    /// Asks the feeds (those that `only` reads, or all) to tell when everything they hold now has come.
    pub(crate) fn start_flush(&mut self, only: Option<ObjectId>, reply: Reply<Epoch>) {
        let token = self.next_token;
        self.next_token += 1;
        let wanted = |f: &&mut Feed| only.is_none_or(|view| f.record.subscribers.contains(&view));
        let mut feeds = Vec::new();
        for feed in self.feeds.values_mut().filter(wanted) {
            if let (Some(_), Some(error)) = (only, &feed.stopped) {
                return answer(reply, Err(error.clone()));
            }
            if feed.flush(token) {
                feeds.push(feed.id);
            }
        }
        if feeds.is_empty() {
            self.on_commit.push(reply);
        } else {
            self.flushes.insert(token, PendingFlush { feeds, reply });
        }
    }

    /// A reader failed: what can be retried is, a source that stops answers those who wait for it.
    pub(crate) fn feed_failed(&mut self, id: FeedId, error: Error) {
        let clock = self.clock.clone();
        let Some(feed) = self.feeds.get_mut(&id) else { return };
        feed.failed(error.clone(), &clock);
        if feed.stopped.is_none() {
            return;
        }
        for token in std::mem::take(&mut feed.flushes).into_keys() {
            if let Some(flush) = self.flushes.remove(&token) {
                answer(flush.reply, Err(error.clone()));
            }
        }
    }

    /// A feed has told everything before `token`.
    pub(crate) fn flushed(&mut self, token: u64, feed: FeedId) {
        let Some(flush) = self.flushes.get_mut(&token) else { return };
        flush.feeds.retain(|f| *f != feed);
        if flush.feeds.is_empty()
            && let Some(flush) = self.flushes.remove(&token)
        {
            self.on_commit.push(flush.reply);
        }
    }

    /// Deletes of what a source keeps beside its rows.
    pub(crate) fn erase_source(&mut self, id: ObjectId, writes: &mut Writes) {
        let feeds: Vec<FeedId> = self.feeds.values().filter(|f| f.record.source == id).map(|f| f.id).collect();
        for feed in feeds {
            self.erase_feed(feed, writes);
        }
        self.sources.remove(&id);
        writes.delete(Family::Meta, persisted::object_key("start", id));
    }
}

/// True while a feed has not read past the start of its source.
fn unmoved(feed: &Feed, start: Option<&Positions>) -> bool {
    let Some(start) = start else { return true };
    let at_start = |(name, state): (&headwater_connectors::Partition, &PartitionState)| start.get(name) == state.position.as_ref();
    !feed.record.finished && feed.rows == 0 && feed.partitions.iter().all(at_start)
}
