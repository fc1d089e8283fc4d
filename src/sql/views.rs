//! The query of a view: planned, its columns named as the statement says.

use std::collections::HashSet;

use datafusion::common::Column;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use headwater_types::{Error, Result};

use crate::context::Context;
use crate::errors::{duplicate_column, in_text};
use crate::literals::AGAIN;
use crate::parser::{Ast, CreateView, Name, SinkInput};
use crate::query;

/// The plan of the query in `ast`, a definition of a view (or of a sink with a query of its own).
///
/// # Errors
/// `Invalid`: two columns of one name, more names than columns; and whatever the query gives.
pub(crate) fn view_query(context: &Context<'_>, ast: &Ast) -> Result<LogicalPlan> {
    match ast {
        Ast::CreateView(view) => named_query(context, view),
        Ast::CreateSink(sink) => match &sink.input {
            SinkInput::Query(query, _) => query::plan(context, query).and_then(|plan| check_names(plan, &sink.name)),
            SinkInput::Relation(_) => Err(Error::bug("a sink from a relation has no query")),
        },
        _ => Err(Error::bug("no definition of a view")),
    }
}

fn named_query(context: &Context<'_>, view: &CreateView) -> Result<LogicalPlan> {
    let plan = query::plan(context, &view.query)?;
    if view.columns.is_empty() {
        return check_names(plan, &view.name);
    }
    let columns = plan.schema().columns();
    if view.columns.len() > columns.len() {
        let error = Error::invalid(format!("\"{}\" specifies more column names than columns", view.name.text)).with_sqlstate("42601");
        return Err(view.columns[columns.len()].blame(error));
    }
    let rename = |(at, column): (usize, Column)| match view.columns.get(at) {
        Some(name) => Expr::Column(column).alias(&name.text),
        None => Expr::Column(column),
    };
    let exprs: Vec<Expr> = columns.into_iter().enumerate().map(rename).collect();
    let renamed = LogicalPlanBuilder::from(plan).project(exprs).and_then(LogicalPlanBuilder::build);
    check_names(renamed.map_err(|e| in_text(e, &context.text))?, &view.name)
}

/// A relation's columns have different names; those that had to get a number did not in the text.
fn check_names(plan: LogicalPlan, name: &Name) -> Result<LogicalPlan> {
    let mut seen = HashSet::new();
    for field in plan.schema().fields() {
        let shown = field.name().split(AGAIN).next().unwrap_or_default();
        if !seen.insert(shown) {
            return Err(name.blame(duplicate_column(shown).with_hint("give it another name with AS")));
        }
    }
    if seen.is_empty() {
        return Err(name.blame(Error::unsupported("a view without columns is not supported")));
    }
    Ok(plan)
}
