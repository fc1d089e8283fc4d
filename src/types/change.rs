//! A batch of changes: rows in columns, and beside them the weight by which each is inserted or deleted.

use arrow::array::{Array, AsArray, BooleanArray, Int64Array, RecordBatch, UInt32Array};
use arrow::buffer::ScalarBuffer;
use arrow::compute;
use arrow::datatypes::SchemaRef;

use crate::{Error, Result};

/// Operators hand on batches of at most this many rows: large enough to spread the cost of a call, small enough to stay in the cache.
pub const BATCH_ROWS_MAX: usize = 8_192;

/// Work on fewer rows stays on one thread: handing it to others costs more than it saves.
pub const INLINE_ROWS_MAX: usize = BATCH_ROWS_MAX / 2;

/// Bytes that the values of `rows` take, not counting what their buffers hold beyond them: pieces of one large batch add up to that batch.
#[must_use]
pub fn data_bytes(rows: &RecordBatch) -> usize {
    rows.columns().iter().map(|column| array_bytes(column)).sum()
}

/// Bytes of the values of `array`. Arrow counts all values of a list for each piece of it; here those count that the piece has.
fn array_bytes(array: &dyn Array) -> usize {
    let Some(list) = array.as_list_opt::<i32>() else {
        return array.to_data().get_slice_memory_size().unwrap_or_else(|_| array.get_array_memory_size());
    };
    let offsets = list.offsets();
    let end = |at: Option<&i32>| at.map_or(0, |&at| usize::try_from(at).unwrap_or(0));
    let (first, last) = (end(offsets.first()), end(offsets.last()));
    let values = array_bytes(list.values().slice(first, last - first).as_ref());
    values + size_of_val(&offsets[..]) + list.nulls().map_or(0, |nulls| nulls.len().div_ceil(8))
}

/// Rows with weights: `+n` inserts a row n times, `-n` deletes it n times (a Z-set). Without weights every row is inserted once.
#[derive(Debug, Clone)]
pub struct ChangeBatch {
    rows: RecordBatch,
    weights: Option<ScalarBuffer<i64>>,
}

impl ChangeBatch {
    /// Every row inserted once.
    #[must_use]
    pub fn insertions(rows: RecordBatch) -> Self {
        Self { rows, weights: None }
    }

    /// `rows` with one weight each.
    ///
    /// # Errors
    /// Not as many weights as rows.
    pub fn new(rows: RecordBatch, weights: impl Into<ScalarBuffer<i64>>) -> Result<Self> {
        let weights = weights.into();
        if weights.len() != rows.num_rows() {
            return Err(Error::bug(format!("{} weights for {} rows", weights.len(), rows.num_rows())));
        }
        Ok(Self { rows, weights: Some(weights) })
    }

    /// `rows` with weights that another batch of as many rows had.
    ///
    /// # Errors
    /// Not as many weights as rows.
    pub fn with_rows(&self, rows: RecordBatch) -> Result<Self> {
        match &self.weights {
            Some(weights) => Self::new(rows, weights.clone()),
            None => Ok(Self::insertions(rows)),
        }
    }

    /// No rows of `schema`.
    #[must_use]
    pub fn empty(schema: SchemaRef) -> Self {
        Self::insertions(RecordBatch::new_empty(schema))
    }

    /// The rows, whatever their weights.
    #[must_use]
    pub fn rows(&self) -> &RecordBatch {
        &self.rows
    }

    /// The weights; none means that every row is inserted once.
    #[must_use]
    pub fn weights(&self) -> Option<&[i64]> {
        self.weights.as_deref()
    }

    /// The weights written out.
    #[must_use]
    pub fn weights_or_ones(&self) -> ScalarBuffer<i64> {
        self.weights.clone().unwrap_or_else(|| vec![1; self.len()].into())
    }

    /// The weight of row `row`.
    #[must_use]
    pub fn weight(&self, row: usize) -> i64 {
        self.weights.as_ref().map_or(1, |w| w[row])
    }

    /// The schema of the rows.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        self.rows.schema()
    }

    /// How many rows, whatever their weights.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.num_rows()
    }

    /// True without rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes that the rows and weights take; of buffers that are shared with other batches only its own part.
    #[must_use]
    pub fn bytes(&self) -> usize {
        data_bytes(&self.rows) + self.weights.as_ref().map_or(0, |w| size_of_val(&w[..]))
    }

    /// `length` rows from `offset` on; shares the buffers.
    #[must_use]
    pub fn slice(&self, offset: usize, length: usize) -> Self {
        Self { rows: self.rows.slice(offset, length), weights: self.weights.as_ref().map(|w| w.slice(offset, length)) }
    }

    /// The rows where `keep` is true.
    ///
    /// # Errors
    /// `keep` has another length.
    pub fn filter(&self, keep: &BooleanArray) -> Result<Self> {
        let rows = compute::filter_record_batch(&self.rows, keep)?;
        let weights = match &self.weights {
            Some(weights) => {
                let kept = compute::filter(&Int64Array::new(weights.clone(), None), keep)?;
                Some(kept.to_data().buffers()[0].clone().into())
            }
            None => None,
        };
        Ok(Self { rows, weights })
    }

    /// The rows at `indices`, in that order.
    ///
    /// # Errors
    /// An index beyond the end.
    pub fn take(&self, indices: &UInt32Array) -> Result<Self> {
        let rows = compute::take_record_batch(&self.rows, indices)?;
        let weights = self.weights.as_ref().map(|w| indices.values().iter().map(|&i| w[i as usize]).collect());
        Ok(Self { rows, weights })
    }

    /// The columns at `columns`, in that order.
    ///
    /// # Errors
    /// A column beyond the end.
    pub fn project(&self, columns: &[usize]) -> Result<Self> {
        Ok(Self { rows: self.rows.project(columns)?, weights: self.weights.clone() })
    }

    /// The opposite change: what was inserted is deleted.
    #[must_use]
    pub fn negate(&self) -> Self {
        let weights = self.weights_or_ones().iter().map(|w| -w).collect();
        Self { rows: self.rows.clone(), weights: Some(weights) }
    }

    /// The same changes in batches of at most [`BATCH_ROWS_MAX`] rows.
    pub fn chunks(&self) -> impl Iterator<Item = ChangeBatch> + '_ {
        self.pieces(BATCH_ROWS_MAX)
    }

    /// The same changes in batches of at most `rows_max` rows, at least 1.
    pub fn pieces(&self, rows_max: usize) -> impl Iterator<Item = ChangeBatch> + '_ {
        (0..self.len()).step_by(rows_max).map(move |at| self.slice(at, rows_max.min(self.len() - at)))
    }

    /// All batches as one, in order. `schema` is that of the result when there are none.
    ///
    /// # Errors
    /// The schemas differ.
    pub fn concat(schema: &SchemaRef, batches: &[ChangeBatch]) -> Result<Self> {
        if let [one] = batches {
            return Ok(one.clone());
        }
        let rows = compute::concat_batches(schema, batches.iter().map(|b| &b.rows))?;
        if batches.iter().all(|b| b.weights.is_none()) {
            return Ok(Self::insertions(rows));
        }
        let mut weights = Vec::with_capacity(rows.num_rows());
        for batch in batches {
            match &batch.weights {
                Some(w) => weights.extend_from_slice(w),
                None => weights.resize(weights.len() + batch.len(), 1),
            }
        }
        Self::new(rows, weights)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, ListBuilder, StringArray, StringBuilder};

    use super::*;

    #[test]
    fn pieces_take_together_what_the_whole_takes() {
        let names: ArrayRef = Arc::new(StringArray::from_iter_values((0..100_000).map(|n| n.to_string())));
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..100_000));
        let mut lists = ListBuilder::new(StringBuilder::new());
        (0..100_000).for_each(|n| lists.append_value([Some(n.to_string()), None]));
        let lists: ArrayRef = Arc::new(lists.finish());
        let rows = RecordBatch::try_from_iter([("name", names), ("number", numbers), ("list", lists)]).expect("columns of one length");
        let whole = ChangeBatch::new(rows, vec![1; 100_000]).expect("as many weights");
        let pieces: usize = whole.chunks().map(|piece| piece.bytes()).sum();
        assert!(pieces >= whole.bytes() && pieces < whole.bytes() + whole.bytes() / 100, "{pieces} of {}", whole.bytes());
    }
}
