//! Batches to the protocol's rows: columns are encoded first, then woven into `DataRow` messages.

use super::cells::Cells;
use super::column::{Format, encode_column};
use super::nested::write_sized;
use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use bytes::{BufMut, BytesMut};
use headwater::system::wire_type;
use headwater_types::{Error, Result};
use pgwire::messages::data::{FieldDescription, RowDescription};

/// The `RowDescription` of rows with `schema`, in the formats that [`RowEncoder::new`] was asked for.
///
/// # Errors
/// `Unsupported` for a column whose type PostgreSQL does not have.
pub fn describe_columns(schema: &Schema, formats: &[Format]) -> Result<RowDescription> {
    let mut fields = Vec::with_capacity(schema.fields().len());
    for (field, format) in schema.fields().iter().zip(formats) {
        let wire = wire_type(field).ok_or_else(|| {
            Error::unsupported(format!("column \"{}\" of the type {}", field.name(), field.data_type()))
                .with_hint("Cast the column to text, or take its parts.")
        })?;
        let code = i16::from(*format == Format::Binary);
        fields.push(FieldDescription::new(field.name().clone(), 0, 0, wire.oid, wire.length, wire.modifier, code));
    }
    Ok(RowDescription::new(fields))
}

/// Encodes the batches of one result.
#[derive(Debug)]
pub struct RowEncoder {
    schema: SchemaRef,
    formats: Vec<Format>,
}

/// A batch in wire form, ready to be sent in portions.
#[derive(Debug)]
pub struct EncodedRows {
    columns: Vec<Cells>,
    rows: usize,
    next: usize,
}

impl RowEncoder {
    /// For rows of `schema`. `codes` are those of Bind: none means text, one is for all columns, otherwise one each.
    ///
    /// # Errors
    /// `Invalid` (08P01) where the number of codes does not fit or a code is unknown.
    pub fn new(schema: SchemaRef, codes: &[i16]) -> Result<Self> {
        let columns = schema.fields().len();
        let formats = codes.iter().map(|c| format_of_code(*c)).collect::<Result<Vec<_>>>()?;
        let formats = match formats.len() {
            0 => vec![Format::Text; columns],
            1 => vec![formats[0]; columns],
            n if n == columns => formats,
            n => {
                let message = format!("bind message has {n} result formats but query has {columns} columns");
                return Err(Error::invalid(message).with_sqlstate("08P01"));
            }
        };
        Ok(Self { schema, formats })
    }

    /// The format of each column.
    #[must_use]
    pub fn formats(&self) -> &[Format] {
        &self.formats
    }

    /// The columns of the rows.
    #[must_use]
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// All values of `batch`, column by column.
    ///
    /// # Errors
    /// As [`encode_column`].
    pub fn encode(&self, batch: &RecordBatch) -> Result<EncodedRows> {
        let columns = batch
            .columns()
            .iter()
            .zip(self.schema.fields())
            .zip(&self.formats)
            .map(|((array, field), format)| encode_column(array, field, *format))
            .collect::<Result<Vec<_>>>()?;
        Ok(EncodedRows { columns, rows: batch.num_rows(), next: 0 })
    }
}

impl EncodedRows {
    /// Appends up to `rows_max` further rows as `DataRow` messages; returns how many.
    pub fn write(&mut self, rows_max: usize, out: &mut BytesMut) -> usize {
        let end = self.rows.min(self.next.saturating_add(rows_max));
        let mut body = Vec::with_capacity(256);
        for row in self.next..end {
            body.clear();
            for cells in &self.columns {
                write_sized(cells.get(row), &mut body);
            }
            out.reserve(body.len() + 7);
            out.put_u8(pgwire::messages::data::MESSAGE_TYPE_BYTE_DATA_ROW);
            out.put_i32(i32::try_from(body.len() + 6).unwrap_or(i32::MAX));
            out.put_i16(i16::try_from(self.columns.len()).unwrap_or(i16::MAX));
            out.put_slice(&body);
        }
        let written = end - self.next;
        self.next = end;
        written
    }

    /// True when every row has been written.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.next == self.rows
    }
}

/// The format of a protocol code: 0 text, 1 binary.
///
/// # Errors
/// `Invalid` (22023) for any other.
pub fn format_of_code(code: i16) -> Result<Format> {
    match code {
        0 => Ok(Format::Text),
        1 => Ok(Format::Binary),
        other => Err(Error::invalid(format!("unsupported format code: {other}")).with_sqlstate("22023")),
    }
}
