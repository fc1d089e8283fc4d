//! One seed of the simulation: sends, inserts, failures and kills in random order; then the world heals and everything must be there once.

use std::sync::Arc;
use std::time::Duration;

use crate::slt::ScriptDatabase;
use headwater::{MemoryStore, Options, Session};
use headwater_types::Error;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::Tally;
use super::connector::WorldConnector;
use super::expected::{self, SCRIPT, START};
use super::late::LateViews;
use super::world::{Event, World};

/// A seed that takes longer than this hangs.
const SEED_TIME_MAX: Duration = Duration::from_secs(120);

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
    late: LateViews,
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
        Ok(Self {
            rng,
            world,
            memory,
            database,
            session,
            done,
            next_event: 0,
            next_id: 0,
            acknowledged,
            unknown,
            tally,
            late: LateViews::default(),
        })
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
        match self.rng.random_range(0..24) {
            0..9 => self.send(),
            9..12 => self.insert().await?,
            12..14 => self.flush().await?,
            14..17 => self.kill().await?,
            17 => self.disk_failure().await?,
            18 => self.world_failure(),
            19 => self.full_disk().await?,
            20..22 => self.create_late().await?,
            22 => self.drop_late().await?,
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

    /// The disk has no room for a while: an INSERT is refused or waits, queries are answered, nothing restarts.
    async fn full_disk(&mut self) -> Result<(), String> {
        self.done.push("disk full".to_owned());
        self.tally.full_disks += 1;
        self.memory.set_full(true);
        self.send();
        let id = self.next_id;
        self.next_id += 1;
        let insert = format!("INSERT INTO kept VALUES ({id})");
        let inserted = tokio::time::timeout(Duration::from_millis(100), self.session().execute(&insert)).await;
        match inserted {
            Ok(Ok(_)) => return Err("an INSERT returned although nothing can be written".to_owned()),
            Ok(Err(error)) if !error.is_disk_full() => return Err(format!("a full disk was called: {error}")),
            _ => self.unknown.push(id),
        }
        let mut other = self.database.session().await.map_err(|e| e.to_string())?;
        other.query("SELECT count(*) FROM totals").await.map_err(|e| format!("a query on a full disk: {e}"))?;
        let paused = other.query("SELECT 1 FROM headwater.sources WHERE message LIKE 'no space%'").await.map_err(|e| e.to_string())?;
        if paused.iter().all(|batch| batch.num_rows() == 0) {
            return Err("headwater.sources does not say that the disk is full".to_owned());
        }
        self.memory.set_full(false);
        // The statement that was given up left the session without an answer.
        self.session = Some(other);
        // Writes are taken again once the epoch that waited is written.
        self.flush().await
    }

    async fn create_late(&mut self) -> Result<(), String> {
        let session = self.session.as_mut().expect("a session is open between kills");
        let done = self.late.create(session, &mut self.rng).await?;
        self.done.push(done);
        Ok(())
    }

    async fn drop_late(&mut self) -> Result<(), String> {
        let session = self.session.as_mut().expect("a session is open between kills");
        let done = self.late.drop_youngest(session).await?;
        self.done.push(done);
        Ok(())
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
        let world = self.world.clone();
        expected::check(self.session(), &world).await?;
        self.check_inserts().await?;
        let session = self.session.as_mut().expect("a session is open between kills");
        self.late.check(session, &world).await
    }

    /// An INSERT that returned is there; one whose fate is unknown is there or not.
    async fn check_inserts(&mut self) -> Result<(), String> {
        let rows = expected::rows(self.session(), "SELECT id FROM kept").await?;
        let lost: Vec<_> = self.acknowledged.iter().filter(|id| !rows.contains(&id.to_string())).collect();
        let known = |row: &String| row.parse().is_ok_and(|id| self.acknowledged.contains(&id) || self.unknown.contains(&id));
        let invented: Vec<_> = rows.iter().filter(|row| !known(row)).collect();
        if lost.is_empty() && invented.is_empty() { Ok(()) } else { Err(format!("INSERTs lost: {lost:?}, invented: {invented:?}")) }
    }
}
