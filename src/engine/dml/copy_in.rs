//! COPY … FROM STDIN: rows that a client sends, gathered and written to a table in as few epochs as memory allows.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute;
use arrow::datatypes::{FieldRef, Schema};
use datafusion::common::tree_node::Transformed;
use datafusion::datasource::{MemTable, provider_as_source};
use datafusion::logical_expr::{LogicalPlan, TableScan};
use headwater_catalog::Object;
use headwater_sql::{CopyFormat, CopyFrom};
use headwater_types::{Error, Result};

use crate::activity::Running;
use crate::provider::ours;

/// Rows of this many bytes are written at once: what is smaller is one write in one epoch.
pub(crate) const WRITE_BYTES: usize = 64 << 20;

/// A COPY that has begun; its rows go to [`crate::Session::copy_rows`], and its end to [`crate::Session::copy_end`].
pub struct CopyIn {
    copy: CopyFrom,
    fields: Vec<FieldRef>,
    held: Vec<RecordBatch>,
    held_bytes: usize,
    pub(crate) rows: u64,
    /// Rows that are written already.
    pub(crate) written: u64,
    pub(crate) running: Option<Running>,
}

impl CopyIn {
    pub(crate) fn new(copy: CopyFrom) -> Self {
        let schema = copy.table.schema();
        let fields = copy.columns.iter().map(|&c| schema.fields()[c].clone()).collect();
        Self { copy, fields, held: Vec::new(), held_bytes: 0, rows: 0, written: 0, running: None }
    }

    /// The columns that come, in this order.
    #[must_use]
    pub fn fields(&self) -> &[FieldRef] {
        &self.fields
    }

    /// How they are written.
    #[must_use]
    pub fn format(&self) -> &CopyFormat {
        &self.copy.format
    }

    /// The table's name.
    #[must_use]
    pub fn table(&self) -> &str {
        &self.copy.table.name
    }

    pub(crate) fn target(&self) -> &Object {
        &self.copy.table
    }

    /// What gives whole rows of the table from `rows`, where columns are missing.
    pub(crate) fn fill(&self, rows: &RecordBatch) -> Result<Option<LogicalPlan>> {
        self.copy.fill.clone().map(|fill| over(fill, rows)).transpose()
    }

    /// The columns in the order of the table, where all are there.
    pub(crate) fn in_order(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        let order = (0..self.fields.len()).map(|c| self.copy.columns.iter().position(|given| *given == c));
        let order: Option<Vec<usize>> = order.collect();
        Ok(rows.project(&order.ok_or_else(|| Error::bug("COPY without defaults names every column"))?)?)
    }

    /// Takes whole rows of the table; true if it is time to write them.
    pub(crate) fn hold(&mut self, rows: RecordBatch) -> bool {
        self.held_bytes += rows.get_array_memory_size();
        self.rows += rows.num_rows() as u64;
        self.held.push(rows);
        self.held_bytes >= WRITE_BYTES
    }

    /// The rows that wait, as one batch; none if there are none.
    pub(crate) fn take(&mut self) -> Result<Option<RecordBatch>> {
        self.held_bytes = 0;
        let held = std::mem::take(&mut self.held);
        Ok(if held.is_empty() { None } else { Some(compute::concat_batches(&self.copy.table.schema(), &held)?) })
    }

    /// What an error of this COPY has to say about rows that are in the table nevertheless.
    #[must_use]
    pub fn explain(&self, error: Error) -> Error {
        if self.written == 0 {
            return error;
        }
        error.with_hint(format!("the first {} rows were written before this error, in parts of {} MiB", self.written, WRITE_BYTES >> 20))
    }
}

/// `fill` over these rows, in the place of its one scan.
fn over(fill: LogicalPlan, rows: &RecordBatch) -> Result<LogicalPlan> {
    let replace = |node: LogicalPlan| {
        let LogicalPlan::TableScan(scan) = node else { return Ok(Transformed::no(node)) };
        let schema = Arc::new(Schema::new(scan.source.schema().fields().clone()));
        let rows = RecordBatch::try_new(schema.clone(), rows.columns().to_vec())?;
        let source = provider_as_source(Arc::new(MemTable::try_new(schema, vec![vec![rows]])?));
        Ok(Transformed::yes(LogicalPlan::TableScan(TableScan { source, ..scan })))
    };
    Ok(fill.transform_up_with_subqueries(replace).map_err(ours)?.data)
}
