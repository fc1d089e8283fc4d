//! `headwater run`: a script from its first statement to the end of its bounded sources.

use std::process::ExitCode;
use std::time::Duration;

use headwater::{Clock, Database, Error, Result, Session, SystemClock};

use crate::{RunArguments, progress, serve, show};

/// Runs the command.
#[must_use]
pub fn main(arguments: &RunArguments) -> ExitCode {
    let text = match serve::read_script(&arguments.script) {
        Ok(text) => text,
        Err(error) => return serve::failed(&error, None),
    };
    match serve::on_tokio(run(arguments, &text)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => serve::failed(&error, Some(&text)),
    }
}

async fn run(arguments: &RunArguments, text: &str) -> Result<()> {
    let database = Database::open(arguments.storage.options()).await?;
    let clock = SystemClock::default();
    let outcome = until_end(&database, arguments, text).await;
    let summary = match &outcome {
        Ok(()) => summary(&database, arguments.rows, clock.elapsed()).await,
        Err(_) => Ok(()),
    };
    let closed = database.close().await;
    outcome.and(summary).and(closed)
}

/// The script, then the end of its sources; Ctrl-C ends it earlier and is no error.
async fn until_end(database: &Database, arguments: &RunArguments, text: &str) -> Result<()> {
    let work = async {
        serve::run_script(database, &arguments.script, text).await?;
        database.finished().await
    };
    tokio::select! {
        outcome = work => outcome,
        outcome = serve::listen(database, arguments.listen, false) => outcome,
        outcome = progress::show(database.clone()) => outcome,
        stopped = serve::stop_signal() => stopped.map(|signal| show::note(&format!("\n{signal}: stopping after the last epoch"))),
    }
}

/// What was read, at which rate over `time`, and what came late or failed; then the first rows of every view and table.
async fn summary(database: &Database, rows_max: usize, time: Duration) -> Result<()> {
    let status = database.status().await?;
    show::note(&format!("\n{}", progress::line(&status, progress::rate(status.rows, time))));
    let mut session = database.session();
    for name in database.relations() {
        match first_rows(&mut session, &name, rows_max).await {
            Ok(table) => show::print(&format!("{name}\n{}", table.text())),
            // A view that is off the cut hides nothing of the others.
            Err(error) => show::note(&format!("{name}: {error}\n")),
        }
    }
    Ok(())
}

async fn first_rows(session: &mut Session, name: &str, rows_max: usize) -> Result<show::Table> {
    let query = format!("SELECT * FROM \"{}\" LIMIT {}", name.replace('"', "\"\""), rows_max + 1);
    let rows = session.execute(&query).await?.pop().and_then(|outcome| outcome.rows);
    let mut rows = rows.ok_or_else(|| Error::bug("a SELECT gives rows"))?;
    let mut table = show::Table::read(&mut rows).await?;
    table.more = table.rows.len() > rows_max;
    table.rows.truncate(rows_max);
    Ok(table)
}
