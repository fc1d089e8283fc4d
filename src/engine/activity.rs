//! What each session does at the moment, for headwater.sessions and pg_stat_activity.

use std::collections::BTreeMap;
use std::sync::Arc;

use headwater_types::{Clock, Micros};
use parking_lot::Mutex;

use crate::system::SessionStatus;

/// So much of a statement's text is shown.
const STATEMENT_CHARS_MAX: usize = 1_024;

/// The open sessions of a database, by number.
#[derive(Default)]
pub(crate) struct Sessions(Mutex<Numbered>);

#[derive(Default)]
struct Numbered {
    last: i32,
    open: BTreeMap<i32, Arc<Mutex<Entry>>>,
}

struct Entry {
    status: SessionStatus,
    /// Counts the statements, so that the end of one does not end what is shown of the next.
    statement: u64,
}

impl Sessions {
    /// How all of them stand.
    pub fn list(&self) -> Vec<SessionStatus> {
        self.0.lock().open.values().map(|entry| entry.lock().status.clone()).collect()
    }

    /// Adds a session of `user` under a number of its own.
    pub fn enter(self: &Arc<Self>, user: &str, clock: Arc<dyn Clock>) -> Activity {
        let mut numbered = self.0.lock();
        numbered.last = numbered.last.wrapping_add(1).max(1);
        let status = SessionStatus {
            pid: numbered.last,
            user: user.to_owned(),
            application: String::new(),
            client: None,
            state: "idle",
            statement: String::new(),
            connected_at_us: clock.now(),
            statement_at_us: None,
        };
        let (pid, entry) = (numbered.last, Arc::new(Mutex::new(Entry { status, statement: 0 })));
        numbered.open.insert(pid, entry.clone());
        Activity { pid, entry, sessions: self.clone(), clock }
    }
}

/// A session's place among the others; it goes when this is dropped.
pub(crate) struct Activity {
    /// Its number.
    pub pid: i32,
    entry: Arc<Mutex<Entry>>,
    sessions: Arc<Sessions>,
    clock: Arc<dyn Clock>,
}

impl Activity {
    /// Who speaks: the client's address and port.
    pub fn set_client(&self, client: String) {
        self.entry.lock().status.client = Some(client);
    }

    /// A statement begins; it ends when what is returned is dropped.
    pub fn begin(&self, text: &str) -> Running {
        let now: Micros = self.clock.now();
        let mut entry = self.entry.lock();
        entry.statement += 1;
        entry.status.state = "active";
        entry.status.statement = text.chars().take(STATEMENT_CHARS_MAX).collect();
        entry.status.statement_at_us = Some(now);
        Running { entry: self.entry.clone(), statement: entry.statement, then: "idle" }
    }

    /// The name that the client's program gave itself.
    pub fn set_application(&self, name: &str) {
        let mut entry = self.entry.lock();
        if entry.status.application != name {
            name.clone_into(&mut entry.status.application);
        }
    }
}

impl Drop for Activity {
    fn drop(&mut self) {
        self.sessions.0.lock().open.remove(&self.pid);
    }
}

/// A statement that runs, or whose rows are still being read.
pub(crate) struct Running {
    entry: Arc<Mutex<Entry>>,
    statement: u64,
    then: &'static str,
}

impl Running {
    /// In which state it leaves the session.
    pub fn leaves(&mut self, state: &'static str) {
        self.then = state;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut entry = self.entry.lock();
        if entry.statement == self.statement {
            entry.status.state = self.then;
        }
    }
}
