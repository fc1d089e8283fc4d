//! Numbers in text, taken apart exactly: no detour over floating point.

/// A number as it stands in a text: `±mantissa · 10^exponent`, if the digits fit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Number<'a> {
    /// The whole of it.
    pub text: &'a [u8],
    negative: bool,
    /// Its digits without the point; meaningless if there are more than 19.
    mantissa: u64,
    digits: usize,
    exponent: i32,
}

/// The most digits whose value always fits `u64`.
const EXACT_DIGITS: usize = 19;

const POWERS: [i128; 39] = {
    let mut powers = [1i128; 39];
    let mut at = 1;
    while at < 39 {
        powers[at] = powers[at - 1] * 10;
        at += 1;
    }
    powers
};

/// Powers of ten that a double holds exactly, for the exact case of Clinger's algorithm.
const POWERS_F64: [f64; 23] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22];

/// Ten to the power of `exponent`, which is at most 38.
pub(crate) fn power_of_ten(exponent: usize) -> i128 {
    POWERS[exponent]
}

impl<'a> Number<'a> {
    /// The JSON number that `bytes` begin with; `None` if they begin with none. What follows it is not looked at.
    #[inline]
    pub(crate) fn json(bytes: &'a [u8]) -> Option<Self> {
        let negative = bytes.first() == Some(&b'-');
        let start = usize::from(negative);
        let (mut at, mut mantissa) = digits(bytes, start, 0);
        if at == start || (bytes[start] == b'0' && at > start + 1) {
            return None;
        }
        let (mut count, mut exponent) = (at - start, 0);
        if bytes.get(at) == Some(&b'.') {
            let (end, more) = digits(bytes, at + 1, mantissa);
            let fraction = end - at - 1;
            if fraction == 0 {
                return None;
            }
            (mantissa, count, at) = (more, count + fraction, end);
            exponent = -i32::try_from(fraction).ok()?;
        }
        if matches!(bytes.get(at), Some(b'e' | b'E')) {
            let (end, power) = power(bytes, at + 1)?;
            (at, exponent) = (end, exponent.saturating_add(power));
        }
        Some(Self { text: &bytes[..at], negative, mantissa, digits: count, exponent })
    }

    /// The number that the whole of `text` is, as PostgreSQL reads one: a sign, digits before or after the point, spaces around.
    pub(crate) fn text(text: &'a [u8]) -> Option<Self> {
        let text = text.trim_ascii();
        let signed = matches!(text.first(), Some(b'-' | b'+'));
        let start = usize::from(signed);
        let (mut at, mut mantissa) = digits(text, start, 0);
        let (mut count, mut exponent) = (at - start, 0);
        if text.get(at) == Some(&b'.') {
            let (end, more) = digits(text, at + 1, mantissa);
            exponent = -i32::try_from(end - at - 1).ok()?;
            (mantissa, count, at) = (more, count + end - at - 1, end);
        }
        if count == 0 {
            return None;
        }
        if matches!(text.get(at), Some(b'e' | b'E')) {
            let (end, power) = power(text, at + 1)?;
            (at, exponent) = (end, exponent.saturating_add(power));
        }
        (at == text.len()).then_some(Self { text, negative: text[0] == b'-', mantissa, digits: count, exponent })
    }

    /// Its value if that is a whole number of 64 bits.
    #[inline]
    pub(crate) fn integer(&self) -> Option<i64> {
        if self.exponent == 0 && self.digits <= EXACT_DIGITS {
            return match self.negative {
                false => i64::try_from(self.mantissa).ok(),
                true => 0i64.checked_sub_unsigned(self.mantissa),
            };
        }
        let (value, is_exact) = self.decimal(0)?;
        is_exact.then(|| i64::try_from(value).ok())?
    }

    /// Its value times `10^scale`, rounded half away from zero as PostgreSQL does; `None` beyond 38 digits.
    #[inline]
    pub(crate) fn scaled(&self, scale: i32) -> Option<i128> {
        let shift = self.exponent.checked_add(scale)?;
        if self.digits <= EXACT_DIGITS && (0..=19).contains(&shift) {
            let value = i128::from(self.mantissa) * POWERS[usize::try_from(shift).ok()?];
            return Some(if self.negative { -value } else { value });
        }
        self.decimal(scale).map(|(value, _)| value)
    }

    /// As `scaled`, by the text; and whether nothing was rounded away.
    fn decimal(&self, scale: i32) -> Option<(i128, bool)> {
        let (mut value, mut is_exact, mut rounds_up) = (0i128, true, false);
        let mut shift = i64::from(self.exponent) + i64::from(scale);
        let all = self.text.iter().take_while(|b| !matches!(b, b'e' | b'E')).filter(|b| b.is_ascii_digit());
        // Digits that are kept: all but the last `-shift` ones.
        let kept = i64::try_from(self.digits).ok()? + shift.min(0);
        for (at, digit) in (0i64..).zip(all) {
            let digit = i128::from(digit - b'0');
            if at < kept {
                value = value.checked_mul(10)?.checked_add(digit)?;
            } else {
                rounds_up |= at == kept && digit >= 5;
                is_exact &= digit == 0;
            }
        }
        value += i128::from(rounds_up);
        while shift > 0 && value != 0 {
            value = value.checked_mul(10)?;
            shift -= 1;
        }
        let fits = value < POWERS[38];
        fits.then_some((if self.negative { -value } else { value }, is_exact))
    }

    /// The nearest double; `None` if it is too large for one.
    #[inline]
    pub(crate) fn double(&self) -> Option<f64> {
        let power = usize::try_from(self.exponent.unsigned_abs()).ok()?;
        if self.digits <= EXACT_DIGITS && self.mantissa < 1 << 53 && power < POWERS_F64.len() {
            #[allow(clippy::cast_precision_loss, reason = "below 2^53 nothing is lost")]
            let mantissa = self.mantissa as f64;
            let value = if self.exponent < 0 { mantissa / POWERS_F64[power] } else { mantissa * POWERS_F64[power] };
            return Some(if self.negative { -value } else { value });
        }
        self.parse::<f64>().filter(|v| v.is_finite())
    }

    /// The nearest single-precision number; `None` if it is too large for one.
    pub(crate) fn single(&self) -> Option<f32> {
        self.parse::<f32>().filter(|v| v.is_finite())
    }

    fn parse<T: std::str::FromStr>(&self) -> Option<T> {
        std::str::from_utf8(self.text).ok()?.parse().ok()
    }
}

/// The end of the digits that start at `at`, and `value` with them appended (wrapping when there are too many).
#[inline]
fn digits(bytes: &[u8], mut at: usize, mut value: u64) -> (usize, u64) {
    while let Some(digit) = bytes.get(at).map(|b| b.wrapping_sub(b'0')).filter(|d| *d < 10) {
        value = value.wrapping_mul(10).wrapping_add(u64::from(digit));
        at += 1;
    }
    (at, value)
}

/// The end and value of the exponent that starts after the `e`; saturates where it is absurd.
fn power(bytes: &[u8], at: usize) -> Option<(usize, i32)> {
    let start = at + usize::from(matches!(bytes.get(at), Some(b'-' | b'+')));
    let (end, _) = digits(bytes, start, 0);
    let value = bytes[start..end].iter().fold(0i32, |v, b| v.saturating_mul(10).saturating_add(i32::from(b - b'0')));
    (end > start).then_some((end, if bytes.get(at) == Some(&b'-') { -value } else { value }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Option<Number<'_>> {
        Number::json(text.as_bytes()).filter(|n| n.text.len() == text.len())
    }

    #[test]
    fn integers_are_exact_up_to_the_limits() {
        for value in [0, 7, -7, i64::MAX, i64::MIN, i64::MAX - 1] {
            assert_eq!(json(&value.to_string()).and_then(|n| n.integer()), Some(value));
        }
        assert_eq!(json("9223372036854775808").and_then(|n| n.integer()), None);
        assert_eq!(json("-9223372036854775809").and_then(|n| n.integer()), None);
        assert_eq!(json("99999999999999999999999").and_then(|n| n.integer()), None);
        assert_eq!(json("1.5").and_then(|n| n.integer()), None);
        assert_eq!(json("150e-1").and_then(|n| n.integer()), Some(15));
        assert_eq!(json("1.50e2").and_then(|n| n.integer()), Some(150));
        assert_eq!(json("-0").and_then(|n| n.integer()), Some(0));
    }

    #[test]
    fn json_grammar_is_strict_and_text_is_not() {
        for bad in ["", "-", "01", "1.", ".5", "+1", "1e", "1e+", "--1"] {
            assert!(json(bad).is_none(), "{bad}");
        }
        for (text, value) in [(" +1.5 ", 1.5), (".5", 0.5), ("5.", 5.0), ("-.5e1", -5.0)] {
            assert_eq!(Number::text(text.as_bytes()).and_then(|n| n.double()), Some(value), "{text}");
        }
        for bad in [".", "+", "e5", "1 2", "0x1"] {
            assert!(Number::text(bad.as_bytes()).is_none(), "{bad}");
        }
    }

    #[test]
    fn decimals_round_half_away_from_zero() {
        for (text, scale, value) in [
            ("1.005", 2, 101),
            ("-1.005", 2, -101),
            ("1.0049999999999999999999999", 2, 100),
            ("0.5", 0, 1),
            ("12345678901234567890.12", 2, 1_234_567_890_123_456_789_012),
            ("1e3", 2, 100_000),
            ("1e-40", 10, 0),
            ("0e999999999", 10, 0),
            ("5e-11", 10, 1),
        ] {
            assert_eq!(json(text).and_then(|n| n.scaled(scale)), Some(value), "{text}");
        }
        assert_eq!(json("1e38").and_then(|n| n.scaled(0)), None);
        assert_eq!(json("1e999999999999").and_then(|n| n.scaled(0)), None);
    }

    #[test]
    fn doubles_are_those_of_the_standard_library() {
        for text in ["0.1", "1e22", "1e23", "123456789.123456789", "9007199254740993", "-0.0", "2.2250738585072014e-308", "1e-400"] {
            assert_eq!(json(text).and_then(|n| n.double()).map(f64::to_bits), text.parse::<f64>().ok().map(f64::to_bits), "{text}");
        }
        assert_eq!(json("1e400").and_then(|n| n.double()), None);
        assert_eq!(json("1e39").and_then(|n| n.single()), None);
    }
}
