//! Records to columns: one decoder appends record after record to typed columns and hands them over as a batch.

use arrow::array::RecordBatch;
use headwater_types::{Error, Result};

use crate::SourceDefinition;

/// What a connector knows of a record beside its payload, for one `INCLUDE` column. It is turned into the column's type.
#[derive(Debug, Clone, Copy)]
pub(crate) enum IncludeValue<'a> {
    /// Nothing known: NULL.
    Null,
    /// Text (a partition, a file, headers as JSON).
    Text(&'a str),
    /// Bytes (a key); text columns take them if they are UTF-8.
    Bytes(&'a [u8]),
    /// A whole number (a partition, an offset).
    Integer(i64),
    /// A point in time, in microseconds since 1970 UTC.
    Micros(i64),
}

/// Decodes the records of a source into batches of its schema.
pub(crate) struct Decoder {}

impl Decoder {
    /// A decoder for the columns, format and encoding of `definition`. Connectors also call it from `check_source`, where it tells
    /// columns of types and options that the encoding does not have.
    ///
    /// # Errors
    /// `Unsupported` for a column type or an encoding that is not decoded record by record; `Invalid` for a bad encoding option.
    pub(crate) fn new(definition: &SourceDefinition) -> Result<Self> {
        Err(Error::unsupported(format!("decoding records of source '{}'", definition.name)))
    }

    /// Appends one record; `includes` has one value for each of the definition's includes, in their order.
    ///
    /// # Errors
    /// Why the record is no row, in words for a person; then nothing of it was appended.
    pub(crate) fn decode(&mut self, _record: &[u8], _includes: &[IncludeValue<'_>]) -> Result<(), String> {
        Err(String::from("not decoded"))
    }

    /// Rows appended since the last `finish`; connectors finish at [`headwater_types::BATCH_ROWS_MAX`] at the latest.
    pub(crate) fn rows(&self) -> usize {
        0
    }

    /// The rows appended since the last call, as a batch of the definition's schema.
    ///
    /// # Errors
    /// `Bug` only.
    pub(crate) fn finish(&mut self) -> Result<RecordBatch> {
        Err(Error::bug("nothing was decoded"))
    }
}
