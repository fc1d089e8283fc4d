//! The rows of set operations and of VALUES get the types that PostgreSQL gives them, while the statement is planned.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::expr::Cast;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, Union, Values};
use headwater_types::Error;

use crate::casts::conversions::converted;
use crate::casts::mixed_numbers::{number_as, widest_float};
use crate::casts::mixes;
use crate::errors::into_datafusion;
use crate::type_names::type_name;

/// `plan` with the inputs of each UNION, and the rows of each VALUES, cast to what they have in common where DataFusion takes another type: the
/// widest float of floats and numerics, the type of the other side for a text literal or a NULL.
///
/// # Errors
/// 42804: text and something else that is no literal.
pub(super) fn with_common_types(plan: LogicalPlan) -> Result<LogicalPlan> {
    if !plan.exists(|node| Ok(matches!(node, LogicalPlan::Union(_) | LogicalPlan::Values(_))))? {
        return Ok(plan);
    }
    let node = |node: LogicalPlan| {
        let inside = match node {
            LogicalPlan::Union(union) => settled_union(union)?,
            LogicalPlan::Values(values) => Transformed::yes(LogicalPlan::Values(settled_values(values)?)),
            other => Transformed::no(other),
        };
        let (plan, changed) = (inside.data, inside.transformed);
        Ok(Transformed::new_transformed(if changed { plan } else { plan.recompute_schema()? }, true))
    };
    plan.transform_up_with_subqueries(node).map(|transformed| transformed.data)
}

fn settled_union(union: Union) -> Result<Transformed<LogicalPlan>> {
    let width = union.inputs.first().map_or(0, |input| input.schema().fields().len());
    if union.inputs.iter().any(|input| input.schema().fields().len() != width) {
        return Ok(Transformed::no(LogicalPlan::Union(union)));
    }
    let types = (0..width).map(|at| column_type(&union.inputs, at)).collect::<Result<Vec<_>>>()?;
    if types.iter().all(Option::is_none) {
        return Ok(Transformed::no(LogicalPlan::Union(union)));
    }
    let inputs = union.inputs.into_iter().map(|input| cast_columns(input, &types)).collect::<Result<Vec<_>>>()?;
    Ok(Transformed::yes(LogicalPlan::Union(Union::try_new_with_loose_types(inputs)?)))
}

/// What column `at` of these inputs becomes; none where DataFusion finds it.
fn column_type(inputs: &[Arc<LogicalPlan>], at: usize) -> Result<Option<DataType>> {
    let (open, typed): (Vec<_>, Vec<_>) = inputs.iter().partition(|input| is_untyped(input, at));
    let types: Vec<&DataType> = typed.iter().map(|input| input.schema().field(at).data_type()).collect();
    for (a, b) in types.iter().flat_map(|a| types.iter().map(move |b| (*a, *b))) {
        if mixes(a, b) {
            let message =
                format!("UNION types {} and {} cannot be matched", type_name(types[0]), type_name(if types[0] == a { b } else { a }));
            return Err(into_datafusion(Error::invalid(message).with_sqlstate("42804")));
        }
    }
    if let Some(float) = widest_float(types.iter().copied()) {
        return Ok(Some(float));
    }
    match types.as_slice() {
        [first, rest @ ..] if !open.is_empty() && rest.iter().all(|t| t == first) && **first != DataType::Utf8 => {
            Ok(Some((*first).clone()))
        }
        _ => Ok(None),
    }
}

/// True if `input` has a literal without a type there, a NULL or a parameter.
fn is_untyped(input: &LogicalPlan, at: usize) -> bool {
    match input {
        LogicalPlan::Projection(projection) => match projection.expr[at].clone().unalias() {
            Expr::Literal(value, _) => value.is_null() || value.data_type() == DataType::Utf8,
            Expr::Placeholder(placeholder) => placeholder.field.is_none(),
            _ => false,
        },
        _ => false,
    }
}

fn cast_columns(input: Arc<LogicalPlan>, types: &[Option<DataType>]) -> Result<Arc<LogicalPlan>> {
    let columns = input.schema().columns().into_iter().zip(input.schema().iter()).zip(types);
    let exprs: Vec<Expr> = columns
        .map(|((column, (qualifier, field)), to)| match to {
            Some(to) if to != field.data_type() => {
                converted(Expr::Column(column), field.data_type(), to).alias_qualified(qualifier.cloned(), field.name())
            }
            _ => Expr::Column(column),
        })
        .collect();
    Ok(Arc::new(LogicalPlanBuilder::from(input).project(exprs)?.build()?))
}

/// Rows in which DataFusion took floats for numerics.
fn settled_values(mut values: Values) -> Result<Values> {
    let schema = values.schema.clone();
    let mut fields: Vec<_> = schema.iter().map(|(qualifier, field)| (qualifier.cloned(), field.clone())).collect();
    for (at, (_, field)) in fields.iter_mut().enumerate().filter(|(_, (_, field))| field.data_type().is_decimal()) {
        let before = |expr: &Expr| match expr {
            Expr::Cast(cast) if cast.field.data_type() == field.data_type() => cast.expr.get_type(&schema),
            other => other.get_type(&schema),
        };
        let Ok(types) = values.values.iter().map(|row| before(&row[at])).collect::<Result<Vec<_>>>() else { continue };
        let Some(float) = widest_float(types.iter()) else { continue };
        for (row, from) in values.values.iter_mut().zip(types) {
            row[at] = match std::mem::take(&mut row[at]) {
                Expr::Cast(Cast { expr, .. }) if from.is_floating() => number_as(*expr, &from, &float),
                other => number_as(other, field.data_type(), &float),
            };
        }
        *field = Arc::new(field.as_ref().clone().with_data_type(float));
    }
    values.schema = Arc::new(DFSchema::new_with_metadata(fields, schema.metadata().clone())?);
    Ok(values)
}
