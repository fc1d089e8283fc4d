//! A source or sink as it was declared: columns, options, format.

use std::collections::BTreeMap;

use arrow::datatypes::SchemaRef;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// `WITH (…)`: names in lower case, values as written, without quotes.
pub type Options = BTreeMap<String, String>;

/// `FORMAT`: what a record means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
pub enum Format {
    /// Each record is a row of its own.
    #[default]
    Plain,
    /// A record replaces or deletes the row of its key.
    Upsert,
}

/// `ENCODE`: how a record's bytes are read or written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Encoding {
    /// One JSON object a record (a line, in files).
    Json,
    /// Comma-separated values.
    Csv,
    /// Parquet files.
    Parquet,
    /// The connector makes columns itself.
    Native,
}

/// `INCLUDE what AS column`: what the connector knows of a record beside its payload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Include {
    /// `key`, `partition`, `offset`, `timestamp`, `headers`, `file`.
    pub what: String,
    /// Index of the column that takes it.
    pub column: usize,
}

/// A declared source.
#[derive(Debug, Clone)]
pub struct SourceDefinition {
    /// Its name, for messages.
    pub name: String,
    /// All columns, those of `INCLUDE` among them; `nullable = false` where NOT NULL was declared.
    pub schema: SchemaRef,
    /// `WITH (…)` without `connector` and `watermark.*`.
    pub options: Options,
    /// What a record means.
    pub format: Format,
    /// How it is read.
    pub encoding: Encoding,
    /// `ENCODE JSON (…)`.
    pub encoding_options: Options,
    /// Columns that the connector fills.
    pub includes: Vec<Include>,
}

/// A declared sink.
#[derive(Debug, Clone)]
pub struct SinkDefinition {
    /// Its name, for messages.
    pub name: String,
    /// Never used again after a drop; part of every mark.
    pub uuid: Uuid,
    /// The view's columns.
    pub schema: SchemaRef,
    /// `primary_key`, as column indices; empty for an append sink.
    pub key: Vec<usize>,
    /// True for an upsert sink.
    pub upsert: bool,
    /// `WITH (…)` without `connector`, `type` and `primary_key`.
    pub options: Options,
    /// What a record means.
    pub format: Format,
    /// How it is written.
    pub encoding: Encoding,
    /// `ENCODE JSON (…)`.
    pub encoding_options: Options,
}
