//! What the runtime is told of each object: plain data plus the connector or plan that makes it run.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use headwater_connectors::{Connector, SinkDefinition, SourceDefinition};
use headwater_operators::Plan;
use headwater_state::TableId;
use headwater_types::{Micros, ObjectId};

/// `WATERMARK FOR column AS column - delay`, with the options that go with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventTime {
    /// Index of the event time column, a timestamp in microseconds.
    pub column: usize,
    /// How far the watermark stays behind the greatest time seen.
    pub delay_us: Micros,
    /// A partition at its end and silent for this long is set aside. `None`: never.
    pub idle_timeout_us: Option<Micros>,
    /// Rows dated further than this beyond epoch time are rejected.
    pub max_ahead_us: Micros,
    /// When all partitions are silent: event time moves with the clock instead of standing still.
    pub advance_when_idle: bool,
}

/// A stream from outside.
#[derive(Clone)]
pub struct SourceDef {
    /// Its number in the catalog.
    pub id: ObjectId,
    /// What the connector needs.
    pub definition: SourceDefinition,
    /// What reads it.
    pub connector: Arc<dyn Connector>,
    /// Its watermark, if it has one.
    pub event_time: Option<EventTime>,
}

/// A table of ours.
#[derive(Debug, Clone)]
pub struct TableDef {
    /// Its number in the catalog.
    pub id: ObjectId,
    /// Its name, for messages.
    pub name: String,
    /// Its columns.
    pub schema: SchemaRef,
    /// Columns of the primary key; empty without one.
    pub primary_key: Vec<usize>,
    /// Rows are never changed or deleted.
    pub append_only: bool,
    /// Its watermark, if it has one.
    pub event_time: Option<EventTime>,
}

/// A materialized view.
#[derive(Debug, Clone)]
pub struct ViewDef {
    /// Its number in the catalog, greater than those of everything it reads.
    pub id: ObjectId,
    /// Its name, for messages.
    pub name: String,
    /// Its operators.
    pub plan: Plan,
}

/// A sink.
#[derive(Clone)]
pub struct SinkDef {
    /// Its number in the catalog.
    pub id: ObjectId,
    /// The relation it delivers.
    pub from: TableId,
    /// What the connector needs.
    pub definition: SinkDefinition,
    /// What delivers.
    pub connector: Arc<dyn Connector>,
    /// Never ahead of the last durable checkpoint (append sinks with a checkpoint URL).
    pub wait_for_checkpoint: bool,
    /// Rows of an append sink may come twice: after a restore it goes on from what the checkpoint knows of it.
    pub may_repeat: bool,
}

/// Any object that runs.
#[derive(Clone)]
pub enum Definition {
    /// A stream from outside.
    Source(SourceDef),
    /// A table.
    Table(TableDef),
    /// A materialized view.
    View(Box<ViewDef>),
    /// A sink.
    Sink(Box<SinkDef>),
}
