//! DROP, COMMENT, SET, cursors, prepared statements and COPY.

use std::sync::Arc;

use datafusion::sql::sqlparser::ast::{DataType as SqlType, Expr as SqlExpr};
use headwater_catalog::{Named, Object, Part};
use headwater_types::{Error, Result};

use super::relation::find_column;
use super::{dml, object_of_kind};
use crate::bound::{CopyFormat, CopyFrom, CopyOut, Cursor, CursorQuery, Target};
use crate::context::Context;
use crate::parser::{CopyWhat, Kind, Name, OptionEntry, Readable, at, duration_us};
use crate::{Bound, RelationId, Settings, Statement, query, types};

fn drop_tag(kind: Kind) -> &'static str {
    match kind {
        Kind::Source => "DROP SOURCE",
        Kind::Table => "DROP TABLE",
        Kind::View => "DROP VIEW",
        Kind::MaterializedView => "DROP MATERIALIZED VIEW",
        Kind::Sink => "DROP SINK",
    }
}

pub(super) fn drop(context: &Context<'_>, kind: Kind, if_exists: bool, cascade: bool, names: &[Name]) -> Result<Bound> {
    let mut dropped: Vec<Arc<Object>> = Vec::new();
    let mut missing = Vec::new();
    for name in names {
        if if_exists && context.catalog.find(&name.text).is_none() {
            missing.push(name.text.clone());
            continue;
        }
        let object = object_of_kind(context, name, kind)?;
        for one in context.catalog.with_dependents(object.id) {
            if !dropped.iter().any(|d| d.id == one.id) {
                dropped.push(one);
            }
        }
    }
    if !cascade {
        check_readers(names, &dropped)?;
    }
    if dropped.is_empty() {
        return Ok(Bound::Nothing(drop_tag(kind), format!("\"{}\" does not exist, skipping", missing.join("\", \""))));
    }
    // A reader has a greater number than what it reads.
    dropped.sort_by_key(|object| std::cmp::Reverse(object.id));
    Ok(Bound::Drop(drop_tag(kind), dropped))
}

fn check_readers(names: &[Name], dropped: &[Arc<Object>]) -> Result<()> {
    let readers: Vec<String> = dropped
        .iter()
        .filter(|object| !names.iter().any(|n| n.text == object.name))
        .map(|object| format!("{} \"{}\"", object.kind.noun(), object.name))
        .collect();
    let (false, Some(first)) = (readers.is_empty(), names.first()) else { return Ok(()) };
    let error = Error::in_use(format!("cannot drop \"{}\": it is read by {}", first.text, readers.join(", ")));
    Err(first.blame(error.with_hint("drop those first, or say CASCADE")))
}

pub(super) fn comment(context: &Context<'_>, kind: Kind, name: &Name, column: Option<&Name>, comment: Option<&String>) -> Result<Bound> {
    let Some(column) = column else {
        let mut object = Object::clone(&*object_of_kind(context, name, kind)?);
        object.comment = comment.cloned();
        return Ok(Bound::Comment(object));
    };
    let mut object = Object::clone(&*context.named(name)?.object);
    let index = find_column(&object.columns, column)?;
    object.columns[index].comment = comment.cloned();
    Ok(Bound::Comment(object))
}

pub(super) fn set(context: &Context<'_>, name: &Name, value: Option<&str>, local: bool) -> Result<Bound> {
    let _ = context;
    Settings::check(&name.text, value).map_err(|e| name.blame(e))?;
    Ok(Bound::Set { name: name.text.clone(), value: value.map(str::to_owned), local })
}

/// A relation whose changes can be followed.
fn target(context: &Context<'_>, name: &Name) -> Result<Target> {
    let named = context.named(name)?;
    if let Some(refused) = not_followed(&named) {
        return Err(name.blame(refused));
    }
    if named.part == Part::Rows && !named.object.is_kept() {
        let error = Error::invalid(format!("\"{}\" is a {}: its changes cannot be followed", name.text, named.object.kind.noun()));
        return Err(name.blame(error.with_sqlstate("42809").with_hint("make a materialized view of it")));
    }
    let schema = headwater_catalog::Column::schema(&named.columns);
    Ok(Target { id: RelationId::Object(named.object.id, named.part), name: name.text.clone(), schema })
}

/// Why the changes of a relation cannot be followed by a view, a sink or a subscription: `<source>$late` is put together when it is read.
pub(crate) fn not_followed(named: &Named) -> Option<Error> {
    let error =
        || Error::unsupported(format!("following the changes of \"{}$late\" is not supported: it can be queried", named.object.name));
    (!named.object.is_followed(named.part)).then(|| error().with_hint("build on the $late of a view that reads the source"))
}

pub(super) fn declare(context: &Context<'_>, name: &str, input: &Readable) -> Result<Bound> {
    let query = match input {
        Readable::Query(sql) => CursorQuery::Query(query::plan_reading(context, sql)?),
        Readable::Subscription(relation) => CursorQuery::Subscription(target(context, relation)?),
    };
    Ok(Bound::Declare(name.to_owned(), query))
}

pub(super) fn fetch(name: &str, rows_max: Option<u64>, timeout: Option<&OptionEntry>, skip: bool) -> Result<Bound> {
    let length = |option: &OptionEntry| {
        let micros = duration_us(&option.value).filter(|us| *us >= 0);
        micros.ok_or_else(|| at(Error::invalid(format!("'{}' is no length of time", option.value)), option.place))
    };
    let timeout_us = timeout.map(length).transpose()?;
    Ok(Bound::Fetch(Cursor { name: name.to_owned(), rows_max, timeout_us, skip }))
}

/// A parameter of the type `unknown` has none yet.
pub(super) fn prepare(name: &str, types: &[SqlType], statement: &Statement) -> Result<Bound> {
    let is_open = |t: &SqlType| matches!(t, SqlType::Custom(name, _) if name.to_string().eq_ignore_ascii_case("unknown"));
    let data_type = |t: &SqlType| if is_open(t) { Ok(None) } else { types::field(t).map(|f| Some(f.data_type().clone())) };
    let types = types.iter().map(data_type).collect::<Result<Vec<_>>>()?;
    Ok(Bound::Prepare(name.to_owned(), types, Box::new(statement.clone())))
}

pub(super) fn execute(context: &Context<'_>, name: &str, values: &[SqlExpr]) -> Result<Bound> {
    let values = values.iter().map(|value| dml::constant(context, value)).collect::<Result<Vec<_>>>()?;
    Ok(Bound::Execute(name.to_owned(), values))
}

pub(super) fn copy(context: &Context<'_>, what: &CopyWhat, options: &[OptionEntry]) -> Result<Bound> {
    let format = copy_format(options)?;
    match what {
        CopyWhat::To(Readable::Query(sql)) => Ok(Bound::CopyOut(CopyOut::Query(query::plan_reading(context, sql)?, format))),
        CopyWhat::To(Readable::Subscription(name)) => Ok(Bound::CopyOut(CopyOut::Subscribe(target(context, name)?, format))),
        CopyWhat::From { table, columns } => {
            let object = object_of_kind(context, table, Kind::Table)?;
            let columns = match columns.as_slice() {
                [] => (0..object.columns.len()).collect(),
                named => named.iter().map(|name| find_column(&object.columns, name)).collect::<Result<Vec<_>>>()?,
            };
            let fill = dml::fill(context, &object, &columns)?;
            Ok(Bound::CopyFrom(CopyFrom { table: object, columns, fill, format }))
        }
    }
}

fn copy_format(options: &[OptionEntry]) -> Result<CopyFormat> {
    let mut format = CopyFormat { name: "text".to_owned(), header: false, delimiter: '\t', null: "\\N".to_owned() };
    for option in options.iter().filter(|o| o.name == "format") {
        format.name = option.value.to_lowercase();
        match format.name.as_str() {
            "text" | "binary" => {}
            "csv" => (format.delimiter, format.null) = (',', String::new()),
            other => {
                return Err(at(Error::invalid(format!("COPY format \"{other}\" not recognized")).with_sqlstate("22023"), option.place));
            }
        }
    }
    for option in options {
        match option.name.as_str() {
            "format" => {}
            "header" if option.value.eq_ignore_ascii_case("match") => {
                return Err(at(Error::unsupported("COPY with HEADER MATCH is not supported"), option.place));
            }
            "header" => format.header = !["false", "off", "0"].contains(&option.value.to_lowercase().as_str()),
            "null" => format.null.clone_from(&option.value),
            "delimiter" => {
                let mut characters = option.value.chars();
                match (characters.next(), characters.next()) {
                    (Some(one), None) => format.delimiter = one,
                    _ => return Err(at(Error::invalid("COPY delimiter must be a single character").with_sqlstate("22023"), option.place)),
                }
            }
            other => return Err(at(Error::unsupported(format!("COPY option {other} is not supported")), option.place)),
        }
    }
    Ok(format)
}
