//! The simulation: whole databases on a held clock, with a disk that loses unsynced writes, an object store, a source and sinks that fail, killed at
//! random moments.

pub(crate) mod connector;
mod expected;
mod late;
mod machine;
mod machines;
mod run;
mod sink;
mod source;
pub(crate) mod world;

use std::time::Duration;

use headwater_types::{Clock, SystemClock};
use libtest_mimic::Trial;
use rand::Rng;

/// How long each simulation looks for a failing seed when nobody says.
const DEFAULT_SECONDS: u64 = 60;

/// The simulations, one test each.
pub fn trials() -> Vec<Trial> {
    let one = |name: &'static str, run_seed: fn(u64) -> Result<Tally, String>| {
        Trial::test(format!("simulation::{name}"), move || simulate(name, run_seed).map_err(Into::into))
    };
    vec![one("crashes", run::run_seed), one("machines", machines::run_seed)]
}

/// What one seed did.
#[derive(Default)]
pub struct Tally {
    pub kills: usize,
    pub power_losses: usize,
    pub disk_failures: usize,
    pub full_disks: usize,
    /// Processes that died at a request to the object store.
    pub deaths: usize,
    pub machines_lost: usize,
    pub events: usize,
    pub deliveries: usize,
}

impl Tally {
    fn add(&mut self, other: &Tally) {
        self.kills += other.kills;
        self.power_losses += other.power_losses;
        self.disk_failures += other.disk_failures;
        self.full_disks += other.full_disks;
        self.deaths += other.deaths;
        self.machines_lost += other.machines_lost;
        self.events += other.events;
        self.deliveries += other.deliveries;
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let counts = [
            (self.kills, "kills"),
            (self.power_losses, "power losses"),
            (self.disk_failures, "disk failures"),
            (self.full_disks, "full disks"),
            (self.deaths, "deaths at a request to the object store"),
            (self.machines_lost, "machines lost"),
            (self.events, "events"),
            (self.deliveries, "deliveries"),
        ];
        let counts: Vec<String> = counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
        f.write_str(&counts.join(", "))
    }
}

/// Runs new seeds until the time is over; `HEADWATER_SIMULATION_SECONDS` says how long, `HEADWATER_SIMULATION_SEED` runs one seed only.
fn simulate(name: &str, run_seed: fn(u64) -> Result<Tally, String>) -> Result<(), String> {
    let failed = |seed: u64, message: String| {
        format!("seed {seed}: {message}\nagain: HEADWATER_SIMULATION_SEED={seed} cargo test --workspace --test suite simulation::{name}")
    };
    let number = |variable: &str| std::env::var(variable).ok().and_then(|text| text.parse::<u64>().ok());
    if let Some(seed) = number("HEADWATER_SIMULATION_SEED") {
        return run_seed(seed).map(drop).map_err(|message| failed(seed, message));
    }
    let time = Duration::from_secs(number("HEADWATER_SIMULATION_SECONDS").unwrap_or(DEFAULT_SECONDS));
    let first: u64 = rand::rng().random_range(0..1 << 48);
    let clock = SystemClock::default();
    let (mut seeds, mut total) = (0, Tally::default());
    while clock.elapsed() < time {
        total.add(&run_seed(first + seeds).map_err(|message| failed(first + seeds, message))?);
        seeds += 1;
    }
    println!("simulation::{name}: {seeds} seeds from {first}, {total}; nothing lost, nothing twice");
    if total.kills + total.power_losses + total.machines_lost == 0 || total.deliveries == 0 {
        Err("nothing was killed or delivered: the simulation proves nothing".to_string())
    } else {
        Ok(())
    }
}
