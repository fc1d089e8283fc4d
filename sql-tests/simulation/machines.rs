//! One seed of the simulation with checkpoints: processes die at any request to the object store, machines are lost with their disks, the store
//! fails and loses replies; then all heals and everything must be there once.

use std::collections::BTreeSet;
use std::time::Duration;

use headwater_types::Error;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::Tally;
use super::expected::{self, SCRIPT, START};
use super::machine::{BAD_DAY, Machine, Outside};
use super::world::{Event, World};
use headwater::checkpoint::Faults;

/// A seed that takes longer than this hangs.
const SEED_TIME_MAX: Duration = Duration::from_secs(180);
/// How long a statement may take while the store fails; its outcome is unknown afterwards.
const STATEMENT_TIME_MAX: Duration = Duration::from_secs(5);

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
        run.tally.deliveries = run.outside.world.state().targets.values().map(|target| target.deliveries).sum();
        Ok(run.tally)
    })
}

struct Run {
    rng: SmallRng,
    outside: Outside,
    /// None only while it is started again.
    machine: Option<Machine>,
    done: Vec<String>,
    next_event: i64,
    next_id: i32,
    /// Rows whose INSERT returned.
    acknowledged: BTreeSet<i32>,
    /// Of these, those that a CHECKPOINT which returned holds: they outlive the machine.
    safe: BTreeSet<i32>,
    /// Rows whose fate is unknown.
    unknown: BTreeSet<i32>,
    tally: Tally,
}

impl Run {
    async fn start(seed: u64) -> Result<Self, Error> {
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut outside = Outside::new(World::new(rng.random_range(1..4)))?;
        let directory = outside.new_directory();
        let machine = Some(outside.start(directory, rng.random(), Faults::default()).await?);
        let (acknowledged, safe, unknown) = Default::default();
        let (done, tally) = (Vec::new(), Tally::default());
        Ok(Self { rng, outside, machine, done, next_event: 0, next_id: 0, acknowledged, safe, unknown, tally })
    }

    async fn all(&mut self) -> Result<(), String> {
        for statement in SCRIPT {
            self.machine().session.execute(statement).await.map_err(|e| format!("{statement}: {e}"))?;
        }
        // What was created since the last checkpoint is lost with a machine, as rows are.
        self.machine().session.execute("CHECKPOINT").await.map_err(|e| format!("the first checkpoint: {e}"))?;
        for _ in 0..self.rng.random_range(5..20) {
            self.step().await?;
        }
        self.heal().await?;
        let machine = self.machine.take().ok_or("a machine runs between two losses")?;
        let mut session = machine.database.session();
        expected::check(&mut session, &self.outside.world).await?;
        drop((session, machine.session));
        machine.database.close().await.map_err(|e| format!("closing: {e}"))
    }

    fn machine(&mut self) -> &mut Machine {
        self.machine.as_mut().expect("a machine runs between two losses")
    }

    async fn step(&mut self) -> Result<(), String> {
        match self.rng.random_range(0..20) {
            0..7 => self.send(),
            7..10 => self.insert().await,
            10..12 => self.checkpoint().await,
            12..14 => self.lose_process().await?,
            14..16 => self.lose_machine().await?,
            16..18 => self.die_in_checkpoint().await?,
            18 => self.weather(),
            _ => tokio::time::sleep(Duration::from_millis(self.rng.random_range(0..60))).await,
        }
        Ok(())
    }

    fn send(&mut self) {
        let count = self.rng.random_range(1..40);
        self.done.push(format!("send {count}"));
        for _ in 0..count {
            let partitions = self.outside.world.state().partitions.len();
            let partition = self.rng.random_range(0..partitions);
            let at = START + self.next_event * 1_000_000 - self.rng.random_range(0..40) * 1_000_000;
            let event = Event::Row { id: self.next_event, key: self.rng.random_range(0..5), n: self.rng.random_range(-9..100), at };
            self.next_event += 1;
            self.tally.events += 1;
            self.outside.world.send(partition, event);
        }
    }

    async fn insert(&mut self) {
        let id = self.next_id;
        self.next_id += 1;
        let sql = format!("INSERT INTO kept VALUES ({id})");
        let answer = tokio::time::timeout(STATEMENT_TIME_MAX, self.machine().session.execute(&sql)).await;
        let known = matches!(answer, Ok(Ok(_)));
        self.done.push(format!("insert {id}{}", if known { "" } else { " (unknown)" }));
        let fate = if known { &mut self.acknowledged } else { &mut self.unknown };
        fate.insert(id);
    }

    /// Asks for a checkpoint. If it answers, nothing that was acknowledged before may ever be lost.
    async fn checkpoint(&mut self) {
        let before = self.acknowledged.clone();
        let answer = tokio::time::timeout(STATEMENT_TIME_MAX, self.machine().session.execute("CHECKPOINT")).await;
        let durable = matches!(answer, Ok(Ok(_)));
        self.done.push(if durable { "checkpoint" } else { "checkpoint (failed)" }.to_owned());
        if durable {
            self.safe = before;
        }
    }

    /// The process dies at one of its next requests to the object store, most likely in the middle of a checkpoint.
    async fn die_in_checkpoint(&mut self) -> Result<(), String> {
        let requests = self.rng.random_range(0..25);
        self.done.push(format!("die at request {requests}"));
        self.machine().store.die_after(requests);
        self.send();
        self.insert().await;
        self.checkpoint().await;
        self.tally.deaths += 1;
        if self.rng.random_bool(0.5) { self.lose_process().await } else { self.lose_machine().await }
    }

    async fn lose_process(&mut self) -> Result<(), String> {
        self.done.push("kill".to_owned());
        self.tally.kills += 1;
        let machine = self.machine.take().ok_or("a machine runs between two losses")?;
        let directory = self.outside.kill(machine).await;
        self.restart(directory).await?;
        let required = self.acknowledged.clone();
        self.look(&required).await
    }

    /// Machine and disk are gone; another machine goes on from the last checkpoint.
    async fn lose_machine(&mut self) -> Result<(), String> {
        self.done.push("machine lost".to_owned());
        self.tally.machines_lost += 1;
        let machine = self.machine.take().ok_or("a machine runs between two losses")?;
        let directory = self.outside.kill(machine).await;
        // Calls of the process that block, to copy files for a checkpoint for instance, end only now.
        while directory.exists() && std::fs::remove_dir_all(&directory).is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let directory = self.outside.new_directory();
        self.restart(directory).await?;
        let required = self.safe.clone();
        self.look(&required).await
    }

    async fn restart(&mut self, directory: std::path::PathBuf) -> Result<(), String> {
        let faults = if self.rng.random_bool(0.3) { BAD_DAY } else { Faults::default() };
        let started = self.outside.start(directory, self.rng.random(), faults).await;
        self.machine = Some(started.map_err(|e| format!("it does not start again: {e}"))?);
        if self.rng.random_bool(0.5) {
            self.done.push("late writes arrive".to_owned());
            self.outside.deliver_late().await;
        }
        Ok(())
    }

    /// What of `kept` is there: all that is `required`, nothing that was never inserted. From now on this is what counts.
    async fn look(&mut self, required: &BTreeSet<i32>) -> Result<(), String> {
        let rows = expected::rows(&mut self.machine().session, "SELECT id FROM kept").await?;
        let there: BTreeSet<i32> = rows.iter().filter_map(|row| row.parse().ok()).collect();
        if there.len() != rows.len() {
            return Err(format!("a row of kept came twice: {rows:?}"));
        }
        let lost: Vec<_> = required.difference(&there).collect();
        let known: BTreeSet<i32> = self.acknowledged.union(&self.unknown).copied().collect();
        let invented: Vec<_> = there.difference(&known).collect();
        if !lost.is_empty() || !invented.is_empty() {
            return Err(format!("of kept {lost:?} are lost, {invented:?} came back from nowhere"));
        }
        self.safe = self.safe.intersection(&there).copied().collect();
        self.acknowledged = there;
        self.unknown.clear();
        Ok(())
    }

    fn weather(&mut self) {
        let what = self.rng.random_range(0..5);
        self.done.push(format!("weather {what}"));
        {
            let state = &mut *self.outside.world.state();
            match what {
                0 => state.fail_before += 1,
                1 => state.fail_after += 1,
                2 => state.fail_polls += 1,
                _ => {}
            }
        }
        self.machine().store.set_faults(if what == 3 { BAD_DAY } else { Faults::default() });
    }

    /// Nothing fails any more, everything sent is read.
    async fn heal(&mut self) -> Result<(), String> {
        {
            let state = &mut *self.outside.world.state();
            (state.fail_before, state.fail_after, state.fail_polls) = (0, 0, 0);
        }
        self.machine().store.set_faults(Faults::default());
        self.outside.deliver_late().await;
        self.machine().session.execute("FLUSH").await.map_err(|e| format!("FLUSH: {e}"))?;
        let required = self.acknowledged.clone();
        self.look(&required).await
    }
}
