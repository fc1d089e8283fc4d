//! A catalog object as plain data: everything that was declared and derived about it.

use std::collections::BTreeMap;

use arrow::datatypes::SchemaRef;
use headwater_types::{Micros, ObjectId};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Column, Part};

/// Something that has a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Object {
    /// Its number, never used again. 0 until [`crate::Catalog::create`] has given it one.
    pub id: ObjectId,
    /// Never used again anywhere, also not after a restore: what outside systems know it by. Nil until created.
    pub uuid: Uuid,
    /// Its name in schema `public`.
    pub name: String,
    /// What it is.
    pub kind: ObjectKind,
    /// The statement that made it, without final semicolon; planning it again gives the same object.
    pub sql: String,
    /// Its columns; those of the view it delivers for a sink.
    pub columns: Vec<Column>,
    /// What it reads, each once, in order of first mention.
    pub depends_on: Vec<ObjectId>,
    /// `COMMENT ON`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

impl Object {
    /// Its columns as an Arrow schema.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        Column::schema(&self.columns)
    }

    /// True if it holds rows that can be read: a table or a materialized view.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        matches!(self.kind, ObjectKind::Table(_) | ObjectKind::MaterializedView(_))
    }

    /// True if views, sinks and subscriptions can follow the changes of this relation of it; `<source>$late` is put together when it is read.
    #[must_use]
    pub fn is_followed(&self, part: Part) -> bool {
        !(part == Part::Late && matches!(self.kind, ObjectKind::Source(_)))
    }

    /// The declared watermark of a source or table.
    #[must_use]
    pub fn watermark(&self) -> Option<&Watermark> {
        match &self.kind {
            ObjectKind::Source(source) => source.watermark.as_ref(),
            ObjectKind::Table(table) => table.watermark.as_ref(),
            _ => None,
        }
    }

    /// True if no row of it is ever deleted or changed.
    #[must_use]
    pub fn is_append_only(&self) -> bool {
        match &self.kind {
            ObjectKind::Source(_) => true,
            ObjectKind::Table(table) => table.append_only,
            ObjectKind::MaterializedView(view) => view.append_only,
            ObjectKind::View | ObjectKind::Sink(_) => false,
        }
    }

    /// Columns that no two of its rows share, where we enforce that.
    #[must_use]
    pub fn key(&self) -> Option<&[usize]> {
        match &self.kind {
            ObjectKind::Table(table) if !table.primary_key.is_empty() => Some(&table.primary_key),
            ObjectKind::MaterializedView(view) => view.key.as_deref(),
            _ => None,
        }
    }

    /// Columns that carry a watermark to readers.
    #[must_use]
    pub fn watermarked(&self) -> Vec<usize> {
        match &self.kind {
            ObjectKind::MaterializedView(view) => view.watermarked.clone(),
            _ => self.watermark().map(|w| w.column).into_iter().collect(),
        }
    }
}

/// What an object is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ObjectKind {
    /// A stream from outside, not kept.
    Source(SourceSpec),
    /// Rows kept here by INSERT, UPDATE and DELETE.
    Table(TableSpec),
    /// A named query, put in place wherever it is read.
    View,
    /// A query kept up to date.
    MaterializedView(Derived),
    /// A view pushed outside.
    Sink(SinkSpec),
}

impl ObjectKind {
    /// The words for it in SQL and messages.
    #[must_use]
    pub fn noun(&self) -> &'static str {
        match self {
            ObjectKind::Source(_) => "source",
            ObjectKind::Table(_) => "table",
            ObjectKind::View => "view",
            ObjectKind::MaterializedView(_) => "materialized view",
            ObjectKind::Sink(_) => "sink",
        }
    }
}

/// How event time is taken from a column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watermark {
    /// Index of the timestamp column.
    pub column: usize,
    /// The watermark of a partition is the greatest value seen less this many microseconds.
    pub delay_us: Micros,
    /// A partition at its end and silent for so long is set aside until it speaks again; none: never.
    pub idle_timeout_us: Option<Micros>,
    /// A row dated further than this beyond epoch time goes to `$errors`.
    pub max_ahead_us: Micros,
    /// What happens while all partitions are idle.
    pub when_idle: WhenIdle,
}

impl Watermark {
    /// Default of [`Watermark::max_ahead_us`]: one hour, more than any clock is wrong that anybody still looks at.
    pub const MAX_AHEAD_US: Micros = 3_600_000_000;
}

/// What event time does while every partition of a source is idle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum WhenIdle {
    /// It stands still.
    #[default]
    Hold,
    /// It moves with the clock, so that the last windows close.
    Advance,
}

/// `FORMAT … ENCODE … (…)`, in lower case; the words are known ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Encode {
    /// `plain` or `upsert`.
    pub format: String,
    /// `json`, `csv`, `parquet` or `native`.
    pub encoding: String,
    /// Options in parentheses after ENCODE.
    pub options: BTreeMap<String, String>,
}

/// A declared source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceSpec {
    /// `connector = '…'`.
    pub connector: String,
    /// `WITH (…)` without `connector` and `watermark.*`: names in lower case, values without quotes.
    pub options: BTreeMap<String, String>,
    /// How records are read; none where the statement does not say (the connector's own default).
    pub encode: Option<Encode>,
    /// `INCLUDE what AS column`: the word in lower case, the index of the column that takes it.
    pub includes: Vec<(String, usize)>,
    /// Its event time.
    pub watermark: Option<Watermark>,
}

/// A declared table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableSpec {
    /// Column indices; empty without a primary key.
    pub primary_key: Vec<usize>,
    /// `APPEND ONLY`: UPDATE and DELETE are refused.
    pub append_only: bool,
    /// Its event time.
    pub watermark: Option<Watermark>,
}

/// What planning derived about a materialized view.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Derived {
    /// `EMIT ON WINDOW CLOSE`.
    pub emit_on_close: bool,
    /// No row of it is ever deleted.
    pub append_only: bool,
    /// Columns that no two of its rows share.
    pub key: Option<Vec<usize>>,
    /// Columns that carry a watermark.
    pub watermarked: Vec<usize>,
    /// Columns of `name$late`; none if nothing in the view refuses late rows.
    pub late: Option<Vec<Column>>,
    /// No change below its watermarks comes from it any more: within it an operator has refused those.
    #[serde(default)]
    pub promised: bool,
    /// What the stored state depends on: equal after a restart, or the state cannot be read.
    pub fingerprint: String,
    /// The version of Headwater that last opened the state, or made it; empty where none is known.
    #[serde(default)]
    pub version: String,
}

/// A declared sink.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SinkSpec {
    /// The object whose relation is delivered.
    pub from: ObjectId,
    /// Which of its relations.
    #[serde(default)]
    pub part: Part,
    /// `connector = '…'`.
    pub connector: String,
    /// `WITH (…)` without `connector`, `type` and `primary_key`.
    pub options: BTreeMap<String, String>,
    /// How records are written; none where the statement does not say.
    pub encode: Option<Encode>,
    /// True if the target holds one row a key; otherwise rows are only ever added.
    pub upsert: bool,
    /// Column indices of the key; empty for an append sink.
    pub key: Vec<usize>,
}
