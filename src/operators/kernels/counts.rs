//! Counts: of rows where no argument is NULL, and of true and false ones.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array};
use arrow::buffer::NullBuffer;
use arrow::datatypes::Int64Type;
use headwater_state::StateColumns;
use headwater_types::Result;

use super::{Failures, Kernel, each, pick};

/// count(…): how many rows have no NULL argument. State: one Int64.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    counts: Vec<i64>,
}

impl StateColumns for Counts {
    fn resize(&mut self, slots: usize) {
        self.counts.resize(slots, 0);
    }

    fn reset(&mut self, slots: &[u32]) {
        slots.iter().for_each(|&s| self.counts[s as usize] = 0);
    }

    fn gather(&self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        Ok(vec![Arc::new(Int64Array::from(pick(&self.counts, slots)))])
    }

    fn scatter(&mut self, slots: &[u32], columns: &[ArrayRef]) -> Result<()> {
        each(slots, columns[0].as_primitive::<Int64Type>(), None, |slot, count, _| self.counts[slot] = count);
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.counts.capacity() * size_of::<i64>()
    }
}

impl Kernel for Counts {
    fn update(&mut self, slots: &[u32], args: &[ArrayRef], weights: Option<&[i64]>) -> Result<()> {
        let nulls = args.iter().fold(None, |all, arg| NullBuffer::union(all.as_ref(), arg.logical_nulls().as_ref()));
        let counts = &mut self.counts;
        match (nulls.filter(|n| n.null_count() > 0), weights) {
            (None, None) => slots.iter().for_each(|&s| counts[s as usize] += 1),
            (None, Some(weights)) => slots.iter().zip(weights).for_each(|(&s, w)| counts[s as usize] += w),
            (Some(nulls), None) => slots.iter().zip(nulls.iter()).for_each(|(&s, valid)| counts[s as usize] += i64::from(valid)),
            (Some(nulls), Some(weights)) => {
                slots.iter().zip(weights).zip(nulls.iter()).for_each(|((&s, w), valid)| counts[s as usize] += w * i64::from(valid));
            }
        }
        Ok(())
    }

    fn merge(&mut self, slots: &[u32], columns: &[ArrayRef]) -> Result<()> {
        each(slots, columns[0].as_primitive::<Int64Type>(), None, |slot, count, _| self.counts[slot] += count);
        Ok(())
    }

    fn evaluate(&self, slots: &[u32], _failures: &mut Failures) -> Result<ArrayRef> {
        Ok(Arc::new(Int64Array::from(pick(&self.counts, slots))))
    }
}

/// bool_and and bool_or, by counting. State: Int64 true ones, Int64 false ones.
#[derive(Debug)]
pub(crate) struct Flags {
    is_and: bool,
    counts: Vec<[i64; 2]>,
}

impl Flags {
    pub(crate) fn new(is_and: bool) -> Self {
        Self { is_and, counts: Vec::new() }
    }
}

impl StateColumns for Flags {
    fn resize(&mut self, slots: usize) {
        self.counts.resize(slots, [0; 2]);
    }

    fn reset(&mut self, slots: &[u32]) {
        slots.iter().for_each(|&s| self.counts[s as usize] = [0; 2]);
    }

    fn gather(&self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        let column =
            |side: usize| -> ArrayRef { Arc::new(Int64Array::from_iter_values(slots.iter().map(|&s| self.counts[s as usize][side]))) };
        Ok(vec![column(0), column(1)])
    }

    fn scatter(&mut self, slots: &[u32], columns: &[ArrayRef]) -> Result<()> {
        for (side, column) in columns.iter().enumerate() {
            each(slots, column.as_primitive::<Int64Type>(), None, |slot, count, _| self.counts[slot][side] = count);
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.counts.capacity() * size_of::<[i64; 2]>()
    }
}

impl Kernel for Flags {
    fn update(&mut self, slots: &[u32], args: &[ArrayRef], weights: Option<&[i64]>) -> Result<()> {
        for (row, value) in args[0].as_boolean().iter().enumerate() {
            if let Some(value) = value {
                self.counts[slots[row] as usize][usize::from(!value)] += weights.map_or(1, |w| w[row]);
            }
        }
        Ok(())
    }

    fn merge(&mut self, slots: &[u32], columns: &[ArrayRef]) -> Result<()> {
        for (side, column) in columns.iter().enumerate() {
            each(slots, column.as_primitive::<Int64Type>(), None, |slot, count, _| self.counts[slot][side] += count);
        }
        Ok(())
    }

    fn evaluate(&self, slots: &[u32], _failures: &mut Failures) -> Result<ArrayRef> {
        let result = |&slot: &u32| {
            let [trues, falses] = self.counts[slot as usize];
            (trues + falses != 0).then_some(if self.is_and { falses == 0 } else { trues != 0 })
        };
        Ok(Arc::new(slots.iter().map(result).collect::<BooleanArray>()))
    }
}
