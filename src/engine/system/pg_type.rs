//! The one table of PostgreSQL types: which OID and type modifier an Arrow field has, and the other way round.

use arrow::datatypes::{DataType, Field, IntervalUnit, TimeUnit};
use headwater_types::{Error, Result};
use std::sync::Arc;

/// Key of the field metadata that tells types apart which Arrow writes alike: `uuid`, `jsonb`, `name`, `char`.
pub const TYPE_METADATA: &str = "headwater.type";

/// One row of PostgreSQL's `pg_type`, as far as clients look at it.
#[derive(Debug, PartialEq, Eq)]
pub struct PgType {
    /// The OID of the type, the same in every PostgreSQL.
    pub oid: u32,
    /// `pg_type.typname`, such as `int4`.
    pub name: &'static str,
    /// What `format_type` says, such as `integer`.
    pub sql_name: &'static str,
    /// Bytes of a value, -1 where it varies.
    pub length: i16,
    /// `pg_type.typcategory`.
    pub category: &'static str,
    /// The OID of the array of this type, 0 for the pseudo-types.
    pub array_oid: u32,
    /// `pg_type._typname` of that array.
    pub array_name: &'static str,
}

macro_rules! pg_types {
    ($($constant:ident $oid:literal $name:literal $sql:literal $length:literal $category:literal $array:literal $array_name:literal;)*) => {
        $(
            #[doc = concat!("`", $sql, "`")]
            pub const $constant: &PgType = &PgType {
                oid: $oid, name: $name, sql_name: $sql, length: $length, category: $category, array_oid: $array, array_name: $array_name,
            };
        )*
        /// Every type a column, a parameter or a catalog of ours may have.
        pub const TYPES: &[&PgType] = &[$($constant),*];
    };
}

pg_types! {
    BOOL 16 "bool" "boolean" 1 "B" 1000 "_bool";
    BYTEA 17 "bytea" "bytea" -1 "U" 1001 "_bytea";
    CHAR 18 "char" "\"char\"" 1 "Z" 1002 "_char";
    NAME 19 "name" "name" 64 "S" 1003 "_name";
    INT8 20 "int8" "bigint" 8 "N" 1016 "_int8";
    INT2 21 "int2" "smallint" 2 "N" 1005 "_int2";
    INT2VECTOR 22 "int2vector" "int2vector" -1 "A" 1006 "_int2vector";
    INT4 23 "int4" "integer" 4 "N" 1007 "_int4";
    REGPROC 24 "regproc" "regproc" 4 "N" 1008 "_regproc";
    TEXT 25 "text" "text" -1 "S" 1009 "_text";
    OID 26 "oid" "oid" 4 "N" 1028 "_oid";
    JSON 114 "json" "json" -1 "U" 199 "_json";
    FLOAT4 700 "float4" "real" 4 "N" 1021 "_float4";
    FLOAT8 701 "float8" "double precision" 8 "N" 1022 "_float8";
    UNKNOWN 705 "unknown" "unknown" -2 "X" 0 "";
    BPCHAR 1042 "bpchar" "character" -1 "S" 1014 "_bpchar";
    VARCHAR 1043 "varchar" "character varying" -1 "S" 1015 "_varchar";
    DATE 1082 "date" "date" 4 "D" 1182 "_date";
    TIME 1083 "time" "time without time zone" 8 "D" 1183 "_time";
    TIMESTAMP 1114 "timestamp" "timestamp without time zone" 8 "D" 1115 "_timestamp";
    TIMESTAMPTZ 1184 "timestamptz" "timestamp with time zone" 8 "D" 1185 "_timestamptz";
    INTERVAL 1186 "interval" "interval" 16 "T" 1187 "_interval";
    NUMERIC 1700 "numeric" "numeric" -1 "N" 1231 "_numeric";
    REGCLASS 2205 "regclass" "regclass" 4 "N" 2210 "_regclass";
    REGTYPE 2206 "regtype" "regtype" 4 "N" 2211 "_regtype";
    RECORD 2249 "record" "record" -1 "P" 2287 "_record";
    VOID 2278 "void" "void" 4 "P" 0 "";
    UUID 2950 "uuid" "uuid" 16 "U" 2951 "_uuid";
    JSONB 3802 "jsonb" "jsonb" -1 "U" 3807 "_jsonb";
}

/// OID of `jsonb`, whose binary form begins with a version.
pub const JSONB_OID: u32 = JSONB.oid;

/// OID of `text`.
pub const TEXT_OID: u32 = TEXT.oid;

/// The type of a column as it goes over the wire and into `pg_attribute`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WireType {
    /// OID of the type, or of the array type.
    pub oid: u32,
    /// Bytes of a value, -1 where it varies.
    pub length: i16,
    /// `atttypmod`: precision and scale of a numeric, otherwise -1.
    pub modifier: i32,
}

/// The PostgreSQL type of values of `field`; None where PostgreSQL has no such type (maps, unions).
#[must_use]
pub fn wire_type(field: &Field) -> Option<WireType> {
    if let Some(item) = list_item(field.data_type()) {
        let mut item = item.as_ref();
        // All dimensions of a PostgreSQL array share one type.
        while let Some(deeper) = list_item(item.data_type()) {
            item = deeper;
        }
        let scalar = element_type(item)?;
        return Some(WireType { oid: scalar.array_oid, length: -1, modifier: modifier(item.data_type()) });
    }
    let scalar = scalar_type(field)?;
    Some(WireType { oid: scalar.oid, length: scalar.length, modifier: modifier(field.data_type()) })
}

/// The PostgreSQL type of an array's elements: text, which clients know an array of without asking, where nothing says more.
#[must_use]
pub fn element_type(item: &Field) -> Option<&'static PgType> {
    scalar_type(item).map(|scalar| if scalar == VARCHAR { TEXT } else { scalar })
}

fn list_item(data_type: &DataType) -> Option<&Arc<Field>> {
    match data_type {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) | DataType::ListView(item) => Some(item),
        _ => None,
    }
}

fn scalar_type(field: &Field) -> Option<&'static PgType> {
    let marked = field.metadata().get(TYPE_METADATA).map(String::as_str);
    Some(match field.data_type() {
        DataType::Boolean => BOOL,
        DataType::Int8 | DataType::UInt8 | DataType::Int16 => INT2,
        DataType::UInt16 | DataType::Int32 => INT4,
        DataType::UInt32 => OID,
        DataType::Int64 | DataType::UInt64 => INT8,
        DataType::Float16 | DataType::Float32 => FLOAT4,
        DataType::Float64 => FLOAT8,
        DataType::Decimal32(..) | DataType::Decimal64(..) | DataType::Decimal128(..) | DataType::Decimal256(..) => NUMERIC,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => match marked {
            Some("jsonb") => JSONB,
            Some("json") => JSON,
            Some("name") => NAME,
            Some("char") => CHAR,
            Some("text") => TEXT,
            Some("int2vector") => INT2VECTOR,
            _ => VARCHAR,
        },
        DataType::FixedSizeBinary(16) if marked != Some("bytea") => UUID,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => BYTEA,
        DataType::Date32 | DataType::Date64 => DATE,
        DataType::Time32(_) | DataType::Time64(_) => TIME,
        DataType::Timestamp(_, None) => TIMESTAMP,
        DataType::Timestamp(_, Some(_)) => TIMESTAMPTZ,
        DataType::Interval(_) | DataType::Duration(_) => INTERVAL,
        DataType::Struct(_) => RECORD,
        DataType::Null => TEXT,
        DataType::Dictionary(_, value) => return scalar_type(&field.clone().with_data_type(value.as_ref().clone())),
        _ => return None,
    })
}

/// A numeric's precision and scale as PostgreSQL packs them: `((precision << 16) | scale) + 4`.
fn modifier(data_type: &DataType) -> i32 {
    match data_type {
        // 38 digits say "as many as there are": clients show them as plain numeric.
        DataType::Decimal128(38, _) | DataType::Decimal256(..) => -1,
        DataType::Decimal32(p, s) | DataType::Decimal64(p, s) | DataType::Decimal128(p, s) if *s >= 0 => {
            ((i32::from(*p) << 16) | i32::from(*s)) + 4
        }
        _ => -1,
    }
}

/// The type, and whether `oid` is that of its array.
#[must_use]
pub fn type_of_oid(oid: u32) -> Option<(&'static PgType, bool)> {
    TYPES.iter().find_map(|t| match oid {
        0 => None,
        o if o == t.oid => Some((*t, false)),
        o if o == t.array_oid => Some((*t, true)),
        _ => None,
    })
}

/// The Arrow type in which a parameter declared with `oid` is handed to the engine; None for 0 (unspecified).
///
/// # Errors
/// `Unsupported`, by number, for a type that we do not know.
pub fn parameter_type(oid: u32) -> Result<Option<DataType>> {
    if oid == 0 || oid == UNKNOWN.oid {
        return Ok(None);
    }
    let unknown = || Error::unsupported(format!("a parameter of the type with OID {oid}")).with_sqlstate("42704");
    let (scalar, is_array) = type_of_oid(oid).ok_or_else(unknown)?;
    let data_type = match scalar {
        BOOL => DataType::Boolean,
        BYTEA => DataType::Binary,
        CHAR | NAME | TEXT | BPCHAR | VARCHAR | JSON | JSONB => DataType::Utf8,
        INT2 => DataType::Int16,
        INT4 => DataType::Int32,
        INT8 => DataType::Int64,
        OID | REGCLASS | REGTYPE => DataType::UInt32,
        FLOAT4 => DataType::Float32,
        FLOAT8 => DataType::Float64,
        NUMERIC => DataType::Decimal128(38, 10),
        DATE => DataType::Date32,
        TIME => DataType::Time64(TimeUnit::Microsecond),
        TIMESTAMP => DataType::Timestamp(TimeUnit::Microsecond, None),
        TIMESTAMPTZ => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        INTERVAL => DataType::Interval(IntervalUnit::MonthDayNano),
        UUID => DataType::FixedSizeBinary(16),
        _ => return Err(unknown()),
    };
    Ok(Some(if is_array { DataType::List(Arc::new(Field::new("item", data_type, true))) } else { data_type }))
}

/// What `format_type(oid, modifier)` says: `numeric(10,2)`, `bigint[]`; `???` for what nobody knows, as PostgreSQL does.
#[must_use]
pub fn format_type(oid: u32, modifier: i32) -> String {
    let Some((scalar, is_array)) = type_of_oid(oid) else {
        return if oid == 0 { "-".to_owned() } else { "???".to_owned() };
    };
    let mut name = scalar.sql_name.to_owned();
    if modifier >= 4 {
        let packed = modifier - 4;
        match scalar {
            NUMERIC => name = format!("numeric({},{})", packed >> 16, packed & 0xFFFF),
            VARCHAR | BPCHAR => name = format!("{name}({packed})"),
            _ => {}
        }
    }
    if is_array {
        name.push_str("[]");
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrow_types_have_their_oid() {
        let oid = |t: DataType| wire_type(&Field::new("c", t, true)).map(|w| w.oid);
        assert_eq!(oid(DataType::Int64), Some(20));
        assert_eq!(oid(DataType::Utf8), Some(1043));
        assert_eq!(oid(DataType::new_list(DataType::new_list(DataType::Int32, true), true)), Some(1007));
        assert_eq!(oid(DataType::new_list(DataType::Utf8, true)), Some(1009));
        assert_eq!(oid(DataType::new_list(DataType::UInt32, true)), Some(1028));
        assert_eq!(oid(DataType::FixedSizeBinary(16)), Some(2950));
        let json = Field::new("j", DataType::Utf8, true).with_metadata([(TYPE_METADATA.to_owned(), "jsonb".to_owned())].into());
        assert_eq!(wire_type(&json).map(|w| w.oid), Some(3802));
    }

    #[test]
    fn numeric_keeps_precision_and_scale() {
        let wire = wire_type(&Field::new("n", DataType::Decimal128(10, 2), true)).expect("numeric");
        assert_eq!(wire.modifier, 655_366);
        assert_eq!(format_type(wire.oid, wire.modifier), "numeric(10,2)");
        assert_eq!(format_type(1016, -1), "bigint[]");
        assert_eq!(format_type(424_242, -1), "???");
    }

    #[test]
    fn parameters_by_oid() {
        assert_eq!(parameter_type(0).expect("unspecified"), None);
        assert_eq!(parameter_type(1184).expect("timestamptz"), Some(DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))));
        assert_eq!(parameter_type(600).expect_err("point").sqlstate(), "42704");
    }
}
