//! For tests: runs one operator over epochs on a store in memory, with restarts, and sums up what it emits.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use headwater_state::{BlockStore, MemoryStore, Store, StoreOptions, Writes};
use headwater_types::{BATCH_ROWS_MAX, ChangeBatch, Epoch, Micros, ObjectId, Result, Watermarks};

use crate::{Operator, OperatorSpec, Output, StatePlace, Step};

/// Net rows as text.
pub(crate) type View = BTreeMap<Vec<String>, i64>;

/// An operator and all that it emitted.
pub(crate) struct Bench {
    spec: Arc<dyn OperatorSpec>,
    blocks: Arc<dyn BlockStore>,
    store: Arc<Store>,
    operator: Box<dyn Operator>,
    epoch: Epoch,
    watermarks: Vec<Watermarks>,
    pub(crate) view: View,
    pub(crate) late: View,
    pub(crate) failed: View,
    /// Of the last epoch.
    pub(crate) emitted: View,
    pub(crate) output_watermarks: Watermarks,
}

impl Bench {
    pub(crate) fn new(spec: impl OperatorSpec + 'static, inputs: usize) -> Self {
        let spec: Arc<dyn OperatorSpec> = Arc::new(spec);
        let blocks: Arc<dyn BlockStore> = Arc::new(MemoryStore::new());
        let (store, operator) = open(&spec, &blocks).unwrap();
        let watermarks = vec![Watermarks::none(); inputs];
        let (view, late, failed, emitted) = (View::new(), View::new(), View::new(), View::new());
        Self {
            spec,
            blocks,
            store,
            operator,
            epoch: Epoch(0),
            watermarks,
            view,
            late,
            failed,
            emitted,
            output_watermarks: Watermarks::none(),
        }
    }

    /// Goes on as after a restart of the process.
    pub(crate) fn reopen(&mut self) {
        (self.store, self.operator) = open(&self.spec, &self.blocks).unwrap();
    }

    /// One epoch over `input` (input number, changes), at whose end the watermarks are `watermarks` (input, column, time).
    pub(crate) fn epoch(&mut self, input: &[(usize, ChangeBatch)], watermarks: &[(usize, usize, Micros)]) {
        self.try_epoch(input, watermarks).unwrap();
    }

    pub(crate) fn try_epoch(&mut self, input: &[(usize, ChangeBatch)], watermarks: &[(usize, usize, Micros)]) -> Result<()> {
        self.epoch = self.epoch.next();
        let mut step = Step { epoch: self.epoch, now: 0, watermarks: self.watermarks.clone() };
        self.operator.begin(&step)?;
        let mut out = Output::default();
        for (number, batch) in input {
            self.operator.push(*number, batch.clone(), &mut out)?;
        }
        for &(number, column, at) in watermarks {
            self.watermarks[number].set(column, Some(at));
        }
        step.watermarks = self.watermarks.clone();
        self.output_watermarks = self.operator.finish(&step, &mut out)?.watermarks;
        let mut writes = Writes::new();
        self.operator.flush(self.epoch, &mut writes)?;
        self.store.collect_garbage(&mut writes);
        self.blocks.write(&writes)?;
        self.emitted = View::new();
        for batch in &out.batches {
            assert!(batch.len() <= BATCH_ROWS_MAX && !batch.is_empty());
            add(&mut self.emitted, batch);
            add(&mut self.view, batch);
        }
        out.late.iter().for_each(|(batch, _)| add(&mut self.late, batch));
        out.failed.iter().for_each(|(batch, reason)| add_with(&mut self.failed, batch, Some(reason)));
        Ok(())
    }
}

fn open(spec: &Arc<dyn OperatorSpec>, blocks: &Arc<dyn BlockStore>) -> Result<(Arc<Store>, Box<dyn Operator>)> {
    let store = Store::open(blocks.clone(), StoreOptions::default())?;
    let operator = spec.open(&mut StatePlace::new(store.clone(), ObjectId(1)))?;
    Ok((store, operator))
}

/// Adds `batch` to the net rows `view`.
pub(crate) fn add(view: &mut View, batch: &ChangeBatch) {
    add_with(view, batch, None);
}

fn add_with(view: &mut View, batch: &ChangeBatch, last: Option<&String>) {
    for (row, mut text) in texts(batch.rows()).into_iter().enumerate() {
        text.extend(last.cloned());
        let weight = view.entry(text.clone()).or_insert(0);
        *weight += batch.weight(row);
        if *weight == 0 {
            view.remove(&text);
        }
    }
}

/// Each row as the text of its columns; NULL is "NULL".
pub(crate) fn texts(rows: &RecordBatch) -> Vec<Vec<String>> {
    let options = FormatOptions::default().with_null("NULL");
    let columns: Vec<_> = rows.columns().iter().map(|c| ArrayFormatter::try_new(c, &options).unwrap()).collect();
    (0..rows.num_rows()).map(|row| columns.iter().map(|c| c.value(row).to_string()).collect()).collect()
}

/// A view of these rows, each once.
pub(crate) fn rows_of<const N: usize>(rows: &[[&str; N]]) -> View {
    let mut view = View::new();
    for row in rows {
        *view.entry(row.iter().map(ToString::to_string).collect()).or_insert(0) += 1;
    }
    view
}
