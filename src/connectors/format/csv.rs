//! CSV records to columns, by RFC 4180: quotes protect delimiters and line ends, a doubled quote is one.

use headwater_types::{Error, Result};

use super::column::Column;
use crate::Options;

/// What is shown of a header in an error, in characters.
const HEADER_SHOWN_MAX: usize = 500;

/// Decodes CSV records. An empty field without quotes is NULL; one in quotes is the empty text.
pub(crate) struct CsvRecords {
    delimiter: u8,
    has_header: bool,
    /// Where each field of a record goes; `None` for fields that no column wants.
    fields: Vec<Option<usize>>,
    /// How many columns want a field.
    wanted: usize,
    names: Vec<(usize, String)>,
    unquoted: Vec<u8>,
}

impl CsvRecords {
    /// Fields go to these columns (index and name): in this order, or by the names in a header.
    ///
    /// # Errors
    /// `Invalid` for a bad `delimiter` or `header`.
    pub(crate) fn new<'a>(options: &Options, columns: impl Iterator<Item = (usize, &'a str)>) -> Result<Self> {
        let delimiter = match options.get("delimiter").map(String::as_str) {
            None => b',',
            Some("\\t") => b'\t',
            Some(text) => match text.as_bytes() {
                [byte] if byte.is_ascii() && !b"\"\r\n".contains(byte) => *byte,
                _ => return Err(Error::invalid(format!("delimiter = '{text}' is not one ASCII character"))),
            },
        };
        let has_header = crate::options::flag(options, "header")?.unwrap_or(false);
        let names: Vec<(usize, String)> = columns.map(|(at, name)| (at, String::from(name))).collect();
        let fields = names.iter().map(|(at, _)| Some(*at)).collect();
        Ok(Self { delimiter, has_header, fields, wanted: names.len(), names, unquoted: Vec::new() })
    }

    /// True if each file starts with a line of names.
    pub(crate) fn has_header(&self) -> bool {
        self.has_header
    }

    /// Takes the order of fields from a line of names. Names that no column has are passed over.
    ///
    /// # Errors
    /// `Invalid` if a name stands twice, or that of a column is not there.
    pub(crate) fn header(&mut self, line: &[u8]) -> Result<()> {
        let (mut fields, mut found): (Vec<Option<usize>>, Vec<String>) = (Vec::new(), Vec::new());
        let (mut rest, mut unquoted) = (Some(trim_line_end(line)), Vec::new());
        while let Some(text) = rest {
            let field = next_field(text, self.delimiter, &mut unquoted).map_err(Error::invalid)?;
            let name = String::from_utf8_lossy(field.value.trim_ascii()).into_owned();
            let column = self.names.iter().find(|(_, n)| *n == name).map(|(at, _)| *at);
            if column.is_some() && fields.contains(&column) {
                return Err(Error::invalid(format!("the header names column \"{name}\" twice")));
            }
            fields.push(column);
            found.push(name);
            rest = field.rest;
        }
        if let Some((_, missing)) = self.names.iter().find(|(at, _)| !fields.contains(&Some(*at))) {
            return Err(self.missing(missing, &found));
        }
        self.wanted = fields.iter().flatten().count();
        self.fields = fields;
        Ok(())
    }

    /// The error for a header with the names `found`, among which `missing` is not.
    fn missing(&self, missing: &str, found: &[String]) -> Error {
        let shown: String = found.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
        let shown: String = shown.chars().take(HEADER_SHOWN_MAX).collect();
        let error = Error::invalid(format!("the header lacks column \"{missing}\": it has {shown}"));
        let other = found.first().filter(|_| found.len() == 1).and_then(|line| line.chars().find(|c| ",;\t|".contains(*c)));
        let alike = found.iter().find(|name| name.eq_ignore_ascii_case(missing));
        match (other, alike) {
            (Some('\t'), _) => error.with_hint("fields seem to be separated by tabs: ENCODE CSV (delimiter = '\\t', …)"),
            (Some(other), _) => error.with_hint(format!("fields seem to be separated by '{other}': ENCODE CSV (delimiter = '{other}', …)")),
            (None, Some(alike)) => {
                error.with_hint(format!("names in a header count as they are written: declare the column as \"{alike}\""))
            }
            (None, None) => {
                error.with_hint(format!("fields are separated by '{}', and names count as they are written", self.delimiter.escape_ascii()))
            }
        }
    }

    /// Appends the fields of one record to `columns`; gives how many columns it has.
    ///
    /// # Errors
    /// Why it is no row; some columns may then be longer than others.
    pub(crate) fn decode(&mut self, record: &[u8], columns: &mut [Column]) -> std::result::Result<usize, String> {
        if let Err(error) = std::str::from_utf8(record) {
            return Err(format!("not UTF-8 at byte {}", error.valid_up_to()));
        }
        let record = trim_line_end(record);
        let mut rest = Some(record);
        let mut at = 0;
        while let Some(text) = rest {
            let field = next_field(text, self.delimiter, &mut self.unquoted)?;
            match self.fields.get(at) {
                Some(Some(column)) if field.value.is_empty() && !field.is_quoted => columns[*column].push_null()?,
                Some(Some(column)) => columns[*column].push_text(field.value)?,
                Some(None) => {}
                None => return Err(format!("more than the {} fields there should be", self.fields.len())),
            }
            rest = field.rest;
            at += 1;
        }
        if at < self.fields.len() {
            return Err(format!("{at} fields where there should be {}", self.fields.len()));
        }
        Ok(self.wanted)
    }

    /// The end of the record that `bytes` begin with, its line end included; `None` if that has not come yet.
    pub(crate) fn record_end(&self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        loop {
            if bytes.get(at) == Some(&b'"') {
                at = closing_quote(bytes, at + 1)? + 1;
            }
            at += memchr::memchr2(self.delimiter, b'\n', &bytes[at..])? + 1;
            if bytes[at - 1] == b'\n' {
                return Some(at);
            }
        }
    }
}

struct Field<'a, 'b> {
    value: &'b [u8],
    is_quoted: bool,
    /// What follows the delimiter; `None` after the last field.
    rest: Option<&'a [u8]>,
}

/// The first field of `text`. Quotes inside a field that does not begin with one are part of it.
fn next_field<'a: 'b, 'b>(text: &'a [u8], delimiter: u8, unquoted: &'b mut Vec<u8>) -> std::result::Result<Field<'a, 'b>, String> {
    if text.first() != Some(&b'"') {
        let end = memchr::memchr(delimiter, text);
        let value = &text[..end.unwrap_or(text.len())];
        return Ok(Field { value, is_quoted: false, rest: end.map(|end| &text[end + 1..]) });
    }
    let end = closing_quote(text, 1).ok_or("a quote is not closed")?;
    let rest = match text.get(end + 1) {
        None => None,
        Some(byte) if *byte == delimiter => Some(&text[end + 2..]),
        Some(_) => return Err(String::from("text after a closing quote")),
    };
    let raw = &text[1..end];
    if memchr::memchr(b'"', raw).is_none() {
        return Ok(Field { value: raw, is_quoted: true, rest });
    }
    unquoted.clear();
    let mut after_quote = false;
    for byte in raw {
        after_quote = *byte == b'"' && !after_quote;
        if !after_quote {
            unquoted.push(*byte);
        }
    }
    Ok(Field { value: unquoted, is_quoted: true, rest })
}

/// Where the quote stands that closes the field which continues at `at`.
fn closing_quote(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at += memchr::memchr(b'"', bytes.get(at..)?)?;
        if bytes.get(at + 1) != Some(&b'"') {
            return Some(at);
        }
        at += 2;
    }
}

/// `record` without the line end it may have.
pub(crate) fn trim_line_end(record: &[u8]) -> &[u8] {
    let record = record.strip_suffix(b"\n").unwrap_or(record);
    record.strip_suffix(b"\r").unwrap_or(record)
}
