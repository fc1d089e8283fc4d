//! From text to plans: our statements over sqlparser, names and types by DataFusion, lowering to operators, errors that underline the SQL.
#![deny(unsafe_code)]

mod bound;
mod diagnostics;
mod parser;
mod planner;
mod relation;
mod settings;

pub use bound::{Bound, Changed, CopyFormat, CopyFrom, CopyOut, Cursor, CursorQuery, Insert, OnConflict, PlannedView, Returning, Target};
pub use diagnostics::render;
pub use parser::{Statement, parse};
pub use planner::{Extensions, Planner};
pub use relation::{RelationId, RelationSource};
pub use settings::Settings;
