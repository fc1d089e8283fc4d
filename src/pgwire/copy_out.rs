//! COPY … TO STDOUT in text form (values between tabs, escaped, `\N` for NULL) and as CSV (values in quotes where they need them): a line a row.

use crate::copy_text::delimiter;
use crate::encode::{Format, encode_column};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use headwater::CopyFormat;
use headwater_types::{Error, Result};
use pgwire::messages::copy::CopyOutResponse;

/// Makes lines of the batches of one COPY.
#[derive(Debug)]
pub struct CopyEncoder {
    schema: SchemaRef,
    is_csv: bool,
    has_header: bool,
    delimiter: u8,
    null: Vec<u8>,
}

impl CopyEncoder {
    /// For rows of `schema`, in the form `format`.
    ///
    /// # Errors
    /// `Unsupported` for the binary form, `Invalid` for a delimiter that is none.
    pub fn new(schema: SchemaRef, format: &CopyFormat) -> Result<Self> {
        if format.name == "binary" {
            return Err(Error::unsupported("COPY TO in binary format").with_hint("use the text or csv format"));
        }
        let (is_csv, has_header, null) = (format.name == "csv", format.header, format.null.clone().into_bytes());
        Ok(Self { schema, is_csv, has_header, delimiter: delimiter(format)?, null })
    }

    /// What announces the copy: text, so many columns.
    #[must_use]
    pub fn response(&self) -> CopyOutResponse {
        let columns = i16::try_from(self.schema.fields().len()).unwrap_or(i16::MAX);
        CopyOutResponse::new(0, columns, vec![0; self.schema.fields().len()])
    }

    /// The line of the columns' names, if one is wanted.
    #[must_use]
    pub fn header(&self) -> Option<Vec<u8>> {
        let mut line = Vec::new();
        self.line(self.schema.fields().iter().map(|f| Some(f.name().as_bytes())), &mut line);
        self.has_header.then_some(line)
    }

    /// Hands the line of each row of `batch` to `take`.
    ///
    /// # Errors
    /// A value that has no text form.
    pub fn each_line(&self, batch: &RecordBatch, mut take: impl FnMut(&[u8])) -> Result<()> {
        let encoded = batch.columns().iter().zip(self.schema.fields()).map(|(array, field)| encode_column(array, field, Format::Text));
        let columns = encoded.collect::<Result<Vec<_>>>()?;
        let mut line = Vec::with_capacity(256);
        for row in 0..batch.num_rows() {
            line.clear();
            self.line(columns.iter().map(|cells| cells.get(row)), &mut line);
            take(&line);
        }
        Ok(())
    }

    /// Appends one line of values; `None` is NULL.
    fn line<'a>(&self, values: impl Iterator<Item = Option<&'a [u8]>>, line: &mut Vec<u8>) {
        for (at, value) in values.enumerate() {
            if at > 0 {
                line.push(self.delimiter);
            }
            match value {
                None => line.extend_from_slice(&self.null),
                Some(value) if self.is_csv => self.quote(value, line),
                Some(value) => self.escape(value, line),
            }
        }
        line.push(b'\n');
    }

    /// Puts quotes around a value that would be read as something else without them: NULL, several values, the end of the data.
    fn quote(&self, value: &[u8], line: &mut Vec<u8>) {
        let is_special = |byte: &u8| *byte == self.delimiter || b"\"\r\n".contains(byte);
        if value != self.null && value != b"\\." && !value.iter().any(is_special) {
            return line.extend_from_slice(value);
        }
        line.push(b'"');
        for byte in value {
            if *byte == b'"' {
                line.push(b'"');
            }
            line.push(*byte);
        }
        line.push(b'"');
    }

    fn escape(&self, value: &[u8], line: &mut Vec<u8>) {
        for byte in value {
            match byte {
                b'\\' => line.extend_from_slice(b"\\\\"),
                b'\t' => line.extend_from_slice(b"\\t"),
                b'\n' => line.extend_from_slice(b"\\n"),
                b'\r' => line.extend_from_slice(b"\\r"),
                8 => line.extend_from_slice(b"\\b"),
                12 => line.extend_from_slice(b"\\f"),
                11 => line.extend_from_slice(b"\\v"),
                other if *other == self.delimiter => line.extend_from_slice(&[b'\\', *other]),
                other => line.push(*other),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Int32Array, StringArray};
    use std::sync::Arc;

    #[test]
    fn lines_with_escapes_and_nulls() {
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("a", Arc::new(Int32Array::from(vec![Some(1), None]))),
            ("b", Arc::new(StringArray::from(vec!["x\ty", "back\\slash\nline"]))),
        ];
        let batch = RecordBatch::try_from_iter(columns).expect("batch");
        let encoder = encoder(&batch, "text", '\t', "\\N");
        assert_eq!(lines(&encoder, &batch), ["1\tx\\ty\n", "\\N\tback\\\\slash\\nline\n"]);
    }

    fn lines(encoder: &CopyEncoder, batch: &RecordBatch) -> Vec<String> {
        let mut lines = Vec::new();
        encoder.each_line(batch, |line| lines.push(String::from_utf8_lossy(line).into_owned())).expect("text");
        lines
    }

    fn encoder(batch: &RecordBatch, name: &str, delimiter: char, null: &str) -> CopyEncoder {
        let format = CopyFormat { name: name.to_owned(), header: true, delimiter, null: null.to_owned() };
        CopyEncoder::new(batch.schema(), &format).expect("a form that is written")
    }

    #[test]
    fn csv_quotes_what_would_be_read_otherwise() {
        let texts = StringArray::from(vec![Some("plain"), Some(""), None, Some("a;b"), Some("say \"x\""), Some("two\nlines"), Some("\\.")]);
        let batch = RecordBatch::try_from_iter([("the;name", Arc::new(texts) as ArrayRef)]).expect("batch");
        let encoder = encoder(&batch, "csv", ';', "");
        assert_eq!(encoder.header(), Some(b"\"the;name\"\n".to_vec()));
        let expected = ["plain\n", "\"\"\n", "\n", "\"a;b\"\n", "\"say \"\"x\"\"\"\n", "\"two\nlines\"\n", "\"\\.\"\n"];
        assert_eq!(lines(&encoder, &batch), expected);
    }
}
