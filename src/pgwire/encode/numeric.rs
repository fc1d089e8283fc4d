//! Exact decimal numbers in PostgreSQL's two forms: digits with a point, and base-10,000 groups.

/// Groups of a numeric on the wire hold four decimal digits.
const GROUP_DIGITS: i32 = 4;
const SIGN_NEGATIVE: u16 = 0x4000;

/// Appends the text of a decimal whose unscaled value is written in `unscaled` (an optional minus, then ASCII digits).
///
/// PostgreSQL always shows `scale` digits behind the point; a negative scale appends zeros.
pub fn write_text(unscaled: &[u8], scale: i8, out: &mut Vec<u8>) {
    let (negative, digits) = split_sign(unscaled);
    if negative {
        out.push(b'-');
    }
    if scale <= 0 {
        out.extend_from_slice(digits);
        if digits != b"0" {
            out.resize(out.len() + usize::from(scale.unsigned_abs()), b'0');
        }
        return;
    }
    let scale = usize::from(scale.unsigned_abs());
    if digits.len() > scale {
        let (whole, fraction) = digits.split_at(digits.len() - scale);
        out.extend_from_slice(whole);
        out.push(b'.');
        out.extend_from_slice(fraction);
    } else {
        out.extend_from_slice(b"0.");
        out.resize(out.len() + scale - digits.len(), b'0');
        out.extend_from_slice(digits);
    }
}

/// Appends the binary form: `ndigits, weight, sign, dscale` as 16-bit numbers, then the groups, most significant first.
/// A value is the sum of `group[i] * 10000^(weight - i)`.
pub fn write_binary(unscaled: &[u8], scale: i8, out: &mut Vec<u8>) {
    let (negative, digits) = split_sign(unscaled);
    let scale = i32::from(scale);
    // Position of a digit relative to the point: the last digit has exponent -scale.
    let first_exponent = i32::try_from(digits.len()).unwrap_or(i32::MAX) - 1 - scale;
    let mut weight = first_exponent.div_euclid(GROUP_DIGITS);
    let last_group = (-scale).div_euclid(GROUP_DIGITS);
    let mut groups: [u16; 32] = [0; 32];
    let mut count = usize::try_from(weight - last_group + 1).unwrap_or(0).min(groups.len());
    for (i, digit) in digits.iter().enumerate() {
        let exponent = first_exponent - i32::try_from(i).unwrap_or(i32::MAX);
        let group = usize::try_from(weight - exponent.div_euclid(GROUP_DIGITS)).unwrap_or(0);
        let power = 10_u16.pow(exponent.rem_euclid(GROUP_DIGITS).unsigned_abs());
        if let Some(slot) = groups.get_mut(group) {
            *slot += u16::from(digit - b'0') * power;
        }
    }
    let mut start = 0;
    while start < count && groups[start] == 0 {
        start += 1;
        weight -= 1;
    }
    while count > start && groups[count - 1] == 0 {
        count -= 1;
    }
    let groups = &groups[start..count];
    if groups.is_empty() {
        weight = 0;
    }
    let sign = if negative && !groups.is_empty() { SIGN_NEGATIVE } else { 0 };
    out.extend_from_slice(&u16::try_from(groups.len()).unwrap_or(u16::MAX).to_be_bytes());
    out.extend_from_slice(&i16::try_from(weight).unwrap_or(i16::MAX).to_be_bytes());
    out.extend_from_slice(&sign.to_be_bytes());
    out.extend_from_slice(&u16::try_from(scale.max(0)).unwrap_or(0).to_be_bytes());
    for group in groups {
        out.extend_from_slice(&group.to_be_bytes());
    }
}

fn split_sign(unscaled: &[u8]) -> (bool, &[u8]) {
    match unscaled {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    }
}

/// Reads the binary form as an unscaled value with `scale` digits behind the point, rounding half away from zero as PostgreSQL does.
/// None for NaN, the infinities, damaged bytes and what 38 digits cannot hold.
#[must_use]
pub fn read_binary(bytes: &[u8], scale: i8) -> Option<i128> {
    let word = |i: usize| bytes.get(i * 2..i * 2 + 2).map(|b| u16::from_be_bytes([b[0], b[1]]));
    let (count, weight, sign) = (usize::from(word(0)?), i32::from(word(1)?.cast_signed()), word(2)?);
    if sign != 0 && sign != SIGN_NEGATIVE {
        return None;
    }
    let mut text = Vec::with_capacity(count * 4 + 2);
    if sign == SIGN_NEGATIVE {
        text.push(b'-');
    }
    for i in 0..count {
        let group = word(4 + i)?;
        if group > 9_999 {
            return None;
        }
        text.extend_from_slice(format!("{group:04}").as_bytes());
    }
    let exponent = (weight - i32::try_from(count).ok()? + 1) * GROUP_DIGITS;
    scale_digits(&text, exponent, scale)
}

/// Reads `12.34`, `-5`, `1e3` as an unscaled value with `scale` digits behind the point. None where it is no number or does not fit.
#[must_use]
pub fn read_text(text: &str, scale: i8) -> Option<i128> {
    let (mantissa, exponent) = match text.find(['e', 'E']) {
        Some(at) => (&text[..at], text[at + 1..].parse::<i32>().ok()?),
        None => (text, 0),
    };
    let mantissa = mantissa.strip_prefix('+').unwrap_or(mantissa);
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let unsigned = whole.strip_prefix('-').unwrap_or(whole);
    let all_digits = unsigned.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit());
    if !all_digits || (unsigned.is_empty() && fraction.is_empty()) {
        return None;
    }
    let digits = format!("{whole}{fraction}");
    scale_digits(digits.as_bytes(), exponent.checked_sub(i32::try_from(fraction.len()).ok()?)?, scale)
}

/// `digits * 10^exponent` as an unscaled value with `scale` digits behind the point.
fn scale_digits(digits: &[u8], exponent: i32, scale: i8) -> Option<i128> {
    let (negative, digits) = split_sign(digits);
    let shift = exponent.checked_add(i32::from(scale))?;
    let keep = usize::try_from(i32::try_from(digits.len()).ok()?.checked_add(shift.min(0))?).unwrap_or(0);
    let mut value: i128 = 0;
    for digit in &digits[..keep.min(digits.len())] {
        value = value.checked_mul(10)?.checked_add(i128::from(digit - b'0'))?;
    }
    for _ in 0..shift.max(0) {
        if value == 0 {
            break;
        }
        value = value.checked_mul(10)?;
    }
    // The first digit that is cut off decides, unless the cut is above all digits.
    let cut_above = shift < 0 && digits.len() < usize::try_from(-shift).ok()?;
    if shift < 0 && !cut_above && digits.get(keep).is_some_and(|d| *d >= b'5') {
        value = value.checked_add(1)?;
    }
    (value < 10_i128.pow(38)).then_some(if negative { -value } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(unscaled: &str, scale: i8) -> String {
        let mut out = Vec::new();
        write_text(unscaled.as_bytes(), scale, &mut out);
        String::from_utf8(out).expect("ASCII")
    }

    #[test]
    fn text_has_the_point_in_its_place() {
        assert_eq!(text("12345", 2), "123.45");
        assert_eq!(text("-5", 2), "-0.05");
        assert_eq!(text("0", 2), "0.00");
        assert_eq!(text("7", 0), "7");
        assert_eq!(text("12", -3), "12000");
        assert_eq!(text("0", -3), "0");
    }

    #[test]
    fn binary_is_what_text_reads() {
        for (unscaled, scale) in [
            (0_i128, 0_i8),
            (1, 0),
            (10_000, 0),
            (-123_456_789, 4),
            (99_999, 5),
            (-1, 38),
            (10_i128.pow(38) - 1, 10),
            (-(10_i128.pow(38) - 1), 38),
            (120_000, 2),
            (5, 1),
        ] {
            let mut out = Vec::new();
            write_binary(unscaled.to_string().as_bytes(), scale, &mut out);
            assert_eq!(read_binary(&out, scale), Some(unscaled), "{unscaled} at {scale}");
            assert_eq!(read_text(&text(&unscaled.to_string(), scale), scale), Some(unscaled));
        }
    }

    #[test]
    fn reading_rounds_half_away_from_zero() {
        assert_eq!(read_text("1.005", 2), Some(101));
        assert_eq!(read_text("-1.005", 2), Some(-101));
        assert_eq!(read_text("1.004", 2), Some(100));
        assert_eq!(read_text("0.0004", 2), Some(0));
        assert_eq!(read_text("0.005", 2), Some(1));
        assert_eq!(read_text("0.05", 0), Some(0));
        assert_eq!(read_text("0.5", 0), Some(1));
        assert_eq!(read_text("1e3", 2), Some(100_000));
        assert_eq!(read_text("12x", 2), None);
        assert_eq!(read_text("", 2), None);
        assert_eq!(read_text("1e40", 0), None);
    }
}
