//! What a view cannot do yet, refused by name with the words in the text underlined.

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{JoinType, NullEquality};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{Distinct, Expr, Join, LogicalPlan, Volatility};
use headwater_types::{Error, Result};

use crate::diagnostics::find_words;
use crate::errors::{from_datafusion, into_datafusion};
use crate::{RelationSource, Statement};

/// # Errors
/// `Unsupported`, naming the construct.
pub(super) fn check(plan: &LogicalPlan, statement: &Statement) -> Result<()> {
    let walked = plan.apply(|node| {
        check_node(node, statement).map_err(into_datafusion)?;
        node.apply_expressions(|expr| {
            expr.apply(|inside| {
                check_expr(inside, statement).map_err(into_datafusion)?;
                Ok(TreeNodeRecursion::Continue)
            })
        })
    });
    walked.map(|_| ()).map_err(from_datafusion)
}

/// What can only be said once equalities have moved into joins.
pub(super) fn check_optimized(plan: &LogicalPlan, statement: &Statement) -> Result<()> {
    let walked = plan.apply(|node| match node {
        LogicalPlan::Join(join) if join.on.is_empty() => {
            let error = refuse("a join without an equality between both sides", statement, &[&["CROSS", "JOIN"], &["JOIN"], &["FROM"]]);
            Err(into_datafusion(error.with_hint("ON a.x = b.y")))
        }
        _ => Ok(TreeNodeRecursion::Continue),
    });
    walked.map(|_| ()).map_err(from_datafusion)
}

/// The refusal of `construct` in a view; the first of `words` that stands in the text is underlined.
fn refuse(construct: &str, statement: &Statement, words: &[&[&str]]) -> Error {
    let error = Error::unsupported(format!("{construct} is not supported in a materialized view"));
    match words.iter().find_map(|w| find_words(statement, w)) {
        Some((offset, length)) => error.at(offset, length),
        None => error,
    }
}

fn check_node(node: &LogicalPlan, statement: &Statement) -> Result<()> {
    let no = |construct: &str, words: &[&[&str]]| Err(refuse(construct, statement, words));
    match node {
        LogicalPlan::Limit(limit) if limit.fetch.is_none() => no("OFFSET", &[&["OFFSET"]]),
        LogicalPlan::Limit(_) => no("LIMIT", &[&["LIMIT"], &["FETCH"]]),
        LogicalPlan::Sort(sort) if sort.fetch.is_some() => no("ORDER BY … LIMIT", &[&["LIMIT"]]),
        LogicalPlan::Window(_) => no("a window function (OVER)", &[&["OVER"]]),
        LogicalPlan::Distinct(Distinct::On(_)) => no("DISTINCT ON", &[&["DISTINCT", "ON"]]),
        LogicalPlan::RecursiveQuery(_) => no("WITH RECURSIVE", &[&["RECURSIVE"]]),
        LogicalPlan::Join(join) => check_join(join, statement),
        LogicalPlan::Unnest(unnest) if !super::window::is_hop(unnest) => no("unnest", &[&["UNNEST"]]),
        LogicalPlan::Aggregate(aggregate) if matches!(aggregate.group_expr.as_slice(), [Expr::GroupingSet(_)]) => {
            no("GROUPING SETS, ROLLUP or CUBE", &[&["GROUPING"], &["ROLLUP"], &["CUBE"]])
        }
        LogicalPlan::TableScan(scan) => check_scan(RelationSource::of(&scan.source), scan.table_name.table(), statement),
        LogicalPlan::Subquery(_) => no("a LATERAL subquery", &[&["LATERAL"]]),
        _ => Ok(()),
    }
}

fn check_join(join: &Join, statement: &Statement) -> Result<()> {
    let is_set = join.null_equality == NullEquality::NullEqualsNull;
    let (construct, words): (&str, &[&[&str]]) = match join.join_type {
        JoinType::Inner => return Ok(()),
        JoinType::Left => ("LEFT JOIN", &[&["LEFT"]]),
        JoinType::Right => ("RIGHT JOIN", &[&["RIGHT"]]),
        JoinType::Full => ("FULL JOIN", &[&["FULL"]]),
        JoinType::LeftSemi | JoinType::RightSemi if is_set => ("INTERSECT", &[&["INTERSECT"]]),
        JoinType::LeftAnti | JoinType::RightAnti if is_set => ("EXCEPT", &[&["EXCEPT"]]),
        JoinType::LeftSemi | JoinType::RightSemi => ("a semi join", &[&["SEMI"]]),
        JoinType::LeftAnti | JoinType::RightAnti => ("an anti join", &[&["ANTI"]]),
        JoinType::LeftMark | JoinType::RightMark => ("a mark join", &[&["JOIN"]]),
    };
    Err(refuse(construct, statement, words))
}

fn check_scan(source: Option<&RelationSource>, name: &str, statement: &Statement) -> Result<()> {
    match source {
        Some(source) if source.is_followed() => Ok(()),
        Some(source) => Err(refuse(&format!("reading {}", source.name), statement, &[&[&name.to_uppercase()]])),
        None => {
            let name = name.trim_end_matches("()");
            Err(refuse(&format!("the table function {name}"), statement, &[&[&name.to_uppercase()]]))
        }
    }
}

fn check_expr(expr: &Expr, statement: &Statement) -> Result<()> {
    let no = |construct: &str, words: &[&[&str]]| Err(refuse(construct, statement, words));
    match expr {
        Expr::Exists(_) => no("EXISTS", &[&["EXISTS"]]),
        Expr::InSubquery(_) => no("IN (subquery)", &[&["IN"]]),
        Expr::ScalarSubquery(_) => no("a scalar subquery", &[&["SELECT"]]),
        Expr::SetComparison(_) => no("ANY or ALL of a subquery", &[&["ANY"], &["ALL"]]),
        Expr::Placeholder(placeholder) => no(&format!("the parameter {}", placeholder.id), &[]),
        Expr::ScalarFunction(function) => check_function(function, statement),
        _ => Ok(()),
    }
}

fn check_function(function: &ScalarFunction, statement: &Statement) -> Result<()> {
    let name = function.name();
    let upper = name.to_uppercase();
    match function.func.signature().volatility {
        Volatility::Immutable => Ok(()),
        Volatility::Stable => {
            let words: &[&[&str]] = &[&[upper.as_str()], &["CURRENT_TIMESTAMP"], &["LOCALTIMESTAMP"], &["CURRENT_DATE"], &["LOCALTIME"]];
            let error = refuse(&format!("{name}()"), statement, words);
            Err(error.with_detail("a row and its later deletion must give the same value"))
        }
        Volatility::Volatile => {
            let error = refuse(&format!("the volatile function {name}()"), statement, &[&[upper.as_str()]]);
            Err(error.with_detail("a row and its later deletion must give the same value"))
        }
    }
}
