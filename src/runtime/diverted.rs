//! `$late` and `$errors` of a view, source or table: rows that were taken no account of, each with the reason.

use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::json::writer::WriterBuilder;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use headwater_connectors::{Include, Position, Reject};
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

/// Rows of a source that were decoded and have no usable event time, out of a batch that ends at `next`. Their bytes are gone: the payload is made
/// of the columns that the record was decoded to. The connector knows where a batch ends and not where each row is, unless the offset is included.
pub(crate) fn undated(refused: &Refused, includes: &[Include], next: &Position) -> Result<Vec<Reject>> {
    let carried: Vec<usize> = (0..refused.rows.num_columns()).filter(|at| includes.iter().all(|i| i.column != *at)).collect();
    let offset = includes.iter().find(|i| i.what == "offset").map(|i| refused.rows.column(i.column));
    let offset = offset.map(|column| ArrayFormatter::try_new(column.as_ref(), &FormatOptions::default())).transpose()?;
    let position = |row: usize| offset.as_ref().map_or_else(|| format!("before {}", next.0), |offset| offset.value(row).to_string());
    let payloads = json_rows(&refused.rows.project(&carried)?)?;
    let reject =
        |(row, payload): (usize, String)| Reject { position: position(row), reason: refused.reason.clone(), payload: payload.into_bytes() };
    Ok(payloads.into_iter().enumerate().map(reject).collect())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn undated_rows_are_told_without_what_was_included() {
        let schema = Schema::new(vec![field("n", DataType::Int64), field("byte", DataType::Int64)]);
        let columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(vec![7, 8])), Arc::new(Int64Array::from(vec![100, 200]))];
        let rows = RecordBatch::try_new(Arc::new(schema), columns).expect("columns of one length");
        let refused = Refused { rows, reason: String::from("no time") };
        let include = |what: &str| [Include { what: String::from(what), column: 1 }];
        let next = Position(String::from("300:4"));
        let told = |rejects: Vec<Reject>| {
            rejects.into_iter().map(|r| (r.position, String::from_utf8(r.payload).expect("text"))).collect::<Vec<_>>()
        };
        let expected =
            |first: &str, second: &str| [(first.to_owned(), String::from("{\"n\":7}")), (second.to_owned(), String::from("{\"n\":8}"))];
        assert_eq!(told(undated(&refused, &include("offset"), &next).expect("rows")), expected("100", "200"));
        assert_eq!(told(undated(&refused, &include("file"), &next).expect("rows")), expected("before 300:4", "before 300:4"));
    }
}
