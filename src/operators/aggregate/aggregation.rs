//! The open aggregate: takes changes into groups, tells at the end of the epoch what became of each, and forgets closed windows.
//!
//! Rows wait until there are many or the epoch ends; below a few thousand everything runs on one thread. More are worked on by all threads, each
//! window in one of two ways. Has it many groups it is split: its rows are put in the order of their shards, and each shard takes its own. Has it
//! few, each thread adds up its rows in groups of its own, which are merged when the epoch ends.

use std::collections::BTreeMap;
use std::sync::Arc;

use headwater_state::{NewState, ResidentTable, Writes};
use headwater_types::{BATCH_ROWS_MAX, ChangeBatch, Epoch, Error, Micros, Result, Watermarks};
use rayon::prelude::*;

use super::Aggregate;
use super::call::Method;
use super::groups::{GroupStates, Kept};
use super::intake::Prepared;
use super::layout::{GroupColumns, Layout, Part};
use super::multiset::{Multiset, Settled};
use super::partial::{Lane, has_many_groups};
use super::routing::{Routed, Rows, Waiting, in_lots, route, shard_of, shard_parts};
use super::worker::{Memo, Query, Worker};
use crate::{Finished, Operator, Output, StatePlace, Step};

/// Tests are small and take both ways.
const INLINE_ROWS_MAX: usize = if cfg!(test) { 8 } else { headwater_types::INLINE_ROWS_MAX };

/// More rows than these do not wait: about an epoch. The longer they wait, the more of a shard's rows meet while its groups are in the cache.
const ARRIVED_ROWS_MAX: usize = if cfg!(test) { 32 } else { 1_048_576 };
/// … nor more bytes: a join may give much more than an epoch brought.
const ARRIVED_BYTES_MAX: usize = 64 << 20;

/// More than these do not wait for the end of the epoch to be merged.
const LANES_BYTES_MAX: usize = if cfg!(test) { 4 << 10 } else { 64 << 20 };

pub(crate) struct Aggregation {
    query: Query,
    table: ResidentTable<GroupStates>,
    memos: Vec<Memo>,
    /// One a thread.
    lanes: Vec<Lane>,
    multisets: Vec<Multiset>,
    arrived: Vec<ChangeBatch>,
    arrived_rows: usize,
    arrived_bytes: usize,
    epoch_rows: usize,
    /// Windows below are closed: the watermark at the start of the epoch.
    closed_below: Option<Micros>,
    /// Without group columns there is one group, from the first epoch on, rows or not.
    has_global_row: bool,
}

impl Aggregation {
    pub(crate) fn open(spec: &Aggregate, place: &mut StatePlace) -> Result<Self> {
        let calls = spec.kept()?;
        let layout = Layout::new(&spec.input, &spec.groups, spec.window_key, spec.window_end)?;
        GroupStates::new(&calls)?;
        let new: NewState<GroupStates> = {
            let calls = calls.clone();
            Arc::new(move || GroupStates::new(&calls).expect("the kernels were made once when the state's schema was"))
        };
        let lanes = (0..rayon::current_num_threads()).map(|_| Lane::new(layout.key_schema(), new.clone())).collect();
        let table = place.next_table();
        let table = ResidentTable::open(place.store(), table, layout.key_schema(), GroupStates::schema(&calls)?, new)?;
        let multisets = open_multisets(&calls, &layout, place)?;
        let has_global_row = spec.groups.is_empty() && table.groups() > 0;
        let memos = table.shards().iter().map(|_| Memo::default()).collect();
        let query = Query { spec: spec.clone(), calls, layout };
        Ok(Self {
            query,
            table,
            memos,
            lanes,
            multisets,
            arrived: Vec::new(),
            arrived_rows: 0,
            arrived_bytes: 0,
            epoch_rows: 0,
            closed_below: None,
            has_global_row,
        })
    }

    /// The watermark of the window key.
    fn watermark(&self, step: &Step) -> Option<Micros> {
        let spec = &self.query.spec;
        step.watermarks.first()?.get(spec.groups[spec.window_key?])
    }

    /// Takes the rows that arrived into their groups.
    fn work(&mut self, out: &mut Output) -> Result<()> {
        let arrived = std::mem::take(&mut self.arrived);
        let rows = std::mem::take(&mut self.arrived_rows);
        self.arrived_bytes = 0;
        let prepare = |batch| self.query.prepare(batch, self.closed_below);
        if rows < INLINE_ROWS_MAX {
            let prepared = arrived.into_iter().map(prepare).collect::<Result<Vec<_>>>()?;
            let waiting = self.accept(prepared, out)?;
            let is_split = |partition| self.table.is_split(partition);
            let routed = route(waiting, &is_split)?;
            return self.take_in(&routed);
        }
        let prepared = arrived.into_par_iter().map(prepare).collect::<Result<Vec<_>>>()?;
        let waiting = self.accept(prepared, out)?;
        self.split_crowded(&waiting)?;
        let is_split = |partition| self.table.is_split(partition);
        let lots = in_lots(waiting, rows.div_ceil(self.lanes.len()));
        let routed = self.lanes.par_iter_mut().zip(lots).map(|(lane, lot)| lane.take(lot, &is_split)).collect::<Result<Vec<_>>>()?;
        self.take_in(&routed.into_iter().flatten().collect::<Vec<_>>())?;
        // Few groups in each of many windows are many groups, and every thread may have all of them.
        if self.lanes.iter().map(Lane::bytes).sum::<usize>() > LANES_BYTES_MAX { self.merge_lanes() } else { Ok(()) }
    }

    /// Hands on what was refused, and the values to keep; gives the rows that wait for their groups.
    fn accept(&mut self, prepared: Vec<Prepared>, out: &mut Output) -> Result<Vec<Waiting>> {
        let mut all = Vec::with_capacity(prepared.len());
        for Prepared { waiting, refused } in prepared {
            out.late.extend(refused.late);
            out.failed.extend(refused.failed);
            for multiset in &mut self.multisets {
                waiting.iter().try_for_each(|waiting| multiset.push(&waiting.rows))?;
            }
            all.extend(waiting);
        }
        Ok(all)
    }

    /// Splits the windows that get many rows and have many groups.
    fn split_crowded(&mut self, waiting: &[Waiting]) -> Result<()> {
        if self.query.layout.has_no_keys() {
            return Ok(());
        }
        // The rows of each window, and which part has most of them.
        let mut windows: BTreeMap<i64, (usize, &Rows, &Part)> = BTreeMap::new();
        for (rows, part) in waiting.iter().flat_map(|waiting| waiting.parts.iter().map(|part| (&waiting.rows, part))) {
            let (count, largest_of, largest) = windows.entry(part.partition).or_insert((0, rows, part));
            *count += part.rows.len();
            if part.rows.len() > largest.rows.len() {
                (*largest_of, *largest) = (rows, part);
            }
        }
        for (partition, (count, rows, part)) in windows {
            let is_open = !self.table.is_split(partition) && !self.lanes.iter().any(|lane| lane.has(partition));
            if count >= INLINE_ROWS_MAX && is_open && has_many_groups(&self.table, rows, part)? {
                self.table.split(partition, shard_of)?;
            }
        }
        Ok(())
    }

    /// Each shard takes its parts.
    fn take_in(&mut self, routed: &[Routed]) -> Result<()> {
        let rows = routed.iter().flat_map(|routed| &routed.parts).map(|part| part.part.rows.len()).sum::<usize>();
        self.each(rows >= INLINE_ROWS_MAX, |number, mut worker| {
            for Routed { rows, parts } in routed {
                parts.iter().filter(|part| part.shard == number).try_for_each(|part| worker.add(rows, &part.part))?;
            }
            Ok(())
        })
    }

    /// Adds the groups that the threads have for themselves to those of all.
    fn merge_lanes(&mut self) -> Result<()> {
        if self.lanes.iter().all(Lane::is_empty) {
            return Ok(());
        }
        let layout = &self.query.layout;
        let partials = self.lanes.par_iter_mut().map(|lane| lane.drain(layout)).collect::<Result<Vec<_>>>()?;
        self.each(false, |number, mut worker| match number {
            0 => partials.iter().flatten().try_for_each(|partial| worker.merge(partial)),
            _ => Ok(()),
        })
    }

    /// Runs `step` for each shard, over all threads if that `is_much`.
    fn each(&mut self, is_much: bool, step: impl Fn(usize, Worker<'_>) -> Result<()> + Send + Sync) -> Result<()> {
        let (query, has_global_row) = (&self.query, self.has_global_row);
        let worker = |(number, (groups, memo))| step(number, Worker { query, groups, memo, has_global_row });
        let shards = self.table.shards_mut();
        if is_much {
            shards.par_iter_mut().zip(&mut self.memos).enumerate().try_for_each(worker)
        } else {
            shards.iter_mut().zip(&mut self.memos).enumerate().try_for_each(worker)
        }
    }

    /// Brings the calls up to date that live on kept values.
    fn settle_values(&mut self) -> Result<()> {
        for number in 0..self.multisets.len() {
            for settled in self.multisets[number].settle()? {
                let rows = match &settled {
                    Settled::Turned(_, changes) => changes.rows(),
                    Settled::Edge(_, groups, _) => groups,
                };
                let groups = self.query.layout.of_values(rows);
                let parts = shard_parts(&groups, &|partition| self.table.is_split(partition))?;
                self.each(rows.num_rows() >= INLINE_ROWS_MAX, |number, mut worker| {
                    let mut mine = parts.iter().filter(|part| part.shard == number);
                    mine.try_for_each(|part| worker.settle_values(&settled, &groups, &part.part))
                })?;
            }
        }
        Ok(())
    }

    /// Emits the windows below `bound` if that is asked for, and forgets them.
    fn close(&mut self, bound: Micros) -> Result<()> {
        let closed: Vec<i64> = self.table.partitions().into_iter().take_while(|p| *p < bound).collect();
        if self.query.spec.emit_on_close {
            let is_much = closed.iter().any(|partition| self.table.is_split(*partition));
            self.each(is_much, |_, mut worker| worker.emit_closed(bound))?;
        }
        closed.into_iter().for_each(|partition| self.table.drop_partition(partition));
        self.multisets.iter_mut().try_for_each(|m| m.forget_below(bound))
    }

    /// The one group of an aggregate without group columns, before its first row.
    fn make_global_row(&mut self) -> Result<()> {
        let empty = GroupColumns::without_keys();
        self.each(false, |number, mut worker| if number == 0 { worker.intern(&empty, &Part::whole(1)).map(drop) } else { Ok(()) })
    }

    /// Hands on what the shards gave; few rows as one batch.
    fn collect(&mut self, out: &mut Output) -> Result<()> {
        let mut batches = Vec::new();
        for memo in &mut self.memos {
            let Output { batches: mine, late, failed } = std::mem::take(&mut memo.out);
            batches.extend(mine);
            out.late.extend(late);
            out.failed.extend(failed);
        }
        let rows: usize = batches.iter().map(ChangeBatch::len).sum();
        if batches.len() > 2 && rows <= BATCH_ROWS_MAX {
            batches = vec![ChangeBatch::concat(&self.query.spec.schema, &batches)?];
        }
        out.batches.extend(batches);
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
        self.epoch_rows = 0;
        Ok(())
    }

    fn push(&mut self, _input: usize, batch: ChangeBatch, out: &mut Output) -> Result<()> {
        self.arrived_rows += batch.len();
        self.arrived_bytes += batch.bytes();
        self.epoch_rows += batch.len();
        self.arrived.push(batch);
        let is_much = self.arrived_rows >= ARRIVED_ROWS_MAX || self.arrived_bytes >= ARRIVED_BYTES_MAX;
        if is_much { self.work(out) } else { Ok(()) }
    }

    fn finish(&mut self, step: &Step, out: &mut Output) -> Result<Finished> {
        self.work(out)?;
        self.merge_lanes()?;
        if self.query.is_global() && !self.has_global_row {
            self.make_global_row()?;
        }
        self.settle_values()?;
        self.each(self.epoch_rows >= INLINE_ROWS_MAX, |_, mut worker| worker.finish())?;
        self.has_global_row = self.query.is_global();
        let mut watermarks = Watermarks::none();
        let spec = &self.query.spec;
        if let (Some(window), Some(bound)) = (spec.window_key, self.watermark(step).max(self.closed_below)) {
            watermarks.set(window, Some(bound));
            if let Some((end, windows)) = &spec.window_end {
                watermarks.set(*end, windows.end_of(bound));
            }
            self.close(bound)?;
        }
        self.collect(out)?;
        Ok(Finished { watermarks, due: None })
    }

    fn flush(&mut self, epoch: Epoch, writes: &mut Writes) -> Result<()> {
        if self.arrived_rows > 0 {
            return Err(Error::bug("rows wait for their groups at the end of the epoch"));
        }
        self.table.flush(writes)?;
        self.multisets.iter_mut().try_for_each(|m| m.flush(epoch, writes))
    }

    fn state_bytes(&self) -> usize {
        let lanes: usize = self.lanes.iter().map(Lane::bytes).sum();
        self.arrived_bytes + lanes + self.table.bytes() + self.multisets.iter().map(Multiset::bytes).sum::<usize>()
    }

    fn state_rows(&self) -> u64 {
        self.table.groups() as u64
    }
}
