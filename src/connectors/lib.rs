//! How events come in and results go out: the traits, and one folder a connector.
#![deny(unsafe_code)]

mod blackhole;
mod connector;
mod definition;
mod file;
mod format;
mod generator;
mod kafka;
mod key_changes;
mod options;
mod pause;
mod postgres;
mod print;
mod registry;
#[cfg(test)]
mod service_tests;
mod sink;
mod source;

pub use connector::{Capabilities, Connector, OptionSpec};
pub use definition::{Encoding, Format, Include, Options, SinkDefinition, SourceDefinition};
pub use options::check_options;
pub use registry::{Registry, all};
pub use sink::{Delivery, Mark, Sink};
pub use source::{Partition, Position, Positions, Reject, Source, SourceBatch, SourceEvent};
