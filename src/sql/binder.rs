//! Binds a statement: one arm a kind of statement, each a call.

mod dml;
mod parameters;
mod placeholders;
mod relation;
mod session;
mod show;
mod sink;
mod view;

use arrow::datatypes::DataType;
use headwater_catalog::{Catalog, Object, ObjectKind};
use headwater_types::{Error, ObjectId, Result};
use std::sync::Arc;

use crate::context::Context;
use crate::parser::{Ast, Explained, Kind, Name};
use crate::planner::Planner;
use crate::{Bound, Settings, Statement, query};

/// Resolves `statement`.
pub(crate) fn bind(
    planner: &Planner,
    statement: &Statement,
    catalog: &Catalog,
    settings: &Settings,
    types: &[Option<DataType>],
) -> Result<Bound> {
    let mut context = Context::new(planner, catalog, settings, statement.source().clone());
    context.parameters = types.to_vec();
    if let Ast::Query(query) = statement.ast() {
        placeholders::typed_by_places(query, &mut context.parameters);
    }
    dispatch(&context, statement, statement.ast()).map_err(|error| crate::diagnostics::located(error, statement))
}

fn dispatch(context: &Context<'_>, statement: &Statement, ast: &Ast) -> Result<Bound> {
    Ok(match ast {
        Ast::Query(sql) => Bound::Query(query::plan_reading(context, sql)?),
        Ast::Insert(sql) => dml::insert(context, sql)?,
        Ast::Update(sql) => dml::update(context, sql)?,
        Ast::Delete(sql) => dml::delete(context, sql)?,
        Ast::CreateRelation(relation) => relation::create(context, statement, relation)?,
        Ast::CreateView(view) if view.materialized => view::create_materialized(context, statement, view)?,
        Ast::CreateView(view) => view::create(context, statement, view)?,
        Ast::CreateSink(sink) => sink::create(context, statement, sink)?,
        Ast::Drop { kind, if_exists, cascade, names } => session::drop(context, *kind, *if_exists, *cascade, names)?,
        Ast::Comment { kind, name, column, comment } => session::comment(context, *kind, name, column.as_ref(), comment.as_ref())?,
        Ast::Explain(Explained::Object(name)) => show::explain_object(context, name)?,
        Ast::Explain(Explained::Statement(explained)) => show::explain(context, statement, explained)?,
        Ast::ExplainWatermark(name) => Bound::ExplainWatermark(context.named(name)?.object),
        Ast::Describe(name) => show::describe(context, name)?,
        Ast::Show(what) => show::show(context, what)?,
        Ast::Set { name, value, local } => session::set(context, name, value.as_deref(), *local)?,
        Ast::ResetAll => Bound::ResetAll,
        Ast::Begin => Bound::Begin,
        Ast::Commit => Bound::Commit,
        Ast::Rollback => Bound::Rollback,
        Ast::Savepoint(tag, name) => Bound::Savepoint(tag, name.clone()),
        Ast::Declare(name, input) => session::declare(context, name, input)?,
        Ast::Fetch { name, rows_max, timeout, skip } => session::fetch(name, *rows_max, timeout.as_ref(), *skip)?,
        Ast::Close(name) => Bound::Close(name.clone()),
        Ast::Discard => Bound::Discard,
        Ast::Unlisten => Bound::Unlisten,
        Ast::Prepare(name, types, prepared) => session::prepare(name, types, prepared)?,
        Ast::Execute(name, values) => session::execute(context, name, values)?,
        Ast::Deallocate(name) => Bound::Deallocate(name.clone()),
        Ast::Copy(what, options) => session::copy(context, what, options)?,
        Ast::Flush => Bound::Flush,
        Ast::AdvanceClock(micros) => Bound::AdvanceClock(*micros),
        Ast::Crash => Bound::Crash,
        Ast::Checkpoint => Bound::Checkpoint,
    })
}

/// If `name` is taken: nothing to do with IF NOT EXISTS, else an error.
fn taken(context: &Context<'_>, name: &Name, if_not_exists: bool, tag: &'static str) -> Result<Option<Bound>> {
    if let Some(suffix) = ["$late", "$errors"].iter().find(|s| name.text.ends_with(*s)) {
        let error = Error::invalid(format!("names that end in {suffix} are made by the database itself")).with_sqlstate("42939");
        return Err(name.blame(error));
    }
    let Some(other) = context.catalog.find(&name.text) else { return Ok(None) };
    if if_not_exists {
        return Ok(Some(Bound::Nothing(tag, format!("relation \"{}\" already exists, skipping", name.text))));
    }
    let error = Error::exists(format!("{} \"{}\" already exists", other.kind.noun(), name.text)).with_sqlstate("42P07");
    Err(name.blame(error))
}

/// A draft: number and UUID come when it is created.
fn draft(
    name: &Name,
    kind: ObjectKind,
    statement: &Statement,
    columns: Vec<headwater_catalog::Column>,
    depends_on: Vec<ObjectId>,
) -> Object {
    Object {
        id: ObjectId(0),
        uuid: uuid::Uuid::nil(),
        name: name.text.clone(),
        kind,
        sql: statement.text().to_owned(),
        columns,
        depends_on,
        comment: None,
    }
}

/// The object called `name`, which must be of `kind`.
fn object_of_kind(context: &Context<'_>, name: &Name, kind: Kind) -> Result<Arc<Object>> {
    let object = match context.catalog.find(&name.text) {
        Some(object) => object.clone(),
        None => context.named(name)?.object,
    };
    let (wanted, fits) = match kind {
        Kind::Source => ("source", matches!(object.kind, ObjectKind::Source(_))),
        Kind::Table => ("table", matches!(object.kind, ObjectKind::Table(_))),
        Kind::View => ("view", matches!(object.kind, ObjectKind::View)),
        Kind::MaterializedView => ("materialized view", matches!(object.kind, ObjectKind::MaterializedView(_))),
        Kind::Sink => ("sink", matches!(object.kind, ObjectKind::Sink(_))),
    };
    if fits {
        return Ok(object);
    }
    let error = Error::invalid(format!("\"{}\" is a {}, not a {wanted}", name.text, object.kind.noun())).with_sqlstate("42809");
    Err(name.blame(error))
}
