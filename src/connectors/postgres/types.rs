//! Which PostgreSQL type each column travels as, and which column types of a target take it.

use arrow::datatypes::{DataType, Field, TimeUnit};
use headwater_types::{Error, Result};

/// How a column is sent, and where it may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PgType {
    /// The element type of the array parameter, as in `$1::int8[]`.
    pub(super) sent: &'static str,
    /// What the elements are cast to where they are read, if that is not what they are sent as.
    pub(super) cast: Option<&'static str>,
    /// Names in `pg_type` of the target columns that hold every value without loss, or refuse it with an error.
    pub(super) fits: &'static [&'static str],
}

const fn plain(sent: &'static str, fits: &'static [&'static str]) -> PgType {
    PgType { sent, cast: None, fits }
}

/// Lists travel as their text form: `unnest` would take a list of lists apart.
const fn list(cast: &'static str, fits: &'static [&'static str]) -> PgType {
    PgType { sent: "text", cast: Some(cast), fits }
}

/// The type that `field` travels as.
///
/// # Errors
/// `Unsupported`, naming the column.
pub(super) fn pg_type(field: &Field) -> Result<PgType> {
    let marked = |name: &str| field.metadata().get("headwater.type").is_some_and(|t| t == name);
    Ok(match field.data_type() {
        DataType::Boolean => plain("bool", &["bool"]),
        DataType::Int16 => plain("int2", &["int2", "int4", "int8", "numeric"]),
        DataType::Int32 => plain("int4", &["int4", "int8", "numeric"]),
        DataType::Int64 => plain("int8", &["int8", "numeric"]),
        DataType::Float32 => plain("float4", &["float4", "float8"]),
        DataType::Float64 => plain("float8", &["float8"]),
        // A sum of whole numbers is numeric; PostgreSQL refuses one that a bigint cannot hold.
        DataType::Decimal128(_, 0) => plain("numeric", &["numeric", "int8"]),
        DataType::Decimal128(_, 1..) => plain("numeric", &["numeric"]),
        DataType::Utf8 if marked("jsonb") => plain("jsonb", &["jsonb", "json", "text", "varchar"]),
        DataType::Utf8 => plain("text", &["text", "varchar", "bpchar"]),
        DataType::Binary => plain("bytea", &["bytea"]),
        DataType::Date32 => plain("date", &["date"]),
        DataType::Time64(TimeUnit::Microsecond) => plain("time", &["time"]),
        DataType::Timestamp(TimeUnit::Microsecond, None) => plain("timestamp", &["timestamp"]),
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => plain("timestamptz", &["timestamptz"]),
        DataType::Interval(arrow::datatypes::IntervalUnit::MonthDayNano) => plain("interval", &["interval"]),
        DataType::FixedSizeBinary(16) => plain("uuid", &["uuid"]),
        DataType::List(of) => match of.data_type() {
            DataType::Boolean => list("bool[]", &["_bool"]),
            DataType::Int16 => list("int2[]", &["_int2"]),
            DataType::Int32 => list("int4[]", &["_int4"]),
            DataType::Int64 => list("int8[]", &["_int8"]),
            DataType::Utf8 => list("text[]", &["_text", "_varchar"]),
            other => return Err(refused(field, &format!("a list of {other}"))),
        },
        other => return Err(refused(field, &other.to_string())),
    })
}

fn refused(field: &Field, what: &str) -> Error {
    Error::unsupported(format!("column \"{}\": {what} into PostgreSQL", field.name()))
}
