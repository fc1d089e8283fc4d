//! Where time comes from: the machine's clock, or one that a test holds.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::Micros;

/// The only source of time. Product code never calls `SystemTime::now` or `Instant::now` itself.
pub trait Clock: Send + Sync {
    /// Wall-clock time in microseconds since 1970, UTC.
    fn now(&self) -> Micros;

    /// Time since an arbitrary start; never goes back, is not set by anyone. For time-outs and rates.
    fn elapsed(&self) -> Duration;

    /// True where [`Clock::now`] moves only by command, so that nobody may wait for it to pass.
    fn is_held(&self) -> bool {
        false
    }

    /// Moves a held clock on; the machine's clock moves by itself.
    fn advance(&self, micros: Micros) {
        let _ = micros;
    }
}

/// The machine's clock.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl Default for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "the one place that wraps the machine's clock")]
    fn default() -> Self {
        Self { start: Instant::now() }
    }
}

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "the one place that wraps the machine's clock")]
    fn now(&self) -> Micros {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Micros::try_from(since.as_micros()).unwrap_or(Micros::MAX)
    }

    fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }
}

/// A clock that moves only when told to; wall-clock time for tests and simulations. `elapsed` goes on by itself, so that time-outs still end.
#[derive(Debug)]
pub struct HeldClock {
    now: AtomicI64,
    machine: SystemClock,
}

impl HeldClock {
    /// 2026-01-01 00:00:00 UTC, where test scripts start.
    pub const TEST_START: Micros = 1_767_225_600_000_000;

    /// A clock held at `now`.
    #[must_use]
    pub fn at(now: Micros) -> Self {
        Self { now: AtomicI64::new(now), machine: SystemClock::default() }
    }
}

impl Clock for HeldClock {
    fn now(&self) -> Micros {
        self.now.load(Ordering::SeqCst)
    }

    fn elapsed(&self) -> Duration {
        self.machine.elapsed()
    }

    fn is_held(&self) -> bool {
        true
    }

    fn advance(&self, micros: Micros) {
        self.now.fetch_add(micros, Ordering::SeqCst);
    }
}
