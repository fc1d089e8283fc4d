//! Relations as tables of the batch engine: a snapshot of one committed epoch, read block by block.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::DataFusionError;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::Transformed;
use datafusion::datasource::provider_as_source;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, LogicalPlan, TableScan, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use headwater_sql::{RelationId, RelationSource};
use headwater_state::Snapshot;
use headwater_types::{Error, Result};

/// A snapshot as a table.
pub(crate) struct SnapshotTable {
    schema: SchemaRef,
    snapshot: Snapshot,
}

impl SnapshotTable {
    pub fn new(schema: SchemaRef, snapshot: Snapshot) -> Self {
        Self { schema, snapshot }
    }
}

impl fmt::Debug for SnapshotTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SnapshotTable").field("columns", &self.schema.fields().len()).finish_non_exhaustive()
    }
}

#[async_trait]
impl TableProvider for SnapshotTable {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _session: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> datafusion::common::Result<Arc<dyn ExecutionPlan>> {
        let columns = projection.cloned();
        let schema = match &columns {
            Some(columns) => Arc::new(self.schema.project(columns)?),
            None => self.schema.clone(),
        };
        let part = Arc::new(SnapshotPart { schema: schema.clone(), snapshot: self.snapshot.clone(), columns });
        let scan = StreamingTableExec::try_new(schema, vec![part], None, Vec::new(), false, limit)?;
        Ok(Arc::new(scan))
    }

    fn statistics(&self) -> Option<datafusion::common::Statistics> {
        let mut statistics = datafusion::common::Statistics::new_unknown(&self.schema);
        statistics.num_rows = Precision::Inexact(usize::try_from(self.snapshot.rows()).unwrap_or(usize::MAX));
        Some(statistics)
    }
}

struct SnapshotPart {
    schema: SchemaRef,
    snapshot: Snapshot,
    columns: Option<Vec<usize>>,
}

impl fmt::Debug for SnapshotPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SnapshotPart").field("columns", &self.columns).finish_non_exhaustive()
    }
}

impl PartitionStream for SnapshotPart {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let schema = self.schema.clone();
        // Rows that are only counted are read by one column: Arrow forgets how many rows a batch without columns has.
        let columns = self.columns.as_deref().map(|columns| if columns.is_empty() { &[0] } else { columns });
        let rows = match self.snapshot.scan(columns) {
            Ok(rows) => rows,
            Err(error) => Box::new(std::iter::once(Err(error))),
        };
        // The stored schema may lack metadata and NOT NULL that the catalog knows.
        let renamed = move |batch: Result<arrow::array::RecordBatch>| match batch {
            Ok(batch) => Ok(with_schema(&schema, &batch)?),
            Err(error) => Err(external(error)),
        };
        Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), futures::stream::iter(rows.map(renamed))))
    }
}

/// The same columns under the names of `schema`.
pub(crate) fn with_schema(schema: &SchemaRef, batch: &arrow::array::RecordBatch) -> arrow::error::Result<arrow::array::RecordBatch> {
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let columns = batch.columns()[..schema.fields().len()].to_vec();
    arrow::array::RecordBatch::try_new_with_options(schema.clone(), columns, &options)
}

/// Our error on its way through the batch engine; [`ours`] takes it out again.
pub(crate) fn external(error: Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// What the batch engine says, as one of ours.
pub fn ours(error: DataFusionError) -> Error {
    headwater_sql::from_datafusion(error)
}

/// Looks the table of a relation up.
pub(crate) type Tables<'a> = &'a dyn Fn(&RelationId, &RelationSource) -> Result<Arc<dyn TableProvider>>;

/// Puts a table in the place of every relation that `plan` scans.
///
/// # Errors
/// What `table` says of a relation that cannot be read.
pub(crate) fn with_tables(plan: LogicalPlan, table: Tables<'_>) -> Result<LogicalPlan> {
    let replace = |node: LogicalPlan| {
        let LogicalPlan::TableScan(scan) = &node else { return Ok(Transformed::no(node)) };
        let Some(relation) = RelationSource::of(&scan.source) else { return Ok(Transformed::no(node)) };
        let source = provider_as_source(table(&relation.id, relation).map_err(external)?);
        Ok(Transformed::yes(LogicalPlan::TableScan(TableScan { source, ..scan.clone() })))
    };
    let plan = plan.transform_up_with_subqueries(replace).map_err(ours)?;
    Ok(plan.data)
}
