//! Tests of the whole database: scripts, the embedded API, the oracle fuzz, the simulation, and the end-to-end run with real services.

pub mod catching_up;
pub mod embedded;
pub mod oracle;
pub mod scripts;
pub mod simulation;
/// The runner of `headwater test`, from its own file: the suite needs nothing else of the command.
#[path = "../src/cli/slt.rs"]
pub mod slt;
