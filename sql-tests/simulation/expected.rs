//! What the simulated database must hold in the end: every event once, in its views and in the targets of its sinks.

use std::collections::BTreeMap;
use std::time::Duration;

use headwater::Session;

use super::world::{Event, World};
use crate::scripts::views::{difference, lines};

/// How long sinks may take to catch up once the world is healed.
const DELIVERY_TIME_MAX: Duration = Duration::from_secs(30);
/// 2025-01-01 00:00:00 in microseconds since 1970.
pub const START: i64 = 1_735_689_600_000_000;

/// What every simulated database runs.
pub const SCRIPT: [&str; 8] = [
    "CREATE SOURCE events (id BIGINT, k INT, n BIGINT, at TIMESTAMP, WATERMARK FOR at AS at - INTERVAL '10 seconds') WITH (connector = 'world')",
    "CREATE TABLE kept (id INT PRIMARY KEY)",
    "CREATE MATERIALIZED VIEW totals AS SELECT k, count(*) AS c, sum(n) AS s, max(n) AS hi FROM events GROUP BY k",
    "CREATE MATERIALIZED VIEW everything AS SELECT id, k, n FROM events",
    "CREATE MATERIALIZED VIEW minutes AS SELECT window_start, k, count(*) AS c FROM TUMBLE(events, at, INTERVAL '1 minute') GROUP BY window_start, k",
    "CREATE SINK totals_out FROM totals WITH (connector = 'world', type = 'upsert', primary_key = 'k', target = 'totals')",
    "CREATE SINK everything_out FROM everything WITH (connector = 'world', type = 'append', target = 'everything')",
    "CREATE SINK minutes_out FROM minutes WITH (connector = 'world', type = 'upsert', primary_key = 'window_start,k', target = 'minutes')",
];

/// Compares views and targets with the world's log.
///
/// # Errors
/// What was lost, came twice or is wrong.
pub async fn check(session: &mut Session, world: &World) -> Result<(), String> {
    let (totals, everything, garbage) = reference(world);
    equal(session, "totals", "SELECT * FROM totals", &totals).await?;
    equal(session, "everything", "SELECT * FROM everything", &everything).await?;
    equal(session, "events$errors", "SELECT count(*) FROM events$errors", &[garbage.to_string()]).await?;
    let on_time_and_late = "SELECT (SELECT coalesce(sum(c), 0) FROM minutes) + (SELECT coalesce(sum(weight), 0) FROM minutes$late)";
    equal(session, "minutes and its late rows", on_time_and_late, &[everything.len().to_string()]).await?;
    delivered(world, "totals", &totals).await?;
    delivered(world, "everything", &everything).await?;
    let minutes = rows(session, "SELECT * FROM minutes").await?;
    delivered(world, "minutes", &minutes).await
}

/// What `totals` and `everything` must hold, computed from the log row by row, and how many records are no rows.
fn reference(world: &World) -> (Vec<String>, Vec<String>, usize) {
    let state = world.state();
    let mut totals: BTreeMap<i32, (i64, i64, i64)> = BTreeMap::new();
    let (mut everything, mut garbage) = (Vec::new(), 0);
    for event in state.partitions.iter().flatten() {
        match event {
            Event::Garbage => garbage += 1,
            Event::Row { id, key, n, .. } => {
                everything.push(format!("{id} | {key} | {n}"));
                let total = totals.entry(*key).or_insert((0, 0, i64::MIN));
                *total = (total.0 + 1, total.1 + n, total.2.max(*n));
            }
        }
    }
    let mut totals: Vec<String> = totals.iter().map(|(key, (count, sum, high))| format!("{key} | {count} | {sum} | {high}")).collect();
    totals.sort_unstable();
    everything.sort_unstable();
    (totals, everything, garbage)
}

/// The rows of `sql` as text, sorted.
///
/// # Errors
/// Those of the query.
pub async fn rows(session: &mut Session, sql: &str) -> Result<Vec<String>, String> {
    let rows = session.query(sql).await.map_err(|e| format!("{sql}: {e}"))?;
    lines(&rows).map_err(|e| e.to_string())
}

/// Compares the rows of `sql`, sorted, with `expected`.
///
/// # Errors
/// How they differ.
pub async fn equal(session: &mut Session, name: &str, sql: &str, expected: &[String]) -> Result<(), String> {
    let rows = rows(session, sql).await?;
    if rows == expected { Ok(()) } else { Err(difference(name, &rows, expected)) }
}

/// Waits until the target holds `expected`, each row once.
///
/// # Errors
/// How they still differ after a while.
pub async fn delivered(world: &World, target: &str, expected: &[String]) -> Result<(), String> {
    let wanted: BTreeMap<String, i64> = expected.iter().map(|row| (row.clone(), 1)).collect();
    for _ in 0..DELIVERY_TIME_MAX.as_millis() / 5 {
        if held(world, target)? == wanted {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let held = held(world, target)?;
    let twice: Vec<_> = held.iter().filter(|(_, count)| **count != 1).collect();
    let rows: Vec<String> = held.keys().cloned().collect();
    Err(format!("the target did not become equal; more than once: {twice:?}\n{}", difference(target, &rows, expected)))
}

/// What the target holds now.
fn held(world: &World, name: &str) -> Result<BTreeMap<String, i64>, String> {
    let state = world.state();
    match state.violations.first() {
        Some(violation) => Err(violation.clone()),
        None => Ok(state.targets.get(name).map(|target| target.rows.clone()).unwrap_or_default()),
    }
}
