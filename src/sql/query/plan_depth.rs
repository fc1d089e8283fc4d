//! How deep a plan is once views and WITH queries stand in it: what runs it, and what drops it, calls itself as often.

use datafusion::common::Result;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion, TreeNodeVisitor};
use datafusion::logical_expr::{Expr, LogicalPlan};

use crate::errors::into_datafusion;
use crate::parser::{DEPTH_MAX, too_deep};

/// # Errors
/// 54001 for a plan that is too deep. Its nodes' expressions count along the way, since the optimizer puts one into the other.
pub(crate) fn check(plan: &LogicalPlan) -> Result<()> {
    if depth(plan)? > 2 * DEPTH_MAX { Err(into_datafusion(too_deep())) } else { Ok(()) }
}

fn depth(plan: &LogicalPlan) -> Result<usize> {
    let mut own = 0;
    plan.apply_expressions(|expr| {
        own = own.max(expr_depth(expr)?);
        Ok(TreeNodeRecursion::Continue)
    })?;
    let mut below = 0;
    for input in plan.inputs() {
        below = below.max(depth(input)?);
    }
    Ok(1 + own + below)
}

fn expr_depth(expr: &Expr) -> Result<usize> {
    let mut levels = Levels::default();
    expr.visit(&mut levels)?;
    Ok(levels.deepest)
}

/// Goes through an expression, its subqueries included.
#[derive(Default)]
struct Levels {
    now: usize,
    deepest: usize,
}

impl<'n> TreeNodeVisitor<'n> for Levels {
    type Node = Expr;

    fn f_down(&mut self, expr: &'n Expr) -> Result<TreeNodeRecursion> {
        self.now += 1;
        let below = match expr {
            Expr::ScalarSubquery(subquery) => depth(&subquery.subquery)?,
            Expr::Exists(exists) => depth(&exists.subquery.subquery)?,
            Expr::InSubquery(within) => depth(&within.subquery.subquery)?,
            _ => 0,
        };
        self.deepest = self.deepest.max(self.now + below);
        Ok(TreeNodeRecursion::Continue)
    }

    fn f_up(&mut self, _expr: &'n Expr) -> Result<TreeNodeRecursion> {
        self.now -= 1;
        Ok(TreeNodeRecursion::Continue)
    }
}
