//! A connection to PostgreSQL, and what its errors mean for whoever retries.

use std::time::Duration;

use headwater_types::{Error, Result};
use tokio::task::JoinSet;
use tokio_postgres::Client;

use super::connector::Settings;
use super::tls;

/// A transaction of ours whose connection is lost is ended by the server after this; another writer's lock is waited for as long.
const SETUP: &str = "SET idle_in_transaction_session_timeout = '60s'; SET lock_timeout = '60s'; SET statement_timeout = 0; \
                     SET TimeZone = 'UTC'; SET synchronous_commit = on";
const CONNECT_WAIT: Duration = Duration::from_secs(10);

/// An open connection. Dropping it closes it; a transaction that was open is rolled back by the server.
pub(super) struct Session {
    pub(super) client: Client,
    /// Drives the connection.
    _driver: JoinSet<()>,
}

impl Session {
    pub(super) async fn connect(settings: &Settings) -> Result<Self> {
        let mut config = settings.config.clone();
        config.application_name("headwater").keepalives_idle(Duration::from_secs(15)).tcp_user_timeout(Duration::from_secs(30));
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_WAIT);
        }
        let tls = tls::connector(config.get_ssl_mode(), settings.root_cert.as_deref())?;
        let (client, connection) = config.connect(tls).await.map_err(|e| failed(&e))?;
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            // What ends the connection fails the statement that waits on it, with the same reason.
            let _reason = connection.await;
        });
        client.batch_execute(SETUP).await.map_err(|e| failed(&e))?;
        Ok(Self { client, _driver: driver })
    }
}

/// What PostgreSQL said, as an error of the right kind: wrong data, rights and tables are the user's to correct, the rest passes.
pub(super) fn failed(error: &tokio_postgres::Error) -> Error {
    let Some(reply) = error.as_db_error() else {
        let reason = std::error::Error::source(error).map(|source| format!(": {source}")).unwrap_or_default();
        return Error::external(format!("postgres: {error}{reason}"));
    };
    let code = reply.code().code();
    let message = format!("postgres: {} ({code})", reply.message());
    let permanent = ["0A", "21", "22", "23", "3D", "3F", "42", "44", "P0"].contains(&&code[..2]);
    let mut out = if permanent { Error::invalid(message) } else { Error::external(message) };
    if let Some(detail) = reply.detail() {
        out = out.with_detail(detail);
    }
    if let Some(hint) = reply.hint() {
        out = out.with_hint(hint);
    }
    out
}
