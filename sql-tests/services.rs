//! The main job against a real broker, PostgreSQL and an S3 server, with processes killed in the middle; then everything is counted.
//!
//! `HEADWATER_EVENTS` (100,000), `HEADWATER_KILLS` (3) and `HEADWATER_SEED` make it longer or different; the seed is printed.

#[path = "services/child.rs"]
mod child;
#[path = "services/events.rs"]
mod events;
#[path = "services/main_job.rs"]
mod main_job;
#[path = "services/outside.rs"]
mod outside;

use std::io::Write;

use libtest_mimic::{Arguments, Trial};

fn main() -> std::process::ExitCode {
    if child::is_child() {
        return child::run();
    }
    let arguments = Arguments::from_args();
    let trial = Trial::test("the_main_job_survives_kills", || {
        main_job::run();
        Ok(())
    });
    libtest_mimic::run(&arguments, vec![trial]).exit_code()
}

/// A test that did not run must be seen.
pub fn skip(why: &str) {
    let _unseen = writeln!(std::io::stderr(), "SKIPPED the_main_job_survives_kills: {why}");
}

/// A number from the environment.
pub fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|n| n.parse().ok()).unwrap_or(default)
}
