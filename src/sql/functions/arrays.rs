//! Text to arrays: `{1,2,NULL}`, `{"a, b",c}`, `{{1,2},{3,4}}`.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, ListArray, StringArray};
use datafusion::arrow::buffer::{NullBuffer, OffsetBuffer};
use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{DataFusionError, Result};

use super::convert::convert;

/// Lists of `item` from text.
///
/// # Errors
/// `Execution`: a text is no array literal, or an element no value of the item's type.
pub(super) fn lists(text: &StringArray, item: &FieldRef) -> Result<ArrayRef> {
    let mut elements: Vec<Option<String>> = Vec::new();
    let mut lengths = Vec::with_capacity(text.len());
    for text in text {
        let before = elements.len();
        if let Some(text) = text {
            let wrong = || DataFusionError::Execution(format!("malformed array literal: \"{text}\""));
            split(text.trim(), matches!(item.data_type(), DataType::List(_)), &mut elements).ok_or_else(wrong)?;
        }
        lengths.push(elements.len() - before);
    }
    let elements: ArrayRef = Arc::new(StringArray::from(elements));
    let nulls: NullBuffer = text.iter().map(|t| t.is_some()).collect();
    Ok(Arc::new(ListArray::try_new(item.clone(), OffsetBuffer::from_lengths(lengths), convert(&elements, item.data_type())?, Some(nulls))?))
}

/// Adds the elements of `{…}` to `elements`: their text, or with `nested` the text of the arrays inside.
fn split(text: &str, nested: bool, elements: &mut Vec<Option<String>>) -> Option<()> {
    let inside = text.strip_prefix('{')?.strip_suffix('}')?;
    if inside.trim().is_empty() {
        return Some(());
    }
    let mut rest = inside.trim_start();
    loop {
        let (element, after) = if nested { braced(rest)? } else { element(rest)? };
        elements.push(element);
        let after = after.trim_start();
        if after.is_empty() {
            return Some(());
        }
        rest = after.strip_prefix(',')?.trim_start();
    }
}

/// An array in braces at the front of `text`, and what follows.
fn braced(text: &str) -> Option<(Option<String>, &str)> {
    let (mut depth, mut quoted, mut escaped) = (0, false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => quoted = !quoted,
            '{' if !quoted => depth += 1,
            '}' if !quoted => {
                depth -= 1;
                if depth == 0 {
                    return Some((Some(text[..=at].to_owned()), &text[at + 1..]));
                }
            }
            _ if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

/// One element, in quotes or not, and what follows.
fn element(text: &str) -> Option<(Option<String>, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    if text.starts_with('"') {
        chars.next();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => return Some((Some(value), &text[at + 1..])),
                '\\' => value.push(chars.next()?.1),
                c => value.push(c),
            }
        }
        return None;
    }
    let mut end = text.len();
    let mut escaped = false;
    while let Some((at, c)) = chars.next() {
        match c {
            ',' => {
                end = at;
                break;
            }
            '{' | '}' | '"' => return None,
            '\\' => {
                escaped = true;
                value.push(chars.next()?.1);
            }
            c => value.push(c),
        }
    }
    let value = value.trim_end();
    if value.is_empty() {
        return None;
    }
    let is_null = !escaped && value.eq_ignore_ascii_case("null");
    Some(((!is_null).then(|| value.to_owned()), &text[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_told_apart() {
        let of = |text: &str, nested| {
            let mut elements = Vec::new();
            split(text, nested, &mut elements)
                .map(|()| elements.into_iter().map(|e| e.unwrap_or("-".to_owned())).collect::<Vec<_>>().join("|"))
        };
        assert_eq!(of("{1, 2 ,NULL}", false), Some("1|2|-".to_owned()));
        assert_eq!(of(r#"{"a, \"b",c d,"NULL"}"#, false), Some("a, \"b|c d|NULL".to_owned()));
        assert_eq!(of("{}", false), Some(String::new()));
        assert_eq!(of("{{1,2},{\"}\"}}", true), Some("{1,2}|{\"}\"}".to_owned()));
        for wrong in ["1", "{1", "{1,}", "{1,,2}", "{a\"b}", "{\"a}"] {
            assert_eq!(of(wrong, false), None, "{wrong}");
        }
    }
}
