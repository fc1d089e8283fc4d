//! How a view that is catching up with a source meets the others: its private feed reads to where the shared one stands, exactly, again and again;
//! when it has nearly met it the shared one waits, and at the end of an epoch the private one is merged into it.
//!
//! ```text
//! shared    ─────●───────────●───●  waits  ●═══════►  one reader, all views
//! private   ─────────────────┘───┘─────────┘
//!                  round 1     2      3      meets: every partition stands at the same position
//! ```
//!
//! A private feed never passes the shared one, even where that has ended and its files have grown since: rows that came later are for all views alike,
//! when the source is opened again. So the shared one stays where it is, unread, while it has no views and a private one has yet to come.

use headwater_connectors::Positions;
use headwater_state::Writes;
use headwater_types::{ObjectId, Result};

use crate::epoch_loop::EpochLoop;
use crate::feed::{Feed, FeedId};
use crate::graph::RunningView;

/// From this round on the shared feed waits: what it has read since the last round is little by then.
const ROUNDS_UNTIL_WAIT: u32 = 2;

impl EpochLoop {
    /// A view reads `source` from its start: on the shared feed if that has not moved yet, else on one of its own until both meet. It leaves the feed
    /// that it was on.
    pub(crate) fn feed_view(&mut self, view: ObjectId, source: ObjectId) {
        let Some(running) = self.sources.get(&source) else { return };
        let shared = running.shared.filter(|id| self.feeds.get(id).is_some_and(|f| f.is_unmoved(running.start.as_ref())));
        let id = match shared {
            Some(id) => id,
            None => self.new_feed(source),
        };
        if let Some(running) = self.sources.get_mut(&source) {
            running.shared.get_or_insert(id);
        }
        for feed in self.feeds.values_mut().filter(|f| f.record.source == source) {
            if (feed.id == id) != feed.record.subscribers.contains(&view) {
                feed.set_subscribed(view, feed.id == id);
            }
        }
        let mut writes = std::mem::take(&mut self.writes);
        self.erase_unread(&mut writes);
        self.writes = writes;
    }

    /// A view reads its sources no more.
    pub(crate) fn unfeed_view(&mut self, view: ObjectId, writes: &mut Writes) {
        for feed in self.feeds.values_mut().filter(|f| f.record.subscribers.contains(&view)) {
            feed.set_subscribed(view, false);
        }
        self.erase_unread(writes);
    }

    /// A private feed without views goes; the shared one, too, once it has moved, unless a private one has yet to meet it: then it is not read.
    fn erase_unread(&mut self, writes: &mut Writes) {
        // One that has not started yet finds out where its source starts.
        let mut told = Vec::new();
        for feed in self.feeds.values_mut().filter(|f| f.is_unread()) {
            feed.close();
            told.extend(std::mem::take(&mut feed.flushes).into_keys().map(|token| (token, feed.id)));
        }
        // What nobody reads, nobody waits for.
        told.into_iter().for_each(|(token, feed)| self.flushed(token, feed));
        for shared in [false, true] {
            let goes = |f: &&Feed| f.is_unread() && self.is_shared(f) == shared && (!shared || !self.is_needed(f));
            let unread: Vec<FeedId> = self.feeds.values().filter(goes).map(|f| f.id).collect();
            for id in unread {
                self.erase_feed(id, writes);
            }
        }
    }

    /// A view has failed: its feeds wait for it, apart from the others, where its stored state stands; for one that will begin anew, at the start.
    pub(crate) fn park_view(&mut self, view: &RunningView, writes: &mut Writes) -> Result<()> {
        // The epoch before may still be on its way to the store: its state and its positions are both needed.
        self.settle_commit()?;
        let is_over_kept = view.reads().into_iter().any(|table| !self.is_stream(table));
        let feeds = self.feeds.values().filter(|f| f.record.subscribers.contains(&view.id));
        for (id, source) in feeds.map(|f| (f.id, f.record.source)).collect::<Vec<_>>() {
            let committed = if is_over_kept { None } else { self.committed_feed(id)? };
            let parked = self.new_feed(source);
            if let (Some(feed), Some((record, partitions))) = (self.feeds.get_mut(&parked), committed) {
                *feed = Feed::copied(parked, record, partitions);
            }
            for (id, subscribed) in [(id, false), (parked, true)] {
                self.feeds.entry(id).and_modify(|feed| feed.set_subscribed(view.id, subscribed));
            }
        }
        self.erase_unread(writes);
        Ok(())
    }

    /// True if all views of `feed` have failed.
    pub(crate) fn is_parked(&self, feed: &Feed) -> bool {
        !feed.record.subscribers.is_empty() && feed.record.subscribers.iter().all(|view| self.failed.contains_key(view))
    }

    pub(crate) fn is_shared(&self, feed: &Feed) -> bool {
        self.sources.get(&feed.record.source).is_some_and(|s| s.shared == Some(feed.id))
    }

    /// True if a shared feed stays although no view reads it: another of the same source has yet to meet it, or it stands where the next view begins.
    fn is_needed(&self, feed: &Feed) -> bool {
        let start = self.sources.get(&feed.record.source).and_then(|s| s.start.as_ref());
        feed.is_unmoved(start) || self.feeds.values().any(|f| f.record.source == feed.record.source && f.id != feed.id)
    }

    /// True if `view` reads some source apart from the others.
    pub(crate) fn is_apart(&self, view: ObjectId) -> bool {
        self.feeds.values().any(|f| f.record.subscribers.contains(&view) && !self.is_shared(f))
    }

    /// The private feed of `view` that will not go on by itself, if one does not.
    pub(crate) fn stopped_apart(&self, view: ObjectId) -> Option<&Feed> {
        self.feeds.values().find(|f| f.record.subscribers.contains(&view) && !self.is_shared(f) && f.stopped.is_some())
    }

    /// Where `feed` must stop: a private feed where the shared one stands.
    pub(crate) fn upto(&self, feed: &Feed) -> Option<Positions> {
        let shared = self.sources.get(&feed.record.source)?.shared.filter(|id| *id != feed.id)?;
        self.feeds.get(&shared).map(Feed::positions)
    }

    /// All input of an epoch has come: a private feed that stands where the shared one has ended has ended, too, and so has event time for its views.
    pub(crate) fn finish_with_shared(&mut self) {
        let has_ended = |feed: &Feed| {
            let shared = self.sources.get(&feed.record.source).and_then(|s| s.shared).filter(|id| *id != feed.id);
            let shared = shared.and_then(|id| self.feeds.get(&id)).filter(|f| f.record.finished);
            feed.started && !feed.record.finished && !self.is_parked(feed) && shared.is_some_and(|shared| feed.stands_with(shared))
        };
        let ended: Vec<FeedId> = self.feeds.values().filter(|f| has_ended(f)).map(|f| f.id).collect();
        for id in ended {
            self.feeds.entry(id).and_modify(Feed::finish);
        }
    }

    /// True while `feed` is the shared one and a private one reads its last stretch to it.
    pub(crate) fn waits_to_be_met(&self, feed: &Feed) -> bool {
        let comes = |f: &Feed| f.rounds >= ROUNDS_UNTIL_WAIT && f.group.is_some() && f.waiting.is_none();
        self.is_shared(feed) && self.feeds.values().any(|f| f.record.source == feed.record.source && f.id != feed.id && comes(f))
    }

    /// At the end of an epoch: a private feed that has met the shared one hands its views over; one that has come to where the shared one stood
    /// when it was opened goes on to where that stands now.
    pub(crate) fn merge_feeds(&mut self, writes: &mut Writes) {
        let is_private = |f: &&Feed| f.started && !self.is_shared(f) && !self.is_parked(f);
        let private: Vec<FeedId> = self.feeds.values().filter(is_private).map(|f| f.id).collect();
        for id in private {
            let Some(shared) = self.sources.get(&self.feeds[&id].record.source).and_then(|s| s.shared) else { continue };
            let (feed, main) = (&self.feeds[&id], &self.feeds[&shared]);
            if feed.meets(main) {
                self.merge(id, shared, writes);
                continue;
            }
            let upto = self.upto(feed);
            let goes_on = feed.group.is_some() && feed.upto.is_some() && feed.is_at_limit() && feed.upto != upto;
            if let Some(feed) = self.feeds.get_mut(&id).filter(|_| goes_on) {
                feed.rounds += 1;
                feed.close();
            }
        }
    }

    fn merge(&mut self, id: FeedId, shared: FeedId, writes: &mut Writes) {
        let Some(feed) = self.feeds.get_mut(&id) else { return };
        let (views, tokens) = (feed.record.subscribers.clone(), std::mem::take(&mut feed.flushes));
        self.erase_feed(id, writes);
        let Some(main) = self.feeds.get_mut(&shared) else { return };
        for view in views {
            main.set_subscribed(view, true);
        }
        // Who waits for the end as the private feed saw it waits for the shared one's now, which is not before it.
        for token in tokens.into_keys() {
            let asked = main.flushes.contains_key(&token) || main.flush(token);
            if let Some(flush) = self.flushes.get_mut(&token) {
                flush.feeds.retain(|f| *f != id && *f != shared);
                flush.feeds.extend(asked.then_some(shared));
            }
        }
    }
}
