//! The first half of an epoch: take what the sources and writers have ready, push it through the views.

use std::time::Duration;

use crossbeam_channel::Select;
use headwater_connectors::{SourceBatch, SourceEvent};
use headwater_state::TableId;
use headwater_types::{ChangeBatch, Epoch, ObjectId, Result, data_bytes};

use crate::command::Command;
use crate::diverted::undated;
use crate::epoch_loop::EpochLoop;
use crate::event_time::Dated;
use crate::feed::FeedId;
use crate::reader::Message;

/// An epoch stops gathering at this many bytes, all of which may have to be in memory,
const EPOCH_BYTES_MAX: usize = 64 << 20;
/// … or after this long, although more keeps coming,
const EPOCH_TIME_MAX: Duration = Duration::from_millis(100);
/// … or at so many rows that it would take longer than this, all in all, as the epochs before did. So the faster rows are worked on, the more of
/// them share the cost of a commit.
const EPOCH_TIME_AIM: Duration = Duration::from_millis(200);
/// An epoch may always have this many rows, and the first one no more than four times as many.
const EPOCH_ROWS_MIN: usize = 65_536;
/// A small epoch waits this long for more to join, so that a trickle does not commit row by row.
const JOIN: Duration = Duration::from_millis(1);
/// An epoch of at least this many rows does not wait.
const SMALL_ROWS: usize = 4_096;

/// What was gathered so far.
#[derive(Default)]
pub(crate) struct Gathered {
    pub rows: usize,
    pub bytes: usize,
    /// Something happened that a commit must follow.
    pub dirty: bool,
}

/// How many rows an epoch may have: views do much of their work when all rows are there, when it is too late to stop.
pub(crate) struct RowBudget(usize);

impl Default for RowBudget {
    fn default() -> Self {
        Self(EPOCH_ROWS_MIN * 4)
    }
}

impl RowBudget {
    /// An epoch of so many rows took so long.
    pub fn learn(&mut self, rows: usize, took: Duration) {
        self.0 = if took > EPOCH_TIME_AIM {
            let fitting = rows as f64 * EPOCH_TIME_AIM.as_secs_f64() / took.as_secs_f64();
            self.0.min(fitting as usize).max(EPOCH_ROWS_MIN)
        } else if rows >= self.0 {
            self.0.saturating_mul(2)
        } else {
            self.0
        };
    }
}

/// What woke the loop.
pub(crate) enum Wake {
    Command(Command),
    Message(FeedId, Message),
    /// Nothing came until the time was up.
    Due,
}

impl EpochLoop {
    /// Waits for something to do, at most `timeout`.
    pub(crate) fn wait(&mut self, timeout: Option<Duration>) -> Result<Wake> {
        if let Some(command) = self.deferred.pop_front() {
            return Ok(Wake::Command(command));
        }
        let reading: Vec<FeedId> = self.readable_feeds();
        let mut select = Select::new();
        let commands = select.recv(&self.inbox);
        let groups: Vec<_> = reading.iter().filter_map(|id| self.feeds[id].group.as_ref()).collect();
        for group in &groups {
            select.recv(&group.messages);
        }
        let ready = match timeout {
            Some(timeout) => select.select_timeout(timeout),
            None => Ok(select.select()),
        };
        let Ok(operation) = ready else { return Ok(Wake::Due) };
        let index = operation.index();
        if index == commands {
            let command = operation.recv(&self.inbox).map_err(|_| headwater_types::Error::cancelled("nobody holds the database"))?;
            return Ok(Wake::Command(command));
        }
        let feed = reading[index - 1];
        match operation.recv(&groups[index - 1].messages) {
            Ok(message) => Ok(Wake::Message(feed, message)),
            Err(_) => Ok(Wake::Message(feed, Message::Failed(headwater_types::Error::external("the source's readers ended")))),
        }
    }

    /// True if rows wait to be taken.
    pub(crate) fn has_input(&self) -> bool {
        let groups = self.readable_feeds().into_iter().filter_map(|feed| self.feeds[&feed].group.as_ref());
        groups.into_iter().any(|group| !group.messages.is_empty())
    }

    /// Takes what is ready until nothing is, or the epoch is full.
    pub(crate) fn gather(&mut self, first: Wake, epoch: Epoch) -> Result<Gathered> {
        let mut gathered = Gathered::default();
        let start = self.clock.elapsed();
        match first {
            Wake::Message(feed, message) => self.take(feed, message, &mut gathered)?,
            Wake::Command(command) => drop(self.take_command(command, epoch, &mut gathered)),
            Wake::Due => {}
        }
        loop {
            let full = gathered.rows >= self.row_budget.0 || gathered.bytes >= EPOCH_BYTES_MAX;
            if full || self.clock.elapsed() - start >= EPOCH_TIME_MAX || !self.deferred.is_empty() {
                return Ok(gathered);
            }
            if self.take_ready(epoch, &mut gathered)? {
                continue;
            }
            if gathered.rows >= SMALL_ROWS || !gathered.dirty || !self.join(epoch, &mut gathered)? {
                return Ok(gathered);
            }
        }
    }

    /// Takes one message of every feed, and the writes that wait; false if there was nothing.
    fn take_ready(&mut self, epoch: Epoch, gathered: &mut Gathered) -> Result<bool> {
        let mut any = false;
        for feed in self.readable_feeds() {
            let message = self.feeds[&feed].group.as_ref().and_then(|g| g.messages.try_recv().ok());
            if let Some(message) = message {
                self.take(feed, message, gathered)?;
                any = true;
            }
        }
        while self.deferred.is_empty() {
            let Ok(command) = self.inbox.try_recv() else { break };
            any |= self.take_command(command, epoch, gathered);
        }
        Ok(any)
    }

    /// Waits a little for more; false if nothing came.
    fn join(&mut self, epoch: Epoch, gathered: &mut Gathered) -> Result<bool> {
        match self.wait(Some(JOIN))? {
            Wake::Command(command) => Ok(self.take_command(command, epoch, gathered)),
            Wake::Message(feed, message) => self.take(feed, message, gathered).map(|()| true),
            Wake::Due => Ok(false),
        }
    }

    /// A write is part of this epoch; every other command waits for its end. True if it was a write.
    pub(crate) fn take_command(&mut self, command: Command, epoch: Epoch, gathered: &mut Gathered) -> bool {
        match command {
            Command::Write { writes, record, reply } => {
                let rows = writes.iter().filter_map(|(_, write)| write.insert.as_ref());
                gathered.rows += rows.map(arrow::array::RecordBatch::num_rows).sum::<usize>();
                gathered.dirty |= self.write(writes, record, reply, epoch);
                true
            }
            other => {
                self.deferred.push_back(other);
                false
            }
        }
    }

    fn take(&mut self, feed: FeedId, message: Message, gathered: &mut Gathered) -> Result<()> {
        let now = self.now;
        match message {
            Message::Started(start) => {
                self.source_started(feed, start)?;
                gathered.dirty = true;
            }
            Message::Opened(readers) => {
                let Some(feed) = self.feeds.get_mut(&feed) else { return Ok(()) };
                feed.opened(readers, now);
            }
            Message::Looked => {
                let Some(feed) = self.feeds.get_mut(&feed) else { return Ok(()) };
                feed.looked_readers += 1;
                gathered.dirty = true;
            }
            Message::Failed(error) => self.feed_failed(feed, error),
            Message::Events(events) => {
                for event in events {
                    self.take_event(feed, event, gathered)?;
                }
            }
        }
        debug_assert!(self.now == now, "epoch time stands still inside an epoch");
        Ok(())
    }

    fn take_event(&mut self, id: FeedId, event: SourceEvent, gathered: &mut Gathered) -> Result<()> {
        if let SourceEvent::Rows(batch) = event {
            return self.take_rows(id, batch, gathered);
        }
        let now = self.now;
        let Some(feed) = self.feeds.get_mut(&id) else { return Ok(()) };
        match event {
            SourceEvent::Rows(_) => {}
            SourceEvent::Found(partition, position) => feed.found(partition, position, now),
            SourceEvent::AtEnd(partition) => feed.with_clock(&partition, |clock| clock.at_end = true),
            SourceEvent::Closed(partition) => feed.with_clock(&partition, |clock| clock.closed = true),
            SourceEvent::Flushed(token) => {
                if feed.flushed(token) {
                    self.flushed(token, id);
                }
            }
            SourceEvent::Finished => {
                feed.finished_readers += 1;
                if feed.finished_readers == feed.readers {
                    let tokens: Vec<u64> = feed.flushes.keys().copied().collect();
                    feed.finish();
                    for token in tokens {
                        self.flushed(token, id);
                    }
                }
            }
            SourceEvent::State(waiting) => {
                feed.stay_awake(now);
                feed.waiting = waiting;
            }
        }
        gathered.dirty = true;
        Ok(())
    }

    /// Rows of one partition: dated, their position noted, pushed into every view on the feed.
    fn take_rows(&mut self, id: FeedId, batch: SourceBatch, gathered: &mut Gathered) -> Result<()> {
        let SourceBatch { partition, rows, rejects, next, lag } = batch;
        let Some(source) = self.feeds.get(&id).map(|f| f.record.source) else { return Ok(()) };
        let shared = self.sources.get(&source).is_some_and(|s| s.shared == Some(id));
        let dated = self.date_rows(source, rows)?;
        let feed = self.feeds.get_mut(&id).expect("looked up above");
        feed.recovered();
        feed.rows += dated.rows.num_rows() as u64;
        let clock = feed.advance(&partition, next.clone(), lag, self.now);
        clock.max_seen = clock.max_seen.max(dated.max_seen);
        self.rows += dated.rows.num_rows() as u64;
        gathered.rows += dated.rows.num_rows();
        gathered.bytes += data_bytes(&dated.rows);
        gathered.dirty = true;
        if let Some(source) = self.sources.get_mut(&source).filter(|_| shared) {
            if !rejects.is_empty() {
                source.errors.take_rejects(&partition, &rejects, self.now)?;
            }
            for refused in &dated.refused {
                let rejects = undated(refused, &source.def.definition.includes, &next)?;
                source.errors.take_rejects(&partition, &rejects, self.now)?;
            }
        }
        let changes = ChangeBatch::insertions(dated.rows);
        let subscribers: Vec<ObjectId> = self.feeds[&id].record.subscribers.iter().copied().collect();
        for view in subscribers {
            self.push(view, TableId::new(source, TableId::ROWS), &changes);
        }
        Ok(())
    }

    fn date_rows(&self, source: ObjectId, rows: arrow::array::RecordBatch) -> Result<Dated> {
        match self.sources.get(&source).and_then(|s| s.def.event_time.as_ref()) {
            Some(event_time) => event_time.date(rows, self.now),
            None => Ok(Dated { rows, max_seen: None, refused: Vec::new() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_grow_while_they_are_quick_and_shrink_when_they_are_slow() {
        let mut budget = RowBudget::default();
        let first = budget.0;
        budget.learn(1_000, Duration::from_millis(5));
        assert_eq!(budget.0, first, "an epoch that was not full says nothing");
        budget.learn(first, Duration::from_millis(50));
        assert_eq!(budget.0, first * 2);
        budget.learn(first * 2, Duration::from_millis(400));
        assert_eq!(budget.0, first);
        budget.learn(10, Duration::from_secs(5));
        assert_eq!(budget.0, EPOCH_ROWS_MIN, "a slow disk does not starve the sources");
    }
}
