//! The sum of sorted runs, streamed: rows in order, weights of equal rows added, what comes to nothing left out.

use std::sync::Arc;

use arrow::array::{Array, BooleanArray, RecordBatch, TimestampMicrosecondArray};
use arrow::compute::interleave_record_batch;
use headwater_types::{ChangeBatch, Error, Micros, Result, RowOrder};

use crate::block::Block;
use crate::filter::Filter;
use crate::run::Run;

/// Something sorted and net: a run, or a batch that is in memory only.
#[derive(Clone)]
pub(crate) enum Sorted {
    Run(Arc<Run>),
    Fresh(Arc<Block>),
}

impl Sorted {
    pub(crate) fn blocks(&self) -> u32 {
        match self {
            Sorted::Run(run) => run.blocks(),
            Sorted::Fresh(_) => 1,
        }
    }

    /// The sum of all weights.
    pub(crate) fn net(&self) -> i64 {
        match self {
            Sorted::Run(run) => run.entry().net,
            Sorted::Fresh(block) => block.changes().weights().map_or(block.len() as i64, |weights| weights.iter().sum()),
        }
    }

    /// Encoded bytes of the blocks; those in memory where it is in memory only.
    pub(crate) fn stored_bytes(&self) -> u64 {
        match self {
            Sorted::Run(run) => run.entry().bytes,
            Sorted::Fresh(block) => block.bytes() as u64,
        }
    }

    pub(crate) fn is_filtered(&self) -> bool {
        matches!(self, Sorted::Run(run) if run.entry().filter)
    }

    pub(crate) fn filter(&self) -> Result<Option<&Filter>> {
        match self {
            Sorted::Run(run) => run.filter(),
            Sorted::Fresh(_) => Ok(None),
        }
    }

    pub(crate) fn block(&self, number: u32) -> Result<Arc<Block>> {
        match self {
            Sorted::Run(run) => run.block(number),
            Sorted::Fresh(block) => Ok(block.clone()),
        }
    }

    fn block_once(&self, number: u32) -> Result<Arc<Block>> {
        match self {
            Sorted::Run(run) => run.block_once(number),
            Sorted::Fresh(block) => Ok(block.clone()),
        }
    }
}

/// Which rows are forgotten: those whose column `column`, first in the order, is below `below`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Floor {
    pub(crate) column: usize,
    pub(crate) below: Micros,
}

impl Floor {
    /// How many of a run's fences lie below; all of them only if every row does.
    pub(crate) fn forgotten_fences(&self, fences: &RecordBatch) -> Result<usize> {
        let remaining = self.remaining(fences)?;
        Ok(remaining.map_or(0, |remaining| remaining.false_count()))
    }

    /// True for the rows that remain; none if all do.
    pub(crate) fn remaining(&self, rows: &RecordBatch) -> Result<Option<BooleanArray>> {
        let times = rows.column(self.column).as_any().downcast_ref::<TimestampMicrosecondArray>();
        let times = times.ok_or_else(|| Error::bug("forgotten rows need a timestamp in microseconds"))?;
        let is_gone = |row: usize| times.is_valid(row) && times.value(row) < self.below;
        if !(0..times.len()).any(is_gone) {
            return Ok(None);
        }
        Ok(Some((0..times.len()).map(|row| Some(!is_gone(row))).collect()))
    }
}

struct Cursor {
    source: Sorted,
    next_block: u32,
    block: Option<Arc<Block>>,
    row: usize,
}

impl Cursor {
    /// Makes `row` a row of `block`; false at the end.
    fn settle(&mut self, order: &RowOrder, floor: Option<Floor>) -> Result<bool> {
        loop {
            if self.block.as_ref().is_some_and(|block| self.row < block.len()) {
                return Ok(true);
            }
            self.row = 0;
            self.block = None;
            if self.next_block == self.source.blocks() {
                return Ok(false);
            }
            let mut block = self.source.block_once(self.next_block)?;
            self.next_block += 1;
            if let Some(floor) = floor
                && let Some(remaining) = floor.remaining(block.changes().rows())?
            {
                block = Arc::new(Block::new(block.changes().filter(&remaining)?));
            }
            block.keys(order)?;
            self.block = Some(block);
        }
    }

    fn block(&self) -> &Arc<Block> {
        self.block.as_ref().expect("an active cursor stands on a row")
    }

    fn head<'a>(&'a self, order: &RowOrder) -> Result<&'a [u8]> {
        Ok(self.block().keys(order)?.row(self.row).data())
    }
}

/// Rows picked for one output batch: (block, row) and weight.
#[derive(Default)]
struct Picked {
    blocks: Vec<Arc<Block>>,
    rows: Vec<(usize, usize)>,
    weights: Vec<i64>,
}

impl Picked {
    fn block(&mut self, block: &Arc<Block>) -> usize {
        // The blocks of one batch are few, and the last one used is the likeliest.
        match self.blocks.iter().rposition(|b| Arc::ptr_eq(b, block)) {
            Some(at) => at,
            None => {
                self.blocks.push(block.clone());
                self.blocks.len() - 1
            }
        }
    }

    fn range(&mut self, block: &Arc<Block>, from: usize, to: usize) {
        let at = self.block(block);
        self.rows.extend((from..to).map(|row| (at, row)));
        match block.changes().weights() {
            Some(weights) => self.weights.extend_from_slice(&weights[from..to]),
            None => self.weights.resize(self.rows.len(), 1),
        }
    }

    fn one(&mut self, block: &Arc<Block>, row: usize, weight: i64) {
        let at = self.block(block);
        self.rows.push((at, row));
        self.weights.push(weight);
    }

    fn finish(self) -> Result<ChangeBatch> {
        let batches: Vec<&RecordBatch> = self.blocks.iter().map(|b| b.changes().rows()).collect();
        let rows = interleave_record_batch(&batches, &self.rows)?;
        if self.weights.iter().all(|&w| w == 1) {
            return Ok(ChangeBatch::insertions(rows));
        }
        ChangeBatch::new(rows, self.weights)
    }
}

/// A merge of sorted inputs that can be stopped after any batch.
pub(crate) struct Merge {
    order: Arc<RowOrder>,
    floor: Option<Floor>,
    /// Those not at their end, by the row they stand on.
    active: Vec<Cursor>,
    waiting: Vec<Cursor>,
    consumed: u64,
}

impl Merge {
    pub(crate) fn new(order: &Arc<RowOrder>, inputs: impl IntoIterator<Item = Sorted>, floor: Option<Floor>) -> Merge {
        let waiting = inputs.into_iter().map(|source| Cursor { source, next_block: 0, block: None, row: 0 }).collect();
        Merge { order: order.clone(), floor, active: Vec::new(), waiting, consumed: 0 }
    }

    /// Input rows read so far.
    pub(crate) fn consumed(&self) -> u64 {
        self.consumed
    }

    /// The next at most `rows_max` net rows; none at the end. May be fewer than there are.
    pub(crate) fn next(&mut self, rows_max: usize) -> Result<Option<ChangeBatch>> {
        while let Some(cursor) = self.waiting.pop() {
            self.activate(cursor)?;
        }
        let mut picked = Picked::default();
        while picked.rows.len() < rows_max && !self.active.is_empty() {
            if let [last] = &self.active[..]
                && picked.rows.is_empty()
                && (last.block().len() - last.row) * 2 >= rows_max
            {
                return self.next_of_last(rows_max).map(Some);
            }
            self.pick(&mut picked, rows_max)?;
        }
        if picked.rows.is_empty() {
            return Ok(None);
        }
        picked.finish().map(Some)
    }

    /// One input is left: its blocks pass as they are.
    fn next_of_last(&mut self, rows_max: usize) -> Result<ChangeBatch> {
        let mut cursor = self.active.pop().expect("one cursor is active");
        let length = (cursor.block().len() - cursor.row).min(rows_max);
        let changes = cursor.block().changes().slice(cursor.row, length);
        cursor.row += length;
        self.consumed += length as u64;
        self.activate(cursor)?;
        Ok(changes)
    }

    /// Inserts a cursor where it belongs among the active ones; drops it at its end.
    fn activate(&mut self, mut cursor: Cursor) -> Result<()> {
        if !cursor.settle(&self.order, self.floor)? {
            return Ok(());
        }
        let head = cursor.head(&self.order)?;
        let mut at = 0;
        // Few cursors, and one that moved on a little stays near the front.
        while at < self.active.len() && self.active[at].head(&self.order)? < head {
            at += 1;
        }
        self.active.insert(at, cursor);
        Ok(())
    }

    /// Picks from the first cursor all rows below the second's; or, where both are equal, that one row of all that have it.
    fn pick(&mut self, picked: &mut Picked, rows_max: usize) -> Result<()> {
        let mut first = self.active.remove(0);
        let block = first.block().clone();
        let keys = block.keys(&self.order)?;
        let limit = block.len().min(first.row + (rows_max - picked.rows.len()));
        let to = match self.active.first() {
            None => limit,
            Some(second) => {
                let bound = second.head(&self.order)?;
                lower_bound(first.row, limit, |row| keys.row(row).data() < bound)
            }
        };
        if to > first.row {
            picked.range(&block, first.row, to);
            self.consumed += (to - first.row) as u64;
            first.row = to;
            return self.activate(first);
        }
        let mut weight = block.changes().weight(first.row);
        let row = first.row;
        let mut equal = 0;
        while equal < self.active.len() && self.active[equal].head(&self.order)? == keys.row(row).data() {
            weight += self.active[equal].block().changes().weight(self.active[equal].row);
            equal += 1;
        }
        if weight != 0 {
            picked.one(&block, row, weight);
        }
        self.consumed += 1 + equal as u64;
        let moved: Vec<Cursor> = self.active.drain(..equal).chain([first]).collect();
        for mut cursor in moved {
            cursor.row += 1;
            self.activate(cursor)?;
        }
        Ok(())
    }
}

/// The first row in `from..to` for which `is_below` is false, found by doubling steps: near rows are found in few.
pub(crate) fn lower_bound(from: usize, to: usize, is_below: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut step) = (from, 1);
    while low + step <= to && is_below(low + step - 1) {
        low += step;
        step *= 2;
    }
    let mut high = to.min(low + step - 1);
    while low < high {
        let middle = low + (high - low) / 2;
        if is_below(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

/// The batches of a merge as an iterator.
pub(crate) struct MergedBatches {
    merge: Merge,
    rows_max: usize,
    is_done: bool,
}

impl MergedBatches {
    pub(crate) fn new(merge: Merge, rows_max: usize) -> MergedBatches {
        MergedBatches { merge, rows_max, is_done: false }
    }
}

impl Iterator for MergedBatches {
    type Item = Result<ChangeBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_done {
            return None;
        }
        let next = self.merge.next(self.rows_max).transpose();
        self.is_done = !matches!(next, Some(Ok(_)));
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lower_bound_finds_every_place() {
        for to in 0..40 {
            for from in 0..=to {
                for bound in from..=to {
                    assert_eq!(lower_bound(from, to, |row| row < bound), bound, "{from}..{to}");
                }
            }
        }
    }
}
