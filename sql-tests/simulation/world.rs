//! The world outside of the simulated database: a replayable log of events, targets of sinks, and the failures it has in store.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use headwater_connectors::Mark;

/// What is sent: a row, or bytes that are none.
#[derive(Debug, Clone)]
pub enum Event {
    Row {
        id: i64,
        key: i32,
        n: i64,
        /// Event time in microseconds since 1970.
        at: i64,
    },
    Garbage,
}

/// A sink's target.
#[derive(Debug, Default, Clone)]
pub struct Target {
    pub mark: Option<Mark>,
    /// Rows as text with how often each is there; an upsert target is a set.
    pub rows: BTreeMap<String, i64>,
    pub deliveries: usize,
}

/// Everything outside, behind one lock.
#[derive(Debug, Default)]
pub struct State {
    pub partitions: Vec<Vec<Event>>,
    pub targets: BTreeMap<String, Target>,
    /// Deliveries that fail before anything of them is written.
    pub fail_before: usize,
    /// Deliveries that are written, but whose answer is lost.
    pub fail_after: usize,
    /// Polls that fail.
    pub fail_polls: usize,
    /// What no sink may see: a delivery that does not fit on what the target holds.
    pub violations: Vec<String>,
}

/// The world, shared by its connector, its readers and sinks, and the test.
#[derive(Debug, Default)]
pub struct World {
    state: Mutex<State>,
    grown: Condvar,
}

impl World {
    /// A world with `partitions` empty partitions.
    pub fn new(partitions: usize) -> Arc<Self> {
        let state = State { partitions: vec![Vec::new(); partitions], ..State::default() };
        Arc::new(Self { state: Mutex::new(state), grown: Condvar::new() })
    }

    /// The state, to read or change.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no one panics with the world in hand")
    }

    /// Appends `event` to a partition and wakes the readers.
    pub fn send(&self, partition: usize, event: Event) {
        self.state().partitions[partition].push(event);
        self.grown.notify_all();
    }

    /// Waits until something is sent or `wait` has passed.
    pub fn wait(&self, wait: Duration) {
        let (_state, _timed_out) = self.grown.wait_timeout(self.state(), wait).expect("no one panics with the world in hand");
    }
}
