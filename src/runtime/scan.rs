//! A bounded source read once from its start to its end, beside the feeds: for queries.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use headwater_connectors::{Positions, Source, SourceEvent};
use headwater_types::{Clock, Error, Micros, Result};
use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::{Runtime, SourceDef, persisted, spawn_thread};

/// Batches that wait for the query, at most 8,192 rows each.
const BATCHES_MAX: usize = 4;
/// How long the reader blocks in one poll, hence how late it notices that nobody reads its rows any more.
const POLL: Duration = Duration::from_millis(50);

/// Records that a scan left out, as views do: they could not be decoded, break a constraint, or have no usable event time.
#[derive(Debug, Clone, Default)]
pub struct LeftOut {
    /// How many so far.
    pub records: u64,
    /// Why the first of them was.
    pub reason: Option<String>,
}

/// A scan of one source; its rows come as they are taken.
pub struct SourceScan {
    /// The rows that views of the source accept, or the first error.
    pub rows: mpsc::Receiver<Result<RecordBatch>>,
    /// What was left out so far.
    pub left_out: Arc<Mutex<LeftOut>>,
}

/// What the thread of a scan works with.
struct Reading {
    source: SourceDef,
    start: Option<Positions>,
    clock: Arc<dyn Clock>,
    now: Micros,
    rows: mpsc::Sender<Result<RecordBatch>>,
    left_out: Arc<Mutex<LeftOut>>,
}

impl Runtime {
    /// Begins to read the bounded `source`, from where its views started if it has any, on a thread of its own. It ends with the rows or when
    /// nobody takes them any more.
    ///
    /// # Errors
    /// `Storage`; no thread to give. What the connector says comes in the place of rows.
    pub fn scan_source(&self, source: SourceDef, clock: Arc<dyn Clock>) -> Result<SourceScan> {
        let start = persisted::get(self.store().blocks().as_ref(), &persisted::object_key("start", source.id))?;
        let (sender, rows) = mpsc::channel(BATCHES_MAX);
        let left_out = Arc::new(Mutex::new(LeftOut::default()));
        let now = clock.now().max(self.published().now);
        let name = format!("scan {}", source.definition.name);
        let reading = Reading { source, start, clock, now, rows: sender.clone(), left_out: left_out.clone() };
        let read = move || {
            if let Err(error) = reading.read() {
                // Nobody to tell is nobody who minds.
                drop(reading.rows.blocking_send(Err(error)));
            }
        };
        spawn_thread(&name, read, move |panic| drop(sender.blocking_send(Err(panic))))?;
        Ok(SourceScan { rows, left_out })
    }
}

impl Reading {
    fn read(&self) -> Result<()> {
        let SourceDef { definition, connector, .. } = &self.source;
        let start = match &self.start {
            Some(start) => start.clone(),
            None => connector.start(definition)?,
        };
        for mut reader in connector.open_source(definition, &start, 1, self.clock.clone())? {
            while !self.rows.is_closed() && self.poll(reader.as_mut())? {}
        }
        Ok(())
    }

    /// Hands on what has come; false at the end.
    fn poll(&self, reader: &mut dyn Source) -> Result<bool> {
        let mut events = Vec::new();
        reader.poll(POLL, &mut events)?;
        for event in events {
            match event {
                SourceEvent::Finished => return Ok(false),
                SourceEvent::Rows(batch) => {
                    for reject in &batch.rejects {
                        self.leave_out(1, &reject.reason);
                    }
                    let rows = self.dated(batch.rows)?;
                    if rows.num_rows() > 0 && self.rows.blocking_send(Ok(rows)).is_err() {
                        return Ok(false);
                    }
                }
                SourceEvent::State(Some(waiting)) => return Err(Error::external(waiting)),
                _ => {}
            }
        }
        Ok(true)
    }

    /// The rows with a usable event time.
    fn dated(&self, rows: RecordBatch) -> Result<RecordBatch> {
        let Some(event_time) = &self.source.event_time else { return Ok(rows) };
        let dated = event_time.date(rows, self.now)?;
        for refused in &dated.refused {
            self.leave_out(refused.rows.num_rows() as u64, &refused.reason);
        }
        Ok(dated.rows)
    }

    fn leave_out(&self, records: u64, reason: &str) {
        let mut left_out = self.left_out.lock();
        left_out.records += records;
        left_out.reason.get_or_insert_with(|| reason.to_owned());
    }
}
