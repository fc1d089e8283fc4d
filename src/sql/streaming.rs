//! Plans a materialized view: analyzes and optimizes its query with a pinned list of rules, refuses what cannot be kept up to date, lowers the rest.

mod aggregate;
mod explain;
mod guard;
mod join;
mod lower;
mod optimize;
mod refusal;
mod relation;
mod rows;
mod tidy;
mod window;

use std::collections::HashSet;

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::logical_expr::LogicalPlan;
use headwater_catalog::{Catalog, Column};
use headwater_operators::Plan;
use headwater_types::{Error, Result};

use crate::bound::PlannedView;
use crate::context::Context;
use crate::diagnostics::find_last_words;
use crate::parser::{Ast, Emit, SinkInput};
use crate::planner::Planner;
use crate::{Settings, Statement, views};

pub(crate) use explain::{explain, relation_line};
pub use refusal::Refusal;

/// The operators that keep `query` up to date. Errors that have no place yet get that of the construct they name.
pub(crate) fn plan(context: &Context<'_>, statement: &Statement, query: LogicalPlan, emit: Emit) -> Result<PlannedView> {
    guard::check(&query, statement)?;
    let logical = optimize::optimize(context.planner, query, &context.text)?;
    guard::check_optimized(&logical, statement)?;
    let (plan, promised, refusal) =
        lower::lower(context, &logical, matches!(emit, Emit::OnWindowClose(_))).map_err(|error| placed(error, statement, emit))?;
    Ok(PlannedView { plan, logical, promised, refusal })
}

/// An error of lowering with the place of the clause that it is about.
fn placed(error: Error, statement: &Statement, emit: Emit) -> Error {
    let place = match (error.message(), emit) {
        _ if error.place().is_some() => None,
        (aggregate::TWO_REFUSE, _) => find_last_words(statement, &["GROUP", "BY"]),
        (message, Emit::OnWindowClose(place)) if message.contains("EMIT ON WINDOW CLOSE") => place,
        _ => None,
    };
    match place {
        Some((offset, length)) => error.at(offset, length),
        None => error,
    }
}

/// Plans a definition from the catalog again.
pub(crate) fn replan(planner: &Planner, statement: &Statement, catalog: &Catalog, settings: &Settings) -> Result<PlannedView> {
    let context = Context::new(planner, catalog, settings, statement.source().clone());
    let emit = match statement.ast() {
        Ast::CreateView(view) if view.materialized => view.emit,
        Ast::CreateSink(sink) => match &sink.input {
            SinkInput::Query(_, emit) => *emit,
            SinkInput::Relation(_) => return Err(Error::bug("a sink from a relation has no plan")),
        },
        _ => return Err(Error::bug("only materialized views have plans")),
    };
    let query = views::view_query(&context, statement.ast())?;
    plan(&context, statement, query, emit)
}

/// The columns of `$late`: watermark, weight, then what the refusing operator reads. None where no operator refuses.
pub(crate) fn late_columns(plan: &Plan) -> Option<Vec<Column>> {
    let schema = plan.refused_schema(plan.refusing?);
    let own = [Column::new("watermark", DataType::Timestamp(TimeUnit::Microsecond, None)), Column::new("weight", DataType::Int64)];
    let mut taken: HashSet<String> = own.iter().map(|c| c.name.clone()).collect();
    let mut columns = own.to_vec();
    for field in schema.fields() {
        let mut column = Column { nullable: true, ..Column::of(field) };
        while !taken.insert(column.name.clone()) {
            column.name.push_str("_1");
        }
        columns.push(column);
    }
    Some(columns)
}
