//! EXPLAIN WATERMARK, and the statements that move a test's clock or take a checkpoint.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use headwater_catalog::Object;
use headwater_runtime::{SourceStatus, Status};
use headwater_types::{END_OF_TIME, Error, Micros, ObjectId, Result};

use crate::{Outcome, Session};

impl Session {
    /// Why the oldest open window is open: the view's watermark, and for each source that feeds it the partition that holds it back.
    pub(crate) async fn explain_watermark(&mut self, view: &Arc<Object>) -> Result<Outcome> {
        let status = self.shared.runtime.status().await?;
        let mut lines = Vec::new();
        let below = self.sources_below(view.id);
        let closed = status.views.iter().find(|v| v.id == view.id).and_then(|v| v.watermark);
        match closed {
            Some(at) if at >= END_OF_TIME => lines.push(format!("{}: all windows are closed: what it reads has ended", view.name)),
            Some(at) => lines.push(format!("{}: windows that end at or before {} are closed", view.name, instant(at))),
            None => lines.push(format!("{}: no window is closed yet", view.name)),
        }
        for source in status.sources.iter().filter(|s| below.contains(&s.id) && feeds(s, view.id, &self.below(view.id))) {
            lines.extend(self.explain_source(source, &status));
        }
        let text: ArrayRef = Arc::new(StringArray::from(lines));
        let schema = Arc::new(Schema::new(vec![Field::new("EXPLAIN WATERMARK", DataType::Utf8, false)]));
        Ok(Outcome::batch("EXPLAIN", RecordBatch::try_new(schema, vec![text])?))
    }

    /// Everything that `id` reads, directly or through others, and itself.
    fn below(&self, id: ObjectId) -> Vec<ObjectId> {
        let catalog = self.shared.catalog();
        let mut found = vec![id];
        let mut at = 0;
        while at < found.len() {
            let reads = catalog.get(found[at]).map(|o| o.depends_on.clone()).unwrap_or_default();
            found.extend(reads.into_iter().filter(|o| !found.contains(o)).collect::<Vec<_>>());
            at += 1;
        }
        found
    }

    fn sources_below(&self, id: ObjectId) -> Vec<ObjectId> {
        self.below(id)
    }

    fn explain_source(&self, source: &SourceStatus, status: &Status) -> Vec<String> {
        let name = self.shared.catalog().get(source.id).map_or_else(String::new, |o| o.name.clone());
        let delay = self.shared.catalog().get(source.id).and_then(|o| o.watermark().map(|w| w.delay_us)).unwrap_or(0);
        let mut lines = vec![match source.watermark {
            Some(at) if at >= END_OF_TIME => format!("  source {name}: read to its end ({})", source.state),
            Some(at) => format!("  source {name}: watermark {} ({}, epoch time {})", instant(at), source.state, instant(status.now)),
            None => format!("  source {name}: no watermark yet ({})", source.state),
        }];
        if let Some(message) = &source.message {
            lines.push(format!("    {message}"));
        }
        let speaking = source.partitions.iter().filter(|p| !p.idle && !p.closed);
        let held = speaking.min_by_key(|p| p.max_event_time).map(|p| p.partition.clone());
        for partition in &source.partitions {
            let last = partition.max_event_time.map_or_else(|| "no event yet".to_owned(), |at| format!("last event {}", instant(at)));
            let note = match () {
                () if partition.closed => ", closed",
                () if partition.idle => ", idle: set aside",
                () if held.as_deref() == Some(&partition.partition) => " <- holds the watermark",
                () => "",
            };
            lines.push(format!("    partition {}: {last}, delay {} s{note}", partition.partition, delay / 1_000_000));
        }
        lines
    }

    pub(crate) fn advance_clock(&mut self, micros: Micros) -> Result<Outcome> {
        if !self.shared.clock.is_held() {
            return Err(Error::unsupported("ADVANCE CLOCK needs a held clock: it is for tests"));
        }
        self.shared.clock.advance(micros);
        Ok(Outcome::done("ADVANCE CLOCK"))
    }

    pub(crate) async fn checkpoint(&mut self) -> Result<Outcome> {
        let checkpointer = self.shared.checkpointer.as_ref();
        let none = || Error::invalid("this database has no checkpoint URL").with_hint("start it with --checkpoint s3://… or file://…");
        checkpointer.ok_or_else(none)?.take(&self.shared.runtime).await?;
        Ok(Outcome::done("CHECKPOINT"))
    }
}

fn feeds(source: &SourceStatus, view: ObjectId, below: &[ObjectId]) -> bool {
    source.subscribers.iter().any(|s| *s == view || below.contains(s))
}

fn instant(at: Micros) -> String {
    match chrono::DateTime::from_timestamp_micros(at) {
        Some(at) => at.format("%Y-%m-%d %H:%M:%S%.f").to_string(),
        None => format!("{at} us"),
    }
}
