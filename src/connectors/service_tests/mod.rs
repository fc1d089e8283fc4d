//! Connectors against real services: started by `script/services`, skipped with a loud word where one does not run.

mod kafka_security;
mod kafka_sink;
mod kafka_source;
mod kafka_topic;
mod postgres_sink;
mod postgres_types;
mod services;
