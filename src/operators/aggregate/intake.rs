//! What an aggregate makes of a batch before it looks at its groups: rows it refuses, arguments, the windows they belong to. Batches go through side by
//! side.

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::compute::{is_not_null, is_null};
use arrow::datatypes::TimestampMicrosecondType;
use headwater_types::{ChangeBatch, Micros, Result};

use super::routing::{Rows, Waiting};
use super::worker::Query;
use crate::Output;
use crate::expressions::evaluate_rows;

/// A batch that is ready for its groups.
pub(crate) struct Prepared {
    pub(crate) waiting: Vec<Waiting>,
    /// Rows of closed windows, and those on which an expression failed.
    pub(crate) refused: Output,
}

impl Query {
    /// Takes `batch` apart; windows below `closed_below` are closed.
    pub(crate) fn prepare(&self, batch: ChangeBatch, closed_below: Option<Micros>) -> Result<Prepared> {
        let mut refused = Output::default();
        let batch = self.refuse(batch, closed_below, &mut refused)?;
        let evaluate = |rows: &RecordBatch| self.calls.iter().map(|k| k.call.arguments(k.method, rows)).collect::<Result<Vec<_>, _>>();
        let waiting = evaluate_rows(&batch, evaluate, &mut refused)?.into_iter().map(|(batch, args)| {
            let groups = self.layout.of_input(batch.rows());
            let weights = batch.weights().map(|weights| weights.to_vec().into());
            let parts = groups.parts();
            Waiting { rows: Rows { groups, args, weights }, parts }
        });
        Ok(Prepared { waiting: waiting.collect(), refused })
    }

    /// Hands rows of closed windows to `out.late`, rows without a window to `out.failed`; gives the rest.
    fn refuse(&self, mut batch: ChangeBatch, closed_below: Option<Micros>, out: &mut Output) -> Result<ChangeBatch> {
        let Some(window) = self.spec.window_key else { return Ok(batch) };
        let column = self.spec.groups[window];
        if batch.rows().column(column).null_count() > 0 {
            let times = batch.rows().column(column).clone();
            out.failed.push((batch.filter(&is_null(&times)?)?, "the window is NULL".into()));
            batch = batch.filter(&is_not_null(&times)?)?;
        }
        let Some(bound) = closed_below else { return Ok(batch) };
        let moments = batch.rows().column(column).as_primitive::<TimestampMicrosecondType>().values();
        if moments.iter().fold(true, |all, &at| all & (at >= bound)) {
            return Ok(batch);
        }
        let is_late: BooleanArray = moments.iter().map(|&at| Some(at < bound)).collect();
        out.late.push((batch.filter(&is_late)?, bound));
        batch.filter(&arrow::compute::not(&is_late)?)
    }
}
