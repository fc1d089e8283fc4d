//! Apache Kafka: topics as sources, and as sinks by transactions.

mod asker;
mod connector;
mod hunger;
mod queue;
mod reader;
mod settings;
mod sink;
mod start;
mod topic_keys;
mod watch;
mod writer;

pub(crate) use connector::Kafka;
