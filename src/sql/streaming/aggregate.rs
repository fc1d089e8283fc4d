//! Lowers GROUP BY and DISTINCT: finds the column by which groups close.

use std::sync::Arc;

use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::Column as PlanColumn;
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Aggregate as AggregateNode, Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion::physical_expr::aggregate::LoweredAggregateBuilder;
use headwater_operators::{Aggregate, AggregateCall, Bound, Edge, Input, Properties, Windows};
use headwater_types::{Error, Result};

use super::lower::{Fact, Lowered, Lowering};
use super::refusal::Refusal;
use super::rows;

pub(super) fn aggregate(lowering: &mut Lowering<'_>, node: &AggregateNode, emit: bool) -> Result<Lowered> {
    if let Some(columns) = with_group_columns(node).map_err(|e| lowering.error(e))? {
        return aggregate_of_columns(lowering, (node, &columns), emit);
    }
    aggregate_of_columns(lowering, (node, node), emit)
}

/// DISTINCT: groups by all columns, with nothing to compute.
pub(super) fn distinct(lowering: &mut Lowering<'_>, input: &Arc<LogicalPlan>, emit: bool) -> Result<Lowered> {
    let groups: Vec<Expr> = input.schema().columns().into_iter().map(Expr::Column).collect();
    let node = AggregateNode::try_new(input.clone(), groups, Vec::new()).map_err(|e| lowering.error(e))?;
    let lowered = lowering.lower(input, false)?;
    let schema = lowered.schema.clone();
    add(lowering, (&node, &node), lowered, schema, emit)
}

/// The same aggregate over a projection that computes the group expressions; none if they are columns already.
fn with_group_columns(node: &AggregateNode) -> datafusion::common::Result<Option<AggregateNode>> {
    if node.group_expr.iter().all(|e| matches!(e, Expr::Column(_))) {
        return Ok(None);
    }
    let mut exprs: Vec<Expr> = node.input.schema().columns().into_iter().map(Expr::Column).collect();
    let mut groups = Vec::new();
    for (at, group) in node.group_expr.iter().enumerate() {
        if let Expr::Column(_) = group {
            groups.push(group.clone());
            continue;
        }
        let name = format!("group${at}");
        exprs.push(group.clone().unalias().alias(&name));
        groups.push(Expr::Column(PlanColumn::new_unqualified(name)));
    }
    let input = LogicalPlanBuilder::from(node.input.clone()).project(exprs)?.build()?;
    Ok(Some(AggregateNode::try_new(Arc::new(input), groups, node.aggr_expr.clone())?))
}

/// An aggregate as it was written, and the same over columns.
type Written<'a> = (&'a AggregateNode, &'a AggregateNode);

fn aggregate_of_columns(lowering: &mut Lowering<'_>, (written, node): Written<'_>, emit: bool) -> Result<Lowered> {
    let input = lowering.lower(&node.input, false)?;
    let schema = Arc::new(written.schema.as_arrow().clone());
    add(lowering, (written, node), input, schema, emit)
}

/// The group column that closes groups, and with it the one that is the window's end, computed from it.
#[derive(Debug, Clone, Copy, Default)]
struct Closing {
    key: Option<usize>,
    end: Option<(usize, Windows)>,
}

fn closing(groups: &[usize], input: &Lowered) -> Closing {
    let watermarked = |group: usize| input.properties.watermarked.contains(&groups[group]);
    let fact = |group: usize| input.facts[groups[group]].window;
    let all = 0..groups.len();
    for start in all.clone().filter(|&g| watermarked(g)) {
        let Some((windows, Edge::Start, time)) = fact(start) else { continue };
        if let Some(end) = all.clone().find(|&g| fact(g) == Some((windows, Edge::End, time))) {
            return Closing { key: Some(start), end: Some((end, windows)) };
        }
    }
    let is_window = |g: &usize| fact(*g).is_some();
    let key = all.clone().filter(|&g| watermarked(g)).find(is_window).or_else(|| all.clone().find(|&g| watermarked(g)));
    Closing { key, end: None }
}

fn add(lowering: &mut Lowering<'_>, (written, node): Written<'_>, input: Lowered, schema: SchemaRef, emit: bool) -> Result<Lowered> {
    let plan_schema = node.input.schema();
    let index = |expr: &Expr| match expr {
        Expr::Column(column) => plan_schema.index_of_column(column).map_err(|e| lowering.error(e)),
        other => Err(Error::bug(format!("{other} is no group column"))),
    };
    let groups = node.group_expr.iter().map(index).collect::<Result<Vec<_>>>()?;
    let calls = node.aggr_expr.iter().map(|expr| call(lowering, expr, node, &input.schema)).collect::<Result<Vec<_>>>()?;
    let closing = closing(&groups, &input);
    // `$late` has the columns of the node that the refusing one reads.
    let needs_node = closing.key.is_some() && matches!(input.input, Input::Relation(_));
    let input = if needs_node { rows::keep_all(lowering, input)? } else { input };
    if emit && closing.key.is_none() {
        return Err(no_watermark(&groups, &input));
    }
    let mut spec = Aggregate::new(input.schema.clone(), groups.clone(), calls, schema.clone(), input.properties.append_only)?;
    if let Some(key) = closing.key {
        spec = spec.with_window_key(key);
    }
    if let Some((end, windows)) = closing.end {
        spec = spec.with_window_end(end, windows);
    }
    if emit {
        spec = spec.with_emit_on_close();
    }
    let bound = match closing.key {
        Some(key) => Bound::Watermark(schema.field(key).name().clone()),
        None => Bound::Unbounded,
    };
    let properties = Properties { append_only: spec.is_append_only(), key: Some(spec.key()), watermarked: spec.watermarked(), bound };
    let mut facts: Vec<Fact> = groups.iter().map(|&g| input.facts[g]).collect();
    while facts.len() < schema.fields().len() {
        facts.push(lowering.new_fact());
    }
    let refuses = closing.key.is_some() && !input.promised;
    let added = lowering.add(Arc::new(spec), vec![input.input], schema.clone(), properties.clone());
    if refuses {
        note_refusing(lowering, added)?;
        let (original, over_columns) = (written.clone(), node.clone());
        lowering.refusal = closing.key.map(|key| Refusal { original, over_columns, key, emits_on_close: emit });
    }
    Ok(Lowered { input: added, schema, properties, facts, picked: None, promised: input.promised || closing.key.is_some() })
}

/// Why a view cannot be.
pub(super) const TWO_REFUSE: &str = "a view in which two operators refuse late rows is not supported";

/// `$late` has the columns of one operator's input.
fn note_refusing(lowering: &mut Lowering<'_>, added: Input) -> Result<()> {
    let Input::Node(node) = added else { return Err(Error::bug("an aggregate is a node")) };
    if lowering.refusing.replace(node).is_some() {
        let error = Error::unsupported(TWO_REFUSE);
        return Err(error.with_hint("make a materialized view of each part, and this one of those: UNION ALL or JOIN of the views"));
    }
    Ok(())
}

fn call(lowering: &Lowering<'_>, expr: &Expr, node: &AggregateNode, input: &Schema) -> Result<AggregateCall> {
    let (props, planning) = (ExecutionProps::new(), PhysicalPlanningContext::default());
    let lowered =
        LoweredAggregateBuilder::new(expr, node.input.schema(), input, &props, &planning).build().map_err(|e| lowering.error(e))?;
    AggregateCall::new(lowered.aggregate, lowered.filter).checked()
}

fn no_watermark(groups: &[usize], input: &Lowered) -> Error {
    let error = Error::invalid("EMIT ON WINDOW CLOSE needs a GROUP BY column with a watermark");
    let names: Vec<&str> = groups.iter().map(|&g| input.schema.field(g).name().as_str()).collect();
    let with: Vec<&str> = input.properties.watermarked.iter().map(|&c| input.schema.field(c).name().as_str()).collect();
    let detail = match (names.is_empty(), with.is_empty()) {
        (true, _) => "there is no GROUP BY: the one group never closes".to_owned(),
        (false, true) => format!("it groups by {}, and no column of its input carries a watermark", names.join(", ")),
        (false, false) => format!("it groups by {}; a watermark is on {}", names.join(", "), with.join(", ")),
    };
    error
        .with_detail(detail)
        .with_hint("declare WATERMARK FOR column AS column - INTERVAL '…' on the source, and group by a window of that column")
}
