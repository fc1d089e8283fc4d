//! CREATE SOURCE, TABLE and SINK: columns, keys, watermarks, options, formats.

use datafusion::sql::sqlparser::tokenizer::Token;
use headwater_types::{Error, Result};

use super::ast::{Ast, ColumnDef, CreateRelation, CreateSink, EncodeDef, IncludeDef, OptionEntry, SinkInput, WatermarkDef};
use super::reader::{Name, Reader, at, syntax};
use super::view;

/// Words after FORMAT and ENCODE that mean something here.
const FORMATS: [&str; 2] = ["PLAIN", "UPSERT"];
const ENCODINGS: [&str; 4] = ["JSON", "CSV", "PARQUET", "NATIVE"];

/// After CREATE [OR REPLACE].
pub(crate) fn create(reader: &mut Reader) -> Result<Ast> {
    let or_replace = reader.take(&["OR", "REPLACE"]);
    match reader.peek().as_deref() {
        Some("VIEW") | Some("MATERIALIZED") => view::create_view(reader, or_replace),
        _ if or_replace => Err(reader.refuse("OR REPLACE of anything but a view")),
        Some("SOURCE") => create_relation(reader, true),
        Some("TABLE") => create_relation(reader, false),
        Some("SINK") => create_sink(reader),
        Some("TEMP" | "TEMPORARY") => Err(reader.refuse("CREATE TEMPORARY")),
        Some("DATABASE") => Err(reader.refuse("CREATE DATABASE").with_hint("a second database is a second data directory")),
        Some("RECURSIVE") => Err(reader.refuse("CREATE RECURSIVE VIEW")),
        Some(word) if KNOWN_ELSEWHERE.contains(&word) => Err(reader.refuse(&format!("CREATE {word}"))),
        _ => Err(reader.expected("SOURCE, TABLE, VIEW, MATERIALIZED VIEW or SINK")),
    }
}

/// What PostgreSQL and others can create and we cannot.
const KNOWN_ELSEWHERE: [&str; 18] = [
    "INDEX",
    "UNIQUE",
    "FUNCTION",
    "AGGREGATE",
    "SCHEMA",
    "USER",
    "ROLE",
    "SECRET",
    "CONNECTION",
    "SUBSCRIPTION",
    "TYPE",
    "SEQUENCE",
    "EXTENSION",
    "TRIGGER",
    "DOMAIN",
    "POLICY",
    "PROCEDURE",
    "UNLOGGED",
];

pub(crate) fn if_not_exists(reader: &mut Reader) -> bool {
    reader.take(&["IF", "NOT", "EXISTS"])
}

fn create_relation(reader: &mut Reader, is_source: bool) -> Result<Ast> {
    reader.next();
    let if_not_exists = if_not_exists(reader);
    let name = reader.relation()?;
    let mut relation = CreateRelation {
        is_source,
        if_not_exists,
        name,
        columns: Vec::new(),
        primary_key: Vec::new(),
        watermark: None,
        append_only: None,
        includes: Vec::new(),
        with: Vec::new(),
        encode: None,
    };
    if reader.take_token(&Token::LParen) {
        columns(reader, &mut relation)?;
    }
    loop {
        let place = reader.next_place();
        if reader.take(&["APPEND", "ONLY"]) {
            relation.append_only = place;
        } else if reader.take(&["INCLUDE"]) {
            relation.includes.push(include(reader)?);
        } else if reader.take(&["WITH"]) {
            relation.with = options(reader)?;
        } else if reader.peek().as_deref() == Some("FORMAT") {
            relation.encode = Some(encode(reader)?);
        } else {
            break;
        }
    }
    if reader.peek().as_deref() == Some("AS") {
        return Err(reader.refuse("CREATE TABLE AS").with_hint("create the table, then INSERT INTO … SELECT; or make a materialized view"));
    }
    Ok(Ast::CreateRelation(Box::new(relation)))
}

fn columns(reader: &mut Reader, relation: &mut CreateRelation) -> Result<()> {
    if reader.take_token(&Token::RParen) {
        return Ok(());
    }
    loop {
        let place = reader.next_place();
        if reader.take(&["WATERMARK", "FOR"]) {
            let column = reader.name()?;
            reader.expect(&["AS"])?;
            let watermark = WatermarkDef { column, expr: reader.expr()?, place };
            if relation.watermark.replace(watermark).is_some() {
                return Err(at(syntax("a relation has one watermark"), place));
            }
        } else if reader.take(&["PRIMARY", "KEY"]) {
            let key = reader.names_in_parentheses()?;
            add_key(relation, key)?;
        } else if let Some(word @ ("CONSTRAINT" | "UNIQUE" | "CHECK" | "FOREIGN" | "EXCLUDE" | "LIKE")) = reader.peek().as_deref() {
            return Err(reader.refuse(&format!("table constraint {word}")));
        } else {
            column(reader, relation)?;
        }
        if !reader.take_token(&Token::Comma) {
            return reader.expect_token(&Token::RParen);
        }
    }
}

fn add_key(relation: &mut CreateRelation, key: Vec<Name>) -> Result<()> {
    if relation.primary_key.is_empty() {
        relation.primary_key = key;
        return Ok(());
    }
    let error = Error::invalid(format!("multiple primary keys for \"{}\" are not allowed", relation.name.text)).with_sqlstate("42P16");
    Err(key[0].blame(error))
}

fn column(reader: &mut Reader, relation: &mut CreateRelation) -> Result<()> {
    let name = reader.name()?;
    let type_place = reader.next_place();
    let data_type = reader.data_type()?;
    let mut column = ColumnDef { name, data_type, not_null: false, default: None, type_place };
    loop {
        if reader.take(&["NOT", "NULL"]) {
            column.not_null = true;
        } else if reader.take(&["PRIMARY", "KEY"]) {
            column.not_null = true;
            add_key(relation, vec![column.name.clone()])?;
        } else if !relation.is_source && reader.take(&["DEFAULT"]) {
            column.default = Some(reader.expr()?);
        } else if !reader.take(&["NULL"]) {
            break;
        }
    }
    if let Some(word @ ("DEFAULT" | "GENERATED" | "UNIQUE" | "CHECK" | "REFERENCES" | "COLLATE" | "CONSTRAINT" | "AS")) =
        reader.peek().as_deref()
    {
        return Err(reader.refuse(&format!("column option {word}")));
    }
    relation.columns.push(column);
    Ok(())
}

fn include(reader: &mut Reader) -> Result<IncludeDef> {
    let what = reader.name()?;
    let column = if reader.take(&["AS"]) { reader.name()? } else { what.clone() };
    Ok(IncludeDef { what, column })
}

/// `( name = value, … )`: names may be dotted, values are strings, numbers or words.
pub(crate) fn options(reader: &mut Reader) -> Result<Vec<OptionEntry>> {
    reader.expect_token(&Token::LParen)?;
    let mut options: Vec<OptionEntry> = Vec::new();
    if reader.take_token(&Token::RParen) {
        return Ok(options);
    }
    loop {
        let option = option(reader)?;
        if options.iter().any(|o| o.name == option.name) {
            return Err(at(syntax(format!("option '{}' is given twice", option.name)), option.place));
        }
        options.push(option);
        if !reader.take_token(&Token::Comma) {
            reader.expect_token(&Token::RParen)?;
            return Ok(options);
        }
    }
}

fn option(reader: &mut Reader) -> Result<OptionEntry> {
    let start = reader.next_place();
    let mut name = reader.name()?.text.to_lowercase();
    while reader.take_token(&Token::Period) {
        name.push('.');
        name.push_str(&reader.name()?.text.to_lowercase());
    }
    let place = start.map(|(offset, _)| (offset, name.chars().count()));
    // COPY's options have no sign between name and value.
    reader.take_token(&Token::Eq);
    Ok(OptionEntry { name, value: value(reader)?, place })
}

fn value(reader: &mut Reader) -> Result<String> {
    let negative = reader.take_token(&Token::Minus);
    let expected = reader.expected("a string, number or word");
    match reader.next().token {
        Token::Number(number, _) => Ok(if negative { format!("-{number}") } else { number }),
        _ if negative => Err(expected),
        Token::SingleQuotedString(text) | Token::EscapedStringLiteral(text) => Ok(text),
        Token::DollarQuotedString(text) => Ok(text.value),
        Token::Word(word) => Ok(word.value),
        _ => Err(expected),
    }
}

fn encode(reader: &mut Reader) -> Result<EncodeDef> {
    let place = reader.next_place();
    reader.expect(&["FORMAT"])?;
    let format = one_of(reader, "FORMAT", &FORMATS)?;
    reader.expect(&["ENCODE"])?;
    let encoding = one_of(reader, "ENCODE", &ENCODINGS)?;
    let has_options = reader.peek().is_none() && !reader.is_end();
    let options = if has_options { options(reader)? } else { Vec::new() };
    Ok(EncodeDef { format, encoding, options, place })
}

fn one_of(reader: &mut Reader, clause: &str, words: &[&str]) -> Result<String> {
    let known = reader.peek().filter(|word| words.contains(&word.as_str()));
    match known {
        Some(word) => {
            reader.next();
            Ok(word.to_lowercase())
        }
        None => match reader.peek() {
            Some(other) => Err(reader.refuse(&format!("{clause} {other}")).with_hint(format!("there are: {}", words.join(", ")))),
            None => Err(reader.expected(&words.join(" or "))),
        },
    }
}

fn create_sink(reader: &mut Reader) -> Result<Ast> {
    reader.next();
    let if_not_exists = if_not_exists(reader);
    let name = reader.relation()?;
    if reader.peek().as_deref() == Some("INTO") {
        return Err(reader.refuse("CREATE SINK … INTO a table"));
    }
    let input = if reader.take(&["FROM"]) {
        SinkInput::Relation(reader.relation()?)
    } else {
        reader.expect(&["AS"])?;
        let (query, emit) = view::query_with_emit(reader)?;
        SinkInput::Query(query, emit)
    };
    let with = if reader.take(&["WITH"]) { options(reader)? } else { Vec::new() };
    let encode = if reader.peek().as_deref() == Some("FORMAT") { Some(encode(reader)?) } else { None };
    Ok(Ast::CreateSink(Box::new(CreateSink { if_not_exists, name, input, with, encode })))
}
