//! A connector of the benchmark's own: batches that are in memory already.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use headwater::connectors::{Capabilities, Connector, Position, Positions, Source, SourceBatch, SourceDefinition, SourceEvent};
use headwater::{Clock, Result};

/// Batches told by one poll.
const BATCHES_PER_POLL: usize = 8;

/// `connector = 'memory'`.
pub struct Memory {
    /// What its one source gives, in order.
    pub batches: Vec<RecordBatch>,
}

impl Connector for Memory {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn check_source(&self, _definition: &SourceDefinition) -> Result<Capabilities> {
        Ok(Capabilities { bounded: true, replayable: true, grows: false, columns: None })
    }

    fn start(&self, _definition: &SourceDefinition) -> Result<Positions> {
        Ok(Positions::from([("0".into(), Position("0".into()))]))
    }

    fn open_source(
        &self,
        _definition: &SourceDefinition,
        positions: &Positions,
        _readers_max: usize,
        _clock: Arc<dyn Clock>,
    ) -> Result<Vec<Box<dyn Source>>> {
        let at = positions.get("0").and_then(|p| p.0.parse().ok()).unwrap_or(0);
        Ok(vec![Box::new(Reader { batches: self.batches.clone(), at, tokens: Vec::new(), upto: None })])
    }
}

struct Reader {
    batches: Vec<RecordBatch>,
    at: usize,
    tokens: Vec<u64>,
    upto: Option<usize>,
}

impl Source for Reader {
    fn poll(&mut self, _wait: Duration, events: &mut Vec<SourceEvent>) -> Result<()> {
        for _ in 0..BATCHES_PER_POLL {
            if self.upto.is_some_and(|upto| self.at >= upto) {
                return Ok(());
            }
            let Some(rows) = self.batches.get(self.at).cloned() else {
                events.extend(self.tokens.drain(..).map(SourceEvent::Flushed));
                events.push(SourceEvent::Finished);
                return Ok(());
            };
            self.at += 1;
            let next = Position(self.at.to_string());
            events.push(SourceEvent::Rows(SourceBatch { partition: "0".into(), rows, rejects: Vec::new(), next, lag: None }));
        }
        Ok(())
    }

    fn flush(&mut self, token: u64) -> Result<()> {
        self.tokens.push(token);
        Ok(())
    }

    fn stop_at(&mut self, upto: &Positions) -> Result<()> {
        self.upto = Some(upto.get("0").and_then(|p| p.0.parse().ok()).unwrap_or(self.at));
        Ok(())
    }
}
