//! Runs what psql really sends for its backslash commands, against a database with one object of each kind.

use crate::{Database, Options, Session};
use arrow::util::pretty::pretty_format_batches;

async fn open() -> Session {
    let database = Database::open(Options::in_memory()).await.expect("a database in memory");
    let mut session = database.session();
    for sql in [
        "CREATE TABLE campaign (email_id BIGINT PRIMARY KEY, name VARCHAR, amount NUMERIC(10,2))",
        "CREATE VIEW names AS SELECT email_id, name FROM campaign",
        "CREATE MATERIALIZED VIEW totals AS SELECT name, count(*) AS n FROM campaign GROUP BY name",
        "COMMENT ON TABLE campaign IS 'what is sent'",
    ] {
        session.execute(sql).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
    }
    session
}

/// The queries of `psql_queries.sql`, each with the command that sends it.
fn queries() -> Vec<(String, String)> {
    let mut list = Vec::new();
    let mut command = String::new();
    let mut query = String::new();
    for line in include_str!("psql_queries.sql").lines().skip(1) {
        if let Some(name) = line.strip_prefix("-- ") {
            command = name.to_owned();
        } else if let Some(end) = line.strip_suffix(';') {
            query.push_str(end);
            list.push((command.clone(), std::mem::take(&mut query)));
        } else {
            query.push_str(line);
            query.push('\n');
        }
    }
    list
}

/// Commands about things that we do not have (domains, languages, extended statistics), or that ask for settings by rows; they get an error.
const REFUSED: &[&str] = &["\\dD", "\\dL", "\\dX", "\\dconfig"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_query_of_psql_is_answered() {
    let mut session = open().await;
    let queries = queries();
    assert!(queries.len() > 40, "only {} queries", queries.len());
    let mut failures = Vec::new();
    for (command, query) in &queries {
        if REFUSED.contains(&command.as_str()) {
            continue;
        }
        match session.query(query).await {
            Ok(batches) => drop(pretty_format_batches(&batches).expect("printable")),
            Err(error) => failures.push(format!("{command}: {error}\n    {}", query.replace('\n', "\n    "))),
        }
    }
    assert!(failures.is_empty(), "{} of {} fail:\n{}", failures.len(), queries.len(), failures.join("\n"));
}
