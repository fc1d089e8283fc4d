//! What a partition of groups keeps: how many rows each group has, and the state of every call.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array};
use arrow::compute::filter;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use headwater_state::StateColumns;
use headwater_types::{Error, Result};

use super::AggregateCall;
use super::call::{Arguments, Method};
use super::layout::Part;
use super::routing::Rows;
use crate::kernels::{Failures, Kernel, pick};

/// A call with how it is kept.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    pub(crate) call: AggregateCall,
    pub(crate) method: Method,
    /// The types of its arguments.
    pub(crate) types: Vec<DataType>,
}

/// State columns of a resident table: slot i is group i. Columns at rest: Int64 number of rows, then the columns of each call.
pub(crate) struct GroupStates {
    /// Net rows of each group; 0 means that the group is not there.
    rows: Vec<i64>,
    calls: Vec<CallStates>,
    /// Whether the group was met in this epoch.
    touched: Vec<bool>,
}

/// The states of one call.
struct CallStates {
    /// None where the number of rows says it all.
    kernel: Option<Box<dyn Kernel>>,
    /// How many columns it has at rest.
    width: usize,
    /// False if it lives on kept values, which are settled at the end of the epoch.
    takes_rows: bool,
}

/// Slots met for the first time in an epoch.
#[derive(Debug, Default)]
pub(crate) struct Touched {
    /// Groups that were there before.
    pub(crate) old: Vec<u32>,
    /// Groups that were not.
    pub(crate) new: Vec<u32>,
}

impl GroupStates {
    pub(crate) fn new(calls: &[Kept]) -> Result<Self> {
        let states = |kept: &Kept| {
            let kernel = kept.call.kernel(kept.method, &kept.types)?;
            let width = kept.call.state(kept.method, &kept.types)?.len();
            Ok(CallStates { kernel, width, takes_rows: matches!(kept.method, Method::Kernel(_) | Method::Accumulators) })
        };
        Ok(Self { rows: Vec::new(), calls: calls.iter().map(states).collect::<Result<_>>()?, touched: Vec::new() })
    }

    /// The columns at rest of groups with `calls`.
    pub(crate) fn schema(calls: &[Kept]) -> Result<SchemaRef> {
        let mut fields = vec![Field::new("rows", DataType::Int64, true)];
        for (number, kept) in calls.iter().enumerate() {
            let columns = kept.call.state(kept.method, &kept.types)?.into_iter().enumerate();
            fields.extend(columns.map(|(column, data_type)| Field::new(format!("state_{number}_{column}"), data_type, true)));
        }
        Ok(Arc::new(Schema::new(fields)))
    }

    /// Adds those of `slots` to `found` that were not met before in this epoch. A group without rows is new, unless `is_kept_empty`.
    pub(crate) fn touch(&mut self, slots: &[u32], is_kept_empty: bool, found: &mut Touched) {
        for &slot in slots {
            if !std::mem::replace(&mut self.touched[slot as usize], true) {
                let is_new = self.rows[slot as usize] == 0 && !is_kept_empty;
                if is_new { &mut found.new } else { &mut found.old }.push(slot);
            }
        }
    }

    /// The epoch ends for `slots`.
    pub(crate) fn forget_touch(&mut self, slots: &[u32]) {
        slots.iter().for_each(|&s| self.touched[s as usize] = false);
    }

    /// Adds the rows of `part` to the groups `slots`, one a row. Calls that live on kept values get theirs at the end of the epoch.
    pub(crate) fn add(&mut self, slots: &[u32], rows: &Rows, part: &Part) -> Result<()> {
        let weights = rows.weights.as_ref().map(|weights| part.rows.weights(weights));
        self.count(slots, weights.as_deref());
        for (call, args) in rows.args.iter().enumerate() {
            if self.calls[call].takes_rows {
                self.update(call, slots, &args.of_part(part)?, weights.as_deref())?;
            }
        }
        Ok(())
    }

    /// Adds the states in row i of `columns`, which `gather` gave, to group `slots[i]`.
    pub(crate) fn merge(&mut self, slots: &[u32], columns: &[ArrayRef]) -> Result<()> {
        let counts = columns[0].as_primitive::<Int64Type>().values();
        self.count(slots, Some(counts));
        self.each_kernel(&columns[1..], |kernel, columns| kernel.merge(slots, columns))
    }

    /// Adds row i to group `slots[i]`, `weights[i]` times.
    fn count(&mut self, slots: &[u32], weights: Option<&[i64]>) {
        match weights {
            None => slots.iter().for_each(|&s| self.rows[s as usize] += 1),
            Some(weights) => slots.iter().zip(weights).for_each(|(&s, w)| self.rows[s as usize] += w),
        }
    }

    /// The rows of each of `slots`.
    pub(crate) fn rows(&self, slots: &[u32]) -> Vec<i64> {
        pick(&self.rows, slots)
    }

    /// Adds the rows to call `call`.
    pub(crate) fn update(&mut self, call: usize, slots: &[u32], args: &Arguments, weights: Option<&[i64]>) -> Result<()> {
        let Some(kernel) = &mut self.calls[call].kernel else { return Ok(()) };
        let Some(keep) = &args.keep else { return kernel.update(slots, &args.columns, weights) };
        let columns = args.columns.iter().map(|c| filter(c, keep)).collect::<Result<Vec<_>, _>>()?;
        let kept = |row: &(usize, bool)| row.1;
        let rows = || keep.values().iter().enumerate().filter(kept).map(|(row, _)| row);
        let slots: Vec<u32> = rows().map(|row| slots[row]).collect();
        let weights: Option<Vec<i64>> = weights.map(|w| rows().map(|row| w[row]).collect());
        kernel.update(&slots, &columns, weights.as_deref())
    }

    /// The epoch's last row was added.
    pub(crate) fn settle(&mut self) -> Result<()> {
        self.kernels_mut().try_for_each(|kernel| kernel.settle())
    }

    /// Overwrites the state of call `call` at `slots`.
    pub(crate) fn set(&mut self, call: usize, slots: &[u32], columns: &[ArrayRef]) -> Result<()> {
        self.calls[call].kernel.as_mut().map_or(Ok(()), |kernel| kernel.scatter(slots, columns))
    }

    /// The result of every call for `slots`; groups without one in `failures`.
    pub(crate) fn evaluate(&self, slots: &[u32], failures: &mut Failures) -> Result<Vec<ArrayRef>> {
        let one = |call: &CallStates| match &call.kernel {
            None => Ok(Arc::new(Int64Array::from(self.rows(slots))) as ArrayRef),
            Some(kernel) => kernel.evaluate(slots, failures),
        };
        self.calls.iter().map(one).collect()
    }

    fn kernels(&self) -> impl Iterator<Item = &dyn Kernel> {
        self.calls.iter().filter_map(|call| call.kernel.as_deref())
    }

    fn kernels_mut(&mut self) -> impl Iterator<Item = &mut Box<dyn Kernel>> {
        self.calls.iter_mut().filter_map(|call| call.kernel.as_mut())
    }

    /// Hands to each kernel its own of `columns`.
    fn each_kernel(&mut self, mut columns: &[ArrayRef], apply: impl Fn(&mut dyn Kernel, &[ArrayRef]) -> Result<()>) -> Result<()> {
        for call in &mut self.calls {
            let (mine, others) = columns.split_at(call.width);
            call.kernel.as_mut().map_or(Ok(()), |kernel| apply(kernel.as_mut(), mine))?;
            columns = others;
        }
        Ok(())
    }
}

impl StateColumns for GroupStates {
    fn resize(&mut self, slots: usize) {
        self.rows.resize(slots, 0);
        self.touched.resize(slots, false);
        self.kernels_mut().for_each(|kernel| kernel.resize(slots));
    }

    fn reset(&mut self, slots: &[u32]) {
        for &slot in slots {
            self.rows[slot as usize] = 0;
            self.touched[slot as usize] = false;
        }
        self.kernels_mut().for_each(|kernel| kernel.reset(slots));
    }

    fn gather(&self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        let mut columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(self.rows(slots)))];
        for kernel in self.kernels() {
            columns.extend(kernel.gather(slots)?);
        }
        Ok(columns)
    }

    fn scatter(&mut self, slots: &[u32], columns: &[ArrayRef]) -> Result<()> {
        let (rows, states) = columns.split_first().ok_or_else(|| Error::corrupt("a stored group has no columns"))?;
        for (&slot, &count) in slots.iter().zip(rows.as_primitive::<Int64Type>().values()) {
            self.rows[slot as usize] = count;
        }
        self.each_kernel(states, |kernel, columns| kernel.scatter(slots, columns))
    }

    fn bytes(&self) -> usize {
        let kernels: usize = self.kernels().map(|kernel| kernel.bytes()).sum();
        self.rows.capacity() * size_of::<i64>() + self.touched.capacity() + kernels
    }
}
