//! CREATE SOURCE and CREATE TABLE.

use std::collections::{BTreeMap, HashSet};

use datafusion::arrow::datatypes::{DataType, Field, IntervalMonthDayNano, TimeUnit};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::Expr;
use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr as SqlExpr};
use headwater_catalog::{Column, Encode, ObjectKind, SourceSpec, TableSpec, Watermark, WhenIdle};
use headwater_types::{Error, Micros, Result};

use super::{draft, taken};
use crate::context::Context;
use crate::errors::{duplicate_column, nearest};
use crate::parser::{ColumnDef, CreateRelation, EncodeDef, Name, OptionEntry, WatermarkDef, at, duration_us, folded, syntax};
use crate::type_names::TYPE_KEY;
use crate::types;
use crate::{Bound, Statement, query};

/// What INCLUDE can take from a record, and the column's type.
const INCLUDES: [&str; 6] = ["key", "partition", "offset", "timestamp", "headers", "file"];

pub(super) fn create(context: &Context<'_>, statement: &Statement, relation: &CreateRelation) -> Result<Bound> {
    let tag = if relation.is_source { "CREATE SOURCE" } else { "CREATE TABLE" };
    if let Some(nothing) = taken(context, &relation.name, relation.if_not_exists, tag)? {
        return Ok(nothing);
    }
    if relation.is_source { create_source(context, statement, relation) } else { create_table(context, statement, relation) }
}

fn create_source(context: &Context<'_>, statement: &Statement, relation: &CreateRelation) -> Result<Bound> {
    let mut columns = columns(relation)?;
    if let Some(key) = relation.primary_key.first() {
        return Err(key.blame(Error::unsupported("PRIMARY KEY of a source is not supported")));
    }
    if let Some(place) = relation.append_only {
        return Err(syntax("APPEND ONLY belongs to a table: a source is append-only").at(place.0, place.1));
    }
    let mut includes = Vec::new();
    for include in &relation.includes {
        includes.push((include.what.text.clone(), columns.len()));
        columns.push(include_column(&include.what, &include.column)?);
    }
    check_names(&columns, relation)?;
    let encode = relation.encode.as_ref().map(encode);
    if let (Some(def), Some("upsert")) = (&relation.encode, encode.as_ref().map(|e| e.format.as_str())) {
        return Err(at(Error::unsupported("FORMAT UPSERT of a source is not supported"), def.place));
    }
    let (watermark_options, mut options): (Vec<_>, Vec<_>) = relation.with.iter().cloned().partition(|o| o.name.starts_with("watermark."));
    let connector = take_option(&mut options, "connector")
        .ok_or_else(|| no_connector(&relation.name, "source", &options, "for rows that are kept here, CREATE TABLE"))?;
    let watermark = watermark(context, relation, &columns, &watermark_options)?;
    let spec = SourceSpec { connector: connector.value, options: as_map(options), encode, includes, watermark };
    Ok(Bound::CreateSource(draft(&relation.name, ObjectKind::Source(spec), statement, columns, Vec::new())))
}

/// WITH names no connector; perhaps its name is mistyped.
pub(super) fn no_connector(name: &Name, noun: &str, options: &[OptionEntry], hint: &str) -> Error {
    let error = Error::invalid(format!("{noun} \"{}\" needs WITH (connector = '…')", name.text));
    match options.iter().find(|o| nearest("connector", [o.name.as_str()]).is_some()) {
        Some(near) => at(error.with_hint(format!("did you mean 'connector' where you wrote '{}'?", near.name)), near.place),
        None => name.blame(error.with_hint(hint)),
    }
}

fn create_table(context: &Context<'_>, statement: &Statement, relation: &CreateRelation) -> Result<Bound> {
    let mut columns = columns(relation)?;
    check_names(&columns, relation)?;
    if columns.is_empty() {
        return Err(relation.name.blame(Error::unsupported("a table without columns is not supported")));
    }
    if let Some(def) = &relation.encode {
        return Err(at(Error::unsupported("a table fed by a connector is not supported"), def.place)
            .with_hint("CREATE SOURCE, and a materialized view of it"));
    }
    if let Some(include) = relation.includes.first() {
        return Err(include.what.blame(syntax("INCLUDE belongs to a source")));
    }
    let (watermark_options, options): (Vec<_>, Vec<_>) = relation.with.iter().cloned().partition(|o| o.name.starts_with("watermark."));
    if let Some(option) = options.first() {
        let error = match option.name.as_str() {
            "connector" => {
                Error::unsupported("a table fed by a connector is not supported").with_hint("CREATE SOURCE, and a materialized view of it")
            }
            name => Error::invalid(format!("a table has no option '{name}'")),
        };
        return Err(at(error, option.place));
    }
    let primary_key = key_columns(relation, &mut columns)?;
    let watermark = watermark(context, relation, &columns, &watermark_options)?;
    if let (Some(def), None) = (&relation.watermark, relation.append_only) {
        let error = at(
            Error::invalid("a watermark needs a table that is APPEND ONLY: rows that are changed or deleted have no order in time"),
            def.place,
        );
        return Err(error.with_hint(format!("CREATE TABLE {} (…) APPEND ONLY", relation.name.text)));
    }
    if let (Some(key), Some(_)) = (relation.primary_key.first(), relation.append_only) {
        return Err(key.blame(Error::unsupported("PRIMARY KEY of a table that is APPEND ONLY is not supported")));
    }
    let spec = TableSpec { primary_key, append_only: relation.append_only.is_some(), watermark };
    Ok(Bound::CreateTable(draft(&relation.name, ObjectKind::Table(spec), statement, columns, Vec::new())))
}

fn columns(relation: &CreateRelation) -> Result<Vec<Column>> {
    relation.columns.iter().map(column).collect()
}

fn column(def: &ColumnDef) -> Result<Column> {
    let field = types::field(&def.data_type).map_err(|e| at(e, def.type_place))?;
    let field = Field::clone(&field).with_name(&def.name.text).with_nullable(!def.not_null);
    Ok(Column { default: def.default.as_ref().map(ToString::to_string), ..Column::of(&field) })
}

fn check_names(columns: &[Column], relation: &CreateRelation) -> Result<()> {
    let mut seen = HashSet::new();
    for (at, column) in columns.iter().enumerate() {
        if !seen.insert(column.name.as_str()) {
            let error = duplicate_column(&column.name);
            return Err(relation.columns.get(at).map_or(error.clone(), |def| def.name.blame(error)));
        }
    }
    Ok(())
}

fn include_column(what: &Name, name: &Name) -> Result<Column> {
    let (data_type, metadata) = match what.text.as_str() {
        "key" => (DataType::Binary, None),
        "partition" => (DataType::Int32, None),
        "offset" => (DataType::Int64, None),
        "timestamp" => (DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), None),
        "headers" => (DataType::Utf8, Some("jsonb")),
        "file" => (DataType::Utf8, None),
        other => {
            let error = Error::invalid(format!("there is no INCLUDE {other}"));
            let hint = match nearest(other, INCLUDES) {
                Some(near) => format!("did you mean {near}?"),
                None => format!("there are: {}", INCLUDES.join(", ")),
            };
            return Err(what.blame(error.with_hint(hint)));
        }
    };
    let metadata = metadata.map(|m| (TYPE_KEY.to_owned(), m.to_owned())).into_iter().collect();
    Ok(Column { metadata, ..Column::new(&name.text, data_type) })
}

fn key_columns(relation: &CreateRelation, columns: &mut [Column]) -> Result<Vec<usize>> {
    let mut key = Vec::new();
    for name in &relation.primary_key {
        let index = find_column(columns, name)?;
        if key.contains(&index) {
            return Err(name.blame(duplicate_column(&name.text)));
        }
        columns[index].nullable = false;
        key.push(index);
    }
    Ok(key)
}

pub(super) fn find_column(columns: &[Column], name: &Name) -> Result<usize> {
    columns.iter().position(|c| c.name == name.text).ok_or_else(|| {
        let error = Error::not_found(format!("column \"{}\" does not exist", name.text)).with_sqlstate("42703");
        name.blame(match nearest(&name.text, columns.iter().map(|c| c.name.as_str())) {
            Some(near) => error.with_hint(format!("did you mean \"{near}\"?")),
            None => error,
        })
    })
}

pub(super) fn take_option(options: &mut Vec<OptionEntry>, name: &str) -> Option<OptionEntry> {
    let at = options.iter().position(|o| o.name == name)?;
    Some(options.remove(at))
}

pub(super) fn as_map(options: Vec<OptionEntry>) -> BTreeMap<String, String> {
    options.into_iter().map(|o| (o.name, o.value)).collect()
}

pub(super) fn encode(def: &EncodeDef) -> Encode {
    Encode { format: def.format.clone(), encoding: def.encoding.clone(), options: as_map(def.options.clone()) }
}

fn watermark(context: &Context<'_>, relation: &CreateRelation, columns: &[Column], options: &[OptionEntry]) -> Result<Option<Watermark>> {
    let Some(def) = &relation.watermark else {
        return match options.first() {
            Some(option) => Err(at(Error::invalid(format!("option '{}' needs a WATERMARK", option.name)), option.place)),
            None => Ok(None),
        };
    };
    let column = find_column(columns, &def.column)?;
    if !matches!(columns[column].data_type, DataType::Timestamp(TimeUnit::Microsecond, _)) {
        let error = Error::invalid(format!("column \"{}\" is no timestamp: a watermark is on a TIMESTAMP or TIMESTAMPTZ", def.column.text));
        return Err(def.column.blame(error.with_sqlstate("42804")));
    }
    let delay_us = delay(context, def)?;
    let mut watermark =
        Watermark { column, delay_us, idle_timeout_us: None, max_ahead_us: Watermark::MAX_AHEAD_US, when_idle: WhenIdle::Hold };
    for option in options {
        watermark_option(&mut watermark, option)?;
    }
    let advance = options.iter().find(|o| o.name == "watermark.when_idle").filter(|_| watermark.when_idle == WhenIdle::Advance);
    if let (Some(option), None) = (advance, watermark.idle_timeout_us) {
        let error = Error::invalid("watermark.when_idle = 'advance' needs 'watermark.idle_timeout': without it nothing is ever idle");
        return Err(at(error, option.place));
    }
    Ok(Some(watermark))
}

fn watermark_option(watermark: &mut Watermark, option: &OptionEntry) -> Result<()> {
    let length = || {
        let micros = duration_us(&option.value).filter(|us| *us >= 0);
        micros.ok_or_else(|| {
            at(Error::invalid(format!("'{}' is no length of time", option.value)).with_hint("such as '30s' or '5 minutes'"), option.place)
        })
    };
    match option.name.as_str() {
        "watermark.idle_timeout" => watermark.idle_timeout_us = Some(length()?),
        "watermark.max_ahead" => watermark.max_ahead_us = length()?,
        "watermark.when_idle" => {
            watermark.when_idle = match option.value.to_lowercase().as_str() {
                "hold" => WhenIdle::Hold,
                "advance" => WhenIdle::Advance,
                other => {
                    return Err(at(Error::invalid(format!("watermark.when_idle is 'hold' or 'advance', not '{other}'")), option.place));
                }
            };
        }
        name => {
            let error = Error::invalid(format!("there is no option '{name}'"));
            let known = ["watermark.idle_timeout", "watermark.max_ahead", "watermark.when_idle"];
            let hint =
                nearest(name, known).map_or_else(|| format!("there are: {}", known.join(", ")), |near| format!("did you mean '{near}'?"));
            return Err(at(error.with_hint(hint), option.place));
        }
    }
    Ok(())
}

/// The delay in `column` or `column - INTERVAL '…'`.
fn delay(context: &Context<'_>, def: &WatermarkDef) -> Result<Micros> {
    let wrong = || {
        let error = syntax("a watermark is written as WATERMARK FOR column AS column - INTERVAL '…'");
        at(error, def.place)
    };
    let is_column = |expr: &SqlExpr| matches!(expr, SqlExpr::Identifier(ident) if folded(ident) == def.column.text);
    let interval = match &def.expr {
        expr if is_column(expr) => return Ok(0),
        SqlExpr::BinaryOp { left, op: BinaryOperator::Minus, right } if is_column(left) => right,
        _ => return Err(wrong()),
    };
    let Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(value)), _) =
        query::expression(context, (**interval).clone(), &DFSchema::empty())?
    else {
        return Err(wrong());
    };
    micros(value)
        .filter(|us| *us >= 0)
        .ok_or_else(|| at(Error::invalid("the delay of a watermark is not negative and has no months"), def.place))
}

fn micros(value: IntervalMonthDayNano) -> Option<Micros> {
    (value.months == 0).then(|| i64::from(value.days) * 86_400_000_000 + value.nanoseconds / 1_000)
}
