//! The ages of events at the moment when they became visible.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// When each event was given to the producer, in microseconds of the common clock; event `n` goes to partition `n % partitions`.
pub type Sent = Arc<Vec<AtomicU64>>;

/// What the client saw.
pub struct Ages {
    /// Of each partition, the number of the next event that is not visible yet.
    next: Vec<usize>,
    total: usize,
    first_counted: usize,
    ages: Vec<Duration>,
    answers: Vec<Duration>,
}

impl Ages {
    /// Nothing seen yet of `total` events; those before `first_counted` are warm-up.
    pub fn new(partitions: usize, total: usize, first_counted: usize) -> Self {
        Self { next: (0..partitions).collect(), total, first_counted, ages: Vec::new(), answers: Vec::new() }
    }

    /// A question took so long.
    pub fn asked(&mut self, took: Duration) {
        self.answers.push(took);
    }

    /// At `now`, everything up to event `number` of a partition is visible.
    pub fn visible(&mut self, partition: usize, number: u64, now: Duration, sent: &Sent) {
        let partitions = self.next.len();
        while self.next[partition] <= usize::try_from(number).unwrap_or(usize::MAX) && self.next[partition] < self.total {
            let event = self.next[partition];
            if event >= self.first_counted {
                self.ages.push(now.saturating_sub(Duration::from_micros(sent[event].load(Ordering::SeqCst))));
            }
            self.next[partition] += partitions;
        }
    }

    /// True once every event was seen.
    pub fn complete(&self) -> bool {
        self.next.iter().all(|next| *next >= self.total)
    }

    /// One line about the events, one about the questions.
    pub fn print(mut self) {
        line("age of an event when seen", &mut self.ages);
        line("answer to the client", &mut self.answers);
    }
}

fn line(what: &str, times: &mut [Duration]) {
    times.sort_unstable();
    let at = |permille: usize| times.get((times.len() * permille / 1000).min(times.len().saturating_sub(1))).copied().unwrap_or_default();
    let ms = |time: Duration| format!("{:.1}", time.as_secs_f64() * 1000.0);
    let (median, p90, p99, most) = (ms(at(500)), ms(at(900)), ms(at(990)), ms(at(1000)));
    println!("{what:<26} median {median} ms, p90 {p90} ms, p99 {p99} ms, most {most} ms ({} of them)", times.len());
}
