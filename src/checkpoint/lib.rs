//! Checkpoints: copies the data directory to an object store and back, and decides which process may write.
//!
//! ```text
//! manifest/<n>.json                 the chain: one object a number, created once, never changed; the highest number is the newest
//! beat/<fence>.json                 overwritten every few seconds by the holder of the lease
//! data/<fence>/<n>/<file>-<sha256>  files of the data directory, each uploaded once
//! ```
//! The chain of manifests is the lease: whoever creates the next number may write, everybody else has lost.
//! To open: [`Remote::open`], [`Lease::acquire`], [`Lease::keep_alive`] on a task, [`decide`], then as it says.
#![deny(unsafe_code)]

mod beat;
mod chain;
mod faults;
mod holder;
mod identity;
mod lease;
mod location;
mod manifest;
mod prune;
mod remote;
mod renewal;
mod restore;
mod transfer;
mod unnamed;
mod upload;

#[cfg(test)]
mod tests;

pub use faults::{Faults, FaultyStore};
pub use holder::Holder;
pub use identity::{Identity, LocalIdentity, OpenWith, decide};
pub use lease::{Claim, Lease};
pub use manifest::{Incarnation, Manifest, ManifestFile};
pub use prune::{Pruned, prune};
pub use remote::{Remote, Timing};
pub use restore::restore;
pub use transfer::{OnProgress, Progress};
pub use upload::upload;
