//! PostgreSQL's types in expressions: casts, what may be assigned to a column, literals that take the type of what they are compared with.

pub(crate) mod conversions;
pub(crate) mod exact_casts;
pub(crate) mod mixed_numbers;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result as PlanResult};
use datafusion::config::ConfigOptions;
use datafusion::functions::core::nullif;
use datafusion::functions_nested::remove::array_remove_all_udf;
use datafusion::functions_nested::replace::array_replace_all_udf;
use datafusion::logical_expr::binary::BinaryTypeCoercer;
use datafusion::logical_expr::expr::{Cast, InList, ScalarFunction};
use datafusion::logical_expr::expr_rewriter::FunctionRewrite;
use datafusion::logical_expr::{Between, BinaryExpr, Expr, ExprSchemable, LogicalPlan, Operator, lit};
use headwater_catalog::Column;
use headwater_types::{Error, Result};

use self::conversions::{conversion, converted, is_text, type_of};
use self::mixed_numbers::number_as;
use crate::errors::into_datafusion;
use crate::functions::{Arithmetic, CastCall, Conversion, Convert, Division, IntegerOperator, Rounding, difference, span};
use crate::type_names::{sql_name, type_name};
use crate::types::Length;

/// Runs over every expression before types are coerced, in views and ad-hoc queries alike.
#[derive(Debug)]
pub(crate) struct PostgresTypes;

impl FunctionRewrite for PostgresTypes {
    fn name(&self) -> &str {
        "postgres_types"
    }

    fn rewrite(&self, expr: Expr, schema: &DFSchema, _config: &ConfigOptions) -> PlanResult<Transformed<Expr>> {
        match expr {
            Expr::Cast(cast) => rewrite_cast(cast, schema),
            Expr::ScalarFunction(call) => rewrite_call(call, schema),
            Expr::BinaryExpr(binary) => rewrite_binary(binary, schema),
            Expr::InList(list) => rewrite_list(list, schema),
            Expr::Between(between) => rewrite_between(between, schema),
            Expr::Case(case) => mixed_numbers::rewrite_case(case, schema),
            Expr::InSubquery(within) => mixed_numbers::rewrite_within(within, schema),
            other => Ok(Transformed::no(other)),
        }
    }
}

/// A cast that is written cuts text to its length, and rounds times.
fn rewrite_cast(cast: Cast, schema: &DFSchema) -> PlanResult<Transformed<Expr>> {
    let Ok(from) = type_of(&cast.expr, schema) else { return Ok(Transformed::no(Expr::Cast(cast))) };
    let to = cast.field.data_type();
    let value = match (conversion(&from, to), Length::of(&cast.field)) {
        (None, None) => return Ok(Transformed::no(Expr::Cast(cast))),
        (Some(conversion), None) => Convert::call(conversion, *cast.expr),
        (_, Some(length)) => {
            let value = converted(*cast.expr, &from, to);
            let shortening = match length {
                Length::Characters(length) => Conversion::Cut(length),
                Length::Digits(digits) => Conversion::Round(digits),
            };
            Convert::call(shortening, value)
        }
    };
    Ok(Transformed::yes(value))
}

fn rewrite_call(call: ScalarFunction, schema: &DFSchema) -> PlanResult<Transformed<Expr>> {
    if let Some(field) = CastCall::target(&call.func)
        && let [value] = call.args.as_slice()
    {
        let cast = Cast::new_from_field(Box::new(value.clone()), field.clone());
        return Ok(Transformed::yes(rewrite_cast(cast, schema)?.data));
    }
    if let Some(function) = Rounding::settled(&call.func, &call.args) {
        return Ok(Transformed::yes(function.call(call.args)));
    }
    match call.name() {
        "concat" | "concat_ws" => {
            let shown = |arg: Expr| match type_of(&arg, schema) {
                Ok(from) if !is_text(&from) && !from.is_null() => Convert::call(Conversion::Output, arg),
                _ => arg,
            };
            let args = call.args.into_iter().map(shown).collect();
            Ok(Transformed::yes(Expr::ScalarFunction(ScalarFunction::new_udf(call.func, args))))
        }
        "array_remove" | "array_replace" | "array_length" => Ok(Transformed::yes(of_arrays(call))),
        "encode" | "convert_from" => Ok(Transformed::yes(of_bytes(call))),
        "coalesce" | "greatest" | "least" | "make_array" => mixed_numbers::rewrite_arguments(call, schema),
        "nullif" => mixed_numbers::rewrite_nullif(call, schema),
        name @ ("to_timestamp" | "to_date") if call.args.len() > 1 => {
            let error = Error::unsupported(format!("{name}(text, format) is not supported"));
            Err(into_datafusion(error.with_hint("a cast reads ISO forms: '2020-01-31 10:00'::timestamp")))
        }
        _ => Ok(Transformed::no(Expr::ScalarFunction(call))),
    }
}

/// PostgreSQL removes and replaces every such element, and an array without elements has no length.
fn of_arrays(call: ScalarFunction) -> Expr {
    match call.name() {
        "array_remove" => array_remove_all_udf().call(call.args),
        "array_replace" => array_replace_all_udf().call(call.args),
        _ => nullif().call(vec![Expr::ScalarFunction(call), lit(0u64)]),
    }
}

/// A text literal that bytes are asked for is a literal of them.
fn of_bytes(mut call: ScalarFunction) -> Expr {
    if let Some(value) = call.args.first_mut().filter(|value| is_text_literal(value)) {
        *value = converted(std::mem::take(value), &DataType::Utf8, &DataType::Binary);
    }
    Expr::ScalarFunction(call)
}

fn rewrite_binary(binary: BinaryExpr, schema: &DFSchema) -> PlanResult<Transformed<Expr>> {
    if matches!(binary.op, Operator::And | Operator::Or) {
        return Ok(Transformed::no(Expr::BinaryExpr(binary)));
    }
    let (Ok(left), Ok(right)) = (type_of(&binary.left, schema), type_of(&binary.right, schema)) else {
        return Ok(Transformed::no(Expr::BinaryExpr(binary)));
    };
    let compares = compares(binary.op);
    let computes = computes(binary.op);
    let takes_over = |other: &DataType| (compares && has_literals(other)) || (computes && other.is_numeric());
    let BinaryExpr { left: l, op, right: r } = binary;
    match (is_text_literal(&l), is_text_literal(&r)) {
        (false, true) if takes_over(&left) => settled((*l, &left), op, (converted(*r, &right, &left), &left)),
        (true, false) if takes_over(&right) => settled((converted(*l, &left, &right), &right), op, (*r, &right)),
        (false, false) if compares && (mixes(&left, &right) || mixes(&right, &left)) => {
            let message = format!("operator does not exist: {} {op} {}", type_name(&left), type_name(&right));
            Err(into_datafusion(Error::invalid(message).with_sqlstate("42883").with_hint("you might need to add explicit type casts")))
        }
        _ if op == Operator::StringConcat && (is_text(&left) || is_text(&right)) => {
            let text = |expr: Expr, from: &DataType| match conversion(from, &DataType::Utf8) {
                Some(conversion) => Convert::call(conversion, expr),
                None => expr,
            };
            settled((text(*l, &left), &left), op, (text(*r, &right), &right))
        }
        _ => settled((*l, &left), op, (*r, &right)),
    }
}

/// `l op r` of these types as what PostgreSQL means by it: integers that do not overflow, divisions that fail on zero, differences in days, intervals
/// compared by their length.
fn settled((l, left): (Expr, &DataType), op: Operator, (r, right): (Expr, &DataType)) -> PlanResult<Transformed<Expr>> {
    if mixed_numbers::meet_as_doubles(left, right) && (compares(op) || computes(op)) {
        let double = &DataType::Float64;
        return settled((number_as(l, left, double), double), op, (number_as(r, right, double), double));
    }
    let plain = |l: Expr, r: Expr| Expr::BinaryExpr(BinaryExpr::new(Box::new(l), op, Box::new(r)));
    let is_interval = |t: &DataType| matches!(t, DataType::Interval(_));
    let integers = (left.is_integer() && right.is_integer()).then(|| IntegerOperator::of(op)).flatten();
    Ok(Transformed::yes(match (op, integers) {
        (_, Some(operator)) => {
            let result = BinaryTypeCoercer::new(left, &op, right).get_result_type()?;
            Arithmetic::call(operator, l, r, result)
        }
        (Operator::Divide, _) => match Division::quotient(left, right) {
            Some(quotient) => Division::call(quotient, l, r),
            None => plain(l, r),
        },
        (Operator::Minus, _) if both_moments(left, right) || both_clocks(left, right) => difference(l, r),
        _ if compares(op) && is_interval(left) && is_interval(right) => plain(span(l), span(r)),
        _ => plain(l, r),
    }))
}

/// Two timestamps, or a timestamp and a date.
pub(crate) fn both_moments(left: &DataType, right: &DataType) -> bool {
    let moment = |t: &DataType| matches!(t, DataType::Timestamp(..));
    (moment(left) && (moment(right) || *right == DataType::Date32)) || (*left == DataType::Date32 && moment(right))
}

pub(crate) fn both_clocks(left: &DataType, right: &DataType) -> bool {
    let clock = |t: &DataType| matches!(t, DataType::Time32(_) | DataType::Time64(_));
    clock(left) && clock(right)
}

fn compares(operator: Operator) -> bool {
    use Operator::{Eq, Gt, GtEq, IsDistinctFrom, IsNotDistinctFrom, Lt, LtEq, NotEq};
    matches!(operator, Eq | NotEq | Lt | LtEq | Gt | GtEq | IsDistinctFrom | IsNotDistinctFrom)
}

fn computes(operator: Operator) -> bool {
    matches!(operator, Operator::Plus | Operator::Minus | Operator::Multiply | Operator::Divide | Operator::Modulo)
}

/// Types of which a text literal beside one of their values is one, too.
fn has_literals(data_type: &DataType) -> bool {
    data_type.is_numeric()
        || matches!(
            data_type,
            DataType::Boolean
                | DataType::Binary
                | DataType::FixedSizeBinary(16)
                | DataType::Date32
                | DataType::Time64(_)
                | DataType::Timestamp(..)
                | DataType::Interval(_)
        )
}

/// Text beside a value that is not, without a literal: PostgreSQL has no such operators.
pub(crate) fn mixes(text: &DataType, other: &DataType) -> bool {
    *text == DataType::Utf8 && (other.is_numeric() || matches!(other, DataType::Boolean | DataType::Date32 | DataType::Timestamp(..)))
}

pub(crate) fn is_text_literal(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(value, _) if !value.is_null() && value.data_type() == DataType::Utf8)
}

fn rewrite_list(list: InList, schema: &DFSchema) -> PlanResult<Transformed<Expr>> {
    let Ok(data_type) = type_of(&list.expr, schema) else { return Ok(Transformed::no(Expr::InList(list))) };
    let is_interval = matches!(data_type, DataType::Interval(_));
    if is_interval || !(list.expr.is_volatile() || list.list.iter().all(is_constant)) {
        return as_equalities(list, schema);
    }
    if !has_literals(&data_type) {
        return Ok(Transformed::no(Expr::InList(list)));
    }
    let as_value = |item: Expr| if is_text_literal(&item) { converted(item, &DataType::Utf8, &data_type) } else { item };
    let items = list.list.into_iter().map(as_value).collect();
    let list = InList::new(list.expr, items, list.negated);
    match mixed_numbers::list_type(&list, &data_type, schema) {
        Some(_) if list.list.len() == 1 => as_equalities(list, schema),
        Some(common) => mixed_numbers::list_as(list, &data_type, &common, schema),
        None => Ok(Transformed::yes(Expr::InList(list))),
    }
}

fn is_constant(expr: &Expr) -> bool {
    !expr.exists(|e| Ok(matches!(e, Expr::Column(_) | Expr::OuterReferenceColumn(..) | Expr::ScalarSubquery(_)))).unwrap_or(true)
}

/// `x = a OR x = b …`: DataFusion's list of values that differ by row takes a NULL in it for no match.
fn as_equalities(list: InList, schema: &DFSchema) -> PlanResult<Transformed<Expr>> {
    let equal = |item: Expr| rewrite_binary(BinaryExpr::new(list.expr.clone(), Operator::Eq, Box::new(item)), schema).map(|t| t.data);
    let equalities = list.list.into_iter().map(equal).collect::<PlanResult<Vec<_>>>()?;
    let any = equalities.into_iter().reduce(Expr::or).unwrap_or_else(|| lit(false));
    Ok(Transformed::yes(if list.negated { Expr::Not(Box::new(any)) } else { any }))
}

fn rewrite_between(between: Between, schema: &DFSchema) -> PlanResult<Transformed<Expr>> {
    let Ok(data_type) = type_of(&between.expr, schema) else { return Ok(Transformed::no(Expr::Between(between))) };
    if !has_literals(&data_type) {
        return Ok(Transformed::no(Expr::Between(between)));
    }
    let as_value = |item: Expr| if is_text_literal(&item) { converted(item, &DataType::Utf8, &data_type) } else { item };
    let sides = [*between.expr, as_value(*between.low), as_value(*between.high)];
    let [expr, low, high] = mixed_numbers::compared(sides, schema).map(Box::new);
    Ok(Transformed::yes(Expr::Between(Between::new(expr, between.negated, low, high))))
}

/// `expr`, of columns of `schema`, as a value of `to`; a text that is too long for it fails.
pub(crate) fn cast_to(expr: Expr, schema: &DFSchema, to: &Field) -> PlanResult<Expr> {
    let from = expr.get_type(schema)?;
    let value = converted(expr, &from, to.data_type());
    Ok(match Length::of(to) {
        Some(Length::Characters(length)) => Convert::call(Conversion::Fit(length), value),
        Some(Length::Digits(digits)) => Convert::call(Conversion::Round(digits), value),
        None => value,
    })
}

/// Column `at` of `plan`'s output as a value for `column`.
///
/// # Errors
/// `Invalid` (42804) where PostgreSQL has no assignment cast.
pub(crate) fn assign(plan: &LogicalPlan, at: usize, column: &Column) -> Result<Expr> {
    let from: &FieldRef = plan.schema().field(at);
    let expr = Expr::Column(plan.schema().columns()[at].clone());
    let to = column.field();
    if !can_assign(from.data_type(), to.data_type()) && !is_untyped(plan, at) {
        let message =
            format!("column \"{}\" is of type {} but expression is of type {}", column.name, sql_name(&to), type_name(from.data_type()));
        return Err(Error::invalid(message).with_sqlstate("42804").with_hint("you will need to rewrite or cast the expression"));
    }
    cast_to(expr, plan.schema(), &to).map_err(crate::errors::from_datafusion)
}

/// True if every row has a text literal, a NULL or a parameter there, which takes the type of its column.
fn is_untyped(plan: &LogicalPlan, at: usize) -> bool {
    let untyped = |expr: &Expr| match expr.clone().unalias() {
        Expr::Literal(value, _) => value.is_null() || value.data_type() == DataType::Utf8,
        Expr::Placeholder(_) => true,
        Expr::Cast(cast) => matches!(*cast.expr, Expr::Literal(value, _) if value.is_null()),
        _ => false,
    };
    match plan {
        LogicalPlan::Values(values) => values.values.iter().all(|row| untyped(&row[at])),
        LogicalPlan::Projection(projection) => match without_cast(projection.expr[at].clone().unalias()) {
            Expr::Column(column) => {
                projection.input.schema().maybe_index_of_column(&column).is_some_and(|inside| is_untyped(&projection.input, inside))
            }
            expr => untyped(&expr),
        },
        LogicalPlan::SubqueryAlias(alias) => is_untyped(&alias.input, at),
        LogicalPlan::Limit(limit) => is_untyped(&limit.input, at),
        LogicalPlan::Sort(sort) => is_untyped(&sort.input, at),
        _ => false,
    }
}

/// A column whose type is none of ours is cast above its plan, an untyped NULL to text among them.
fn without_cast(expr: Expr) -> Expr {
    match expr {
        Expr::Cast(cast) if matches!(*cast.expr, Expr::Column(_)) => *cast.expr,
        other => other,
    }
}

/// PostgreSQL's assignment casts.
fn can_assign(from: &DataType, to: &DataType) -> bool {
    let is_time = |t: &DataType| matches!(t, DataType::Date32 | DataType::Timestamp(..));
    match (from, to) {
        (from, to) if from == to => true,
        (DataType::Null, _) | (_, DataType::Utf8) => true,
        (from, to) if from.is_numeric() && to.is_numeric() => true,
        (from, to) if is_time(from) && is_time(to) => true,
        (DataType::Timestamp(..) | DataType::Interval(_), DataType::Time64(_)) | (DataType::Time64(_), DataType::Interval(_)) => true,
        (DataType::List(from), DataType::List(to)) => can_assign(from.data_type(), to.data_type()),
        _ => false,
    }
}
