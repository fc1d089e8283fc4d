//! What became of groups: for each that changed, its old row goes and its new row comes.

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::buffer::BooleanBuffer;
use arrow::compute::kernels::cmp::not_distinct;
use arrow::compute::{concat, filter};
use arrow::datatypes::SchemaRef;
use arrow::row::{RowConverter, SortField};
use headwater_types::{ChangeBatch, Result};

use crate::Output;
use crate::kernels::Failures;

/// Results of groups at one point in time, and which of them have a row.
pub(crate) struct Side {
    results: Vec<ArrayRef>,
    is_there: BooleanBuffer,
}

impl Side {
    /// Groups with these results; those in `failures` have no row.
    pub(crate) fn new(results: Vec<ArrayRef>, mut is_there: Vec<bool>, failures: &Failures) -> Self {
        failures.iter().for_each(|(at, _)| is_there[*at] = false);
        Self { results, is_there: is_there.into() }
    }

    /// `count` groups whose results came in pieces; none if there are no groups.
    pub(crate) fn of_pieces(pieces: &[Vec<ArrayRef>], count: usize, failures: &Failures) -> Result<Option<Self>> {
        let Some(first) = pieces.first() else { return Ok(None) };
        let column = |at: usize| match pieces {
            [one] => Ok(one[at].clone()),
            _ => Ok(concat(&pieces.iter().map(|piece| piece[at].as_ref()).collect::<Vec<_>>())?),
        };
        let results = (0..first.len()).map(column).collect::<Result<Vec<_>>>()?;
        Ok(Some(Self::new(results, vec![true; count], failures)))
    }
}

/// Emits -old and +new for each group where they differ. `old` has the first groups of `new`; `groups` are the group columns of all of them.
pub(crate) fn difference(schema: &SchemaRef, groups: &[ArrayRef], old: Option<&Side>, new: &Side, out: &mut Output) -> Result<()> {
    let Some(old) = old else {
        return emit(schema, groups, &new.results, &new.is_there, 1, out);
    };
    let (count, all) = (old.is_there.len(), new.is_there.len());
    let same = &unchanged(&old.results, &new.results, count)? & &(&old.is_there & &new.is_there.slice(0, count));
    let gone = &old.is_there & &!&same;
    let old_groups: Vec<ArrayRef> = groups.iter().map(|g| g.slice(0, count)).collect();
    emit(schema, &old_groups, &old.results, &gone, -1, out)?;
    let same_of_all: BooleanBuffer = same.iter().chain(std::iter::repeat_n(false, all - count)).collect();
    let come = &new.is_there & &!&same_of_all;
    emit(schema, groups, &new.results, &come, 1, out)
}

/// Of the first `count` groups, those whose results are equal.
fn unchanged(old: &[ArrayRef], new: &[ArrayRef], count: usize) -> Result<BooleanBuffer> {
    let mut same = BooleanBuffer::new_set(count);
    for (old, new) in old.iter().zip(new) {
        let new = new.slice(0, count);
        let equal = if old.data_type().is_nested() { equal_rows(old, &new)? } else { not_distinct(old, &new)?.values().clone() };
        same = &same & &equal;
    }
    Ok(same)
}

/// Which values are equal, for types that only compare as rows of bytes.
fn equal_rows(old: &ArrayRef, new: &ArrayRef) -> Result<BooleanBuffer> {
    let converter = RowConverter::new(vec![SortField::new(old.data_type().clone())])?;
    let (old, new) = (converter.convert_columns(std::slice::from_ref(old))?, converter.convert_columns(std::slice::from_ref(new))?);
    Ok(old.iter().zip(new.iter()).map(|(old, new)| old == new).collect())
}

fn emit(schema: &SchemaRef, groups: &[ArrayRef], results: &[ArrayRef], rows: &BooleanBuffer, weight: i64, out: &mut Output) -> Result<()> {
    let count = rows.count_set_bits();
    if count == 0 {
        return Ok(());
    }
    let keep = BooleanArray::new(rows.clone(), None);
    let kept = |column: &ArrayRef| if count == rows.len() { Ok(column.clone()) } else { Ok(filter(column, &keep)?) };
    let columns = groups.iter().chain(results).map(kept).collect::<Result<Vec<_>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(count));
    let rows = RecordBatch::try_new_with_options(schema.clone(), columns, &options)?;
    out.push(if weight == 1 { ChangeBatch::insertions(rows) } else { ChangeBatch::new(rows, vec![weight; count])? });
    Ok(())
}
