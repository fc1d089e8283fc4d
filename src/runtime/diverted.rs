//! `$late` and `$errors` of a view, source or table: rows that were taken no account of, each with the reason.

use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::json::writer::WriterBuilder;
use headwater_connectors::Reject;
use headwater_state::{Relation, Shape, Store, TableId, Writes};
use headwater_types::{ChangeBatch, Epoch, Error, Micros, ObjectId, Result};

use crate::ViewDef;
use crate::event_time::Refused;

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

/// The columns of a table's `$errors`.
#[must_use]
pub fn table_errors_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![field("at", instant()), field("reason", DataType::Utf8), field("row", DataType::Utf8)]))
}

/// The columns that the refusing operator of `plan` reads, if one refuses.
#[must_use]
pub fn refused_input(def: &ViewDef) -> Option<SchemaRef> {
    def.plan.refusing.map(|node| def.plan.refused_schema(node))
}

/// Rows kept beside an object, the oldest trimmed away.
pub(crate) struct Beside {
    pub relation: Relation,
    /// What came in this epoch, for the views and sinks on it.
    pub changes: Vec<ChangeBatch>,
    /// Rows since the relation was opened, and those that it held then.
    pub rows: u64,
    schema: SchemaRef,
}

impl Beside {
    fn open(store: &Arc<Store>, table: TableId, schema: SchemaRef) -> Result<Self> {
        let relation = Relation::open(store, table, schema.clone(), Shape::AppendOnly)?;
        let rows = relation.rows();
        Ok(Self { relation, changes: Vec::new(), rows, schema })
    }

    /// The epoch starts.
    pub fn begin(&mut self) {
        self.changes.clear();
    }

    fn take(&mut self, columns: Vec<ArrayRef>) -> Result<()> {
        let batch = ChangeBatch::insertions(RecordBatch::try_new(self.schema.clone(), columns)?);
        self.rows += batch.len() as u64;
        self.changes.push(batch.clone());
        self.relation.apply(batch)
    }

    pub fn flush(&mut self, epoch: Epoch, writes: &mut Writes) -> Result<()> {
        self.relation.trim(DIVERTED_BYTES_MAX)?;
        self.relation.flush(epoch, writes)
    }
}

/// A view's `$late` and `$errors`.
pub(crate) struct Diverted {
    pub late: Option<Beside>,
    pub errors: Beside,
    operators: Vec<&'static str>,
}

impl Diverted {
    pub fn open(store: &Arc<Store>, def: &ViewDef) -> Result<Self> {
        let open = |number, schema| Beside::open(store, TableId::new(def.id, number), schema);
        let late = refused_input(def).map(|input| open(TableId::LATE, late_schema(&input))).transpose()?;
        let errors = open(TableId::ERRORS, view_errors_schema())?;
        Ok(Self { late, errors, operators: def.plan.nodes.iter().map(|n| n.spec.name()).collect() })
    }

    /// The epoch starts.
    pub fn begin(&mut self) {
        self.late.iter_mut().for_each(Beside::begin);
        self.errors.begin();
    }

    /// Takes what node `node` refused.
    pub fn take(&mut self, node: usize, late: Vec<(ChangeBatch, Micros)>, failed: Vec<(ChangeBatch, String)>, now: Micros) -> Result<()> {
        for (batch, watermark) in late {
            let beside = self.late.as_mut().ok_or_else(|| Error::bug("an operator refused rows that the plan does not expect"))?;
            let mut columns: Vec<ArrayRef> = vec![
                Arc::new(TimestampMicrosecondArray::from(vec![watermark; batch.len()])),
                Arc::new(Int64Array::new(batch.weights_or_ones(), None)),
            ];
            columns.extend(batch.rows().columns().iter().cloned());
            beside.take(columns)?;
        }
        for (batch, reason) in failed {
            let rows = batch.len();
            self.errors.take(vec![
                instants(now, rows),
                Arc::new(StringArray::from(vec![self.operators[node]; rows])),
                Arc::new(StringArray::from(vec![reason.as_str(); rows])),
                Arc::new(Int64Array::new(batch.weights_or_ones(), None)),
                Arc::new(StringArray::from(json_rows(batch.rows())?)),
            ])?;
        }
        Ok(())
    }

    pub fn flush(&mut self, epoch: Epoch, writes: &mut Writes) -> Result<()> {
        if let Some(late) = &mut self.late {
            late.flush(epoch, writes)?;
        }
        self.errors.flush(epoch, writes)
    }
}

fn instants(at: Micros, rows: usize) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from(vec![at; rows]).with_timezone("UTC"))
}

/// Each row as a JSON object.
pub(crate) fn json_rows(rows: &RecordBatch) -> Result<Vec<String>> {
    let mut text = Vec::new();
    let mut writer = WriterBuilder::new().with_explicit_nulls(true).build::<_, arrow::json::writer::LineDelimited>(&mut text);
    writer.write(rows)?;
    writer.finish()?;
    Ok(String::from_utf8_lossy(&text).lines().map(str::to_owned).collect())
}

/// The `$errors` of a source.
pub(crate) fn open_source_errors(store: &Arc<Store>, source: ObjectId) -> Result<Beside> {
    Beside::open(store, TableId::new(source, TableId::ERRORS), source_errors_schema())
}

/// The `$errors` of a table with a watermark.
pub(crate) fn open_table_errors(store: &Arc<Store>, table: ObjectId) -> Result<Beside> {
    Beside::open(store, TableId::new(table, TableId::ERRORS), table_errors_schema())
}

impl Beside {
    /// Keeps `rejects` of a source's `partition`.
    pub fn take_rejects(&mut self, partition: &str, rejects: &[Reject], now: Micros) -> Result<()> {
        self.take(vec![
            instants(now, rejects.len()),
            Arc::new(StringArray::from(vec![partition; rejects.len()])),
            Arc::new(StringArray::from_iter_values(rejects.iter().map(|r| &r.position))),
            Arc::new(StringArray::from_iter_values(rejects.iter().map(|r| &r.reason))),
            Arc::new(BinaryArray::from_iter_values(rejects.iter().map(|r| &r.payload))),
        ])
    }

    /// Keeps rows of a source that were decoded but have no usable event time.
    pub fn take_undated(&mut self, partition: &str, refused: &Refused, now: Micros) -> Result<()> {
        let reject = |row: String| Reject { position: String::new(), reason: refused.reason.clone(), payload: row.into_bytes() };
        let rejects: Vec<Reject> = json_rows(&refused.rows)?.into_iter().map(reject).collect();
        self.take_rejects(partition, &rejects, now)
    }

    /// Keeps rows that a table did not take.
    pub fn take_refused(&mut self, refused: &Refused, now: Micros) -> Result<()> {
        let rows = refused.rows.num_rows();
        self.take(vec![
            instants(now, rows),
            Arc::new(StringArray::from(vec![refused.reason.as_str(); rows])),
            Arc::new(StringArray::from(json_rows(&refused.rows)?)),
        ])
    }
}
