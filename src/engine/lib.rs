//! The embedded database.
#![deny(unsafe_code)]

pub mod system;
