//! Our SQL functions, for views and the batch engine alike: window edges, and sums that are exact and checked.

mod aggregates;
mod extremes;
#[cfg(test)]
mod tests;
mod tumble;

use std::sync::Arc;

use datafusion::execution::FunctionRegistry;
use datafusion::logical_expr::{AggregateUDF, ScalarUDF};
use headwater_types::{Error, Result};

pub(crate) use tumble::window_function;

/// `tumble_start(time, size [, offset])` and `tumble_end(…)`, and for hopping windows `hop_starts(time, slide, size [, offset])`, a list.
#[must_use]
pub fn scalar_functions() -> Vec<Arc<ScalarUDF>> {
    tumble::functions()
}

/// Aggregates that take the place of DataFusion's of the same name.
#[must_use]
pub fn aggregate_functions() -> Vec<Arc<AggregateUDF>> {
    aggregates::functions().into_iter().chain(extremes::functions()).collect()
}

/// Puts all of them into `registry`; those of the same name give way.
///
/// # Errors
/// The registry is read-only.
pub fn register(registry: &mut dyn FunctionRegistry) -> Result<()> {
    for function in scalar_functions() {
        registry.register_udf(function).map_err(|e| Error::bug(e.strip_backtrace()))?;
    }
    for function in aggregate_functions() {
        registry.register_udaf(function).map_err(|e| Error::bug(e.strip_backtrace()))?;
    }
    Ok(())
}
