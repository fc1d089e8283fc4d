//! Analyzer and optimizer for views: the rules that hold for changes, in a pinned order, so that a restart plans the same operators.

use std::sync::Arc;

use datafusion::config::ConfigOptions;
use datafusion::logical_expr::LogicalPlan;
use datafusion::optimizer::common_subexpr_eliminate::CommonSubexprEliminate;
use datafusion::optimizer::eliminate_cross_join::EliminateCrossJoin;
use datafusion::optimizer::eliminate_duplicated_expr::EliminateDuplicatedExpr;
use datafusion::optimizer::eliminate_filter::EliminateFilter;
use datafusion::optimizer::eliminate_group_by_constant::EliminateGroupByConstant;
use datafusion::optimizer::extract_equijoin_predicate::ExtractEquijoinPredicate;
use datafusion::optimizer::filter_null_join_keys::FilterNullJoinKeys;
use datafusion::optimizer::optimize_projections::OptimizeProjections;
use datafusion::optimizer::optimize_unions::OptimizeUnions;
use datafusion::optimizer::propagate_empty_relation::PropagateEmptyRelation;
use datafusion::optimizer::push_down_filter::PushDownFilter;
use datafusion::optimizer::simplify_expressions::SimplifyExpressions;
use datafusion::optimizer::{Optimizer, OptimizerContext, OptimizerRule};
use headwater_types::Result;

use crate::errors::in_text;
use crate::parser::SourceText;
use crate::planner::Planner;

/// Left out of DataFusion's list: what relies on a start time (`now()` would freeze at CREATE), on limits, or on plans only the batch engine has;
/// what turns DISTINCT into two aggregates; and the subquery rules, since the guard refuses subqueries.
fn rules() -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    vec![
        Arc::new(OptimizeUnions::new()),
        Arc::new(SimplifyExpressions::new()),
        Arc::new(ExtractEquijoinPredicate::new()),
        Arc::new(EliminateDuplicatedExpr::new()),
        Arc::new(EliminateFilter::new()),
        Arc::new(EliminateCrossJoin::new()),
        Arc::new(PropagateEmptyRelation::new()),
        Arc::new(FilterNullJoinKeys::default()),
        Arc::new(PushDownFilter::new()),
        Arc::new(EliminateGroupByConstant::new()),
        Arc::new(CommonSubexprEliminate::new()),
        Arc::new(OptimizeProjections::new()),
    ]
}

fn options(planner: &Planner) -> ConfigOptions {
    let mut options = ConfigOptions::clone(planner.session_state().config_options());
    options.optimizer.filter_null_join_keys = true;
    options.optimizer.enable_leaf_expression_pushdown = false;
    options.optimizer.skip_failed_rules = false;
    options
}

/// `query` with types coerced and rewritten by [`rules`].
pub(super) fn optimize(planner: &Planner, query: LogicalPlan, text: &SourceText) -> Result<LogicalPlan> {
    let options = Arc::new(options(planner));
    let analyzed = planner.session_state().analyzer().execute_and_check(query, &options, |_, _| {}).map_err(|e| in_text(e, text))?;
    let context = OptimizerContext::new_with_config_options(options).without_query_execution_start_time();
    Optimizer::with_rules(rules()).optimize(analyzed, &context, |_, _| {}).map_err(|e| in_text(e, text))
}
