//! Aggregation in two phases: each thread adds up its own rows, whatever their groups, and at the end of the epoch the groups of all threads are merged.
//!
//! This is how windows of few groups are shared among threads. Splitting them would cost more: to put a row in the order of shards takes as long as to
//! add it up. With many groups it is the other way round: each thread would have most of them, and to merge a group costs as much as dozens of rows.

use arrow::array::ArrayRef;
use arrow::datatypes::SchemaRef;
use headwater_state::{NewState, ResidentTable, Shard, StateColumns};
use headwater_types::Result;

use super::groups::GroupStates;
use super::layout::{GroupColumns, Layout, Part, PartRows};
use super::routing::{Routed, Rows, Waiting, distinct, route};

/// A window with more groups has many. Tests are small and take both ways.
const FEW_GROUPS_MAX: usize = if cfg!(test) { 6 } else { 4_096 };

/// So many rows of a window show whether keys come again soon. Where three of four are different it has about [`FEW_GROUPS_MAX`] groups, or more.
const SAMPLE_ROWS: usize = 2_048;

/// The groups of one thread's rows, by window.
pub(crate) struct Lane {
    groups: Shard<GroupStates>,
    slots: Vec<u32>,
}

/// Groups of one window, to be merged into others.
pub(crate) struct PartialGroups {
    pub(crate) groups: GroupColumns,
    /// All of them.
    pub(crate) part: Part,
    /// What [`GroupStates`] gathers.
    pub(crate) states: Vec<ArrayRef>,
}

impl Lane {
    pub(crate) fn new(keys: SchemaRef, new: NewState<GroupStates>) -> Self {
        Self { groups: Shard::new(keys, new), slots: Vec::new() }
    }

    /// Takes the rows of windows that are not split into its groups; routes the others.
    pub(crate) fn take(&mut self, lot: Vec<Waiting>, is_split: &impl Fn(i64) -> bool) -> Result<Vec<Routed>> {
        let mut split = Vec::new();
        for waiting in lot {
            split.extend(waiting.without_whole(is_split, |rows, part| self.add(rows, part))?);
        }
        route(split, is_split)
    }

    fn add(&mut self, rows: &Rows, part: &Part) -> Result<()> {
        rows.groups.intern(part, &mut self.groups, &mut self.slots)?.add(&self.slots, rows, part)
    }

    /// Whether it has groups of this window.
    pub(crate) fn has(&self, partition: i64) -> bool {
        self.groups.state(partition).is_some()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.groups.partitions().next().is_none()
    }

    /// Takes all groups out, window by window.
    pub(crate) fn drain(&mut self, layout: &Layout) -> Result<Vec<PartialGroups>> {
        let windows: Vec<i64> = self.groups.partitions().collect();
        windows.into_iter().map(|partition| self.drain_window(partition, layout)).collect()
    }

    fn drain_window(&mut self, partition: i64, layout: &Layout) -> Result<PartialGroups> {
        self.groups.state_mut(partition).map_or(Ok(()), GroupStates::settle)?;
        let (states, keys, live) = self.groups.partition(partition)?.expect("the window was just listed");
        let keys = if layout.has_no_keys() { Vec::new() } else { keys };
        let (states, rows) = (states.gather(&live)?, live.len());
        self.groups.drop_partition(partition);
        let part = Part { partition, rows: PartRows::Slice(0, rows) };
        Ok(PartialGroups { groups: GroupColumns { window: None, keys, rows }, part, states })
    }

    pub(crate) fn bytes(&self) -> usize {
        self.groups.bytes() + self.slots.capacity() * size_of::<u32>()
    }
}

/// Whether a window that gets the rows of `part` has many groups, or will have: what comes late to an old window and early to a new one is little.
pub(crate) fn has_many_groups(table: &ResidentTable<GroupStates>, rows: &Rows, part: &Part) -> Result<bool> {
    if table.groups_of(part.partition) > FEW_GROUPS_MAX {
        return Ok(true);
    }
    let sample = part.first(SAMPLE_ROWS);
    Ok(distinct(&rows.groups.keys_of(&sample.rows)?)? * 4 > sample.rows.len() * 3)
}
