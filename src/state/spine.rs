//! Which runs of a trace merge, and when: four of a size into one, in portions paid for by what is inserted.
//!
//! Runs are sorted into sizes, each four times the one below. Four runs of one size start to merge. Every flush grants each merge twice as many
//! rows as were inserted: it needs four times its size in all, and four more runs of its size cannot come before so much was inserted. So a
//! trace of n rows has O(log n) runs and rewrites a row O(log n) times, and no epoch pays for more than a few times what it brought.
//! (The spine of differential dataflow, McSherry et al., with wider steps.)

use std::sync::Arc;

use headwater_types::Result;

use crate::merge::{Merge, Sorted};
use crate::roster::Roster;
use crate::run::{Run, RunWriter};
use crate::stack::Stack;
use crate::{Store, TableId, Writes};

/// Runs of one size that start a merge, and the ratio of sizes.
const FAN_IN: usize = 4;

/// Sizes below this are one size.
const ROWS_SMALLEST: u64 = 64;

/// Merges of so few rows are done at once.
const ROWS_AT_ONCE: u64 = 4_096;

/// Rows granted to each merge per row inserted.
const GRANT: u64 = 2;

/// Decoded bytes of a block: small, so that a lookup decodes little.
const BLOCK_BYTES: u64 = 16 << 10;

/// Rows of a block of rows of `bytes` decoded bytes in all.
pub(crate) fn block_rows(rows: u64, bytes: u64) -> usize {
    let row_bytes = (bytes / rows.max(1)).max(1);
    (BLOCK_BYTES / row_bytes).clamp(16, headwater_types::BATCH_ROWS_MAX as u64) as usize
}

struct Merging {
    inputs: Vec<Arc<Run>>,
    merge: Merge,
    output: RunWriter,
    block_rows: usize,
    granted: u64,
}

/// The merges under way. Lost at a restart, and begun anew.
pub(crate) struct Spine {
    store: Arc<Store>,
    table: TableId,
    merging: Vec<Merging>,
}

impl Spine {
    pub(crate) fn new(store: &Arc<Store>, table: TableId) -> Spine {
        Spine { store: store.clone(), table, merging: Vec::new() }
    }

    /// A portion of every merge after `inserted` rows came in as `roster`'s newest run, and new merges where they are due.
    pub(crate) fn advance(&mut self, stack: &Stack, roster: &mut Roster, inserted: u64, writes: &mut Writes) -> Result<()> {
        for merging in &mut self.merging {
            merging.granted += inserted * GRANT;
        }
        // A finished merge may make the next one due.
        loop {
            self.start_due(stack, roster)?;
            if !self.work(roster, writes)? {
                break;
            }
        }
        for merging in self.merging.iter().filter(|m| m.output.blocks() > 0) {
            roster.doom_unfinished(&merging.output, writes);
        }
        Ok(())
    }

    fn start_due(&mut self, stack: &Stack, roster: &Roster) -> Result<()> {
        let mut sizes: Vec<Vec<&Arc<Run>>> = Vec::new();
        for run in roster.listed().iter().filter(|run| !self.is_merging(run)) {
            let size = size_class(run.entry().rows);
            sizes.resize_with(sizes.len().max(size + 1), Vec::new);
            sizes[size].push(run);
        }
        for runs in sizes.iter().filter(|runs| runs.len() >= FAN_IN) {
            let inputs: Vec<Arc<Run>> = runs.iter().map(|&run| run.clone()).collect();
            self.start(stack, inputs)?;
        }
        Ok(())
    }

    /// Drops runs that lie below the floor, and begins to rewrite those of which half does.
    pub(crate) fn forget(&mut self, stack: &Stack, roster: &mut Roster, writes: &mut Writes) -> Result<()> {
        let Some(floor) = stack.floor else { return Ok(()) };
        let (mut gone, mut halved) = (Vec::new(), Vec::new());
        for run in roster.listed().iter().filter(|run| !self.is_merging(run)) {
            let fences = run.fences(&stack.orders.rows)?;
            let forgotten = floor.forgotten_fences(&fences.rows)?;
            if forgotten == fences.rows.num_rows() {
                gone.push(run.clone());
            } else if forgotten * 2 > fences.rows.num_rows() {
                halved.push(run.clone());
            }
        }
        roster.replace(&gone, None, writes)?;
        halved.into_iter().try_for_each(|run| self.start(stack, vec![run]))
    }

    fn start(&mut self, stack: &Stack, inputs: Vec<Arc<Run>>) -> Result<()> {
        let (rows, bytes) = inputs.iter().fold((0, 0), |(r, b), run| (r + run.entry().rows, b + run.entry().decoded));
        let granted = if rows <= ROWS_AT_ONCE { rows } else { 0 };
        let merge = Merge::new(&stack.schema, &stack.orders.rows, inputs.iter().cloned().map(Sorted::Run), stack.floor);
        let output = RunWriter::sorted(&self.store, self.table, &stack.schema, &stack.orders, (rows, bytes))?;
        self.merging.push(Merging { inputs, merge, output, block_rows: block_rows(rows, bytes), granted });
        Ok(())
    }

    fn is_merging(&self, run: &Arc<Run>) -> bool {
        self.merging.iter().any(|m| m.inputs.iter().any(|input| Arc::ptr_eq(input, run)))
    }

    /// Spends what was granted; true if a merge was finished.
    fn work(&mut self, roster: &mut Roster, writes: &mut Writes) -> Result<bool> {
        let mut is_any_finished = false;
        let mut at = 0;
        while at < self.merging.len() {
            if self.merging[at].work(writes)? {
                let Merging { inputs, output, .. } = self.merging.swap_remove(at);
                let run = output.finish(writes)?;
                roster.replace(&inputs, run.as_ref(), writes)?;
                is_any_finished = true;
            } else {
                at += 1;
            }
        }
        Ok(is_any_finished)
    }
}

impl Merging {
    /// Writes whole blocks as far as the grant goes; true at the end.
    fn work(&mut self, writes: &mut Writes) -> Result<bool> {
        while self.merge.consumed() < self.granted {
            match self.merge.next(self.block_rows)? {
                Some(changes) if changes.is_empty() => {}
                Some(changes) => self.output.push(changes, writes)?,
                None => return Ok(true),
            }
        }
        let rows: u64 = self.inputs.iter().map(|run| run.entry().rows).sum();
        Ok(self.merge.consumed() >= rows && self.merge.next(1)?.is_none())
    }
}

fn size_class(rows: u64) -> usize {
    (rows.max(1) / ROWS_SMALLEST).checked_ilog(FAN_IN as u64).map_or(0, |class| class as usize + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_size_is_four_times_the_one_below() {
        let classes: Vec<usize> = [1, 63, 64, 255, 256, 1_023, 1_024].into_iter().map(size_class).collect();
        assert_eq!(classes, [0, 0, 1, 1, 2, 2, 3]);
    }
}
