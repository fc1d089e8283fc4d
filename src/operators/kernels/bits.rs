//! bit_and, bit_or and bit_xor, by counting for each bit how many values have it.

use std::sync::Arc;

use arrow::array::{ArrayRef, ArrowPrimitiveType, AsArray, FixedSizeBinaryArray, Int64Array, PrimitiveArray};
use arrow::buffer::Buffer;
use arrow::datatypes::{DataType, Int64Type};
use headwater_state::StateColumns;
use headwater_types::{Error, Result};

use super::{Failures, Kernel, each, pick};

/// How the bits of a group's values are put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum BitRule {
    /// Set in all values.
    And,
    /// Set in any value.
    Or,
    /// Set in an odd number of values.
    Xor,
}

/// Bit aggregates over integers of any width, deletions included. State: FixedSizeBinary, per bit the Int64 number of values that have it, least bit
/// first; Int64, the number of values.
#[derive(Debug)]
pub(crate) struct Bits<T: ArrowPrimitiveType> {
    rule: BitRule,
    /// `width` counters a slot.
    ones: Vec<i64>,
    counts: Vec<i64>,
    argument: std::marker::PhantomData<fn() -> T>,
}

impl<T: ArrowPrimitiveType> Bits<T> {
    const WIDTH: usize = size_of::<T::Native>() * 8;

    pub(crate) fn new(rule: BitRule) -> Self {
        Self { rule, ones: Vec::new(), counts: Vec::new(), argument: std::marker::PhantomData }
    }

    fn of_slot(slot: usize) -> std::ops::Range<usize> {
        slot * Self::WIDTH..(slot + 1) * Self::WIDTH
    }
}

/// The columns that [`Bits`] keeps for `argument`.
pub(crate) fn state(argument: &DataType) -> Vec<DataType> {
    let width = argument.primitive_width().unwrap_or(8) as i32 * 8;
    vec![DataType::FixedSizeBinary(width * 8), DataType::Int64]
}

impl<T: ArrowPrimitiveType> StateColumns for Bits<T>
where
    T::Native: Into<i64> + TryFrom<i64>,
{
    fn resize(&mut self, slots: usize) {
        self.ones.resize(slots * Self::WIDTH, 0);
        self.counts.resize(slots, 0);
    }

    fn reset(&mut self, slots: &[u32]) {
        for &slot in slots {
            self.ones[Self::of_slot(slot as usize)].fill(0);
            self.counts[slot as usize] = 0;
        }
    }

    fn gather(&self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        let ones: Vec<i64> = slots.iter().flat_map(|&s| &self.ones[Self::of_slot(s as usize)]).map(|one| one.to_le()).collect();
        let ones = FixedSizeBinaryArray::try_new((Self::WIDTH * 8) as i32, Buffer::from_vec(ones), None)?;
        Ok(vec![Arc::new(ones), Arc::new(Int64Array::from(pick(&self.counts, slots)))])
    }

    fn scatter(&mut self, slots: &[u32], columns: &[ArrayRef]) -> Result<()> {
        self.reset(slots);
        self.merge(slots, columns)
    }

    fn bytes(&self) -> usize {
        (self.ones.capacity() + self.counts.capacity()) * size_of::<i64>()
    }
}

impl<T: ArrowPrimitiveType> Kernel for Bits<T>
where
    T::Native: Into<i64> + TryFrom<i64>,
{
    fn update(&mut self, slots: &[u32], args: &[ArrayRef], weights: Option<&[i64]>) -> Result<()> {
        let (ones, counts) = (&mut self.ones, &mut self.counts);
        each(slots, args[0].as_primitive::<T>(), weights, |slot, value, weight| {
            let value: i64 = value.into();
            for (bit, one) in ones[Self::of_slot(slot)].iter_mut().enumerate() {
                *one += (value >> bit & 1) * weight;
            }
            counts[slot] += weight;
        });
        Ok(())
    }

    fn merge(&mut self, slots: &[u32], columns: &[ArrayRef]) -> Result<()> {
        let stored = columns[0].as_fixed_size_binary();
        for (row, &slot) in slots.iter().enumerate() {
            let words = stored.value(row).chunks_exact(8);
            for (one, word) in self.ones[Self::of_slot(slot as usize)].iter_mut().zip(words) {
                let word = word.try_into().map_err(|_| Error::corrupt("stored bit counts are cut short"))?;
                *one += i64::from_le_bytes(word);
            }
        }
        each(slots, columns[1].as_primitive::<Int64Type>(), None, |slot, count, _| self.counts[slot] += count);
        Ok(())
    }

    fn evaluate(&self, slots: &[u32], _failures: &mut Failures) -> Result<ArrayRef> {
        let result = |&slot: &u32| {
            let count = self.counts[slot as usize];
            let is_set = |one: i64| match self.rule {
                BitRule::And => one == count,
                BitRule::Or => one != 0,
                BitRule::Xor => one & 1 == 1,
            };
            let bits = self.ones[Self::of_slot(slot as usize)].iter().enumerate();
            let value = bits.fold(0_u64, |all, (bit, &one)| all | u64::from(is_set(one)) << bit);
            // Sign-extended from the type's own width, so that it fits.
            let shift = 64 - Self::WIDTH;
            let value = (value << shift).cast_signed() >> shift;
            (count != 0).then(|| T::Native::try_from(value).ok()).flatten()
        };
        Ok(Arc::new(slots.iter().map(result).collect::<PrimitiveArray<T>>()))
    }
}
