//! Floats beside other numbers: operators take both as double precision, what gives one of several values takes the widest float among them.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::expr::{InList, InSubquery, ScalarFunction};
use datafusion::logical_expr::{Case, Expr, LogicalPlanBuilder, Subquery};

use crate::casts::conversions::{converted, type_of};
use crate::functions::convert_value;

/// True if PostgreSQL has no operator for these two but that of double precision: real beside an integer or a numeric, double precision beside any
/// other number.
pub(crate) fn meet_as_doubles(left: &DataType, right: &DataType) -> bool {
    let numbers = left.is_numeric() && right.is_numeric() && left != right;
    numbers && (left.is_floating() != right.is_floating())
}

/// What values of these types are where one of them comes out, if a float meets a numeric among them.
pub(crate) fn widest_float<'t>(types: impl IntoIterator<Item = &'t DataType>) -> Option<DataType> {
    let (mut float, mut decimal) = (None, false);
    for data_type in types {
        match data_type {
            DataType::Float64 => float = Some(DataType::Float64),
            DataType::Float32 => float = float.or(Some(DataType::Float32)),
            other => decimal |= other.is_decimal(),
        }
    }
    float.filter(|_| decimal)
}

/// The number `expr` of type `from` as one of type `to`; a literal stays one.
pub(crate) fn number_as(expr: Expr, from: &DataType, to: &DataType) -> Expr {
    if let Expr::Literal(value, metadata) = &expr
        && let Ok(value) = convert_value(value, to)
    {
        return Expr::Literal(value, metadata.clone());
    }
    converted(expr, from, to)
}

/// Each of `exprs` that is a number, as one of type `to`.
fn numbers_as(expr: Expr, to: &DataType, schema: &DFSchema) -> Expr {
    match type_of(&expr, schema) {
        Ok(from) if from.is_numeric() => number_as(expr, &from, to),
        _ => expr,
    }
}

fn types<'e>(exprs: impl IntoIterator<Item = &'e Expr>, schema: &DFSchema) -> Vec<DataType> {
    exprs.into_iter().filter_map(|expr| type_of(expr, schema).ok()).collect()
}

/// Sides that are compared with each other: all in double precision if one of them must be.
pub(crate) fn compared<const N: usize>(sides: [Expr; N], schema: &DFSchema) -> [Expr; N] {
    let types = types(&sides, schema);
    if types.iter().any(|a| types.iter().any(|b| meet_as_doubles(a, b))) {
        return sides.map(|side| numbers_as(side, &DataType::Float64, schema));
    }
    sides
}

/// The float that the values of a list and what is looked up in it become; none if they are of one kind.
pub(crate) fn list_type(list: &InList, value: &DataType, schema: &DFSchema) -> Option<DataType> {
    let mut kinds = vec![value.clone()];
    for data_type in list.list.iter().filter_map(|item| type_of(item, schema).ok()) {
        if !kinds.contains(&data_type) {
            kinds.push(data_type);
        }
    }
    let differ = kinds.iter().any(|a| kinds.iter().any(|b| meet_as_doubles(a, b)));
    let doubles = kinds.contains(&DataType::Float64);
    differ.then_some(if doubles { DataType::Float64 } else { DataType::Float32 })
}

/// `x IN (…)` whose values are rounded to `common`, and compared in double precision where `x` is of another type.
pub(crate) fn list_as(list: InList, value: &DataType, common: &DataType, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let double = &DataType::Float64;
    let meets = meet_as_doubles(value, common) || common == double;
    let item = |item: Expr| {
        let rounded = numbers_as(item, common, schema);
        if meets { numbers_as(rounded, double, schema) } else { rounded }
    };
    let items = list.list.into_iter().map(item).collect();
    let expr = if meets { number_as(*list.expr, value, double) } else { *list.expr };
    Ok(Transformed::yes(Expr::InList(InList::new(Box::new(expr), items, list.negated))))
}

/// The branches of a CASE as the widest float among them; what it compares, in double precision.
pub(crate) fn rewrite_case(mut case: Case, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let results = case.when_then_expr.iter().map(|(_, then)| then.as_ref()).chain(case.else_expr.as_deref());
    let common = widest_float(&types(results, schema));
    let value = case.expr.as_ref().and_then(|value| type_of(value, schema).ok());
    let whens = types(case.when_then_expr.iter().map(|(when, _)| when.as_ref()), schema);
    let doubles = value.is_some_and(|value| whens.iter().any(|when| meet_as_doubles(&value, when)));
    if common.is_none() && !doubles {
        return Ok(Transformed::no(Expr::Case(case)));
    }
    let boxed = |expr: Box<Expr>, to: &DataType| Box::new(numbers_as(*expr, to, schema));
    if doubles {
        case.expr = case.expr.map(|value| boxed(value, &DataType::Float64));
        let as_double = |(when, then)| (boxed(when, &DataType::Float64), then);
        case.when_then_expr = case.when_then_expr.into_iter().map(as_double).collect();
    }
    if let Some(common) = common {
        case.when_then_expr = case.when_then_expr.into_iter().map(|(when, then)| (when, boxed(then, &common))).collect();
        case.else_expr = case.else_expr.map(|result| boxed(result, &common));
    }
    Ok(Transformed::yes(Expr::Case(case)))
}

/// The arguments of a function that gives one of them, as the widest float among them.
pub(crate) fn rewrite_arguments(call: ScalarFunction, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let Some(common) = widest_float(&types(&call.args, schema)) else { return Ok(Transformed::no(Expr::ScalarFunction(call))) };
    let args = call.args.into_iter().map(|arg| numbers_as(arg, &common, schema)).collect();
    Ok(Transformed::yes(Expr::ScalarFunction(ScalarFunction::new_udf(call.func, args))))
}

/// `nullif(a, b)` of a float and another number has the type of `a`, and compares in double precision.
pub(crate) fn rewrite_nullif(call: ScalarFunction, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let types = types(&call.args, schema);
    let ([a, b], [left, right]) = (call.args.as_slice(), types.as_slice()) else { return Ok(Transformed::no(Expr::ScalarFunction(call))) };
    if !meet_as_doubles(left, right) {
        return Ok(Transformed::no(Expr::ScalarFunction(call)));
    }
    let double = |expr: &Expr, from: &DataType| number_as(expr.clone(), from, &DataType::Float64);
    let equal = double(a, left).eq(double(b, right));
    let null = Expr::Literal(ScalarValue::try_from(left)?, None);
    let case = Case::new(None, vec![(Box::new(equal), Box::new(null))], Some(Box::new(a.clone())));
    Ok(Transformed::yes(Expr::Case(case)))
}

/// `x IN (SELECT …)` of a float and another number, in double precision.
pub(crate) fn rewrite_within(within: InSubquery, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let rows = &within.subquery.subquery;
    let (Ok(value), [inside]) = (type_of(&within.expr, schema), rows.schema().fields().iter().as_slice()) else {
        return Ok(Transformed::no(Expr::InSubquery(within)));
    };
    let (from, name) = (inside.data_type().clone(), inside.name().clone());
    if !meet_as_doubles(&value, &from) {
        return Ok(Transformed::no(Expr::InSubquery(within)));
    }
    let column = Expr::Column(rows.schema().columns()[0].clone());
    let InSubquery { expr, subquery, negated } = within;
    let double = converted(column, &from, &DataType::Float64).alias(name);
    let rows = LogicalPlanBuilder::from(subquery.subquery).project([double])?.build()?;
    let subquery = Subquery { subquery: Arc::new(rows), ..subquery };
    let expr = Box::new(number_as(*expr, &value, &DataType::Float64));
    Ok(Transformed::yes(Expr::InSubquery(InSubquery { expr, subquery, negated })))
}
