//! What a connector is: options, what it can do, a way to open a source and a sink.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use headwater_types::{Clock, Error, Result};

use crate::{Positions, Sink, SinkDefinition, Source, SourceDefinition};

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
    /// A bounded source may have more to give when it is opened again: files grow, and new ones come.
    pub grows: bool,
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
