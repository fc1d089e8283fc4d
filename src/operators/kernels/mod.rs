//! Kernels: the states of one aggregate function for many groups, typed columns updated in tight loops.

mod accumulators;
mod bits;
mod counts;
mod exact;
mod extremes;
mod floats;
mod function;
mod moments;
mod sums;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, PrimitiveArray};
use headwater_state::StateColumns;
use headwater_types::Result;

pub(crate) use accumulators::{Accumulators, state as accumulator_state};
pub(crate) use function::Function;

/// Groups without a result, as index into the slots asked for, and why.
pub(crate) type Failures = Vec<(usize, &'static str)>;

/// One aggregate function over all slots of a table. Slot i holds the state of group i.
pub(crate) trait Kernel: StateColumns + Sync {
    /// Adds row i of `args` to slot `slots[i]`, `weights[i]` times (once without weights). Kernels that cannot subtract are given no negative weight.
    fn update(&mut self, slots: &[u32], args: &[ArrayRef], weights: Option<&[i64]>) -> Result<()>;

    /// The epoch's last update was made: what was put off until then is done now, before results and states are asked for.
    fn settle(&mut self) -> Result<()> {
        Ok(())
    }

    /// Adds the states in row i of `columns`, which `gather` gave, to slot `slots[i]`.
    fn merge(&mut self, slots: &[u32], columns: &[ArrayRef]) -> Result<()>;

    /// The result of each slot; NULL and an entry in `failures` where there is none, as for a sum out of range.
    fn evaluate(&self, slots: &[u32], failures: &mut Failures) -> Result<ArrayRef>;
}

impl std::fmt::Debug for dyn Kernel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Kernel({} bytes)", self.bytes())
    }
}

/// Calls `apply(slot, value, weight)` for each value that is not NULL. Inlined with its closure: a loop a case, no test within it.
#[inline(always)]
pub(crate) fn each<T: ArrowPrimitiveType>(
    slots: &[u32],
    values: &PrimitiveArray<T>,
    weights: Option<&[i64]>,
    mut apply: impl FnMut(usize, T::Native, i64),
) {
    let nulls = values.nulls().filter(|n| n.null_count() > 0);
    let rows = slots.iter().zip(values.values());
    match (nulls, weights) {
        (None, None) => rows.for_each(|(&slot, &value)| apply(slot as usize, value, 1)),
        (None, Some(weights)) => rows.zip(weights).for_each(|((&slot, &value), &weight)| apply(slot as usize, value, weight)),
        (Some(nulls), None) => {
            rows.zip(nulls.iter()).filter(|(_, valid)| *valid).for_each(|((&slot, &value), _)| apply(slot as usize, value, 1));
        }
        (Some(nulls), Some(weights)) => {
            let valid = rows.zip(weights).zip(nulls.iter()).filter(|(_, valid)| *valid);
            valid.for_each(|(((&slot, &value), &weight), _)| apply(slot as usize, value, weight));
        }
    }
}

/// The entries of `column` at `slots`.
pub(crate) fn pick<T: Copy>(column: &[T], slots: &[u32]) -> Vec<T> {
    slots.iter().map(|&slot| column[slot as usize]).collect()
}

#[cfg(test)]
mod tests;
