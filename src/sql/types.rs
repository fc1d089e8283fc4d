//! SQL type names to Arrow types.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef, IntervalUnit, TimeUnit};
use datafusion::common::Result;
use datafusion::logical_expr::planner::TypePlanner;
use datafusion::sql::sqlparser::ast::{self, ArrayElemTypeDef, ExactNumberInfo, TimezoneInfo};
use headwater_types::Error;

use crate::errors::into_datafusion;

/// Metadata key that tells what Arrow's type does not.
pub(crate) const TYPE_KEY: &str = "headwater.type";

/// NUMERIC without precision.
const NUMERIC: DataType = DataType::Decimal128(38, 10);

/// Asked first for every type name in a statement.
#[derive(Debug)]
pub(crate) struct Types;

impl TypePlanner for Types {
    fn plan_type_field(&self, sql_type: &ast::DataType) -> Result<Option<FieldRef>> {
        field(sql_type).map(Some).map_err(into_datafusion)
    }
}

/// The type of `sql_type` as a nullable field named `column`, with what Arrow does not know as metadata.
pub(crate) fn field(sql_type: &ast::DataType) -> headwater_types::Result<FieldRef> {
    let data_type = data_type(sql_type)?;
    let metadata = match sql_type {
        ast::DataType::Uuid => Some("uuid".to_owned()),
        ast::DataType::JSON => Some("json".to_owned()),
        ast::DataType::JSONB => Some("jsonb".to_owned()),
        _ => length_max(sql_type).map(|n| format!("varchar({n})")),
    };
    let field = Field::new("column", data_type, true);
    Ok(Arc::new(match metadata {
        Some(text) => field.with_metadata([(TYPE_KEY.to_owned(), text)].into()),
        None => field,
    }))
}

/// `n` of VARCHAR(n).
fn length_max(sql_type: &ast::DataType) -> Option<u64> {
    use ast::DataType as T;
    match sql_type {
        T::Varchar(length) | T::CharacterVarying(length) | T::CharVarying(length) | T::Char(length) | T::Character(length) => {
            match length {
                Some(ast::CharacterLength::IntegerLength { length, .. }) => Some(*length),
                _ => None,
            }
        }
        _ => None,
    }
}

fn data_type(sql_type: &ast::DataType) -> headwater_types::Result<DataType> {
    use ast::DataType as T;
    Ok(match sql_type {
        T::Boolean | T::Bool => DataType::Boolean,
        T::SmallInt(_) | T::Int2(_) => DataType::Int16,
        T::Int(_) | T::Integer(_) | T::Int4(_) => DataType::Int32,
        T::BigInt(_) | T::Int8(_) => DataType::Int64,
        T::Real | T::Float4 => DataType::Float32,
        T::Float(info) => match info {
            ExactNumberInfo::Precision(p) if *p <= 24 => DataType::Float32,
            _ => DataType::Float64,
        },
        T::Double(_) | T::DoublePrecision | T::Float8 => DataType::Float64,
        T::Numeric(info) | T::Decimal(info) | T::Dec(info) => numeric(info)?,
        T::Varchar(_)
        | T::CharacterVarying(_)
        | T::CharVarying(_)
        | T::Char(_)
        | T::Character(_)
        | T::Text
        | T::String(_)
        | T::JSON
        | T::JSONB => DataType::Utf8,
        T::Bytea => DataType::Binary,
        T::Date => DataType::Date32,
        T::Time(_, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => DataType::Time64(TimeUnit::Microsecond),
        T::Timestamp(_, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) | T::TimestampNtz(_) => {
            DataType::Timestamp(TimeUnit::Microsecond, None)
        }
        T::Timestamp(_, TimezoneInfo::Tz | TimezoneInfo::WithTimeZone) => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        T::Interval { .. } => DataType::Interval(IntervalUnit::MonthDayNano),
        T::Uuid => DataType::FixedSizeBinary(16),
        T::Array(
            ArrayElemTypeDef::SquareBracket(element, _) | ArrayElemTypeDef::AngleBracket(element) | ArrayElemTypeDef::Parenthesis(element),
        ) => DataType::List(Arc::new(Field::new_list_field(data_type(element)?, true))),
        T::Regclass => DataType::Utf8,
        T::Custom(name, _) => custom(&name.to_string())?,
        other => return Err(Error::unsupported(format!("type {other} is not supported"))),
    })
}

fn custom(name: &str) -> headwater_types::Result<DataType> {
    match name.to_lowercase().as_str() {
        "name" | "regproc" | "regtype" | "regnamespace" => Ok(DataType::Utf8),
        "oid" => Ok(DataType::Int64),
        _ => Err(Error::not_found(format!("type \"{name}\" does not exist")).with_sqlstate("42704")),
    }
}

fn numeric(info: &ExactNumberInfo) -> headwater_types::Result<DataType> {
    let (precision, scale) = match info {
        ExactNumberInfo::None => return Ok(NUMERIC),
        ExactNumberInfo::Precision(p) => (*p, 0),
        ExactNumberInfo::PrecisionAndScale(p, s) => (*p, *s),
    };
    let valid = (1..=38).contains(&precision) && (0..=i64::try_from(precision).unwrap_or(0)).contains(&scale);
    match (u8::try_from(precision), i8::try_from(scale)) {
        (Ok(precision), Ok(scale)) if valid => Ok(DataType::Decimal128(precision, scale)),
        _ => {
            Err(Error::invalid(format!("NUMERIC({precision}, {scale}): precision is 1 to 38, scale 0 to the precision"))
                .with_sqlstate("22023"))
        }
    }
}

/// The name of a type in SQL.
pub(crate) fn sql_name(field: &Field) -> String {
    if let Some(name) = field.metadata().get(TYPE_KEY) {
        return name.replace("varchar", "character varying");
    }
    type_name(field.data_type())
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
