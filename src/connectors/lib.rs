//! How events come in and results go out: the traits, and one folder a connector.
#![deny(unsafe_code)]

mod connector;
mod definition;
mod sink;
mod source;

pub use connector::{Capabilities, Connector, OptionSpec, Registry, check_options};
pub use definition::{Encoding, Format, Include, Options, SinkDefinition, SourceDefinition};
pub use sink::{Delivery, Mark, Sink};
pub use source::{Partition, Position, Positions, Reject, Source, SourceBatch, SourceEvent};
