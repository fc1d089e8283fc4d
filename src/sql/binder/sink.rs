//! CREATE SINK.

use headwater_catalog::{Column, Named, Object, ObjectKind, Part, SinkSpec};
use headwater_types::{Error, ObjectId, Result};

use super::relation::{as_map, encode, find_column, no_connector, take_option};
use super::session::not_followed;
use super::view::plan_view;
use super::{draft, taken};
use crate::bound::PlannedView;
use crate::context::Context;
use crate::parser::{Ast, CreateSink, Name, OptionEntry, SinkInput, at};
use crate::{Bound, Statement};

/// What a planner must know of the relation that a sink delivers.
struct From {
    id: ObjectId,
    part: Part,
    name: String,
    columns: Vec<Column>,
    append_only: bool,
    key: Option<Vec<usize>>,
}

pub(super) fn create(context: &Context<'_>, statement: &Statement, sink: &CreateSink) -> Result<Bound> {
    if let Some(nothing) = taken(context, &sink.name, sink.if_not_exists, "CREATE SINK")? {
        return Ok(nothing);
    }
    let (from, view) = from(context, statement, sink)?;
    let mut options = sink.with.clone();
    let connector = take_option(&mut options, "connector")
        .ok_or_else(|| no_connector(&sink.name, "sink", &options, "connectors with sinks are listed in docs/sinks"))?;
    let kind = take_option(&mut options, "type");
    let primary_key = take_option(&mut options, "primary_key");
    let encode = sink.encode.as_ref().map(encode);
    let declared_upsert = encode.as_ref().is_some_and(|e| e.format == "upsert") || primary_key.is_some();
    let upsert = match &kind {
        Some(option) => match option.value.to_lowercase().as_str() {
            "upsert" => true,
            "append" | "append-only" => false,
            other => return Err(at(Error::invalid(format!("type is 'upsert' or 'append', not '{other}'")), option.place)),
        },
        None => declared_upsert || !from.append_only,
    };
    if !upsert && !from.append_only {
        let error = Error::invalid(format!("\"{}\" takes rows back: an append sink cannot deliver it", from.name));
        return Err(at(error.with_hint("type = 'upsert', or a view with EMIT ON WINDOW CLOSE"), kind.and_then(|k| k.place)));
    }
    let key = if upsert { upsert_key(&from, primary_key.as_ref(), &sink.name)? } else { append_key(primary_key.as_ref())? };
    let spec = SinkSpec { from: from.id, part: from.part, connector: connector.value, options: as_map(options), encode, upsert, key };
    let depends_on = if view.is_some() { Vec::new() } else { vec![from.id] };
    let object = draft(&sink.name, ObjectKind::Sink(spec), statement, from.columns, depends_on);
    Ok(Bound::CreateSink(object, view.map(Box::new)))
}

fn from(context: &Context<'_>, statement: &Statement, sink: &CreateSink) -> Result<(From, Option<(Object, PlannedView)>)> {
    match &sink.input {
        SinkInput::Relation(name) => Ok((relation(context, name)?, None)),
        SinkInput::Query(_, emit) => {
            let name = Name { text: format!("{}$query", sink.name.text), place: sink.name.place };
            let (view, planned) = plan_view(context, statement, &Ast::CreateSink(Box::new(sink.clone())), &name, *emit)?;
            Ok((described(&view), Some((view, planned))))
        }
    }
}

fn relation(context: &Context<'_>, name: &Name) -> Result<From> {
    let named = context.named(name)?;
    if let Some(refused) = not_followed(&named) {
        return Err(name.blame(refused));
    }
    if named.part != Part::Rows {
        let Named { object, part, columns } = named;
        return Ok(From { id: object.id, part, name: name.text.clone(), columns, append_only: true, key: None });
    }
    if !named.object.is_kept() {
        let error =
            Error::invalid(format!("\"{}\" is a {}: a sink delivers a table or a materialized view", name.text, named.object.kind.noun()));
        return Err(name.blame(error.with_sqlstate("42809").with_hint("make a materialized view of it")));
    }
    Ok(described(&named.object))
}

fn described(object: &Object) -> From {
    From {
        id: object.id,
        part: Part::Rows,
        name: object.name.clone(),
        columns: object.columns.clone(),
        append_only: object.is_append_only(),
        key: object.key().map(<[usize]>::to_vec),
    }
}

fn append_key(primary_key: Option<&OptionEntry>) -> Result<Vec<usize>> {
    match primary_key {
        Some(option) => Err(at(Error::invalid("an append sink has no primary_key").with_hint("type = 'upsert'"), option.place)),
        None => Ok(Vec::new()),
    }
}

/// The columns by which the target tells rows apart: they must do so in the view.
fn upsert_key(from: &From, primary_key: Option<&OptionEntry>, sink: &Name) -> Result<Vec<usize>> {
    let names = |key: &[usize]| key.iter().map(|&c| from.columns[c].name.as_str()).collect::<Vec<_>>().join(", ");
    let Some(view_key) = &from.key else {
        let error = Error::invalid(format!("\"{}\" has no unique key: an upsert sink cannot tell its rows apart", from.name));
        return Err(sink.blame(error.with_hint("a view has one by GROUP BY, or by keeping a table's primary key")));
    };
    let Some(option) = primary_key else { return Ok(view_key.clone()) };
    let column = |name: &str| find_column(&from.columns, &Name { text: name.trim().to_owned(), place: option.place });
    let key = option.value.split(',').map(column).collect::<Result<Vec<_>>>()?;
    if view_key.iter().all(|c| key.contains(c)) {
        return Ok(key);
    }
    let error =
        Error::invalid(format!("primary_key '{}' is not unique in \"{}\", whose key is ({})", option.value, from.name, names(view_key)));
    Err(at(error, option.place))
}
