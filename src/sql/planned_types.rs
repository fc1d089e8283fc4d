//! What DataFusion's SQL planner asks for each operator and literal of a statement: types that PostgreSQL gives at once.

use datafusion::arrow::datatypes::{DataType, IntervalUnit, TimeUnit};
use datafusion::common::{DFSchema, DataFusionError, Result as PlanResult, ScalarValue};
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{Expr, ExprSchemable, Operator, lit};
use datafusion::sql::sqlparser::ast::BinaryOperator;

use crate::casts::conversions::converted;
use crate::casts::mixed_numbers::{meet_as_doubles, number_as};
use crate::casts::{both_clocks, both_moments, is_text_literal};
use crate::functions::{Division, IntervalScale, difference, extract};
use crate::marks::INTEGER;

/// What must be settled while the statement is planned, since it changes types or DataFusion would refuse it before
/// [`PostgresTypes`](crate::casts::PostgresTypes) sees it: a text literal takes the type of the UUID, bytes, array or interval beside it; a date and
/// an interval make a timestamp, a float and another number double precision, two dates a number of days, two timestamps an interval of days and time; what a division gives; integers; EXTRACT.
#[derive(Debug)]
pub(crate) struct PlannedTypes;

impl ExprPlanner for PlannedTypes {
    fn plan_binary_op(&self, expr: RawBinaryExpr, schema: &DFSchema) -> PlanResult<PlannerResult<RawBinaryExpr>> {
        let computes = matches!(expr.op, BinaryOperator::Plus | BinaryOperator::Minus | BinaryOperator::Multiply | BinaryOperator::Modulo);
        // A number beside these leaves nothing to do: a long sum is not typed anew at each of its signs.
        let scales = expr.op == BinaryOperator::Multiply && [&expr.left, &expr.right].iter().any(|side| is_interval(side, schema));
        if computes && !scales && [&expr.right, &expr.left].iter().any(|side| is_number(side, schema)) {
            return Ok(PlannerResult::Original(with_doubles(expr, schema)));
        }
        let (Ok(left), Ok(right)) = (expr.left.get_type(schema), expr.right.get_type(schema)) else {
            return Ok(PlannerResult::Original(expr));
        };
        let (expr, left, right) = with_typed_sides(expr, left, right);
        let doubles = (computes || expr.op == BinaryOperator::Divide) && meet_as_doubles(&left, &right);
        let (expr, left, right) =
            if doubles { (with_doubles(expr, schema), DataType::Float64, DataType::Float64) } else { (expr, left, right) };
        if matches!(expr.op, BinaryOperator::Multiply | BinaryOperator::Divide)
            && let Some(scaled) = scaled(&expr, &left, &right)
        {
            return Ok(PlannerResult::Planned(scaled));
        }
        if expr.op == BinaryOperator::Divide
            && let Some(quotient) = Division::quotient(&left, &right)
        {
            return Ok(PlannerResult::Planned(Division::call(quotient, expr.left, expr.right)));
        }
        if expr.op == BinaryOperator::Minus && (both_moments(&left, &right) || both_clocks(&left, &right)) {
            return Ok(PlannerResult::Planned(difference(expr.left, expr.right)));
        }
        Ok(PlannerResult::Original(expr))
    }

    fn plan_extract(&self, args: Vec<Expr>) -> PlanResult<PlannerResult<Vec<Expr>>> {
        match args.as_slice() {
            [Expr::Literal(field, _), Expr::Literal(ScalarValue::Int64(Some(value)), _)] if field.try_as_str() == Some(Some(INTEGER)) => {
                let value = i32::try_from(*value).map_err(|_| DataFusionError::Internal(format!("{value} is no integer")))?;
                Ok(PlannerResult::Planned(lit(value)))
            }
            _ => Ok(PlannerResult::Planned(extract(args))),
        }
    }
}

/// An interval times a number, a number times an interval, or an interval divided by a number.
fn scaled(expr: &RawBinaryExpr, left: &DataType, right: &DataType) -> Option<Expr> {
    let divides = expr.op == BinaryOperator::Divide;
    let (interval, number, from) = match (left, right) {
        (DataType::Interval(_), number) if number.is_numeric() => (&expr.left, &expr.right, number),
        (number, DataType::Interval(_)) if number.is_numeric() && !divides => (&expr.right, &expr.left, number),
        _ => return None,
    };
    Some(IntervalScale::call(interval.clone(), number_as(number.clone(), from, &DataType::Float64), divides))
}

fn is_number(expr: &Expr, schema: &DFSchema) -> bool {
    leaf_type(expr, schema).is_some_and(|t| t.is_numeric())
}

/// True for an interval, and for a sum with one beside it.
fn is_interval(expr: &Expr, schema: &DFSchema) -> bool {
    let is = |t: DataType| matches!(t, DataType::Interval(_));
    match expr {
        Expr::BinaryExpr(binary) => [&binary.left, &binary.right].into_iter().any(|side| leaf_type(side, schema).is_some_and(is)),
        other => other.get_type(schema).is_ok_and(is),
    }
}

fn leaf_type(expr: &Expr, schema: &DFSchema) -> Option<DataType> {
    match expr {
        Expr::Column(_) | Expr::Literal(..) | Expr::Cast(_) => expr.get_type(schema).ok(),
        _ => None,
    }
}

/// The two sides as double precision where PostgreSQL computes in it.
fn with_doubles(expr: RawBinaryExpr, schema: &DFSchema) -> RawBinaryExpr {
    let (Some(left), Some(right)) = (kind_of_number(&expr.left, schema), kind_of_number(&expr.right, schema)) else { return expr };
    if !meet_as_doubles(&left, &right) {
        return expr;
    }
    let double = &DataType::Float64;
    RawBinaryExpr { op: expr.op, left: number_as(expr.left, &left, double), right: number_as(expr.right, &right, double) }
}

/// The type of `expr`; of a sum or product with a number in it a type that is a float of the same size if the whole is one, and none if it is none:
/// its sides have been here, so that neither is a float alone.
fn kind_of_number(expr: &Expr, schema: &DFSchema) -> Option<DataType> {
    use Operator::{Minus, Modulo, Multiply, Plus};
    let of_sides = match expr {
        Expr::BinaryExpr(binary) if matches!(binary.op, Plus | Minus | Multiply | Modulo) => {
            [&binary.right, &binary.left].into_iter().find_map(|side| leaf_type(side, schema).filter(DataType::is_numeric))
        }
        _ => None,
    };
    of_sides.or_else(|| expr.get_type(schema).ok())
}

/// `expr` with the types of its sides; a text literal has taken the one that the other side asks for.
fn with_typed_sides(expr: RawBinaryExpr, left: DataType, right: DataType) -> (RawBinaryExpr, DataType, DataType) {
    let is_bytes = |t: &DataType| matches!(t, DataType::FixedSizeBinary(16) | DataType::Binary);
    let is_interval = |t: &DataType| matches!(t, DataType::Interval(_));
    let is_array = |t: &DataType| matches!(t, DataType::List(_));
    let RawBinaryExpr { op, left: l, right: r } = expr;
    let timestamp = DataType::Timestamp(TimeUnit::Microsecond, None);
    let (adds, takes_away) = (op == BinaryOperator::Plus, op == BinaryOperator::Minus);
    let scales = matches!(op, BinaryOperator::Multiply | BinaryOperator::Divide);
    let takes =
        |other: &DataType| is_bytes(other) || is_array(other) || (takes_away && is_moment(other)) || (is_interval(other) && !scales);
    let (left_to, right_to) = match (is_text_literal(&l), is_text_literal(&r)) {
        (false, true) if adds && is_moment(&left) => (left.clone(), interval()),
        (true, false) if adds && is_moment(&right) => (interval(), right.clone()),
        (false, true) if takes(&left) => (left.clone(), left.clone()),
        (true, false) if takes(&right) => (right.clone(), right.clone()),
        _ if (adds || takes_away) && left == DataType::Date32 && is_interval(&right) => (timestamp, right.clone()),
        _ if (adds || takes_away) && right == DataType::Date32 && is_interval(&left) => (left.clone(), timestamp),
        _ if takes_away && left == DataType::Date32 && right == DataType::Date32 => (DataType::Int32, DataType::Int32),
        _ => (left.clone(), right.clone()),
    };
    let (l, r) = (converted(l, &left, &left_to), converted(r, &right, &right_to));
    (RawBinaryExpr { op, left: l, right: r }, left_to, right_to)
}

fn is_moment(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Timestamp(..))
}

fn interval() -> DataType {
    DataType::Interval(IntervalUnit::MonthDayNano)
}
