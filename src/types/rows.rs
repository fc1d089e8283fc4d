//! Rows as bytes that compare like their values: how keys are sorted, searched and hashed in memory.

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::SchemaRef;
use arrow::row::{RowConverter, Rows, SortField};

use crate::Result;

/// Turns chosen columns into bytes whose order is the order of the values: ascending, NULL first, column by column.
///
/// The bytes are Arrow's and live in memory only. What is stored depends on the order alone, which follows from the values, so an upgrade of
/// Arrow cannot change what a stored run means.
pub struct RowOrder {
    columns: Vec<usize>,
    converter: RowConverter,
}

impl RowOrder {
    /// The order by `columns` of `schema`, the first counting most.
    ///
    /// # Errors
    /// A column of a type that has no order.
    pub fn new(schema: &SchemaRef, columns: &[usize]) -> Result<Self> {
        let fields = columns.iter().map(|&c| SortField::new(schema.field(c).data_type().clone())).collect();
        Ok(Self { columns: columns.to_vec(), converter: RowConverter::new(fields)? })
    }

    /// The bytes of every row of `batch`, which has the schema this order was made for.
    ///
    /// # Errors
    /// `batch` has another schema.
    pub fn rows(&self, batch: &RecordBatch) -> Result<Rows> {
        let columns: Vec<ArrayRef> = self.columns.iter().map(|&c| batch.column(c).clone()).collect();
        self.convert(&columns)
    }

    /// The bytes of rows that are given as key columns only.
    ///
    /// # Errors
    /// Other types than the key columns have.
    pub fn convert(&self, keys: &[ArrayRef]) -> Result<Rows> {
        Ok(self.converter.convert_columns(keys)?)
    }

    /// The columns that make the order.
    #[must_use]
    pub fn columns(&self) -> &[usize] {
        &self.columns
    }
}

impl std::fmt::Debug for RowOrder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RowOrder").field("columns", &self.columns).finish()
    }
}

/// The first sixteen bytes of a row, filled up with zeros, as a number that compares like them: most comparisons of rows end there.
#[must_use]
pub fn order_prefix(row: &[u8]) -> u128 {
    match row.first_chunk() {
        Some(first) => u128::from_be_bytes(*first),
        None => {
            let mut padded = [0; 16];
            padded[..row.len()].copy_from_slice(row);
            u128::from_be_bytes(padded)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_never_contradict_the_order() {
        let mut rows: Vec<Vec<u8>> = vec![vec![]];
        for first in 0..3 {
            for length in [0, 1, 13, 14, 15, 16, 17] {
                rows.extend((0..3).map(|last| [vec![first], vec![0; length], vec![last]].concat()));
            }
        }
        for (a, b) in rows.iter().flat_map(|a| rows.iter().map(move |b| (a, b))) {
            let (of_a, of_b) = (order_prefix(a), order_prefix(b));
            assert!(of_a == of_b || (of_a < of_b) == (a < b), "{a:?} {b:?}");
        }
    }
}
