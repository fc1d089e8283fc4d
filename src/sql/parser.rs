//! Splits a text into statements and reads each: our own by hand over sqlparser's tokens, SQL's by sqlparser.

mod ast;
mod create;
mod depth;
mod reader;
mod session;
mod text;
mod tokens;
mod view;

use std::borrow::Cow;
use std::sync::Arc;

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};
use headwater_types::{Micros, Result};

pub(crate) use ast::{
    Ast, ColumnDef, CopyWhat, CreateRelation, CreateSink, CreateView, Emit, EncodeDef, Explained, Kind, OptionEntry, Readable, Show,
    SinkInput, WatermarkDef,
};
pub(crate) use depth::{DEPTH_MAX, too_deep};
pub(crate) use reader::{DIALECT, Name, at, folded, syntax};
pub(crate) use text::SourceText;

use reader::Reader;

/// One statement of a text. Places in errors count in the whole text that was parsed.
#[derive(Debug, Clone)]
pub struct Statement {
    text: String,
    offset: usize,
    ast: Arc<Ast>,
    source: Arc<SourceText>,
}

impl Statement {
    /// Its own text, without the final semicolon.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// How many characters of the whole text stand before it.
    #[must_use]
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// Where the option `name` of `WITH (…)` or `ENCODE … (…)` stands, to underline it: 1-based character offset and length.
    #[must_use]
    pub fn option_place(&self, name: &str) -> Option<(usize, usize)> {
        let (with, encode) = match self.ast() {
            Ast::CreateRelation(relation) => (&relation.with, &relation.encode),
            Ast::CreateSink(sink) => (&sink.with, &sink.encode),
            _ => return None,
        };
        let mut options = with.iter().chain(encode.iter().flat_map(|e| &e.options));
        options.find(|o| o.name == name).and_then(|o| o.place)
    }

    /// The name of the object that it defines, if it defines one.
    #[must_use]
    pub fn defined_name(&self) -> Option<&str> {
        match self.ast() {
            Ast::CreateRelation(relation) => Some(&relation.name.text),
            Ast::CreateView(view) => Some(&view.name.text),
            Ast::CreateSink(sink) => Some(&sink.name.text),
            _ => None,
        }
    }

    /// True for a definition that says itself what happens if its name is taken: IF NOT EXISTS, OR REPLACE.
    #[must_use]
    pub fn is_conditional(&self) -> bool {
        match self.ast() {
            Ast::CreateRelation(relation) => relation.if_not_exists,
            Ast::CreateView(view) => view.if_not_exists || view.or_replace,
            Ast::CreateSink(sink) => sink.if_not_exists,
            _ => false,
        }
    }

    /// True for INSERT, UPDATE and DELETE.
    #[must_use]
    pub fn writes_rows(&self) -> bool {
        matches!(self.ast(), Ast::Insert(_) | Ast::Update(_) | Ast::Delete(_))
    }

    /// True for SELECT and its like.
    #[must_use]
    pub fn is_query(&self) -> bool {
        matches!(self.ast(), Ast::Query(_))
    }

    pub(crate) fn ast(&self) -> &Ast {
        &self.ast
    }

    pub(crate) fn source(&self) -> &Arc<SourceText> {
        &self.source
    }
}

/// The statements of `text`. A syntax error anywhere is reported before anything of it can run.
///
/// # Errors
/// `Invalid` (42601) with the place, if any of them is no statement; `Unsupported` for one that we do not have.
pub fn parse(text: &str) -> Result<Vec<Statement>> {
    crate::room::with_room(|| statements(text))
}

fn statements(text: &str) -> Result<Vec<Statement>> {
    let text = without_mark(text);
    let source = Arc::new(SourceText::new(&text));
    let tokens = Tokenizer::new(&DIALECT, &text).tokenize_with_location().map_err(|e| {
        let error = syntax(format!("syntax error: {}", e.message));
        error.at(source.characters_before(e.location) + 1, 1)
    })?;
    let pieces = tokens.split(|t| t.token == Token::SemiColon).map(trimmed).filter(|piece| !piece.is_empty());
    pieces.map(|piece| one(piece, &source)).collect()
}

/// Some editors begin a file with the mark U+FEFF. A blank takes its place, so that places in errors still count in what was written.
fn without_mark(text: &str) -> Cow<'_, str> {
    match text.strip_prefix('\u{feff}') {
        Some(rest) => Cow::Owned(format!(" {rest}")),
        None => Cow::Borrowed(text),
    }
}

/// The tokens without blanks and comments at both ends.
fn trimmed(tokens: &[TokenWithSpan]) -> &[TokenWithSpan] {
    let is_solid = |t: &TokenWithSpan| !matches!(t.token, Token::Whitespace(_) | Token::EOF);
    let first = tokens.iter().position(is_solid).unwrap_or(tokens.len());
    let end = tokens.iter().rposition(is_solid).map_or(first, |last| last + 1);
    &tokens[first..end]
}

fn one(tokens: &[TokenWithSpan], source: &Arc<SourceText>) -> Result<Statement> {
    depth::check(tokens)?;
    let (first, last) = (&tokens[0].span, &tokens[tokens.len() - 1].span);
    let text = source.between(first.start, last.end).to_owned();
    let mut reader = Reader::new(tokens::as_postgres(tokens, source)?, source.clone());
    let ast = statement(&mut reader)?;
    reader.expect_end()?;
    Ok(Statement { text, offset: source.characters_before(first.start), ast: Arc::new(ast), source: source.clone() })
}

/// Reads a statement from its first word on.
fn statement(reader: &mut Reader) -> Result<Ast> {
    let Some(word) = reader.peek() else {
        return Ok(Ast::Query(reader.query()?));
    };
    if matches!(word.as_str(), "SELECT" | "WITH" | "VALUES") {
        return Ok(Ast::Query(reader.query()?));
    }
    if matches!(word.as_str(), "INSERT" | "UPDATE" | "DELETE") {
        let sql = reader.sql()?;
        return Ok(match word.as_str() {
            "INSERT" => Ast::Insert(sql),
            "UPDATE" => Ast::Update(sql),
            _ => Ast::Delete(sql),
        });
    }
    let unknown = reader.expected("a statement");
    let refused = reader.refuse(&word);
    reader.next();
    match word.as_str() {
        "CREATE" => create::create(reader),
        "DROP" => session::drop(reader),
        "COMMENT" => session::comment(reader),
        "EXPLAIN" => session::explain(reader),
        "DESCRIBE" | "DESC" => Ok(Ast::Describe(reader.relation()?)),
        "SHOW" => session::show(reader),
        "SET" => session::set(reader),
        "RESET" => session::reset(reader),
        "COPY" => session::copy(reader),
        "FLUSH" => Ok(Ast::Flush),
        "CHECKPOINT" => Ok(Ast::Checkpoint),
        "CRASH" => Ok(Ast::Crash),
        "ADVANCE" => advance_clock(reader),
        "SUBSCRIBE" => Err(refused.with_hint("COPY (SUBSCRIBE view) TO STDOUT, or DECLARE c SUBSCRIPTION CURSOR FOR view")),
        "ALTER" | "GRANT" | "REVOKE" | "TRUNCATE" | "MERGE" | "LOCK" | "LISTEN" | "NOTIFY" | "CALL" | "DO" | "VACUUM" | "ANALYZE"
        | "REFRESH" => Err(refused),
        _ => block_or_cursor(reader, &word)?.ok_or(unknown),
    }
}

/// Transaction blocks, cursors and prepared statements; none if `word` begins nothing of the kind.
fn block_or_cursor(reader: &mut Reader, word: &str) -> Result<Option<Ast>> {
    Ok(Some(match word {
        "BEGIN" | "START" => {
            session::skip_modes(reader);
            Ast::Begin
        }
        "COMMIT" | "END" => {
            session::skip_modes(reader);
            Ast::Commit
        }
        "ROLLBACK" | "ABORT" => session::rollback(reader)?,
        "SAVEPOINT" => Ast::Savepoint("SAVEPOINT", reader.name()?.text),
        "RELEASE" => {
            reader.take(&["SAVEPOINT"]);
            Ast::Savepoint("RELEASE", reader.name()?.text)
        }
        "DECLARE" => session::declare(reader)?,
        "FETCH" => session::fetch(reader, false)?,
        "MOVE" => session::fetch(reader, true)?,
        "CLOSE" => Ast::Close(session::name_or_all(reader)?),
        "DISCARD" => {
            reader.next();
            Ast::Discard
        }
        // LISTEN is refused, so there is never a channel to leave; connection pools send this unasked.
        "UNLISTEN" => {
            if !reader.take_token(&Token::Mul) {
                reader.name()?;
            }
            Ast::Unlisten
        }
        "PREPARE" => session::prepare(reader)?,
        "EXECUTE" => session::execute(reader)?,
        "DEALLOCATE" => {
            reader.take(&["PREPARE"]);
            Ast::Deallocate(session::name_or_all(reader)?)
        }
        _ => return Ok(None),
    }))
}

/// `ADVANCE CLOCK INTERVAL '…'`: moves a clock that a test holds.
fn advance_clock(reader: &mut Reader) -> Result<Ast> {
    reader.expect(&["CLOCK"])?;
    reader.take(&["INTERVAL"]);
    let place = reader.next_place();
    let text = reader.string()?;
    match duration_us(&text) {
        Some(micros) => Ok(Ast::AdvanceClock(micros)),
        None => Err(at(syntax(format!("'{text}' is no length of time")), place)),
    }
}

/// A length of time without months, such as `30s` or `1 hour 5 minutes`, in microseconds.
pub(crate) fn duration_us(text: &str) -> Option<Micros> {
    let interval = arrow::compute::kernels::cast_utils::parse_interval_month_day_nano(&spaced(text)).ok()?;
    (interval.months == 0).then(|| i64::from(interval.days) * 86_400_000_000 + interval.nanoseconds / 1_000)
}

/// `30s` as `30 s`.
fn spaced(text: &str) -> String {
    let mut spaced = String::with_capacity(text.len() + 4);
    for character in text.trim().chars() {
        let after_digit = spaced.ends_with(|last: char| last.is_ascii_digit());
        if after_digit && character.is_alphabetic() {
            spaced.push(' ');
        }
        spaced.push(character);
    }
    spaced
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_mark_at_the_beginning_is_read_over_and_counted() {
        let statements = parse("\u{feff}SELECT 1; SELECT 2").expect("two statements");
        assert_eq!(statements.iter().map(|s| (s.offset(), s.text())).collect::<Vec<_>>(), [(1, "SELECT 1"), (11, "SELECT 2")]);
        assert_eq!(parse("\u{feff}nonsense").expect_err("no statement").place(), Some((2, 8)));
    }
}
