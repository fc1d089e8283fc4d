//! PostgreSQL's array literals, `{1,"two",NULL}`, cut into the texts of their items.

/// The items of a literal of one dimension; an item of a nested array is returned with its braces. None where it is malformed.
#[must_use]
pub fn split_items(text: &str) -> Option<Vec<Option<String>>> {
    let inside = text.trim().strip_prefix('{')?.strip_suffix('}')?;
    let mut items = Vec::new();
    if inside.trim().is_empty() {
        return Some(items);
    }
    let mut characters = inside.chars().peekable();
    loop {
        while characters.peek().is_some_and(char::is_ascii_whitespace) {
            characters.next();
        }
        items.push(match characters.peek()? {
            '"' => Some(read_quoted(&mut characters)?),
            '{' => Some(read_nested(&mut characters)?),
            _ => read_plain(&mut characters)?,
        });
        while characters.peek().is_some_and(char::is_ascii_whitespace) {
            characters.next();
        }
        match characters.next() {
            None => return Some(items),
            Some(',') => {}
            Some(_) => return None,
        }
    }
}

type Characters<'a> = std::iter::Peekable<std::str::Chars<'a>>;

fn read_quoted(characters: &mut Characters<'_>) -> Option<String> {
    let mut item = String::new();
    characters.next();
    loop {
        match characters.next()? {
            '"' => return Some(item),
            '\\' => item.push(characters.next()?),
            other => item.push(other),
        }
    }
}

fn read_nested(characters: &mut Characters<'_>) -> Option<String> {
    let mut item = String::new();
    let mut depth = 0;
    let mut is_quoted = false;
    loop {
        let character = characters.next()?;
        item.push(character);
        match character {
            '\\' => item.push(characters.next()?),
            '"' => is_quoted = !is_quoted,
            '{' if !is_quoted => depth += 1,
            '}' if !is_quoted => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(item);
        }
    }
}

fn read_plain(characters: &mut Characters<'_>) -> Option<Option<String>> {
    let mut item = String::new();
    while let Some(character) = characters.peek() {
        match character {
            ',' => break,
            '"' | '{' | '}' => return None,
            '\\' => {
                characters.next();
                item.push(characters.next()?);
            }
            other => {
                item.push(*other);
                characters.next();
            }
        }
    }
    let item = item.trim_end();
    if item.is_empty() {
        return None;
    }
    Some((!item.eq_ignore_ascii_case("null")).then(|| item.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> Option<Vec<Option<String>>> {
        split_items(text)
    }

    #[test]
    fn items_with_quotes_nulls_and_braces() {
        let item = |t: &str| Some(t.to_owned());
        assert_eq!(split("{}"), Some(vec![]));
        assert_eq!(split("{1, 2 ,NULL}"), Some(vec![item("1"), item("2"), None]));
        assert_eq!(split(r#"{"a,b","c\"d","NULL",""}"#), Some(vec![item("a,b"), item("c\"d"), item("NULL"), item("")]));
        assert_eq!(split("{{1,2},{3}}"), Some(vec![item("{1,2}"), item("{3}")]));
        assert_eq!(split(r#"{{"}"}}"#), Some(vec![item(r#"{"}"}"#)]));
    }

    #[test]
    fn malformed_literals_are_refused() {
        for text in ["", "1,2", "{1,2", "{1,,2}", "{\"a}", "{a\"b}", "{1}2}"] {
            assert_eq!(split(text), None, "{text}");
        }
    }
}
