//! Reads the tokens of one statement; whatever goes wrong becomes our error with its place.

use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::sql::sqlparser::ast::{
    DataType, Expr, Ident, ObjectName, ObjectNamePart, Query, Spanned, Statement as Sql, Visit, visit_relations,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Location, Token, TokenWithSpan, Word};
use headwater_types::{Error, Result};

use super::text::SourceText;

pub(crate) static DIALECT: PostgreSqlDialect = PostgreSqlDialect {};

/// Nested deeper than this, an expression or query is refused rather than overflowing the stack.
const DEPTH_MAX: usize = 128;

/// Words that stand after relations in SQL's grammar, and cannot be one without quotes.
const RESERVED: [&str; 18] = [
    "WHERE",
    "SELECT",
    "FROM",
    "GROUP",
    "ORDER",
    "HAVING",
    "LIMIT",
    "OFFSET",
    "UNION",
    "INTERSECT",
    "EXCEPT",
    "ON",
    "USING",
    "JOIN",
    "AND",
    "OR",
    "SET",
    "AS",
];

/// A name folded to lower case unless it was quoted, with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Name {
    pub text: String,
    pub place: Option<(usize, usize)>,
}

impl Name {
    /// Points `error` at this name.
    pub(crate) fn blame(&self, error: Error) -> Error {
        match self.place {
            Some((offset, length)) => error.at(offset, length),
            None => error,
        }
    }
}

/// The name an identifier stands for.
pub(crate) fn folded(ident: &Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_lowercase(),
    }
}

/// A parser over one statement's tokens.
pub(crate) struct Reader {
    parser: Parser<'static>,
    pub(crate) text: Arc<SourceText>,
    end: Location,
}

impl Reader {
    pub(crate) fn new(tokens: Vec<TokenWithSpan>, text: Arc<SourceText>) -> Self {
        let end = tokens.last().map_or(Location { line: 1, column: 1 }, |t| t.span.end);
        let parser = Parser::new(&DIALECT).with_recursion_limit(DEPTH_MAX).with_tokens_with_locations(tokens);
        Self { parser, text, end }
    }

    /// Runs a parsing function of sqlparser.
    pub(crate) fn with<T>(&mut self, parse: impl FnOnce(&mut Parser<'static>) -> Result<T, ParserError>) -> Result<T> {
        parse(&mut self.parser).map_err(|e| self.error(&e))
    }

    fn error(&self, error: &ParserError) -> Error {
        let message = match error {
            ParserError::TokenizerError(message) | ParserError::ParserError(message) => message.as_str(),
            ParserError::RecursionLimitExceeded => {
                return Error::limit(format!("nested deeper than {DEPTH_MAX} levels")).with_sqlstate("54001");
            }
        };
        let (said, location) = split_location(message);
        let (expected, found) = said.split_once(", found: ").unwrap_or((said, ""));
        let expected = expected.replacen("Expected:", "expected", 1);
        match location {
            Some(start) => self.near(start, found, &expected),
            None if found == "EOF" || found.is_empty() => self.at_end(&expected),
            None => self.near(self.parser.peek_token_ref().span.start, found, &expected),
        }
    }

    fn near(&self, start: Location, found: &str, expected: &str) -> Error {
        let error = syntax(format!("syntax error at or near \"{found}\"")).with_detail(expected);
        error.at(self.text.characters_before(start) + 1, found.chars().count().max(1))
    }

    fn at_end(&self, expected: &str) -> Error {
        let offset = self.text.characters_before(self.end);
        syntax("syntax error at end of input").with_detail(expected).at(offset + 1, 1)
    }

    /// The error that something else was expected here.
    pub(crate) fn expected(&self, what: &str) -> Error {
        let token = self.parser.peek_token_ref();
        match &token.token {
            Token::EOF => self.at_end(&format!("expected {what}")),
            found => self.near(token.span.start, &found.to_string(), &format!("expected {what}")),
        }
    }

    /// Refuses the next token's construct by name.
    pub(crate) fn refuse(&self, construct: &str) -> Error {
        let error = Error::unsupported(format!("{construct} is not supported"));
        match self.text.place(self.parser.peek_token_ref().span) {
            Some((offset, length)) => error.at(offset, length),
            None => error,
        }
    }

    pub(crate) fn is_end(&self) -> bool {
        self.parser.peek_token_ref().token == Token::EOF
    }

    /// # Errors
    /// Something follows.
    pub(crate) fn expect_end(&self) -> Result<()> {
        if self.is_end() { Ok(()) } else { Err(self.expected("the end of the statement")) }
    }

    /// The next token if it is a word, in upper case.
    pub(crate) fn peek(&self) -> Option<String> {
        self.peek_nth(0)
    }

    pub(crate) fn peek_nth(&self, n: usize) -> Option<String> {
        match &self.parser.peek_nth_token_ref(n).token {
            Token::Word(Word { value, quote_style: None, .. }) => Some(value.to_uppercase()),
            _ => None,
        }
    }

    /// True, and passed over, if these words come next.
    pub(crate) fn take(&mut self, words: &[&str]) -> bool {
        let all = words.iter().enumerate().all(|(n, word)| self.peek_nth(n).as_deref() == Some(word));
        if all {
            words.iter().for_each(|_| self.parser.advance_token());
        }
        all
    }

    /// # Errors
    /// These words do not come next.
    pub(crate) fn expect(&mut self, words: &[&str]) -> Result<()> {
        if self.take(words) { Ok(()) } else { Err(self.expected(&words.join(" "))) }
    }

    /// True, and passed over, if `token` comes next.
    pub(crate) fn take_token(&mut self, token: &Token) -> bool {
        self.parser.consume_token(token)
    }

    /// # Errors
    /// Another token comes next.
    pub(crate) fn expect_token(&mut self, token: &Token) -> Result<()> {
        if self.take_token(token) { Ok(()) } else { Err(self.expected(&format!("'{token}'"))) }
    }

    /// The next token, passed over.
    pub(crate) fn next(&mut self) -> TokenWithSpan {
        self.parser.next_token()
    }

    pub(crate) fn next_place(&self) -> Option<(usize, usize)> {
        self.text.place(self.parser.peek_token_ref().span)
    }

    pub(crate) fn name(&mut self) -> Result<Name> {
        let ident = self.with(Parser::parse_identifier)?;
        Ok(self.named(&ident))
    }

    pub(crate) fn named(&self, ident: &Ident) -> Name {
        Name { text: folded(ident), place: self.text.place(ident.span) }
    }

    /// A relation's name, without or with `public` before it.
    pub(crate) fn relation(&mut self) -> Result<Name> {
        let name = self.with(|p| p.parse_object_name(false))?;
        self.relation_of(&name)
    }

    pub(crate) fn relation_of(&self, name: &ObjectName) -> Result<Name> {
        let parts: Vec<Name> = name.0.iter().filter_map(ObjectNamePart::as_ident).map(|i| self.named(i)).collect();
        match parts.as_slice() {
            [last] => Ok(last.clone()),
            [schema, last] | [_, schema, last] if schema.text == "public" => Ok(last.clone()),
            [schema, _] | [_, schema, _] => {
                let error = Error::not_found(format!("schema \"{}\" does not exist", schema.text)).with_sqlstate("3F000");
                Err(schema.blame(error.with_hint("objects are made in schema \"public\"")))
            }
            _ => Err(at(syntax(format!("improper relation name {name}")), self.text.place(name.span()))),
        }
    }

    /// `( name, … )`.
    pub(crate) fn names_in_parentheses(&mut self) -> Result<Vec<Name>> {
        self.expect_token(&Token::LParen)?;
        let mut names = vec![self.name()?];
        while self.take_token(&Token::Comma) {
            names.push(self.name()?);
        }
        self.expect_token(&Token::RParen)?;
        Ok(names)
    }

    pub(crate) fn expr(&mut self) -> Result<Expr> {
        self.with(Parser::parse_expr)
    }

    pub(crate) fn query(&mut self) -> Result<Box<Query>> {
        let query = self.with(Parser::parse_query)?;
        self.check_relations(&*query)?;
        Ok(query)
    }

    /// A word of SQL's grammar is no relation, though sqlparser takes it for one.
    fn check_relations(&self, parsed: &impl Visit) -> Result<()> {
        let reserved = visit_relations(parsed, |name| match name.0.as_slice() {
            [ObjectNamePart::Identifier(ident)]
                if ident.quote_style.is_none() && RESERVED.contains(&ident.value.to_uppercase().as_str()) =>
            {
                ControlFlow::Break(ident.clone())
            }
            _ => ControlFlow::Continue(()),
        });
        match reserved {
            ControlFlow::Break(ident) => Err(self.near(ident.span.start, &ident.value, "expected a relation")),
            ControlFlow::Continue(()) => Ok(()),
        }
    }

    pub(crate) fn data_type(&mut self) -> Result<DataType> {
        let nested = self.peek().filter(|word| matches!(word.as_str(), "STRUCT" | "MAP") && self.is_second(&Token::Lt));
        match nested {
            Some(word) => Err(self.refuse(&format!("type {word}"))),
            None => self.with(Parser::parse_data_type),
        }
    }

    fn is_second(&self, token: &Token) -> bool {
        self.parser.peek_nth_token_ref(1).token == *token
    }

    pub(crate) fn sql(&mut self) -> Result<Box<Sql>> {
        let statement = self.with(Parser::parse_statement)?;
        self.check_relations(&statement)?;
        Ok(Box::new(statement))
    }

    pub(crate) fn string(&mut self) -> Result<String> {
        self.with(Parser::parse_literal_string)
    }

    /// All tokens that are left, blanks and comments too: some literals depend on them.
    pub(crate) fn rest(&mut self) -> Vec<TokenWithSpan> {
        let mut rest = Vec::new();
        while let Some(token) = self.parser.next_token_no_skip() {
            rest.push(token.clone());
        }
        rest
    }

    /// Goes on with the tokens that `other` has left.
    pub(crate) fn give_back(&mut self, mut other: Reader) {
        *self = Reader { end: self.end.max(other.end), ..Reader::new(other.rest(), self.text.clone()) };
    }

    /// The text from the next token to the end.
    pub(crate) fn text_from_here(&self) -> &str {
        self.text.between(self.parser.peek_token_ref().span.start, self.end)
    }
}

pub(crate) fn syntax(message: impl Into<String>) -> Error {
    Error::invalid(message).with_sqlstate("42601")
}

pub(crate) fn at(error: Error, place: Option<(usize, usize)>) -> Error {
    match place {
        Some((offset, length)) => error.at(offset, length),
        None => error,
    }
}

/// Takes " at Line: 3, Column: 7" off the end of a message of sqlparser.
fn split_location(message: &str) -> (&str, Option<Location>) {
    let Some((said, place)) = message.rsplit_once(" at Line: ") else {
        return (message, None);
    };
    let numbers = place.split_once(", Column: ").and_then(|(line, column)| Some((line.parse().ok()?, column.parse().ok()?)));
    (said, numbers.map(|(line, column)| Location { line, column }))
}
