//! Event time of a stream: one clock per partition, combined by least into a watermark that never goes back.

use arrow::array::{Array, BooleanArray, RecordBatch, TimestampMicrosecondArray};
use arrow::compute;
use headwater_types::{Error, Micros, Result};
use serde::{Deserialize, Serialize};

use crate::EventTime;

/// Event time that follows the clock does so this often: windows close so much later at most.
const FOLLOW_EVERY_US: Micros = 1_000_000;

/// What event time knows of one partition.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct PartitionClock {
    /// The greatest event time seen.
    pub max_seen: Option<Micros>,
    /// It gives nothing more, ever.
    pub closed: bool,
    /// It was read to its end and nothing came since.
    #[serde(skip)]
    pub at_end: bool,
    /// Epoch time when something last came, or when it was found.
    #[serde(skip)]
    pub active_at: Micros,
}

impl PartitionClock {
    /// Set aside: at its end and silent for the idle time-out.
    pub fn is_idle(&self, event_time: &EventTime, now: Micros) -> bool {
        self.at_end && event_time.idle_timeout_us.is_some_and(|timeout| now >= self.active_at.saturating_add(timeout))
    }
}

/// The watermark of a stream from its partitions' clocks: the least of those that are neither closed nor idle, or `before` where that is greater
/// or where one of them has not spoken.
pub(crate) fn watermark<'a>(
    event_time: &EventTime,
    clocks: impl Iterator<Item = &'a PartitionClock>,
    now: Micros,
    before: Option<Micros>,
) -> Option<Micros> {
    let (mut least, mut speaking, mut idle) = (Some(Micros::MAX), 0, 0);
    for clock in clocks.filter(|c| !c.closed) {
        if clock.is_idle(event_time, now) {
            idle += 1;
            continue;
        }
        speaking += 1;
        least = least.and_then(|l| Some(l.min(clock.max_seen?)));
    }
    let reached = match (speaking, idle) {
        (0, 0) => None,
        (0, _) if event_time.advance_when_idle => Some(now),
        (0, _) => None,
        _ => least,
    };
    reached.map(|at| at.saturating_sub(event_time.delay_us)).max(before)
}

/// When event time moves on next without input, if it does: a partition becomes idle, or all are and it follows the clock.
pub(crate) fn idle_due<'a>(event_time: &EventTime, clocks: impl Iterator<Item = &'a PartitionClock>, now: Micros) -> Option<Micros> {
    let timeout = event_time.idle_timeout_us?;
    let open: Vec<&PartitionClock> = clocks.filter(|c| !c.closed).collect();
    if event_time.advance_when_idle && !open.is_empty() && open.iter().all(|c| c.is_idle(event_time, now)) {
        return Some(now - now.rem_euclid(FOLLOW_EVERY_US) + FOLLOW_EVERY_US);
    }
    open.iter().filter(|c| c.at_end).map(|c| c.active_at.saturating_add(timeout)).filter(|at| *at > now).min()
}

/// Rows that are not taken, and why.
#[derive(Debug, Clone)]
pub struct Refused {
    /// The rows.
    pub rows: RecordBatch,
    /// For a person.
    pub reason: String,
}

/// A batch sorted by whether its event times may count.
#[derive(Debug)]
pub struct Dated {
    /// Rows with a usable event time.
    pub rows: RecordBatch,
    /// The greatest of them.
    pub max_seen: Option<Micros>,
    /// Rows that move nothing.
    pub refused: Vec<Refused>,
}

impl EventTime {
    /// Takes out of `rows` those without an event time and those dated more than `max_ahead` beyond `now`.
    ///
    /// # Errors
    /// The event time column is no timestamp in microseconds.
    pub fn date(&self, rows: RecordBatch, now: Micros) -> Result<Dated> {
        let column = rows.column(self.column).clone();
        let times = column.as_any().downcast_ref::<TimestampMicrosecondArray>();
        let times = times.ok_or_else(|| Error::bug("an event time column is a timestamp in microseconds"))?;
        let limit = now.saturating_add(self.max_ahead_us);
        let max_seen = compute::max(times);
        if times.null_count() == 0 && max_seen.is_none_or(|m| m <= limit) {
            return Ok(Dated { rows, max_seen, refused: Vec::new() });
        }
        let usable: BooleanArray = times.iter().map(|t| Some(t.is_some_and(|t| t <= limit))).collect();
        let missing = compute::is_null(times)?;
        let ahead: BooleanArray = times.iter().map(|t| Some(t.is_some_and(|t| t > limit))).collect();
        let name = rows.schema().field(self.column).name().clone();
        let mut refused = Vec::new();
        for (which, reason) in [
            (missing, format!("event time \"{name}\" is NULL")),
            (ahead, format!("event time \"{name}\" is more than watermark.max_ahead beyond the clock")),
        ] {
            if which.true_count() > 0 {
                refused.push(Refused { rows: compute::filter_record_batch(&rows, &which)?, reason });
            }
        }
        let max_seen = usable.iter().zip(times).filter(|(usable, _)| *usable == Some(true)).filter_map(|(_, time)| time).max();
        Ok(Dated { rows: compute::filter_record_batch(&rows, &usable)?, max_seen, refused })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENT_TIME: EventTime =
        EventTime { column: 0, delay_us: 10, idle_timeout_us: Some(100), max_ahead_us: 1_000, advance_when_idle: false };

    fn clock(max_seen: Option<Micros>, at_end: bool, active_at: Micros) -> PartitionClock {
        PartitionClock { max_seen, at_end, active_at, closed: false }
    }

    #[test]
    fn least_of_the_speaking_partitions() {
        let clocks = [clock(Some(500), false, 0), clock(Some(300), false, 0)];
        assert_eq!(watermark(&EVENT_TIME, clocks.iter(), 0, None), Some(290));
    }

    #[test]
    fn a_silent_partition_holds_until_it_is_idle() {
        let clocks = [clock(Some(500), false, 0), clock(None, true, 50)];
        assert_eq!(watermark(&EVENT_TIME, clocks.iter(), 149, Some(7)), Some(7));
        assert_eq!(watermark(&EVENT_TIME, clocks.iter(), 150, Some(7)), Some(490));
        assert_eq!(idle_due(&EVENT_TIME, clocks.iter(), 60), Some(150));
    }

    #[test]
    fn never_back_and_all_idle_holds() {
        let clocks = [clock(Some(500), true, 0)];
        assert_eq!(watermark(&EVENT_TIME, clocks.iter(), 1_000, Some(495)), Some(495));
        let advance = EventTime { advance_when_idle: true, ..EVENT_TIME };
        assert_eq!(watermark(&advance, clocks.iter(), 1_000, Some(495)), Some(990));
        assert_eq!(idle_due(&EVENT_TIME, clocks.iter(), 1_000), None, "held: nothing more happens by itself");
        assert_eq!(idle_due(&advance, clocks.iter(), 1_500_000), Some(2_000_000), "it follows the clock");
        let speaking = [clock(Some(500), true, 0), clock(Some(500), false, 0)];
        assert_eq!(idle_due(&advance, speaking.iter(), 1_500_000), None);
    }
}
