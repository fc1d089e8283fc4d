//! The write of an epoch: by the loop, or by a thread of its own while the next epoch is gathered; without room on the disk it waits.

mod room;
mod thread;

use headwater_state::Writes;

pub(crate) use thread::Committer;

/// An epoch that is ready to be written.
pub(crate) struct Commit {
    pub writes: Writes,
    /// What follows from its being written: readers see it, whoever waited for it is told.
    pub then: Box<dyn FnOnce() + Send>,
}
