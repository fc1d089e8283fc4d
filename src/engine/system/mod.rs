//! The system relations that clients read: `pg_catalog`, `information_schema` and `headwater`, and the functions that go with them.

mod pg_type;

pub use pg_type::{JSONB_OID, PgType, TYPE_METADATA, TYPES, WireType, format_type, parameter_type, type_of_oid, wire_type};
