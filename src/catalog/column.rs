//! A column of a relation, and how its type is written down.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A column of a source, table, view or sink.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// Its name, as it is compared: folded to lower case unless it was quoted.
    pub name: String,
    /// Its Arrow type; stored in Arrow's own text form, which parses back.
    #[serde(serialize_with = "write_type", deserialize_with = "read_type")]
    pub data_type: DataType,
    /// False where NOT NULL was declared or follows.
    pub nullable: bool,
    /// What Arrow's type does not say, such as `headwater.type = uuid`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// The expression of DEFAULT, as SQL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
    /// `COMMENT ON COLUMN`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

impl Column {
    /// A column that may be NULL.
    #[must_use]
    pub fn new(name: impl Into<String>, data_type: DataType) -> Self {
        Self { name: name.into(), data_type, nullable: true, metadata: BTreeMap::new(), default: None, comment: None }
    }

    /// The column that `field` describes.
    #[must_use]
    pub fn of(field: &Field) -> Self {
        let metadata = field.metadata().iter().map(|(k, v)| (k.clone(), v.clone())).collect();
        Self { metadata, nullable: field.is_nullable(), ..Self::new(field.name(), field.data_type().clone()) }
    }

    /// The same as an Arrow field.
    #[must_use]
    pub fn field(&self) -> Field {
        let metadata = self.metadata.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
        Field::new(&self.name, self.data_type.clone(), self.nullable).with_metadata(metadata)
    }

    /// The columns as an Arrow schema.
    #[must_use]
    pub fn schema(columns: &[Column]) -> SchemaRef {
        Arc::new(Schema::new(columns.iter().map(Column::field).collect::<Vec<_>>()))
    }
}

fn write_type<S: Serializer>(data_type: &DataType, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&data_type.to_string())
}

fn read_type<'de, D: Deserializer<'de>>(from: D) -> Result<DataType, D::Error> {
    String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{IntervalUnit, TimeUnit};

    use super::*;

    #[test]
    fn every_type_is_read_back_as_it_was_written() {
        let item = |t| Arc::new(Field::new_list_field(t, true));
        let types = [
            DataType::Boolean,
            DataType::Int16,
            DataType::Int32,
            DataType::Int64,
            DataType::Float32,
            DataType::Float64,
            DataType::Decimal128(38, 10),
            DataType::Utf8,
            DataType::Binary,
            DataType::Date32,
            DataType::Time64(TimeUnit::Microsecond),
            DataType::Timestamp(TimeUnit::Microsecond, None),
            DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            DataType::Interval(IntervalUnit::MonthDayNano),
            DataType::FixedSizeBinary(16),
            DataType::List(item(DataType::List(item(DataType::Utf8)))),
            DataType::Struct(vec![Field::new("a b", DataType::Int32, false), Field::new("c", DataType::Utf8, true)].into()),
        ];
        for data_type in types {
            let column = Column { nullable: false, ..Column::new("c", data_type) };
            let text = serde_json::to_string(&column).expect("plain data");
            assert_eq!(serde_json::from_str::<Column>(&text).expect("as written"), column, "{text}");
        }
    }
}
