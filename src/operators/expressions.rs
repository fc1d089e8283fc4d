//! Expressions over a batch, so that a row on which one fails is set apart with the reason and the others go on.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
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

/// `evaluate` over `batch`: normally one piece, the batch itself and what came of it. If it fails, the batch is halved until the failing rows stand
/// alone; they are logged in `out.failed`, each with its reason, the pieces between them are what is left.
///
/// # Errors
/// A failure that does not depend on a row's values.
pub(crate) fn evaluate_rows<T>(
    batch: &ChangeBatch,
    evaluate: impl Fn(&RecordBatch) -> Result<T, DataFusionError>,
    out: &mut Output,
) -> Result<Vec<(ChangeBatch, T)>> {
    let mut pieces = Vec::with_capacity(1);
    halve(batch, &evaluate, &mut pieces, out)?;
    Ok(pieces)
}

/// Adds `batch`, or what is good of its halves. The pieces are not put together again: rows that are good alone may fail together, because
/// `AND` looks at its right side where the left is false only for some.
fn halve<T>(
    batch: &ChangeBatch,
    evaluate: &impl Fn(&RecordBatch) -> Result<T, DataFusionError>,
    pieces: &mut Vec<(ChangeBatch, T)>,
    out: &mut Output,
) -> Result<()> {
    let error = match evaluate(batch.rows()) {
        Ok(value) => {
            pieces.push((batch.clone(), value));
            return Ok(());
        }
        Err(error) => error,
    };
    let reason = row_reason(error)?;
    match batch.len() {
        0 => Ok(()),
        1 => {
            out.failed.push((batch.clone(), reason));
            Ok(())
        }
        rows => {
            halve(&batch.slice(0, rows / 2), evaluate, pieces, out)?;
            halve(&batch.slice(rows / 2, rows - rows / 2), evaluate, pieces, out)
        }
    }
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
