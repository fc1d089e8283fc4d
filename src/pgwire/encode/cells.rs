//! One column in its wire form: all values in one buffer, cut by their ends.

use arrow::array::Array;
use arrow::buffer::NullBuffer;

/// The encoded values of one column of a batch.
#[derive(Debug)]
pub struct Cells {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    nulls: Option<NullBuffer>,
}

impl Cells {
    /// Calls `write` once for each row of `array` that is not NULL; what it appends is the value of that row.
    pub fn build(array: &dyn Array, bytes_a_value: usize, mut write: impl FnMut(usize, &mut Vec<u8>)) -> Self {
        let nulls = array.logical_nulls().filter(|n| n.null_count() > 0);
        let mut bytes = Vec::with_capacity(array.len() * bytes_a_value);
        let mut ends = Vec::with_capacity(array.len());
        match &nulls {
            None => {
                for row in 0..array.len() {
                    write(row, &mut bytes);
                    ends.push(bytes.len());
                }
            }
            Some(nulls) => {
                for row in 0..array.len() {
                    if nulls.is_valid(row) {
                        write(row, &mut bytes);
                    }
                    ends.push(bytes.len());
                }
            }
        }
        Self { bytes, ends, nulls }
    }

    /// The bytes of `row`, None for NULL.
    #[must_use]
    pub fn get(&self, row: usize) -> Option<&[u8]> {
        if self.nulls.as_ref().is_some_and(|n| n.is_null(row)) {
            return None;
        }
        let start = if row == 0 { 0 } else { self.ends[row - 1] };
        Some(&self.bytes[start..self.ends[row]])
    }
}
