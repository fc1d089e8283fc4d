//! Statements about the session and the catalog: SET, SHOW, EXPLAIN, DROP, cursors, COPY, transactions.

use std::sync::Arc;

use datafusion::sql::sqlparser::tokenizer::Token;
use headwater_types::Result;

use super::ast::{Ast, CopyWhat, Explained, Kind, OptionEntry, Readable, Show};
use super::create::options;
use super::reader::{Name, Reader, at, syntax};
use super::{Statement, statement};

fn kind(reader: &mut Reader, plural: bool) -> Option<Kind> {
    let words: [(&[&str], &[&str], Kind); 5] = [
        (&["SOURCE"], &["SOURCES"], Kind::Source),
        (&["TABLE"], &["TABLES"], Kind::Table),
        (&["VIEW"], &["VIEWS"], Kind::View),
        (&["MATERIALIZED", "VIEW"], &["MATERIALIZED", "VIEWS"], Kind::MaterializedView),
        (&["SINK"], &["SINKS"], Kind::Sink),
    ];
    words.into_iter().find(|(one, many, _)| reader.take(if plural { many } else { one })).map(|(_, _, kind)| kind)
}

pub(super) fn drop(reader: &mut Reader) -> Result<Ast> {
    let Some(kind) = kind(reader, false) else {
        return Err(match reader.peek() {
            Some(word) => reader.refuse(&format!("DROP {word}")),
            None => reader.expected("SOURCE, TABLE, VIEW, MATERIALIZED VIEW or SINK"),
        });
    };
    let if_exists = reader.take(&["IF", "EXISTS"]);
    let mut names = vec![reader.relation()?];
    while reader.take_token(&Token::Comma) {
        names.push(reader.relation()?);
    }
    let cascade = reader.take(&["CASCADE"]);
    if !cascade {
        reader.take(&["RESTRICT"]);
    }
    Ok(Ast::Drop { kind, if_exists, cascade, names })
}

pub(super) fn comment(reader: &mut Reader) -> Result<Ast> {
    reader.expect(&["ON"])?;
    let (kind, name, column) = if reader.take(&["COLUMN"]) {
        let relation = reader.name()?;
        reader.expect_token(&Token::Period)?;
        (Kind::Table, relation, Some(reader.name()?))
    } else {
        let kind = kind(reader, false).ok_or_else(|| reader.expected("SOURCE, TABLE, VIEW, MATERIALIZED VIEW, SINK or COLUMN"))?;
        (kind, reader.relation()?, None)
    };
    reader.expect(&["IS"])?;
    let comment = if reader.take(&["NULL"]) { None } else { Some(reader.string()?) };
    Ok(Ast::Comment { kind, name, column, comment })
}

pub(super) fn show(reader: &mut Reader) -> Result<Ast> {
    if let Some(kind) = kind(reader, true) {
        return Ok(Ast::Show(Show::Objects(kind)));
    }
    let show = if reader.take(&["COLUMNS", "FROM"]) {
        Show::Columns(reader.relation()?)
    } else if reader.take(&["CREATE"]) {
        kind(reader, false).ok_or_else(|| reader.expected("SOURCE, TABLE, VIEW, MATERIALIZED VIEW or SINK"))?;
        Show::Create(reader.relation()?)
    } else if reader.take(&["SCHEMAS"]) {
        Show::Schemas
    } else if reader.take(&["DATABASES"]) {
        Show::Databases
    } else if reader.take(&["ALL"]) {
        Show::AllVariables
    } else {
        Show::Variable(variable(reader)?.text)
    };
    Ok(Ast::Show(show))
}

/// A setting's name, which may be dotted or one of SQL's longer spellings.
fn variable(reader: &mut Reader) -> Result<Name> {
    let place = reader.next_place();
    for (words, name) in [(&["TIME", "ZONE"][..], "timezone"), (&["TRANSACTION", "ISOLATION", "LEVEL"][..], "transaction_isolation")] {
        if reader.take(words) {
            return Ok(Name { text: name.to_owned(), place });
        }
    }
    let mut name = reader.name()?;
    while reader.take_token(&Token::Period) {
        name.text = format!("{}.{}", name.text, reader.name()?.text);
    }
    name.text = name.text.to_lowercase();
    Ok(name)
}

pub(super) fn set(reader: &mut Reader) -> Result<Ast> {
    if reader.take(&["TRANSACTION"]) || reader.take(&["SESSION", "CHARACTERISTICS"]) {
        reader.rest();
        let name = Name { text: "transaction_isolation".to_owned(), place: None };
        return Ok(Ast::Set { name, value: Some("serializable".to_owned()), local: true });
    }
    let local = reader.take(&["LOCAL"]);
    if !local {
        reader.take(&["SESSION"]);
    }
    let name = if reader.take(&["NAMES"]) { Name { text: "client_encoding".to_owned(), place: None } } else { variable(reader)? };
    if !reader.take_token(&Token::Eq) {
        reader.take(&["TO"]);
    }
    let mut values = vec![setting(reader)?];
    while reader.take_token(&Token::Comma) {
        values.push(setting(reader)?);
    }
    let value = if values == [None] { None } else { Some(values.into_iter().flatten().collect::<Vec<_>>().join(", ")) };
    Ok(Ast::Set { name, value, local })
}

/// One value; none for DEFAULT.
fn setting(reader: &mut Reader) -> Result<Option<String>> {
    let expected = reader.expected("a value");
    let negative = reader.take_token(&Token::Minus);
    Ok(match reader.next().token {
        Token::Number(number, _) => Some(if negative { format!("-{number}") } else { number }),
        Token::SingleQuotedString(text) => Some(text),
        Token::Word(word) if word.quote_style.is_none() && word.value.eq_ignore_ascii_case("DEFAULT") => None,
        Token::Word(word) => Some(word.value),
        _ => return Err(expected),
    })
}

pub(super) fn reset(reader: &mut Reader) -> Result<Ast> {
    if reader.take(&["ALL"]) {
        return Ok(Ast::ResetAll);
    }
    Ok(Ast::Set { name: variable(reader)?, value: None, local: false })
}

pub(super) fn explain(reader: &mut Reader) -> Result<Ast> {
    if reader.take(&["WATERMARK"]) {
        return Ok(Ast::ExplainWatermark(reader.relation()?));
    }
    if reader.peek().as_deref() == Some("ANALYZE") {
        return Err(reader.refuse("EXPLAIN ANALYZE"));
    }
    reader.take(&["VERBOSE"]);
    let is_statement = match reader.peek().as_deref() {
        Some("CREATE" | "SELECT" | "WITH" | "VALUES" | "INSERT" | "UPDATE" | "DELETE") => true,
        Some(_) => false,
        None => true,
    };
    if is_statement {
        let explained = statement(reader)?;
        return Ok(Ast::Explain(Explained::Statement(Box::new(explained))));
    }
    super::session::kind(reader, false);
    Ok(Ast::Explain(Explained::Object(reader.relation()?)))
}

/// What brings a transaction's modes is read over: every block is the same.
pub(super) fn skip_modes(reader: &mut Reader) {
    for word in ["TRANSACTION", "WORK"] {
        reader.take(&[word]);
    }
    while let Some(
        "ISOLATION" | "LEVEL" | "SERIALIZABLE" | "REPEATABLE" | "READ" | "COMMITTED" | "UNCOMMITTED" | "WRITE" | "ONLY" | "NOT"
        | "DEFERRABLE",
    ) = reader.peek().as_deref()
    {
        reader.next();
        reader.take_token(&Token::Comma);
    }
}

pub(super) fn rollback(reader: &mut Reader) -> Result<Ast> {
    skip_modes(reader);
    if reader.take(&["TO"]) {
        reader.take(&["SAVEPOINT"]);
        return Ok(Ast::Savepoint("ROLLBACK", reader.name()?.text));
    }
    Ok(Ast::Rollback)
}

fn readable(reader: &mut Reader) -> Result<Readable> {
    if matches!(reader.peek().as_deref(), Some("SELECT" | "WITH" | "VALUES" | "TABLE")) || reader.peek().is_none() {
        return Ok(Readable::Query(reader.query()?));
    }
    reader.take(&["SUBSCRIBE"]);
    reader.take(&["TO"]);
    Ok(Readable::Subscription(reader.relation()?))
}

pub(super) fn declare(reader: &mut Reader) -> Result<Ast> {
    let name = reader.name()?.text;
    let mut subscription = false;
    while !reader.take(&["CURSOR"]) {
        match reader.peek().as_deref() {
            Some("SUBSCRIPTION") => subscription = true,
            Some("BINARY" | "INSENSITIVE" | "ASENSITIVE" | "NO") => {}
            Some("SCROLL") => {}
            _ => return Err(reader.expected("CURSOR")),
        }
        reader.next();
    }
    reader.take(&["WITHOUT", "HOLD"]);
    if reader.peek().as_deref() == Some("WITH") {
        return Err(reader.refuse("DECLARE … WITH HOLD").with_hint("a cursor ends with its block; a SUBSCRIPTION CURSOR does not"));
    }
    reader.expect(&["FOR"])?;
    let input = if subscription { Readable::Subscription(reader.relation()?) } else { Readable::Query(reader.query()?) };
    Ok(Ast::Declare(name, input))
}

pub(super) fn fetch(reader: &mut Reader, skip: bool) -> Result<Ast> {
    let mut rows_max = Some(1);
    if reader.take(&["ALL"]) || reader.take(&["FORWARD", "ALL"]) {
        rows_max = None;
    } else {
        reader.take(&["NEXT"]);
        reader.take(&["FORWARD"]);
        if let Some(direction @ ("PRIOR" | "FIRST" | "LAST" | "ABSOLUTE" | "RELATIVE" | "BACKWARD")) = reader.peek().as_deref() {
            return Err(reader.refuse(&format!("FETCH {direction}")));
        }
        let is_number = reader.peek().is_none();
        if is_number {
            rows_max = Some(reader.with(|p| p.parse_literal_uint())?);
        }
    }
    if !reader.take(&["FROM"]) {
        reader.take(&["IN"]);
    }
    let name = reader.name()?.text;
    let timeout = if reader.take(&["WITH"]) { one_option(options(reader)?, "timeout")? } else { None };
    Ok(Ast::Fetch { name, rows_max, timeout, skip })
}

fn one_option(options: Vec<OptionEntry>, name: &str) -> Result<Option<OptionEntry>> {
    match options.iter().find(|o| o.name != name) {
        Some(other) => Err(at(syntax(format!("there is no option '{}' here, only '{name}'", other.name)), other.place)),
        None => Ok(options.into_iter().next()),
    }
}

/// A name, or none for ALL.
pub(super) fn name_or_all(reader: &mut Reader) -> Result<Option<String>> {
    if reader.take(&["ALL"]) { Ok(None) } else { Ok(Some(reader.name()?.text)) }
}

pub(super) fn prepare(reader: &mut Reader) -> Result<Ast> {
    let name = reader.name()?.text;
    let mut types = Vec::new();
    if reader.take_token(&Token::LParen) {
        types.push(reader.data_type()?);
        while reader.take_token(&Token::Comma) {
            types.push(reader.data_type()?);
        }
        reader.expect_token(&Token::RParen)?;
    }
    reader.expect(&["AS"])?;
    let offset = reader.next_place().map_or(0, |(offset, _)| offset - 1);
    let text = reader.text_from_here().to_owned();
    let ast = statement(reader)?;
    Ok(Ast::Prepare(name, types, Box::new(Statement { text, offset, ast: Arc::new(ast), source: reader.text.clone() })))
}

pub(super) fn execute(reader: &mut Reader) -> Result<Ast> {
    let name = reader.name()?.text;
    let mut values = Vec::new();
    if reader.take_token(&Token::LParen) && !reader.take_token(&Token::RParen) {
        values.push(reader.expr()?);
        while reader.take_token(&Token::Comma) {
            values.push(reader.expr()?);
        }
        reader.expect_token(&Token::RParen)?;
    }
    Ok(Ast::Execute(name, values))
}

pub(super) fn copy(reader: &mut Reader) -> Result<Ast> {
    let what = if reader.take_token(&Token::LParen) {
        let input = readable(reader)?;
        reader.expect_token(&Token::RParen)?;
        reader.expect(&["TO", "STDOUT"])?;
        CopyWhat::To(input)
    } else {
        copy_table(reader)?
    };
    let mut entries = Vec::new();
    let with = reader.take(&["WITH"]);
    if let (false, Some(word @ ("CSV" | "BINARY" | "TEXT"))) = (reader.is_end(), reader.peek().as_deref()) {
        let place = reader.next_place();
        entries.push(OptionEntry { name: "format".to_owned(), value: word.to_lowercase(), place });
        reader.next();
        for (word, name) in [("HEADER", "header"), ("DELIMITER", "delimiter"), ("NULL", "null"), ("HEADER", "header")] {
            let place = reader.next_place();
            if !reader.take(&[word]) {
                continue;
            }
            let value = if name == "header" { "true".to_owned() } else { setting_after_as(reader)? };
            entries.push(OptionEntry { name: name.to_owned(), value, place });
        }
    } else if with || !reader.is_end() {
        entries = copy_options(reader)?;
    }
    Ok(Ast::Copy(what, entries))
}

/// `DELIMITER [AS] ';'`, as before PostgreSQL 9.
fn setting_after_as(reader: &mut Reader) -> Result<String> {
    reader.take(&["AS"]);
    Ok(setting(reader)?.unwrap_or_default())
}

fn copy_table(reader: &mut Reader) -> Result<CopyWhat> {
    let text_start = reader.next_place();
    let table = reader.relation()?;
    let has_columns = reader.peek().is_none() && !reader.is_end();
    let columns = if has_columns { reader.names_in_parentheses()? } else { Vec::new() };
    if reader.take(&["FROM"]) {
        if !reader.take(&["STDIN"]) {
            return Err(reader.refuse("COPY FROM a file or program").with_hint("COPY … FROM STDIN, or a source WITH (connector = 'file')"));
        }
        return Ok(CopyWhat::From { table, columns });
    }
    reader.expect(&["TO"])?;
    if !reader.take(&["STDOUT"]) {
        return Err(reader.refuse("COPY TO a file or program").with_hint("COPY … TO STDOUT, or a sink WITH (connector = 'file')"));
    }
    if !columns.is_empty() {
        return Err(at(syntax("for some columns write COPY (SELECT … FROM …) TO STDOUT"), text_start));
    }
    let quoted = format!("SELECT * FROM \"{}\"", table.text.replace('"', "\"\""));
    match super::parse(&quoted)?.pop().map(|s| Arc::unwrap_or_clone(s.ast)) {
        Some(Ast::Query(query)) => Ok(CopyWhat::To(Readable::Query(query))),
        _ => Err(table.blame(syntax("this table cannot be copied"))),
    }
}

/// `( FORMAT csv, HEADER, DELIMITER ',', NULL '' )`
fn copy_options(reader: &mut Reader) -> Result<Vec<OptionEntry>> {
    reader.expect_token(&Token::LParen)?;
    let mut entries = Vec::new();
    loop {
        let place = reader.next_place();
        let name = reader.name()?.text.to_lowercase();
        let is_bare = matches!(reader.with(|p| Ok(p.peek_token()))?.token, Token::Comma | Token::RParen);
        let value = if is_bare { "true".to_owned() } else { setting(reader)?.unwrap_or_default() };
        entries.push(OptionEntry { name, value, place });
        if !reader.take_token(&Token::Comma) {
            reader.expect_token(&Token::RParen)?;
            return Ok(entries);
        }
    }
}
