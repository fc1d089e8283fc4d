//! The running database: the epoch loop, the graph of views, source readers, sink deliveries, recovery.
#![deny(unsafe_code)]

mod backfill;
mod command;
mod commit;
mod ddl;
mod definition;
mod delivery;
mod disk;
mod diverted;
mod epoch_loop;
mod event_time;
mod feed;
mod filling;
mod gather;
mod graph;
mod meeting;
mod persisted;
mod published;
mod reader;
mod relations;
mod report;
mod scan;
mod sinks;
mod sources;
mod status;
mod sync;
mod table;
mod tasks;

pub use command::{Conflict, EpochChanges, Runtime, Setup, TableWrite, WriteDone, last_epoch};
pub use definition::{Definition, EventTime, SinkDef, SourceDef, TableDef, ViewDef};
pub use diverted::{late_schema, source_errors_schema, view_errors_schema};
pub use event_time::{Dated, Refused};
pub use published::{Published, PublishedCell, RelationState};
pub use scan::{LeftOut, SourceScan};
pub use status::{EpochStatus, JobStatus, PartitionStatus, SinkStatus, SourceStatus, Status, TableStatus, Trouble, Troubles, ViewStatus};
pub use table::duplicate_key;
pub use tasks::{panic_message, spawn_thread};
