//! A system relation: its columns, and how its rows are made from what the database knows at the moment.

use super::headwater::Status;
use super::pg_type::TYPE_METADATA;
use arrow::array::{
    ArrayRef, BooleanArray, Float32Builder, Int16Array, Int16Builder, Int32Array, Int64Array, ListBuilder, RecordBatch, StringArray,
    StringBuilder, TimestampMicrosecondArray, UInt32Array, UInt32Builder,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use headwater_catalog::Catalog;
use headwater_sql::Settings;
use headwater_types::{Error, Result};
use std::sync::Arc;

/// What system relations are made of.
#[derive(Debug, Clone)]
pub struct Facts {
    /// What exists.
    pub catalog: Catalog,
    /// How it stands.
    pub status: Status,
    /// The settings of the session that asks.
    pub settings: Settings,
}

/// The column types of the system relations, by their PostgreSQL names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Bool,
    Char,
    Float4,
    Int2,
    Int2s,
    Int4,
    Int8,
    Name,
    Oid,
    Oids,
    Text,
    Texts,
    Timestamp,
    Timestamptz,
}

/// One value of a system relation.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    Null,
    Bool(bool),
    Int(i64),
    Ints(Vec<i64>),
    Text(String),
    Texts(Vec<String>),
}

/// A relation that exists without being declared.
#[derive(Debug, Clone, Copy)]
pub struct Relation {
    /// `pg_catalog`, `information_schema` or `headwater`.
    pub schema: &'static str,
    /// Its name there.
    pub name: &'static str,
    /// Its columns, as `name type, name type`; the types are those of `Kind`.
    pub columns: &'static str,
    /// Its rows, each with a value a column.
    pub rows: fn(&Facts) -> Vec<Vec<Cell>>,
}

/// A row of cells from values of any of their types.
macro_rules! row {
    ($($value:expr),* $(,)?) => { vec![$(crate::system::relation::Cell::from($value)),*] };
}
pub(super) use row;

impl Relation {
    /// Its columns as an Arrow schema.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        let field = |(name, kind): (&str, Kind)| {
            let field = Field::new(name, kind.data_type(), true);
            match kind.mark() {
                Some(mark) => field.with_metadata([(TYPE_METADATA.to_owned(), mark.to_owned())].into()),
                None => field,
            }
        };
        Arc::new(Schema::new(self.kinds().map(field).collect::<Vec<_>>()))
    }

    fn kinds(&self) -> impl Iterator<Item = (&'static str, Kind)> {
        self.columns.split(',').filter_map(|column| {
            let (name, kind) = column.trim().split_once(' ')?;
            Some((name, Kind::of(kind)?))
        })
    }

    /// Its rows now.
    ///
    /// # Errors
    /// `Bug` where a row does not fit the columns.
    pub fn batch(&self, facts: &Facts) -> Result<RecordBatch> {
        let rows = (self.rows)(facts);
        let kinds: Vec<_> = self.kinds().collect();
        if let Some(row) = rows.iter().find(|r| r.len() != kinds.len()) {
            return Err(Error::bug(format!("a row of {}.{} has {} of {} columns", self.schema, self.name, row.len(), kinds.len())));
        }
        let columns = kinds.iter().enumerate().map(|(at, kind)| self.column(at, *kind, &rows)).collect::<Result<Vec<_>>>()?;
        Ok(RecordBatch::try_new(self.schema(), columns)?)
    }

    fn column(&self, at: usize, (name, kind): (&str, Kind), rows: &[Vec<Cell>]) -> Result<ArrayRef> {
        let cells = rows.iter().map(|r| &r[at]);
        let misfit = |cell: &Cell| Error::bug(format!("{}.{}.{name} is {kind:?}, not {cell:?}", self.schema, self.name));
        macro_rules! read {
            ($pattern:pat => $value:expr) => {
                cells
                    .map(|c| match c {
                        Cell::Null => Ok(None),
                        $pattern => Ok(Some($value)),
                        other => Err(misfit(other)),
                    })
                    .collect::<Result<Vec<_>>>()?
            };
        }
        Ok(match kind {
            Kind::Bool => Arc::new(BooleanArray::from(read!(Cell::Bool(v) => *v))),
            Kind::Int2 => Arc::new(Int16Array::from(read!(Cell::Int(v) => i16::try_from(*v).unwrap_or(i16::MAX)))),
            Kind::Int4 => Arc::new(Int32Array::from(read!(Cell::Int(v) => i32::try_from(*v).unwrap_or(i32::MAX)))),
            Kind::Int8 => Arc::new(Int64Array::from(read!(Cell::Int(v) => *v))),
            Kind::Oid => Arc::new(UInt32Array::from(read!(Cell::Int(v) => u32::try_from(*v).unwrap_or(0)))),
            Kind::Float4 => {
                let mut builder = Float32Builder::new();
                #[expect(clippy::cast_precision_loss, reason = "an estimate of rows, as in PostgreSQL")]
                read!(Cell::Int(v) => *v as f32).into_iter().for_each(|v| builder.append_option(v));
                Arc::new(builder.finish())
            }
            Kind::Char | Kind::Name | Kind::Text => Arc::new(StringArray::from(read!(Cell::Text(v) => v.as_str()))),
            Kind::Timestamp => Arc::new(TimestampMicrosecondArray::from(read!(Cell::Int(v) => *v))),
            Kind::Timestamptz => Arc::new(TimestampMicrosecondArray::from(read!(Cell::Int(v) => *v)).with_timezone("UTC")),
            Kind::Texts => {
                let mut builder = ListBuilder::new(StringBuilder::new());
                read!(Cell::Texts(v) => v.iter().map(Some).collect::<Vec<_>>()).into_iter().for_each(|v| builder.append_option(v));
                Arc::new(builder.finish())
            }
            Kind::Int2s => {
                let mut builder = ListBuilder::new(Int16Builder::new());
                let items = |v: &[i64]| v.iter().map(|i| i16::try_from(*i).ok()).collect::<Vec<_>>();
                read!(Cell::Ints(v) => items(v)).into_iter().for_each(|v| builder.append_option(v));
                Arc::new(builder.finish())
            }
            Kind::Oids => {
                let mut builder = ListBuilder::new(UInt32Builder::new());
                let items = |v: &[i64]| v.iter().map(|i| u32::try_from(*i).ok()).collect::<Vec<_>>();
                read!(Cell::Ints(v) => items(v)).into_iter().for_each(|v| builder.append_option(v));
                Arc::new(builder.finish())
            }
        })
    }
}

impl Kind {
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "bool" => Kind::Bool,
            "char" => Kind::Char,
            "float4" => Kind::Float4,
            "int2" => Kind::Int2,
            "int2s" => Kind::Int2s,
            "int4" => Kind::Int4,
            "int8" => Kind::Int8,
            "name" => Kind::Name,
            "oid" => Kind::Oid,
            "oids" => Kind::Oids,
            "text" => Kind::Text,
            "texts" => Kind::Texts,
            "timestamp" => Kind::Timestamp,
            "timestamptz" => Kind::Timestamptz,
            _ => return None,
        })
    }

    fn data_type(self) -> DataType {
        match self {
            Kind::Bool => DataType::Boolean,
            Kind::Char | Kind::Name | Kind::Text => DataType::Utf8,
            Kind::Float4 => DataType::Float32,
            Kind::Int2 => DataType::Int16,
            Kind::Int4 => DataType::Int32,
            Kind::Int8 => DataType::Int64,
            Kind::Oid => DataType::UInt32,
            Kind::Oids => DataType::new_list(DataType::UInt32, true),
            Kind::Int2s => DataType::new_list(DataType::Int16, true),
            Kind::Texts => DataType::new_list(DataType::Utf8, true),
            Kind::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            Kind::Timestamptz => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        }
    }

    fn mark(self) -> Option<&'static str> {
        match self {
            Kind::Char => Some("char"),
            Kind::Name => Some("name"),
            Kind::Text => Some("text"),
            _ => None,
        }
    }
}

impl From<bool> for Cell {
    fn from(value: bool) -> Self {
        Cell::Bool(value)
    }
}

impl From<&str> for Cell {
    fn from(value: &str) -> Self {
        Cell::Text(value.to_owned())
    }
}

impl From<String> for Cell {
    fn from(value: String) -> Self {
        Cell::Text(value)
    }
}

impl From<i64> for Cell {
    fn from(value: i64) -> Self {
        Cell::Int(value)
    }
}

impl From<i32> for Cell {
    fn from(value: i32) -> Self {
        Cell::Int(i64::from(value))
    }
}

impl From<i16> for Cell {
    fn from(value: i16) -> Self {
        Cell::Int(i64::from(value))
    }
}

impl From<u32> for Cell {
    fn from(value: u32) -> Self {
        Cell::Int(i64::from(value))
    }
}

impl From<u64> for Cell {
    fn from(value: u64) -> Self {
        Cell::Int(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

impl From<usize> for Cell {
    fn from(value: usize) -> Self {
        Cell::Int(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

impl From<Vec<i64>> for Cell {
    fn from(value: Vec<i64>) -> Self {
        Cell::Ints(value)
    }
}

impl From<Vec<String>> for Cell {
    fn from(value: Vec<String>) -> Self {
        Cell::Texts(value)
    }
}

impl<T: Into<Cell>> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Self {
        value.map_or(Cell::Null, Into::into)
    }
}

/// What stands for NULL in a row.
pub const NULL: Option<bool> = None;
