//! A worker: one shard of an aggregate's groups in one epoch. Workers share nothing that changes, so each may have its own thread.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::datatypes::{Field, Schema};
use headwater_state::Shard;
use headwater_types::{ChangeBatch, Error, Micros, Result};

use super::Aggregate;
use super::call::Arguments;
use super::difference::{Side, difference};
use super::groups::{GroupStates, Kept, Touched};
use super::layout::{GroupColumns, Layout, Part};
use super::multiset::Settled;
use super::partial::PartialGroups;
use super::routing::Rows;
use crate::Output;
use crate::kernels::Failures;

/// What is asked: the same for all workers.
pub(crate) struct Query {
    pub(crate) spec: Aggregate,
    pub(crate) calls: Vec<Kept>,
    pub(crate) layout: Layout,
}

/// What a shard remembers of an epoch.
#[derive(Default)]
pub(crate) struct Memo {
    /// What the groups touched in this epoch were before it, by partition.
    before: BTreeMap<i64, Before>,
    /// What it has to say.
    pub(crate) out: Output,
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

pub(crate) struct Worker<'a> {
    pub(crate) query: &'a Query,
    pub(crate) groups: &'a mut Shard<GroupStates>,
    pub(crate) memo: &'a mut Memo,
    /// Without group columns there is one group, from the first epoch on, rows or not.
    pub(crate) has_global_row: bool,
}

impl Query {
    pub(crate) fn is_global(&self) -> bool {
        self.spec.groups.is_empty()
    }
}

impl Worker<'_> {
    /// Finds the slots of a part's rows, and saves the results of groups that this epoch touches for the first time. Gives the groups' states.
    pub(crate) fn intern(&mut self, groups: &GroupColumns, part: &Part) -> Result<(&mut GroupStates, &[u32])> {
        let Memo { before, slots, .. } = &mut *self.memo;
        let states = groups.intern(part, self.groups, slots)?;
        let spec = &self.query.spec;
        // Groups that only grow and speak once need no look back.
        if spec.emit_on_close && spec.input_append_only {
            return Ok((states, slots));
        }
        let mut found = Touched::default();
        states.touch(slots, self.has_global_row, &mut found);
        if found.old.is_empty() && found.new.is_empty() {
            return Ok((states, slots));
        }
        let before = before.entry(part.partition).or_default();
        if !found.old.is_empty() && !spec.emit_on_close {
            let first = before.touched.old.len();
            let mut failures = Vec::new();
            before.results.push(states.evaluate(&found.old, &mut failures)?);
            before.failures.extend(failures.into_iter().map(|(at, reason)| (first + at, reason)));
        }
        before.touched.old.append(&mut found.old);
        before.touched.new.append(&mut found.new);
        Ok((states, slots))
    }

    /// Takes the rows of `part` into their groups.
    pub(crate) fn add(&mut self, rows: &Rows, part: &Part) -> Result<()> {
        let (states, slots) = self.intern(&rows.groups, part)?;
        states.add(slots, rows, part)
    }

    /// Adds groups that were made elsewhere.
    pub(crate) fn merge(&mut self, partial: &PartialGroups) -> Result<()> {
        let (states, slots) = self.intern(&partial.groups, &partial.part)?;
        states.merge(slots, &partial.states)
    }

    /// Brings a call up to date that lives on kept values; `groups` are those of `settled`, of which `part` belongs to this shard.
    pub(crate) fn settle_values(&mut self, settled: &Settled, groups: &GroupColumns, part: &Part) -> Result<()> {
        let (states, slots) = self.intern(groups, part)?;
        match settled {
            Settled::Edge(call, _, values) => {
                debug_assert_eq!(slots.len(), part.rows.len());
                states.set(*call, slots, &[part.rows.of(values)?])
            }
            Settled::Turned(call, changes) => {
                let values = changes.rows().columns().last().expect("kept values have a column for the value");
                let args = Arguments { columns: vec![values.clone()], keep: None };
                let weights = part.rows.weights(&changes.weights_or_ones());
                states.update(*call, slots, &args.of_part(part)?, Some(&weights))
            }
        }
    }

    /// All rows of the epoch are there: emits what changed.
    pub(crate) fn finish(&mut self) -> Result<()> {
        let touched: Vec<i64> = self.groups.touched().map(|(partition, _)| partition).collect();
        touched.into_iter().filter_map(|p| Some(self.groups.state_mut(p)?.settle())).collect::<Result<()>>()?;
        for (partition, before) in std::mem::take(&mut self.memo.before) {
            self.emit_changes(partition, before)?;
        }
        Ok(())
    }

    /// Emits what changed in `partition`, and removes groups that have no rows any more.
    fn emit_changes(&mut self, partition: i64, before: Before) -> Result<()> {
        let Touched { old, new } = before.touched;
        let old_count = old.len();
        let slots = [old, new].concat();
        let states = self.groups.state(partition).expect("a touched partition is there until it closes");
        let rows = states.rows(&slots);
        if let Some(at) = rows.iter().position(|&r| r < 0) {
            return Err(Error::bug(format!("a group has {} rows: more were deleted than inserted", rows[at])));
        }
        if !self.query.spec.emit_on_close {
            let mut failures = Vec::new();
            let results = states.evaluate(&slots, &mut failures)?;
            let is_there = rows.iter().map(|&r| r > 0 || self.query.is_global()).collect();
            let keys = self.groups.keys_of(partition, &slots)?;
            let groups = self.query.layout.output(partition, &keys, slots.len())?;
            self.log_failures(&groups, &before.failures, -1, &failures)?;
            self.log_failures(&groups, &failures, 1, &before.failures)?;
            let old = Side::of_pieces(&before.results, old_count, &before.failures)?;
            let new = Side::new(results, is_there, &failures);
            difference(&self.query.spec.schema, &groups, old.as_ref(), &new, &mut self.memo.out)?;
        }
        let states = self.groups.state_mut(partition).expect("a touched partition is there until it closes");
        states.forget_touch(&slots);
        if !self.query.is_global() {
            let dead: Vec<u32> = slots.iter().zip(&rows).filter(|(_, r)| **r == 0).map(|(s, _)| *s).collect();
            if !dead.is_empty() {
                self.groups.remove(partition, &dead);
            }
        }
        Ok(())
    }

    /// Emits the windows below `bound`, which will be forgotten.
    pub(crate) fn emit_closed(&mut self, bound: Micros) -> Result<()> {
        let closed: Vec<i64> = self.groups.partitions().take_while(|p| *p < bound).collect();
        closed.into_iter().try_for_each(|partition| self.emit_final(partition))
    }

    fn emit_final(&mut self, partition: i64) -> Result<()> {
        let Some((states, keys, live)) = self.groups.partition(partition)? else { return Ok(()) };
        let mut failures = Vec::new();
        let results = states.evaluate(&live, &mut failures)?;
        let groups = self.query.layout.output(partition, &keys, live.len())?;
        self.log_failures(&groups, &failures, 1, &Vec::new())?;
        let new = Side::new(results, vec![true; live.len()], &failures);
        difference(&self.query.spec.schema, &groups, None, &new, &mut self.memo.out)
    }

    /// Logs each group of `failures` that is not in `others`, as a row of the input with the group's columns, by its reason.
    fn log_failures(&mut self, groups: &[ArrayRef], failures: &Failures, weight: i64, others: &Failures) -> Result<()> {
        let spec = &self.query.spec;
        for (at, reason) in failures.iter().filter(|f| !others.contains(f)) {
            let column = |(index, field): (usize, &Arc<Field>)| match spec.groups.iter().position(|g| *g == index) {
                Some(group) => groups[group].slice(*at, 1),
                None => new_null_array(field.data_type(), 1),
            };
            let fields = spec.input.fields();
            let columns: Vec<ArrayRef> = fields.iter().enumerate().map(column).collect();
            let schema = Schema::new(fields.iter().map(|f| f.as_ref().clone().with_nullable(true)).collect::<Vec<_>>());
            let options = RecordBatchOptions::new().with_row_count(Some(1));
            let row = RecordBatch::try_new_with_options(schema.into(), columns, &options)?;
            self.memo.out.failed.push((ChangeBatch::new(row, vec![weight])?, (*reason).to_string()));
        }
        Ok(())
    }
}
