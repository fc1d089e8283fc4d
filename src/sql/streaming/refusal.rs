//! What an oracle must know of the operator that refuses late rows: which part of the logical plan it is, and how to run that part over other rows.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::Column;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan, LogicalPlanBuilder, TableSource, lit};
use datafusion::scalar::ScalarValue;
use headwater_types::{Error, Micros, Result};

use crate::errors::from_datafusion;

/// The aggregate of a view's logical plan that refuses late rows.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// As it stands in the plan.
    pub(super) original: Aggregate,
    /// The same over columns: its input is what the operator reads.
    pub(super) over_columns: Aggregate,
    /// The group column that closes groups.
    pub(super) key: usize,
    /// Its rows come when their group closes.
    pub(super) emits_on_close: bool,
}

impl Refusal {
    /// What the operator reads: its columns are those of `$late` after the first two.
    #[must_use]
    pub fn input(&self) -> &LogicalPlan {
        &self.over_columns.input
    }

    /// `plan` with `accepted` in the place of what the operator reads. With `closed_below`, where rows come at window close, only groups whose key
    /// is below it.
    ///
    /// # Errors
    /// `Bug` if the plan does not hold the aggregate.
    pub fn over(&self, plan: &LogicalPlan, accepted: Arc<dyn TableSource>, closed_below: Option<Micros>) -> Result<LogicalPlan> {
        let replacement = self.replacement(accepted, closed_below).map_err(from_datafusion)?;
        let original = LogicalPlan::Aggregate(self.original.clone());
        let replace = |node: LogicalPlan| {
            // What stands above takes its columns' properties from below: NOT NULL may differ.
            if node == original { Ok(Transformed::yes(replacement.clone())) } else { Ok(Transformed::no(node.recompute_schema()?)) }
        };
        let replaced = plan.clone().transform_up(replace).map_err(from_datafusion)?;
        if replaced.transformed { Ok(replaced.data) } else { Err(Error::bug("the refusing aggregate is not in its plan")) }
    }

    fn replacement(&self, accepted: Arc<dyn TableSource>, closed_below: Option<Micros>) -> datafusion::common::Result<LogicalPlan> {
        let scan = LogicalPlanBuilder::scan("accepted", accepted, None)?;
        let columns = self.over_columns.input.schema().iter().enumerate();
        let named = columns.map(|(at, (qualifier, field))| {
            let column = Expr::Column(Column::new(Some("accepted"), format!("c{at}")));
            column.alias_qualified(qualifier.cloned(), field.name())
        });
        let input = scan.project(named.collect::<Vec<_>>())?.build()?;
        let aggregate = Aggregate::try_new(Arc::new(input), self.over_columns.group_expr.clone(), self.over_columns.aggr_expr.clone())?;
        let mut plan = LogicalPlanBuilder::from(LogicalPlan::Aggregate(aggregate.clone()));
        if self.emits_on_close {
            let (qualifier, field) = aggregate.schema.qualified_field(self.key);
            let bound = ScalarValue::TimestampMicrosecond(Some(closed_below.unwrap_or(Micros::MIN)), zone(field.data_type()));
            plan = plan.filter(Expr::Column(Column::new(qualifier.cloned(), field.name())).lt(lit(bound)))?;
        }
        let renamed = aggregate
            .schema
            .iter()
            .zip(self.original.schema.iter())
            .map(|((q, f), (to_q, to_f))| Expr::Column(Column::new(q.cloned(), f.name())).alias_qualified(to_q.cloned(), to_f.name()));
        plan.project(renamed.collect::<Vec<_>>())?.build()
    }
}

fn zone(data_type: &DataType) -> Option<Arc<str>> {
    match data_type {
        DataType::Timestamp(_, zone) => zone.clone(),
        _ => None,
    }
}
