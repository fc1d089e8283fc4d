//! `connector = 'file'`: NDJSON, CSV and Parquet files, read once or watched, and written.

mod connector;
mod listing;
mod parquet;
mod place;
mod reader;
mod records;
#[cfg(test)]
mod tests;
mod watcher;

pub(crate) use connector::File;
