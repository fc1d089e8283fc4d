//! The simulation: whole databases on a held clock, with a disk that loses unsynced writes and a source and sinks that fail, killed at random moments.

pub(crate) mod connector;
mod run;
mod sink;
mod source;
pub(crate) mod world;

use std::time::Duration;

use headwater_types::{Clock, SystemClock};
use libtest_mimic::Trial;
use rand::Rng;

/// How long the simulation looks for a failing seed when nobody says.
const DEFAULT_SECONDS: u64 = 60;

/// The simulation as one test.
pub fn trials() -> Vec<Trial> {
    vec![Trial::test("simulation::crashes", || simulate().map_err(Into::into))]
}

/// What one seed did.
#[derive(Default)]
pub struct Tally {
    pub kills: usize,
    pub power_losses: usize,
    pub disk_failures: usize,
    pub events: usize,
    pub deliveries: usize,
}

/// Runs new seeds until the time is over; `HEADWATER_SIMULATION_SECONDS` says how long, `HEADWATER_SIMULATION_SEED` runs one seed only.
fn simulate() -> Result<(), String> {
    let failed = |seed: u64, message: String| {
        format!("seed {seed}: {message}\nagain: HEADWATER_SIMULATION_SEED={seed} cargo test -p sql-tests --test suite simulation")
    };
    let number = |variable: &str| std::env::var(variable).ok().and_then(|text| text.parse::<u64>().ok());
    if let Some(seed) = number("HEADWATER_SIMULATION_SEED") {
        return run::run_seed(seed).map(drop).map_err(|message| failed(seed, message));
    }
    let time = Duration::from_secs(number("HEADWATER_SIMULATION_SECONDS").unwrap_or(DEFAULT_SECONDS));
    let first: u64 = rand::rng().random_range(0..1 << 48);
    let clock = SystemClock::default();
    let (mut seeds, mut total) = (0, Tally::default());
    while clock.elapsed() < time {
        let tally = run::run_seed(first + seeds).map_err(|message| failed(first + seeds, message))?;
        seeds += 1;
        total.kills += tally.kills;
        total.power_losses += tally.power_losses;
        total.disk_failures += tally.disk_failures;
        total.events += tally.events;
        total.deliveries += tally.deliveries;
    }
    let Tally { kills, power_losses, disk_failures, events, deliveries } = total;
    println!(
        "simulation: {seeds} seeds from {first}, {kills} kills, {power_losses} power losses, {disk_failures} disk failures, \
         {events} events, {deliveries} deliveries; nothing lost, nothing twice"
    );
    if kills + power_losses == 0 || deliveries == 0 {
        Err("nothing was killed or delivered: the simulation proves nothing".to_string())
    } else {
        Ok(())
    }
}
