//! The connector `kafka`: what it can do, and how its sources and sinks are opened.

use std::sync::Arc;

use arrow::datatypes::Schema;
use headwater_types::{Clock, Error, ErrorKind, Result};
use uuid::Uuid;

use super::asker::Asker;
use super::reader::{Reader, includes};
use super::settings::{SINK_OPTIONS, SOURCE_OPTIONS, Settings, startup};
use super::sink::KafkaSink;
use super::start::resolve;
use super::watch::Share;
use crate::format::{Decoder, JsonEncoder};
use crate::{
    Capabilities, Connector, Encoding, Format, OptionSpec, Positions, Sink, SinkDefinition, Source, SourceDefinition, check_options,
};

/// Topics of Apache Kafka and whatever speaks its protocol.
pub(crate) struct Kafka {
    /// Written beside every mark: tells what this process delivered from what another one did.
    nonce: Uuid,
}

impl Kafka {
    pub(crate) fn new() -> Self {
        Self { nonce: Uuid::new_v4() }
    }
}

fn source_name(definition: &SourceDefinition) -> String {
    format!("source '{}'", definition.name)
}

fn sink_name(definition: &SinkDefinition) -> String {
    format!("sink '{}'", definition.name)
}

impl Connector for Kafka {
    fn name(&self) -> &'static str {
        "kafka"
    }

    fn source_options(&self) -> &'static [OptionSpec] {
        SOURCE_OPTIONS
    }

    fn sink_options(&self) -> &'static [OptionSpec] {
        SINK_OPTIONS
    }

    fn check_source(&self, definition: &SourceDefinition) -> Result<Capabilities> {
        let what = source_name(definition);
        check_options(&what, SOURCE_OPTIONS, &definition.options)?;
        Settings::new(&what, &definition.options)?;
        startup(&what, &definition.options)?;
        if definition.format == Format::Upsert {
            return Err(Error::unsupported("FORMAT UPSERT of a kafka source").with_hint("FORMAT PLAIN reads every record as a row"));
        }
        includes(definition)?;
        Decoder::new(definition)?;
        Ok(Capabilities { replayable: true, ..Capabilities::default() })
    }

    fn start(&self, definition: &SourceDefinition) -> Result<Positions> {
        let what = source_name(definition);
        let settings = Settings::new(&what, &definition.options)?;
        let asker = Asker::new(&settings.asker(&settings.group(&definition.name)))?;
        resolve(&asker, &settings.topic, &startup(&what, &definition.options)?).map_err(|e| e.context(&what))
    }

    fn open_source(
        &self,
        definition: &SourceDefinition,
        positions: &Positions,
        readers_max: usize,
        _clock: Arc<dyn Clock>,
    ) -> Result<Vec<Box<dyn Source>>> {
        let settings = Settings::new(&source_name(definition), &definition.options)?;
        let asker = Asker::new(&settings.asker(&settings.group(&definition.name)))?;
        // A broker that has just started may not know its topics yet: a topic that was there once is waited for.
        let partitions = asker.partitions(&settings.topic).map_err(|error| match error.kind() {
            ErrorKind::NotFound => Error::external(error.message()),
            _ => error,
        })?;
        if let Some(lost) = positions.keys().find(|name| !partitions.iter().any(|p| p.to_string() == ***name)) {
            return Err(Error::external(format!("topic '{}' has no partition {lost} any more", settings.topic)));
        }
        let count = readers_max.clamp(1, partitions.len().max(1));
        let readers = (0..count).map(|index| {
            let reader = Reader::open(definition, &settings, positions, &partitions, Share { index, count })?;
            Ok(Box::new(reader) as Box<dyn Source>)
        });
        readers.collect()
    }

    fn check_sink(&self, definition: &SinkDefinition) -> Result<()> {
        let what = sink_name(definition);
        check_options(&what, SINK_OPTIONS, &definition.options)?;
        Settings::new(&what, &definition.options)?;
        check_form(&what, definition)
    }

    fn open_sink(&self, definition: &SinkDefinition) -> Result<Box<dyn Sink>> {
        let settings = Settings::new(&sink_name(definition), &definition.options)?;
        Ok(Box::new(KafkaSink::new(definition.clone(), settings, self.nonce)))
    }
}

/// Checks that a sink's format fits its type, and that its columns can be written.
fn check_form(what: &str, definition: &SinkDefinition) -> Result<()> {
    if definition.encoding != Encoding::Json {
        return Err(Error::unsupported(format!("{what}: an encoding other than JSON into kafka")));
    }
    match (definition.upsert, definition.format) {
        (true, Format::Plain) => {
            return Err(Error::invalid(format!("{what}: an upsert sink into kafka is written with FORMAT UPSERT"))
                .with_hint("FORMAT UPSERT ENCODE JSON writes the key as JSON and a deletion as a tombstone"));
        }
        (false, Format::Upsert) => {
            return Err(Error::invalid(format!("{what}: FORMAT UPSERT needs an upsert sink")).with_hint("give its primary_key"));
        }
        (true, Format::Upsert) if definition.key.is_empty() => {
            return Err(Error::invalid(format!("{what}: FORMAT UPSERT needs the option 'primary_key'")));
        }
        _ => {}
    }
    let schema: &Schema = &definition.schema;
    JsonEncoder::new(schema, &(0..schema.fields().len()).collect::<Vec<_>>())?;
    JsonEncoder::new(schema, &definition.key)?;
    Ok(())
}
