//! `<source>$late`: the late rows of every view that reads the source, directly or through other views, put together when it is read.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, StringArray, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, SchemaRef, TimeUnit};
use arrow::json::writer::{LineDelimited, WriterBuilder};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use headwater_catalog::{Catalog, Object, Part};
use headwater_runtime::Published;
use headwater_state::Snapshot;
use headwater_types::{Error, ObjectId, Result};

use crate::provider::external;

/// The columns of a view's `$late` that come before the row.
const OWN_COLUMNS: usize = 2;

/// The late rows of one view.
#[derive(Clone)]
struct OfView {
    name: String,
    late: Snapshot,
}

/// The union as a table of the batch engine; a view's part is read when it is its turn.
pub(crate) struct SourceLate {
    schema: SchemaRef,
    views: Vec<OfView>,
}

/// The late rows of the views over `source` at `cut`, as rows of `schema`. A view that is off the cut has none to show.
pub(crate) fn source_late(catalog: &Catalog, source: ObjectId, schema: SchemaRef, cut: &Published) -> SourceLate {
    let of_view = |object: &Arc<Object>| {
        let late = cut.relation(Part::Late.of(object.id)).ok()?.clone();
        Some(OfView { name: object.name.clone(), late })
    };
    let mut views: Vec<OfView> = catalog.with_dependents(source).iter().filter_map(of_view).collect();
    views.reverse();
    SourceLate { schema, views }
}

impl fmt::Debug for SourceLate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SourceLate").field("views", &self.views.len()).finish_non_exhaustive()
    }
}

#[async_trait]
impl TableProvider for SourceLate {
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
        let part = Arc::new(SourceLate { schema: self.schema.clone(), views: self.views.clone() });
        let scan = StreamingTableExec::try_new(self.schema.clone(), vec![part], projection, Vec::new(), false, limit)?;
        Ok(Arc::new(scan))
    }
}

impl PartitionStream for SourceLate {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let schema = self.schema.clone();
        let batches = self.views.clone().into_iter().flat_map(move |view| {
            let schema = schema.clone();
            let late = view.late.scan(None).unwrap_or_else(|error| Box::new(std::iter::once(Err(error))));
            late.map(move |batch| union_rows(&schema, &view.name, &batch.map_err(external)?).map_err(external))
        });
        Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), futures::stream::iter(batches)))
    }
}

/// Rows of a view's `$late` as rows of the union.
fn union_rows(schema: &SchemaRef, view: &str, late: &RecordBatch) -> Result<RecordBatch> {
    let rows = late.num_rows();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(vec![view; rows])),
        time(late, "window_start")?,
        time(late, "window_end")?,
        late.column(0).clone(),
        late.column(1).clone(),
        Arc::new(StringArray::from(json_rows(late)?)),
    ];
    Ok(RecordBatch::try_new(schema.clone(), columns)?)
}

/// A timestamp column of the refused rows; NULL where the view does not carry it to the operator that refuses.
fn time(late: &RecordBatch, name: &str) -> Result<ArrayRef> {
    let wanted = DataType::Timestamp(TimeUnit::Microsecond, None);
    match late.column_by_name(name).filter(|column| matches!(column.data_type(), DataType::Timestamp(..))) {
        Some(column) => Ok(cast(column, &wanted)?),
        None => Ok(new_null_array(&wanted, late.num_rows())),
    }
}

/// Each refused row as a JSON object.
fn json_rows(late: &RecordBatch) -> Result<Vec<String>> {
    let refused = late.project(&(OWN_COLUMNS..late.num_columns()).collect::<Vec<_>>())?;
    let mut text = Vec::new();
    let mut writer = WriterBuilder::new().with_explicit_nulls(true).build::<_, LineDelimited>(&mut text);
    writer.write(&refused)?;
    writer.finish()?;
    let text = String::from_utf8(text).map_err(|_| Error::bug("JSON is UTF-8"))?;
    Ok(text.lines().map(str::to_owned).collect())
}
