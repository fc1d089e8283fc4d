//! What the command does beyond reading its arguments, as a library that the tests use too.
#![deny(unsafe_code)]

pub mod slt;
