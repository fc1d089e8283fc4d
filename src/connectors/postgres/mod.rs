//! PostgreSQL: tables as the targets of sinks, the mark in the same transaction as the rows.

mod connector;
mod numeric;
mod session;
mod sink;
mod statements;
mod target;
mod tls;
mod types;
mod values;

pub(crate) use connector::Postgres;
