//! Filter: hands on the changes whose row meets a condition.

use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray};
use arrow::compute::prep_null_mask_filter;
use datafusion::physical_expr::PhysicalExpr;
use headwater_types::{ChangeBatch, Result, Watermarks};

use crate::expressions::{evaluate_rows, to_array};
use crate::{Finished, Operator, OperatorSpec, Output, StatePlace, Stateless, Step};

/// Keeps the rows on which `predicate` is true; rows where it is false or NULL go. Output schema: the input's. Watermarks pass.
#[derive(Debug, Clone)]
pub struct Filter {
    predicate: Arc<dyn PhysicalExpr>,
}

impl Filter {
    /// `predicate` gives a boolean and reads the columns of the input by index.
    #[must_use]
    pub fn new(predicate: Arc<dyn PhysicalExpr>) -> Self {
        Self { predicate }
    }
}

impl OperatorSpec for Filter {
    fn name(&self) -> &'static str {
        "Filter"
    }

    fn describe(&self) -> String {
        self.predicate.to_string()
    }

    fn stateless(&self) -> Option<&dyn Stateless> {
        Some(self)
    }

    fn open(&self, _place: &mut StatePlace) -> Result<Box<dyn Operator>> {
        Ok(Box::new(self.clone()))
    }
}

impl Stateless for Filter {
    fn apply(&self, _input: usize, batch: ChangeBatch, out: &mut Output) -> Result<()> {
        let evaluate = |rows: &_| to_array(&self.predicate, rows);
        for (good, keep) in evaluate_rows(&batch, evaluate, out)? {
            out.push(keep_true(&good, keep.as_boolean())?);
        }
        Ok(())
    }
}

impl Operator for Filter {
    fn push(&mut self, input: usize, batch: ChangeBatch, out: &mut Output) -> Result<()> {
        self.apply(input, batch, out)
    }

    fn finish(&mut self, step: &Step, _out: &mut Output) -> Result<Finished> {
        Ok(Finished { watermarks: step.watermarks.first().cloned().unwrap_or_else(Watermarks::none), due: None })
    }
}

/// The rows where `keep` is true, not NULL; the batch itself if that is all.
pub(crate) fn keep_true(batch: &ChangeBatch, keep: &BooleanArray) -> Result<ChangeBatch> {
    let keep = if keep.null_count() > 0 { &prep_null_mask_filter(keep) } else { keep };
    if keep.true_count() == keep.len() { Ok(batch.clone()) } else { batch.filter(keep) }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, RecordBatch};
    use datafusion::common::ScalarValue;
    use datafusion::logical_expr::Operator as Symbol;
    use datafusion::physical_expr::expressions::{binary, col, lit};

    use super::*;
    use crate::testing::{Bench, rows_of};

    #[test]
    fn rows_where_the_condition_is_not_true_go() {
        let rows = RecordBatch::try_from_iter([("a", Arc::new(Int64Array::from(vec![Some(0), Some(1), None, Some(5)])) as _)]).unwrap();
        let schema = rows.schema();
        let number = |value| lit(ScalarValue::Int64(Some(value)));
        let quotient = binary(number(10), Symbol::Divide, col("a", &schema).unwrap(), &schema).unwrap();
        let mut bench = Bench::new(Filter::new(binary(quotient, Symbol::Lt, number(5), &schema).unwrap()), 1);
        bench.epoch(&[(0, ChangeBatch::insertions(rows))], &[(0, 0, 7)]);
        assert_eq!(bench.view, rows_of(&[["5"]]));
        assert_eq!(bench.failed, rows_of(&[["0", "division by zero"]]));
        assert_eq!(bench.output_watermarks.get(0), Some(7));
    }
}
