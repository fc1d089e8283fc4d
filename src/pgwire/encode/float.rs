//! Floating-point numbers as PostgreSQL writes them: the shortest digits that read back as the same number.

use std::fmt::{LowerExp, Write};

/// Where PostgreSQL changes to the form with an exponent: at this power of ten for `double precision`, for `real` at [`REAL_DIGITS`].
const DOUBLE_DIGITS: i32 = 15;
const REAL_DIGITS: i32 = 6;

/// Appends a `double precision`.
pub fn write_double(value: f64, out: &mut Vec<u8>) {
    if let Some(word) = word(value) {
        return out.extend_from_slice(word);
    }
    let bits = value.to_bits();
    let parts = Parts::new(bits & ((1 << 52) - 1), bits >> 52 & 0x7FF, 52, 1075);
    write_shortest(value, &parts, DOUBLE_DIGITS, out);
}

/// Appends a `real`.
pub fn write_real(value: f32, out: &mut Vec<u8>) {
    if let Some(word) = word(f64::from(value)) {
        return out.extend_from_slice(word);
    }
    let bits = value.to_bits();
    let parts = Parts::new(u64::from(bits & ((1 << 23) - 1)), u64::from(bits >> 23 & 0xFF), 23, 150);
    write_shortest(value, &parts, REAL_DIGITS, out);
}

/// A float's magnitude as `mantissa * 2^exponent`.
struct Parts {
    mantissa: u64,
    exponent: i32,
    /// The next smaller float is only half as far away as the next greater.
    is_power_of_two: bool,
}

impl Parts {
    fn new(fraction: u64, biased: u64, fraction_bits: u32, bias: i32) -> Self {
        let biased = i32::try_from(biased).expect("an exponent has at most 11 bits");
        let mantissa = if biased == 0 { fraction } else { fraction | 1 << fraction_bits };
        Self { mantissa, exponent: biased.max(1) - bias, is_power_of_two: fraction == 0 && biased > 1 }
    }

    /// The shortest digits, with the exponent of the first, of an integer that has factors of two beyond its mantissa.
    ///
    /// PostgreSQL's Ryu takes no number that lies just in the middle between two floats; Rust does, where it would be read back by rounding to even.
    /// Up to 2^125 both can be told apart in 128 bits; above, no such middle has 17 digits, but for a few dozen values.
    fn shortest_integer(&self) -> Option<(u128, i32)> {
        if !(1..=72).contains(&self.exponent) {
            return None;
        }
        let value = u128::from(self.mantissa) << self.exponent;
        let step = 1_u128 << self.exponent;
        // Everything times four, so that the half of a half step is whole.
        let (low, high) = (value * 4 - if self.is_power_of_two { step } else { step * 2 }, value * 4 + step * 2);
        for zeros in (0..38).rev() {
            let power = 10_u128.pow(zeros);
            let (below, rest) = (value / power, value % power);
            let fits = |digits: u128| digits > 0 && digits * power * 4 > low && digits * power * 4 < high;
            let is_nearer_above = rest * 2 > power || (rest * 2 == power && below % 2 == 1);
            let order = if is_nearer_above { [below + 1, below] } else { [below, below + 1] };
            if let Some(digits) = order.into_iter().find(|d| *d < 10_u128.pow(20) && fits(*d)) {
                let first = digits.ilog10() + zeros;
                return Some((digits, i32::try_from(first).unwrap_or(0)));
            }
        }
        None
    }

    /// The digits of a number that lies just in the middle between two decimals of `fraction_digits` behind the point: PostgreSQL takes the
    /// even one, Rust the greater.
    fn middle_rounded_to_even(&self, fraction_digits: i32) -> Option<u128> {
        let shift = self.mantissa.trailing_zeros();
        let halvings = -(self.exponent + i32::try_from(shift).ok()?);
        // A fraction of n binary digits has n decimal ones.
        if halvings != fraction_digits + 1 || !(1..=27).contains(&halvings) {
            return None;
        }
        let exact = u128::from(self.mantissa >> shift).checked_mul(5_u128.pow(halvings.unsigned_abs()))?;
        if exact >= 10_u128.pow(18) {
            return None;
        }
        // Distance to the lower decimal, and to the middle towards the next smaller float, in units of 10^-halvings.
        let gap = 2_f64.powi(self.exponent - if self.is_power_of_two { 2 } else { 1 }) * 10_f64.powi(halvings);
        let below = exact / 10;
        (5.0 < gap).then_some(if below % 2 == 0 { below } else { below + 1 })
    }
}

fn word(value: f64) -> Option<&'static [u8]> {
    if value.is_nan() {
        Some(b"NaN")
    } else if value == f64::INFINITY {
        Some(b"Infinity")
    } else if value == f64::NEG_INFINITY {
        Some(b"-Infinity")
    } else {
        None
    }
}

fn write_shortest(value: impl LowerExp, parts: &Parts, digits_max: i32, out: &mut Vec<u8>) {
    // Rust's {:e} has the shortest digits too, in the form -d.ddde-7; only at two kinds of ties it decides differently.
    let mut shortest = Short { bytes: [0; 40], length: 0 };
    write!(shortest, "{value:e}").expect("40 bytes hold the shortest form of any float");
    let text = &shortest.bytes[..shortest.length];
    let (text, negative) = text.strip_prefix(b"-").map_or((text, false), |t| (t, true));
    if negative {
        out.push(b'-');
    }
    let split = text.iter().position(|b| *b == b'e').unwrap_or(text.len());
    let exponent = std::str::from_utf8(&text[(split + 1).min(text.len())..]).ok().and_then(|t| t.parse::<i32>().ok()).unwrap_or(0);
    if let Some((digits, exponent)) = parts.shortest_integer() {
        return write_digits(digits.to_string().trim_end_matches('0').as_bytes(), exponent, digits_max, out);
    }
    let rest = if split > 2 { &text[2..split] } else { &[] };
    let fraction_digits = i32::try_from(rest.len()).unwrap_or(0) - exponent;
    if let Some(digits) = parts.middle_rounded_to_even(fraction_digits) {
        return write_digits(digits.to_string().as_bytes(), exponent, digits_max, out);
    }
    let mut digits = [0; 24];
    digits[0] = text[0];
    digits[1..=rest.len()].copy_from_slice(rest);
    write_digits(&digits[..=rest.len()], exponent, digits_max, out);
}

/// `ddd.ddd`, or `d.ddde+XX` where the exponent of the first digit is below -4 or at least `digits_max` (the rule of C's `%g`).
fn write_digits(digits: &[u8], exponent: i32, digits_max: i32, out: &mut Vec<u8>) {
    let (first, rest) = (digits[0], &digits[1..]);
    if exponent < -4 || exponent >= digits_max {
        out.push(first);
        if !rest.is_empty() {
            out.push(b'.');
            out.extend_from_slice(rest);
        }
        out.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
        let magnitude = exponent.unsigned_abs();
        if magnitude < 10 {
            out.push(b'0');
        }
        out.extend_from_slice(magnitude.to_string().as_bytes());
    } else if exponent < 0 {
        out.extend_from_slice(b"0.");
        out.resize(out.len() + usize::try_from(-exponent - 1).unwrap_or(0), b'0');
        out.extend_from_slice(digits);
    } else {
        let whole = usize::try_from(exponent).unwrap_or(0);
        out.push(first);
        out.extend_from_slice(&rest[..whole.min(rest.len())]);
        if rest.len() > whole {
            out.push(b'.');
            out.extend_from_slice(&rest[whole..]);
        } else {
            out.resize(out.len() + whole - rest.len(), b'0');
        }
    }
}

struct Short {
    bytes: [u8; 40],
    length: usize,
}

impl Write for Short {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let end = self.length + text.len();
        self.bytes.get_mut(self.length..end).ok_or(std::fmt::Error)?.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_as_postgres_writes_them() {
        for (value, expected) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (0.1, "0.1"),
            (-2.5, "-2.5"),
            (100.0, "100"),
            (1e14, "100000000000000"),
            (1e15, "1e+15"),
            (123_456_789_012_345_680.0, "1.2345678901234568e+17"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (5e-324, "5e-324"),
            (1.7976931348623157e308, "1.7976931348623157e+308"),
            (12.0625, "12.0625"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "Infinity"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            let mut out = Vec::new();
            write_double(value, &mut out);
            assert_eq!(String::from_utf8_lossy(&out), expected);
        }
    }

    #[test]
    fn reals_change_form_at_a_million() {
        for (value, expected) in [(100_000.0_f32, "100000"), (1e6, "1e+06"), (1.1, "1.1"), (16_777_216.0, "1.6777216e+07")] {
            let mut out = Vec::new();
            write_real(value, &mut out);
            assert_eq!(String::from_utf8_lossy(&out), expected);
        }
    }
}
