//! A bounded source as a table of the batch engine: each scan reads it from its start to its end, a batch at a time.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use futures::stream;
use headwater_catalog::{Object, ObjectKind};
use headwater_connectors::Registry;
use headwater_runtime::{LeftOut, Runtime, SourceDef, SourceScan};
use headwater_types::{Clock, Error, Result};
use parking_lot::Mutex;

use crate::connect;
use crate::provider::{external, with_schema};

/// A source, and what its scans left out.
#[derive(Clone)]
pub(crate) struct SourceTable {
    schema: SchemaRef,
    source: SourceDef,
    runtime: Runtime,
    clock: Arc<dyn Clock>,
    scans: Arc<Mutex<Vec<Arc<Mutex<LeftOut>>>>>,
}

impl SourceTable {
    /// The source `object` with the columns of `schema`.
    ///
    /// # Errors
    /// `Unsupported` for a source without an end.
    pub fn new(object: &Object, schema: SchemaRef, registry: &Registry, (runtime, clock): (Runtime, Arc<dyn Clock>)) -> Result<Self> {
        let ObjectKind::Source(spec) = &object.kind else { return Err(Error::bug("not a source")) };
        let source = connect::source(object, spec, registry)?;
        if !source.connector.check_source(&source.definition)?.bounded {
            let error = Error::unsupported(format!("source \"{}\" has no end, and its rows are not kept", object.name));
            return Err(error.with_hint(format!("make a view of it: CREATE MATERIALIZED VIEW v AS SELECT * FROM {}", object.name)));
        }
        Ok(Self { schema, source, runtime, clock, scans: Arc::default() })
    }

    /// What there is to warn of after the scans so far.
    pub fn warnings(&self) -> Vec<String> {
        let say = |left_out: &Arc<Mutex<LeftOut>>| {
            let LeftOut { records, reason } = left_out.lock().clone();
            let (name, reason) = (&self.source.definition.name, reason?);
            Some(format!("{records} records of source \"{name}\" were left out; the first: {reason}"))
        };
        self.scans.lock().iter().filter_map(say).collect()
    }

    fn read(&self, schema: SchemaRef, columns: Option<Vec<usize>>) -> Result<SendableRecordBatchStream> {
        let SourceScan { rows, left_out } = self.runtime.scan_source(self.source.clone(), self.clock.clone())?;
        self.scans.lock().push(left_out);
        let (shown, name) = (schema.clone(), self.source.definition.name.clone());
        let batches = stream::unfold(rows, |mut rows| async move { Some((rows.recv().await?, rows)) });
        let named = futures::StreamExt::map(batches, move |batch| {
            let batch = batch.map_err(|e| external(e.context(format!("source \"{name}\""))))?;
            let batch = match &columns {
                Some(columns) => batch.project(columns)?,
                None => batch,
            };
            Ok(with_schema(&shown, &batch)?)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, named)))
    }
}

impl fmt::Debug for SourceTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SourceTable").field("source", &self.source.definition.name).finish_non_exhaustive()
    }
}

#[async_trait]
impl TableProvider for SourceTable {
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
        let schema = match projection {
            Some(columns) => Arc::new(self.schema.project(columns)?),
            None => self.schema.clone(),
        };
        let part = Arc::new(SourcePart { schema: schema.clone(), table: self.clone(), columns: projection.cloned() });
        Ok(Arc::new(StreamingTableExec::try_new(schema, vec![part], None, Vec::new(), false, limit)?))
    }
}

#[derive(Debug)]
struct SourcePart {
    schema: SchemaRef,
    table: SourceTable,
    columns: Option<Vec<usize>>,
}

impl PartitionStream for SourcePart {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        self.table.read(self.schema.clone(), self.columns.clone()).unwrap_or_else(|error| {
            let failed = stream::iter([Err::<_, DataFusionError>(external(error))]);
            Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), failed))
        })
    }
}
