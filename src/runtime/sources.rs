//! Sources inside the loop: which feed serves which view, when feeds meet, how far a flush is.

use std::collections::BTreeMap;
use std::sync::Arc;

use headwater_connectors::{Partition, Positions};
use headwater_state::{Family, Store, Writes};
use headwater_types::{Epoch, Error, Micros, ObjectId, Result, Watermarks};

use crate::SourceDef;
use crate::command::Reply;
use crate::diverted::{Beside, open_source_errors};
use crate::epoch_loop::{EpochLoop, PendingFlush, answer};
use crate::feed::{Feed, FeedId, FeedRecord, PartitionState};
use crate::persisted;

/// A source that may be read.
pub(crate) struct RunningSource {
    pub def: SourceDef,
    pub errors: Beside,
    /// Where it starts, once known: resolved when it was created and kept for ever.
    pub start: Option<Positions>,
    /// The feed that views join when they have caught up.
    pub shared: Option<FeedId>,
}

impl RunningSource {
    pub fn open(store: &Arc<Store>, def: SourceDef) -> Result<Self> {
        let errors = open_source_errors(store, def.id)?;
        let start = persisted::get(store.blocks().as_ref(), &persisted::object_key("start", def.id))?;
        Ok(Self { def, errors, start, shared: None })
    }

    /// True if there may be more to read than when it was read to its end.
    fn grows(&self) -> bool {
        // Options that a newer version refuses are told when the source is opened.
        self.def.connector.check_source(&self.def.definition).is_ok_and(|capabilities| capabilities.grows)
    }
}

impl EpochLoop {
    /// The feeds as they were at the last commit; the oldest of a source is the shared one.
    pub(crate) fn restore_feeds(&mut self) -> Result<()> {
        let blocks = self.store.blocks().clone();
        for (name, record) in persisted::scan::<FeedRecord>(blocks.as_ref(), b"runtime/feed/")? {
            let id: FeedId = name.parse().map_err(|_| Error::corrupt(format!("feed '{name}' has no number")))?;
            let mut feed = Feed::restored(id, record, self.committed_partitions(id)?);
            // Silence counts from now: nobody listened before.
            let now = self.now.max(self.clock.now());
            feed.partitions.values_mut().for_each(|p| p.clock.active_at = now);
            let Some(source) = self.sources.get_mut(&feed.record.source) else { continue };
            feed.started = source.start.is_some();
            if feed.record.finished && source.grows() {
                feed.look_again();
            }
            source.shared.get_or_insert(id);
            self.feeds.insert(id, feed);
        }
        Ok(())
    }

    fn committed_partitions(&self, id: FeedId) -> Result<BTreeMap<Partition, PartitionState>> {
        let prefix = persisted::key("part", &format!("{id:010}/"));
        let partitions = persisted::scan::<PartitionState>(self.store.blocks().as_ref(), &prefix)?;
        Ok(partitions.into_iter().map(|(name, state)| (name.into(), state)).collect())
    }

    /// A feed as it was at the last commit, if it was there.
    pub(crate) fn committed_feed(&self, id: FeedId) -> Result<Option<(FeedRecord, BTreeMap<Partition, PartitionState>)>> {
        let record = persisted::get::<FeedRecord>(self.store.blocks().as_ref(), &persisted::key("feed", &format!("{id:010}")))?;
        record.map(|record| Ok((record, self.committed_partitions(id)?))).transpose()
    }

    /// A new feed of `source` from its start on.
    pub(crate) fn new_feed(&mut self, source: ObjectId) -> FeedId {
        let id = self.feeds.keys().next_back().map_or(1, |last| last + 1);
        let start = self.sources.get(&source).and_then(|s| s.start.clone());
        self.feeds.insert(id, Feed::new(id, source, start));
        id
    }

    pub(crate) fn erase_feed(&mut self, id: FeedId, writes: &mut Writes) {
        let Some(feed) = self.feeds.remove(&id) else { return };
        feed.erase(writes);
        let source = feed.record.source;
        for (token, _) in feed.flushes {
            self.flushed(token, id);
        }
        if let Some(running) = self.sources.get_mut(&source).filter(|s| s.shared == Some(id)) {
            running.shared = None;
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

    /// Whether something beside itself keeps `feed` closed: a full disk, views that have failed, a script that has not come to its end.
    pub(crate) fn may_be_opened(&self, feed: &Feed) -> bool {
        self.disk.full().is_none() && !self.is_parked(feed) && !(self.held && feed.started)
    }

    /// Opens what should be read and is not.
    pub(crate) fn open_due_feeds(&mut self) {
        let ids: Vec<FeedId> = self.feeds.values().filter(|f| f.group.is_none() && self.may_be_opened(f)).map(|f| f.id).collect();
        for id in ids {
            let upto = self.upto(&self.feeds[&id]);
            let Some(feed) = self.feeds.get_mut(&id) else { continue };
            let Some(source) = self.sources.get(&feed.record.source) else { continue };
            feed.open_if_due(&source.def, upto, self.setup.readers_max, &self.clock);
        }
    }

    /// Feeds whose messages are taken now.
    pub(crate) fn readable_feeds(&self) -> Vec<FeedId> {
        let paused = self.disk.full().is_some();
        let is_read = |f: &&Feed| f.group.is_some() && !paused && !self.waits_to_be_met(f);
        self.feeds.values().filter(is_read).map(|f| f.id).collect()
    }

    pub(crate) fn update_source_watermarks(&mut self) {
        let now = self.now;
        let held_back: Vec<FeedId> = self.feeds.values().filter(|f| self.waits_to_be_met(f)).map(|f| f.id).collect();
        for feed in self.feeds.values_mut() {
            if held_back.contains(&feed.id) {
                feed.stay_awake(now);
            }
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

    /// Asks the feeds (those that `only` reads, or all) to tell when everything they hold now has come, and waits for views that are catching up.
    pub(crate) fn start_flush(&mut self, only: Option<ObjectId>, reply: Reply<Epoch>) {
        let token = self.next_token;
        self.next_token += 1;
        let wanted = |f: &&mut Feed| only.is_none_or(|view| f.record.subscribers.contains(&view));
        let parked: Vec<FeedId> = self.feeds.values().filter(|f| self.is_parked(f)).map(|f| f.id).collect();
        let mut feeds = Vec::new();
        for feed in self.feeds.values_mut().filter(wanted).filter(|f| !parked.contains(&f.id)) {
            if let (Some(_), Some(error)) = (only, &feed.stopped) {
                return answer(reply, Err(error.clone()));
            }
            if feed.flush(token) {
                feeds.push(feed.id);
            }
        }
        self.wanted = true;
        let views = only.map_or_else(|| self.view_ids(), |view| vec![view]);
        self.flushes.insert(token, PendingFlush { feeds, views, is_of_view: only.is_some(), reply });
    }

    /// At the end of an epoch: flushes for which everything has come are answered once it is committed. One of a view ends with what keeps the
    /// view off the cut; the others do not wait for a view that cannot come on it.
    pub(crate) fn settle_flushes(&mut self) {
        for (token, mut flush) in std::mem::take(&mut self.flushes) {
            let failed = flush.views.iter().find_map(|view| self.failed.get(view)).map(|failed| failed.error.clone());
            flush.views.retain(|view| self.is_catching_up(*view));
            match failed.filter(|_| flush.is_of_view) {
                Some(error) => answer(flush.reply, Err(error)),
                // That a view is there is promised for good, whatever happens to the power.
                None if flush.feeds.is_empty() && flush.views.is_empty() && flush.is_of_view => {
                    let epoch = self.epoch.next();
                    self.on_durable.push(Box::new(move |synced| answer(flush.reply, synced.map(|()| epoch))));
                }
                None if flush.feeds.is_empty() && flush.views.is_empty() => self.on_commit.push(flush.reply),
                None => drop(self.flushes.insert(token, flush)),
            }
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
        if let Some(flush) = self.flushes.get_mut(&token) {
            flush.feeds.retain(|f| *f != feed);
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
