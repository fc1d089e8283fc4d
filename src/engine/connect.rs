//! From a catalog object to what the runtime and a connector need of it.

use std::sync::Arc;

use arrow::array::RecordBatch;
use headwater_catalog::{Column, Encode, Object, ObjectKind, SinkSpec, SourceSpec, Watermark, WhenIdle};
use headwater_connectors::{Encoding, Format, Include, Options, Registry, SinkDefinition, SourceDefinition};
use headwater_runtime::{Dated, EventTime, Runtime, SinkDef, SourceDef, TableDef};
use headwater_types::{Clock, Error, Result};

fn encoding(encode: Option<&Encode>) -> Result<(Format, Encoding, Options)> {
    let Some(encode) = encode else { return Ok((Format::Plain, Encoding::Native, Options::new())) };
    let format = match encode.format.as_str() {
        "plain" => Format::Plain,
        "upsert" => Format::Upsert,
        other => return Err(Error::unsupported(format!("FORMAT {other}"))),
    };
    let encoding = match encode.encoding.as_str() {
        "json" => Encoding::Json,
        "csv" => Encoding::Csv,
        "parquet" => Encoding::Parquet,
        "native" => Encoding::Native,
        other => return Err(Error::unsupported(format!("ENCODE {other}"))),
    };
    Ok((format, encoding, encode.options.clone()))
}

/// The watermark as the runtime knows it.
pub(crate) fn event_time(watermark: &Watermark) -> EventTime {
    EventTime {
        column: watermark.column,
        delay_us: watermark.delay_us,
        idle_timeout_us: watermark.idle_timeout_us,
        max_ahead_us: watermark.max_ahead_us,
        advance_when_idle: watermark.when_idle == WhenIdle::Advance,
    }
}

/// `rows` without those that have no usable event time by now. Epoch time is never before this, so what is taken here is taken by the loop.
pub(crate) fn dated(runtime: &Runtime, clock: &dyn Clock, table: &Object, rows: RecordBatch) -> Result<Dated> {
    match table.watermark() {
        Some(watermark) => event_time(watermark).date(rows, clock.now().max(runtime.published().now)),
        None => Ok(Dated { rows, max_seen: None, refused: Vec::new() }),
    }
}

fn source_definition(object: &Object, spec: &SourceSpec) -> Result<SourceDefinition> {
    let (format, encoding, encoding_options) = encoding(spec.encode.as_ref())?;
    let include = |(what, column): &(String, usize)| Include { what: what.clone(), column: *column };
    Ok(SourceDefinition {
        name: object.name.clone(),
        schema: object.schema(),
        options: spec.options.clone(),
        format,
        encoding,
        encoding_options,
        includes: spec.includes.iter().map(include).collect(),
    })
}

/// Checks a source with its connector; gives it the connector's columns if it declared none.
pub(crate) fn check_source(object: &mut Object, registry: &Registry) -> Result<bool> {
    let ObjectKind::Source(spec) = &object.kind else { return Err(Error::bug("not a source")) };
    let connector = registry.get(&spec.connector)?;
    let capabilities = connector.check_source(&source_definition(object, spec)?)?;
    if object.columns.is_empty() {
        let columns = capabilities.columns.ok_or_else(|| Error::invalid(format!("source \"{}\" declares no columns", object.name)))?;
        object.columns = columns.fields().iter().map(|f| Column::of(f)).collect();
    }
    Ok(capabilities.bounded)
}

/// A source as the runtime needs it.
pub(crate) fn source(object: &Object, spec: &SourceSpec, registry: &Registry) -> Result<SourceDef> {
    let connector = registry.get(&spec.connector)?.clone();
    let definition = source_definition(object, spec)?;
    Ok(SourceDef { id: object.id, definition, connector, event_time: spec.watermark.as_ref().map(event_time) })
}

/// A table as the runtime needs it.
pub(crate) fn table(object: &Object) -> Result<TableDef> {
    let ObjectKind::Table(spec) = &object.kind else { return Err(Error::bug("not a table")) };
    Ok(TableDef {
        id: object.id,
        name: object.name.clone(),
        schema: object.schema(),
        primary_key: spec.primary_key.clone(),
        append_only: spec.append_only,
        event_time: spec.watermark.as_ref().map(event_time),
    })
}

fn sink_definition(object: &Object, spec: &SinkSpec) -> Result<SinkDefinition> {
    let (format, encoding, encoding_options) = encoding(spec.encode.as_ref())?;
    Ok(SinkDefinition {
        name: object.name.clone(),
        uuid: object.uuid,
        schema: object.schema(),
        key: spec.key.clone(),
        upsert: spec.upsert,
        options: spec.options.clone(),
        format,
        encoding,
        encoding_options,
    })
}

/// Checks a sink with its connector.
pub(crate) fn check_sink(object: &Object, registry: &Registry) -> Result<()> {
    let ObjectKind::Sink(spec) = &object.kind else { return Err(Error::bug("not a sink")) };
    let mut definition = sink_definition(object, spec)?;
    take_delivery(&mut definition)?;
    registry.get(&spec.connector)?.check_sink(&definition)
}

/// Takes `delivery` out of the options: it is no matter of the connector. True if rows may come twice.
fn take_delivery(definition: &mut SinkDefinition) -> Result<bool> {
    match definition.options.remove("delivery").as_deref() {
        None | Some("exactly_once") => Ok(false),
        Some("at_least_once") => Ok(true),
        Some(other) => Err(Error::invalid(format!("delivery = '{other}'"))
            .with_hint("delivery is 'exactly_once' or, of append-only sinks, 'at_least_once'")),
    }
}

/// A sink as the runtime needs it. Append sinks of a database with checkpoints wait for them unless told `delivery = 'at_least_once'`.
pub(crate) fn sink(object: &Object, spec: &SinkSpec, registry: &Registry, checkpoints: bool) -> Result<SinkDef> {
    let connector = Arc::clone(registry.get(&spec.connector)?);
    let mut definition = sink_definition(object, spec)?;
    let may_repeat = take_delivery(&mut definition)? && !spec.upsert;
    let wait_for_checkpoint = checkpoints && !spec.upsert && !may_repeat;
    Ok(SinkDef { id: object.id, from: spec.part.of(spec.from), definition, connector, wait_for_checkpoint, may_repeat })
}
