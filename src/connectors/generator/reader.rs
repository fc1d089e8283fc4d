//! The reader that all generators share: splits, positions, the rate, and when it is done.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use headwater_types::{BATCH_ROWS_MAX, Clock, Micros, Result};

use super::datagen_rows::DatagenRows;
use super::nexmark_rows::NexmarkRows;
use super::plan::{Plan, Range, position, read_position};
use crate::pause::pause;
use crate::{Partition, Positions, Reject, Source, SourceBatch, SourceEvent};

/// A rated generator hands out what is due this often, so that a high rate does not make tiny batches.
const TICK: Duration = Duration::from_millis(10);

/// What makes the rows.
pub(super) enum Rows {
    Nexmark(NexmarkRows),
    Datagen(DatagenRows),
}

struct Split {
    partition: Partition,
    number: u64,
    made: u64,
    base: Micros,
    /// Rows made before this reader was opened: the rate counts from there.
    resumed_at: u64,
    total: Option<u64>,
    /// It stops at so many rows; what is before them exists, whatever the rate.
    upto: Option<u64>,
    is_new: bool,
    is_at_end: bool,
    is_closed: bool,
}

/// Reads some of a generator's splits.
pub(super) struct Reader {
    rows: Arc<Rows>,
    plan: Plan,
    clock: Arc<dyn Clock>,
    opened: Duration,
    splits: Vec<Split>,
    flushes: Vec<(u64, Vec<u64>)>,
    is_finished: bool,
}

/// Opens at most `readers_max` readers that share the splits of `plan`.
pub(super) fn open(
    rows: Rows,
    plan: &Plan,
    positions: &Positions,
    readers_max: usize,
    clock: &Arc<dyn Clock>,
) -> Result<Vec<Box<dyn Source>>> {
    let rows = Arc::new(rows);
    let readers = u64::try_from(readers_max.max(1)).unwrap_or(u64::MAX).min(plan.splits);
    let base = clock.now();
    let split = |number: u64| {
        let partition = Partition::from(number.to_string());
        let known = positions.get(&partition);
        let (made, base) = known.map_or(Ok((0, base)), read_position)?;
        let total = plan.rows_of(number);
        Ok(Split {
            partition,
            number,
            made,
            base,
            resumed_at: made,
            total,
            upto: None,
            is_new: known.is_none(),
            is_at_end: false,
            is_closed: false,
        })
    };
    let reader = |reader: u64| {
        let splits = (reader..plan.splits).step_by(usize::try_from(readers).unwrap_or(usize::MAX)).map(split);
        let (plan, clock, opened) = (plan.clone(), Arc::clone(clock), clock.elapsed());
        let rows = Arc::clone(&rows);
        Ok(Box::new(Reader { rows, plan, clock, opened, splits: splits.collect::<Result<_>>()?, flushes: Vec::new(), is_finished: false })
            as Box<dyn Source>)
    };
    (0..readers).map(reader).collect()
}

impl Reader {
    /// Rows of `split` that should exist by now.
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate is no exact science")]
    fn due(&self, split: &Split) -> u64 {
        let total = split.total.unwrap_or(u64::MAX);
        if let Some(upto) = split.upto {
            return total.min(upto);
        }
        match self.plan.rate {
            None => total,
            Some(rate) => {
                let ticks = (self.clock.elapsed() - self.opened).as_millis() / TICK.as_millis();
                let seconds = ticks as f64 * TICK.as_secs_f64();
                // The split's first row is due at once.
                total.min(split.resumed_at + 1 + (seconds * rate / self.plan.splits as f64) as u64)
            }
        }
    }

    /// How long until the next tick at which a row is due.
    #[allow(clippy::cast_precision_loss, reason = "a rate is no exact science")]
    fn until_due(&self) -> Duration {
        let each = self.plan.rate.map_or(Duration::ZERO, |rate| Duration::from_secs_f64((self.plan.splits as f64 / rate).min(3_600.0)));
        let since = self.clock.elapsed() - self.opened;
        let open = self.splits.iter().filter(|s| !s.is_closed);
        let next = open.map(|s| (each.mul_f64((s.made - s.resumed_at) as f64)).saturating_sub(since)).min();
        next.unwrap_or(Duration::ZERO).max(TICK)
    }

    /// One batch of the split at `at`, if one is due.
    fn make(&mut self, at: usize, events: &mut Vec<SourceEvent>) -> Result<()> {
        let due = self.due(&self.splits[at]);
        let splits = self.plan.splits;
        let split = &mut self.splits[at];
        let count = usize::try_from(due - split.made.min(due)).unwrap_or(usize::MAX).min(BATCH_ROWS_MAX);
        if count > 0 {
            let range = Range { first: split.number + split.made * splits, step: splits, count };
            let (rows, rejects) = self.rows.make(range, split.base)?;
            split.made += count as u64;
            split.is_at_end = false;
            let lag = self.plan.rate.is_some() || split.total.is_some();
            let lag = lag.then(|| due.saturating_sub(split.made));
            let next = position(split.made, split.base);
            events.push(SourceEvent::Rows(SourceBatch { partition: split.partition.clone(), rows, rejects, next, lag }));
        }
        if split.made == due && !split.is_at_end && split.upto.is_none() {
            split.is_at_end = true;
            events.push(SourceEvent::AtEnd(split.partition.clone()));
        }
        if split.total.is_some_and(|total| split.made >= total) {
            split.is_closed = true;
            events.push(SourceEvent::Closed(split.partition.clone()));
        }
        Ok(())
    }

    fn answer_flushes(&mut self, events: &mut Vec<SourceEvent>) {
        let splits = &self.splits;
        if splits.iter().any(|s| s.upto.is_some()) {
            return;
        }
        self.flushes.retain(|(token, ends)| {
            let is_told = splits.iter().zip(ends).all(|(split, end)| split.made >= *end);
            if is_told {
                events.push(SourceEvent::Flushed(*token));
            }
            !is_told
        });
    }
}

impl Source for Reader {
    fn poll(&mut self, wait: Duration, events: &mut Vec<SourceEvent>) -> Result<()> {
        if self.is_finished {
            self.answer_flushes(events);
            pause(wait);
            return Ok(());
        }
        let before = events.len();
        for split in self.splits.iter_mut().filter(|s| s.is_new) {
            split.is_new = false;
            events.push(SourceEvent::Found(split.partition.clone(), position(split.made, split.base)));
        }
        for at in 0..self.splits.len() {
            if !self.splits[at].is_closed {
                self.make(at, events)?;
            }
        }
        self.answer_flushes(events);
        if self.splits.iter().all(|s| s.is_closed) {
            self.is_finished = true;
            events.push(SourceEvent::Finished);
        }
        if events.len() == before {
            pause(wait.min(self.until_due()));
        }
        Ok(())
    }

    fn flush(&mut self, token: u64) -> Result<()> {
        // Without a rate all rows of a bounded stream exist at once, and of an endless one those that were made.
        let end = |s: &Split| if self.plan.rate.is_none() && s.total.is_none() { s.made } else { self.due(s) };
        self.flushes.push((token, self.splits.iter().map(end).collect()));
        Ok(())
    }

    fn stop_at(&mut self, upto: &Positions) -> Result<()> {
        for split in &mut self.splits {
            let known = upto.get(&split.partition).map(read_position).transpose()?;
            split.upto = Some(known.map_or(split.made, |(made, _)| made));
        }
        Ok(())
    }
}

impl Rows {
    fn make(&self, range: Range, base: Micros) -> Result<(RecordBatch, Vec<Reject>)> {
        match self {
            Rows::Nexmark(rows) => Ok((rows.make(range)?, Vec::new())),
            Rows::Datagen(rows) => rows.make(range, base),
        }
    }
}
