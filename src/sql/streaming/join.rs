//! Lowers joins: keys that are expressions are computed beside the rows, joined on, and dropped again.

use std::sync::Arc;

use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::{DFSchema, JoinType};
use datafusion::logical_expr::{Expr, Join as JoinNode};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use headwater_operators::{Bound, Join, Properties};
use headwater_types::{Error, Result};

use super::lower::{Lowered, Lowering};
use super::rows::{pick, project_to};

pub(super) fn join(lowering: &mut Lowering<'_>, node: &JoinNode) -> Result<Lowered> {
    if node.join_type != JoinType::Inner {
        return Err(Error::unsupported(format!("{} JOIN is not supported in a materialized view", node.join_type)));
    }
    let left = lowering.lower(&node.left, false)?;
    let right = lowering.lower(&node.right, false)?;
    let (left_width, right_width) = (left.schema.fields().len(), right.schema.fields().len());
    let (left_keys, right_keys): (Vec<&Expr>, Vec<&Expr>) = node.on.iter().map(|(l, r)| (l, r)).unzip();
    let (left, left_on) = with_keys(lowering, left, &left_keys, node.left.schema())?;
    let (right, right_on) = with_keys(lowering, right, &right_keys, node.right.schema())?;
    let on: Vec<(usize, usize)> = left_on.into_iter().zip(right_on).collect();
    let (wide_left, wide_right) = (left.schema.fields().len(), right.schema.fields().len());
    let residual = node.filter.as_ref().map(|f| lowering.physical(f, &node.schema)).transpose()?;
    let residual = residual.map(|f| shifted(f, left_width, wide_left - left_width)).transpose()?;
    let schema = both(&left.schema, &right.schema);
    let spec = Join::new(left.schema.clone(), right.schema.clone(), on, residual, schema.clone())?;
    let properties = Properties {
        append_only: left.properties.append_only && right.properties.append_only,
        key: spec.key(left.properties.key.as_deref(), right.properties.key.as_deref()),
        watermarked: spec.watermarked(&left.properties.watermarked, &right.properties.watermarked),
        bound: Bound::Unbounded,
    };
    let facts = left.facts.iter().chain(&right.facts).copied().collect();
    let input = lowering.add(Arc::new(spec), vec![left.input, right.input], schema.clone(), properties.clone());
    let joined = Lowered { input, schema, properties, facts, picked: None, promised: left.promised && right.promised };
    if wide_left == left_width && wide_right == right_width {
        return Ok(joined);
    }
    let columns: Vec<usize> = (0..left_width).chain(wide_left..wide_left + right_width).collect();
    pick(lowering, joined, &columns)
}

fn both(left: &SchemaRef, right: &SchemaRef) -> SchemaRef {
    Arc::new(Schema::new(left.fields().iter().chain(right.fields()).cloned().collect::<Vec<_>>()))
}

/// `input` with a column for each key that is none yet, and the keys' indices.
fn with_keys(lowering: &mut Lowering<'_>, input: Lowered, keys: &[&Expr], schema: &DFSchema) -> Result<(Lowered, Vec<usize>)> {
    let mut fields: Vec<Arc<Field>> = input.schema.fields().iter().cloned().collect();
    let mut exprs: Vec<Arc<dyn PhysicalExpr>> = Vec::new();
    for (at, field) in input.schema.fields().iter().enumerate() {
        exprs.push(Arc::new(Column::new(field.name(), at)));
    }
    let mut on = Vec::new();
    for key in keys {
        let physical = lowering.physical(key, schema)?;
        if let Some(column) = physical.downcast_ref::<Column>() {
            on.push(column.index());
            continue;
        }
        let data_type = physical.data_type(&input.schema).map_err(|e| lowering.error(e))?;
        on.push(fields.len());
        fields.push(Arc::new(Field::new(format!("key${}", fields.len()), data_type, true)));
        exprs.push(physical);
    }
    if fields.len() == input.schema.fields().len() {
        return Ok((input, on));
    }
    Ok((project_to(lowering, input, exprs, Arc::new(Schema::new(fields)))?, on))
}

/// `expr` over both sides, once `by` columns have been put between the first `from` and the others.
fn shifted(expr: Arc<dyn PhysicalExpr>, from: usize, by: usize) -> Result<Arc<dyn PhysicalExpr>> {
    use datafusion::common::tree_node::{Transformed, TreeNode};
    if by == 0 {
        return Ok(expr);
    }
    let moved = expr.transform_up(|e| match e.downcast_ref::<Column>() {
        Some(column) if column.index() >= from => {
            Ok(Transformed::yes(Arc::new(Column::new(column.name(), column.index() + by)) as Arc<dyn PhysicalExpr>))
        }
        _ => Ok(Transformed::no(e)),
    });
    moved.map(|t| t.data).map_err(|e| Error::bug(e.strip_backtrace()))
}
