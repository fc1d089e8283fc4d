//! Decimals in PostgreSQL's binary form of `numeric`: groups of four decimal digits.

use bytes::{BufMut, BytesMut};

/// Appends `value / 10^scale`: number of groups, weight of the first (10000^weight), sign, digits after the point, groups.
pub(super) fn put_numeric(value: i128, scale: u8, out: &mut BytesMut) {
    let scale = u32::from(scale);
    let unit = 10_u128.pow(scale);
    let (mut whole, fraction) = (value.unsigned_abs() / unit, value.unsigned_abs() % unit);
    let mut groups: Vec<i16> = Vec::with_capacity(20);
    while whole > 0 {
        groups.push(group(whole % 10_000));
        whole /= 10_000;
    }
    groups.reverse();
    let mut weight = i16::try_from(groups.len()).expect("38 digits are ten groups") - 1;
    let mut digits = scale;
    while digits > 0 {
        // The last group is filled up with zeros.
        let next = if digits >= 4 { fraction / 10_u128.pow(digits - 4) } else { fraction % 10_u128.pow(digits) * 10_u128.pow(4 - digits) };
        groups.push(group(next % 10_000));
        digits = digits.saturating_sub(4);
    }
    let leading = groups.iter().take_while(|g| **g == 0).count();
    groups.drain(..leading);
    weight -= i16::try_from(leading).expect("38 digits are ten groups");
    while groups.last() == Some(&0) {
        groups.pop();
    }
    out.put_i16(i16::try_from(groups.len()).expect("76 digits are 19 groups"));
    out.put_i16(if groups.is_empty() { 0 } else { weight });
    out.put_u16(if value < 0 { 0x4000 } else { 0 });
    out.put_u16(u16::try_from(scale).expect("a scale is at most 38"));
    groups.iter().for_each(|g| out.put_i16(*g));
}

fn group(digits: u128) -> i16 {
    i16::try_from(digits).expect("four decimal digits")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(value: i128, scale: u8) -> Vec<u16> {
        let mut out = BytesMut::new();
        put_numeric(value, scale, &mut out);
        out.chunks(2).map(|w| u16::from_be_bytes([w[0], w[1]])).collect()
    }

    #[test]
    fn groups_are_those_that_postgres_sends() {
        assert_eq!(words(0, 2), [0, 0, 0, 2]);
        assert_eq!(words(1, 0), [1, 0, 0, 0, 1]);
        assert_eq!(words(-12_345_678, 2), [3, 1, 0x4000, 2, 12, 3456, 7800]);
        assert_eq!(words(50_000, 0), [1, 1, 0, 0, 5]);
        assert_eq!(words(5, 6), [1, 0xFFFE, 0, 6, 500]);
        assert_eq!(words(10_i128.pow(38) - 1, 38)[..4], [10, 0xFFFF, 0, 38]);
        assert_eq!(words(10_i128.pow(38) - 1, 0)[..5], [10, 9, 0, 0, 99]);
    }
}
