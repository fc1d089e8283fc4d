//! A query as a logical plan: names and types resolved, results of PostgreSQL's types.

mod plan_depth;
mod unions;

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::DFSchema;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion::sql::planner::{PlannerContext, SqlToRel};
use datafusion::sql::sqlparser::ast::{Query, Statement as Sql};
use headwater_types::Result;

use crate::context::Context;
use crate::errors::in_text;
use crate::literals;
use crate::other_meanings;
use crate::planner::Planner;

/// The plan of `query`, not yet analyzed.
pub(crate) fn plan(context: &Context<'_>, query: &Query) -> Result<LogicalPlan> {
    plan_statement(context, Sql::Query(Box::new(query.clone())))
}

/// The same for a query that only reads: the engine may rewrite it first.
pub(crate) fn plan_reading(context: &Context<'_>, query: &Query) -> Result<LogicalPlan> {
    let mut statement = Sql::Query(Box::new(query.clone()));
    if let Some(rewrite) = context.planner.rewrite() {
        rewrite(&mut statement, context.settings)?;
    }
    plan_statement(context, statement)
}

fn plan_statement(context: &Context<'_>, mut statement: Sql) -> Result<LogicalPlan> {
    other_meanings::refuse(&statement, &context.text)?;
    literals::rewrite(&mut statement, context.settings)?;
    let mut planning = planner_context(context);
    let sql = SqlToRel::new_with_options(context, Planner::parser_options());
    let plan = sql.sql_statement_to_plan_with_context(statement, &mut planning).map_err(|e| in_text(e, &context.text))?;
    plan_depth::check(&plan).map_err(|e| in_text(e, &context.text))?;
    let plan = unions::with_common_types(plan).and_then(with_our_types).map_err(|e| in_text(e, &context.text))?;
    match check_types(context, &plan)? {
        Some(checked) => with_types(plan, |at, _| our_type(checked.schema().field(at).data_type())).map_err(|e| in_text(e, &context.text)),
        None => Ok(plan),
    }
}

/// Types are coerced when a plan is optimized, which is too late to tell where the statement is wrong, and what it returns: so they are here, too,
/// unless parameters have none yet.
fn check_types(context: &Context<'_>, plan: &LogicalPlan) -> Result<Option<LogicalPlan>> {
    let parameters = plan.get_parameter_types().map_err(|e| in_text(e, &context.text))?;
    if parameters.values().any(Option::is_none) {
        return Ok(None);
    }
    let state = context.planner.session_state();
    let checked = state.analyzer().execute_and_check(plan.clone(), state.config_options(), |_, _| {});
    checked.map(Some).map_err(|e| in_text(e, &context.text))
}

pub(crate) fn planner_context(context: &Context<'_>) -> PlannerContext {
    let field = |t: &DataType| Arc::new(datafusion::arrow::datatypes::Field::new("parameter", t.clone(), true));
    let types = context.parameters.iter().map(|t| t.as_ref().map(field)).collect();
    PlannerContext::new().with_prepare_param_data_types(types)
}

/// An expression over columns of `schema`.
pub(crate) fn expression(context: &Context<'_>, mut sql: datafusion::sql::sqlparser::ast::Expr, schema: &DFSchema) -> Result<Expr> {
    literals::rewrite_expr(&mut sql, context.settings)?;
    let planner = SqlToRel::new_with_options(context, Planner::parser_options());
    planner.sql_to_expr(sql, schema, &mut planner_context(context)).map_err(|e| in_text(e, &context.text))
}

/// The type that a result of `data_type` has for us: one of PostgreSQL's.
pub(crate) fn our_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Int8 | DataType::UInt8 => DataType::Int16,
        DataType::UInt16 => DataType::Int32,
        DataType::UInt32 | DataType::UInt64 => DataType::Int64,
        DataType::Float16 => DataType::Float32,
        DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => DataType::Utf8,
        DataType::LargeBinary | DataType::BinaryView => DataType::Binary,
        DataType::Date64 => DataType::Timestamp(TimeUnit::Microsecond, None),
        DataType::Time32(_) | DataType::Time64(_) => DataType::Time64(TimeUnit::Microsecond),
        DataType::Timestamp(_, None) => DataType::Timestamp(TimeUnit::Microsecond, None),
        DataType::Timestamp(_, Some(_)) => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        DataType::Interval(_) | DataType::Duration(_) => DataType::Interval(datafusion::arrow::datatypes::IntervalUnit::MonthDayNano),
        DataType::Decimal32(p, s) | DataType::Decimal64(p, s) => DataType::Decimal128(*p, *s),
        DataType::Dictionary(_, value) => our_type(value),
        other => other.clone(),
    }
}

/// The plan with output columns cast where their type is none of ours.
fn with_our_types(plan: LogicalPlan) -> datafusion::common::Result<LogicalPlan> {
    with_types(plan, |_, data_type| our_type(data_type))
}

/// The plan with each output column cast where `wanted`, of its place and type, gives another type.
fn with_types(plan: LogicalPlan, wanted: impl Fn(usize, &DataType) -> DataType) -> datafusion::common::Result<LogicalPlan> {
    let types: Vec<DataType> = plan.schema().fields().iter().enumerate().map(|(at, f)| wanted(at, f.data_type())).collect();
    if plan.schema().fields().iter().zip(&types).all(|(field, wanted)| field.data_type() == wanted) {
        return Ok(plan);
    }
    let columns = plan.schema().columns().into_iter().zip(plan.schema().iter()).zip(types);
    let exprs = columns.map(|((column, (qualifier, field)), wanted)| {
        if wanted == *field.data_type() {
            return Expr::Column(column);
        }
        datafusion::logical_expr::cast(Expr::Column(column), wanted).alias_qualified(qualifier.cloned(), field.name())
    });
    let exprs: Vec<Expr> = exprs.collect();
    LogicalPlanBuilder::from(plan).project(exprs)?.build()
}
