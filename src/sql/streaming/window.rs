//! Lowers HOP: an unnest of `hop_starts` becomes the operator that assigns windows.

use std::sync::Arc;

use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{Expr, LogicalPlan, Unnest};
use datafusion::physical_expr::PhysicalExpr;
use headwater_operators::{Bound, Edge, Hop, Properties, Windows};
use headwater_types::{Error, Result};

use super::lower::{Fact, Lowered, Lowering};
use super::rows::{pick, project_to};

/// The call of `hop_starts` whose list `unnest` takes apart, the projection's expressions, and what the projection reads.
fn starts(unnest: &Unnest) -> Option<(&ScalarFunction, usize, &[Expr], &LogicalPlan)> {
    let ([(list, _)], [], LogicalPlan::Projection(projection)) =
        (unnest.list_type_columns.as_slice(), unnest.struct_type_columns.as_slice(), unnest.input.as_ref())
    else {
        return None;
    };
    let mut expr = projection.expr.get(*list)?;
    while let Expr::Alias(alias) = expr {
        expr = &alias.expr;
    }
    match expr {
        Expr::ScalarFunction(call) if call.name() == "hop_starts" => Some((call, *list, &projection.expr, &projection.input)),
        _ => None,
    }
}

/// True for the unnest that HOP in FROM was planned as.
pub(super) fn is_hop(unnest: &Unnest) -> bool {
    starts(unnest).is_some()
}

pub(super) fn hop(lowering: &mut Lowering<'_>, unnest: &Unnest) -> Result<Lowered> {
    let Some((call, list, exprs, below)) = starts(unnest) else {
        return Err(Error::unsupported("unnest is not supported in a materialized view"));
    };
    let windows = windows(call)?;
    let input = lowering.lower(below, false)?;
    // In the place of the list stands the time, which the operator reads.
    let mut physical: Vec<Arc<dyn PhysicalExpr>> = Vec::new();
    let mut fields = Vec::new();
    for (at, expr) in exprs.iter().enumerate() {
        let expr = if at == list { call.args[0].clone() } else { expr.clone().unalias() };
        let value = lowering.physical(&expr, below.schema())?;
        let data_type = value.data_type(&input.schema).map_err(|e| lowering.error(e))?;
        let nullable = value.nullable(&input.schema).map_err(|e| lowering.error(e))?;
        let name = unnest.input.schema().field(at).name();
        fields.push(datafusion::arrow::datatypes::Field::new(if at == list { "time" } else { name }, data_type, nullable));
        physical.push(value);
    }
    let timed = project_to(lowering, input, physical, Arc::new(datafusion::arrow::datatypes::Schema::new(fields)))?;
    let spec = Hop::new(&timed.schema, list, windows)?;
    let start = spec.window_start();
    let properties = Properties {
        append_only: timed.properties.append_only,
        key: timed.properties.key.as_ref().map(|key| key.iter().copied().chain([start]).collect()),
        watermarked: spec.watermarked(&timed.properties.watermarked),
        bound: Bound::Stateless,
    };
    let time = timed.facts[list].origin;
    let edges = [Edge::Start, Edge::End].map(|edge| Fact { origin: lowering.origin(), window: Some((windows, edge, time)) });
    let facts = timed.facts.iter().copied().chain(edges).collect();
    let schema = spec.schema().clone();
    let input = lowering.add(Arc::new(spec), vec![timed.input], schema.clone(), properties.clone());
    let assigned = Lowered { input, schema, properties, facts, picked: None, promised: timed.promised };
    let columns: Vec<usize> = unnest.dependency_indices.iter().map(|&from| if from == list { start } else { from }).collect();
    pick(lowering, assigned, &columns)
}

/// The windows of the literal sizes in `hop_starts(time, slide, size [, offset])`.
fn windows(call: &ScalarFunction) -> Result<Windows> {
    let size = |arg: &Expr| match arg {
        Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(value)), _) => Ok(*value),
        other => Err(Error::bug(format!("{other} is no literal interval"))),
    };
    let sizes = call.args.iter().skip(1).map(size).collect::<Result<Vec<_>>>()?;
    match sizes.as_slice() {
        [slide, size, offset @ ..] => Windows::hop(*slide, *size, offset.first().copied()),
        _ => Err(Error::bug("hop_starts without sizes")),
    }
}
