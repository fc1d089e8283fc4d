//! ORDER BY within an aggregate call, without what decides nothing: what is named a second time, and all of it where any order gives the same.
//! The batch engine's accumulators do not expect such, in views and ad-hoc queries alike.

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::config::ConfigOptions;
use datafusion::logical_expr::expr::{AggregateFunction, Sort};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::optimizer::AnalyzerRule;

/// Takes out of ORDER BY within aggregate calls what decides nothing.
#[derive(Debug)]
pub(crate) struct DecidingOrders;

impl AnalyzerRule for DecidingOrders {
    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(node).map(|transformed| transformed.data)
    }

    fn name(&self) -> &str {
        "deciding_orders"
    }
}

fn node(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let LogicalPlan::Aggregate(_) = plan else { return Ok(Transformed::no(plan)) };
    let names = NamePreserver::new(&plan);
    plan.map_expressions(|expr| {
        let name = names.save(&expr);
        let expr = expr.transform_up(|expr| Ok(expression(expr)))?;
        Ok(expr.update_data(|expr| name.restore(expr)))
    })
}

fn expression(expr: Expr) -> Transformed<Expr> {
    match expr {
        Expr::AggregateFunction(mut call) if !call.params.order_by.is_empty() => {
            call.params.order_by = deciding(&call);
            Transformed::yes(Expr::AggregateFunction(call))
        }
        other => Transformed::no(other),
    }
}

fn deciding(call: &AggregateFunction) -> Vec<Sort> {
    let mut deciding: Vec<Sort> = Vec::new();
    if call.func.order_sensitivity() == AggregateOrderSensitivity::Insensitive {
        return deciding;
    }
    for by in &call.params.order_by {
        if !deciding.iter().any(|before| before.expr == by.expr) {
            deciding.push(by.clone());
        }
    }
    deciding
}
