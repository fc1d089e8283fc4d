//! The sum of sorted runs, streamed: rows in order, weights of equal rows added, what comes to nothing left out.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{Array, BooleanArray, RecordBatch, TimestampMicrosecondArray};
use arrow::compute::interleave_record_batch;
use arrow::datatypes::SchemaRef;
use headwater_types::{ChangeBatch, Error, Micros, Result, RowOrder, order_prefix};

use crate::block::Block;
use crate::filter::Filter;
use crate::run::Run;

/// Rows read for one output row, at most, where rows cancel out: a portion of a merge has an end.
const CANCELLED_MAX: usize = 8;

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
    /// The first bytes of the row: most comparisons end here.
    prefix: u128,
}

impl Cursor {
    /// Makes `row` a row of `block`; false at the end.
    fn settle(&mut self, order: &RowOrder, floor: Option<Floor>) -> Result<bool> {
        loop {
            if self.block.as_ref().is_some_and(|block| self.row < block.len()) {
                self.prefix = order_prefix(self.head(order)?);
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

    fn compare(&self, other: &Cursor, order: &RowOrder) -> Result<Ordering> {
        match self.prefix.cmp(&other.prefix) {
            Ordering::Equal => Ok(self.head(order)?.cmp(other.head(order)?)),
            unequal => Ok(unequal),
        }
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

    fn finish(self, schema: &SchemaRef) -> Result<ChangeBatch> {
        if self.rows.is_empty() {
            return Ok(ChangeBatch::empty(schema.clone()));
        }
        let batches: Vec<&RecordBatch> = self.blocks.iter().map(|b| b.changes().rows()).collect();
        let rows = interleave_record_batch(&batches, &self.rows)?;
        if self.weights.iter().all(|&w| w == 1) {
            return Ok(ChangeBatch::insertions(rows));
        }
        ChangeBatch::new(rows, self.weights)
    }
}

/// A merge of sorted inputs that can be stopped after any batch.
#[allow(clippy::vec_box, reason = "cursors change places at every step: eight bytes move, not eighty")]
pub(crate) struct Merge {
    schema: SchemaRef,
    order: Arc<RowOrder>,
    floor: Option<Floor>,
    /// Those not at their end, by the row they stand on.
    active: Vec<Box<Cursor>>,
    /// Those that have to find their place among the active ones.
    waiting: Vec<Box<Cursor>>,
    consumed: u64,
}

impl Merge {
    pub(crate) fn new(schema: &SchemaRef, order: &Arc<RowOrder>, inputs: impl IntoIterator<Item = Sorted>, floor: Option<Floor>) -> Merge {
        let cursor = |source| Box::new(Cursor { source, next_block: 0, block: None, row: 0, prefix: 0 });
        let waiting = inputs.into_iter().map(cursor).collect();
        Merge { schema: schema.clone(), order: order.clone(), floor, active: Vec::new(), waiting, consumed: 0 }
    }

    /// Input rows read so far.
    pub(crate) fn consumed(&self) -> u64 {
        self.consumed
    }

    /// The next at most `rows_max` net rows; none at the end. May be fewer than there are, even no row where many cancelled out.
    pub(crate) fn next(&mut self, rows_max: usize) -> Result<Option<ChangeBatch>> {
        self.settle_waiting()?;
        if self.active.is_empty() {
            return Ok(None);
        }
        let mut picked = Picked::default();
        let consumed_max = self.consumed + (rows_max * CANCELLED_MAX) as u64;
        while picked.rows.len() < rows_max && self.consumed < consumed_max {
            match &self.active[..] {
                [] => break,
                [last] if picked.rows.is_empty() && (last.block().len() - last.row) * 2 >= rows_max => {
                    return self.next_of_last(rows_max).map(Some);
                }
                _ => self.pick(&mut picked, rows_max)?,
            }
            self.settle_waiting()?;
        }
        picked.finish(&self.schema).map(Some)
    }

    /// One input is left: its blocks pass as they are.
    fn next_of_last(&mut self, rows_max: usize) -> Result<ChangeBatch> {
        let mut cursor = self.active.pop().expect("one cursor is active");
        let length = (cursor.block().len() - cursor.row).min(rows_max);
        let changes = cursor.block().changes().slice(cursor.row, length);
        cursor.row += length;
        self.consumed += length as u64;
        self.waiting.push(cursor);
        Ok(changes)
    }

    /// Inserts each waiting cursor where it belongs among the active ones; drops it at its end.
    fn settle_waiting(&mut self) -> Result<()> {
        while let Some(mut cursor) = self.waiting.pop() {
            if !cursor.settle(&self.order, self.floor)? {
                continue;
            }
            let mut at = 0;
            // Few cursors, and one that moved on a little stays near the front.
            while at < self.active.len() && self.active[at].compare(&cursor, &self.order)? == Ordering::Less {
                at += 1;
            }
            self.active.insert(at, cursor);
        }
        Ok(())
    }

    /// Picks from the first cursor all rows below the second's; or, where both are equal, that one row of all that have it.
    fn pick(&mut self, picked: &mut Picked, rows_max: usize) -> Result<()> {
        let mut first = self.active.remove(0);
        let mut equal = 0;
        while equal < self.active.len() && self.active[equal].compare(&first, &self.order)? == Ordering::Equal {
            equal += 1;
        }
        if equal > 0 {
            return self.pick_equal(picked, first, equal);
        }
        let (block, row) = (first.block(), first.row);
        let limit = block.len().min(row + (rows_max - picked.rows.len()));
        let to = match self.active.first() {
            None => limit,
            Some(second) => {
                let (keys, bound) = (block.keys(&self.order)?, second.head(&self.order)?);
                lower_bound(row + 1, limit, |row| keys.row(row).data() < bound)
            }
        };
        picked.range(block, row, to);
        self.consumed += (to - row) as u64;
        first.row = to;
        self.waiting.push(first);
        Ok(())
    }

    /// One row that `first` and the first `equal` active cursors have.
    fn pick_equal(&mut self, picked: &mut Picked, first: Box<Cursor>, equal: usize) -> Result<()> {
        let weight_of = |cursor: &Cursor| cursor.block().changes().weight(cursor.row);
        let weight = weight_of(&first) + self.active[..equal].iter().map(|cursor| weight_of(cursor)).sum::<i64>();
        if weight != 0 {
            picked.one(first.block(), first.row, weight);
        }
        self.consumed += 1 + equal as u64;
        let moved = self.waiting.len();
        self.waiting.push(first);
        self.waiting.extend(self.active.drain(..equal));
        self.waiting[moved..].iter_mut().for_each(|cursor| cursor.row += 1);
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
        while !self.is_done {
            match self.merge.next(self.rows_max).transpose() {
                Some(Ok(batch)) if batch.is_empty() => {}
                Some(Ok(batch)) => return Some(Ok(batch)),
                last => {
                    self.is_done = true;
                    return last;
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Int64Array};

    use super::*;

    #[test]
    fn a_portion_ends_where_rows_cancel_out() {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..5_000));
        let rows = RecordBatch::try_from_iter([("n", numbers)]).unwrap();
        let gone = ChangeBatch::new(rows.clone(), (0..5_000).map(|n| if n == 4_321 { 1 } else { -1 }).collect::<Vec<i64>>()).unwrap();
        let order = Arc::new(RowOrder::new(&rows.schema(), &[0]).unwrap());
        let inputs = [ChangeBatch::insertions(rows.clone()), gone].map(|changes| Sorted::Fresh(Arc::new(Block::new(changes))));
        let mut merge = Merge::new(&rows.schema(), &order, inputs, None);
        let (mut before, mut found) = (0, Vec::new());
        while let Some(changes) = merge.next(10).unwrap() {
            assert!(merge.consumed() - before <= 10 * CANCELLED_MAX as u64 + 1);
            before = merge.consumed();
            found.extend((0..changes.len()).map(|row| (changes.rows().slice(row, 1), changes.weight(row))));
        }
        assert_eq!(before, 10_000);
        assert_eq!(found, [(rows.slice(4_321, 1), 2)]);
    }

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
