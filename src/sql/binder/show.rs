//! SHOW, DESCRIBE and EXPLAIN: rows that are known when the statement is bound.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use headwater_catalog::{Object, ObjectKind};
use headwater_operators::Plan;
use headwater_types::{Error, Result};

use crate::context::Context;
use crate::parser::{Ast, Kind, Name, Show};
use crate::type_names::sql_name;
use crate::{Bound, Settings, Statement, query, streaming};

/// Rows of text: one slice of values a row.
fn rows(tag: &'static str, names: &[&str], values: &[Vec<Option<String>>]) -> Result<Bound> {
    let fields: Vec<Field> = names.iter().map(|name| Field::new(*name, DataType::Utf8, true)).collect();
    let column = |at: usize| Arc::new(values.iter().map(|row| row[at].clone()).collect::<StringArray>()) as ArrayRef;
    let columns = (0..names.len()).map(column).collect();
    Ok(Bound::Rows(tag, RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?))
}

fn lines(lines: Vec<String>) -> Result<Bound> {
    rows("EXPLAIN", &["QUERY PLAN"], &lines.into_iter().map(|line| vec![Some(line)]).collect::<Vec<_>>())
}

pub(super) fn show(context: &Context<'_>, what: &Show) -> Result<Bound> {
    match what {
        Show::Objects(kind) => objects(context, *kind),
        Show::Columns(name) => describe(context, name),
        Show::Create(name) => {
            let object = context.named(name)?.object;
            rows("SHOW", &["Name", "Create Sql"], &[vec![Some(object.name.clone()), Some(object.sql.clone())]])
        }
        Show::Schemas => {
            let names = ["headwater", "information_schema", "pg_catalog", "public"];
            rows("SHOW", &["Name"], &names.map(|n| vec![Some(n.to_owned())]))
        }
        Show::Databases => rows("SHOW", &["Name"], &[vec![Some(context.settings.database.clone())]]),
        Show::Variable(name) => match context.settings.get(name) {
            Some(value) => rows("SHOW", &[Settings::canonical(name)], &[vec![Some(value.to_owned())]]),
            None => {
                Settings::check(name, None)?;
                Err(Error::not_found(format!("unrecognized configuration parameter \"{name}\"")))
            }
        },
        Show::AllVariables => {
            let all: Vec<_> = context.settings.all().map(|(name, value)| vec![Some(name.to_owned()), Some(value.to_owned())]).collect();
            rows("SHOW", &["name", "setting"], &all)
        }
    }
}

fn objects(context: &Context<'_>, kind: Kind) -> Result<Bound> {
    let is_kind = |object: &Object| match kind {
        Kind::Source => matches!(object.kind, ObjectKind::Source(_)),
        Kind::Table => matches!(object.kind, ObjectKind::Table(_)),
        Kind::View => matches!(object.kind, ObjectKind::View),
        Kind::MaterializedView => matches!(object.kind, ObjectKind::MaterializedView(_)),
        Kind::Sink => matches!(object.kind, ObjectKind::Sink(_)),
    };
    let mut names: Vec<String> = context.catalog.list().filter(|o| is_kind(o)).map(|o| o.name.clone()).collect();
    names.sort();
    rows("SHOW", &["Name"], &names.into_iter().map(|n| vec![Some(n)]).collect::<Vec<_>>())
}

/// Name, type, whether NULL is possible, what else is known, and the comment of each column.
pub(super) fn describe(context: &Context<'_>, name: &Name) -> Result<Bound> {
    let named = context.named(name)?;
    let key = named.object.key().unwrap_or_default().to_vec();
    let watermarked = named.object.watermarked();
    let is_rows = named.part == headwater_catalog::Part::Rows;
    let mut values = Vec::new();
    for (at, column) in named.columns.iter().enumerate() {
        let mut notes = Vec::new();
        if is_rows && key.contains(&at) {
            notes.push("key".to_owned());
        }
        if is_rows && watermarked.contains(&at) {
            notes.push("watermark".to_owned());
        }
        notes.extend(column.default.as_ref().map(|d| format!("default {d}")));
        let nullable = if column.nullable { "YES" } else { "NO" };
        values.push(vec![
            Some(column.name.clone()),
            Some(sql_name(&column.field())),
            Some(nullable.to_owned()),
            Some(notes.join(", ")),
            column.comment.clone(),
        ]);
    }
    rows("DESCRIBE", &["Name", "Type", "Null", "Notes", "Comment"], &values)
}

fn view_lines(plan: &Plan, context: &Context<'_>) -> Result<Bound> {
    lines(streaming::explain(plan, context.catalog))
}

/// EXPLAIN of an object that exists.
pub(super) fn explain_object(context: &Context<'_>, name: &Name) -> Result<Bound> {
    let object = context.named(name)?.object;
    match &object.kind {
        ObjectKind::MaterializedView(_) => view_lines(&context.planner.replan(&object, context.catalog)?.plan, context),
        ObjectKind::Sink(sink) => {
            let from = context.catalog.get(sink.from).map_or_else(String::new, |o| o.name.clone());
            let key: Vec<&str> = sink.key.iter().map(|&c| object.columns[c].name.as_str()).collect();
            let kind = if sink.upsert { format!("upsert by {}", key.join(", ")) } else { "append".to_owned() };
            lines(vec![format!("sink {}: {kind}, from {from}", object.name)])
        }
        ObjectKind::Source(_) | ObjectKind::Table(_) => lines(vec![streaming::relation_line(&object)]),
        ObjectKind::View => {
            let statement = crate::parse(&object.sql)?.pop().ok_or_else(|| Error::bug("a view without text"))?;
            let inside = Context::new(context.planner, context.catalog, context.settings, statement.source().clone());
            batch_lines(&inside, crate::views::view_query(&inside, statement.ast())?)
        }
    }
}

pub(super) fn explain(context: &Context<'_>, statement: &Statement, explained: &Ast) -> Result<Bound> {
    match explained {
        Ast::Query(sql) => batch_lines(context, query::plan_reading(context, sql)?),
        other => match super::dispatch(context, statement, other)? {
            Bound::CreateMaterializedView(_, planned) => view_lines(&planned.plan, context),
            Bound::CreateSink(_, Some(view)) => view_lines(&view.1.plan, context),
            Bound::Insert(insert) => batch_lines(context, insert.input),
            Bound::Delete(changed) | Bound::Update(changed) => batch_lines(context, changed.rows),
            Bound::CreateView(_) => match other {
                Ast::CreateView(view) => batch_lines(context, query::plan(context, &view.query)?),
                _ => Err(Error::bug("no view")),
            },
            _ => Err(Error::unsupported("EXPLAIN of this statement is not supported")),
        },
    }
}

/// The plan that the batch engine runs.
fn batch_lines(context: &Context<'_>, plan: datafusion::logical_expr::LogicalPlan) -> Result<Bound> {
    let state = context.planner.session_state();
    let optimized = state.optimize(&plan).map_err(|e| crate::errors::in_text(e, &context.text))?;
    lines(optimized.display_indent().to_string().lines().map(str::to_owned).collect())
}
