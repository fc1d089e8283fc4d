//! PostgreSQL's types in expressions: casts, what may be assigned to a column, literals that take the type of what they are compared with.

use datafusion::arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result as PlanResult};
use datafusion::config::ConfigOptions;
use datafusion::logical_expr::binary::BinaryTypeCoercer;
use datafusion::logical_expr::expr::{Cast, InList};
use datafusion::logical_expr::expr_rewriter::FunctionRewrite;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{Between, BinaryExpr, Expr, ExprSchemable, LogicalPlan, Operator};
use datafusion::sql::sqlparser::ast::BinaryOperator;
use headwater_catalog::Column;
use headwater_types::{Error, Result};

use crate::errors::into_datafusion;
use crate::functions::{Arithmetic, Conversion, Convert, IntegerOperator, varchar};
use crate::types::{TYPE_KEY, sql_name, type_name};

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
            Expr::BinaryExpr(binary) => rewrite_binary(binary, schema),
            Expr::InList(list) => rewrite_list(list, schema),
            Expr::Between(between) => rewrite_between(between, schema),
            other => Ok(Transformed::no(other)),
        }
    }
}

/// What must be settled while the statement is planned, since it changes types or DataFusion would refuse it before [`PostgresTypes`] sees it: a text
/// literal takes the type of the UUID or bytes it is compared with; a date and an interval make a timestamp, two dates a number of days.
#[derive(Debug)]
pub(crate) struct LiteralTypes;

impl ExprPlanner for LiteralTypes {
    fn plan_binary_op(&self, expr: RawBinaryExpr, schema: &DFSchema) -> PlanResult<PlannerResult<RawBinaryExpr>> {
        let is_bytes = |t: &DataType| matches!(t, DataType::FixedSizeBinary(16) | DataType::Binary);
        let is_interval = |t: &DataType| matches!(t, DataType::Interval(_));
        let (Ok(left), Ok(right)) = (expr.left.get_type(schema), expr.right.get_type(schema)) else {
            return Ok(PlannerResult::Original(expr));
        };
        let RawBinaryExpr { op, left: l, right: r } = expr;
        let timestamp = DataType::Timestamp(TimeUnit::Microsecond, None);
        let adds = matches!(op, BinaryOperator::Plus | BinaryOperator::Minus);
        let (l, r) = match (is_text_literal(&l), is_text_literal(&r)) {
            (false, true) if is_bytes(&left) => (l, converted(r, &right, &left)),
            (true, false) if is_bytes(&right) => (converted(l, &left, &right), r),
            _ if adds && left == DataType::Date32 && is_interval(&right) => (converted(l, &left, &timestamp), r),
            _ if adds && right == DataType::Date32 && is_interval(&left) => (l, converted(r, &right, &timestamp)),
            _ if op == BinaryOperator::Minus && left == DataType::Date32 && right == DataType::Date32 => {
                (converted(l, &left, &DataType::Int32), converted(r, &right, &DataType::Int32))
            }
            _ => (l, r),
        };
        Ok(PlannerResult::Original(RawBinaryExpr { op, left: l, right: r }))
    }
}

fn rewrite_cast(cast: Cast, schema: &DFSchema) -> PlanResult<Transformed<Expr>> {
    let Ok(from) = cast.expr.get_type(schema) else { return Ok(Transformed::no(Expr::Cast(cast))) };
    match conversion(&from, cast.field.data_type()) {
        Some(conversion) => Ok(Transformed::yes(Convert::call(conversion, *cast.expr))),
        None => Ok(Transformed::no(Expr::Cast(cast))),
    }
}

/// The conversion to use instead of Arrow's cast, where that differs.
fn conversion(from: &DataType, to: &DataType) -> Option<Conversion> {
    let is_text = |t: &DataType| matches!(t, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    let has_fraction =
        matches!(from, DataType::Float32 | DataType::Float64) || matches!(from, DataType::Decimal128(_, scale) if *scale > 0);
    match to {
        DataType::Utf8
            if matches!(
                from,
                DataType::Timestamp(..) | DataType::Float32 | DataType::Float64 | DataType::Interval(_) | DataType::Binary
            ) =>
        {
            Some(Conversion::Text)
        }
        DataType::Utf8 if *from == DataType::FixedSizeBinary(16) => Some(Conversion::Text),
        DataType::Binary if is_text(from) => Some(Conversion::Bytes),
        DataType::FixedSizeBinary(16) if is_text(from) => Some(Conversion::Uuid),
        DataType::Date32 | DataType::Time64(TimeUnit::Microsecond) | DataType::Timestamp(TimeUnit::Microsecond, _) if is_text(from) => {
            Some(Conversion::Time(to.clone()))
        }
        DataType::Int16 | DataType::Int32 | DataType::Int64 if has_fraction => Some(Conversion::Integer(to.clone())),
        _ => None,
    }
}

fn converted(expr: Expr, from: &DataType, to: &DataType) -> Expr {
    match conversion(from, to) {
        Some(conversion) => Convert::call(conversion, expr),
        None if from == to => expr,
        None => Expr::Cast(Cast::new(Box::new(expr), to.clone())),
    }
}

fn rewrite_binary(binary: BinaryExpr, schema: &DFSchema) -> PlanResult<Transformed<Expr>> {
    let unchanged = |binary| Ok(Transformed::no(Expr::BinaryExpr(binary)));
    let (Ok(left), Ok(right)) = (binary.left.get_type(schema), binary.right.get_type(schema)) else { return unchanged(binary) };
    if left.is_integer() && right.is_integer() {
        return match IntegerOperator::of(binary.op) {
            Some(operator) => checked(operator, binary, &left, &right),
            None => unchanged(binary),
        };
    }
    let compares = compares(binary.op);
    let computes = matches!(binary.op, Operator::Plus | Operator::Minus | Operator::Multiply | Operator::Divide | Operator::Modulo);
    let takes_over = |other: &DataType| (compares && has_literals(other)) || (computes && other.is_numeric());
    let BinaryExpr { left: l, op, right: r } = binary;
    let rebuilt = |l: Expr, r: Expr| Ok(Transformed::yes(Expr::BinaryExpr(BinaryExpr::new(Box::new(l), op, Box::new(r)))));
    match (is_text_literal(&l), is_text_literal(&r)) {
        (false, true) if takes_over(&left) => rebuilt(*l, converted(*r, &right, &left)),
        (true, false) if takes_over(&right) => rebuilt(converted(*l, &left, &right), *r),
        (false, false) if compares && (mixes(&left, &right) || mixes(&right, &left)) => {
            let message = format!("operator does not exist: {} {op} {}", type_name(&left), type_name(&right));
            Err(into_datafusion(Error::invalid(message).with_sqlstate("42883").with_hint("you might need to add explicit type casts")))
        }
        _ => Ok(Transformed::no(Expr::BinaryExpr(BinaryExpr { left: l, op, right: r }))),
    }
}

fn checked(operator: IntegerOperator, binary: BinaryExpr, left: &DataType, right: &DataType) -> PlanResult<Transformed<Expr>> {
    let result = BinaryTypeCoercer::new(left, &binary.op, right).get_result_type()?;
    let (l, r) = (converted(*binary.left, left, &result), converted(*binary.right, right, &result));
    Ok(Transformed::yes(Arithmetic::call(operator, l, r)))
}

fn compares(operator: Operator) -> bool {
    use Operator::{Eq, Gt, GtEq, IsDistinctFrom, IsNotDistinctFrom, Lt, LtEq, NotEq};
    matches!(operator, Eq | NotEq | Lt | LtEq | Gt | GtEq | IsDistinctFrom | IsNotDistinctFrom)
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
fn mixes(text: &DataType, other: &DataType) -> bool {
    *text == DataType::Utf8 && (other.is_numeric() || matches!(other, DataType::Boolean | DataType::Date32 | DataType::Timestamp(..)))
}

fn is_text_literal(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(value, _) if !value.is_null() && value.data_type() == DataType::Utf8)
}

fn rewrite_list(list: InList, schema: &DFSchema) -> PlanResult<Transformed<Expr>> {
    let Ok(data_type) = list.expr.get_type(schema) else { return Ok(Transformed::no(Expr::InList(list))) };
    if !has_literals(&data_type) || !list.list.iter().any(is_text_literal) {
        return Ok(Transformed::no(Expr::InList(list)));
    }
    let as_value = |item: Expr| if is_text_literal(&item) { converted(item, &DataType::Utf8, &data_type) } else { item };
    let items = list.list.into_iter().map(as_value).collect();
    Ok(Transformed::yes(Expr::InList(InList::new(list.expr, items, list.negated))))
}

fn rewrite_between(between: Between, schema: &DFSchema) -> PlanResult<Transformed<Expr>> {
    let Ok(data_type) = between.expr.get_type(schema) else { return Ok(Transformed::no(Expr::Between(between))) };
    if !has_literals(&data_type) || !(is_text_literal(&between.low) || is_text_literal(&between.high)) {
        return Ok(Transformed::no(Expr::Between(between)));
    }
    let as_value = |item: Expr| Box::new(if is_text_literal(&item) { converted(item, &DataType::Utf8, &data_type) } else { item });
    let (low, high) = (as_value(*between.low), as_value(*between.high));
    Ok(Transformed::yes(Expr::Between(Between::new(between.expr, between.negated, low, high))))
}

/// `expr`, of columns of `schema`, as a value of `to`; a text that is too long for it fails.
pub(crate) fn cast_to(expr: Expr, schema: &DFSchema, to: &Field) -> PlanResult<Expr> {
    let from = expr.get_type(schema)?;
    let value = converted(expr, &from, to.data_type());
    Ok(match length_max(to) {
        Some(length) => varchar(value, length),
        None => value,
    })
}

/// `n` of `varchar(n)`.
fn length_max(field: &Field) -> Option<i64> {
    field.metadata().get(TYPE_KEY)?.strip_prefix("varchar(")?.strip_suffix(')')?.parse().ok()
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
