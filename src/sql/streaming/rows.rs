//! Lowers what treats each row by itself: projections, filters, unions.

use std::sync::Arc;

use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::{Filter as FilterNode, Projection, Union as UnionNode};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use headwater_operators::{Bound, Edge, Filter, Input, Project, Properties, Union, WatermarkFrom};
use headwater_types::Result;

use super::lower::{Fact, Lowered, Lowering};

pub(super) fn project(lowering: &mut Lowering<'_>, node: &Projection, emit: bool) -> Result<Lowered> {
    let input = lowering.lower(&node.input, emit)?;
    let exprs = node.expr.iter().map(|e| lowering.physical(&e.clone().unalias(), node.input.schema())).collect::<Result<Vec<_>>>()?;
    project_to(lowering, input, exprs, Arc::new(node.schema.as_arrow().clone()))
}

/// The columns `columns` of `input`, as they are.
pub(super) fn pick(lowering: &mut Lowering<'_>, input: Lowered, columns: &[usize]) -> Result<Lowered> {
    let schema = Arc::new(input.schema.project(columns)?);
    let column = |&c: &usize| Arc::new(Column::new(input.schema.field(c).name(), c)) as Arc<dyn PhysicalExpr>;
    let exprs = columns.iter().map(column).collect();
    let before = Box::new(input.clone());
    let picked = project_to(lowering, input, exprs, schema)?;
    Ok(Lowered { picked: Some((before, columns.to_vec())), ..picked })
}

/// Takes back a node that only picks columns, if nothing reads it yet: `exprs` over its output become expressions over its input.
fn through_picked(
    lowering: &mut Lowering<'_>,
    input: Lowered,
    exprs: Vec<Arc<dyn PhysicalExpr>>,
) -> Result<(Lowered, Vec<Arc<dyn PhysicalExpr>>)> {
    let is_last = input.input == Input::Node(lowering.nodes.len().wrapping_sub(1));
    let Some((before, columns)) = input.picked.clone().filter(|_| is_last) else { return Ok((input, exprs)) };
    lowering.nodes.pop();
    let onto = |expr: Arc<dyn PhysicalExpr>| {
        let moved = expr.transform_up(|e| match e.downcast_ref::<Column>() {
            Some(column) => Ok(Transformed::yes(Arc::new(Column::new(column.name(), columns[column.index()])) as Arc<dyn PhysicalExpr>)),
            None => Ok(Transformed::no(e)),
        });
        moved.map(|t| t.data).map_err(|e| lowering.error(e))
    };
    let exprs = exprs.into_iter().map(onto).collect::<Result<Vec<_>>>()?;
    Ok((*before, exprs))
}

/// All columns of `input` as they are: a view that is a relation needs an operator too.
pub(super) fn keep_all(lowering: &mut Lowering<'_>, input: Lowered) -> Result<Lowered> {
    let columns: Vec<usize> = (0..input.schema.fields().len()).collect();
    pick(lowering, input, &columns)
}

pub(super) fn project_to(
    lowering: &mut Lowering<'_>,
    input: Lowered,
    exprs: Vec<Arc<dyn PhysicalExpr>>,
    schema: SchemaRef,
) -> Result<Lowered> {
    let (input, exprs) = through_picked(lowering, input, exprs)?;
    let spec = Project::new(exprs, schema.clone())?;
    let repeats = spec.repeats();
    let properties = Properties {
        append_only: input.properties.append_only,
        key: key_through(input.properties.key.as_deref(), &repeats),
        watermarked: spec.watermarked(&input.properties.watermarked),
        bound: Bound::Stateless,
    };
    let facts = spec.watermarks_from().iter().map(|from| fact_through(lowering, from, &input.facts)).collect();
    let node = lowering.add(Arc::new(spec), vec![input.input], schema.clone(), properties.clone());
    Ok(Lowered { input: node, schema, properties, facts, picked: None, promised: input.promised })
}

/// A key survives where each of its columns is repeated.
fn key_through(key: Option<&[usize]>, repeats: &[Option<usize>]) -> Option<Vec<usize>> {
    key?.iter().map(|column| repeats.iter().position(|from| *from == Some(*column))).collect()
}

fn fact_through(lowering: &mut Lowering<'_>, from: &WatermarkFrom, input: &[Fact]) -> Fact {
    match from {
        WatermarkFrom::Nothing => lowering.new_fact(),
        WatermarkFrom::Column(column) => input[*column],
        WatermarkFrom::Window(time, windows, edge) => {
            Fact { origin: lowering.origin(), window: Some((*windows, *edge, input[*time].origin)) }
        }
        WatermarkFrom::EndOf(start, windows) => match input[*start].window {
            Some((of_start, Edge::Start, time)) if of_start == *windows => {
                Fact { origin: lowering.origin(), window: Some((*windows, Edge::End, time)) }
            }
            _ => lowering.new_fact(),
        },
    }
}

pub(super) fn filter(lowering: &mut Lowering<'_>, node: &FilterNode, emit: bool) -> Result<Lowered> {
    let input = lowering.lower(&node.input, emit)?;
    let predicate = lowering.physical(&node.predicate, node.input.schema())?;
    let properties = Properties { bound: Bound::Stateless, ..input.properties.clone() };
    let schema = input.schema.clone();
    let added = lowering.add(Arc::new(Filter::new(predicate)), vec![input.input], schema, properties.clone());
    Ok(Lowered { input: added, properties, picked: None, ..input })
}

pub(super) fn union(lowering: &mut Lowering<'_>, node: &UnionNode) -> Result<Lowered> {
    let schema: SchemaRef = Arc::new(Schema::clone(node.schema.as_arrow()));
    let mut inputs = Vec::new();
    for input in &node.inputs {
        let lowered = lowering.lower(input, false)?;
        inputs.push(as_schema(lowering, lowered, &schema)?);
    }
    let watermarked: Vec<Vec<usize>> = inputs.iter().map(|i| i.properties.watermarked.clone()).collect();
    let properties = Properties {
        append_only: inputs.iter().all(|i| i.properties.append_only),
        key: None,
        watermarked: Union::watermarked(&watermarked),
        bound: Bound::Stateless,
    };
    let promised = inputs.iter().all(|i| i.promised);
    let facts = lowering.new_facts(schema.fields().len());
    let from = inputs.iter().map(|i| i.input).collect();
    let input = lowering.add(Arc::new(Union::new(inputs.len())), from, schema.clone(), properties.clone());
    Ok(Lowered { input, schema, properties, facts, picked: None, promised })
}

/// The same rows under the names of `schema`, whose types they have: batches of one relation share one schema.
fn as_schema(lowering: &mut Lowering<'_>, input: Lowered, schema: &SchemaRef) -> Result<Lowered> {
    if input.schema == *schema {
        return Ok(input);
    }
    let column =
        |(at, field): (usize, &Arc<datafusion::arrow::datatypes::Field>)| Arc::new(Column::new(field.name(), at)) as Arc<dyn PhysicalExpr>;
    let exprs = schema.fields().iter().enumerate().map(column).collect();
    project_to(lowering, input, exprs, schema.clone())
}
