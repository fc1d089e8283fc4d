//! Row values: `(a, b) = (c, d)` and its like as comparisons of their parts, which DataFusion has.

use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr, UnaryOperator};
use headwater_types::{Error, Result};

/// Takes a comparison of rows apart; other expressions stay as they are.
///
/// # Errors
/// `Invalid` (42601): the rows differ in length.
pub(crate) fn take_apart(expr: &mut Expr) -> Result<()> {
    let apart = match expr {
        Expr::BinaryOp { left, op, right } => match (parts(left), parts(right)) {
            (Some(left), Some(right)) => compared(left, op, right)?,
            _ => None,
        },
        Expr::InList { expr: value, list, negated } => match (parts(value), list.iter().map(parts).collect::<Option<Vec<_>>>()) {
            (Some(value), Some(rows)) => {
                let equal = rows.into_iter().map(|row| all_equal(value, row)).collect::<Result<Vec<_>>>()?;
                let any = chain(equal, &BinaryOperator::Or);
                any.map(|any| if *negated { Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(any) } } else { any })
            }
            _ => None,
        },
        _ => None,
    };
    if let Some(apart) = apart {
        *expr = apart;
    }
    Ok(())
}

/// The parts of `(a, b)`, also in more parentheses.
pub(crate) fn parts(expr: &Expr) -> Option<&[Expr]> {
    match expr {
        Expr::Tuple(parts) => Some(parts),
        Expr::Nested(inside) => parts(inside),
        _ => None,
    }
}

/// `GROUP BY (a, b)` is `GROUP BY a, b`.
pub(crate) fn flatten(exprs: &mut Vec<Expr>) {
    if exprs.iter().any(|e| parts(e).is_some()) {
        *exprs = exprs.iter().flat_map(|e| parts(e).map_or_else(|| vec![e.clone()], <[Expr]>::to_vec)).collect();
    }
}

/// `left op right`, of two rows; none for an operator that does not compare.
fn compared(left: &[Expr], op: &BinaryOperator, right: &[Expr]) -> Result<Option<Expr>> {
    use BinaryOperator as B;
    Ok(match op {
        B::Eq => Some(all_equal(left, right)?),
        B::NotEq => chain(pairs(left, &B::NotEq, right)?, &B::Or),
        B::Lt | B::LtEq => Some(in_order(left, &B::Lt, op, right)?),
        B::Gt | B::GtEq => Some(in_order(left, &B::Gt, op, right)?),
        _ => None,
    })
}

fn all_equal(left: &[Expr], right: &[Expr]) -> Result<Expr> {
    let equal = chain(pairs(left, &BinaryOperator::Eq, right)?, &BinaryOperator::And);
    equal.ok_or_else(|| Error::invalid("a row without values cannot be compared"))
}

/// `a < c OR (a = c AND (b < d OR …))`, the last pair compared with `last`.
fn in_order(left: &[Expr], strict: &BinaryOperator, last: &BinaryOperator, right: &[Expr]) -> Result<Expr> {
    let mut before = pairs(left, strict, right)?;
    let equal = pairs(left, &BinaryOperator::Eq, right)?;
    before.truncate(before.len().saturating_sub(1));
    let ends = left.last().zip(right.last()).map(|(l, r)| binary(l.clone(), last, r.clone()));
    let start = ends.ok_or_else(|| Error::invalid("a row without values cannot be compared"))?;
    let step = |rest: Expr, (before, equal): (Expr, Expr)| binary(before, &BinaryOperator::Or, binary(equal, &BinaryOperator::And, rest));
    Ok(before.into_iter().zip(equal).rev().fold(start, step))
}

fn pairs(left: &[Expr], op: &BinaryOperator, right: &[Expr]) -> Result<Vec<Expr>> {
    if left.len() != right.len() {
        return Err(Error::invalid("unequal number of entries in row expressions").with_sqlstate("42601"));
    }
    Ok(left.iter().zip(right).map(|(l, r)| binary(l.clone(), op, r.clone())).collect())
}

fn chain(exprs: Vec<Expr>, op: &BinaryOperator) -> Option<Expr> {
    exprs.into_iter().reduce(|left, right| binary(left, op, right))
}

fn binary(left: Expr, op: &BinaryOperator, right: Expr) -> Expr {
    Expr::BinaryOp { left: Box::new(left), op: op.clone(), right: Box::new(right) }
}
