//! Who is connected, so that a client can cancel what runs in another of its connections.

use headwater::CancelHandle;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::watch;

/// Ends what a connection is doing: its statement, and the rows that it is sending.
#[derive(Clone)]
pub struct Interrupt {
    session: CancelHandle,
    rows: Arc<watch::Sender<u64>>,
}

impl Interrupt {
    /// For the session behind `session`.
    #[must_use]
    pub fn new(session: CancelHandle) -> Self {
        Self { session, rows: Arc::new(watch::channel(0).0) }
    }

    /// Ends the running statement; nothing happens where none runs.
    pub fn cancel(&self) {
        self.session.cancel();
        self.rows.send_modify(|count| *count += 1);
    }

    /// Changes at every [`Interrupt::cancel`] from now on.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<u64> {
        let mut receiver = self.rows.subscribe();
        receiver.mark_unchanged();
        receiver
    }
}

/// All connections of a server, by the number of the session, which the client was given.
#[derive(Clone, Default)]
pub struct Connections {
    inside: Arc<Mutex<Numbered>>,
}

/// What a request to cancel must know, and what it ends, by number.
type Numbered = HashMap<i32, ([u8; 4], Interrupt)>;

/// A connection's entry; it goes when this is dropped.
pub struct Registered {
    connections: Connections,
    /// The number of the connection.
    pub number: i32,
    /// What a request to cancel must know.
    pub secret: [u8; 4],
}

impl Connections {
    /// Adds the connection whose session is `number`, with a secret of its own.
    #[must_use]
    pub fn register(&self, number: i32, interrupt: Interrupt) -> Registered {
        let random = uuid::Uuid::new_v4().into_bytes();
        // Bytes 0 to 3 of a random UUID are all random.
        let secret = [random[0], random[1], random[2], random[3]];
        self.inside.lock().insert(number, (secret, interrupt));
        Registered { connections: self.clone(), number, secret }
    }

    /// Cancels what connection `number` does, if `secret` is its own.
    pub fn cancel(&self, number: i32, secret: &[u8]) {
        let interrupt = match self.inside.lock().get(&number) {
            Some((own, interrupt)) if own.as_slice() == secret => Some(interrupt.clone()),
            _ => None,
        };
        if let Some(interrupt) = interrupt {
            interrupt.cancel();
        }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.connections.inside.lock().remove(&self.number);
    }
}
