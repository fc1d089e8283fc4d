//! Plans whose work can be ended in its midst. The batch engine looks up between the batches of a source; a join multiplies those into hours of work.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::RecordBatch;
use arrow::datatypes::{FieldRef, Schema};
use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::joins::utils::JoinFilter;
use datafusion::physical_plan::joins::{CrossJoinExec, NestedLoopJoinExec, NestedLoopJoinExecBuilder};
use datafusion::physical_plan::{ExecutionPlan, PhysicalExpr};
use headwater_types::Error;

use crate::provider::external;

/// The same plan, in which joins of everything with everything look up after each batch, and fail once `ended` is true.
///
/// # Errors
/// Those of the batch engine, for a plan that it could not have made.
pub(crate) fn attended(plan: Arc<dyn ExecutionPlan>, ended: &Arc<AtomicBool>) -> Result<Arc<dyn ExecutionPlan>> {
    let attend = |node: Arc<dyn ExecutionPlan>| {
        if let Some(join) = node.downcast_ref::<NestedLoopJoinExec>() {
            let join = with_filter(join, ended)?;
            return Ok(Transformed::yes(Arc::new(CooperativeExec::new(Arc::new(join))) as Arc<dyn ExecutionPlan>));
        }
        if node.is::<CrossJoinExec>() {
            return Ok(Transformed::yes(Arc::new(CooperativeExec::new(node)) as Arc<dyn ExecutionPlan>));
        }
        Ok(Transformed::no(node))
    };
    plan.transform_up(attend).map(|attended| attended.data)
}

fn with_filter(join: &NestedLoopJoinExec, ended: &Arc<AtomicBool>) -> Result<NestedLoopJoinExec> {
    let filter = join.filter().map(|filter| {
        let condition = Attended { condition: filter.expression().clone(), ended: ended.clone() };
        JoinFilter::new(Arc::new(condition), filter.column_indices().to_vec(), filter.schema().clone())
    });
    let builder = NestedLoopJoinExecBuilder::new(join.left().clone(), join.right().clone(), *join.join_type());
    builder.with_filter(filter).with_projection_ref(join.projection().clone()).build()
}

/// A condition that fails once its query has ended.
#[derive(Debug)]
struct Attended {
    condition: Arc<dyn PhysicalExpr>,
    ended: Arc<AtomicBool>,
}

impl PartialEq for Attended {
    fn eq(&self, other: &Self) -> bool {
        self.condition.eq(&other.condition)
    }
}

impl Eq for Attended {}

impl Hash for Attended {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.condition.hash(state);
    }
}

impl fmt::Display for Attended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.condition.fmt(f)
    }
}

impl PhysicalExpr for Attended {
    fn return_field(&self, input: &Schema) -> Result<FieldRef> {
        self.condition.return_field(input)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        if self.ended.load(Ordering::Relaxed) {
            return Err(external(Error::cancelled("the query has ended")));
        }
        self.condition.evaluate(batch)
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.condition]
    }

    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn PhysicalExpr>>) -> Result<Arc<dyn PhysicalExpr>> {
        let condition = children.pop().unwrap_or_else(|| self.condition.clone());
        Ok(Arc::new(Self { condition, ended: self.ended.clone() }))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.condition.fmt_sql(f)
    }
}
