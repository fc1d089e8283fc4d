//! Every cast of a numeric to a float, written or made by type coercion, gives the nearest float: Arrow's own does not.

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result};
use datafusion::config::ConfigOptions;
use datafusion::logical_expr::expr::Cast;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan};
use datafusion::optimizer::AnalyzerRule;
use datafusion::optimizer::analyzer::type_coercion::TypeCoercionRewriter;

use crate::casts::mixed_numbers::number_as;

/// Puts our conversion in the place of such casts, once types have been coerced.
#[derive(Debug)]
pub(crate) struct ExactCasts;

impl AnalyzerRule for ExactCasts {
    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(node).map(|transformed| transformed.data)
    }

    fn name(&self) -> &str {
        "exact_casts"
    }
}

fn node(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let schema = merge_schema(&plan.inputs());
    let names = NamePreserver::new(&plan);
    plan.map_expressions(|expr| {
        let name = names.save(&expr);
        let expr = expr.transform_up(|expr| Ok(exact(expr, &schema)))?;
        Ok(expr.update_data(|expr| name.restore(expr)))
    })
}

fn exact(expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    match expr {
        Expr::Cast(Cast { expr, field }) if field.data_type().is_floating() => match expr.get_type(schema) {
            Ok(from) if from.is_decimal() => Transformed::yes(number_as(*expr, &from, field.data_type())),
            _ => Transformed::no(Expr::Cast(Cast { expr, field })),
        },
        other => Transformed::no(other),
    }
}

/// A lone expression over `schema` with its types coerced.
pub(crate) fn coerced(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    let coerced = expr.rewrite(&mut TypeCoercionRewriter::new(schema))?;
    coerced.data.transform_up(|expr| Ok(exact(expr, schema))).map(|transformed| transformed.data)
}
