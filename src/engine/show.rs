//! EXPLAIN WATERMARK, and the statements that move a test's clock or take a checkpoint.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use headwater_catalog::{Object, ObjectKind};
use headwater_runtime::{PartitionStatus, SourceStatus, Status};
use headwater_types::{END_OF_TIME, Error, Micros, ObjectId, Result};

use crate::{Outcome, Session};

impl Session {
    /// Why the oldest open window is open: how far the windows of a view are closed, and for each source and table below it what holds its
    /// watermark back.
    pub(crate) async fn explain_watermark(&mut self, object: &Arc<Object>) -> Result<Outcome> {
        let status = self.shared.runtime.status().await?;
        let catalog = self.shared.catalog();
        let below = self.below(object.id);
        let mut lines = Vec::new();
        for object in below.iter().filter_map(|id| catalog.get(*id)) {
            let of_it = match &object.kind {
                ObjectKind::MaterializedView(derived) => vec![of_view(object, derived.late.is_some(), &status)],
                ObjectKind::Table(_) => vec![of_table(object, &status)],
                ObjectKind::Source(_) => of_source(object, &status, &below),
                ObjectKind::View | ObjectKind::Sink(_) => Vec::new(),
            };
            let indent = if lines.is_empty() { "" } else { "  " };
            lines.extend(of_it.into_iter().map(|line| format!("{indent}{line}")));
        }
        let text: ArrayRef = Arc::new(StringArray::from(lines));
        let schema = Arc::new(Schema::new(vec![Field::new("EXPLAIN WATERMARK", DataType::Utf8, false)]));
        Ok(Outcome::batch("EXPLAIN", RecordBatch::try_new(schema, vec![text])?))
    }

    /// `id` first, then everything that it reads, directly or through others.
    pub(crate) fn below(&self, id: ObjectId) -> Vec<ObjectId> {
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

/// How far the windows of a view are closed.
fn of_view(view: &Object, refuses_late: bool, status: &Status) -> String {
    let name = format!("view {}", view.name);
    if !refuses_late {
        return format!("{name}: it has no windows of its own: no row is late for it, it waits for no watermark");
    }
    match status.views.iter().find(|v| v.id == view.id).and_then(|v| v.watermark) {
        Some(at) if at >= END_OF_TIME => format!("{name}: all windows are closed: what it reads has ended"),
        Some(at) => format!("{name}: windows that end at or before {} are closed", instant(at)),
        None => format!("{name}: no window is closed yet"),
    }
}

/// A table's watermark, and the row that it comes from.
fn of_table(table: &Object, status: &Status) -> String {
    let name = format!("table {}", table.name);
    let Some(at) = status.tables.iter().find(|t| t.id == table.id) else { return format!("{name}: it has no watermark") };
    let watermark = at.watermark.map_or_else(|| "no watermark yet".to_owned(), |at| format!("watermark {}", instant(at)));
    let idle = if at.idle { ", idle" } else { "" };
    format!("{name}: {watermark} ({}, delay {}{idle})", last_event(at.max_event_time), delay(table))
}

/// The watermark of each pass over a source for something among `readers`, and what its partitions say.
fn of_source(source: &Object, status: &Status, readers: &[ObjectId]) -> Vec<String> {
    let is_read = |s: &&SourceStatus| s.id == source.id && (readers[0] == source.id || s.subscribers.iter().any(|r| readers.contains(r)));
    status.sources.iter().filter(is_read).flat_map(|pass| of_pass(source, pass, status.now)).collect()
}

fn of_pass(source: &Object, pass: &SourceStatus, now: Micros) -> Vec<String> {
    let name = format!("source {}", source.name);
    if source.watermark().is_none() {
        return vec![format!("{name}: it has no watermark ({})", pass.state)];
    }
    let mut lines = vec![match pass.watermark {
        Some(at) if at >= END_OF_TIME => format!("{name}: read to its end ({})", pass.state),
        Some(at) => format!("{name}: watermark {} ({}, epoch time {})", instant(at), pass.state, instant(now)),
        None => format!("{name}: no watermark yet ({})", pass.state),
    }];
    lines.extend(pass.message.iter().map(|message| format!("  {message}")));
    let speaking = pass.partitions.iter().filter(|p| !p.idle && !p.closed);
    let held = speaking.min_by_key(|p| p.max_event_time).map(|p| p.partition.as_str());
    lines.extend(pass.partitions.iter().map(|p| of_partition(p, held, &delay(source))));
    lines
}

fn of_partition(partition: &PartitionStatus, held: Option<&str>, delay: &str) -> String {
    let note = match () {
        () if partition.closed => ", closed",
        () if partition.idle => ", idle: set aside",
        () if held == Some(partition.partition.as_str()) => " <- holds the watermark",
        () => "",
    };
    format!("  partition {}: {}, delay {delay}{note}", partition.partition, last_event(partition.max_event_time))
}

fn last_event(at: Option<Micros>) -> String {
    at.map_or_else(|| "no event yet".to_owned(), |at| format!("greatest event time {}", instant(at)))
}

/// How far the watermark of `object` stays behind its greatest event time.
fn delay(object: &Object) -> String {
    let micros = object.watermark().map_or(0, |w| w.delay_us);
    let fraction = format!("{:06}", micros % 1_000_000);
    let text = format!("{}.{}", micros / 1_000_000, fraction);
    format!("{} s", text.trim_end_matches('0').trim_end_matches('.'))
}

fn instant(at: Micros) -> String {
    match chrono::DateTime::from_timestamp_micros(at) {
        Some(at) => at.format("%Y-%m-%d %H:%M:%S%.f").to_string(),
        None => format!("{at} us"),
    }
}
