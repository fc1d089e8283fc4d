//! Ad-hoc queries: the batch engine over the relations of one committed cut; FLUSH.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arrow::array::RecordBatch;
use datafusion::catalog::TableProvider;
use datafusion::common::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::execute_stream;
use futures::future::BoxFuture;
use futures::{Stream, StreamExt};
use headwater_catalog::{Object, ObjectKind, Part};
use headwater_runtime::Published;
use headwater_sql::{RelationId, RelationSource};
use headwater_state::TableId;
use headwater_types::{Error, Result};

use crate::attended::attended;
use crate::provider::{SnapshotTable, external, ours, with_tables};
use crate::{Outcome, Rows, Session, made_up};

impl Session {
    pub(crate) async fn select(&mut self, plan: LogicalPlan) -> Result<Outcome> {
        self.release_script().await?;
        let cut = self.cut();
        let stream = self.stream(plan, &cut).await?;
        let schema = stream.schema();
        Ok(Outcome { rows: Some(Rows { schema, stream }), ..Outcome::done("SELECT") })
    }

    /// Starts a query over `cut`.
    pub(crate) async fn stream(&self, plan: LogicalPlan, cut: &Arc<Published>) -> Result<SendableRecordBatchStream> {
        let status = if made_up::reads_status(&plan) { Some(self.shared.runtime.status().await?) } else { None };
        let table = |id: &RelationId, source: &RelationSource| self.table(id, source, cut, status.as_ref());
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
        self.shared.queries.rows(begin).await
    }

    /// All rows of a query over `cut`.
    pub(crate) async fn rows(&self, plan: LogicalPlan, cut: &Arc<Published>) -> Result<Vec<RecordBatch>> {
        let stream = self.stream(plan, cut).await?;
        futures::TryStreamExt::try_collect(stream).await.map_err(ours)
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
                let number = match part {
                    Part::Rows => TableId::ROWS,
                    Part::Late => TableId::LATE,
                    Part::Errors => TableId::ERRORS,
                };
                if let (Part::Rows, Some(object)) = (part, &source.object) {
                    refuse_source(object)?;
                }
                let snapshot = cut.relation(*object, number)?;
                Ok(Arc::new(SnapshotTable::new(source.schema.clone(), snapshot.clone())))
            }
            RelationId::System { schema, name } => made_up::table(&self.shared, &self.settings, schema, name, status),
        }
    }

    pub(crate) async fn flush(&mut self) -> Result<Outcome> {
        self.release_script().await?;
        self.shared.runtime.flush(None).await?;
        Ok(Outcome::done("FLUSH"))
    }
}

/// A source holds no rows.
fn refuse_source(object: &Object) -> Result<()> {
    if matches!(object.kind, ObjectKind::Source(_)) {
        let error = Error::unsupported(format!("source \"{}\" is a stream: its rows are not kept", object.name));
        return Err(error.with_hint(format!("make a view of it: CREATE MATERIALIZED VIEW v AS SELECT * FROM {}", object.name)));
    }
    Ok(())
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
