//! Made-up "email opened" events, out of order, some late, some garbage; and what must become of them, told without the database.

use std::collections::BTreeMap;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// Milliseconds of a window.
const WINDOW_MS: i64 = 60_000;

/// Window start in microseconds, email.
pub type Key = (i64, i64);
/// Opens, distinct readers, sum, least and greatest of the subscribers.
pub type Counts = (i64, i64, i64, i64, i64);

/// Window start in microseconds, email, subscriber.
pub type Row = (i64, i64, i64);

/// So many events come before the first late one. Once they are read and kept there is a watermark, whatever dies later.
pub const FIRST_EVENTS: usize = 1_000;

/// One record of the topic.
pub enum Event {
    /// A late one belongs to a window that was closed before it was written.
    Opened {
        email_id: i64,
        subscriber_id: i64,
        opened_at_ms: i64,
        is_late: bool,
    },
    Garbage(&'static str),
}

impl Event {
    /// The record's bytes.
    pub fn text(&self) -> String {
        match self {
            Event::Opened { email_id, subscriber_id, opened_at_ms, .. } => {
                format!("{{\"email_id\":{email_id},\"subscriber_id\":{subscriber_id},\"opened_at\":{opened_at_ms},\"client\":\"mail\"}}")
            }
            Event::Garbage(text) => (*text).to_owned(),
        }
    }
}

/// `count` events that end at `until_ms`, 10 ms apart: up to 30 s out of order, one in 100 very late, one in 500 not to be read.
///
/// The watermark is a minute behind the newest event of the partition that is furthest behind. So events 30 s out of order are never late. The very
/// late ones are dated two hours before the first event: they are late whenever there is a watermark, that is after [`FIRST_EVENTS`].
pub fn events(count: u64, until_ms: i64, seed: u64) -> Vec<Event> {
    let mut random = SmallRng::seed_from_u64(seed);
    let at_ms = |n: u64| until_ms - i64::try_from(count - n).expect("few events") * 10;
    let mut event = |n: u64| {
        if n % 500 == 7 {
            let texts =
                ["no json", "{\"email_id\":", "{\"email_id\":1,\"subscriber_id\":\"x\",\"opened_at\":0}", "{\"subscriber_id\":1}", "[]"];
            return Event::Garbage(texts[random.random_range(0..texts.len())]);
        }
        let is_late = random.random_range(0..100) == 0 && n >= FIRST_EVENTS as u64;
        let opened_at_ms = if is_late { at_ms(0) - 7_200_000 } else { at_ms(n) } - random.random_range(0..30_000);
        Event::Opened { email_id: random.random_range(0..50), subscriber_id: random.random_range(0..1000), opened_at_ms, is_late }
    };
    (0..count).map(&mut event).collect()
}

/// How many records cannot be read.
pub fn garbage(events: &[Event]) -> i64 {
    i64::try_from(events.iter().filter(|e| matches!(e, Event::Garbage(_))).count()).expect("few events")
}

/// How many of each row the readable events make, the late ones or the others.
fn rows(events: &[Event], late: bool) -> BTreeMap<Row, i64> {
    let mut rows = BTreeMap::new();
    for event in events {
        if let Event::Opened { email_id, subscriber_id, opened_at_ms, is_late } = event
            && *is_late == late
        {
            let window = opened_at_ms.div_euclid(WINDOW_MS) * WINDOW_MS * 1000;
            *rows.entry((window, *email_id, *subscriber_id)).or_default() += 1;
        }
    }
    rows
}

/// The rows that must be refused as late.
pub fn late(events: &[Event]) -> BTreeMap<Row, i64> {
    rows(events, true)
}

/// The batch answer over all readable events but the late ones.
pub fn answer(events: &[Event]) -> BTreeMap<Key, Counts> {
    let mut answer: BTreeMap<Key, Counts> = BTreeMap::new();
    for ((window, email, subscriber), count) in rows(events, false) {
        let counts = answer.entry((window, email)).or_insert((0, 0, 0, i64::MAX, i64::MIN));
        counts.0 += count;
        counts.1 += 1;
        counts.2 += subscriber * count;
        counts.3 = counts.3.min(subscriber);
        counts.4 = counts.4.max(subscriber);
    }
    answer
}
