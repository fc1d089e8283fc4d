//! Lowers what rows come from: relations of the catalog, and rows written in the query.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::{EmptyRelation, TableScan, Values};
use headwater_catalog::{ObjectKind, Part};
use headwater_operators::{Bound, Constant, Input, Properties};
use headwater_types::{Error, Result};

use super::lower::{Lowered, Lowering};
use super::rows;
use crate::{RelationId, RelationSource};

/// A source, table or view of the catalog, narrowed to the columns that are read.
pub(super) fn scan(lowering: &mut Lowering<'_>, scan: &TableScan) -> Result<Lowered> {
    let source = RelationSource::of(&scan.source).ok_or_else(|| Error::bug("a scan of nothing of ours"))?;
    let (RelationId::Object(id, part), Some(object)) = (&source.id, &source.object) else {
        return Err(Error::unsupported(format!("reading {} is not supported in a materialized view", source.name)));
    };
    if scan.fetch.is_some() || !scan.filters.is_empty() {
        return Err(Error::bug("a filter or limit was pushed into a scan"));
    }
    let is_rows = *part == Part::Rows;
    let properties = Properties {
        append_only: !is_rows || object.is_append_only(),
        key: object.key().filter(|_| is_rows).map(<[usize]>::to_vec),
        watermarked: if is_rows { object.watermarked() } else { Vec::new() },
        bound: Bound::Stateless,
    };
    let promised = is_rows && matches!(&object.kind, ObjectKind::MaterializedView(view) if view.promised);
    let schema = source.schema.clone();
    let facts = lowering.new_facts(schema.fields().len());
    let all: Vec<usize> = (0..schema.fields().len()).collect();
    let whole = Lowered { input: Input::Relation(part.of(*id)), schema, properties, facts, picked: None, promised };
    match &scan.projection {
        Some(columns) if *columns != all => rows::pick(lowering, whole, columns),
        _ => Ok(whole),
    }
}

/// VALUES: the rows are computed now.
pub(super) fn values(lowering: &mut Lowering<'_>, values: &Values) -> Result<Lowered> {
    let schema = Arc::new(values.schema.as_arrow().clone());
    let mut columns: Vec<Vec<ScalarValue>> = vec![Vec::new(); schema.fields().len()];
    let no_columns = DFSchema::empty();
    let one_row = one_row()?;
    for row in &values.values {
        for (column, expr) in columns.iter_mut().zip(row) {
            let value = lowering.physical(expr, &no_columns)?.evaluate(&one_row);
            let value = value.and_then(|v| ScalarValue::try_from_array(&v.into_array(1)?, 0)).map_err(|e| lowering.error(e))?;
            column.push(value);
        }
    }
    let arrays =
        columns.into_iter().map(ScalarValue::iter_to_array).collect::<Result<Vec<ArrayRef>, _>>().map_err(|e| lowering.error(e))?;
    let rows = RecordBatch::try_new(schema, arrays)?;
    Ok(constant(lowering, rows))
}

/// SELECT without FROM reads one row without columns; a condition that is never true leaves none.
pub(super) fn empty(lowering: &mut Lowering<'_>, empty: &EmptyRelation) -> Result<Lowered> {
    let schema = Arc::new(empty.schema.as_arrow().clone());
    let rows = if empty.produce_one_row { one_row()? } else { RecordBatch::new_empty(schema) };
    Ok(constant(lowering, rows))
}

fn one_row() -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(1));
    Ok(RecordBatch::try_new_with_options(Arc::new(datafusion::arrow::datatypes::Schema::empty()), Vec::new(), &options)?)
}

fn constant(lowering: &mut Lowering<'_>, rows: RecordBatch) -> Lowered {
    let schema = rows.schema();
    let properties = Properties { append_only: true, ..Properties::default() };
    let input = lowering.add(Arc::new(Constant::new(rows)), Vec::new(), schema.clone(), properties.clone());
    let facts = lowering.new_facts(schema.fields().len());
    Lowered { input, schema, properties, facts, picked: None, promised: true }
}
