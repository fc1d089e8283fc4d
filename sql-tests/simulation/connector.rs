//! The test's connector: sources and sinks of the simulated world.

use std::sync::Arc;

use headwater_connectors::{Capabilities, Connector, OptionSpec, Position, Positions, Sink, SinkDefinition, Source, SourceDefinition};
use headwater_types::{Clock, Result};

use super::sink::WorldSink;
use super::source::WorldSource;
use super::world::World;

/// `connector = 'world'`.
pub struct WorldConnector(pub Arc<World>);

impl Connector for WorldConnector {
    fn name(&self) -> &'static str {
        "world"
    }

    fn sink_options(&self) -> &'static [OptionSpec] {
        &[OptionSpec { name: "target", about: "The target's name.", required: true }]
    }

    fn check_source(&self, _definition: &SourceDefinition) -> Result<Capabilities> {
        Ok(Capabilities { bounded: false, replayable: true, ..Capabilities::default() })
    }

    fn start(&self, _definition: &SourceDefinition) -> Result<Positions> {
        let partitions = self.0.state().partitions.len();
        Ok((0..partitions).map(|p| (Arc::from(p.to_string()), Position("0".to_string()))).collect())
    }

    fn open_source(
        &self,
        definition: &SourceDefinition,
        positions: &Positions,
        readers_max: usize,
        _clock: Arc<dyn Clock>,
    ) -> Result<Vec<Box<dyn Source>>> {
        let partitions = self.0.state().partitions.len();
        let readers = readers_max.clamp(1, partitions);
        let shares = (0..readers).map(|reader| {
            let share = (reader..partitions).step_by(readers).map(|partition| {
                let known = positions.get(partition.to_string().as_str());
                (partition, known.and_then(|p| p.0.parse().ok()).unwrap_or(0))
            });
            Box::new(WorldSource::new(self.0.clone(), definition.schema.clone(), share.collect())) as Box<dyn Source>
        });
        Ok(shares.collect())
    }

    fn check_sink(&self, _definition: &SinkDefinition) -> Result<()> {
        Ok(())
    }

    fn open_sink(&self, definition: &SinkDefinition) -> Result<Box<dyn Sink>> {
        Ok(Box::new(WorldSink::new(self.0.clone(), definition)))
    }
}
