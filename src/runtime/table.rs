//! A running table: rows by INSERT, UPDATE and DELETE, checked by key as they are applied.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, UInt32Array};
use arrow::compute;
use headwater_state::{Relation, Shape, Store, TableId, Writes};
use headwater_types::{ChangeBatch, Epoch, Error, Micros, Result, RowOrder, Watermarks};
use serde::{Deserialize, Serialize};

use crate::diverted::{Beside, open_table_errors};
use crate::event_time::{self, PartitionClock};
use crate::{Conflict, Refused, TableDef, TableStatus, TableWrite, persisted};

/// The stored form of a table's event time.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct TableRecord {
    clock: PartitionClock,
    watermark: Option<Micros>,
}

/// What one write did.
#[derive(Debug, Default)]
pub(crate) struct Applied {
    pub inserted: u64,
    /// For each row to insert whether it went in; none where all did.
    pub kept: Option<BooleanArray>,
    pub deleted: u64,
    pub refused: u64,
}

/// A write that can be applied: its changes, deletions first.
pub(crate) struct Checked {
    applied: Applied,
    batches: Vec<ChangeBatch>,
    refused: Vec<Refused>,
    max_seen: Option<Micros>,
}

/// A table that runs.
pub(crate) struct RunningTable {
    pub def: TableDef,
    pub relation: Relation,
    /// What changed in this epoch, for the views and sinks on it.
    pub changes: Vec<ChangeBatch>,
    /// Rows without a usable event time; only where the table has a watermark.
    pub errors: Option<Beside>,
    key: Option<RowOrder>,
    record: TableRecord,
    dirty: bool,
}

impl RunningTable {
    /// The table as it was at the last commit; its silence counts from `now`.
    pub fn open(store: &Arc<Store>, def: TableDef, now: Micros) -> Result<Self> {
        let append = def.append_only && def.primary_key.is_empty();
        let shape = if append { Shape::AppendOnly } else { Shape::Keyed(def.primary_key.clone()) };
        let relation = Relation::open(store, TableId::new(def.id, TableId::ROWS), def.schema.clone(), shape)?;
        let key = if def.primary_key.is_empty() { None } else { Some(RowOrder::new(&def.schema, &def.primary_key)?) };
        let record: Option<TableRecord> = persisted::get(store.blocks().as_ref(), &persisted::object_key("table", def.id))?;
        let mut record = record.unwrap_or_default();
        // A table holds nothing back: it is always at its end.
        (record.clock.at_end, record.clock.active_at) = (true, now);
        let errors = def.event_time.is_some().then(|| open_table_errors(store, def.id)).transpose()?;
        Ok(Self { def, relation, changes: Vec::new(), errors, key, record, dirty: false })
    }

    /// The epoch starts.
    pub fn begin(&mut self) {
        self.changes.clear();
        self.errors.iter_mut().for_each(Beside::begin);
    }

    /// The table's watermark by column.
    pub fn watermarks(&self) -> Watermarks {
        let mut watermarks = Watermarks::none();
        if let Some(event_time) = &self.def.event_time {
            watermarks.set(event_time.column, self.record.watermark);
        }
        watermarks
    }

    /// Finds out what `write` changes, without changing it: first its deletions, then its insertions.
    ///
    /// # Errors
    /// 40001 if a row to delete is not there any more; 23505 for a key that is there already.
    pub fn check(&self, write: TableWrite, now: Micros) -> Result<Checked> {
        let TableWrite { delete, insert, refused, conflict } = write;
        let max_seen = self.latest(insert.as_ref(), now)?;
        let rows_refused = refused.iter().map(|refused| refused.rows.num_rows() as u64).sum();
        let mut applied = Applied { refused: rows_refused, ..Applied::default() };
        let mut batches = Vec::new();
        if let Some(rows) = delete.filter(|d| d.num_rows() > 0) {
            self.check_present(&rows)?;
            applied.deleted = rows.num_rows() as u64;
            batches.push(ChangeBatch::insertions(rows).negate());
        }
        if let Some(rows) = insert.filter(|i| i.num_rows() > 0) {
            let (rows, kept) = self.resolve(rows, conflict, &mut batches)?;
            applied.inserted = rows.num_rows() as u64;
            applied.kept = kept;
            batches.push(ChangeBatch::insertions(rows));
        }
        batches.retain(|b| !b.is_empty());
        Ok(Checked { applied, batches, refused, max_seen })
    }

    /// Makes the changes of a write that was checked since the last one was applied.
    ///
    /// # Errors
    /// Those of the relation.
    pub fn apply(&mut self, checked: Checked, now: Micros) -> Result<Applied> {
        for batch in checked.batches {
            self.relation.apply(batch.clone())?;
            self.changes.push(batch);
        }
        for refused in &checked.refused {
            let errors = self.errors.as_mut().ok_or_else(|| Error::bug("rows are refused by a table without a watermark"))?;
            errors.take_refused(refused, now)?;
        }
        if checked.max_seen.is_some() {
            self.record.clock.active_at = now;
        }
        if checked.max_seen > self.record.clock.max_seen {
            self.record.clock.max_seen = checked.max_seen;
            self.dirty = true;
        }
        Ok(checked.applied)
    }

    /// The greatest event time of rows that were dated at the call: epoch time never goes back, so none of them is too far ahead now.
    fn latest(&self, insert: Option<&RecordBatch>, now: Micros) -> Result<Option<Micros>> {
        let (Some(event_time), Some(rows)) = (&self.def.event_time, insert) else { return Ok(None) };
        let dated = event_time.date(rows.clone(), now)?;
        if dated.refused.is_empty() { Ok(dated.max_seen) } else { Err(Error::bug("rows without a usable event time were not taken out")) }
    }

    /// Every row to delete must be there as often as it is deleted.
    fn check_present(&self, rows: &RecordBatch) -> Result<()> {
        let all: Vec<usize> = (0..rows.num_columns()).collect();
        let order = RowOrder::new(&rows.schema(), &all)?;
        let net = headwater_types::consolidate(&rows.schema(), &order, &[ChangeBatch::insertions(rows.clone())])?;
        let present = self.relation.weights_of(net.rows())?;
        if present.iter().enumerate().any(|(row, present)| *present < net.weight(row)) {
            return Err(Error::invalid("could not serialize access due to concurrent update").with_sqlstate("40001"));
        }
        Ok(())
    }

    /// The rows of `rows` that go in, and which they are where some are left out; those that they replace are added to `batches` as deletions.
    fn resolve(
        &self,
        rows: RecordBatch,
        conflict: Conflict,
        batches: &mut Vec<ChangeBatch>,
    ) -> Result<(RecordBatch, Option<BooleanArray>)> {
        let Some(key) = &self.key else { return Ok((rows, None)) };
        let keys: Vec<ArrayRef> = key.columns().iter().map(|&c| rows.column(c).clone()).collect();
        let mut pending = ChangeBatch::empty(rows.schema());
        if !batches.is_empty() {
            pending = ChangeBatch::concat(&rows.schema(), batches)?;
        }
        let stored = self.stored_at(&keys, &pending, key)?;
        match conflict {
            Conflict::Refuse => {
                let order = key.convert(&keys)?;
                let mut seen = std::collections::HashSet::with_capacity(rows.num_rows());
                let twice = (0..rows.num_rows()).find(|&r| stored[r].is_some() || !seen.insert(order.row(r)));
                match twice {
                    Some(row) => Err(duplicate_key(&self.def.name, &self.def.primary_key, &rows, row)),
                    None => Ok((rows, None)),
                }
            }
            Conflict::Nothing => {
                let order = key.convert(&keys)?;
                let mut seen = std::collections::HashSet::with_capacity(rows.num_rows());
                let keep: BooleanArray = (0..rows.num_rows()).map(|r| Some(stored[r].is_none() && seen.insert(order.row(r)))).collect();
                Ok((compute::filter_record_batch(&rows, &keep)?, Some(keep)))
            }
            Conflict::Replace => Ok((self.replace(rows, &keys, &stored, batches)?, None)),
        }
    }

    /// For each key the stored row, as it is before this write's own deletions are taken off.
    fn stored_at(&self, keys: &[ArrayRef], pending: &ChangeBatch, key: &RowOrder) -> Result<Vec<Option<RecordBatch>>> {
        let found = self.relation.lookup(keys)?;
        let all: Vec<usize> = (0..self.def.schema.fields().len()).collect();
        let order = RowOrder::new(&self.def.schema, &all)?;
        let rows = keys.first().map_or(0, |k| k.len());
        let mut net: Vec<std::collections::BTreeMap<Vec<u8>, (i64, usize)>> = vec![std::collections::BTreeMap::new(); rows];
        let bytes = order.rows(found.rows.rows())?;
        for (at, &probe) in found.probe.iter().enumerate() {
            let entry = net[probe as usize].entry(bytes.row(at).as_ref().to_vec()).or_insert((0, at));
            entry.0 += found.rows.weight(at);
        }
        let deleted: std::collections::HashSet<Vec<u8>> = {
            let keys = key.rows(pending.rows())?;
            (0..pending.len()).map(|r| keys.row(r).as_ref().to_vec()).collect()
        };
        let probe_keys = key.convert(keys)?;
        let row_of = |(row, net): (usize, &std::collections::BTreeMap<Vec<u8>, (i64, usize)>)| {
            let gone = deleted.contains(probe_keys.row(row).as_ref());
            let live = net.values().find(|(weight, _)| *weight > 0).filter(|_| !gone);
            live.map(|(_, at)| found.rows.rows().slice(*at, 1))
        };
        Ok(net.iter().enumerate().map(row_of).collect())
    }

    /// The last row of each key replaces the stored one.
    fn replace(
        &self,
        rows: RecordBatch,
        keys: &[ArrayRef],
        stored: &[Option<RecordBatch>],
        batches: &mut Vec<ChangeBatch>,
    ) -> Result<RecordBatch> {
        let key = self.key.as_ref().expect("only tables with a key replace");
        let order = key.convert(keys)?;
        let mut last = std::collections::BTreeMap::new();
        for row in 0..rows.num_rows() {
            last.insert(order.row(row), row);
        }
        for row in last.values() {
            if let Some(old) = &stored[*row] {
                batches.push(ChangeBatch::insertions(old.clone()).negate());
            }
        }
        let mut kept: Vec<u32> = last.values().map(|&r| u32::try_from(r).expect("a batch has fewer than 2^32 rows")).collect();
        kept.sort_unstable();
        Ok(compute::take_record_batch(&rows, &UInt32Array::from(kept))?)
    }

    /// The epoch's end: event time moves, changes go into the batch.
    pub fn finish(&mut self, now: Micros) {
        if let Some(event_time) = &self.def.event_time {
            let clocks = std::iter::once(&self.record.clock);
            let watermark = event_time::watermark(event_time, clocks, now, self.record.watermark);
            self.dirty |= watermark != self.record.watermark;
            self.record.watermark = watermark;
        }
    }

    /// How its event time stands, if it has a watermark.
    pub fn status(&self, now: Micros) -> Option<TableStatus> {
        let event_time = self.def.event_time.as_ref()?;
        let TableRecord { clock, watermark } = &self.record;
        let idle = clock.is_idle(event_time, now);
        Some(TableStatus { id: self.def.id, watermark: *watermark, max_event_time: clock.max_seen, idle })
    }

    /// When its event time moves on without an INSERT, if it does.
    pub fn due(&self, now: Micros) -> Option<Micros> {
        event_time::idle_due(self.def.event_time.as_ref()?, std::iter::once(&self.record.clock), now)
    }

    pub fn flush(&mut self, epoch: Epoch, writes: &mut Writes) -> Result<()> {
        self.relation.flush(epoch, writes)?;
        if let Some(errors) = &mut self.errors {
            errors.flush(epoch, writes)?;
        }
        if std::mem::take(&mut self.dirty) {
            persisted::put(writes, persisted::object_key("table", self.def.id), &self.record)?;
        }
        Ok(())
    }
}

/// The error of a row whose `key` is in `table` already.
#[must_use]
pub fn duplicate_key(table: &str, key: &[usize], rows: &RecordBatch, row: usize) -> Error {
    let text = |c: &usize| {
        let value = arrow::util::display::array_value_to_string(rows.column(*c), row).unwrap_or_default();
        (rows.schema().field(*c).name().clone(), value)
    };
    let (names, values): (Vec<String>, Vec<String>) = key.iter().map(text).unzip();
    let error = Error::exists(format!("duplicate key value violates unique constraint \"{table}_pkey\""));
    error.with_detail(format!("Key ({})=({}) already exists.", names.join(", "), values.join(", "))).with_sqlstate("23505")
}
