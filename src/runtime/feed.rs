//! One pass over a source: its readers, the position and clock of each partition, and the views it feeds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use headwater_connectors::{Partition, Position, Positions};
use headwater_state::Writes;
use headwater_types::{Clock, END_OF_TIME, Error, Micros, ObjectId, Result};
use serde::{Deserialize, Serialize};

use crate::event_time::{self, PartitionClock};
use crate::persisted;
use crate::reader::{ReaderGroup, Span};
use crate::{EventTime, SourceDef};

/// The first and the longest pause between two tries to open a source.
const BACK_OFF_MIN: Duration = Duration::from_millis(200);
const BACK_OFF_MAX: Duration = Duration::from_secs(10);

/// The number of a feed.
pub(crate) type FeedId = u32;

/// Where a feed stands in one partition.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct PartitionState {
    pub position: Option<Position>,
    pub clock: PartitionClock,
    #[serde(skip)]
    pub lag: Option<u64>,
    #[serde(skip)]
    dirty: bool,
}

/// The stored form of a feed, without its partitions.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct FeedRecord {
    pub source: ObjectId,
    pub subscribers: BTreeSet<ObjectId>,
    pub watermark: Option<Micros>,
    pub finished: bool,
}

/// One pass over a source. A source has one shared feed, and a private one for each view that is catching up.
pub(crate) struct Feed {
    pub id: FeedId,
    pub record: FeedRecord,
    pub partitions: BTreeMap<Partition, PartitionState>,
    /// False until the source's start is known.
    pub started: bool,
    pub group: Option<ReaderGroup>,
    pub readers: usize,
    pub finished_readers: usize,
    /// Readers that have told the partitions that are there.
    pub looked_readers: usize,
    /// Where the open readers stop; none: nowhere.
    pub upto: Option<Positions>,
    /// How often this private feed has come to where the shared one stood.
    pub rounds: u32,
    /// Tokens of flushes that not all readers have answered, with the answers missing.
    pub flushes: BTreeMap<u64, usize>,
    /// What the source waits for, or why it stopped.
    pub waiting: Option<String>,
    /// An error that trying again does not cure.
    pub stopped: Option<Error>,
    pub rows: u64,
    pub retries: u64,
    back_off: Duration,
    reopen_at: Option<Duration>,
    dirty: bool,
}

impl Feed {
    /// A feed of `source` that has read nothing.
    pub fn new(id: FeedId, source: ObjectId, start: Option<Positions>) -> Self {
        let record = FeedRecord { source, subscribers: BTreeSet::new(), watermark: None, finished: false };
        let mut feed = Self::restored(id, record, BTreeMap::new());
        feed.started = false;
        if let Some(start) = start {
            feed.start_at(start, 0);
        }
        feed.dirty = true;
        feed
    }

    /// A feed as it was at the last commit.
    pub fn restored(id: FeedId, record: FeedRecord, partitions: BTreeMap<Partition, PartitionState>) -> Self {
        Self {
            id,
            record,
            partitions,
            started: true,
            group: None,
            readers: 0,
            finished_readers: 0,
            looked_readers: 0,
            upto: None,
            rounds: 0,
            flushes: BTreeMap::new(),
            waiting: None,
            stopped: None,
            rows: 0,
            retries: 0,
            back_off: BACK_OFF_MIN,
            reopen_at: None,
            dirty: false,
        }
    }

    /// A feed that stands where another stood.
    pub fn copied(id: FeedId, record: FeedRecord, mut partitions: BTreeMap<Partition, PartitionState>) -> Self {
        partitions.values_mut().for_each(|p| p.dirty = true);
        let record = FeedRecord { subscribers: BTreeSet::new(), ..record };
        Self { dirty: true, ..Self::restored(id, record, partitions) }
    }

    /// The source's start is known: its partitions hold back the watermark from now on.
    pub fn start_at(&mut self, start: Positions, now: Micros) {
        for (partition, position) in start {
            self.found(partition, position, now);
        }
        self.started = true;
        // What failed before was the question where it starts.
        (self.waiting, self.reopen_at) = (None, None);
    }

    /// A partition that was not known before.
    pub fn found(&mut self, partition: Partition, position: Position, now: Micros) {
        let clock = PartitionClock { active_at: now, ..PartitionClock::default() };
        let state = PartitionState { position: Some(position), clock, lag: None, dirty: true };
        self.partitions.entry(partition).or_insert(state);
    }

    /// Rows up to `next` were taken from `partition`.
    pub fn advance(&mut self, partition: &Partition, next: Position, lag: Option<u64>, now: Micros) -> &mut PartitionClock {
        let clock = PartitionClock::default();
        let fresh = || PartitionState { position: None, clock, lag: None, dirty: true };
        let state = self.partitions.entry(partition.clone()).or_insert_with(fresh);
        state.position = Some(next);
        state.lag = lag;
        state.dirty = true;
        state.clock.at_end = false;
        // A file that has grown since it was closed.
        state.clock.closed = false;
        state.clock.active_at = now;
        &mut state.clock
    }

    /// Changes the clock of a known partition.
    pub fn with_clock(&mut self, partition: &Partition, change: impl FnOnce(&mut PartitionClock)) {
        if let Some(state) = self.partitions.get_mut(partition) {
            change(&mut state.clock);
            state.dirty = true;
        }
    }

    /// Views come or go.
    pub fn set_subscribed(&mut self, view: ObjectId, subscribed: bool) {
        if subscribed {
            if self.record.subscribers.is_empty() {
                // What stopped it may have been repaired since.
                (self.stopped, self.waiting) = (None, None);
            }
            self.record.subscribers.insert(view);
        } else {
            self.record.subscribers.remove(&view);
        }
        self.dirty = true;
    }

    /// A bounded source was read to its end: event time is over.
    pub fn finish(&mut self) {
        self.record.finished = true;
        self.record.watermark = Some(END_OF_TIME);
        self.close();
        self.dirty = true;
    }

    /// A source that was read to its end may have more by now. Its watermark stays where it is, at the end of time: it never goes back.
    pub fn look_again(&mut self) {
        self.record.finished = false;
    }

    /// Its partitions may have rows that did not come, whatever their ends were when they were last heard of: none is idle before its time has passed anew.
    pub fn stay_awake(&mut self, now: Micros) {
        self.partitions.values_mut().for_each(|state| state.clock.active_at = now);
    }

    /// Whether its readers do not run, or do not reach their source.
    pub fn is_cut_off(&self) -> bool {
        self.group.is_none() || self.readers == 0 || self.waiting.is_some()
    }

    /// The watermark at the end of an epoch at time `now`.
    pub fn update_watermark(&mut self, event_time: &EventTime, now: Micros) {
        if self.is_cut_off() {
            self.stay_awake(now);
        }
        if !self.record.finished {
            let clocks = self.partitions.values().map(|p| &p.clock);
            let watermark = event_time::watermark(event_time, clocks, now, self.record.watermark);
            self.dirty |= watermark != self.record.watermark;
            self.record.watermark = watermark;
        }
    }

    /// When a partition becomes idle, if one can.
    pub fn idle_due(&self, event_time: &EventTime, now: Micros) -> Option<Micros> {
        let clocks = self.partitions.values().map(|p| &p.clock);
        if self.record.finished || self.is_cut_off() { None } else { event_time::idle_due(event_time, clocks, now) }
    }

    /// Where each partition stands.
    pub fn positions(&self) -> Positions {
        self.partitions.iter().filter_map(|(name, state)| Some((name.clone(), state.position.clone()?))).collect()
    }

    /// The readers stop. Those that come after them tell anew where the ends are.
    pub fn close(&mut self) {
        self.group = None;
        self.readers = 0;
        self.partitions.values_mut().for_each(|state| state.clock.at_end = false);
    }

    /// Whether its readers do not run and should, at once or after a pause. They should not with nothing to read for, when finished or stopped.
    fn is_to_be_opened(&self) -> bool {
        self.group.is_none() && !self.record.finished && self.stopped.is_none() && !self.is_unread()
    }

    /// Opens the readers if they should run and do not, to read no further than `upto`; too early after a failure they should not.
    pub fn open_if_due(&mut self, source: &SourceDef, upto: Option<Positions>, readers_max: usize, clock: &Arc<dyn Clock>) {
        if !self.is_to_be_opened() || self.reopen_at.is_some_and(|at| clock.elapsed() < at) {
            return;
        }
        self.upto.clone_from(&upto);
        let span = Span { from: self.started.then(|| self.positions()), upto };
        match ReaderGroup::open(source, span, readers_max, clock.clone()) {
            Ok(group) => self.group = Some(group),
            Err(error) => self.failed(error, clock),
        }
    }

    /// The readers run.
    pub fn opened(&mut self, readers: usize, now: Micros) {
        self.stay_awake(now);
        self.readers = readers;
        self.finished_readers = 0;
        self.looked_readers = 0;
        self.waiting = None;
        let tokens: Vec<u64> = self.flushes.keys().copied().collect();
        for token in tokens {
            self.flush(token);
        }
    }

    /// Asks the readers to note their end; true if there is something to wait for.
    pub fn flush(&mut self, token: u64) -> bool {
        if self.record.finished || self.stopped.is_some() || self.record.subscribers.is_empty() {
            self.flushes.remove(&token);
            return false;
        }
        self.flushes.insert(token, self.readers);
        if let Some(group) = &self.group {
            group.flush(token, self.readers);
        }
        true
    }

    /// A reader has told everything before `token`; true if it was the last one.
    pub fn flushed(&mut self, token: u64) -> bool {
        match self.flushes.get_mut(&token) {
            Some(missing) if *missing > 1 => {
                *missing -= 1;
                false
            }
            Some(_) => self.flushes.remove(&token).is_some(),
            None => false,
        }
    }

    /// A reader failed: all are dropped; what can be retried is opened anew after a pause that doubles.
    pub fn failed(&mut self, error: Error, clock: &Arc<dyn Clock>) {
        self.close();
        self.waiting = Some(error.to_string());
        if error.kind().is_retryable() {
            self.retries += 1;
            self.reopen_at = Some(clock.elapsed() + self.back_off);
            self.back_off = (self.back_off * 2).min(BACK_OFF_MAX);
        } else {
            self.stopped = Some(error);
        }
    }

    /// Something came: the next failure starts from the shortest pause again.
    pub fn recovered(&mut self) {
        self.back_off = BACK_OFF_MIN;
        self.waiting = None;
    }

    /// How long until the readers may be opened again.
    pub fn reopen_in(&self, clock: &Arc<dyn Clock>) -> Option<Duration> {
        let at = self.reopen_at.filter(|_| self.is_to_be_opened())?;
        Some(at.saturating_sub(clock.elapsed()))
    }

    /// A word for how it stands.
    pub fn state(&self) -> &'static str {
        match () {
            () if self.record.finished => "finished",
            () if self.stopped.is_some() => "stopped",
            () if self.record.subscribers.is_empty() => "unread",
            () if self.waiting.is_some() || self.group.is_none() => "waiting",
            () => "running",
        }
    }

    /// What changed, into the epoch's batch.
    pub fn save(&mut self, writes: &mut Writes) -> Result<()> {
        if std::mem::take(&mut self.dirty) {
            persisted::put(writes, persisted::key("feed", &format!("{:010}", self.id)), &self.record)?;
        }
        for (name, state) in self.partitions.iter_mut().filter(|(_, s)| s.dirty) {
            state.dirty = false;
            persisted::put(writes, persisted::key("part", &format!("{:010}/{name}", self.id)), state)?;
        }
        Ok(())
    }

    /// Deletes of everything this feed keeps.
    pub fn erase(&self, writes: &mut Writes) {
        let family = headwater_state::Family::Meta;
        writes.delete(family, persisted::key("feed", &format!("{:010}", self.id)));
        for name in self.partitions.keys() {
            writes.delete(family, persisted::key("part", &format!("{:010}/{name}", self.id)));
        }
    }

    /// True if it knows where it starts and no view reads it.
    pub fn is_unread(&self) -> bool {
        self.started && self.record.subscribers.is_empty()
    }

    /// True while it has not read past `start`, where its source starts.
    pub fn is_unmoved(&self, start: Option<&Positions>) -> bool {
        let Some(start) = start else { return true };
        let at_start = |(name, state): (&Partition, &PartitionState)| start.get(name) == state.position.as_ref();
        !self.record.finished && self.rows == 0 && self.partitions.iter().all(at_start)
    }

    /// True if this feed has come to where its readers stop, in every partition that it knows.
    pub fn is_at_limit(&self) -> bool {
        let Some(upto) = &self.upto else { return false };
        self.partitions.iter().all(|(name, state)| upto.get(name).is_none_or(|limit| state.position.as_ref() == Some(limit)))
    }

    /// True if all that `shared` has read of their source was read by this feed, too, and no more.
    pub fn meets(&self, shared: &Feed) -> bool {
        if self.record.finished || shared.record.finished {
            return self.record.finished && shared.record.finished;
        }
        self.stands_with(shared)
    }

    /// True if every partition of `shared` stands where this feed has it. What is gone (a file that was deleted) cannot.
    pub fn stands_with(&self, shared: &Feed) -> bool {
        let has_looked = self.readers > 0 && self.looked_readers == self.readers;
        let same = |(name, state): (&Partition, &PartitionState)| match self.partitions.get(name) {
            Some(own) => own.position == state.position,
            None => state.clock.closed && has_looked,
        };
        shared.partitions.iter().all(same)
    }
}

#[cfg(test)]
mod tests {
    use headwater_types::SystemClock;

    use super::*;

    const EVENT_TIME: EventTime =
        EventTime { column: 0, delay_us: 10, idle_timeout_us: Some(100), max_ahead_us: 1_000, advance_when_idle: true };

    /// Two partitions, read to their ends at 0, one of them far behind the other.
    fn at_ends() -> Feed {
        let mut feed =
            Feed::new(1, ObjectId(1), Some(Positions::from([("0".into(), Position("0".into())), ("1".into(), Position("0".into()))])));
        for (partition, seen) in [("0", 5_000), ("1", 300)] {
            feed.with_clock(&partition.into(), |clock| (clock.max_seen, clock.at_end) = (Some(seen), true));
        }
        feed
    }

    /// A partition that cannot be reached is not idle, however long that lasts: its rows are to come.
    #[test]
    fn nobody_is_idle_while_the_source_does_not_answer() {
        let mut feed = at_ends();
        feed.waiting = Some("no broker answers".into());
        feed.update_watermark(&EVENT_TIME, 1_000);
        assert_eq!((feed.record.watermark, feed.idle_due(&EVENT_TIME, 1_000)), (Some(290), None));
        feed.failed(Error::external("no broker answers"), &(Arc::new(SystemClock::default()) as Arc<dyn Clock>));
        feed.opened(1, 2_000);
        feed.update_watermark(&EVENT_TIME, 3_000);
        assert_eq!(feed.record.watermark, Some(290), "nobody has told where the ends are now");
    }

    /// What nobody reads is not waited for.
    #[test]
    fn an_unread_feed_is_not_opened_again() {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
        let mut feed = Feed::new(1, ObjectId(1), None);
        feed.failed(Error::external("no broker answers"), &clock);
        assert!(feed.reopen_in(&clock).is_some(), "where it starts is still to be asked");
        feed.start_at(Positions::new(), 0);
        assert_eq!((feed.reopen_in(&clock), feed.waiting.clone()), (None, None));
        feed.set_subscribed(ObjectId(2), true);
        feed.failed(Error::external("no broker answers"), &clock);
        assert!(feed.reopen_in(&clock).is_some());
        feed.set_subscribed(ObjectId(2), false);
        assert_eq!(feed.reopen_in(&clock), None);
    }
}
