//! Values in text: the forms PostgreSQL reads, type by type; and what the types are called.

use arrow::datatypes::{DataType, Field, TimeUnit};

use super::number::Number;
use super::scan::is_json;

/// A truth value: `true`, `yes`, `on`, `1` and their opposites, or a beginning of one that is no beginning of another.
pub(crate) fn boolean(text: &[u8]) -> Option<bool> {
    let text = text.trim_ascii().to_ascii_lowercase();
    let begins = |word: &[u8], least: usize| text.len() >= least && word.starts_with(&text);
    if begins(b"true", 1) || begins(b"yes", 1) || begins(b"on", 2) || text == b"1" {
        return Some(true);
    }
    (begins(b"false", 1) || begins(b"no", 1) || begins(b"off", 2) || text == b"0").then_some(false)
}

/// A double: a number, or `NaN`, `Infinity`, `-Infinity`.
pub(crate) fn double(text: &[u8]) -> Option<f64> {
    match Number::text(text) {
        Some(number) => number.double(),
        None => special(text),
    }
}

/// A single-precision number, as [`double`].
pub(crate) fn single(text: &[u8]) -> Option<f32> {
    match Number::text(text) {
        Some(number) => number.single(),
        #[allow(clippy::cast_possible_truncation, reason = "infinities and NaN stay what they are")]
        None => special(text).map(|value| value as f32),
    }
}

fn special(text: &[u8]) -> Option<f64> {
    match text.trim_ascii().to_ascii_lowercase().as_slice() {
        b"nan" => Some(f64::NAN),
        b"infinity" | b"+infinity" | b"inf" | b"+inf" => Some(f64::INFINITY),
        b"-infinity" | b"-inf" => Some(f64::NEG_INFINITY),
        _ => None,
    }
}

/// A JSON document, checked, without the space around it.
pub(crate) fn json(text: &[u8]) -> Option<&[u8]> {
    let text = text.trim_ascii();
    is_json(text).then_some(text)
}

/// Bytes: `\x` and hex digits, or base64 (padded or not).
pub(crate) fn bytes(text: &[u8]) -> Option<Vec<u8>> {
    match text.strip_prefix(b"\\x") {
        Some(hex) => hex_bytes(hex),
        None => base64_bytes(text),
    }
}

fn hex_bytes(hex: &[u8]) -> Option<Vec<u8>> {
    let (pairs, rest) = hex.as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    let digit = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}

fn base64_bytes(text: &[u8]) -> Option<Vec<u8>> {
    let padding = text.iter().rev().take_while(|b| **b == b'=').count();
    let digits = &text[..text.len() - padding];
    if padding > 2 || digits.len() % 4 == 1 || (padding > 0 && !text.len().is_multiple_of(4)) {
        return None;
    }
    let mut out = Vec::with_capacity(digits.len() / 4 * 3 + 2);
    for quad in digits.chunks(4) {
        let mut word = 0u32;
        for at in 0..4 {
            word = word << 6 | quad.get(at).map_or(Some(0), |b| base64_digit(*b))?;
        }
        out.extend_from_slice(&word.to_be_bytes()[1..quad.len()]);
    }
    Some(out)
}

fn base64_digit(byte: u8) -> Option<u32> {
    Some(u32::from(match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    }))
}

/// Appends `bytes` as padded base64.
pub(crate) fn write_base64(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for triple in bytes.chunks(3) {
        let byte = |at: usize| triple.get(at).copied().map_or(0, usize::from);
        let word = byte(0) << 16 | byte(1) << 8 | byte(2);
        let digits = [word >> 18, word >> 12 & 63, word >> 6 & 63, word & 63].map(|d| DIGITS[d]);
        out.extend_from_slice(&digits[..=triple.len()]);
        out.extend_from_slice(&b"=="[..3 - triple.len()]);
    }
}

/// What SQL calls the type of `field`.
pub(crate) fn type_name(field: &Field) -> String {
    let name = match field.data_type() {
        DataType::Boolean => "BOOLEAN",
        DataType::Int16 => "SMALLINT",
        DataType::Int32 => "INT",
        DataType::Int64 => "BIGINT",
        DataType::Float32 => "REAL",
        DataType::Float64 => "DOUBLE PRECISION",
        DataType::Decimal128(precision, scale) => return format!("NUMERIC({precision},{scale})"),
        DataType::Utf8 if field.metadata().contains_key("headwater.type") => "JSONB",
        DataType::Utf8 => "VARCHAR",
        DataType::Binary => "BYTEA",
        DataType::Date32 => "DATE",
        DataType::Time64(_) => "TIME",
        DataType::Timestamp(TimeUnit::Microsecond, None) => "TIMESTAMP",
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => "TIMESTAMPTZ",
        DataType::Interval(_) => "INTERVAL",
        DataType::FixedSizeBinary(16) => "UUID",
        DataType::List(item) => return format!("{}[]", type_name(item)),
        other => return other.to_string(),
    };
    String::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_and_hex_come_back() {
        for length in 0..40u8 {
            let bytes: Vec<u8> = (0..length).map(|i| i.wrapping_mul(73).wrapping_add(length)).collect();
            let mut text = Vec::new();
            write_base64(&bytes, &mut text);
            assert_eq!(super::bytes(&text), Some(bytes.clone()));
            let unpadded: Vec<u8> = text.iter().copied().filter(|b| *b != b'=').collect();
            assert_eq!(super::bytes(&unpadded), Some(bytes));
        }
        assert_eq!(bytes(b"\\xDEadbe"), Some(vec![0xde, 0xad, 0xbe]));
        for bad in [&b"\\xabc"[..], b"\\xzz", b"a", b"====", b"ab=", b"a*bc", b"YQ==YQ=="] {
            assert_eq!(bytes(bad), None, "{}", String::from_utf8_lossy(bad));
        }
        assert_eq!(bytes(b"aGVsbG8="), Some(b"hello".to_vec()));
    }

    #[test]
    fn truth_has_postgresqls_words() {
        for (text, value) in
            [("t", true), ("TRUE", true), ("y", true), ("on", true), ("1", true), ("f", false), ("No", false), ("of", false), ("0", false)]
        {
            assert_eq!(boolean(text.as_bytes()), Some(value), "{text}");
        }
        for bad in ["", "o", "truex", "2"] {
            assert_eq!(boolean(bad.as_bytes()), None, "{bad}");
        }
    }
}
