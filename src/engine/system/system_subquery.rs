//! Correlated subqueries over system relations, in the form that the planner can unnest.
//!
//! The planner unnests an aggregated subquery only if every condition that speaks of the outer query is `inner column = outer expression`.
//! Clients also write `outer_flag` and `outer <> inner`. An outer column that some condition equates with an inner one is replaced by the inner
//! one in the others; what then speaks of the outer query alone goes before the subquery: `CASE WHEN outer_flag THEN (subquery) END`. Both keep
//! the meaning of a scalar subquery, which is NULL where no row fulfils its conditions.

use super::rewrite::call_name;
use datafusion::sql::sqlparser::ast::{
    self, BinaryOperator, Expr, GroupByExpr, Ident, Query, Select, SetExpr, TableFactor, Value, Visit, VisitMut, Visitor, VisitorMut,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;
use std::collections::HashSet;
use std::ops::ControlFlow;

/// Changes the conditions of `query` in place; returns the whole expression that stands for it where a guard goes before it.
pub fn guard(query: &mut Query) -> Option<Expr> {
    let SetExpr::Select(select) = query.body.as_mut() else { return None };
    let inner = aliases(select);
    let mut conditions = Vec::new();
    split(select.selection.take()?, &mut conditions);
    let equal: Vec<(Expr, Expr)> = conditions.iter().filter_map(|c| outer_and_inner(c, &inner)).collect();
    let mut guards = Vec::new();
    let mut kept = Vec::new();
    for mut condition in conditions {
        if outer_and_inner(&condition, &inner).is_none() {
            replace_columns(&mut condition, &equal);
            if is_about_roles_of_policies(&condition) {
                condition = Expr::value(Value::Boolean(false));
            }
        }
        let (has_outer, has_inner) = sides(&condition, &inner);
        if has_outer && !has_inner { guards.push(condition) } else { kept.push(condition) }
    }
    select.selection = join(kept);
    let guard = join(guards)?;
    let sql = format!("CASE WHEN {guard} THEN ({query}) END");
    Parser::new(&PostgreSqlDialect {}).try_with_sql(&sql).ok()?.parse_expr().ok()
}

/// Names under which the relations in FROM are known.
fn aliases(select: &Select) -> HashSet<String> {
    let joined = select.from.iter().flat_map(|t| std::iter::once(&t.relation).chain(t.joins.iter().map(|j| &j.relation)));
    let name = |factor: &TableFactor| match factor {
        TableFactor::Table { alias: Some(alias), .. } | TableFactor::Derived { alias: Some(alias), .. } => {
            Some(alias.name.value.to_lowercase())
        }
        TableFactor::Table { name, .. } => name.0.last().map(|part| part.to_string().to_lowercase()),
        _ => None,
    };
    joined.filter_map(name).collect()
}

fn split(expr: Expr, conditions: &mut Vec<Expr>) {
    match expr {
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
            split(*left, conditions);
            split(*right, conditions);
        }
        other => conditions.push(other),
    }
}

fn join(conditions: Vec<Expr>) -> Option<Expr> {
    let and = |left: Expr, right: Expr| Expr::BinaryOp { left: Box::new(left), op: BinaryOperator::And, right: Box::new(right) };
    conditions.into_iter().reduce(and)
}

/// `outer column = inner column`, in either order, as outer and inner.
fn outer_and_inner(condition: &Expr, inner: &HashSet<String>) -> Option<(Expr, Expr)> {
    let Expr::BinaryOp { left, op: BinaryOperator::Eq, right } = condition else { return None };
    match (is_outer(left, inner)?, is_outer(right, inner)?) {
        (true, false) => Some((left.as_ref().clone(), right.as_ref().clone())),
        (false, true) => Some((right.as_ref().clone(), left.as_ref().clone())),
        _ => None,
    }
}

/// Whether a column is one of the outer query; None for what is no column. Unqualified names are taken to be inner ones.
fn is_outer(expr: &Expr, inner: &HashSet<String>) -> Option<bool> {
    match expr {
        Expr::CompoundIdentifier(parts) => Some(!qualifier(parts).is_some_and(|q| inner.contains(&q))),
        Expr::Identifier(_) => Some(false),
        _ => None,
    }
}

fn qualifier(parts: &[Ident]) -> Option<String> {
    parts.len().checked_sub(2).and_then(|at| parts.get(at)).map(|ident| ident.value.to_lowercase())
}

/// Whether `expr` speaks of columns of the outer query, and of the inner one.
fn sides(expr: &Expr, inner: &HashSet<String>) -> (bool, bool) {
    let mut found = (false, false);
    let look = |e: &Expr| {
        match is_outer(e, inner) {
            Some(true) => found.0 = true,
            Some(false) => found.1 = true,
            None => {}
        }
        ControlFlow::<()>::Continue(())
    };
    let _: ControlFlow<()> = ast::visit_expressions(expr, look);
    found
}

fn replace_columns(expr: &mut Expr, pairs: &[(Expr, Expr)]) {
    struct Replacer<'a>(&'a [(Expr, Expr)]);
    impl VisitorMut for Replacer<'_> {
        type Break = ();

        fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
            if let Some((_, inner)) = self.0.iter().find(|(outer, _)| outer == expr) {
                *expr = inner.clone();
            }
            ControlFlow::Continue(())
        }
    }
    let _: ControlFlow<()> = VisitMut::visit(expr, &mut Replacer(pairs));
}

/// `oid = ANY (pol.polroles)`: there are no policies, so that no role is one of theirs.
fn is_about_roles_of_policies(condition: &Expr) -> bool {
    let is_roles = |e: &Expr| match e {
        Expr::CompoundIdentifier(parts) => parts.last().is_some_and(|p| p.value.eq_ignore_ascii_case("polroles")),
        Expr::Identifier(ident) => ident.value.eq_ignore_ascii_case("polroles"),
        _ => false,
    };
    match condition {
        Expr::AnyOp { right, .. } => match right.as_ref() {
            Expr::Nested(inside) => is_roles(inside),
            other => is_roles(other),
        },
        _ => false,
    }
}

/// True if `select` aggregates its rows already, or takes distinct ones.
pub fn is_aggregated(select: &Select) -> bool {
    let is_grouped = !matches!(&select.group_by, GroupByExpr::Expressions(exprs, _) if exprs.is_empty());
    let mut finder = AggregateFinder::default();
    is_grouped || select.distinct.is_some() || select.projection.iter().any(|item| Visit::visit(item, &mut finder).is_break())
}

/// Looks for an aggregate, but not inside subqueries: those aggregate rows of their own.
#[derive(Default)]
struct AggregateFinder {
    depth: usize,
}

impl Visitor for AggregateFinder {
    type Break = ();

    fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        const AGGREGATES: [&str; 9] = ["count", "sum", "avg", "min", "max", "array_agg", "string_agg", "bool_and", "bool_or"];
        let is_aggregate = self.depth == 0 && call_name(expr).is_some_and(|n| AGGREGATES.contains(&n.as_str()));
        if is_aggregate { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}
