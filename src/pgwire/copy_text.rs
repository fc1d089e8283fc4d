//! COPY's text and CSV forms, from bytes that come in pieces to columns.

use crate::decode::read_text_column;
use arrow::array::{Array, RecordBatch, StringArray, StringBuilder};
use arrow::datatypes::{FieldRef, Schema};
use headwater::{CopyFormat, CopyIn};
use headwater_types::{Error, Result};
use std::sync::Arc;

/// A longer line is an error: something is wrong with its quotes, and memory has a bound.
const LINE_BYTES_MAX: usize = 64 << 20;
/// Texts of a batch beyond this many bytes are handed over although it has few rows.
const BATCH_BYTES: usize = 4 << 20;

/// Reads the lines of one COPY.
pub struct CopyText {
    lines: Lines,
    is_csv: bool,
    delimiter: u8,
    null: Vec<u8>,
    /// A first line of names is passed over.
    skips_header: bool,
    table: String,
    fields: Vec<FieldRef>,
    texts: Vec<StringBuilder>,
    rows: usize,
    bytes: usize,
    /// Lines before the first row of this batch.
    lines_before: u64,
    /// The marker `\.` has come: nothing after it counts.
    is_ended: bool,
    scratch: Vec<u8>,
}

/// Bytes that have come and are not read yet, cut into lines.
struct Lines {
    is_csv: bool,
    bytes: Vec<u8>,
    /// Where the line begins that is not complete yet, and up to where it was searched for its end.
    start: usize,
    searched: usize,
    is_quoted: bool,
}

impl Lines {
    /// The next complete line, without its end. In text form a backslash protects a line end, in CSV quotes do.
    fn next(&mut self) -> Option<(usize, usize)> {
        while let Some(&byte) = self.bytes.get(self.searched) {
            match byte {
                b'\\' if !self.is_csv => {
                    // What a backslash at the very end protects has not come yet.
                    self.bytes.get(self.searched + 1)?;
                    self.searched += 1;
                }
                b'"' if self.is_csv => self.is_quoted = !self.is_quoted,
                b'\n' if !self.is_quoted => {
                    let (start, mut end) = (self.start, self.searched);
                    self.searched += 1;
                    self.start = self.searched;
                    if end > start && self.bytes[end - 1] == b'\r' {
                        end -= 1;
                    }
                    return Some((start, end));
                }
                _ => {}
            }
            self.searched += 1;
        }
        None
    }

    /// Forgets the lines that were given.
    fn forget(&mut self) {
        self.bytes.drain(..self.start);
        self.searched -= self.start;
        self.start = 0;
    }
}

impl CopyText {
    /// Rows after which a batch is handed over.
    pub const BATCH_ROWS: usize = 8_192;

    /// For the columns and the form of `copy`.
    ///
    /// # Errors
    /// `Unsupported` for the binary form.
    pub fn new(copy: &CopyIn) -> Result<Self> {
        let (format, fields) = (copy.format(), copy.fields().to_vec());
        if format.name == "binary" {
            return Err(Error::unsupported("COPY FROM in binary format").with_hint("use the text or csv format"));
        }
        let is_csv = format.name == "csv";
        let delimiter = delimiter(format)?;
        let lines = Lines { is_csv, bytes: Vec::new(), start: 0, searched: 0, is_quoted: false };
        Ok(Self {
            lines,
            is_csv,
            delimiter,
            null: format.null.clone().into_bytes(),
            skips_header: format.header,
            table: copy.table().to_owned(),
            texts: fields.iter().map(|_| StringBuilder::new()).collect(),
            fields,
            rows: 0,
            bytes: 0,
            lines_before: 0,
            is_ended: false,
            scratch: Vec::new(),
        })
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// `Invalid` (22P04) for a line with too many or too few values, 22021 for bytes that are no UTF-8.
    pub fn feed(&mut self, data: &[u8]) -> Result<()> {
        self.lines.bytes.extend_from_slice(data);
        while let Some((start, end)) = self.lines.next() {
            let bytes = std::mem::take(&mut self.lines.bytes);
            let read = self.line(&bytes[start..end]);
            self.lines.bytes = bytes;
            read?;
        }
        self.lines.forget();
        if self.lines.bytes.len() > LINE_BYTES_MAX {
            return Err(self.blame(Error::limit("a line of more than 64 MiB").with_sqlstate("54000"), None));
        }
        Ok(())
    }

    /// No more bytes come: a last line may lack its end.
    ///
    /// # Errors
    /// As [`CopyText::feed`]; 22P04 for a quote that is never closed.
    pub fn end(&mut self) -> Result<()> {
        if self.lines.is_quoted && !self.is_ended {
            return Err(self.blame(malformed("unterminated CSV quoted field"), None));
        }
        if !self.lines.bytes.is_empty() {
            self.feed(b"\n")?;
        }
        // A backslash at the very end protects the line end that is not there.
        if self.lines.bytes.is_empty() { Ok(()) } else { Err(self.blame(malformed("unexpected end of the data"), None)) }
    }

    /// Rows that wait to be taken; a batch's worth also where they are few but large.
    pub fn rows(&self) -> usize {
        if self.bytes >= BATCH_BYTES { self.rows.max(Self::BATCH_ROWS) } else { self.rows }
    }

    /// The rows so far, with their types.
    ///
    /// # Errors
    /// As [`read_text_column`], with the line and the column.
    pub fn take(&mut self) -> Result<RecordBatch> {
        let texts: Vec<StringArray> = self.texts.iter_mut().map(StringBuilder::finish).collect();
        let columns = texts.iter().zip(&self.fields).map(|(texts, field)| {
            // A NULL in a NOT NULL column is for the table to refuse.
            read_text_column(texts, field).map_err(|error| self.place(texts, field, error))
        });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let schema = Schema::new(self.fields.iter().map(|f| f.as_ref().clone().with_nullable(true)).collect::<Vec<_>>());
        self.lines_before += self.rows as u64;
        (self.rows, self.bytes) = (0, 0);
        Ok(RecordBatch::try_new(Arc::new(schema), columns)?)
    }

    /// Finds the value that is none of its type.
    fn place(&self, texts: &StringArray, field: &FieldRef, error: Error) -> Error {
        match (0..texts.len()).find(|&row| read_text_column(&texts.slice(row, 1), field).is_err()) {
            Some(row) => self.blame_line(error, self.lines_before + row as u64 + 1, Some(field.name())),
            None => error,
        }
    }

    fn line(&mut self, line: &[u8]) -> Result<()> {
        if self.is_ended {
            return Ok(());
        }
        if std::mem::take(&mut self.skips_header) {
            self.lines_before += 1;
            return Ok(());
        }
        if line == b"\\." {
            self.is_ended = true;
            return Ok(());
        }
        let mut rest = Some(line);
        for at in 0..self.fields.len() {
            let Some(text) = rest else {
                let message = format!("missing data for column \"{}\"", self.fields[at].name());
                return Err(self.blame(malformed(&message), None));
            };
            self.scratch.clear();
            let is_plain;
            let read = if self.is_csv { csv_field } else { text_field };
            (rest, is_plain) = read(text, self.delimiter, &mut self.scratch);
            // NULL is compared as it was written; in CSV quotes say that it is no NULL.
            let raw = &text[..text.len() - rest.map_or(0, |r| r.len() + 1)];
            let is_null = if self.is_csv { is_plain && self.scratch == self.null } else { raw == self.null };
            if is_null {
                self.texts[at].append_null();
                continue;
            }
            let Ok(value) = std::str::from_utf8(&self.scratch) else {
                let error = Error::invalid("invalid byte sequence for encoding \"UTF8\"").with_sqlstate("22021");
                return Err(self.blame(error, Some(self.fields[at].name())));
            };
            self.texts[at].append_value(value);
            self.bytes += value.len();
        }
        if rest.is_some() {
            return Err(self.blame(malformed("extra data after last expected column"), None));
        }
        self.rows += 1;
        Ok(())
    }

    /// Says that `error` is about the line that is being read.
    fn blame(&self, error: Error, column: Option<&str>) -> Error {
        self.blame_line(error, self.lines_before + self.rows as u64 + 1, column)
    }

    fn blame_line(&self, error: Error, line: u64, column: Option<&str>) -> Error {
        let column = column.map_or_else(String::new, |c| format!(", column {c}"));
        error.with_detail(format!("COPY {}, line {line}{column}", self.table))
    }
}

/// The byte between two values.
///
/// # Errors
/// `Invalid` (22023) if it is more than one, or stands for something else.
pub(crate) fn delimiter(format: &CopyFormat) -> Result<u8> {
    let delimiter = u8::try_from(format.delimiter).ok().filter(u8::is_ascii).filter(|d| !b"\"\r\n\\".contains(d));
    delimiter.ok_or_else(|| Error::invalid("COPY delimiter must be a single one-byte character").with_sqlstate("22023"))
}

fn malformed(message: &str) -> Error {
    Error::invalid(message).with_sqlstate("22P04")
}

/// The first value of a line in text form, its escapes resolved into `value`; what follows the delimiter, if there is one.
fn text_field<'a>(line: &'a [u8], delimiter: u8, value: &mut Vec<u8>) -> (Option<&'a [u8]>, bool) {
    let mut at = 0;
    while let Some(&byte) = line.get(at) {
        at += 1;
        if byte == delimiter {
            return (Some(&line[at..]), true);
        }
        if byte != b'\\' {
            value.push(byte);
            continue;
        }
        let Some(&escaped) = line.get(at) else {
            value.push(b'\\');
            break;
        };
        at += 1;
        match escaped {
            b'b' => value.push(8),
            b'f' => value.push(12),
            b'n' => value.push(b'\n'),
            b'r' => value.push(b'\r'),
            b't' => value.push(b'\t'),
            b'v' => value.push(11),
            b'0'..=b'7' => at += number(&line[at - 1..], 8, 3, value) - 1,
            b'x' if line.get(at).is_some_and(u8::is_ascii_hexdigit) => at += number(&line[at..], 16, 2, value),
            other => value.push(other),
        }
    }
    (None, true)
}

/// A byte written as up to `digits_max` digits; returns how many there are.
fn number(digits: &[u8], radix: u32, digits_max: usize, value: &mut Vec<u8>) -> usize {
    let read = digits.iter().take(digits_max).map_while(|d| char::from(*d).to_digit(radix));
    let (count, byte) = read.fold((0, 0_u32), |(count, byte), digit| (count + 1, byte * radix + digit));
    // Three octal digits may say more than a byte holds; PostgreSQL keeps the low bits.
    value.push((byte & 0xff) as u8);
    count
}

/// The first value of a CSV line, its quotes resolved into `value`; what follows the delimiter, and whether it had no quotes.
fn csv_field<'a>(line: &'a [u8], delimiter: u8, value: &mut Vec<u8>) -> (Option<&'a [u8]>, bool) {
    let (mut at, mut is_quoted, mut is_plain) = (0, false, true);
    while let Some(&byte) = line.get(at) {
        at += 1;
        match byte {
            b'"' if is_quoted && line.get(at) == Some(&b'"') => {
                value.push(b'"');
                at += 1;
            }
            b'"' => (is_quoted, is_plain) = (!is_quoted, false),
            other if other == delimiter && !is_quoted => return (Some(&line[at..]), is_plain),
            other => value.push(other),
        }
    }
    (None, is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Read = for<'a> fn(&'a [u8], u8, &mut Vec<u8>) -> (Option<&'a [u8]>, bool);

    fn fields(line: &str, read: Read, delimiter: u8) -> Vec<String> {
        let (mut rest, mut values) = (Some(line.as_bytes()), Vec::new());
        while let Some(text) = rest {
            let mut value = Vec::new();
            rest = read(text, delimiter, &mut value).0;
            values.push(String::from_utf8(value).unwrap());
        }
        values
    }

    #[test]
    fn escapes_of_the_text_form() {
        assert_eq!(fields("a\tb\\tc\t", text_field, b'\t'), ["a", "b\tc", ""]);
        assert_eq!(fields(r"\101\x42\q|\\|\|x", text_field, b'|'), ["ABq", "\\", "|x"]);
    }

    #[test]
    fn quotes_of_csv() {
        assert_eq!(fields("a,\"b,\"\"c\"\"\",\"\",d", csv_field, b','), ["a", "b,\"c\"", "", "d"]);
        assert!(!csv_field(b"\"\"", b',', &mut Vec::new()).1);
    }

    fn lines(is_csv: bool, pieces: &[&str]) -> Vec<String> {
        let mut lines = Lines { is_csv, bytes: Vec::new(), start: 0, searched: 0, is_quoted: false };
        let mut found = Vec::new();
        for piece in pieces {
            lines.bytes.extend_from_slice(piece.as_bytes());
            while let Some((start, end)) = lines.next() {
                found.push(String::from_utf8(lines.bytes[start..end].to_vec()).unwrap());
            }
            lines.forget();
        }
        found
    }

    #[test]
    fn lines_come_in_pieces() {
        assert_eq!(lines(false, &["a", "b\nc\\", "\nd\r", "\n"]), ["ab", "c\\\nd"]);
        assert_eq!(lines(true, &["a,\"x\ny", "\"\nb\r\n"]), ["a,\"x\ny\"", "b"]);
    }
}
