//! CREATE VIEW and CREATE MATERIALIZED VIEW, and the EMIT clause after a query.

use datafusion::sql::sqlparser::ast::Query;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Word};
use headwater_types::Result;

use super::ast::{Ast, CreateView, Emit};
use super::create::{if_not_exists, options};
use super::reader::{Reader, at, syntax};

pub(crate) fn create_view(reader: &mut Reader, or_replace: bool) -> Result<Ast> {
    let materialized = reader.take(&["MATERIALIZED"]);
    if materialized && or_replace {
        return Err(reader.refuse("CREATE OR REPLACE MATERIALIZED VIEW").with_hint("drop it and create it anew"));
    }
    reader.expect(&["VIEW"])?;
    let if_not_exists = if_not_exists(reader);
    let name = reader.relation()?;
    let has_columns = reader.peek().is_none();
    let columns = if has_columns { reader.names_in_parentheses()? } else { Vec::new() };
    let with = if reader.take(&["WITH"]) { options(reader)? } else { Vec::new() };
    reader.expect(&["AS"])?;
    let (query, emit) = query_with_emit(reader)?;
    if let (Emit::OnWindowClose(place), false) = (emit, materialized) {
        return Err(at(syntax("EMIT ON WINDOW CLOSE belongs to a materialized view"), place));
    }
    Ok(Ast::CreateView(Box::new(CreateView { materialized, or_replace, if_not_exists, name, columns, with, query, emit })))
}

/// A query and what EMIT says after it. sqlparser would take EMIT for an alias of the last table and `WITH (` for its hints, so that the query is read
/// from the tokens before them.
pub(crate) fn query_with_emit(reader: &mut Reader) -> Result<(Box<Query>, Emit)> {
    let mut tokens = reader.rest();
    let end = find_end(&tokens).unwrap_or(tokens.len());
    let mut after = Reader::new(tokens.split_off(end), reader.text.clone());
    let mut query = Reader::new(tokens, reader.text.clone());
    let parsed = query.query()?;
    query.expect_end()?;
    let emit = emit(&mut after)?;
    reader.give_back(after);
    Ok((parsed, emit))
}

fn emit(reader: &mut Reader) -> Result<Emit> {
    let place = reader.next_place();
    if !reader.take(&["EMIT", "ON"]) || reader.take(&["UPDATE"]) {
        return Ok(Emit::OnUpdate);
    }
    if reader.take(&["WINDOW", "CLOSE"]) {
        return Ok(Emit::OnWindowClose(place.map(|(offset, _)| (offset, "EMIT ON WINDOW CLOSE".len()))));
    }
    Err(reader.expected("WINDOW CLOSE or UPDATE"))
}

/// Where, outside of parentheses, the first `EMIT ON`, `WITH (` or `FORMAT word ENCODE` stands.
fn find_end(tokens: &[TokenWithSpan]) -> Option<usize> {
    let mut depth = 0;
    let solid: Vec<usize> = (0..tokens.len()).filter(|&i| !matches!(tokens[i].token, Token::Whitespace(_))).collect();
    let token = |n: usize| solid.get(n).map_or(&Token::EOF, |&i| &tokens[i].token);
    for (n, &i) in solid.iter().enumerate() {
        match token(n) {
            Token::LParen => depth += 1,
            Token::RParen => depth -= 1,
            _ if depth > 0 => {}
            emit if is_word(emit, "EMIT") && is_word(token(n + 1), "ON") => return Some(i),
            with if is_word(with, "WITH") && *token(n + 1) == Token::LParen => return Some(i),
            format if is_word(format, "FORMAT") && is_word(token(n + 2), "ENCODE") => return Some(i),
            _ => {}
        }
    }
    None
}

fn is_word(token: &Token, word: &str) -> bool {
    matches!(token, Token::Word(Word { value, quote_style: None, .. }) if value.eq_ignore_ascii_case(word))
}
