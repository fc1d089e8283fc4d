//! `connector = 'blackhole'`: a sink that takes everything and keeps nothing, to measure what comes before it.

use async_trait::async_trait;
use headwater_types::{ChangeBatch, Result};

use crate::{Connector, Delivery, Mark, Sink, SinkDefinition, check_options};

/// The connector.
pub(crate) struct Blackhole;

impl Connector for Blackhole {
    fn name(&self) -> &'static str {
        "blackhole"
    }

    fn check_sink(&self, definition: &SinkDefinition) -> Result<()> {
        check_options("connector 'blackhole'", self.sink_options(), &definition.options)
    }

    fn open_sink(&self, definition: &SinkDefinition) -> Result<Box<dyn Sink>> {
        self.check_sink(definition)?;
        Ok(Box::new(Nothing))
    }
}

struct Nothing;

#[async_trait]
impl Sink for Nothing {
    async fn mark(&mut self) -> Result<Option<Mark>> {
        Ok(None)
    }

    fn keeps_mark(&self) -> bool {
        false
    }

    async fn deliver(&mut self, _delivery: &Delivery) -> Result<()> {
        Ok(())
    }

    async fn rewrite(&mut self, _rows: Vec<ChangeBatch>, _mark: Mark) -> Result<()> {
        Ok(())
    }
}
