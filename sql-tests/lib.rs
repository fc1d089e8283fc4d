//! Tests of the whole database: scripts, the oracle fuzz, the simulation, and the end-to-end run with real services.

pub mod oracle;
pub mod scripts;
pub mod simulation;
