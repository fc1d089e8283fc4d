//! Until when a holder may write: counted from the beginning of its last good renewal, by a clock that nobody sets.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use headwater_types::Clock;

/// The holder's own view of its lease. Once it ran out, a late beat does not bring it back: somebody else may have watched it run out.
#[derive(Debug)]
pub(crate) struct Renewals {
    began: Duration,
    good: Duration,
    ran_out: bool,
}

impl Renewals {
    /// A lease taken by a create that began at `began`; each renewal is worth `good`.
    pub fn new(began: Duration, good: Duration) -> Self {
        Self { began, good, ran_out: false }
    }

    /// True while writing is allowed at `now`.
    pub fn is_good(&self, now: Duration) -> bool {
        !self.ran_out && now.saturating_sub(self.began) < self.good
    }

    /// A beat that began at `began` is known at `now` to have been written. False if it came too late to count.
    pub fn beat(&mut self, began: Duration, now: Duration) -> bool {
        if !self.is_good(now) {
            self.ran_out = true;
            return false;
        }
        self.began = self.began.max(began);
        true
    }

    /// A manifest whose create began at `began` stands in the chain: the lease is ours whatever happened before.
    pub fn created(&mut self, began: Duration) {
        self.began = self.began.max(began);
        self.ran_out = false;
    }
}

/// Time since the machine was started, suspension included, where the system tells; otherwise the given clock's own.
pub(crate) struct BootClock {
    /// Kept open: a lease must not live on because the process ran out of file handles.
    uptime: Option<File>,
    clock: Arc<dyn Clock>,
}

impl BootClock {
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { uptime: File::open("/proc/uptime").ok(), clock }
    }

    /// Never goes back. `Duration::MAX`, at which no lease is good, if the system stops telling.
    pub fn now(&self) -> Duration {
        let Some(uptime) = &self.uptime else { return self.clock.elapsed() };
        let mut text = [0; 64];
        let read = uptime.read_at(&mut text, 0).unwrap_or(0);
        let seconds = std::str::from_utf8(&text[..read]).ok().and_then(|text| text.split(' ').next()?.parse::<f64>().ok());
        seconds.map_or(Duration::MAX, Duration::from_secs_f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_beat_does_not_bring_a_lease_back() {
        let at = Duration::from_secs;
        let mut lease = Renewals::new(at(0), at(10));
        assert!(lease.is_good(at(9)) && !lease.is_good(at(10)));
        assert!(lease.beat(at(5), at(9)), "in time");
        assert!(lease.is_good(at(14)) && !lease.is_good(at(15)), "counted from its beginning");
        assert!(!lease.beat(at(14), at(16)), "began in time, ended too late");
        assert!(!lease.is_good(at(16)) && !lease.beat(at(16), at(16)));
        lease.created(at(20));
        assert!(lease.is_good(at(29)));
    }

    #[test]
    fn the_boot_clock_runs() {
        let clock = BootClock::new(Arc::new(headwater_types::SystemClock::default()));
        let first = clock.now();
        std::thread::park_timeout(Duration::from_millis(30));
        assert!(clock.now() > first && clock.now() < Duration::MAX);
    }
}
