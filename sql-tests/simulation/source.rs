//! A reader of the simulated world's log: any position can be read again.

use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch, TimestampMicrosecondArray};
use datafusion::arrow::datatypes::SchemaRef;
use headwater_connectors::{Partition, Position, Positions, Reject, Source, SourceBatch, SourceEvent};
use headwater_types::{Error, Result};

use super::world::{Event, World};

/// Rows told at once: few, so that one `FLUSH` may be many epochs.
const BATCH_ROWS: usize = 7;

/// One reader with its share of the partitions.
pub struct WorldSource {
    world: Arc<World>,
    schema: SchemaRef,
    shares: Vec<Share>,
    flushes: Vec<(u64, Vec<usize>)>,
    /// It stops where each share says.
    is_limited: bool,
}

struct Share {
    partition: usize,
    next: usize,
    told_end: bool,
    upto: usize,
}

impl WorldSource {
    /// A reader of `shares`: partitions and where each is read from.
    pub fn new(world: Arc<World>, schema: SchemaRef, shares: Vec<(usize, usize)>) -> Self {
        let shares = shares.into_iter().map(|(partition, next)| Share { partition, next, told_end: false, upto: usize::MAX }).collect();
        Self { world, schema, shares, flushes: Vec::new(), is_limited: false }
    }

    fn ends(&self) -> Vec<usize> {
        let state = self.world.state();
        self.shares.iter().map(|share| state.partitions[share.partition].len()).collect()
    }

    fn tell(&mut self, events: &mut Vec<SourceEvent>) -> Result<()> {
        for share in &mut self.shares {
            let (pending, left) = {
                let state = self.world.state();
                let log = &state.partitions[share.partition];
                let end = log.len().min(share.next + BATCH_ROWS).min(share.upto.max(share.next));
                (log[share.next..end].to_vec(), log.len() - end)
            };
            let partition: Partition = Arc::from(share.partition.to_string());
            if !pending.is_empty() {
                events.push(SourceEvent::Rows(decode(&self.schema, partition.clone(), share.next, &pending, left)?));
                share.next += pending.len();
                share.told_end = false;
            }
            if left == 0 && !share.told_end && !self.is_limited {
                events.push(SourceEvent::AtEnd(partition));
                share.told_end = true;
            }
        }
        if self.is_limited {
            return Ok(());
        }
        let next: Vec<usize> = self.shares.iter().map(|share| share.next).collect();
        self.flushes.retain(|(token, ends)| {
            let reached = next.iter().zip(ends).all(|(next, end)| next >= end);
            if reached {
                events.push(SourceEvent::Flushed(*token));
            }
            !reached
        });
        Ok(())
    }
}

impl Source for WorldSource {
    fn poll(&mut self, wait: Duration, events: &mut Vec<SourceEvent>) -> Result<()> {
        {
            let mut state = self.world.state();
            if state.fail_polls > 0 {
                state.fail_polls -= 1;
                return Err(Error::external("the world does not answer"));
            }
        }
        let before = events.len();
        self.tell(events)?;
        if events.len() == before {
            self.world.wait(wait);
            self.tell(events)?;
        }
        Ok(())
    }

    fn flush(&mut self, token: u64) -> Result<()> {
        let ends = self.ends();
        self.flushes.push((token, ends));
        Ok(())
    }

    fn stop_at(&mut self, upto: &Positions) -> Result<()> {
        self.is_limited = true;
        for share in &mut self.shares {
            let limit = upto.get(share.partition.to_string().as_str()).and_then(|position| position.0.parse().ok());
            share.upto = limit.unwrap_or(share.next);
        }
        Ok(())
    }
}

fn decode(schema: &SchemaRef, partition: Partition, from: usize, events: &[Event], left: usize) -> Result<SourceBatch> {
    let (mut ids, mut keys, mut values, mut times, mut rejects) = (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (at, event) in events.iter().enumerate() {
        match event {
            Event::Row { id, key, n, at } => {
                ids.push(*id);
                keys.push(*key);
                values.push(*n);
                times.push(*at);
            }
            Event::Garbage => {
                rejects.push(Reject { position: (from + at).to_string(), reason: "not a row".to_string(), payload: b"garbage".to_vec() })
            }
        }
    }
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(ids)),
        Arc::new(Int32Array::from(keys)),
        Arc::new(Int64Array::from(values)),
        Arc::new(TimestampMicrosecondArray::from(times)),
    ];
    let rows = RecordBatch::try_new(schema.clone(), columns)?;
    Ok(SourceBatch { partition, rows, rejects, next: Position((from + events.len()).to_string()), lag: Some(left as u64) })
}
