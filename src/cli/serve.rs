//! `headwater serve`: a database behind the Postgres protocol, until it is told to stop.

use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;

use headwater::{Database, Error, Result};

use crate::{ServeArguments, show, troubles};

/// Runs the command.
#[must_use]
pub fn main(arguments: &ServeArguments) -> ExitCode {
    let text = match arguments.script.as_deref().map(read_script).transpose() {
        Ok(text) => text,
        Err(error) => return failed(&error, None),
    };
    match on_tokio(serve(arguments, text.as_deref())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error, text.as_deref()),
    }
}

async fn serve(arguments: &ServeArguments, script: Option<&str>) -> Result<()> {
    let database = Database::open(arguments.storage.options()).await?;
    let outcome = tokio::select! {
        outcome = work(&database, arguments, script) => outcome,
        stopped = stop_signal() => stopped.map(|signal| show::note(&format!("{signal}: stopping after the last epoch"))),
    };
    let closed = database.close().await;
    outcome.and(closed)
}

/// Clients are answered while the script still runs: its views may take long to catch up.
async fn work(database: &Database, arguments: &ServeArguments, script: Option<&str>) -> Result<()> {
    let run = async {
        if let Some(text) = script {
            run_script(database, arguments.script.as_deref().unwrap_or(Path::new("")), text).await?;
        }
        database.ended().await
    };
    tokio::select! {
        outcome = run => outcome,
        outcome = troubles::log(database) => outcome,
        outcome = listen(database, Some(arguments.listen), arguments.insecure) => outcome,
    }
}

/// Runs the script of the file `path`, by whose name it is known when it is run again.
pub(crate) async fn run_script(database: &Database, path: &Path, text: &str) -> Result<()> {
    let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    database.session().run_script_named(&name, text, show::outcome).await
}

/// Answers Postgres clients for ever; for ever nothing without an address. Other machines may only come in with `insecure`.
pub(crate) async fn listen(database: &Database, address: Option<SocketAddr>, insecure: bool) -> Result<()> {
    let Some(address) = address else { return std::future::pending().await };
    let listener = match insecure {
        true => headwater_pgwire::bind_open(address).await?,
        false => headwater_pgwire::bind(address).await?,
    };
    if !address.ip().is_loopback() {
        show::note(&format!("WARNING:  --insecure: there is no authentication, whoever can reach {address} can read and write everything"));
    }
    let bound = listener.local_addr().map_err(|e| Error::external(e.to_string()))?;
    show::note(&format!("listening on {bound}: psql -h {} -p {} dev", bound.ip(), bound.port()));
    headwater_pgwire::serve(database.clone(), listener).await
}

pub(crate) fn on_tokio(work: impl Future<Output = Result<()>>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.map_err(|e| Error::limit(format!("cannot start threads: {e}")))?.block_on(work)
}

pub(crate) fn read_script(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|e| Error::not_found(format!("cannot read {}: {e}", path.display())))
}

pub(crate) fn failed(error: &Error, sql: Option<&str>) -> ExitCode {
    show::error(error, sql);
    ExitCode::FAILURE
}

/// Ctrl-C or SIGTERM, by name.
pub(crate) async fn stop_signal() -> Result<&'static str> {
    use tokio::signal::unix::{SignalKind, signal};
    let failed = |e: std::io::Error| Error::limit(format!("cannot listen for signals: {e}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted.map_err(failed).map(|()| "Ctrl-C"),
        _ = terminate.recv() => Ok("SIGTERM"),
    }
}
