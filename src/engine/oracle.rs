//! The oracle of the tests: a view's own optimized plan, run as a batch over what its operators accepted.

use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::catalog::TableProvider;
use datafusion::datasource::MemTable;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::collect;
use headwater_catalog::{ObjectKind, Part};
use headwater_sql::{RelationId, RelationSource};
use headwater_state::TableId;
use headwater_types::{Error, Result};

use crate::database::missing;
use crate::provider::{SnapshotTable, ours, with_tables};
use crate::{Session, Status};

impl Session {
    /// The rows that `view` must have at the latest cut: its plan as a batch, without the rows that it logged in `$late`.
    ///
    /// # Errors
    /// `Unsupported` where an input is not kept (a source) or rows failed; `NotFound`.
    pub async fn query_oracle(&mut self, view: &str) -> Result<Vec<RecordBatch>> {
        let catalog = self.shared.catalog();
        let object = catalog.find(view).ok_or_else(|| missing(view))?;
        let ObjectKind::MaterializedView(derived) = &object.kind else {
            return Err(Error::invalid(format!("\"{view}\" is no materialized view")));
        };
        let planned = self.shared.planner.replan(object, &catalog)?;
        let status: Status = self.shared.runtime.status().await?;
        let cut = self.shared.runtime.published();
        let errors = cut.relation(object.id, TableId::ERRORS)?;
        if errors.rows() > 0 {
            return Err(Error::unsupported("an oracle for a view with rows in $errors"));
        }
        let table = |id: &RelationId, source: &RelationSource| -> Result<Arc<dyn TableProvider>> {
            let RelationId::Object(object, Part::Rows) = id else { return Err(Error::unsupported("an oracle over this relation")) };
            let snapshot = cut.relation(*object, TableId::ROWS).map_err(|_| Error::unsupported("an oracle over a source"))?;
            Ok(Arc::new(SnapshotTable::new(source.schema.clone(), snapshot.clone())))
        };
        let mut logical = planned.logical;
        if let Some(refused) = headwater_sql::refusing_input(&logical) {
            let late = match cut.relation(object.id, TableId::LATE) {
                Ok(late) => late.scan(None)?.collect::<Result<Vec<_>>>()?,
                Err(_) => Vec::new(),
            };
            let closed = status.views.iter().find(|v| v.id == object.id).and_then(|v| v.watermark);
            let accepted = self.accepted(with_tables(refused.clone(), &table)?, &late).await?;
            let accepted = MemTable::try_new(accepted.0, vec![accepted.1]).map_err(ours)?;
            logical = headwater_sql::with_accepted_input(logical, Arc::new(accepted), derived.emit_on_close.then_some(closed).flatten())?;
        }
        let plan = with_tables(logical, &table)?;
        let state = self.shared.planner.session_state();
        let physical = state.create_physical_plan(&plan).await.map_err(ours)?;
        collect(physical, Arc::new(TaskContext::from(state))).await.map_err(ours)
    }
}
