//! A column of exact sums of doubles: a short fixed-point number a slot, and a long one where values lie far out.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryBuilder, FixedSizeBinaryArray};
use arrow::buffer::Buffer;
use arrow::datatypes::DataType;
use headwater_types::{Error, Result};
use std::collections::HashMap;

use super::exact::{Pair, add_limbs, add_shifted, decompose, round};

/// The least bit of a short sum is 2^-140, below the last bit of any double above 2^-87.
const SHORT_UNIT: i32 = -140;
const SHORT_LIMBS: usize = 4;
/// Doubles below 2^73 leave 2^42 additions until a short sum could overflow.
const SHORT_SHIFT_MAX: i32 = 160;
const LONG_UNIT: i32 = -1074;
/// 2098 bits for any double, and 77 for the number of additions.
const LONG_LIMBS: usize = 34;

/// Sums of doubles by slot. State columns: FixedSizeBinary(32), and Binary, NULL unless a value lay far out or was not finite.
#[derive(Debug, Default)]
pub(crate) struct FloatSums {
    short: Vec<[u64; SHORT_LIMBS]>,
    far: HashMap<u32, Box<Far>>,
}

/// What does not fit a short sum: huge and tiny values as a long sum, and how many values were not numbers.
#[derive(Debug, Clone, PartialEq)]
struct Far {
    limbs: [u64; LONG_LIMBS],
    nan: i64,
    infinite: i64,
    negative_infinite: i64,
}

const FAR_ZERO: Far = Far { limbs: [0; LONG_LIMBS], nan: 0, infinite: 0, negative_infinite: 0 };
const FAR_BYTES: usize = (LONG_LIMBS + 3) * 8;

impl FloatSums {
    pub(crate) const STATE: [DataType; 2] = [DataType::FixedSizeBinary((SHORT_LIMBS * 8) as i32), DataType::Binary];

    pub(crate) fn resize(&mut self, slots: usize) {
        self.short.resize(slots, [0; SHORT_LIMBS]);
    }

    pub(crate) fn reset(&mut self, slots: &[u32]) {
        for slot in slots {
            self.short[*slot as usize] = [0; SHORT_LIMBS];
            self.far.remove(slot);
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.short.capacity() * SHORT_LIMBS * 8 + self.far.capacity() * (FAR_BYTES + 16)
    }

    /// Adds `value`, `weight` times.
    #[inline(always)]
    pub(crate) fn add(&mut self, slot: usize, value: f64, weight: i64) {
        let (mantissa, exponent) = decompose(value);
        let shift = exponent - SHORT_UNIT;
        // Infinities and NaN have the greatest exponent, so they leave here too.
        if (0..=SHORT_SHIFT_MAX).contains(&shift) && weight.unsigned_abs() <= 1 << 10 {
            add_shifted(&mut self.short[slot], i128::from(mantissa * weight), shift as usize);
        } else if mantissa != 0 {
            self.add_far(slot, value, weight);
        }
    }

    #[cold]
    fn add_far(&mut self, slot: usize, value: f64, weight: i64) {
        let slot = slot as u32;
        let far = self.far.entry(slot).or_insert_with(|| Box::new(FAR_ZERO));
        far.add(value, weight);
        if **far == FAR_ZERO {
            self.far.remove(&slot);
        }
    }

    /// Columns that [`FloatSums::scatter`] and [`FloatSums::merge`] take.
    pub(crate) fn gather(&self, slots: &[u32]) -> Result<[ArrayRef; 2]> {
        let limbs: Vec<u64> = slots.iter().flat_map(|&s| self.short[s as usize]).map(u64::to_le).collect();
        let short = FixedSizeBinaryArray::try_new((SHORT_LIMBS * 8) as i32, Buffer::from_vec(limbs), None)?;
        let mut far = BinaryBuilder::new();
        for slot in slots {
            far.append_option(self.far.get(slot).map(|f| f.to_bytes()));
        }
        Ok([Arc::new(short), Arc::new(far.finish())])
    }

    /// Overwrites the sums of `slots`.
    pub(crate) fn scatter(&mut self, slots: &[u32], columns: &[ArrayRef]) -> Result<()> {
        self.reset(slots);
        self.merge(slots, columns)
    }

    /// Adds the sums in `columns` to those of `slots`.
    pub(crate) fn merge(&mut self, slots: &[u32], columns: &[ArrayRef]) -> Result<()> {
        let (short, far) = (columns[0].as_fixed_size_binary(), columns[1].as_binary::<i32>());
        for (row, &slot) in slots.iter().enumerate() {
            let limbs: [u64; SHORT_LIMBS] = limbs_of(short.value(row))?;
            add_limbs(&mut self.short[slot as usize], &limbs);
            if far.is_valid(row) {
                let other = Far::from_bytes(far.value(row))?;
                let mine = self.far.entry(slot).or_insert_with(|| Box::new(FAR_ZERO));
                mine.merge(&other);
                if **mine == FAR_ZERO {
                    self.far.remove(&slot);
                }
            }
        }
        Ok(())
    }

    /// The sum, rounded once. Infinite if it is out of range or an addend was infinite; NaN as IEEE addition has it.
    pub(crate) fn total(&self, slot: u32) -> f64 {
        match self.far.get(&slot) {
            None => round(&self.short[slot as usize], SHORT_UNIT),
            Some(far) => far.special().unwrap_or_else(|| round(&self.long(slot, far), LONG_UNIT)),
        }
    }

    /// True if an addend was infinite or no number.
    pub(crate) fn has_special(&self, slot: u32) -> bool {
        self.far.get(&slot).is_some_and(|f| f.special().is_some())
    }

    /// The sum as two doubles, and NaN if it is no finite number.
    pub(crate) fn pair(&self, slot: u32) -> Pair {
        let total = self.total(slot);
        if !total.is_finite() {
            return Pair(f64::NAN, 0.0);
        }
        let mut rest = self.far.get(&slot).map_or_else(|| self.long(slot, &FAR_ZERO), |far| self.long(slot, far));
        let (mantissa, exponent) = decompose(total);
        add_shifted(&mut rest, -i128::from(mantissa), (exponent - LONG_UNIT) as usize);
        Pair(total, round(&rest, LONG_UNIT))
    }

    fn long(&self, slot: u32, far: &Far) -> [u64; LONG_LIMBS] {
        let mut limbs = far.limbs;
        let short = self.short[slot as usize];
        let shift = (SHORT_UNIT - LONG_UNIT) as usize;
        for (at, limb) in short.iter().enumerate() {
            let is_top = at == SHORT_LIMBS - 1;
            let value = if is_top { i128::from(limb.cast_signed()) } else { i128::from(*limb) };
            add_shifted(&mut limbs, value, shift + at * 64);
        }
        limbs
    }
}

impl Far {
    fn add(&mut self, value: f64, weight: i64) {
        if value.is_nan() {
            self.nan += weight;
        } else if value == f64::INFINITY {
            self.infinite += weight;
        } else if value == f64::NEG_INFINITY {
            self.negative_infinite += weight;
        } else {
            let (mantissa, exponent) = decompose(value);
            let product = i128::from(mantissa) * i128::from(weight);
            let shift = (exponent - LONG_UNIT) as usize;
            add_shifted(&mut self.limbs, product & ((1 << 60) - 1), shift);
            add_shifted(&mut self.limbs, product >> 60, shift + 60);
        }
    }

    fn merge(&mut self, other: &Far) {
        add_limbs(&mut self.limbs, &other.limbs);
        self.nan += other.nan;
        self.infinite += other.infinite;
        self.negative_infinite += other.negative_infinite;
    }

    fn special(&self) -> Option<f64> {
        match (self.nan, self.infinite, self.negative_infinite) {
            (0, 0, 0) => None,
            (0, _, 0) => Some(f64::INFINITY),
            (0, 0, _) => Some(f64::NEG_INFINITY),
            _ => Some(f64::NAN),
        }
    }

    fn to_bytes(&self) -> Vec<u8> {
        let counts = [self.nan, self.infinite, self.negative_infinite].map(i64::cast_unsigned);
        self.limbs.iter().chain(&counts).flat_map(|l| l.to_le_bytes()).collect()
    }

    fn from_bytes(bytes: &[u8]) -> Result<Far> {
        let words: [u64; LONG_LIMBS + 3] = limbs_of(bytes)?;
        let mut limbs = [0; LONG_LIMBS];
        limbs.copy_from_slice(&words[..LONG_LIMBS]);
        let [nan, infinite, negative_infinite] = [words[LONG_LIMBS], words[LONG_LIMBS + 1], words[LONG_LIMBS + 2]].map(u64::cast_signed);
        Ok(Far { limbs, nan, infinite, negative_infinite })
    }
}

fn limbs_of<const N: usize>(bytes: &[u8]) -> Result<[u64; N]> {
    if bytes.len() != N * 8 {
        return Err(Error::corrupt(format!("a stored sum has {} bytes instead of {}", bytes.len(), N * 8)));
    }
    let mut limbs = [0; N];
    for (limb, word) in limbs.iter_mut().zip(bytes.chunks_exact(8)) {
        *limb = word.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte));
    }
    Ok(limbs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sums() -> FloatSums {
        let mut sums = FloatSums::default();
        sums.resize(2);
        sums
    }

    #[test]
    fn nothing_is_left_after_taking_all_back() {
        let mut sums = sums();
        let values = [0.1, 1e300, -3.7e-200, 1e16, 1.0, 5e-324, f64::MAX, f64::INFINITY, f64::NAN, -7.25e70, 1e30];
        for value in values {
            sums.add(1, value, 3);
        }
        assert!(sums.total(1).is_nan());
        for value in values.iter().rev() {
            sums.add(1, *value, -3);
        }
        assert_eq!(sums.total(1), 0.0);
        assert_eq!(sums.short[1], [0; 4]);
        assert!(sums.far.is_empty());
    }

    #[test]
    fn small_addends_are_not_lost() {
        let mut sums = sums();
        sums.add(0, 1e16, 1);
        (0..10).for_each(|_| sums.add(0, 0.1, 1));
        sums.add(0, -1e16, 1);
        // Ten times the double nearest to 0.1, rounded once.
        assert_eq!(sums.total(0), 1.0);
        sums.add(0, 1e-300, 1);
        sums.add(0, -1.0, 1);
        let pair = sums.pair(0);
        assert_eq!(pair.0, 10.0f64.mul_add(0.1, -1.0));
        assert_eq!(pair.1, 1e-300);
    }

    #[test]
    fn far_sums_survive_a_restart() {
        let mut sums = sums();
        sums.add(0, -1.5, 1);
        sums.add(0, 1e200, -2);
        sums.add(1, 2.5, 1);
        let columns = sums.gather(&[1, 0]).unwrap();
        let mut again = self::sums();
        again.add(0, 99.0, 1);
        again.scatter(&[1, 0], &columns).unwrap();
        assert_eq!((again.total(0), again.total(1)), (-2e200, 2.5));
        again.merge(&[0, 0], &columns).unwrap();
        assert_eq!(again.total(0), -4e200);
        again.add(0, 1e200, 4);
        assert_eq!(again.total(0), 2.5 - 3.0);
    }
}
