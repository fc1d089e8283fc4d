//! Ad-hoc queries: the batch engine over the relations of one committed cut; FLUSH.

pub(crate) mod attended;
pub(crate) mod source_late;
pub(crate) mod source_table;
pub(crate) mod threads;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arrow::array::RecordBatch;
use datafusion::catalog::TableProvider;
use datafusion::common::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::execute_stream;
use futures::future::BoxFuture;
use futures::{Stream, StreamExt, TryStreamExt};
use headwater_catalog::{ObjectKind, Part};
use headwater_runtime::Published;
use headwater_sql::{RelationId, RelationSource};
use headwater_types::{Error, Result};
use parking_lot::Mutex;

use crate::database::Shared;
use crate::provider::{SnapshotTable, external, ours, with_tables};
use crate::query::attended::attended;
use crate::query::source_late::source_late;
use crate::query::source_table::SourceTable;
use crate::{Outcome, Rows, Session, made_up};

impl Session {
    pub(crate) async fn select(&mut self, plan: LogicalPlan) -> Result<Outcome> {
        self.release_script().await?;
        let cut = self.cut();
        let rows = self.stream(plan, &cut).await?;
        Ok(Outcome { rows: Some(rows), ..Outcome::done("SELECT") })
    }

    /// Starts a query over `cut`.
    pub(crate) async fn stream(&self, plan: LogicalPlan, cut: &Arc<Published>) -> Result<Rows> {
        let status = if made_up::reads_status(&plan) { Some(self.shared.runtime.status().await?) } else { None };
        let sources = Mutex::new(Vec::new());
        let table = |id: &RelationId, source: &RelationSource| match bounded_source(&self.shared, id, source)? {
            Some(bounded) => {
                sources.lock().push(bounded.clone());
                Ok(Arc::new(bounded) as Arc<dyn TableProvider>)
            }
            None => self.table(id, source, cut, status.as_ref()),
        };
        let plan = headwater_sql::with_room(|| with_tables(plan, &table))?;
        let mut state = self.shared.planner.session_state().clone();
        let now = self.shared.clock.now().max(cut.now);
        state.execution_props_mut().query_execution_start_time = chrono::DateTime::from_timestamp_micros(now);
        let memory = self.shared.queries.memory();
        let begin = |ended: Arc<AtomicBool>| async move {
            let physical = state.create_physical_plan(&plan).await.map_err(ours)?;
            let physical = attended(physical, &ended).map_err(ours)?;
            execute_stream(physical, Arc::new(TaskContext::from(&state).with_runtime(memory))).map_err(ours)
        };
        let stream = self.shared.queries.rows(begin).await?;
        Ok(Rows { schema: stream.schema(), stream, sources: sources.into_inner() })
    }

    /// All rows of a query over `cut`, for a statement that writes.
    pub(crate) async fn rows(&mut self, plan: LogicalPlan, cut: &Arc<Published>) -> Result<Vec<RecordBatch>> {
        let mut rows = self.stream(plan, cut).await?;
        let batches = (&mut rows.stream).try_collect().await.map_err(ours)?;
        self.notices.extend(rows.notices());
        Ok(batches)
    }

    fn table(
        &self,
        id: &RelationId,
        source: &RelationSource,
        cut: &Published,
        status: Option<&headwater_runtime::Status>,
    ) -> Result<Arc<dyn TableProvider>> {
        match id {
            RelationId::Object(object, part) => {
                if !source.is_followed() {
                    return Ok(Arc::new(source_late(&self.shared.catalog(), *object, source.schema.clone(), cut)));
                }
                let snapshot = cut.relation(part.of(*object))?;
                Ok(Arc::new(SnapshotTable::new(source.schema.clone(), snapshot.clone())))
            }
            RelationId::System { schema, name } => made_up::table(&self.shared, &self.settings, schema, name, status),
        }
    }

    pub(crate) async fn flush(&mut self) -> Result<Outcome> {
        self.release_script().await?;
        let sources: Vec<_> = self.shared.catalog().list().map(|object| object.id).collect();
        self.telling(&sources, self.shared.runtime.flush(None)).await?;
        Ok(Outcome::done("FLUSH"))
    }
}

/// The rows of a source as a table, if that is what `id` names: a source holds none, so that they are read now.
///
/// # Errors
/// `Unsupported` for a source without an end.
pub(crate) fn bounded_source(shared: &Shared, id: &RelationId, relation: &RelationSource) -> Result<Option<SourceTable>> {
    match (id, &relation.object) {
        (RelationId::Object(_, Part::Rows), Some(object)) if matches!(object.kind, ObjectKind::Source(_)) => {
            let running = (shared.runtime.clone(), shared.clock.clone());
            SourceTable::new(object, relation.schema.clone(), &shared.options.registry, running).map(Some)
        }
        _ => Ok(None),
    }
}

/// `stream` until `end` comes with an error, which is then its last item.
pub(crate) fn until(
    stream: SendableRecordBatchStream,
    end: BoxFuture<'static, Error>,
) -> impl Stream<Item = Result<RecordBatch, DataFusionError>> + Send {
    futures::stream::unfold(Some((stream, end)), |state| async move {
        let (mut stream, mut end) = state?;
        tokio::select! {
            biased;
            error = &mut end => Some((Err(external(error)), None)),
            item = stream.next() => item.map(|item| (item, Some((stream, end)))),
        }
    })
}
