//! Made-up "email opened" events, out of order, some late, some garbage; and what a batch would make of them.

use std::collections::BTreeMap;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// Milliseconds of a window.
const WINDOW_MS: i64 = 60_000;

/// Window start in microseconds, email.
pub type Key = (i64, i64);
/// Opens, distinct readers, sum, least and greatest of the subscribers.
pub type Counts = (i64, i64, i64, i64, i64);

/// One record of the topic.
pub enum Event {
    Opened { email_id: i64, subscriber_id: i64, opened_at_ms: i64 },
    Garbage(&'static str),
}

impl Event {
    /// The record's bytes.
    pub fn text(&self) -> String {
        match self {
            Event::Opened { email_id, subscriber_id, opened_at_ms } => {
                format!("{{\"email_id\":{email_id},\"subscriber_id\":{subscriber_id},\"opened_at\":{opened_at_ms},\"client\":\"mail\"}}")
            }
            Event::Garbage(text) => (*text).to_owned(),
        }
    }
}

/// `count` events that end at `until_ms`: up to 30 s out of order, one in 100 two hours late, one in 500 not to be read.
pub fn events(count: u64, until_ms: i64, seed: u64) -> Vec<Event> {
    let mut random = SmallRng::seed_from_u64(seed);
    let mut event = |n: u64| {
        if n % 500 == 7 {
            let texts =
                ["no json", "{\"email_id\":", "{\"email_id\":1,\"subscriber_id\":\"x\",\"opened_at\":0}", "{\"subscriber_id\":1}", "[]"];
            return Event::Garbage(texts[random.random_range(0..texts.len())]);
        }
        let back = if random.random_range(0..100) == 0 { 7_200_000 } else { random.random_range(0..30_000) };
        let opened_at_ms = until_ms - i64::try_from(count - n).expect("few events") * 10 - back;
        Event::Opened { email_id: random.random_range(0..50), subscriber_id: random.random_range(0..1000), opened_at_ms }
    };
    (0..count).map(&mut event).collect()
}

/// How many records cannot be read.
pub fn garbage(events: &[Event]) -> i64 {
    i64::try_from(events.iter().filter(|e| matches!(e, Event::Garbage(_))).count()).expect("few events")
}

/// The batch answer over all readable events but the late ones, which are given as (window, email, subscriber) with how many of each.
pub fn answer(events: &[Event], late: &BTreeMap<(i64, i64, i64), i64>) -> BTreeMap<Key, Counts> {
    let mut left: BTreeMap<(i64, i64, i64), i64> = BTreeMap::new();
    for event in events {
        if let Event::Opened { email_id, subscriber_id, opened_at_ms } = event {
            let window = opened_at_ms.div_euclid(WINDOW_MS) * WINDOW_MS * 1000;
            *left.entry((window, *email_id, *subscriber_id)).or_default() += 1;
        }
    }
    for (row, count) in late {
        let here = left.get_mut(row).expect("a late row was produced");
        *here -= count;
        assert!(*here >= 0, "{row:?} is late more often than it was produced");
    }
    let mut answer: BTreeMap<Key, Counts> = BTreeMap::new();
    for ((window, email, subscriber), count) in left.into_iter().filter(|(_, count)| *count > 0) {
        let counts = answer.entry((window, email)).or_insert((0, 0, 0, i64::MAX, i64::MIN));
        counts.0 += count;
        counts.1 += 1;
        counts.2 += subscriber * count;
        counts.3 = counts.3.min(subscriber);
        counts.4 = counts.4.max(subscriber);
    }
    answer
}
