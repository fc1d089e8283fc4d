//! The oracle of the tests: a view's own optimized plan, run as a batch over what its operators accepted.

use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::datasource::{MemTable, provider_as_source};
use datafusion::execution::TaskContext;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::collect;
use headwater_catalog::{Object, ObjectKind, Part};
use headwater_runtime::Published;
use headwater_sql::{PlannedView, Refusal, RelationId, RelationSource};
use headwater_types::{ChangeBatch, Error, Result, RowOrder, consolidate};

use crate::Session;
use crate::database::missing;
use crate::provider::{SnapshotTable, Tables, ours, with_tables};
use crate::query::bounded_source;

impl Session {
    /// The rows that `view` must have at the latest cut: its plan as a batch, without the rows that it logged in `$late`.
    ///
    /// # Errors
    /// `Unsupported` where an input is not kept (a source without an end) or rows failed; `NotFound`.
    pub async fn query_oracle(&mut self, view: &str) -> Result<Vec<RecordBatch>> {
        let catalog = self.shared.catalog();
        let object = catalog.find(view).ok_or_else(|| missing(view))?;
        if !matches!(object.kind, ObjectKind::MaterializedView(_)) {
            return Err(Error::invalid(format!("\"{view}\" is no materialized view")));
        }
        let planned = self.shared.planner.replan(object, &catalog)?;
        let cut = self.shared.runtime.published();
        if cut.relation(Part::Errors.of(object.id))?.rows() > 0 {
            return Err(Error::unsupported("an oracle for a view with rows in $errors"));
        }
        let tables = |id: &RelationId, source: &RelationSource| -> Result<Arc<dyn TableProvider>> {
            if let Some(bounded) = bounded_source(&self.shared, id, source)? {
                return Ok(Arc::new(bounded));
            }
            let RelationId::Object(object, part) = id else { return Err(Error::unsupported("an oracle over this relation")) };
            let snapshot = cut.relation(part.of(*object))?;
            Ok(Arc::new(SnapshotTable::new(source.schema.clone(), snapshot.clone())))
        };
        let logical = self.accepted_plan(planned, object, &cut, &tables).await?;
        self.batch(with_tables(logical, &tables)?).await
    }

    /// The view's plan over the rows that its refusing operator did not refuse, and the windows that are closed.
    async fn accepted_plan(&self, planned: PlannedView, object: &Object, cut: &Published, tables: Tables<'_>) -> Result<LogicalPlan> {
        let Some(refusal) = &planned.refusal else { return Ok(planned.logical) };
        let late = cut.relation(Part::Late.of(object.id))?.scan(None)?.collect::<Result<Vec<_>>>()?;
        let closed = self.shared.runtime.status().await?.views.iter().find(|v| v.id == object.id).and_then(|v| v.closed_below);
        let accepted = self.accepted(refusal, &late, tables).await?;
        refusal.over(&planned.logical, provider_as_source(Arc::new(accepted)), closed)
    }

    /// The rows that came to the operator, less those that it refused.
    async fn accepted(&self, refusal: &Refusal, late: &[RecordBatch], tables: Tables<'_>) -> Result<MemTable> {
        let came = self.batch(with_tables(refusal.input().clone(), tables)?).await?;
        let fields = refusal.input().schema().fields().iter().enumerate();
        let schema: SchemaRef =
            Arc::new(Schema::new(fields.map(|(at, f)| Field::new(format!("c{at}"), f.data_type().clone(), true)).collect::<Vec<_>>()));
        let columns: Vec<usize> = (0..schema.fields().len()).collect();
        let mut changes = Vec::new();
        for batch in &came {
            changes.push(ChangeBatch::insertions(renamed(&schema, batch)?));
        }
        for batch in late {
            let weights = batch.column(1).as_any().downcast_ref::<Int64Array>().ok_or_else(|| Error::bug("$late has weights"))?;
            let rows = batch.project(&(2..batch.num_columns()).collect::<Vec<_>>())?;
            changes.push(ChangeBatch::new(renamed(&schema, &rows)?, weights.values().clone())?.negate());
        }
        let net = consolidate(&schema, &RowOrder::new(&schema, &columns)?, &changes)?;
        let mut indices = Vec::new();
        for row in 0..net.len() {
            let times = usize::try_from(net.weight(row)).map_err(|_| Error::bug("$late has a row that never came"))?;
            indices.extend(std::iter::repeat_n(u32::try_from(row).unwrap_or(u32::MAX), times));
        }
        let rows = net.take(&indices.into())?.rows().clone();
        MemTable::try_new(schema, vec![vec![rows]]).map_err(ours)
    }

    async fn batch(&self, plan: LogicalPlan) -> Result<Vec<RecordBatch>> {
        let state = self.shared.planner.session_state();
        let physical = state.create_physical_plan(&plan).await.map_err(ours)?;
        collect(physical, Arc::new(TaskContext::from(state))).await.map_err(ours)
    }
}

fn renamed(schema: &SchemaRef, batch: &RecordBatch) -> Result<RecordBatch> {
    let columns = batch.columns().iter().zip(schema.fields()).map(|(c, f)| Ok(cast(c, f.data_type())?)).collect::<Result<_>>()?;
    Ok(RecordBatch::try_new(schema.clone(), columns)?)
}
