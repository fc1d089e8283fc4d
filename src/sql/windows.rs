//! TUMBLE and HOP in FROM: window assignment as projections and an unnest, so that the batch engine runs them and the optimizer sees through them.

use datafusion::arrow::datatypes::{DataType, IntervalMonthDayNano, TimeUnit};
use datafusion::common::{Column, DFSchema, Result, ScalarValue, UnnestOptions};
use datafusion::logical_expr::planner::{PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning};
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, ScalarUDF, lit};
use datafusion::sql::sqlparser::ast::{
    Expr as SqlExpr, FunctionArg, FunctionArgExpr, Ident, ObjectName, ObjectNamePart, TableAlias, TableFactor, TableFunctionArgs,
};
use headwater_operators::{Windows, scalar_functions};
use headwater_types::Error;
use std::sync::Arc;

use crate::errors::into_datafusion;

pub(crate) const WINDOW_START: &str = "window_start";
pub(crate) const WINDOW_END: &str = "window_end";

/// Plans `TUMBLE(relation, time, size [, offset])` and `HOP(relation, time, slide, size [, offset])`.
#[derive(Debug)]
pub(crate) struct WindowFunctions {
    functions: Vec<Arc<ScalarUDF>>,
}

impl WindowFunctions {
    pub(crate) fn new() -> Self {
        Self { functions: scalar_functions() }
    }

    fn call(&self, name: &str, args: Vec<Expr>) -> Result<Expr> {
        match self.functions.iter().find(|f| f.name() == name) {
            Some(function) => Ok(function.call(args)),
            None => Err(into_datafusion(Error::bug(format!("there is no function {name}")))),
        }
    }

    fn tumble(&self, input: LogicalPlan, time: Expr, sizes: &[IntervalMonthDayNano]) -> Result<LogicalPlan> {
        let edge = |name: &str, column: &str| {
            let args = std::iter::once(time.clone()).chain(sizes.iter().map(interval)).collect();
            Ok::<_, datafusion::error::DataFusionError>(self.call(name, args)?.alias(column))
        };
        let edges = [edge("tumble_start", WINDOW_START)?, edge("tumble_end", WINDOW_END)?];
        let columns = columns_of(input.schema());
        LogicalPlanBuilder::from(input).project(columns.into_iter().chain(edges))?.build()
    }

    fn hop(&self, input: LogicalPlan, time: Expr, sizes: &[IntervalMonthDayNano]) -> Result<LogicalPlan> {
        let columns = columns_of(input.schema());
        let starts_args = std::iter::once(time).chain(sizes.iter().map(interval)).collect();
        let starts = self.call("hop_starts", starts_args)?.alias(WINDOW_START);
        let start = Expr::Column(Column::new_unqualified(WINDOW_START));
        let end_args = std::iter::once(start.clone()).chain(sizes.iter().map(interval)).collect();
        let end = self.call("hop_end", end_args)?.alias(WINDOW_END);
        let no_nulls = UnnestOptions::new().with_preserve_nulls(false);
        LogicalPlanBuilder::from(input)
            .project(columns.iter().cloned().chain([starts]))?
            .unnest_column_with_options(Column::new_unqualified(WINDOW_START), no_nulls)?
            .project(columns.into_iter().chain([start, end]))?
            .build()
    }
}

fn interval(value: &IntervalMonthDayNano) -> Expr {
    lit(ScalarValue::IntervalMonthDayNano(Some(*value)))
}

fn columns_of(schema: &DFSchema) -> Vec<Expr> {
    schema.columns().into_iter().map(Expr::Column).collect()
}

/// A call of a window function in FROM.
struct Call {
    name: String,
    args: Vec<SqlExpr>,
    alias: Option<TableAlias>,
}

fn window_call(relation: &TableFactor) -> Option<Call> {
    let TableFactor::Table { name, args: Some(TableFunctionArgs { args, .. }), alias, .. } = relation else { return None };
    let [ObjectNamePart::Identifier(Ident { value, quote_style: None, .. })] = name.0.as_slice() else { return None };
    let name = value.to_uppercase();
    if !matches!(name.as_str(), "TUMBLE" | "HOP" | "SESSION") {
        return None;
    }
    let plain = |arg: &FunctionArg| match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
        _ => None,
    };
    Some(Call { name, args: args.iter().map(plain).collect::<Option<_>>()?, alias: alias.clone() })
}

/// The relation that the first argument names.
fn table_factor(arg: &SqlExpr) -> Option<TableFactor> {
    let parts = match arg {
        SqlExpr::Identifier(ident) => vec![ident.clone()],
        SqlExpr::CompoundIdentifier(idents) => idents.clone(),
        SqlExpr::Subquery(subquery) => {
            return Some(TableFactor::Derived { lateral: false, subquery: subquery.clone(), alias: None, sample: None });
        }
        _ => return None,
    };
    Some(TableFactor::Table {
        name: ObjectName(parts.into_iter().map(ObjectNamePart::Identifier).collect()),
        alias: None,
        args: None,
        with_hints: Vec::new(),
        version: None,
        with_ordinality: false,
        partitions: Vec::new(),
        json_path: None,
        sample: None,
        index_hints: Vec::new(),
    })
}

fn wrong(message: String) -> datafusion::error::DataFusionError {
    into_datafusion(Error::invalid(message).with_sqlstate("42883"))
}

impl RelationPlanner for WindowFunctions {
    fn plan_relation(&self, relation: TableFactor, context: &mut dyn RelationPlannerContext) -> Result<RelationPlanning> {
        let Some(Call { name, args, alias }) = window_call(&relation) else {
            return Ok(RelationPlanning::Original(Box::new(relation)));
        };
        if name == "SESSION" {
            return Err(into_datafusion(Error::unsupported("SESSION windows are not supported")));
        }
        let is_tumble = name == "TUMBLE";
        let (least, usage) =
            if is_tumble { (3, "TUMBLE(relation, time, size [, offset])") } else { (4, "HOP(relation, time, slide, size [, offset])") };
        if args.len() < least || args.len() > least + 1 {
            return Err(wrong(format!("{name} is called as {usage}")));
        }
        let factor = table_factor(&args[0]).ok_or_else(|| wrong(format!("{name}: the first argument names a relation: {usage}")))?;
        let input = context.plan(factor)?;
        let time = context.sql_to_expr(args[1].clone(), input.schema())?;
        check_time(&name, &time, input.schema())?;
        let sizes = args[2..].iter().map(|arg| size(&name, arg, context)).collect::<Result<Vec<_>>>()?;
        let windows = if is_tumble {
            Windows::tumble(sizes[0], sizes.get(1).copied())
        } else {
            Windows::hop(sizes[0], sizes[1], sizes.get(2).copied())
        };
        windows.map_err(|e| into_datafusion(e.context(&name).with_sqlstate("22023")))?;
        let plan = if is_tumble { self.tumble(input, time, &sizes)? } else { self.hop(input, time, &sizes)? };
        Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, alias))))
    }
}

fn check_time(name: &str, time: &Expr, schema: &DFSchema) -> Result<()> {
    match time.get_type(schema)? {
        DataType::Timestamp(TimeUnit::Microsecond, _) => Ok(()),
        other => {
            let error =
                Error::invalid(format!("{name}: the time is a TIMESTAMP or TIMESTAMPTZ, not {}", crate::type_names::type_name(&other)));
            Err(into_datafusion(error.with_sqlstate("42804")))
        }
    }
}

fn size(name: &str, arg: &SqlExpr, context: &mut dyn RelationPlannerContext) -> Result<IntervalMonthDayNano> {
    match context.sql_to_expr(arg.clone(), &DFSchema::empty())? {
        Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(value)), _) => Ok(value),
        other => Err(wrong(format!("{name}: sizes are written as INTERVAL '…', not {other}"))),
    }
}
