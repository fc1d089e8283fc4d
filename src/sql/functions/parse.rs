//! Text to numbers, booleans, bytes and UUIDs, in the forms that PostgreSQL reads.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, BinaryBuilder, BooleanArray, Decimal128Array, FixedSizeBinaryBuilder, Float32Array, Float64Array, Int16Array,
    Int32Array, Int64Array, StringArray,
};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::{DataFusionError, Result};

use crate::type_names::type_name;

/// The error of a text that is no value of the type called `what`.
pub(super) fn wrong(what: &str, text: &str) -> DataFusionError {
    DataFusionError::Execution(format!("invalid input syntax for type {what}: \"{text}\""))
}

fn too_large(what: &str, text: &str) -> DataFusionError {
    DataFusionError::Execution(format!("value \"{text}\" is out of range for type {what}"))
}

/// `parse` of each text that is there.
pub(super) fn each<T, A: Array + FromIterator<Option<T>> + 'static>(
    text: &StringArray,
    parse: impl Fn(&str) -> Result<T>,
) -> Result<ArrayRef> {
    text.iter().map(|text| text.map(&parse).transpose()).collect::<Result<A>>().map(|array| Arc::new(array) as ArrayRef)
}

pub(super) fn integers(text: &StringArray, to: &DataType) -> Result<ArrayRef> {
    let name = type_name(to);
    let parse = |text: &str| {
        let digits = text.trim();
        let plain = digits.strip_prefix(['-', '+']).unwrap_or(digits);
        if plain.is_empty() || !plain.bytes().all(|b| b.is_ascii_digit()) {
            return Err(wrong(&name, text));
        }
        digits.parse::<i64>().map_err(|_| too_large(&name, text))
    };
    Ok(match to {
        DataType::Int16 => each::<_, Int16Array>(text, |t| i16::try_from(parse(t)?).map_err(|_| too_large(&name, t)))?,
        DataType::Int32 => each::<_, Int32Array>(text, |t| i32::try_from(parse(t)?).map_err(|_| too_large(&name, t)))?,
        _ => each::<_, Int64Array>(text, parse)?,
    })
}

pub(super) fn floats(text: &StringArray, to: &DataType) -> Result<ArrayRef> {
    let name = type_name(to);
    let is_infinite = |text: &str| text.trim_start_matches(['-', '+']).get(..3).is_some_and(|t| t.eq_ignore_ascii_case("inf"));
    let checked = |text: &str, infinite: bool| {
        if infinite && !is_infinite(text.trim()) {
            return Err(DataFusionError::Execution(format!("\"{}\" is out of range for type {name}", text.trim())));
        }
        Ok(())
    };
    Ok(match to {
        DataType::Float32 => each::<_, Float32Array>(text, |t| {
            let value: f32 = t.trim().parse().map_err(|_| wrong(&name, t))?;
            checked(t, value.is_infinite()).map(|()| value)
        })?,
        _ => each::<_, Float64Array>(text, |t| {
            let value: f64 = t.trim().parse().map_err(|_| wrong(&name, t))?;
            checked(t, value.is_infinite()).map(|()| value)
        })?,
    })
}

pub(super) fn numerics(text: &StringArray, precision: u8, scale: i8) -> Result<ArrayRef> {
    let limit = 10u128.pow(u32::from(precision));
    let overflow = || DataFusionError::Execution("numeric field overflow".to_owned());
    let parse = |t: &str| {
        let value = numeric(t.trim(), scale).ok_or_else(|| wrong("numeric", t))?.ok_or_else(overflow)?;
        if value.unsigned_abs() >= limit { Err(overflow()) } else { Ok(value) }
    };
    let values = text.iter().map(|t| t.map(parse).transpose()).collect::<Result<Decimal128Array>>()?;
    Ok(Arc::new(values.with_precision_and_scale(precision, scale)?))
}

/// `text` times 10 to the power of `scale`, rounded half away from zero. None if it is no number, `Some(None)` if it is too large.
fn numeric(text: &str, scale: i8) -> Option<Option<i128>> {
    let (negative, digits) = match text.strip_prefix(['-', '+']) {
        Some(rest) => (text.starts_with('-'), rest),
        None => (false, text),
    };
    let (mantissa, exponent) = match digits.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (digits, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.len() + fraction.len() == 0 || !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit()) {
        return None;
    }
    // How many of the digits count: those before the point, moved by exponent and scale.
    let kept = i64::try_from(whole.len()).ok()? + i64::from(exponent) + i64::from(scale);
    let mut value: i128 = 0;
    let mut all = whole.bytes().chain(fraction.bytes());
    for at in 0..kept.max(0) {
        let digit = all.next().map_or(0, |b| i128::from(b - b'0'));
        if value == 0 && digit == 0 && at > 400 {
            break;
        }
        match value.checked_mul(10).and_then(|v| v.checked_add(digit)) {
            Some(next) => value = next,
            None => return Some(None),
        }
    }
    let rounds_up = kept >= 0 && all.next().is_some_and(|b| b >= b'5');
    let value = value + i128::from(rounds_up);
    Some(Some(if negative { -value } else { value }))
}

pub(super) fn booleans(text: &StringArray) -> Result<ArrayRef> {
    each::<_, BooleanArray>(text, |t| {
        let word = t.trim().to_ascii_lowercase();
        let begins = |whole: &str, least: usize| word.len() >= least && whole.starts_with(&word);
        if word == "1" || begins("true", 1) || begins("yes", 1) || word == "on" {
            Ok(true)
        } else if word == "0" || begins("false", 1) || begins("no", 1) || begins("off", 2) {
            Ok(false)
        } else {
            Err(wrong("boolean", t))
        }
    })
}

pub(super) fn bytea(text: &StringArray) -> Result<ArrayRef> {
    let mut builder = BinaryBuilder::new();
    for text in text {
        match text {
            None => builder.append_null(),
            Some(text) => builder.append_value(bytes(text).ok_or_else(|| wrong("bytea", text))?),
        }
    }
    Ok(Arc::new(builder.finish()))
}

/// The bytes of `\x00ff` or of `a\\b\001`.
pub(super) fn bytes(text: &str) -> Option<Vec<u8>> {
    if let Some(digits) = text.strip_prefix("\\x") {
        return hex(&digits.bytes().filter(|b| !b.is_ascii_whitespace()).collect::<Vec<_>>());
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = match (first, after) {
            (b'\\', [b'\\', more @ ..]) => {
                bytes.push(b'\\');
                more
            }
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', more @ ..]) => {
                bytes.push((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'));
                more
            }
            (b'\\', _) => return None,
            (plain, more) => {
                bytes.push(*plain);
                more
            }
        };
    }
    Some(bytes)
}

fn hex(digits: &[u8]) -> Option<Vec<u8>> {
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    let digit = |d: u8| char::from(d).to_digit(16).and_then(|d| u8::try_from(d).ok());
    digits.chunks(2).map(|pair| Some(digit(pair[0])? * 16 + digit(pair[1])?)).collect()
}

pub(super) fn uuids(text: &StringArray) -> Result<ArrayRef> {
    let mut builder = FixedSizeBinaryBuilder::with_capacity(text.len(), 16);
    for text in text {
        match text {
            None => builder.append_null(),
            Some(text) => {
                let uuid = uuid::Uuid::try_parse(text.trim()).map_err(|_| wrong("uuid", text))?;
                builder.append_value(uuid.as_bytes())?;
            }
        }
    }
    Ok(Arc::new(builder.finish()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_read_in_both_forms() {
        assert_eq!(bytes("\\x00ff10"), Some(vec![0, 255, 16]));
        assert_eq!(bytes("\\x"), Some(vec![]));
        assert_eq!(bytes("a\\\\b\\001"), Some(vec![b'a', b'\\', b'b', 1]));
        assert_eq!(bytes("\\x0"), None);
        assert_eq!(bytes("\\q"), None);
    }

    #[test]
    fn numerics_are_rounded_to_their_scale() {
        let at_two = |text: &str| numeric(text, 2);
        assert_eq!(at_two("1.005"), Some(Some(101)));
        assert_eq!(at_two("-1.004"), Some(Some(-100)));
        assert_eq!(at_two(".5"), Some(Some(50)));
        assert_eq!(at_two("12e-1"), Some(Some(120)));
        assert_eq!(at_two("1e40"), Some(None));
        assert_eq!(at_two("1e-40"), Some(Some(0)));
        assert_eq!(at_two("0e2147483647"), Some(Some(0)));
        assert_eq!(at_two(""), None);
        assert_eq!(at_two("1x"), None);
    }
}
