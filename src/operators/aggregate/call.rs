//! One aggregate call of a query: which function, over what, filtered by what, and how its state is kept.

use std::fmt;
use std::sync::Arc;

use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use headwater_types::{Error, Result};

/// An aggregate function over expressions of the input, as DataFusion lowers it (`LoweredAggregateBuilder`).
#[derive(Debug, Clone)]
pub struct AggregateCall {
    function: Arc<AggregateFunctionExpr>,
    filter: Option<Arc<dyn PhysicalExpr>>,
}

impl AggregateCall {
    /// `function` with its arguments and DISTINCT; rows on which `filter` is not true do not count (FILTER).
    #[must_use]
    pub fn new(function: Arc<AggregateFunctionExpr>, filter: Option<Arc<dyn PhysicalExpr>>) -> Self {
        Self { function, filter }
    }

    /// Whether this call can be kept up to date.
    ///
    /// # Errors
    /// `Unsupported`, naming the function.
    pub fn check(&self, _input_append_only: bool) -> Result<()> {
        if !self.function.order_bys().is_empty() {
            return Err(Error::unsupported(format!("{} with ORDER BY is not supported in a view", self.function.fun().name())));
        }
        Ok(())
    }
}

impl fmt::Display for AggregateCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let args: Vec<String> = self.function.expressions().iter().map(ToString::to_string).collect();
        let distinct = if self.function.is_distinct() { "DISTINCT " } else { "" };
        write!(f, "{}({distinct}{})", self.function.fun().name(), args.join(", "))?;
        self.filter.as_ref().map_or(Ok(()), |filter| write!(f, " FILTER (WHERE {filter})"))
    }
}
