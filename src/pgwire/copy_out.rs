//! COPY … TO STDOUT in text form: a line a row, values between tabs, `\N` for NULL.

use crate::encode::{Format, encode_column};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bytes::{BufMut, BytesMut};
use headwater_types::Result;
use pgwire::messages::copy::{CopyOutResponse, MESSAGE_TYPE_BYTE_COPY_DATA};

/// Encodes the batches of one COPY.
#[derive(Debug)]
pub struct CopyEncoder {
    schema: SchemaRef,
}

impl CopyEncoder {
    /// For rows of `schema`.
    #[must_use]
    pub fn new(schema: SchemaRef) -> Self {
        Self { schema }
    }

    /// What announces the copy: text, so many columns.
    #[must_use]
    pub fn response(&self) -> CopyOutResponse {
        let columns = i16::try_from(self.schema.fields().len()).unwrap_or(i16::MAX);
        CopyOutResponse::new(0, columns, vec![0; self.schema.fields().len()])
    }

    /// Appends each row of `batch` as a `CopyData` message.
    ///
    /// # Errors
    /// As [`encode_column`].
    pub fn write(&self, batch: &RecordBatch, out: &mut BytesMut) -> Result<()> {
        each_line(&self.schema, batch, |line| {
            out.reserve(line.len() + 5);
            out.put_u8(MESSAGE_TYPE_BYTE_COPY_DATA);
            out.put_i32(i32::try_from(line.len() + 4).unwrap_or(i32::MAX));
            out.put_slice(line);
        })
    }
}

/// The rows of `batch` as the text that COPY … TO STDOUT gives.
///
/// # Errors
/// As [`crate::text_rows`].
pub fn copy_lines(batch: &RecordBatch) -> Result<Vec<u8>> {
    let mut lines = Vec::new();
    each_line(&batch.schema(), batch, |line| lines.extend_from_slice(line))?;
    Ok(lines)
}

fn each_line(schema: &SchemaRef, batch: &RecordBatch, mut take: impl FnMut(&[u8])) -> Result<()> {
    let encoded = batch.columns().iter().zip(schema.fields()).map(|(array, field)| encode_column(array, field, Format::Text));
    let columns = encoded.collect::<Result<Vec<_>>>()?;
    let mut line = Vec::with_capacity(256);
    for row in 0..batch.num_rows() {
        line.clear();
        for (at, cells) in columns.iter().enumerate() {
            if at > 0 {
                line.push(b'\t');
            }
            match cells.get(row) {
                None => line.extend_from_slice(b"\\N"),
                Some(value) => escape(value, &mut line),
            }
        }
        line.push(b'\n');
        take(&line);
    }
    Ok(())
}

fn escape(value: &[u8], line: &mut Vec<u8>) {
    for byte in value {
        match byte {
            b'\\' => line.extend_from_slice(b"\\\\"),
            b'\t' => line.extend_from_slice(b"\\t"),
            b'\n' => line.extend_from_slice(b"\\n"),
            b'\r' => line.extend_from_slice(b"\\r"),
            8 => line.extend_from_slice(b"\\b"),
            12 => line.extend_from_slice(b"\\f"),
            11 => line.extend_from_slice(b"\\v"),
            other => line.push(*other),
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
        let mut out = BytesMut::new();
        CopyEncoder::new(batch.schema()).write(&batch, &mut out).expect("text");
        let text: Vec<u8> = out.to_vec();
        assert_eq!(&text[..1], b"d");
        let shown = String::from_utf8_lossy(&text);
        assert!(shown.contains("1\tx\\ty\n"), "{shown:?}");
        assert!(shown.contains("\\N\tback\\\\slash\\nline\n"), "{shown:?}");
    }
}
