//! The open aggregate: takes changes into groups, tells at the end of the epoch what became of each, and forgets closed windows.

use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::compute::{is_not_null, is_null};
use arrow::datatypes::{Field, Schema, TimestampMicrosecondType};
use headwater_state::{ResidentTable, Writes};
use headwater_types::{ChangeBatch, Epoch, Error, Micros, Result, Watermarks};

use super::Aggregate;
use super::call::{Arguments, Method};
use super::difference::{Side, difference};
use super::groups::{GroupStates, Kept, Touched};
use super::layout::{GroupColumns, Layout, Part};
use super::multiset::{Multiset, Settled};
use crate::expressions::evaluate_rows;
use crate::kernels::Failures;
use crate::{Finished, Operator, Output, StatePlace, Step};

pub(crate) struct Aggregation {
    spec: Aggregate,
    calls: Vec<Kept>,
    layout: Layout,
    table: ResidentTable<GroupStates>,
    multisets: Vec<Multiset>,
    /// What the groups touched in this epoch were before it, by partition.
    before: BTreeMap<i64, Before>,
    /// Windows below are closed: the watermark at the start of the epoch.
    closed_below: Option<Micros>,
    /// Without group columns there is one group, from the first epoch on, rows or not.
    has_global_row: bool,
    slots: Vec<u32>,
}

/// The groups of a partition that an epoch touched, and the results of those that were there.
#[derive(Default)]
struct Before {
    touched: Touched,
    /// Results of `touched.old`, in pieces.
    results: Vec<Vec<ArrayRef>>,
    failures: Failures,
}

impl Aggregation {
    pub(crate) fn open(spec: &Aggregate, place: &mut StatePlace) -> Result<Self> {
        let calls = spec.kept()?;
        let layout = Layout::new(&spec.input, &spec.groups, spec.window_key, spec.window_end)?;
        let new = {
            let calls = calls.clone();
            move || GroupStates::new(&calls).expect("the kernels were made once when the state's schema was")
        };
        GroupStates::new(&calls)?;
        let table = place.next_table();
        let table = ResidentTable::open(place.store(), table, layout.key_schema(), GroupStates::schema(&calls)?, Box::new(new))?;
        let multisets = open_multisets(&calls, &layout, place)?;
        let has_global_row = spec.groups.is_empty() && table.groups() > 0;
        let (spec, before) = (spec.clone(), BTreeMap::new());
        Ok(Self { spec, calls, layout, table, multisets, before, closed_below: None, has_global_row, slots: Vec::new() })
    }

    fn is_global(&self) -> bool {
        self.spec.groups.is_empty()
    }

    /// The watermark of the window key.
    fn watermark(&self, step: &Step) -> Option<Micros> {
        step.watermarks.first()?.get(self.spec.groups[self.spec.window_key?])
    }

    /// Hands rows of closed windows to `out.late`, rows without a window to `out.failed`; gives the rest.
    fn refuse(&self, mut batch: ChangeBatch, out: &mut Output) -> Result<ChangeBatch> {
        let Some(window) = self.spec.window_key else { return Ok(batch) };
        let column = self.spec.groups[window];
        if batch.rows().column(column).null_count() > 0 {
            let times = batch.rows().column(column).clone();
            out.failed.push((batch.filter(&is_null(&times)?)?, "the window is NULL".into()));
            batch = batch.filter(&is_not_null(&times)?)?;
        }
        let Some(bound) = self.closed_below else { return Ok(batch) };
        let moments = batch.rows().column(column).as_primitive::<TimestampMicrosecondType>().values();
        if moments.iter().fold(true, |all, &at| all & (at >= bound)) {
            return Ok(batch);
        }
        let is_late: BooleanArray = moments.iter().map(|&at| Some(at < bound)).collect();
        out.late.push((batch.filter(&is_late)?, bound));
        batch.filter(&arrow::compute::not(&is_late)?)
    }

    /// Finds the slots of a part's rows, and saves the results of groups that this epoch touches for the first time.
    fn intern(&mut self, groups: &GroupColumns, part: &Part) -> Result<()> {
        let keys = groups.keys_of(&part.rows)?;
        let states = self.table.intern(part.partition, &keys, &mut self.slots)?;
        let mut found = Touched::default();
        // Groups that only grow and speak once need no look back.
        let is_watched = !(self.spec.emit_on_close && self.spec.input_append_only);
        if is_watched {
            states.touch(&self.slots, self.has_global_row, &mut found);
        }
        if groups.keys.is_empty() {
            let slot = self.slots[0];
            self.slots.resize(part.rows.len(), slot);
        }
        if found.old.is_empty() && found.new.is_empty() {
            return Ok(());
        }
        let before = self.before.entry(part.partition).or_default();
        if !found.old.is_empty() && !self.spec.emit_on_close {
            let first = before.touched.old.len();
            let mut failures = Vec::new();
            before.results.push(states.evaluate(&found.old, &mut failures)?);
            before.failures.extend(failures.into_iter().map(|(at, reason)| (first + at, reason)));
        }
        before.touched.old.append(&mut found.old);
        before.touched.new.append(&mut found.new);
        Ok(())
    }

    /// Takes one partition's rows into their groups.
    fn apply(&mut self, groups: &GroupColumns, part: &Part, args: &[Arguments], weights: Option<&[i64]>) -> Result<()> {
        self.intern(groups, part)?;
        let weights = weights.map(|w| part.rows.weights(w));
        let states = self.table.state_mut(part.partition).expect("the partition was interned");
        states.count(&self.slots, weights.as_deref());
        for (call, kept) in self.calls.iter().enumerate() {
            if matches!(kept.method, Method::Kernel(_) | Method::Accumulators) {
                states.update(call, &self.slots, &args[call].of_part(part)?, weights.as_deref())?;
            }
        }
        Ok(())
    }

    /// Brings the calls up to date that live on kept values.
    fn settle_values(&mut self) -> Result<()> {
        for number in 0..self.multisets.len() {
            let value = self.multisets[number].value();
            for settled in self.multisets[number].settle()? {
                let (rows, is_edge) = match &settled {
                    Settled::Turned(_, changes) => (changes.rows(), false),
                    Settled::Edge(_, groups, _) => (groups, true),
                };
                let groups = self.layout.of_values(rows);
                for part in groups.parts() {
                    self.intern(&groups, &part)?;
                    let states = self.table.state_mut(part.partition).expect("the partition was interned");
                    match &settled {
                        Settled::Edge(call, _, values) => states.set(*call, &self.slots, &[part.rows.of(values)?])?,
                        Settled::Turned(call, changes) => {
                            let args = Arguments { columns: vec![changes.rows().column(value).clone()], keep: None };
                            let weights = part.rows.weights(&changes.weights_or_ones());
                            states.update(*call, &self.slots, &args.of_part(&part)?, Some(&weights))?;
                        }
                    }
                    debug_assert!(!is_edge || self.slots.len() == part.rows.len());
                }
            }
        }
        Ok(())
    }

    /// Lets the kernels do what they put off until all rows of the epoch are there.
    fn settle_kernels(&mut self) -> Result<()> {
        let touched: Vec<i64> = self.table.touched().map(|(partition, _)| partition).collect();
        touched.into_iter().filter_map(|p| Some(self.table.state_mut(p)?.settle())).collect()
    }

    /// Emits what changed in `partition`, and removes groups that have no rows any more.
    fn emit_changes(&mut self, partition: i64, before: Before, out: &mut Output) -> Result<()> {
        let Touched { old, new } = before.touched;
        let old_count = old.len();
        let slots = [old, new].concat();
        let states = self.table.state(partition).expect("a touched partition is there until it closes");
        let rows = states.rows(&slots);
        if let Some(at) = rows.iter().position(|&r| r < 0) {
            return Err(Error::bug(format!("a group has {} rows: more were deleted than inserted", rows[at])));
        }
        if !self.spec.emit_on_close {
            let mut failures = Vec::new();
            let results = states.evaluate(&slots, &mut failures)?;
            let is_there = rows.iter().map(|&r| r > 0 || self.is_global()).collect();
            let keys = self.table.keys_of(partition, &slots)?;
            let groups = self.layout.output(partition, &keys, slots.len())?;
            self.log_failures(&groups, &before.failures, -1, &failures, out)?;
            self.log_failures(&groups, &failures, 1, &before.failures, out)?;
            let old = Side::of_pieces(&before.results, old_count, &before.failures)?;
            let new = Side::new(results, is_there, &failures);
            difference(&self.spec.schema, &groups, old.as_ref(), &new, out)?;
        }
        let states = self.table.state_mut(partition).expect("a touched partition is there until it closes");
        states.forget_touch(&slots);
        if !self.is_global() {
            let dead: Vec<u32> = slots.iter().zip(&rows).filter(|(_, r)| **r == 0).map(|(s, _)| *s).collect();
            if !dead.is_empty() {
                self.table.remove(partition, &dead);
            }
        }
        Ok(())
    }

    /// Logs each group of `failures` that is not in `others`, as a row of the input with the group's columns, by its reason.
    fn log_failures(&self, groups: &[ArrayRef], failures: &Failures, weight: i64, others: &Failures, out: &mut Output) -> Result<()> {
        for (at, reason) in failures.iter().filter(|f| !others.contains(f)) {
            let column = |(index, field): (usize, &std::sync::Arc<Field>)| match self.spec.groups.iter().position(|g| *g == index) {
                Some(group) => groups[group].slice(*at, 1),
                None => new_null_array(field.data_type(), 1),
            };
            let fields = self.spec.input.fields();
            let columns: Vec<ArrayRef> = fields.iter().enumerate().map(column).collect();
            let schema = Schema::new(fields.iter().map(|f| f.as_ref().clone().with_nullable(true)).collect::<Vec<_>>());
            let options = RecordBatchOptions::new().with_row_count(Some(1));
            let row = RecordBatch::try_new_with_options(schema.into(), columns, &options)?;
            out.failed.push((ChangeBatch::new(row, vec![weight])?, (*reason).to_string()));
        }
        Ok(())
    }

    /// Emits the windows below `bound` if that is asked for, and forgets them.
    fn close(&mut self, bound: Micros, out: &mut Output) -> Result<()> {
        let closed: Vec<i64> = self.table.partitions().take_while(|p| *p < bound).collect();
        for &partition in &closed {
            if self.spec.emit_on_close {
                self.emit_final(partition, out)?;
            }
            self.table.drop_partition(partition);
        }
        self.multisets.iter_mut().try_for_each(|m| m.forget_below(bound))
    }

    fn emit_final(&self, partition: i64, out: &mut Output) -> Result<()> {
        let Some((states, keys, live)) = self.table.partition(partition)? else { return Ok(()) };
        let mut failures = Vec::new();
        let results = states.evaluate(&live, &mut failures)?;
        let groups = self.layout.output(partition, &keys, live.len())?;
        self.log_failures(&groups, &failures, 1, &Vec::new(), out)?;
        let new = Side::new(results, vec![true; live.len()], &failures);
        difference(&self.spec.schema, &groups, None, &new, out)
    }

    /// The one group of an aggregate without group columns, before its first row.
    fn make_global_row(&mut self) -> Result<()> {
        let empty = GroupColumns::without_keys();
        self.intern(&empty, &Part::whole(1))?;
        Ok(())
    }
}

/// The values to keep: calls over the same argument and filter share them.
fn open_multisets(calls: &[Kept], layout: &Layout, place: &mut StatePlace) -> Result<Vec<Multiset>> {
    let mut shared: Vec<(String, Vec<(usize, Method)>)> = Vec::new();
    for (number, kept) in calls.iter().enumerate() {
        if matches!(kept.method, Method::Distinct(_) | Method::Edge(_)) {
            let values = kept.call.values_of();
            match shared.iter_mut().find(|s| s.0 == values) {
                Some((_, uses)) => uses.push((number, kept.method)),
                None => shared.push((values, vec![(number, kept.method)])),
            }
        }
    }
    shared.into_iter().map(|(_, uses)| Multiset::open(layout, &calls[uses[0].0].types[0], uses, place)).collect()
}

impl Operator for Aggregation {
    fn begin(&mut self, step: &Step) -> Result<()> {
        self.closed_below = self.closed_below.max(self.watermark(step));
        Ok(())
    }

    fn push(&mut self, _input: usize, batch: ChangeBatch, out: &mut Output) -> Result<()> {
        let batch = self.refuse(batch, out)?;
        let evaluate = |rows: &RecordBatch| self.calls.iter().map(|k| k.call.arguments(k.method, rows)).collect::<Result<Vec<_>, _>>();
        for (batch, args) in evaluate_rows(&batch, evaluate, out)? {
            let groups = self.layout.of_input(batch.rows());
            for multiset in &mut self.multisets {
                multiset.push(&groups, &args[multiset.call()], &batch)?;
            }
            for part in groups.parts() {
                self.apply(&groups, &part, &args, batch.weights())?;
            }
        }
        Ok(())
    }

    fn finish(&mut self, step: &Step, out: &mut Output) -> Result<Finished> {
        if self.is_global() && !self.has_global_row {
            self.make_global_row()?;
        }
        self.settle_values()?;
        self.settle_kernels()?;
        for (partition, before) in std::mem::take(&mut self.before) {
            self.emit_changes(partition, before, out)?;
        }
        self.has_global_row = self.is_global();
        let mut watermarks = Watermarks::none();
        if let (Some(window), Some(bound)) = (self.spec.window_key, self.watermark(step).max(self.closed_below)) {
            self.close(bound, out)?;
            watermarks.set(window, Some(bound));
            if let Some((end, windows)) = &self.spec.window_end {
                watermarks.set(*end, windows.end_of(bound));
            }
        }
        Ok(Finished { watermarks, due: None })
    }

    fn flush(&mut self, epoch: Epoch, writes: &mut Writes) -> Result<()> {
        self.table.flush(writes)?;
        self.multisets.iter_mut().try_for_each(|m| m.flush(epoch, writes))
    }

    fn state_bytes(&self) -> usize {
        self.table.bytes() + self.multisets.iter().map(Multiset::bytes).sum::<usize>()
    }

    fn state_rows(&self) -> u64 {
        self.table.groups() as u64
    }
}
