//! SQL type names to Arrow types.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef, IntervalUnit, TimeUnit};
use datafusion::common::Result;
use datafusion::logical_expr::planner::TypePlanner;
use datafusion::sql::sqlparser::ast::{self, ArrayElemTypeDef, ExactNumberInfo, TimezoneInfo};
use headwater_types::Error;

use crate::errors::into_datafusion;
use crate::type_names::TYPE_KEY;

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
        _ => length(sql_type)?,
    };
    let field = Field::new("column", data_type, true);
    Ok(Arc::new(match metadata {
        Some(text) => field.with_metadata([(TYPE_KEY.to_owned(), text)].into()),
        None => field,
    }))
}

/// The type with its length, such as `varchar(3)` or `timestamp(0)`, where it has one that Arrow's type does not say.
fn length(sql_type: &ast::DataType) -> headwater_types::Result<Option<String>> {
    use ast::DataType as T;
    let characters = |name: &str, length: &Option<ast::CharacterLength>| match length {
        Some(ast::CharacterLength::IntegerLength { length: 0, .. }) => {
            Err(Error::invalid(format!("length for type {name} must be at least 1")).with_sqlstate("22023"))
        }
        Some(ast::CharacterLength::IntegerLength { length, .. }) => Ok(Some(format!("{name}({length})"))),
        _ => Ok(None),
    };
    let digits = |name: &str, digits: &Option<u64>| match digits {
        Some(digits) if *digits > 6 => {
            Err(Error::invalid(format!("{name}({digits}): a second has at most 6 digits behind the point")).with_sqlstate("22023"))
        }
        Some(digits) if *digits < 6 => Ok(Some(format!("{name}({digits})"))),
        _ => Ok(None),
    };
    match sql_type {
        T::Varchar(length) | T::CharacterVarying(length) | T::CharVarying(length) => characters("varchar", length),
        T::Char(None) | T::Character(None) => Ok(Some("char(1)".to_owned())),
        T::Char(length) | T::Character(length) => characters("char", length),
        T::Timestamp(precision, TimezoneInfo::Tz | TimezoneInfo::WithTimeZone) => digits("timestamptz", precision),
        T::Timestamp(precision, _) => digits("timestamp", precision),
        T::Time(precision, _) => digits("time", precision),
        T::Interval { fields: None, precision: Some(p) } if *p < 6 => {
            Err(Error::unsupported(format!("type INTERVAL({p}) is not supported")).with_hint("INTERVAL keeps microseconds"))
        }
        T::Interval { fields: Some(_), .. } => Err(Error::unsupported(format!("type {sql_type} is not supported")).with_hint("INTERVAL")),
        _ => Ok(None),
    }
}

/// What the metadata of a type says of its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Length {
    /// Characters at most.
    Characters(usize),
    /// Digits of a second.
    Digits(u32),
}

impl Length {
    /// The length of the type of `field`, if it has one.
    pub(crate) fn of(field: &Field) -> Option<Self> {
        let (name, length) = field.metadata().get(TYPE_KEY)?.strip_suffix(')')?.split_once('(')?;
        match name {
            "varchar" | "char" => length.parse().ok().map(Self::Characters),
            "timestamp" | "timestamptz" | "time" => length.parse().ok().map(Self::Digits),
            _ => None,
        }
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
        "oid" => Ok(DataType::UInt32),
        "serial" | "bigserial" | "smallserial" | "serial2" | "serial4" | "serial8" => {
            let error = Error::unsupported(format!("type {} is not supported", name.to_uppercase()));
            Err(error.with_hint("there are no sequences: BIGINT with numbers of the application's, or UUID with gen_random_uuid()"))
        }
        "struct" | "map" => Err(Error::unsupported(format!("type {} is not supported", name.to_uppercase()))),
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
