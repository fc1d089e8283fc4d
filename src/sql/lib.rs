//! From text to plans: our statements over sqlparser, names and types by DataFusion, lowering to operators, errors that underline the SQL.
#![deny(unsafe_code)]

mod binder;
mod bound;
mod casts;
mod context;
mod diagnostics;
mod dialect;
mod errors;
#[cfg(test)]
mod expected;
mod floats;
mod functions;
mod literals;
mod marks;
pub mod moment;
mod other_meanings;
mod parser;
mod planned_types;
mod planner;
mod query;
mod relation;
mod room;
mod settings;
mod streaming;
mod type_names;
mod types;
mod views;
mod windows;

pub use bound::{Bound, Changed, CopyFormat, CopyFrom, CopyOut, Cursor, CursorQuery, Insert, OnConflict, PlannedView, Returning, Target};
pub use diagnostics::{located, render};
pub use errors::from_datafusion;
pub use parser::{Statement, parse};
pub use planner::{Extensions, Planner, Rewrite};
pub use relation::{RelationId, RelationSource};
pub use room::with_room;
pub use settings::Settings;
pub use streaming::Refusal;
