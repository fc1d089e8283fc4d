//! EXISTS, IN, ANY and ALL of a query where they stand for a value: in the select list, inside CASE, NOT and the like.
//!
//! DataFusion makes joins of them, which only a condition can be, and whose result is true or false, never NULL. In other places they become scalar
//! subqueries here: `EXISTS (q)` is `(SELECT count(*) > 0 FROM q)`, and `x IN (q)` is `CASE WHEN x is one of q THEN true WHEN x or one of q is NULL THEN
//! NULL ELSE false END`.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, ExprSchema, Result, ScalarValue, Spans};
use datafusion::functions_aggregate::expr_fn::{count, max, min};
use datafusion::logical_expr::expr::{Exists, InSubquery, SetComparison, SetQuantifier};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::{conjunction, merge_schema, split_conjunction_owned};
use datafusion::logical_expr::{Aggregate, Expr, Filter, LogicalPlan, LogicalPlanBuilder, Operator, Subquery, binary_expr, lit, not, when};
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};
use headwater_types::Error;

use crate::errors::into_datafusion;

/// The rule of this file.
#[derive(Debug)]
pub(crate) struct Membership;

impl OptimizerRule for Membership {
    fn name(&self) -> &str {
        "membership"
    }

    fn rewrite(&self, plan: LogicalPlan, _config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        plan.transform_up_with_subqueries(node)
    }
}

fn node(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let mut found = false;
    plan.apply_expressions(|expr| {
        found = found || expr.exists(|e| Ok(is_about_rows(e)))?;
        Ok(TreeNodeRecursion::Continue)
    })?;
    if !found {
        return Ok(Transformed::no(plan));
    }
    let schema = merge_schema(&plan.inputs());
    match plan {
        LogicalPlan::Filter(filter) => {
            let conditions = split_conjunction_owned(filter.predicate).into_iter().map(|c| condition(c, &schema));
            let predicate = conjunction(conditions.collect::<Result<Vec<_>>>()?).unwrap_or_else(|| lit(true));
            Ok(Transformed::yes(LogicalPlan::Filter(Filter::try_new(predicate, filter.input)?)))
        }
        LogicalPlan::Join(_) => Ok(Transformed::no(plan)),
        LogicalPlan::Aggregate(node) => below(node, &schema).map(|node| Transformed::yes(LogicalPlan::Aggregate(node))),
        plan => {
            let names = NamePreserver::new(&plan);
            plan.map_expressions(|expr| {
                let name = names.save(&expr);
                Ok(expr.transform_up(|e| value(e, &schema))?.update_data(|expr| name.restore(expr)))
            })
        }
    }
}

fn is_about_rows(expr: &Expr) -> bool {
    matches!(expr, Expr::Exists(_) | Expr::InSubquery(_) | Expr::SetComparison(_))
}

/// An aggregate over columns that say what its expressions asked of queries: the planner unnests none inside of it.
fn below(node: Aggregate, schema: &DFSchema) -> Result<Aggregate> {
    let mut columns: Vec<Expr> = node.input.schema().columns().into_iter().map(Expr::Column).collect();
    let names = NamePreserver::new_for_projection();
    let mut over_columns = |expr: Expr| {
        let name = names.save(&expr);
        let moved = expr.transform_down(|e| {
            if !is_about_rows(&e) {
                return Ok(Transformed::no(e));
            }
            let column = format!("member${}", columns.len());
            columns.push(value(e, schema)?.data.alias(&column));
            Ok(Transformed::new(Expr::Column(Column::new_unqualified(column)), true, TreeNodeRecursion::Jump))
        })?;
        Ok(name.restore(moved.data))
    };
    let groups = node.group_expr.into_iter().map(&mut over_columns).collect::<Result<Vec<_>>>()?;
    let calls = node.aggr_expr.into_iter().map(&mut over_columns).collect::<Result<Vec<_>>>()?;
    let input = LogicalPlanBuilder::from(node.input).project(columns)?.build()?;
    Aggregate::try_new(Arc::new(input), groups, calls)
}

/// A condition of WHERE: what a join of DataFusion's says rightly stays.
fn condition(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    match expr {
        Expr::InSubquery(ref within) if has_column(&within.expr) => Ok(expr),
        Expr::Not(ref inside) if matches!(inside.as_ref(), Expr::InSubquery(within) if has_column(&within.expr)) => Ok(expr),
        other => other.transform_down(|e| beneath(e, schema)).map(|beneath| beneath.data),
    }
}

/// Beneath AND and OR of a condition a NULL is as good as false, which is all that a join knows; of the others IN needs all three values.
fn beneath(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    match expr {
        Expr::BinaryExpr(ref binary) if matches!(binary.op, Operator::And | Operator::Or) => Ok(Transformed::no(expr)),
        Expr::InSubquery(ref within) if !within.negated => Ok(Transformed::new(expr, false, TreeNodeRecursion::Jump)),
        other => {
            let in_three = other
                .transform_up(|e| if matches!(e, Expr::InSubquery(_)) { in_three_values(e, schema) } else { Ok(Transformed::no(e)) })?;
            Ok(Transformed::new(in_three.data, in_three.transformed, TreeNodeRecursion::Jump))
        }
    }
}

/// # Errors
/// `Unsupported`: the subquery speaks of the query around it, and a join would take its NULL for false.
fn in_three_values(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let value = value(expr, schema)?;
    if value.transformed {
        return Ok(value);
    }
    let error = Error::unsupported("IN of a correlated SELECT beneath NOT, OR and the like is not supported");
    Err(into_datafusion(error.with_hint("EXISTS or NOT EXISTS (SELECT … WHERE x = …), and a condition for NULL")))
}

fn has_column(expr: &Expr) -> bool {
    let looked = expr.exists(|e| Ok(matches!(e, Expr::Column(_) | Expr::OuterReferenceColumn(..))));
    looked.unwrap_or(true)
}

/// `expr` as a value, if it is about the rows of a query.
fn value(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    Ok(Transformed::yes(match expr {
        Expr::Exists(Exists { subquery, negated }) => negated_if(negated, exists(rows(&subquery))?),
        Expr::InSubquery(ref within) if is_correlated(&within.expr, &within.subquery) => return Ok(Transformed::no(expr)),
        Expr::SetComparison(ref set) if is_correlated(&set.expr, &set.subquery) => return Ok(Transformed::no(expr)),
        Expr::InSubquery(InSubquery { expr, subquery, negated }) => negated_if(negated, any(*expr, Operator::Eq, &subquery, schema)?),
        Expr::SetComparison(SetComparison { expr, subquery, op, quantifier }) => match (quantifier, op.negate()) {
            (SetQuantifier::Any, _) if orders(op) => any(*expr, op, &subquery, schema)?,
            // All are greater if none is less or equal.
            (SetQuantifier::All, Some(opposite)) if orders(opposite) => not(any(*expr, opposite, &subquery, schema)?),
            _ => return Ok(Transformed::no(Expr::SetComparison(SetComparison { expr, subquery, op, quantifier }))),
        },
        other => return Ok(Transformed::no(other)),
    }))
}

/// True if the query, or one inside of what it is compared with, speaks of the query around it.
fn is_correlated(expr: &Expr, subquery: &Subquery) -> bool {
    let inside = expr.exists(|e| Ok(matches!(e, Expr::ScalarSubquery(inside) if !inside.outer_ref_columns.is_empty())));
    !subquery.outer_ref_columns.is_empty() || inside.unwrap_or(true)
}

fn orders(op: Operator) -> bool {
    matches!(op, Operator::Eq | Operator::NotEq | Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq)
}

fn negated_if(negated: bool, expr: Expr) -> Expr {
    if negated { not(expr) } else { expr }
}

fn rows(subquery: &Subquery) -> LogicalPlanBuilder {
    LogicalPlanBuilder::from(subquery.subquery.as_ref().clone())
}

/// Whether `expr op x` for a row `x` of the query, with NULL where that is not known.
fn any(expr: Expr, op: Operator, subquery: &Subquery, schema: &DFSchema) -> Result<Expr> {
    let column = Column::from(subquery.subquery.schema().qualified_field(0));
    let compared = || rows(subquery).project([Expr::Column(column.clone()).alias("value")])?.alias("compared$");
    let x = Expr::Column(Column::new(Some("compared$"), "value"));
    let found = match op {
        Operator::Eq => exists(compared()?.filter(x.clone().eq(as_outer(expr.clone(), schema)?))?)?,
        Operator::Gt | Operator::GtEq => binary_expr(expr.clone(), op, scalar(aggregate(compared()?, min(x.clone()))?)?),
        Operator::Lt | Operator::LtEq => binary_expr(expr.clone(), op, scalar(aggregate(compared()?, max(x.clone()))?)?),
        _ => {
            let differs = |edge| Ok::<_, datafusion::error::DataFusionError>(expr.clone().not_eq(scalar(aggregate(compared()?, edge)?)?));
            differs(min(x.clone()))?.or(differs(max(x.clone()))?)
        }
    };
    let no_value = expr.is_null().and(exists(compared()?)?);
    let unknown = exists(compared()?.filter(x.is_null())?)?.or(no_value);
    when(found, lit(true)).when(unknown, lit(ScalarValue::Boolean(None))).otherwise(lit(false))
}

/// `SELECT count(*) > 0` over the rows.
fn exists(rows: LogicalPlanBuilder) -> Result<Expr> {
    let rows = if rows.plan().all_out_ref_exprs().is_empty() { rows.limit(0, Some(1))? } else { rows };
    let counted = aggregate(rows, count(lit(1_i64)))?;
    let number = Expr::Column(counted.schema().columns()[0].clone());
    scalar(counted.project([number.gt(lit(0_i64)).alias("found")])?)
}

fn aggregate(rows: LogicalPlanBuilder, call: Expr) -> Result<LogicalPlanBuilder> {
    rows.aggregate(Vec::<Expr>::new(), [call])
}

fn scalar(rows: LogicalPlanBuilder) -> Result<Expr> {
    let subquery = Arc::new(rows.build()?);
    let outer_ref_columns = subquery.all_out_ref_exprs();
    Ok(Expr::ScalarSubquery(Subquery { subquery, outer_ref_columns, spans: Spans::new() }))
}

/// `expr` as it is written inside a subquery.
fn as_outer(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    let outer = expr.transform_up(|expr| match expr {
        Expr::Column(column) => {
            let field = schema.field_from_column(&column)?.clone();
            Ok(Transformed::yes(Expr::OuterReferenceColumn(field, column)))
        }
        other => Ok(Transformed::no(other)),
    });
    outer.map(|outer| outer.data)
}
