//! Expressions over a batch, so that a row on which one fails is set apart with the reason and the others go on.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch};
use arrow::error::ArrowError;
use datafusion::common::DataFusionError;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::Operator as Symbol;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::BinaryExpr;
use headwater_types::{ChangeBatch, Error, Result};

use crate::Output;

/// The value of `expr` on each row, as an array.
pub(crate) fn to_array(expr: &Arc<dyn PhysicalExpr>, rows: &RecordBatch) -> Result<ArrayRef, DataFusionError> {
    expr.evaluate(rows)?.into_array(rows.num_rows())
}

/// `evaluate` over `batch`: normally one piece, the batch itself and what came of it. If it fails, the failing rows are found by halving, logged in
/// `out.failed` each with its reason, and the rest is evaluated without them.
///
/// # Errors
/// A failure that does not depend on a row's values.
pub(crate) fn evaluate_rows<T>(
    batch: &ChangeBatch,
    evaluate: impl Fn(&RecordBatch) -> Result<T, DataFusionError>,
    out: &mut Output,
) -> Result<Option<(ChangeBatch, T)>> {
    match evaluate(batch.rows()) {
        Ok(value) => return Ok(Some((batch.clone(), value))),
        Err(error) => row_reason(error)?,
    };
    let mut failed = Vec::new();
    find_failing(batch.rows(), 0, &evaluate, &mut failed)?;
    let mut is_good = vec![true; batch.len()];
    for (row, reason) in failed {
        is_good[row] = false;
        out.failed.push((batch.slice(row, 1), reason));
    }
    let good = batch.filter(&BooleanArray::from(is_good))?;
    if good.is_empty() {
        return Ok(None);
    }
    let value = evaluate(good.rows()).map_err(|e| Error::bug(format!("good rows fail together: {e}")))?;
    Ok(Some((good, value)))
}

/// Adds the rows of `rows` (the first is row `first` of the batch) that fail alone.
fn find_failing<T>(
    rows: &RecordBatch,
    first: usize,
    evaluate: &impl Fn(&RecordBatch) -> Result<T, DataFusionError>,
    failed: &mut Vec<(usize, String)>,
) -> Result<()> {
    let Err(error) = evaluate(rows) else { return Ok(()) };
    let reason = row_reason(error)?;
    if rows.num_rows() <= 1 {
        failed.extend((rows.num_rows() == 1).then_some((first, reason)));
        return Ok(());
    }
    let half = rows.num_rows() / 2;
    find_failing(&rows.slice(0, half), first, evaluate, failed)?;
    find_failing(&rows.slice(half, rows.num_rows() - half), first + half, evaluate, failed)
}

/// What to tell about a row on which `error` came; an error that no row can cause is handed on.
fn row_reason(error: DataFusionError) -> Result<String> {
    let reason = match error.find_root() {
        DataFusionError::Internal(_) | DataFusionError::Plan(_) | DataFusionError::NotImplemented(_) | DataFusionError::SchemaError(..) => {
            return Err(Error::bug(error.strip_backtrace()));
        }
        DataFusionError::ArrowError(inside, _) => match inside.as_ref() {
            ArrowError::DivideByZero => "division by zero".to_string(),
            ArrowError::ArithmeticOverflow(text) => format!("out of range: {text}"),
            ArrowError::CastError(text) | ArrowError::ParseError(text) | ArrowError::ComputeError(text) => text.clone(),
            other => other.to_string(),
        },
        DataFusionError::Execution(text) => text.clone(),
        other => other.strip_backtrace(),
    };
    Ok(reason)
}

/// `expr` with integer `+`, `-` and `*` that fail on overflow, as in PostgreSQL, where the planner's wrap around.
///
/// # Errors
/// `Bug`: the expression cannot be rebuilt.
pub fn checked(expr: Arc<dyn PhysicalExpr>) -> Result<Arc<dyn PhysicalExpr>> {
    let check = |expr: Arc<dyn PhysicalExpr>| {
        let Some(binary) = expr.downcast_ref::<BinaryExpr>() else { return Ok(Transformed::no(expr)) };
        if !matches!(binary.op(), Symbol::Plus | Symbol::Minus | Symbol::Multiply) {
            return Ok(Transformed::no(expr));
        }
        Ok(Transformed::yes(Arc::new(binary.clone().with_fail_on_overflow(true)) as Arc<dyn PhysicalExpr>))
    };
    expr.transform_up(check).map(|t| t.data).map_err(|e| Error::bug(e.strip_backtrace()))
}
