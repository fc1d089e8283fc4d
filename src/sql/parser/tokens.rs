//! The tokens of a statement as PostgreSQL reads them, where sqlparser takes them for something else or for nothing.
//!
//! Integers have other bases (`0x1f`, `0o17`, `0b11`), a text goes on in the next line, `TABLE name` is a query. What would come out as another
//! value, such as a bit string as bytes or `1a` as 1 under the name of `a`, is refused here.

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Whitespace, Word};
use headwater_types::{Error, Result};

use super::reader::{at, syntax};
use super::text::SourceText;

/// Streaming words that sqlparser has no place for.
const REFUSED: [(&[&str], &str); 3] = [
    (&["FOR", "SYSTEM_TIME"], "FOR SYSTEM_TIME (a temporal join)"),
    (&["ASOF", "JOIN"], "ASOF JOIN"),
    (&["ASOF", "LEFT", "JOIN"], "ASOF LEFT JOIN"),
];

/// `tokens` in sqlparser's words.
///
/// # Errors
/// `Invalid` (42601): a number with letters behind it, two texts beside each other. `Unsupported`: a bit string, a word of [`REFUSED`].
pub(super) fn as_postgres(tokens: &[TokenWithSpan], text: &SourceText) -> Result<Vec<TokenWithSpan>> {
    refuse_words(tokens, text)?;
    let mut out: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    let mut next = 0;
    while next < tokens.len() {
        let (token, taken) = match &tokens[next].token {
            Token::Number(..) | Token::HexStringLiteral(_) => number(&tokens[next..], text)?,
            Token::SingleQuotedByteStringLiteral(_) => return Err(no_bits(&tokens[next], text)),
            Token::SingleQuotedString(_) | Token::EscapedStringLiteral(_) => joined(&tokens[next..], text)?,
            _ => (tokens[next].clone(), 1),
        };
        if is_query(&token, tokens, next) {
            out.extend(select_all(&token));
        } else {
            out.push(token);
        }
        next += taken;
    }
    Ok(out)
}

fn refuse_words(tokens: &[TokenWithSpan], text: &SourceText) -> Result<()> {
    let is = |token: &TokenWithSpan, word: &str| word_of(token).is_some_and(|w| w.value.eq_ignore_ascii_case(word));
    let solid = |from: usize| tokens[from..].iter().filter(|t| !matches!(t.token, Token::Whitespace(_)));
    for (start, first) in tokens.iter().enumerate() {
        let found = REFUSED.iter().find(|(words, _)| {
            is(first, words[0]) && words.iter().zip(solid(start)).filter(|(word, token)| is(token, word)).count() == words.len()
        });
        if let Some((words, construct)) = found {
            let error = Error::unsupported(format!("{construct} is not supported"));
            let last = solid(start).nth(words.len() - 1).unwrap_or(first);
            return Err(at(error, text.place(first.span.union(&last.span))));
        }
    }
    Ok(())
}

fn word_of(token: &TokenWithSpan) -> Option<&Word> {
    match &token.token {
        Token::Word(word) if word.quote_style.is_none() => Some(word),
        _ => None,
    }
}

/// The integer or numeric at the start of `tokens`, and how many of them it is.
fn number(tokens: &[TokenWithSpan], text: &SourceText) -> Result<(TokenWithSpan, usize)> {
    let first = &tokens[0];
    let behind = tokens.get(1).filter(|next| next.span.start == first.span.end).and_then(word_of);
    let end = if behind.is_some() { tokens[1].span } else { first.span };
    let place = text.place(first.span.union(&end));
    let (digits, taken) = match (&first.token, behind) {
        (Token::HexStringLiteral(digits), _) if !is_prefixed(first, digits) => return Err(no_bits(first, text)),
        (Token::HexStringLiteral(digits), None) => (in_decimal(digits, 16), 1),
        (Token::Number(zero, false), Some(word)) if zero == "0" => (based(&word.value), 2),
        (Token::Number(digits, false), None) => (Some(Ok(digits.replace('_', ""))), 1),
        _ => (None, 1),
    };
    match digits {
        Some(Ok(digits)) => Ok((TokenWithSpan::new(Token::Number(digits, false), first.span.union(&end)), taken)),
        Some(Err(error)) => Err(at(error, place)),
        None => {
            let written = text.between(first.span.start, end.end);
            Err(at(syntax(format!("trailing junk after numeric literal at or near \"{written}\"")), place))
        }
    }
}

/// `0x1f` has two characters before its digits, `x'1f'` three around them.
fn is_prefixed(token: &TokenWithSpan, digits: &str) -> bool {
    let (start, end) = (token.span.start, token.span.end);
    start.line == end.line && end.column - start.column == digits.chars().count() as u64 + 2
}

/// What follows the 0 of an integer with a base, in decimal digits; none if it is no base.
fn based(word: &str) -> Option<Result<String>> {
    let radix = match word.chars().next()? {
        'x' | 'X' => 16,
        'o' | 'O' => 8,
        'b' | 'B' => 2,
        _ => return None,
    };
    in_decimal(&word[1..], radix)
}

/// Digits of base `radix` in decimal ones; none if they are none. Each `_` stands between the base or a digit, and a digit.
fn in_decimal(digits: &str, radix: u32) -> Option<Result<String>> {
    let grouped = digits.strip_prefix('_').unwrap_or(digits);
    let is_group = |group: &str| !group.is_empty() && group.chars().all(|c| c.is_digit(radix));
    if !grouped.split('_').all(is_group) {
        return None;
    }
    let value = u128::from_str_radix(&grouped.replace('_', ""), radix).ok().filter(|v| *v < 10_u128.pow(38));
    let out_of_range = || Error::invalid(format!("value \"{digits}\" is out of range for type numeric")).with_sqlstate("22003");
    Some(value.map(|v| v.to_string()).ok_or_else(out_of_range))
}

fn no_bits(token: &TokenWithSpan, text: &SourceText) -> Error {
    let error = Error::unsupported("a bit string (b'01', x'1f') is not supported");
    at(error.with_hint("an integer: 0b01, 0x1f; bytes: '\\x1f'::BYTEA"), text.place(token.span))
}

/// The text at the start of `tokens` with those that continue it in lines below, and how many tokens that is.
fn joined(tokens: &[TokenWithSpan], text: &SourceText) -> Result<(TokenWithSpan, usize)> {
    let (mut whole, mut taken) = (tokens[0].clone(), 1);
    while let Some((gap, more)) = continuation(&tokens[taken..]) {
        let next = &tokens[taken + gap];
        if !tokens[taken..taken + gap].iter().any(ends_a_line) {
            return Err(at(syntax(format!("syntax error at or near \"{}\"", next.token)), text.place(next.span)));
        }
        match &mut whole.token {
            Token::EscapedStringLiteral(_) if more.contains('\\') => {
                return Err(at(Error::unsupported("a backslash in the continuation of E'…' is not supported"), text.place(next.span)));
            }
            Token::SingleQuotedString(value) | Token::EscapedStringLiteral(value) => value.push_str(more),
            _ => {}
        }
        whole.span = whole.span.union(&next.span);
        taken += gap + 1;
    }
    Ok((whole, taken))
}

/// How many blanks stand before the text that comes next, and that text.
fn continuation(tokens: &[TokenWithSpan]) -> Option<(usize, &str)> {
    let gap = tokens.iter().position(|t| !matches!(t.token, Token::Whitespace(_)))?;
    match &tokens[gap].token {
        Token::SingleQuotedString(more) => Some((gap, more)),
        _ => None,
    }
}

fn ends_a_line(token: &TokenWithSpan) -> bool {
    matches!(token.token, Token::Whitespace(Whitespace::Newline | Whitespace::SingleLineComment { .. }))
}

/// True for the TABLE of `TABLE name` where a query may stand: not after CREATE and its like.
fn is_query(token: &TokenWithSpan, tokens: &[TokenWithSpan], place: usize) -> bool {
    let is_solid = |t: &&TokenWithSpan| !matches!(t.token, Token::Whitespace(_));
    if !matches!(&token.token, Token::Word(word) if word.keyword == Keyword::TABLE && word.quote_style.is_none()) {
        return false;
    }
    if !matches!(tokens[place + 1..].iter().find(is_solid).map(|t| &t.token), Some(Token::Word(_))) {
        return false;
    }
    let keyword = |t: &TokenWithSpan| word_of(t).map(|w| w.keyword);
    match tokens[..place].iter().rfind(is_solid) {
        None => true,
        Some(before) if matches!(before.token, Token::LParen | Token::RParen) => true,
        Some(before) => {
            use Keyword as K;
            let opens = [K::UNION, K::INTERSECT, K::EXCEPT, K::ALL, K::DISTINCT, K::AS, K::FOR, K::EXPLAIN].map(Some);
            opens.contains(&keyword(before)) || tokens.iter().find(is_solid).and_then(keyword) == Some(K::INSERT)
        }
    }
}

/// `SELECT * FROM` in the place of TABLE.
fn select_all(table: &TokenWithSpan) -> Vec<TokenWithSpan> {
    let blank = Token::Whitespace(Whitespace::Space);
    let words = [Token::make_keyword("SELECT"), blank.clone(), Token::Mul, blank, Token::make_keyword("FROM")];
    words.into_iter().map(|token| TokenWithSpan::new(token, table.span)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parser::DIALECT;
    use datafusion::sql::sqlparser::tokenizer::Tokenizer;

    fn read(sql: &str) -> String {
        let tokens = Tokenizer::new(&DIALECT, sql).tokenize_with_location().expect("tokens");
        match as_postgres(&tokens, &SourceText::new(sql)) {
            Ok(tokens) => tokens.iter().map(|t| t.token.to_string()).collect(),
            Err(error) => {
                let (offset, length) = error.place().expect("a place");
                format!("{} at {}", error.sqlstate(), sql.chars().skip(offset - 1).take(length).collect::<String>())
            }
        }
    }

    #[test]
    fn integers_have_bases() {
        assert_eq!(read("0b11, 0o17, 0x1F, 0X1f, 0x_f, 1_000"), "3, 15, 31, 31, 15, 1000");
        assert_eq!(read("0xffff_ffff"), "4294967295");
        assert_eq!(read("a1, x1, 1.5e3, .5"), "a1, x1, 1.5e3, .5");
        for (sql, junk) in [("1a", "1a"), ("0b12", "0b12"), ("0x", "0x"), ("0x1g", "0x1g"), ("1_", "1_"), ("10L", "10L")] {
            assert_eq!(read(sql), format!("42601 at {junk}"), "{sql}");
        }
        assert_eq!(read("1, x'1F'"), "0A000 at x'1F'");
        assert_eq!(read("b'01'"), "0A000 at b'01'");
    }

    #[test]
    fn a_text_goes_on_in_the_next_line_only() {
        assert_eq!(read("'a'\n  'b' -- more\n 'c'"), "'abc'");
        assert_eq!(read("'a', 'b'"), "'a', 'b'");
        assert_eq!(read("'a' 'b'"), "42601 at 'b'");
        assert_eq!(read("'a' /* \n */ 'b'"), "42601 at 'b'");
    }

    #[test]
    fn a_table_is_a_query() {
        assert_eq!(read("TABLE t"), "SELECT * FROM t");
        assert_eq!(read("(table t) union all TABLE u"), "(SELECT * FROM t) union all SELECT * FROM u");
        assert_eq!(read("INSERT INTO t TABLE u"), "INSERT INTO t SELECT * FROM u");
        assert_eq!(read("CREATE TABLE t (a INT)"), "CREATE TABLE t (a INT)");
        assert_eq!(read("DROP TABLE t"), "DROP TABLE t");
    }
}
