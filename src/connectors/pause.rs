//! Waiting inside `Source::poll`, never for longer than the poll was told to.

use std::time::Duration;

/// Returns after `duration`.
pub(crate) fn pause(duration: Duration) {
    let nothing = crossbeam_channel::never::<()>();
    // Nobody sends on it: this is a sleep that says so.
    let _timed_out = nothing.recv_timeout(duration);
}
