//! The system relations that clients read: `pg_catalog`, `information_schema` and `headwater`, and the functions that go with them.

mod functions;
mod headwater;
mod information_schema;
mod objects;
mod pg_class;
mod pg_fixed;
mod pg_type;
mod pg_views;
#[cfg(test)]
mod psql_queries;
mod relation;
mod rewrite;
mod sizes;
mod system_subquery;
mod view_definition;

pub use functions::{Seen, SeenNow, functions};
pub use headwater::{CheckpointStatus, SessionStatus, Status};
pub use pg_type::{
    JSONB_OID, PgType, TEXT_OID, TYPE_METADATA, TYPES, WireType, element_type, format_type, parameter_type, type_of_oid, wire_type,
};
pub use relation::{Facts, Relation};
pub use rewrite::rewrite;

use arrow::datatypes::SchemaRef;

/// The system relations that have rows.
const FILLED: &[Relation] = &[
    pg_class::PG_CLASS,
    pg_class::PG_ATTRIBUTE,
    pg_class::PG_ATTRDEF,
    pg_class::PG_INDEX,
    pg_class::PG_CONSTRAINT,
    pg_class::PG_DESCRIPTION,
    pg_class::PG_FOREIGN_TABLE,
    pg_class::PG_FOREIGN_SERVER,
    pg_class::PG_DEPEND,
    pg_class::PG_DATABASE,
    pg_fixed::PG_NAMESPACE,
    pg_fixed::PG_AM,
    pg_fixed::PG_COLLATION,
    pg_fixed::PG_TABLESPACE,
    pg_fixed::PG_TYPE,
    pg_fixed::PG_PROC,
    pg_views::PG_TABLES,
    pg_views::PG_VIEWS,
    pg_views::PG_MATVIEWS,
    pg_views::PG_INDEXES,
    pg_views::PG_ROLES,
    pg_views::PG_AUTHID,
    pg_views::PG_USER,
    pg_views::PG_SETTINGS,
    pg_views::PG_STAT_ACTIVITY,
    information_schema::SCHEMATA,
    information_schema::TABLES,
    information_schema::COLUMNS,
    information_schema::VIEWS,
    information_schema::TABLE_CONSTRAINTS,
    information_schema::KEY_COLUMN_USAGE,
    headwater::SOURCES,
    headwater::VIEWS,
    headwater::SINKS,
    headwater::OPERATORS,
    headwater::CHECKPOINTS,
    headwater::EPOCHS,
    headwater::SETTINGS_RELATION,
    headwater::SESSIONS,
    headwater::JOBS,
];

/// Every system relation, always in the same order.
pub fn relations() -> impl Iterator<Item = &'static Relation> {
    FILLED.iter().chain(pg_fixed::EMPTY)
}

/// The system relation `schema.name`.
#[must_use]
pub fn find(schema: &str, name: &str) -> Option<&'static Relation> {
    relations().find(|r| r.schema == schema && r.name == name)
}

/// Schema, name and columns of every system relation, as the planner takes them.
#[must_use]
pub fn declarations() -> Vec<(String, String, SchemaRef)> {
    relations().map(|r| (r.schema.to_owned(), r.name.to_owned(), r.schema())).collect()
}

/// True if the relation shows how the database stands, so that [`Facts::status`] must be filled; the others need the catalog alone.
#[must_use]
pub fn shows_status(schema: &str, name: &str) -> bool {
    (schema == "headwater" && name != "settings") || name == "pg_stat_activity" || name == "pg_class"
}
