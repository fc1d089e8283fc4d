//! One aggregate call of a query: which function, over what, filtered by what, and how its state is kept.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::compute::{filter_record_batch, nullif, prep_null_mask_filter, take};
use arrow::datatypes::{DataType, Schema};
use datafusion::common::DataFusionError;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_expr::expressions::Literal;
use datafusion::physical_expr::{PhysicalExpr, PhysicalSortExpr};
use headwater_types::{Error, Result};

use super::layout::Part;
use crate::checked;
use crate::expressions::to_array;
use crate::kernels::{Accumulators, Function, Kernel, accumulator_state};

/// An aggregate function over expressions of the input, as DataFusion lowers it (`LoweredAggregateBuilder`).
#[derive(Debug, Clone)]
pub struct AggregateCall {
    /// As it was lowered: its accumulators look at literals among the arguments, and name columns of their state after the expressions of ORDER BY.
    function: Arc<AggregateFunctionExpr>,
    args: Vec<Arc<dyn PhysicalExpr>>,
    /// What ORDER BY within the call orders by, if the function minds the order.
    order: Vec<Arc<dyn PhysicalExpr>>,
    filter: Option<Arc<dyn PhysicalExpr>>,
}

/// How the state of a call is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    /// It is the number of rows, which every group has.
    Rows,
    /// By a kernel, as rows come and go.
    Kernel(Function),
    /// By a kernel, as values come for the first time or go for good; the values with their number are kept.
    Distinct(Function),
    /// The first or last of all values, which are kept.
    Edge(Function),
    /// By the batch engine's accumulators.
    Accumulators,
}

/// What a call takes from a batch: its arguments, for accumulators followed by what ORDER BY orders by, and where FILTER is true.
pub(crate) struct Arguments {
    pub(crate) columns: Vec<ArrayRef>,
    pub(crate) keep: Option<BooleanArray>,
}

impl Arguments {
    /// Those of the rows of `part`.
    pub(crate) fn of_part(&self, part: &Part) -> Result<Arguments> {
        let columns = self.columns.iter().map(|c| part.rows.of(c)).collect::<Result<_>>()?;
        let keep = match &self.keep {
            Some(keep) => Some(part.rows.of(&(Arc::new(keep.clone()) as ArrayRef))?.as_boolean().clone()),
            None => None,
        };
        Ok(Arguments { columns, keep })
    }
}

impl AggregateCall {
    /// `function` with its arguments, DISTINCT and ORDER BY; rows on which `filter` is not true do not count (FILTER).
    #[must_use]
    pub fn new(function: Arc<AggregateFunctionExpr>, filter: Option<Arc<dyn PhysicalExpr>>) -> Self {
        let args = function.expressions();
        let order = function.order_bys().iter().map(|by| by.expr.clone()).collect();
        Self { function, args, order, filter }
    }

    /// The same call; integer overflow in its expressions is an error.
    ///
    /// # Errors
    /// As [`checked`] has.
    pub fn checked(self) -> Result<Self> {
        let all = |exprs: Vec<Arc<dyn PhysicalExpr>>| exprs.into_iter().map(checked).collect::<Result<_>>();
        let filter = self.filter.map(checked).transpose()?;
        Ok(Self { args: all(self.args)?, order: all(self.order)?, filter, function: self.function })
    }

    /// How the call is kept up to date over an input that has deletions or has not.
    ///
    /// # Errors
    /// `Unsupported`, naming the function; `Invalid`: an argument it does not take. `Bug`: another function of the same name, whose result has
    /// another type.
    pub(crate) fn method(&self, input: &Schema, input_append_only: bool) -> Result<Method> {
        let name = self.function.fun().name();
        let refuse = |what: &str| Err(Error::unsupported(format!("function {name}() {what} is not supported in a view")));
        let types = self.argument_types(input)?;
        let ours = Function::of(name).and_then(|f| Some((f, f.result(&types)?)));
        let Some((function, result)) = ours else {
            return if input_append_only { self.with_accumulators() } else { refuse("over rows that may be deleted") };
        };
        if result != *self.function.field().data_type() {
            return Err(Error::bug(format!("{self} gives {} instead of {result}", self.function.field().data_type())));
        }
        if self.function.is_distinct() && !function.ignores_repeats() {
            return if types.len() == 1 { Ok(Method::Distinct(function)) } else { refuse("with DISTINCT over several arguments") };
        }
        if !function.subtracts() && !input_append_only {
            return Ok(Method::Edge(function));
        }
        let is_plain_count = function == Function::Count && self.filter.is_none() && self.counts_all();
        Ok(if is_plain_count { Method::Rows } else { Method::Kernel(function) })
    }

    /// The batch engine's accumulators, if it makes one for these arguments.
    fn with_accumulators(&self) -> Result<Method> {
        let refuse = |error: DataFusionError| {
            let text = format!("function {}(): {}", self.function.fun().name(), error.strip_backtrace());
            if matches!(error, DataFusionError::Plan(_)) { Error::invalid(text) } else { Error::unsupported(text) }
        };
        self.function.create_accumulator().map(|_| Method::Accumulators).map_err(refuse)
    }

    /// True for count(*), which arrives as the count of a literal.
    fn counts_all(&self) -> bool {
        let never_null = |e: &Arc<dyn PhysicalExpr>| e.downcast_ref::<Literal>().is_some_and(|l| !l.value().is_null());
        self.args.iter().all(never_null)
    }

    /// The types of the arguments.
    pub(crate) fn argument_types(&self, input: &Schema) -> Result<Vec<DataType>> {
        let types = self.args.iter().map(|e| e.data_type(input)).collect::<Result<Vec<_>, _>>();
        types.map_err(|e| Error::bug(e.strip_backtrace()))
    }

    /// The columns of the call's state beside its group.
    pub(crate) fn state(&self, method: Method, types: &[DataType]) -> Result<Vec<DataType>> {
        Ok(match method {
            Method::Rows => Vec::new(),
            Method::Kernel(function) | Method::Distinct(function) | Method::Edge(function) => function.state(types),
            Method::Accumulators => accumulator_state(&self.function)?,
        })
    }

    /// What keeps that state; nothing for the number of rows.
    pub(crate) fn kernel(&self, method: Method, types: &[DataType]) -> Result<Option<Box<dyn Kernel>>> {
        Ok(match method {
            Method::Rows => None,
            Method::Kernel(function) | Method::Distinct(function) | Method::Edge(function) => Some(function.kernel(types)?),
            Method::Accumulators => Some(Box::new(Accumulators::new(self.function.clone())?)),
        })
    }

    /// The arguments on `rows`. Where FILTER is not true they are not evaluated on the row alone: a failure there counts for nothing.
    pub(crate) fn arguments(&self, method: Method, rows: &RecordBatch) -> Result<Arguments, DataFusionError> {
        if method == Method::Rows {
            return Ok(Arguments { columns: Vec::new(), keep: None });
        }
        let order: &[_] = if method == Method::Accumulators { &self.order } else { &[] };
        let evaluate = |rows: &RecordBatch| self.args.iter().chain(order).map(|e| to_array(e, rows)).collect::<Result<Vec<_>, _>>();
        let Some(filter) = &self.filter else {
            return Ok(Arguments { columns: evaluate(rows)?, keep: None });
        };
        let keep = to_array(filter, rows)?;
        let keep = keep.as_boolean();
        let keep = if keep.null_count() > 0 { prep_null_mask_filter(keep) } else { keep.clone() };
        let columns = evaluate(rows).or_else(|_| spread(&evaluate(&filter_record_batch(rows, &keep)?)?, &keep))?;
        Ok(Arguments { columns, keep: Some(keep) })
    }

    /// The text by which calls share kept values: the argument and the filter.
    pub(crate) fn values_of(&self) -> String {
        let args: Vec<String> = self.args.iter().map(ToString::to_string).collect();
        format!("{} {:?}", args.join(", "), self.filter.as_ref().map(ToString::to_string))
    }
}

/// Columns of the rows where `keep` is true, put back into their places, NULL elsewhere.
fn spread(columns: &[ArrayRef], keep: &BooleanArray) -> Result<Vec<ArrayRef>, DataFusionError> {
    let mut next = 0_u32;
    let places = keep.values().iter().map(|kept| {
        next += u32::from(kept);
        next.saturating_sub(1)
    });
    let places: arrow::array::UInt32Array = places.collect::<Vec<_>>().into();
    let places = nullif(&places, &arrow::compute::not(keep)?)?;
    columns.iter().map(|c| Ok(take(c, places.as_primitive::<arrow::datatypes::UInt32Type>(), None)?)).collect()
}

impl fmt::Display for AggregateCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let args: Vec<String> = self.args.iter().map(ToString::to_string).collect();
        let distinct = if self.function.is_distinct() { "DISTINCT " } else { "" };
        let by = |(expr, by): (&Arc<dyn PhysicalExpr>, &PhysicalSortExpr)| format!("{expr} {}", by.options);
        let order: Vec<String> = self.order.iter().zip(self.function.order_bys()).map(by).collect();
        let order = if order.is_empty() { String::new() } else { format!(" ORDER BY {}", order.join(", ")) };
        write!(f, "{}({distinct}{}{order})", self.function.fun().name(), args.join(", "))?;
        self.filter.as_ref().map_or(Ok(()), |filter| write!(f, " FILTER (WHERE {filter})"))
    }
}
