//! What the command does beyond reading its arguments, as a library that the tests use too.
#![deny(unsafe_code)]

mod arguments;
mod progress;
pub mod run;
pub mod serve;
mod show;
pub mod slt;
mod troubles;

pub use arguments::{Arguments, Command, RunArguments, ServeArguments, StorageArguments};
