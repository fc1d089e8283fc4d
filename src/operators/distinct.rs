//! Distinct: every row once, however often it is in the input.

use arrow::array::Int64Array;
use arrow::compute::kernels::cmp::neq;
use arrow::datatypes::SchemaRef;
use headwater_state::{Trace, Writes};
use headwater_types::{ChangeBatch, Epoch, Error, Result, RowOrder, Watermarks, consolidate};

use crate::{Finished, Operator, OperatorSpec, Output, StatePlace, Step};

/// The rows that the input holds at least once. Output schema: the input's. Watermarks pass.
#[derive(Debug, Clone)]
pub struct Distinct {
    schema: SchemaRef,
}

impl Distinct {
    /// Distinct rows of `schema`.
    #[must_use]
    pub fn new(schema: SchemaRef) -> Self {
        Self { schema }
    }
}

impl OperatorSpec for Distinct {
    fn name(&self) -> &'static str {
        "Distinct"
    }

    fn describe(&self) -> String {
        String::new()
    }

    fn fingerprint(&self) -> String {
        crate::operator::types_of(&self.schema)
    }

    fn open(&self, place: &mut StatePlace) -> Result<Box<dyn Operator>> {
        let columns: Vec<usize> = (0..self.schema.fields().len()).collect();
        let table = place.next_table();
        let trace = Trace::open(place.store(), table, self.schema.clone(), &columns)?;
        let order = RowOrder::new(&self.schema, &columns)?;
        Ok(Box::new(DistinctRows { schema: self.schema.clone(), order, trace, pending: Vec::new() }))
    }
}

/// The open operator: all rows with how often they occur.
struct DistinctRows {
    schema: SchemaRef,
    order: RowOrder,
    trace: Trace,
    pending: Vec<ChangeBatch>,
}

impl Operator for DistinctRows {
    fn push(&mut self, _input: usize, batch: ChangeBatch, _out: &mut Output) -> Result<()> {
        self.pending.push(batch);
        Ok(())
    }

    fn finish(&mut self, step: &Step, out: &mut Output) -> Result<Finished> {
        let changes = consolidate(&self.schema, &self.order, &std::mem::take(&mut self.pending))?;
        if !changes.is_empty() {
            out.push(turned(&changes, &self.trace.weights_of(changes.rows())?)?);
            self.trace.insert(changes)?;
        }
        Ok(Finished { watermarks: step.watermarks.first().cloned().unwrap_or_else(Watermarks::none), due: None })
    }

    fn flush(&mut self, epoch: Epoch, writes: &mut Writes) -> Result<()> {
        self.trace.flush(epoch, writes)
    }

    fn state_bytes(&self) -> usize {
        self.trace.bytes()
    }

    fn state_rows(&self) -> u64 {
        self.trace.rows()
    }
}

/// The rows of the consolidated `changes` that came (+1) or went (-1), where `before[i]` of row i were there.
///
/// # Errors
/// `Bug`: more rows deleted than there were.
pub(crate) fn turned(changes: &ChangeBatch, before: &[i64]) -> Result<ChangeBatch> {
    let mut turns = Vec::with_capacity(changes.len());
    for (row, &before) in before.iter().enumerate() {
        let after = before + changes.weight(row);
        if after < 0 {
            return Err(Error::bug(format!("a row is deleted {} times more often than it was inserted", -after)));
        }
        turns.push(i64::from(after > 0) - i64::from(before > 0));
    }
    let is_turned = neq(&Int64Array::from(turns.clone()), &Int64Array::new_scalar(0))?;
    ChangeBatch::new(changes.rows().clone(), turns)?.filter(&is_turned)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::RecordBatch;
    use arrow::datatypes::{DataType, Field, Schema};
    use headwater_types::ErrorKind;

    use super::*;
    use crate::testing::{Bench, View, rows_of};

    fn batch(rows: &[(Option<i64>, i64)]) -> (usize, ChangeBatch) {
        let column = rows.iter().map(|r| r.0).collect::<Int64Array>();
        let rows_only = RecordBatch::try_new(schema(), vec![Arc::new(column)]).unwrap();
        (0, ChangeBatch::new(rows_only, rows.iter().map(|r| r.1).collect::<Vec<_>>()).unwrap())
    }

    fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, true)]))
    }

    #[test]
    fn a_row_comes_with_its_first_copy_and_goes_with_its_last() {
        let mut bench = Bench::new(Distinct::new(schema()), 1);
        bench.epoch(&[batch(&[(Some(1), 2), (None, 1)]), batch(&[(Some(2), 1), (None, 1)])], &[]);
        assert_eq!(bench.view, rows_of(&[["1"], ["2"], ["NULL"]]));
        bench.reopen();
        bench.epoch(&[batch(&[(Some(1), -1), (Some(2), -1), (None, 3)])], &[]);
        assert_eq!(bench.view, rows_of(&[["1"], ["NULL"]]));
        bench.epoch(&[batch(&[(Some(1), -1), (Some(3), 1), (Some(3), -1)])], &[]);
        assert_eq!(bench.view, rows_of(&[["NULL"]]));
        assert_eq!(bench.late, View::new());
    }

    #[test]
    fn deleting_what_is_not_there_is_a_bug() {
        let mut bench = Bench::new(Distinct::new(schema()), 1);
        assert_eq!(bench.try_epoch(&[batch(&[(Some(1), -1)])], &[]).unwrap_err().kind(), ErrorKind::Bug);
    }
}
