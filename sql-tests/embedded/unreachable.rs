//! A source that cannot be reached: who waits for it is told why, once for each reason, and `headwater.sources` says so from the first failure on.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use headwater::connectors::{Capabilities, Connector, Positions, Sink, SinkDefinition, Source, SourceDefinition};
use headwater::{Clock, Error, Notice, Options, Result as Outcome};
use libtest_mimic::Trial;

use super::{open, rows, run, same, trial};

const SOURCE: &str = "CREATE SOURCE s (id BIGINT) WITH (connector = 'down')";
const VIEW: &str = "CREATE MATERIALIZED VIEW v AS SELECT count(*) AS n FROM s";

/// One test each.
pub fn trials() -> Vec<Trial> {
    vec![trial("what_a_view_waits_for_is_told", || async { told().await })]
}

/// Never answers: for a while for one reason, then for another.
#[derive(Default)]
struct Down {
    tries: AtomicUsize,
}

/// Tries that fail for the first reason.
const FIRST_TRIES: usize = 3;

impl Connector for Down {
    fn name(&self) -> &'static str {
        "down"
    }

    fn check_source(&self, _definition: &SourceDefinition) -> Outcome<Capabilities> {
        Ok(Capabilities { bounded: false, replayable: true, ..Capabilities::default() })
    }

    fn start(&self, _definition: &SourceDefinition) -> Outcome<Positions> {
        let is_first = self.tries.fetch_add(1, Ordering::SeqCst) < FIRST_TRIES;
        let reason = if is_first { "no broker answers" } else { "there is no such topic" };
        Err(Error::external(reason).with_detail("as was expected"))
    }

    fn open_source(&self, _: &SourceDefinition, _: &Positions, _: usize, _: Arc<dyn Clock>) -> Outcome<Vec<Box<dyn Source>>> {
        Err(Error::bug("it has no start"))
    }

    fn check_sink(&self, _definition: &SinkDefinition) -> Outcome<()> {
        Ok(())
    }

    fn open_sink(&self, _definition: &SinkDefinition) -> Outcome<Box<dyn Sink>> {
        Err(Error::bug("it has no sinks"))
    }
}

async fn told() -> Result<(), String> {
    let mut options = Options::in_memory();
    options.registry.register(Arc::new(Down::default()));
    let database = open(&options).await?;
    let mut session = database.session();
    run(&mut session, SOURCE).await?;
    let (listener, mut heard) = tokio::sync::mpsc::channel::<Notice>(16);
    session.tell_notices_to(listener);
    let waiting = run(&mut session, VIEW);
    let listening = async {
        let mut messages = Vec::new();
        while messages.len() < 2 {
            messages.push(heard.recv().await.ok_or("nobody tells")?.message);
            let state = rows(&database, "SELECT message FROM headwater.sources").await?;
            same("headwater.sources says why", state.iter().all(|row| row.contains("as was expected")), true)?;
        }
        // The second reason comes again and again, and is told once.
        tokio::time::sleep(Duration::from_secs(2)).await;
        same("what else was told", heard.try_recv().is_err(), true)?;
        let expected = ["no broker answers", "there is no such topic"].map(|r| format!("source \"s\": {r} (as was expected); waiting"));
        same("what was told", messages, expected.to_vec())
    };
    tokio::select! {
        outcome = waiting => outcome.and(Err("the view did not wait".to_owned())),
        outcome = listening => outcome,
    }?;
    let mut troubles = database.troubles();
    let trouble = troubles.next().await.ok_or("the database has ended")?;
    same("who is in trouble", trouble.iter().map(|t| (t.noun, t.name.as_str(), t.stopped)).collect(), vec![("source", "s", false)])?;
    database.abandon().await;
    Ok(())
}
