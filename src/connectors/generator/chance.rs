//! Random numbers that depend on nothing but seed, column and row: a reader may start anywhere.

/// One stream of random numbers, indexed by row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Chance {
    seed: u64,
}

impl Chance {
    /// The stream called `name` of those of `seed`.
    pub(crate) fn new(seed: u64, name: &str) -> Self {
        let folded = name.bytes().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        Self { seed: mix(seed ^ mix(folded)) }
    }

    /// Another stream, made from this one.
    pub(crate) fn stream(self, number: u64) -> Self {
        Self { seed: mix(self.seed.wrapping_add(mix(number))) }
    }

    /// 64 random bits for row `row`.
    #[inline]
    pub(crate) fn bits(self, row: u64) -> u64 {
        mix(self.seed ^ row.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// A number from 0 to `bound - 1` for row `row`; `bound` is not 0.
    #[inline]
    pub(crate) fn below(self, row: u64, bound: u64) -> u64 {
        // The upper half of the product: no division, and no bias that a generator of test data would show.
        let product = u128::from(self.bits(row)) * u128::from(bound);
        u64::try_from(product >> 64).unwrap_or(0)
    }

    /// A number from 0 up to, but not including, 1.
    #[inline]
    #[allow(clippy::cast_precision_loss, reason = "53 bits are exact")]
    pub(crate) fn unit(self, row: u64) -> f64 {
        (self.bits(row) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// True for a share `fraction` of the rows.
    #[inline]
    pub(crate) fn happens(self, row: u64, fraction: f64) -> bool {
        fraction > 0.0 && self.unit(row) < fraction
    }
}

/// Appends `length` lower-case letters that follow from `bits`.
pub(crate) fn write_letters(mut bits: u64, length: usize, out: &mut Vec<u8>) {
    let end = out.len() + length;
    while out.len() < end {
        bits = bits.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_right(23);
        out.extend_from_slice(&bits.to_le_bytes().map(|byte| b'a' + ((u16::from(byte) * 26) >> 8) as u8));
    }
    out.truncate(end);
}

/// The finalizer of SplitMix64 (Steele, Lea, Flood 2014).
#[inline]
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}
