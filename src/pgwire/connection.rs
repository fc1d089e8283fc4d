//! One client from its first message to its last: reads, lets the session do it, answers.

use crate::cancel::{Connections, Interrupt};
use crate::extended::{Portal, PreparedStatement};
use crate::startup;
use crate::wire::{Step, Stop, Wire};
use futures::FutureExt;
use headwater::{BlockState, Database, Error, Session};
use pgwire::messages::PgWireFrontendMessage;
use pgwire::messages::response::{ReadyForQuery, TransactionStatus};
use std::collections::HashMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;
use tokio::net::TcpStream;

/// A client that has not said who it is after so long is cut off.
const STARTUP_TIMEOUT: Duration = Duration::from_secs(60);

/// A client with its session.
pub struct Connection {
    pub wire: Wire,
    pub session: Session,
    pub interrupt: Interrupt,
    /// By name; the unnamed one under the empty name.
    pub statements: HashMap<String, PreparedStatement>,
    /// As [`Connection::statements`].
    pub portals: HashMap<String, Portal>,
    /// After an error in the extended protocol, everything up to the next Sync is passed over.
    pub skips_to_sync: bool,
}

/// Serves the client behind `socket` until it leaves. Whatever goes wrong ends this connection only.
pub async fn serve_client(socket: TcpStream, database: Database, connections: Connections) {
    // Small answers must not wait for more; a socket that cannot do this still works.
    let _ = socket.set_nodelay(true);
    let mut wire = Wire::new(socket);
    let begun = match tokio::time::timeout(STARTUP_TIMEOUT, startup::begin(&mut wire, &database, &connections)).await {
        Ok(Ok(Some(mut begun))) => {
            begun.session.tell_notices_to(wire.notices());
            begun
        }
        Ok(Err(Stop::Fatal(error) | Stop::Failed(error))) => return say_goodbye(&mut wire, &error).await,
        Ok(Ok(None) | Err(Stop::Gone)) | Err(_) => return,
    };
    let mut connection = Connection {
        wire,
        session: begun.session,
        interrupt: begun.interrupt,
        statements: HashMap::new(),
        portals: HashMap::new(),
        skips_to_sync: false,
    };
    let end = AssertUnwindSafe(connection.run()).catch_unwind().await;
    match end {
        Ok(Ok(()) | Err(Stop::Gone)) => {}
        Ok(Err(Stop::Fatal(error) | Stop::Failed(error))) => say_goodbye(&mut connection.wire, &error).await,
        Err(panic) => {
            let message = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
            let error = Error::bug(format!("this connection failed: {}", message.unwrap_or("no message")));
            say_goodbye(&mut connection.wire, &error.with_hint("Please report this, with the statement.")).await;
        }
    }
    drop(begun.registered);
}

/// The last message to a client; it may not hear it.
async fn say_goodbye(wire: &mut Wire, error: &Error) {
    if wire.put_error("FATAL", error).is_ok() {
        let _ = wire.flush().await;
    }
}

impl Connection {
    async fn run(&mut self) -> Step {
        loop {
            let Some(message) = self.wire.receive().await? else { return Ok(()) };
            if matches!(message, PgWireFrontendMessage::Terminate(_)) {
                return Ok(());
            }
            if self.skips_to_sync && !matches!(message, PgWireFrontendMessage::Sync(_)) {
                continue;
            }
            let is_simple = matches!(message, PgWireFrontendMessage::Query(_));
            match self.handle(message).await {
                Ok(()) => {}
                Err(Stop::Failed(error)) => {
                    self.session.fail_block();
                    self.wire.put_error("ERROR", &error)?;
                    self.skips_to_sync = !is_simple;
                    if is_simple {
                        self.ready().await?;
                    } else {
                        // The client may wait for it with a Flush, which is passed over from here on like the rest.
                        self.wire.flush().await?;
                    }
                }
                Err(end) => return Err(end),
            }
        }
    }

    /// Does what a message asks: one line an arm.
    async fn handle(&mut self, message: PgWireFrontendMessage) -> Step {
        use PgWireFrontendMessage as M;
        match message {
            M::Query(query) => self.query(&query.query).await,
            M::Parse(parse) => self.parse(parse).await,
            M::Bind(bind) => self.bind(bind),
            M::Describe(describe) => self.describe(&describe),
            M::Execute(execute) => self.execute(&execute).await,
            M::Close(close) => self.close(&close),
            M::Flush(_) => self.wire.flush().await,
            M::Sync(_) => self.sync().await,
            // What is left of a COPY that failed.
            M::CopyData(_) | M::CopyDone(_) | M::CopyFail(_) => Ok(()),
            other => Err(Stop::Fatal(Error::invalid(format!("unexpected message {other:?}")).with_sqlstate("08P01"))),
        }
    }

    /// Tells the client that it may go on, and in which state the session is.
    pub async fn ready(&mut self) -> Step {
        let status = match self.session.block_state() {
            BlockState::Idle => TransactionStatus::Idle,
            BlockState::Open => TransactionStatus::Transaction,
            BlockState::Failed => TransactionStatus::Error,
        };
        self.wire.put(&ReadyForQuery::new(status))?;
        self.wire.flush().await
    }
}

/// Waits for `work` of the session, and sends what it has to say. If the client leaves meanwhile, the work is cancelled, and its end awaited: what it wrote is whole or not at all.
pub async fn attended<T>(wire: &mut Wire, interrupt: &Interrupt, work: impl Future<Output = Result<T, Error>>) -> Step<T> {
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            biased;
            result = &mut work => return Ok(result?),
            told = wire.meanwhile() => match told {
                Some(notice) if wire.say(&notice).await.is_ok() => {}
                _ => break,
            },
        }
    }
    interrupt.cancel();
    // Nobody is left to hear the outcome.
    let _ = work.await;
    Err(Stop::Gone)
}
