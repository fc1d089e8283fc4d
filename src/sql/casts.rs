//! Casts by PostgreSQL's rules: what may be assigned to a column, and how.

use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::{DFSchema, Result as PlanResult};
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan};
use headwater_catalog::Column;
use headwater_types::{Error, Result};

use crate::types::{sql_name, type_name};

/// `expr`, of columns of `schema`, as a value of `to`.
pub(crate) fn cast_to(expr: Expr, schema: &DFSchema, to: &Field) -> PlanResult<Expr> {
    expr.cast_to(to.data_type(), schema)
}

/// Casts inside `expr` as PostgreSQL does them.
pub(crate) fn in_expr(expr: Expr, schema: &DFSchema) -> PlanResult<Expr> {
    let _ = schema;
    Ok(expr)
}

/// The same for every expression of a plan.
pub(crate) fn in_plan(plan: LogicalPlan) -> PlanResult<LogicalPlan> {
    Ok(plan)
}

/// Column `at` of `plan`'s output as a value for `column`.
///
/// # Errors
/// `Invalid` (42804) where PostgreSQL has no assignment cast.
pub(crate) fn assign(plan: &LogicalPlan, at: usize, column: &Column) -> Result<Expr> {
    let from = plan.schema().field(at);
    let expr = Expr::Column(plan.schema().columns()[at].clone());
    let to = column.field();
    if !can_assign(from.data_type(), to.data_type()) && !is_text_literal(plan, at) {
        let message = format!("column \"{}\" is of type {} but expression is of type {}", column.name, sql_name(&to), type_name(from.data_type()));
        return Err(Error::invalid(message).with_sqlstate("42804").with_hint("you will need to rewrite or cast the expression"));
    }
    cast_to(expr, plan.schema(), &to).map_err(crate::errors::from_datafusion)
}

/// True if every row has a text or NULL literal there, which takes the type of its column.
fn is_text_literal(plan: &LogicalPlan, at: usize) -> bool {
    let is_literal = |expr: &Expr| matches!(expr.clone().unalias(), Expr::Literal(value, _) if value.is_null() || value.data_type() == DataType::Utf8);
    match plan {
        LogicalPlan::Values(values) => values.values.iter().all(|row| is_literal(&row[at])),
        LogicalPlan::Projection(projection) => match &projection.expr[at] {
            Expr::Column(column) => projection.input.schema().maybe_index_of_column(column).is_some_and(|inside| is_text_literal(&projection.input, inside)),
            expr => is_literal(expr),
        },
        _ => false,
    }
}

/// PostgreSQL's assignment casts.
fn can_assign(from: &DataType, to: &DataType) -> bool {
    let is_number = |t: &DataType| t.is_numeric();
    let is_time = |t: &DataType| matches!(t, DataType::Date32 | DataType::Timestamp(..));
    match (from, to) {
        (from, to) if from == to => true,
        (DataType::Null, _) | (_, DataType::Utf8) => true,
        (from, to) if is_number(from) && is_number(to) => true,
        (from, to) if is_time(from) && is_time(to) => true,
        (DataType::Timestamp(..) | DataType::Interval(_), DataType::Time64(_)) => true,
        (DataType::Time64(_), DataType::Interval(_)) => true,
        (DataType::List(from), DataType::List(to)) => can_assign(from.data_type(), to.data_type()),
        _ => false,
    }
}
