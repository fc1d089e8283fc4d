//! What exists: sources, tables, views and sinks as plain data, their names, and who depends on whom.
#![deny(unsafe_code)]

mod catalog;
mod column;
mod object;
mod part;
mod stored;

pub use catalog::{Catalog, Named};
pub use column::Column;
pub use object::{Derived, Encode, Object, ObjectKind, SinkSpec, SourceSpec, TableSpec, Watermark, WhenIdle};
pub use part::Part;
