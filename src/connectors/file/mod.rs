//! `connector = 'file'`: NDJSON, CSV and Parquet files, read once or watched, and written.

mod connector;
mod listing;
mod names;
mod parquet;
mod parts;
mod place;
mod reader;
mod records;
mod sink;
#[cfg(test)]
mod sink_tests;
#[cfg(test)]
mod tests;
mod watcher;

pub(crate) use connector::File;
