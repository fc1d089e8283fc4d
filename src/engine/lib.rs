//! The embedded API: a database in this process, opened on a directory, spoken to in SQL.
//!
//! `Database::open`, then `Session::execute` and `Session::query`; `Database::subscribe` and `Database::inserter` for Arrow without SQL.
#![deny(unsafe_code)]

mod activity;
mod block;
mod checkpointer;
mod connect;
mod cursor;
mod database;
mod ddl;
mod dml;
mod inserter;
mod made_up;
mod options;
mod oracle;
mod outcome;
mod provider;
mod query;
mod recovery;
mod script;
mod session;
mod show;
pub mod system;
mod tasks;

pub use database::{Database, Trouble, TroubleWatch};
pub use dml::CopyIn;
pub use headwater_checkpoint as checkpoint;
pub use headwater_connectors as connectors;
pub use headwater_runtime::{EpochChanges, Status, WriteDone};
pub use headwater_sql::{CopyFormat, Statement, moment, render};
pub use headwater_state::{BlockStore, MemoryStore};
pub use headwater_types::{ChangeBatch, Clock, Epoch, Error, ErrorKind, HeldClock, Result, SystemClock};
pub use inserter::{Inserter, Subscription};
pub use options::Options;
pub use outcome::{CopyKind, Notice, Outcome, Rows};
pub use provider::ours as query_error;
pub use session::{BlockState, CancelHandle, Prepared, Session};
