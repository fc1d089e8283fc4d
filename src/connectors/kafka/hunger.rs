//! Tells a reader that gets nothing because there is nothing from one whose client has lost its brokers for good.
//!
//! A librdkafka client that is told by a starting cluster "here are your topics, there are no brokers" forgets every broker that it knew, those
//! of its configuration too, and never connects again (confluentinc/librdkafka#5301). Nothing says so: the client is silent. So silence is
//! checked against the brokers by another client, and a client that misses what is there is replaced.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};

/// Looks without a record before the brokers are asked whether there are any: longer than one request may take (`socket.timeout.ms`).
const QUIET_LOOKS_MAX: u32 = 20;
/// The same after brokers were out of reach.
const QUIET_LOOKS_AFTER_TROUBLE_MAX: u32 = 3;
/// Polls between two looks that show a reader which is not held back by a full queue.
const POLLS_MIN: u64 = 10;

/// How far a reader is, told by it after every poll.
#[derive(Debug, Default)]
pub(super) struct Progress {
    polls: AtomicU64,
    next: Mutex<BTreeMap<i32, i64>>,
}

impl Progress {
    /// The reader asked for records.
    pub(super) fn polled(&self) {
        self.polls.fetch_add(1, Ordering::Relaxed);
    }

    /// The next offset of each partition is now so.
    pub(super) fn moved(&self, next: impl Iterator<Item = (i32, i64)>) {
        self.next.lock().unwrap_or_else(PoisonError::into_inner).extend(next);
    }

    fn now(&self) -> (u64, BTreeMap<i32, i64>) {
        (self.polls.load(Ordering::Relaxed), self.next.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

/// Counts the looks at which a reader had got nothing.
#[derive(Debug, Default)]
pub(super) struct Hunger {
    polls: u64,
    next: BTreeMap<i32, i64>,
    quiet_looks: u32,
    /// There were records at the last look too.
    suspected: bool,
    troubled: bool,
}

impl Hunger {
    /// Brokers were out of reach: what is silent from now on is soon suspected.
    pub(super) fn trouble(&mut self) {
        self.troubled = true;
    }

    /// One look at a reader. Returns its positions if it has been silent so long that the partitions' ends are to be compared with them.
    pub(super) fn look(&mut self, progress: &Progress) -> Option<&BTreeMap<i32, i64>> {
        let (polls, next) = progress.now();
        let asks = polls >= self.polls + POLLS_MIN;
        if next != self.next {
            *self = Self { polls, next, ..Self::default() };
        } else if asks {
            (self.polls, self.quiet_looks) = (polls, self.quiet_looks + 1);
        } else {
            (self.polls, self.quiet_looks, self.suspected) = (polls, 0, false);
        }
        let most = if self.troubled { QUIET_LOOKS_AFTER_TROUBLE_MAX } else { QUIET_LOOKS_MAX };
        (self.quiet_looks >= most).then_some(&self.next)
    }

    /// The brokers' answer to [`Hunger::look`]. True if the reader misses what is there: at two looks, for a record may have come just now.
    pub(super) fn is_starving(&mut self, is_behind: bool) -> bool {
        let starving = is_behind && self.suspected;
        self.suspected = is_behind;
        if !is_behind {
            (self.quiet_looks, self.troubled) = (0, false);
        }
        starving
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn polls(progress: &Progress, count: u64) {
        (0..count).for_each(|_| progress.polled());
    }

    /// Looks until the ends are asked for; how many that took.
    fn looks(hunger: &mut Hunger, progress: &Progress) -> u32 {
        (1..100)
            .find(|_| {
                polls(progress, 50);
                hunger.look(progress).is_some()
            })
            .unwrap_or(0)
    }

    #[test]
    fn a_silent_reader_is_checked_and_starves_only_if_records_are_there_twice() {
        let (progress, mut hunger) = (Progress::default(), Hunger::default());
        progress.moved([(0, 5)].into_iter());
        polls(&progress, 50);
        assert!(hunger.look(&progress).is_none(), "it moved");
        assert_eq!(looks(&mut hunger, &progress), QUIET_LOOKS_MAX);
        assert!(!hunger.is_starving(false), "nothing is there");
        hunger.trouble();
        assert_eq!(looks(&mut hunger, &progress), QUIET_LOOKS_AFTER_TROUBLE_MAX);
        assert!(!hunger.is_starving(true), "it may have come just now");
        assert_eq!(looks(&mut hunger, &progress), 1, "the next look tells");
        assert!(hunger.is_starving(true));
    }

    #[test]
    fn a_reader_that_moves_or_is_held_back_does_not_starve() {
        let (progress, mut hunger) = (Progress::default(), Hunger::default());
        hunger.trouble();
        looks(&mut hunger, &progress);
        assert!(!hunger.is_starving(true));
        progress.moved([(1, 7)].into_iter());
        polls(&progress, 50);
        assert!(hunger.look(&progress).is_none());
        assert!(!hunger.suspected);
        let held_back = (0..100).all(|_| {
            polls(&progress, 2);
            hunger.look(&progress).is_none()
        });
        assert!(held_back, "two polls between two looks: its queue is full");
    }
}
