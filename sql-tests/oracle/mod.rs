//! The oracle fuzz: random schemas, queries and changes; after every epoch each view must equal its query run as a batch.

mod call;
mod changes;
mod compare;
mod event_time;
mod expression;
mod query;
mod relation;
mod run;
mod values;

use std::time::Duration;

use headwater_types::{Clock, SystemClock};
use libtest_mimic::Trial;
use rand::Rng;

/// How long each fuzz looks for a failing seed when nobody says.
const DEFAULT_SECONDS: u64 = 60;

/// The fuzz over tables that change, and the one over event time.
pub fn trials() -> Vec<Trial> {
    vec![
        Trial::test("fuzz::changes", || fuzz("fuzz::changes", run::run_seed).map_err(Into::into)),
        Trial::test("fuzz::event_time", || fuzz("fuzz::event_time", event_time::run_seed).map_err(Into::into)),
    ]
}

/// What one seed did.
#[derive(Default)]
pub struct Tally {
    /// Comparisons of a view with its batch.
    pub comparisons: usize,
    /// Views made.
    pub views: usize,
    /// Views that the database said it does not do.
    pub refused: usize,
}

/// Runs new seeds until the time is over; `HEADWATER_FUZZ_SECONDS` says how long in all, `HEADWATER_FUZZ_SEED` runs one seed only.
fn fuzz(name: &str, run_seed: fn(u64) -> Result<Tally, String>) -> Result<(), String> {
    let failed = |seed: u64, message: String| {
        format!("seed {seed}: {message}\nagain: HEADWATER_FUZZ_SEED={seed} cargo test -p sql-tests --test suite {name}")
    };
    if let Some(seed) = number("HEADWATER_FUZZ_SEED") {
        return run_seed(seed).map(drop).map_err(|message| failed(seed, message));
    }
    let time = Duration::from_secs(number("HEADWATER_FUZZ_SECONDS").map_or(DEFAULT_SECONDS, |all| all.div_ceil(2)));
    let first: u64 = rand::rng().random_range(0..1 << 48);
    let clock = SystemClock::default();
    let mut total = Tally::default();
    let mut seeds = 0;
    while clock.elapsed() < time {
        let seed = first + seeds;
        let tally = run_seed(seed).map_err(|message| failed(seed, message))?;
        total.comparisons += tally.comparisons;
        total.views += tally.views;
        total.refused += tally.refused;
        seeds += 1;
    }
    println!(
        "{name}: {seeds} seeds from {first}, {} views ({} refused), {} comparisons, none differed",
        total.views, total.refused, total.comparisons
    );
    if total.comparisons == 0 || total.refused * 5 > total.views {
        return Err(format!(
            "{} comparisons, {} of {} views refused: the fuzz proves nothing",
            total.comparisons, total.refused, total.views
        ));
    }
    Ok(())
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}
