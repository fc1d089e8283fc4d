//! What a connector is: options, what it can do, a way to open a source and a sink.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use headwater_types::{Clock, Error, Result};

use crate::{Options, Positions, Sink, SinkDefinition, Source, SourceDefinition};

/// One option of `WITH (…)`.
#[derive(Debug, Clone, Copy)]
pub struct OptionSpec {
    /// Its name; one that ends in `.*` stands for a family that is passed on unread.
    pub name: &'static str,
    /// What it does and what it defaults to, in a sentence.
    pub about: &'static str,
    /// True if there is no default.
    pub required: bool,
}

/// What a planner must know of a source, so that nobody above names connectors.
#[derive(Debug, Clone, Default)]
pub struct Capabilities {
    /// The source ends by itself.
    pub bounded: bool,
    /// It can be read again from any position it gave.
    pub replayable: bool,
    /// Columns that the connector declares where the statement lists none.
    pub columns: Option<SchemaRef>,
}

/// A kind of source and sink. One folder and one line in the registry each.
pub trait Connector: Send + Sync {
    /// The name in `connector = '…'`.
    fn name(&self) -> &'static str;

    /// Options of its sources.
    fn source_options(&self) -> &'static [OptionSpec] {
        &[]
    }

    /// Options of its sinks.
    fn sink_options(&self) -> &'static [OptionSpec] {
        &[]
    }

    /// Checks a source's options without touching the outside world.
    ///
    /// # Errors
    /// `Invalid` for a bad option; `Unsupported` if it has no sources.
    fn check_source(&self, definition: &SourceDefinition) -> Result<Capabilities> {
        let _ = definition;
        Err(Error::unsupported(format!("connector '{}' has no sources", self.name())))
    }

    /// Where a source starts that has never been read: partitions known now with the position of their start (`latest` and timestamps resolve here, once).
    ///
    /// # Errors
    /// `External` if the outside world cannot be asked; retried.
    fn start(&self, definition: &SourceDefinition) -> Result<Positions> {
        let _ = definition;
        Ok(Positions::new())
    }

    /// Opens the readers of a source, each with its own share of the partitions, from `positions` on; a partition that is not among them starts at
    /// its beginning. At most `readers_max` of them; each runs on a thread of its own.
    ///
    /// # Errors
    /// `External` if the outside world cannot be reached; retried with back-off.
    fn open_source(
        &self,
        definition: &SourceDefinition,
        positions: &Positions,
        readers_max: usize,
        clock: Arc<dyn Clock>,
    ) -> Result<Vec<Box<dyn Source>>> {
        let _ = (definition, positions, readers_max, clock);
        Err(Error::unsupported(format!("connector '{}' has no sources", self.name())))
    }

    /// Checks a sink's options without touching the outside world.
    ///
    /// # Errors
    /// `Invalid` for a bad option; `Unsupported` if it has no sinks.
    fn check_sink(&self, definition: &SinkDefinition) -> Result<()> {
        let _ = definition;
        Err(Error::unsupported(format!("connector '{}' has no sinks", self.name())))
    }

    /// A sink, not yet connected: it connects at its first call, so that a target that is down is retried like any other failure.
    ///
    /// # Errors
    /// `Invalid` for a bad option.
    fn open_sink(&self, definition: &SinkDefinition) -> Result<Box<dyn Sink>> {
        let _ = definition;
        Err(Error::unsupported(format!("connector '{}' has no sinks", self.name())))
    }
}

/// The connectors a database knows, by name.
#[derive(Clone, Default)]
pub struct Registry {
    connectors: BTreeMap<&'static str, Arc<dyn Connector>>,
}

impl Registry {
    /// Adds a connector; the last one of a name wins.
    pub fn register(&mut self, connector: Arc<dyn Connector>) {
        self.connectors.insert(connector.name(), connector);
    }

    /// The connector called `name`.
    ///
    /// # Errors
    /// `NotFound`, with the nearest name proposed.
    pub fn get(&self, name: &str) -> Result<&Arc<dyn Connector>> {
        self.connectors.get(name).ok_or_else(|| {
            let names: Vec<&str> = self.connectors.keys().copied().collect();
            let error = Error::not_found(format!("there is no connector '{name}'"));
            match nearest(name, &names) {
                Some(near) => error.with_hint(format!("did you mean '{near}'?")),
                None => error.with_hint(format!("there are: {}", names.join(", "))),
            }
        })
    }
}

/// The one of `names` that `name` was probably meant to be.
fn nearest<'a>(name: &str, names: &[&'a str]) -> Option<&'a str> {
    let scored = names.iter().map(|n| (strsim::jaro_winkler(name, n), *n));
    scored.filter(|(score, _)| *score > 0.8).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, n)| n)
}

/// Checks that every option given is one of `specs` and that the required ones are there.
///
/// # Errors
/// `Invalid` naming the option, with the nearest known one proposed.
pub fn check_options(what: &str, specs: &[OptionSpec], options: &Options) -> Result<()> {
    let known = |name: &str| specs.iter().any(|s| s.name == name || s.name.strip_suffix('*').is_some_and(|family| name.starts_with(family)));
    for name in options.keys().filter(|n| !known(n)) {
        let names: Vec<&str> = specs.iter().map(|s| s.name).collect();
        let error = Error::invalid(format!("{what} has no option '{name}'"));
        return Err(match nearest(name, &names) {
            Some(near) => error.with_hint(format!("did you mean '{near}'?")),
            None => error.with_hint(format!("its options are: {}", names.join(", "))),
        });
    }
    match specs.iter().find(|s| s.required && !options.contains_key(s.name)) {
        Some(missing) => Err(Error::invalid(format!("{what} needs the option '{}'", missing.name)).with_hint(missing.about)),
        None => Ok(()),
    }
}
