//! The server: a listening socket, a task for each client.

use crate::cancel::Connections;
use crate::connection::serve_client;
use headwater::{Database, Error, Result};
use std::future::Future;
use std::net::SocketAddr;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// Listens on `address`, for [`serve`]. Port 0 takes a free one.
///
/// # Errors
/// `Invalid` for an address that other machines can reach, since there is no authentication yet: see [`bind_open`]; `External` where the
/// address is taken.
pub async fn bind(address: SocketAddr) -> Result<TcpListener> {
    if !address.ip().is_loopback() {
        let error =
            Error::invalid(format!("refusing to listen on {address}: other machines could connect, and there is no authentication"));
        return Err(
            error.with_hint("Listen on 127.0.0.1 behind a tunnel or a proxy with authentication; with --insecure it listens all the same.")
        );
    }
    bind_open(address).await
}

/// The same for any address: whoever can reach it can read and write everything.
///
/// # Errors
/// `External` where the address is taken.
pub async fn bind_open(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|e| Error::external(format!("cannot listen on {address}: {e}")))
}

/// Answers Postgres clients until the future is dropped, which cuts all of them off.
///
/// # Errors
/// `External` if the socket itself fails; a client's troubles end only its own connection.
pub async fn serve(database: Database, listener: TcpListener) -> Result<()> {
    serve_until(database, listener, std::future::pending()).await
}

/// Answers Postgres clients until `shutdown` is ready.
///
/// # Errors
/// As [`serve`].
pub async fn serve_until(database: Database, listener: TcpListener, shutdown: impl Future<Output = ()>) -> Result<()> {
    let connections = Connections::default();
    let mut clients = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => return Ok(()),
            accepted = listener.accept() => match accepted {
                Ok((socket, _)) => drop(clients.spawn(serve_client(socket, database.clone(), connections.clone()))),
                // A client that left before it was accepted, or a moment without free descriptors: neither is the listener's end.
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
            },
            // A task that has ended is done with, however it ended: its panics were told to its client.
            Some(_) = clients.join_next() => {}
        }
    }
}
