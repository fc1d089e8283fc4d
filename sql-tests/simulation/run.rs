//! One seed of the simulation: sends, inserts, failures and kills in random order; then the world heals and everything must be there once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::slt::ScriptDatabase;
use headwater::{MemoryStore, Options, Session};
use headwater_types::Error;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::Tally;
use super::connector::WorldConnector;
use super::world::{Event, World};
use crate::scripts::views::{difference, lines};

/// A seed that takes longer than this hangs.
const SEED_TIME_MAX: Duration = Duration::from_secs(120);
/// How long sinks may take to catch up once the world is healed.
const DELIVERY_TIME_MAX: Duration = Duration::from_secs(30);
/// 2025-01-01 00:00:00 in microseconds since 1970.
const START: i64 = 1_735_689_600_000_000;

const SCRIPT: [&str; 8] = [
    "CREATE SOURCE events (id BIGINT, k INT, n BIGINT, at TIMESTAMP, WATERMARK FOR at AS at - INTERVAL '10 seconds') WITH (connector = 'world')",
    "CREATE TABLE kept (id INT PRIMARY KEY)",
    "CREATE MATERIALIZED VIEW totals AS SELECT k, count(*) AS c, sum(n) AS s, max(n) AS hi FROM events GROUP BY k",
    "CREATE MATERIALIZED VIEW everything AS SELECT id, k, n FROM events",
    "CREATE MATERIALIZED VIEW minutes AS SELECT window_start, k, count(*) AS c FROM TUMBLE(events, at, INTERVAL '1 minute') GROUP BY window_start, k",
    "CREATE SINK totals_out FROM totals WITH (connector = 'world', type = 'upsert', primary_key = 'k', target = 'totals')",
    "CREATE SINK everything_out FROM everything WITH (connector = 'world', type = 'append', target = 'everything')",
    "CREATE SINK minutes_out FROM minutes WITH (connector = 'world', type = 'upsert', primary_key = 'window_start,k', target = 'minutes')",
];

/// Queries of views that come late (over a source, views, a table, both, and what stands beside them), with the same over what is kept.
const LATE: [(&str, &str); 6] = [
    ("SELECT k, count(*) AS c, max(n) AS hi FROM events GROUP BY k", "SELECT k, count(*) AS c, max(n) AS hi FROM everything GROUP BY k"),
    (
        "SELECT k, count(*) AS c, min(n) AS lo FROM everything GROUP BY k",
        "SELECT k, count(*) AS c, min(n) AS lo FROM everything GROUP BY k",
    ),
    ("SELECT k, c + 1 AS c FROM totals", "SELECT k, c + 1 AS c FROM totals"),
    ("SELECT id % 3 AS k, count(*) AS c FROM kept GROUP BY id % 3", "SELECT id % 3 AS k, count(*) AS c FROM kept GROUP BY id % 3"),
    (
        "SELECT e.k, count(*) AS c FROM events e JOIN everything v ON e.id = v.id GROUP BY e.k",
        "SELECT k, count(*) AS c FROM everything GROUP BY k",
    ),
    ("SELECT k, sum(weight) AS c FROM minutes$late GROUP BY k", "SELECT k, sum(weight) AS c FROM minutes$late GROUP BY k"),
];

/// Runs `seed`.
///
/// # Errors
/// What was lost, came twice, or went wrong, and what was done before.
pub fn run_seed(seed: u64) -> Result<Tally, String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().map_err(|e| e.to_string())?;
    runtime.block_on(async {
        let mut run = Run::start(seed).await.map_err(|e| e.to_string())?;
        let result = match tokio::time::timeout(SEED_TIME_MAX, run.all()).await {
            Ok(result) => result,
            Err(_) => Err(format!("no end after {SEED_TIME_MAX:?}")),
        };
        result.map_err(|message| format!("{message}\nafter: {}", run.done.join(" · ")))?;
        run.tally.deliveries = run.world.state().targets.values().map(|target| target.deliveries).sum();
        Ok(run.tally)
    })
}

struct Run {
    rng: SmallRng,
    world: Arc<World>,
    memory: Arc<MemoryStore>,
    database: Arc<ScriptDatabase>,
    session: Option<Session>,
    /// What was done, for whoever reads a failure.
    done: Vec<String>,
    next_event: i64,
    next_id: i32,
    /// Rows whose INSERT returned, and those whose fate is unknown.
    acknowledged: Vec<i32>,
    unknown: Vec<i32>,
    tally: Tally,
    /// Views that were created while events came: name, and the query that says what must be in them.
    late: Vec<(String, &'static str)>,
    names: usize,
}

impl Run {
    async fn start(seed: u64) -> Result<Self, Error> {
        let mut rng = SmallRng::seed_from_u64(seed);
        let world = World::new(rng.random_range(1..4));
        let memory = Arc::new(MemoryStore::new());
        let backfill_rows = rng.random_range(1..30);
        let mut options = Options { blocks: Some(memory.clone()), backfill_rows, ..Options::in_memory() };
        options.registry.register(Arc::new(WorldConnector(world.clone())));
        let database = ScriptDatabase::open(options, Some(memory.clone())).await?;
        let session = Some(database.session().await?);
        let (done, acknowledged, unknown, tally) = (Vec::new(), Vec::new(), Vec::new(), Tally::default());
        let late = Vec::new();
        Ok(Self { rng, world, memory, database, session, done, next_event: 0, next_id: 0, acknowledged, unknown, tally, late, names: 0 })
    }

    async fn all(&mut self) -> Result<(), String> {
        for statement in SCRIPT {
            self.session().execute(statement).await.map_err(|e| format!("{statement}: {e}"))?;
        }
        for _ in 0..self.rng.random_range(5..30) {
            self.step().await?;
        }
        self.heal().await?;
        self.check().await?;
        self.database.close().await.map_err(|e| format!("closing: {e}"))
    }

    fn session(&mut self) -> &mut Session {
        self.session.as_mut().expect("a session is open between kills")
    }

    async fn step(&mut self) -> Result<(), String> {
        match self.rng.random_range(0..23) {
            0..9 => self.send(),
            9..12 => self.insert().await?,
            12..14 => self.flush().await?,
            14..17 => self.kill().await?,
            17 => self.disk_failure().await?,
            18 => self.world_failure(),
            19..21 => self.create_late().await?,
            21 => self.drop_late().await?,
            _ => tokio::time::sleep(Duration::from_micros(self.rng.random_range(0..3_000))).await,
        }
        Ok(())
    }

    fn send(&mut self) {
        let count = self.rng.random_range(1..40);
        self.done.push(format!("send {count}"));
        for _ in 0..count {
            let partitions = self.world.state().partitions.len();
            let partition = self.rng.random_range(0..partitions);
            if self.rng.random_ratio(1, 50) {
                self.world.send(partition, Event::Garbage);
                continue;
            }
            let at = START + self.next_event * 1_000_000 - self.rng.random_range(0..40) * 1_000_000;
            let event = Event::Row { id: self.next_event, key: self.rng.random_range(0..5), n: self.rng.random_range(-9..100), at };
            self.next_event += 1;
            self.tally.events += 1;
            self.world.send(partition, event);
        }
    }

    async fn insert(&mut self) -> Result<(), String> {
        let id = self.next_id;
        self.next_id += 1;
        self.done.push(format!("insert {id}"));
        let inserted = self.session().execute(&format!("INSERT INTO kept VALUES ({id})")).await;
        match inserted {
            Ok(_) => self.acknowledged.push(id),
            Err(error) => return Err(format!("an INSERT failed although nothing did: {error}")),
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), String> {
        self.done.push("flush".to_string());
        self.session().execute("FLUSH").await.map(drop).map_err(|e| format!("FLUSH: {e}"))
    }

    /// Ends the process, half the time with the power, at whatever its threads are doing.
    async fn kill(&mut self) -> Result<(), String> {
        self.session = None;
        let power = self.rng.random_bool(0.5);
        self.done.push(if power { "power loss" } else { "kill" }.to_string());
        let reopened = if power { self.database.crash().await } else { self.database.kill().await };
        reopened.map_err(|e| format!("it does not open again: {e}"))?;
        if power {
            self.tally.power_losses += 1
        } else {
            self.tally.kills += 1
        };
        self.session = Some(self.database.session().await.map_err(|e| e.to_string())?);
        Ok(())
    }

    /// The disk fails after a few more calls, between a write and its sync or before a write; then the machine restarts.
    async fn disk_failure(&mut self) -> Result<(), String> {
        let calls = self.rng.random_range(0..6);
        self.done.push(format!("disk fails after {calls} calls"));
        self.tally.disk_failures += 1;
        self.memory.fail_after(calls);
        self.send();
        let id = self.next_id;
        self.next_id += 1;
        let insert = format!("INSERT INTO kept VALUES ({id})");
        let inserted = tokio::time::timeout(Duration::from_millis(300), self.session().execute(&insert)).await;
        match inserted {
            Ok(Ok(_)) => self.acknowledged.push(id),
            _ => self.unknown.push(id),
        }
        self.session = None;
        self.database.crash().await.map_err(|e| format!("it does not open after a disk failure: {e}"))?;
        self.session = Some(self.database.session().await.map_err(|e| e.to_string())?);
        Ok(())
    }

    /// A view of what came so far and will come, half the time in the background: a kill may come while it is catching up.
    async fn create_late(&mut self) -> Result<(), String> {
        let (query, expected) = LATE[self.rng.random_range(0..LATE.len())];
        let name = format!("late_{}", self.names);
        self.names += 1;
        self.done.push(format!("create {name}: {query}"));
        let background = if self.rng.random_bool(0.5) { "on" } else { "off" };
        let sink =
            format!("CREATE SINK {name}_out FROM {name} WITH (connector = 'world', type = 'upsert', primary_key = 'k', target = '{name}')");
        for sql in [format!("SET background_ddl = {background}"), format!("CREATE MATERIALIZED VIEW {name} AS {query}"), sink] {
            self.session().execute(&sql).await.map_err(|e| format!("{sql}: {e}"))?;
        }
        self.late.push((name, expected));
        Ok(())
    }

    async fn drop_late(&mut self) -> Result<(), String> {
        let Some((name, _)) = self.late.pop() else { return Ok(()) };
        self.done.push(format!("drop {name}"));
        for sql in [format!("DROP SINK {name}_out"), format!("DROP MATERIALIZED VIEW {name}")] {
            self.session().execute(&sql).await.map_err(|e| format!("{sql}: {e}"))?;
        }
        Ok(())
    }

    async fn check_late(&mut self) -> Result<(), String> {
        for (name, expected) in self.late.clone() {
            let expected = self.rows(expected).await?;
            self.equal(&name, &format!("SELECT * FROM {name}"), &expected).await?;
            self.delivered(&name, &expected).await?;
        }
        self.equal("jobs", "SELECT object FROM headwater.jobs", &[]).await
    }

    fn world_failure(&mut self) {
        let what = self.rng.random_range(0..3);
        self.done.push(format!("world failure {what}"));
        let state = &mut *self.world.state();
        match what {
            0 => state.fail_before += 1,
            1 => state.fail_after += 1,
            _ => state.fail_polls += 1,
        }
    }

    /// Nothing fails any more, everything sent is read.
    async fn heal(&mut self) -> Result<(), String> {
        {
            let state = &mut *self.world.state();
            (state.fail_before, state.fail_after, state.fail_polls) = (0, 0, 0);
        }
        self.flush().await
    }

    async fn check(&mut self) -> Result<(), String> {
        let (totals, everything, garbage) = self.reference();
        self.equal("totals", "SELECT * FROM totals", &totals).await?;
        self.equal("everything", "SELECT * FROM everything", &everything).await?;
        self.equal("events$errors", "SELECT count(*) FROM events$errors", &[garbage.to_string()]).await?;
        let on_time_and_late = "SELECT (SELECT coalesce(sum(c), 0) FROM minutes) + (SELECT coalesce(sum(weight), 0) FROM minutes$late)";
        self.equal("minutes and its late rows", on_time_and_late, &[everything.len().to_string()]).await?;
        self.check_inserts().await?;
        self.check_late().await?;
        self.delivered("totals", &totals).await?;
        self.delivered("everything", &everything).await?;
        let minutes = self.rows("SELECT * FROM minutes").await?;
        self.delivered("minutes", &minutes).await
    }

    /// What `totals` and `everything` must hold, computed from the log row by row, and how many records are no rows.
    fn reference(&self) -> (Vec<String>, Vec<String>, usize) {
        let state = self.world.state();
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

    async fn rows(&mut self, sql: &str) -> Result<Vec<String>, String> {
        let rows = self.session().query(sql).await.map_err(|e| format!("{sql}: {e}"))?;
        lines(&rows).map_err(|e| e.to_string())
    }

    async fn equal(&mut self, name: &str, sql: &str, expected: &[String]) -> Result<(), String> {
        let rows = self.rows(sql).await?;
        if rows == expected { Ok(()) } else { Err(difference(name, &rows, expected)) }
    }

    /// An INSERT that returned is there; one whose fate is unknown is there or not.
    async fn check_inserts(&mut self) -> Result<(), String> {
        let rows = self.rows("SELECT id FROM kept").await?;
        let lost: Vec<_> = self.acknowledged.iter().filter(|id| !rows.contains(&id.to_string())).collect();
        let known = |row: &String| row.parse().is_ok_and(|id| self.acknowledged.contains(&id) || self.unknown.contains(&id));
        let invented: Vec<_> = rows.iter().filter(|row| !known(row)).collect();
        if lost.is_empty() && invented.is_empty() { Ok(()) } else { Err(format!("INSERTs lost: {lost:?}, invented: {invented:?}")) }
    }

    /// Waits until the target holds `expected`, each row once.
    async fn delivered(&self, target: &str, expected: &[String]) -> Result<(), String> {
        let wanted: BTreeMap<String, i64> = expected.iter().map(|row| (row.clone(), 1)).collect();
        for _ in 0..DELIVERY_TIME_MAX.as_millis() / 5 {
            if self.target(target)? == wanted {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let held = self.target(target)?;
        let twice: Vec<_> = held.iter().filter(|(_, count)| **count != 1).collect();
        let rows: Vec<String> = held.keys().cloned().collect();
        Err(format!("the target did not become equal; more than once: {twice:?}\n{}", difference(target, &rows, expected)))
    }

    /// What the target holds now.
    fn target(&self, name: &str) -> Result<BTreeMap<String, i64>, String> {
        let state = self.world.state();
        match state.violations.first() {
            Some(violation) => Err(violation.clone()),
            None => Ok(state.targets.get(name).map(|target| target.rows.clone()).unwrap_or_default()),
        }
    }
}
