//! Tests of the whole room, on stores that fail.

mod lease;
mod prune;
mod service;
mod transfer;
mod world;
