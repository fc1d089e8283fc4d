//! Constant: rows written in the query itself, emitted once when the view is created.

use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use headwater_state::{Log, Writes};
use headwater_types::{ChangeBatch, Epoch, Result};

use crate::{Finished, Operator, OperatorSpec, Output, StatePlace, Step};

/// The rows of VALUES, or the one row of a SELECT without FROM. No inputs; emitted in the first epoch the operator sees.
#[derive(Debug, Clone)]
pub struct Constant {
    rows: RecordBatch,
}

impl Constant {
    /// `rows` have the output's schema; they may be none at all.
    #[must_use]
    pub fn new(rows: RecordBatch) -> Self {
        Self { rows }
    }
}

impl OperatorSpec for Constant {
    fn name(&self) -> &'static str {
        "Constant"
    }

    fn describe(&self) -> String {
        format!("{} rows", self.rows.num_rows())
    }

    fn fingerprint(&self) -> String {
        format!("{:?}", self.rows)
    }

    fn open(&self, place: &mut StatePlace) -> Result<Box<dyn Operator>> {
        let schema = Arc::new(Schema::new(vec![Field::new("emitted", DataType::Boolean, false)]));
        let table = place.next_table();
        let emitted = Log::open(place.store(), table, schema)?;
        Ok(Box::new(ConstantRows { rows: self.rows.clone(), emitted }))
    }
}

/// The open operator: the rows, and a log that has one entry once they were emitted.
struct ConstantRows {
    rows: RecordBatch,
    emitted: Log,
}

impl Operator for ConstantRows {
    fn push(&mut self, _input: usize, _batch: ChangeBatch, _out: &mut Output) -> Result<()> {
        Err(headwater_types::Error::bug("Constant has no input"))
    }

    fn finish(&mut self, _step: &Step, out: &mut Output) -> Result<Finished> {
        if self.emitted.rows() == 0 {
            let mark = RecordBatch::try_from_iter([("emitted", Arc::new(BooleanArray::from(vec![true])) as _)])?;
            self.emitted.append(mark)?;
            out.push(ChangeBatch::insertions(self.rows.clone()));
        }
        Ok(Finished::default())
    }

    fn flush(&mut self, epoch: Epoch, writes: &mut Writes) -> Result<()> {
        self.emitted.flush(epoch, writes)
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::Int64Array;

    use super::*;
    use crate::testing::{Bench, View, rows_of};

    #[test]
    fn rows_come_once_and_not_again_after_a_restart() {
        let rows = RecordBatch::try_from_iter([("a", Arc::new(Int64Array::from(vec![1, 2])) as _)]).unwrap();
        let mut bench = Bench::new(Constant::new(rows), 0);
        bench.epoch(&[], &[]);
        assert_eq!(bench.emitted, rows_of(&[["1"], ["2"]]));
        bench.epoch(&[], &[]);
        assert_eq!(bench.emitted, View::new());
        bench.reopen();
        bench.epoch(&[], &[]);
        assert_eq!(bench.emitted, View::new());
    }
}
