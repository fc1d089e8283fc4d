//! Exact sums: integers wide enough that no sum overflows, and doubles as fixed-point numbers that are added without rounding.
//!
//! A double is an integer of 53 bits times a power of two, so a sum of doubles is an integer in units of the least power that occurs: added and
//! subtracted exactly, in any order (Kulisch's long accumulator). Most data fits a window of 256 bits; the rest goes to one of full length.

use arrow::datatypes::i256;

/// An integer of 192 bits, two's complement: holds the sum of 2^63 products of a 128-bit value and a weight of ±1. Three words, so that it and a
/// count share half a cache line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Wide {
    pub(crate) low: u64,
    pub(crate) middle: u64,
    pub(crate) high: i64,
}

impl Wide {
    fn new(low: u128, high: i64) -> Self {
        Self { low: low as u64, middle: (low >> 64) as u64, high }
    }

    /// The lower 128 bits.
    #[inline(always)]
    fn lower(self) -> u128 {
        u128::from(self.middle) << 64 | u128::from(self.low)
    }

    /// Adds `value`.
    #[inline(always)]
    pub(crate) fn add(&mut self, value: i128) {
        self.merge(Self::new(value.cast_unsigned(), (value >> 127) as i64));
    }

    /// Adds `value` times `weight`.
    #[inline]
    pub(crate) fn add_times(&mut self, value: i128, weight: i64) {
        if let Some(product) = value.checked_mul(i128::from(weight)) {
            return self.add(product);
        }
        let (low, high) = i256::from_i128(value).wrapping_mul(i256::from_i128(i128::from(weight))).to_parts();
        self.merge(Self::new(low, high as i64));
    }

    /// Adds another sum.
    #[inline(always)]
    pub(crate) fn merge(&mut self, other: Wide) {
        let (lower, carry) = self.lower().overflowing_add(other.lower());
        *self = Self::new(lower, self.high.wrapping_add(other.high).wrapping_add(i64::from(carry)));
    }

    /// The same number with 256 bits.
    pub(crate) fn to_i256(self) -> i256 {
        i256::from_parts(self.lower(), i128::from(self.high))
    }

    /// The number, if it has at most 128 bits.
    #[inline]
    pub(crate) fn to_i128(self) -> Option<i128> {
        let value = self.lower().cast_signed();
        (self.high == (value >> 127) as i64).then_some(value)
    }
}

/// Adds `value` times 2^`shift` to the two's complement integer in `limbs`, least limb first. `value` has at most 64 bits and a sign.
#[inline(always)]
pub(crate) fn add_shifted(limbs: &mut [u64], value: i128, shift: usize) {
    debug_assert!(value.unsigned_abs() >> 64 == 0 || value >> 63 == -1);
    let first = shift / 64;
    // At most 64 + 63 bits: shifted, the value still fits 128 bits with its sign.
    let shifted = value << (shift % 64);
    let extension = (shifted >> 127) as u64;
    let parts = [shifted as u64, (shifted >> 64) as u64];
    let mut carry = false;
    for (at, limb) in limbs[first..].iter_mut().enumerate() {
        let part = parts.get(at).copied().unwrap_or(extension);
        let (sum, over) = limb.overflowing_add(part);
        let (sum, over_carry) = sum.overflowing_add(u64::from(carry));
        *limb = sum;
        carry = over | over_carry;
    }
}

/// Adds `other` times 2^`shift`; `shift` is a multiple of 64, `other` is sign-extended.
pub(crate) fn add_limbs(limbs: &mut [u64], other: &[u64]) {
    let extension = other.last().map_or(0, |&l| (l.cast_signed() >> 63).cast_unsigned());
    let mut carry = false;
    for (at, limb) in limbs.iter_mut().enumerate() {
        let (sum, over) = limb.overflowing_add(other.get(at).copied().unwrap_or(extension));
        let (sum, over_carry) = sum.overflowing_add(u64::from(carry));
        *limb = sum;
        carry = over | over_carry;
    }
}

/// A finite double as (m, e) with value = m × 2^e, |m| < 2^53, e ≥ -1074.
#[inline(always)]
pub(crate) fn decompose(value: f64) -> (i64, i32) {
    let bits = value.to_bits();
    let fraction = (bits & 0x000F_FFFF_FFFF_FFFF).cast_signed();
    let exponent = ((bits >> 52) & 0x7FF) as i32;
    let (magnitude, exponent) = if exponent == 0 { (fraction, -1074) } else { (fraction | 1 << 52, exponent - 1075) };
    (if bits >> 63 == 1 { -magnitude } else { magnitude }, exponent)
}

/// The double nearest to `limbs` × 2^`unit`, ties to even; infinite beyond the range.
pub(crate) fn round(limbs: &[u64], unit: i32) -> f64 {
    let is_negative = limbs.last().is_some_and(|l| l >> 63 == 1);
    let mut magnitude = limbs.to_vec();
    if is_negative {
        magnitude.iter_mut().for_each(|l| *l = !*l);
        add_shifted(&mut magnitude, 1, 0);
    }
    let Some(top) = magnitude.iter().rposition(|&l| l != 0) else { return 0.0 };
    let highest = top * 64 + 63 - magnitude[top].leading_zeros() as usize;
    let value = if highest < 53 {
        scale(magnitude[0] as f64, unit)
    } else {
        let dropped = highest - 52;
        let mut mantissa = bits_at(&magnitude, dropped);
        let is_half = magnitude[(dropped - 1) / 64] >> ((dropped - 1) % 64) & 1 == 1;
        let is_more = has_bits_below(&magnitude, dropped - 1);
        if is_half && (is_more || mantissa & 1 == 1) {
            mantissa += 1;
        }
        scale(mantissa as f64, i32::try_from(dropped).unwrap_or(i32::MAX / 2) + unit)
    };
    if is_negative { -value } else { value }
}

/// 53 bits from bit `at` on.
fn bits_at(limbs: &[u64], at: usize) -> u64 {
    let (limb, bit) = (at / 64, at % 64);
    let low = limbs[limb] >> bit;
    let high = if bit == 0 { 0 } else { limbs.get(limb + 1).map_or(0, |l| l << (64 - bit)) };
    (low | high) & ((1 << 53) - 1)
}

fn has_bits_below(limbs: &[u64], at: usize) -> bool {
    let (limb, bit) = (at / 64, at % 64);
    limbs[..limb].iter().any(|&l| l != 0) || limbs[limb] & ((1 << bit) - 1) != 0
}

/// `value` × 2^`exponent` in steps that stay in range; exact unless the result overflows, since the value has 53 bits and its last one fits.
fn scale(value: f64, exponent: i32) -> f64 {
    let power = |e: i32| f64::from_bits(((e + 1023) as u64) << 52);
    let (mut value, mut exponent) = (value, exponent);
    while exponent < -900 {
        value *= power(-900);
        exponent += 900;
    }
    while exponent > 900 {
        value *= power(900);
        exponent -= 900;
    }
    value * power(exponent)
}

/// A number as the unevaluated sum of two doubles, about 106 bits: enough to subtract squares of sums. After Dekker (1971).
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Pair(pub(crate) f64, pub(crate) f64);

impl Pair {
    fn sum(a: f64, b: f64) -> Pair {
        let s = a + b;
        let t = s - a;
        Pair(s, (a - (s - t)) + (b - t))
    }

    /// The exact product of two doubles.
    pub(crate) fn product(a: f64, b: f64) -> Pair {
        let p = a * b;
        Pair(p, a.mul_add(b, -p))
    }

    /// The product.
    pub(crate) fn times(self, other: Pair) -> Pair {
        let p = Pair::product(self.0, other.0);
        Pair::sum(p.0, p.1 + (self.0 * other.1 + self.1 * other.0))
    }

    /// The difference.
    pub(crate) fn minus(self, other: Pair) -> Pair {
        let s = Pair::sum(self.0, -other.0);
        let t = Pair::sum(self.1, -other.1);
        let u = Pair::sum(s.0, s.1 + t.0);
        Pair::sum(u.0, u.1 + t.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_sums_survive_what_128_bits_do_not() {
        let mut sum = Wide::default();
        for _ in 0..1_000 {
            sum.add_times(i128::MAX, 7);
        }
        assert_eq!(sum.to_i128(), None);
        for _ in 0..1_000 {
            sum.add_times(i128::MAX, -7);
        }
        sum.add(-5);
        assert_eq!(sum.to_i128(), Some(-5));
        assert_eq!(sum.to_i256(), i256::from_i128(-5));
    }

    #[test]
    fn rounding_is_to_nearest_even() {
        let number = |value: i128, shift: usize| {
            let mut limbs = [0; 6];
            add_shifted(&mut limbs, value, shift);
            limbs
        };
        assert_eq!(round(&number(3, 70), -70), 3.0);
        assert_eq!(round(&number(-3, 130), -131), -1.5);
        let tie = (1_i128 << 53) + 1;
        assert_eq!(round(&number(tie, 0), 0), 9_007_199_254_740_992.0);
        assert_eq!(round(&number(tie + 2, 0), 0), 9_007_199_254_740_996.0);
        assert_eq!(round(&number(-tie - 2, 64), -64), -9_007_199_254_740_996.0);
        let mut above = number(tie, 100);
        add_shifted(&mut above, 1, 0);
        assert_eq!(round(&above, -100), 9_007_199_254_740_994.0);
        assert_eq!(round(&[0; 4], 3), 0.0);
    }

    #[test]
    fn doubles_come_back() {
        for value in [0.1, -1e300, 5e-324, 1.0, f64::MAX, f64::MIN_POSITIVE, -2.5e-310, 123_456.789] {
            let (mantissa, exponent) = decompose(value);
            let mut limbs = [0; 35];
            add_shifted(&mut limbs, i128::from(mantissa), usize::try_from(exponent + 1074).unwrap());
            assert_eq!(round(&limbs, -1074), value);
        }
    }

    #[test]
    fn pairs_keep_what_a_double_loses() {
        let square = Pair::product(1e8 + 1.0, 1e8 + 1.0);
        let less = square.minus(Pair::product(1e8, 1e8)).minus(Pair(2e8, 0.0));
        assert_eq!(less, Pair(1.0, 0.0));
    }
}
