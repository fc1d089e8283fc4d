//! The types of `$1` … that the places tell where they stand: PostgreSQL reads `$1::int` as a parameter of the type integer, `LIMIT $1` as one of
//! bigint.

use std::ops::ControlFlow;

use datafusion::arrow::datatypes::DataType;
use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr, LimitClause, Query, UnaryOperator, Value, ValueWithSpan, Visit, Visitor};

use crate::types::field;

/// Fills those of `types` (`$1` first) that are missing and stand in a cast in `query`, or in a place that only takes one type; the first cast of
/// each decides, then the first such place.
pub(crate) fn typed_by_places(query: &Query, types: &mut Vec<Option<DataType>>) {
    let _: ControlFlow<()> = Visit::visit(query, &mut Casts(types));
    let _: ControlFlow<()> = Visit::visit(query, &mut Places(types));
}

/// Gives `expr` a type if it is a parameter without one.
fn note(types: &mut Vec<Option<DataType>>, expr: &Expr, data_type: &DataType) {
    let Some(number) = placeholder(expr) else { return };
    if types.len() < number {
        types.resize(number, None);
    }
    types[number - 1].get_or_insert_with(|| data_type.clone());
}

struct Casts<'a>(&'a mut Vec<Option<DataType>>);

impl Visitor for Casts<'_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if let Expr::Cast { expr: inside, data_type, .. } = expr
            && let Ok(field) = field(data_type)
        {
            note(self.0, inside, field.data_type());
        }
        ControlFlow::Continue(())
    }
}

struct Places<'a>(&'a mut Vec<Option<DataType>>);

impl Visitor for Places<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        if let Some(LimitClause::LimitOffset { limit, offset, .. }) = &query.limit_clause {
            let counts = limit.iter().chain(offset.as_ref().map(|offset| &offset.value));
            counts.for_each(|count| note(self.0, count, &DataType::Int64));
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        match expr {
            Expr::Case { operand: None, conditions, .. } => {
                conditions.iter().for_each(|when| note(self.0, &when.condition, &DataType::Boolean));
            }
            Expr::BinaryOp { left, op: BinaryOperator::And | BinaryOperator::Or, right } => {
                [left, right].into_iter().for_each(|side| note(self.0, side, &DataType::Boolean));
            }
            Expr::UnaryOp { op: UnaryOperator::Not, expr: inside } => note(self.0, inside, &DataType::Boolean),
            Expr::BinaryOp { left, op: BinaryOperator::StringConcat, right } if is_text(left) && is_text(right) => {
                [left, right].into_iter().for_each(|side| note(self.0, side, &DataType::Utf8));
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

/// What is text unless it is told otherwise: a literal, a parameter, and those put together.
fn is_text(expr: &Expr) -> bool {
    match expr {
        Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(_) | Value::Placeholder(_), .. }) => true,
        Expr::Nested(inside) => is_text(inside),
        Expr::BinaryOp { left, op: BinaryOperator::StringConcat, right } => is_text(left) && is_text(right),
        _ => false,
    }
}

/// The number of a parameter, from 1; as many as the protocol can count.
fn placeholder(expr: &Expr) -> Option<usize> {
    let Expr::Value(ValueWithSpan { value: Value::Placeholder(name), .. }) = expr else { return None };
    name.strip_prefix('$')?.parse().ok().filter(|n| (1..=usize::from(u16::MAX)).contains(n))
}
