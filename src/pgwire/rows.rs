//! The text forms of rows, as the simple protocol sends them.

use crate::encode::{Format, encode_column};
use arrow::array::RecordBatch;
use headwater_types::Result;

/// The values of `batch` in PostgreSQL's text form, row by row; None is NULL.
///
/// # Errors
/// `Unsupported` for a column whose type PostgreSQL does not have; `Invalid` for a value out of PostgreSQL's range.
pub fn text_rows(batch: &RecordBatch) -> Result<Vec<Vec<Option<String>>>> {
    let columns = batch
        .columns()
        .iter()
        .zip(batch.schema().fields())
        .map(|(array, field)| encode_column(array, field, Format::Text))
        .collect::<Result<Vec<_>>>()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok((0..batch.num_rows()).map(|row| columns.iter().map(|cells| cells.get(row).map(text)).collect()).collect())
}
