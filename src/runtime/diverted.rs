//! `$late` and `$errors` of a view or source: rows that were taken no account of, each with the reason.

use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::json::writer::WriterBuilder;
use headwater_connectors::Reject;
use headwater_state::{Relation, Shape, Store, TableId, Writes};
use headwater_types::{ChangeBatch, Epoch, Error, Micros, ObjectId, Result};

use crate::ViewDef;

/// What is kept of each such relation; the oldest go first.
const DIVERTED_BYTES_MAX: usize = 1 << 30;

fn field(name: &str, data_type: DataType) -> Field {
    Field::new(name, data_type, true)
}

fn instant() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// The columns of a view's `$late`, from the columns of the operator that refuses.
#[must_use]
pub fn late_schema(input: &SchemaRef) -> SchemaRef {
    let mut fields = vec![field("watermark", DataType::Timestamp(TimeUnit::Microsecond, None)), field("weight", DataType::Int64)];
    for column in input.fields() {
        let mut name = column.name().clone();
        while fields.iter().any(|f| *f.name() == name) {
            name.push_str("_1");
        }
        fields.push(column.as_ref().clone().with_name(name).with_nullable(true));
    }
    Arc::new(Schema::new(fields))
}

/// The columns of a view's `$errors`.
#[must_use]
pub fn view_errors_schema() -> SchemaRef {
    let text = || DataType::Utf8;
    Arc::new(Schema::new(vec![
        field("at", instant()),
        field("operator", text()),
        field("reason", text()),
        field("weight", DataType::Int64),
        field("row", text()),
    ]))
}

/// The columns of a source's `$errors`.
#[must_use]
pub fn source_errors_schema() -> SchemaRef {
    let text = || DataType::Utf8;
    Arc::new(Schema::new(vec![
        field("at", instant()),
        field("partition", text()),
        field("position", text()),
        field("reason", text()),
        field("payload", DataType::Binary),
    ]))
}

/// The columns that the refusing operator of `plan` reads, if one refuses.
#[must_use]
pub fn refused_input(def: &ViewDef) -> Option<SchemaRef> {
    def.plan.refusing.map(|node| def.plan.refused_schema(node))
}

/// A view's `$late` and `$errors`.
pub(crate) struct Diverted {
    pub late: Option<Relation>,
    pub errors: Relation,
    pub late_rows: u64,
    pub error_rows: u64,
    operators: Vec<&'static str>,
}

impl Diverted {
    pub fn open(store: &Arc<Store>, def: &ViewDef) -> Result<Self> {
        let open = |number, schema| Relation::open(store, TableId::new(def.id, number), schema, Shape::AppendOnly);
        let late = refused_input(def).map(|input| open(TableId::LATE, late_schema(&input))).transpose()?;
        let errors = open(TableId::ERRORS, view_errors_schema())?;
        let (late_rows, error_rows) = (late.as_ref().map_or(0, Relation::rows), errors.rows());
        Ok(Self { late, errors, late_rows, error_rows, operators: def.plan.nodes.iter().map(|n| n.spec.name()).collect() })
    }

    /// Takes what node `node` refused.
    pub fn take(&mut self, node: usize, late: Vec<(ChangeBatch, Micros)>, failed: Vec<(ChangeBatch, String)>, now: Micros) -> Result<()> {
        for (batch, watermark) in late {
            let relation = self.late.as_mut().ok_or_else(|| Error::bug("an operator refused rows that the plan does not expect"))?;
            self.late_rows += batch.len() as u64;
            let mut columns: Vec<ArrayRef> = vec![
                Arc::new(TimestampMicrosecondArray::from(vec![watermark; batch.len()])),
                Arc::new(Int64Array::new(batch.weights_or_ones(), None)),
            ];
            columns.extend(batch.rows().columns().iter().cloned());
            let schema = late_schema(&batch.schema());
            relation.apply(ChangeBatch::insertions(RecordBatch::try_new(schema, columns)?))?;
        }
        for (batch, reason) in failed {
            self.error_rows += batch.len() as u64;
            let rows = batch.len();
            let columns: Vec<ArrayRef> = vec![
                Arc::new(TimestampMicrosecondArray::from(vec![now; rows]).with_timezone("UTC")),
                Arc::new(StringArray::from(vec![self.operators[node]; rows])),
                Arc::new(StringArray::from(vec![reason.as_str(); rows])),
                Arc::new(Int64Array::new(batch.weights_or_ones(), None)),
                Arc::new(StringArray::from(json_rows(batch.rows())?)),
            ];
            self.errors.apply(ChangeBatch::insertions(RecordBatch::try_new(view_errors_schema(), columns)?))?;
        }
        Ok(())
    }

    pub fn flush(&mut self, epoch: Epoch, writes: &mut Writes) -> Result<()> {
        if let Some(late) = &mut self.late {
            late.trim(DIVERTED_BYTES_MAX)?;
            late.flush(epoch, writes)?;
        }
        self.errors.trim(DIVERTED_BYTES_MAX)?;
        self.errors.flush(epoch, writes)
    }
}

/// Each row as a JSON object.
pub(crate) fn json_rows(rows: &RecordBatch) -> Result<Vec<String>> {
    let mut text = Vec::new();
    let mut writer = WriterBuilder::new().with_explicit_nulls(true).build::<_, arrow::json::writer::LineDelimited>(&mut text);
    writer.write(rows)?;
    writer.finish()?;
    Ok(String::from_utf8_lossy(&text).lines().map(str::to_owned).collect())
}

/// A source's `$errors`.
pub(crate) struct SourceErrors {
    pub relation: Relation,
    pub rows: u64,
}

impl SourceErrors {
    pub fn open(store: &Arc<Store>, source: ObjectId) -> Result<Self> {
        let relation = Relation::open(store, TableId::new(source, TableId::ERRORS), source_errors_schema(), Shape::AppendOnly)?;
        let rows = relation.rows();
        Ok(Self { relation, rows })
    }

    /// Keeps `rejects` of `partition`.
    pub fn take(&mut self, partition: &str, rejects: &[Reject], now: Micros) -> Result<()> {
        let rows = rejects.len();
        self.rows += rows as u64;
        let columns: Vec<ArrayRef> = vec![
            Arc::new(TimestampMicrosecondArray::from(vec![now; rows]).with_timezone("UTC")),
            Arc::new(StringArray::from(vec![partition; rows])),
            Arc::new(StringArray::from_iter_values(rejects.iter().map(|r| &r.position))),
            Arc::new(StringArray::from_iter_values(rejects.iter().map(|r| &r.reason))),
            Arc::new(BinaryArray::from_iter_values(rejects.iter().map(|r| &r.payload))),
        ];
        self.relation.apply(ChangeBatch::insertions(RecordBatch::try_new(source_errors_schema(), columns)?))
    }

    /// Keeps rows that were decoded but have no usable event time.
    pub fn take_rows(&mut self, partition: &str, rows: &RecordBatch, reason: &str, now: Micros) -> Result<()> {
        let reject = |row: String| Reject { position: String::new(), reason: reason.to_owned(), payload: row.into_bytes() };
        let rejects: Vec<Reject> = json_rows(rows)?.into_iter().map(reject).collect();
        self.take(partition, &rejects, now)
    }

    pub fn flush(&mut self, epoch: Epoch, writes: &mut Writes) -> Result<()> {
        self.relation.trim(DIVERTED_BYTES_MAX)?;
        self.relation.flush(epoch, writes)
    }
}
