//! What types are called, in errors, DESCRIBE and the catalog: PostgreSQL's names.

use datafusion::arrow::datatypes::{DataType, Field};

/// Metadata key that tells what Arrow's type does not.
pub(crate) const TYPE_KEY: &str = "headwater.type";

/// The name of a type in SQL.
pub(crate) fn sql_name(field: &Field) -> String {
    let Some(name) = field.metadata().get(TYPE_KEY) else { return type_name(field.data_type()) };
    match name.split_once('(') {
        Some(("varchar", length)) => format!("character varying({length}"),
        Some(("char", length)) => format!("character({length}"),
        Some(("timestamptz", digits)) => format!("timestamp({digits} with time zone"),
        Some((time, digits)) => format!("{time}({digits} without time zone"),
        None => name.clone(),
    }
}

pub(crate) fn type_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Boolean => "boolean".into(),
        DataType::Int8 | DataType::Int16 | DataType::UInt8 => "smallint".into(),
        DataType::Int32 | DataType::UInt16 => "integer".into(),
        DataType::Int64 | DataType::UInt32 | DataType::UInt64 => "bigint".into(),
        DataType::Float16 | DataType::Float32 => "real".into(),
        DataType::Float64 => "double precision".into(),
        DataType::Decimal128(38, 10) => "numeric".into(),
        DataType::Decimal32(p, s) | DataType::Decimal64(p, s) | DataType::Decimal128(p, s) | DataType::Decimal256(p, s) => {
            format!("numeric({p},{s})")
        }
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "character varying".into(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => "bytea".into(),
        DataType::Date32 | DataType::Date64 => "date".into(),
        DataType::Time32(_) | DataType::Time64(_) => "time without time zone".into(),
        DataType::Timestamp(_, None) => "timestamp without time zone".into(),
        DataType::Timestamp(_, Some(_)) => "timestamp with time zone".into(),
        DataType::Interval(_) | DataType::Duration(_) => "interval".into(),
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => format!("{}[]", type_name(item.data_type())),
        other => other.to_string().to_lowercase(),
    }
}
