//! Shows an error under the SQL it is about, and finds the words in a statement that an error speaks of.

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer, Word};
use headwater_types::Error;

use crate::Statement;
use crate::parser::DIALECT;

/// `error` for a terminal: message, the line of `sql` with the offending text underlined, detail and hint. `sql` is the text that was parsed.
///
/// ```text
/// ERROR: column "amonut" does not exist
///   |
/// 3 | SELECT amonut FROM orders
///   |        ^^^^^^
/// HINT: did you mean "amount"?
/// ```
#[must_use]
pub fn render(error: &Error, sql: &str) -> String {
    let mut lines = vec![format!("ERROR: {}", error.message())];
    if let Some((offset, length)) = error.place() {
        lines.extend(underlined(sql, offset.saturating_sub(1), length));
    }
    lines.extend(error.detail().map(|detail| format!("DETAIL: {detail}")));
    lines.extend(error.hint().map(|hint| format!("HINT: {hint}")));
    lines.join("\n")
}

/// The line on which the character after `before` others stands, and marks under it and its `length - 1` followers.
fn underlined(sql: &str, before: usize, length: usize) -> Vec<String> {
    let mut start = 0;
    for (number, line) in sql.split('\n').enumerate() {
        let characters = line.chars().count();
        if before <= start + characters {
            let number = (number + 1).to_string();
            let margin = " ".repeat(number.len());
            let column = before - start;
            let marks = "^".repeat(length.clamp(1, (characters - column).max(1)));
            // A tab stays one, so that marks stand under what they mean.
            let indent: String = line.chars().take(column).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
            return vec![format!("{margin} |"), format!("{number} | {line}"), format!("{margin} | {indent}{marks}")];
        }
        start += characters + 1;
    }
    Vec::new()
}

fn solid_tokens(statement: &Statement) -> Vec<TokenWithSpan> {
    let tokens = Tokenizer::new(&DIALECT, statement.text()).tokenize_with_location().unwrap_or_default();
    tokens.into_iter().filter(|t| !matches!(t.token, Token::Whitespace(_))).collect()
}

/// `error` with a place: if it has none, that of the words it is about, if they stand in the statement.
#[must_use]
pub fn located(error: Error, statement: &Statement) -> Error {
    let found = if error.place().is_some() { None } else { guess(&error, statement) };
    match found {
        Some((offset, length)) => error.at(offset, length),
        None => error,
    }
}

/// Where `words` (upper case) first follow each other in the statement: 1-based character offset and length in the whole text.
pub(crate) fn find_words(statement: &Statement, words: &[&str]) -> Option<(usize, usize)> {
    let tokens = solid_tokens(statement);
    let found = tokens.windows(words.len().max(1)).find(|window| are(window, words))?;
    place(statement, found)
}

/// The same for where they last do.
pub(crate) fn find_last_words(statement: &Statement, words: &[&str]) -> Option<(usize, usize)> {
    let tokens = solid_tokens(statement);
    let found = tokens.windows(words.len().max(1)).rfind(|window| are(window, words))?;
    place(statement, found)
}

fn are(tokens: &[TokenWithSpan], words: &[&str]) -> bool {
    let is = |token: &TokenWithSpan, word: &str| matches!(&token.token, Token::Word(Word { value, .. }) if value.to_uppercase() == word);
    tokens.len() == words.len() && tokens.iter().zip(words).all(|(t, w)| is(t, w))
}

fn place(statement: &Statement, tokens: &[TokenWithSpan]) -> Option<(usize, usize)> {
    let text = crate::parser::SourceText::new(statement.text());
    let (first, last) = (tokens.first()?, tokens.last()?);
    let (from, _) = text.place(first.span)?;
    let length = text.between(first.span.start, last.span.end).chars().count();
    Some((statement.offset() + from, length))
}

/// Where the first SELECT inside parentheses stands.
fn find_subquery(statement: &Statement) -> Option<(usize, usize)> {
    let tokens = solid_tokens(statement);
    let inside = tokens.windows(2).find(|pair| pair[0].token == Token::LParen && are(&pair[1..], &["SELECT"]))?;
    place(statement, &inside[1..])
}

/// Where the first name in quotes, function or SQL keyword in the error's message stands in the statement.
fn guess(error: &Error, statement: &Statement) -> Option<(usize, usize)> {
    let message = error.message();
    let quoted = message.split('"').skip(1).step_by(2).map(|name| name.rsplit('.').next().unwrap_or(name));
    let function = message.strip_prefix("function ").and_then(|rest| rest.split([' ', '(']).next());
    let called = message.split_once("()").and_then(|(before, _)| before.rsplit(|c: char| !c.is_alphanumeric() && c != '_').next());
    let is_keyword = |word: &&str| word.len() > 2 && word.chars().all(|c| c.is_ascii_uppercase());
    let keywords = message.split(|c: char| !c.is_alphanumeric()).filter(is_keyword);
    let mut names = quoted.chain(function).chain(called).chain(keywords);
    names.find_map(|name| if name == "SELECT" { find_subquery(statement) } else { find_words(statement, &[&name.to_uppercase()]) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_offending_text_is_underlined() {
        let sql = "SELECT 1;\nSELECT\tümlaut, amonut FROM t";
        let error = Error::not_found("column \"amonut\" does not exist").at(26, 6).with_hint("did you mean \"amount\"?");
        let expected = "ERROR: column \"amonut\" does not exist\n  |\n2 | SELECT\tümlaut, amonut FROM t\n  |       \t        ^^^^^^\nHINT: did you mean \"amount\"?";
        assert_eq!(render(&error, sql), expected);
    }

    #[test]
    fn an_end_beyond_the_text_is_marked_behind_it() {
        let error = Error::invalid("syntax error at end of input").at(7, 1);
        assert_eq!(render(&error, "SELECT"), "ERROR: syntax error at end of input\n  |\n1 | SELECT\n  |       ^");
    }
}
