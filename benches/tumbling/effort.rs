//! What a run took: time, and the time of all cores together, which other work on the machine disturbs less.

use std::time::Duration;

use headwater::{Clock, SystemClock};

/// Ticks a second in `/proc`; Linux has had 100 on every machine for decades.
const TICKS_PER_SECOND: f64 = 100.0;

/// What a run took.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    pub time: Duration,
    /// Seconds of all cores together; NaN where the system does not tell.
    pub cores_s: f64,
}

impl Effort {
    /// Rows a second.
    #[allow(clippy::cast_precision_loss, reason = "a rate for people")]
    pub fn rate(&self, rows: u64) -> f64 {
        rows as f64 / self.time.as_secs_f64()
    }
}

/// Measures from its start on.
pub struct Meter<'a> {
    clock: &'a SystemClock,
    time: Duration,
    cores_s: f64,
}

impl<'a> Meter<'a> {
    pub fn start(clock: &'a SystemClock) -> Self {
        Self { clock, time: clock.elapsed(), cores_s: cores_s() }
    }

    pub fn stop(&self) -> Effort {
        Effort { time: self.clock.elapsed() - self.time, cores_s: cores_s() - self.cores_s }
    }
}

/// Seconds that this process has had of all cores.
fn cores_s() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name, in brackets, may have spaces.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: Vec<f64> = fields.skip(11).take(2).filter_map(|ticks| ticks.parse().ok()).collect();
    if ticks.len() == 2 { (ticks[0] + ticks[1]) / TICKS_PER_SECOND } else { f64::NAN }
}
