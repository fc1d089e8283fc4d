//! Any other aggregate of the batch engine, over rows that are never deleted: its own accumulator, a state a group.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, UInt32Array, new_null_array};
use arrow::compute::{SortColumn, SortOptions, concat, filter, lexsort_to_indices, take};
use arrow::datatypes::DataType;
use datafusion::common::utils::SingleRowListArrayBuilder;
use datafusion::common::{DataFusionError, ScalarValue};
use datafusion::logical_expr::Accumulator;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_expr::expressions::Literal;
use headwater_state::StateColumns;
use headwater_types::{Error, Result};

use super::{Failures, Kernel};

/// An aggregate without a kernel of ours. Evaluating an accumulator, or asking for its state, may empty it, so what is kept is the state, and an
/// accumulator is made of it for each use; rows wait for the end of the epoch, so that this is done once.
///
/// With ORDER BY within the call its values follow the arguments. Some accumulators (nth_value) then need their rows in order from the first to the
/// last, which rows of one epoch can be and rows of several cannot: the epoch's rows make a state of their own, which is merged with the one kept,
/// as the batch engine merges the states of its partitions.
///
/// State: Boolean, whether there were rows; then the function's own state fields.
#[derive(Debug)]
pub(crate) struct Accumulators {
    function: Arc<AggregateFunctionExpr>,
    fields: Vec<DataType>,
    /// How the last of the columns it is given are ordered.
    ordering: Vec<SortOptions>,
    /// The n of nth_value.
    nth: Option<i64>,
    states: Vec<Option<Vec<ScalarValue>>>,
    state_bytes: usize,
    /// Slots and arguments of the epoch's rows.
    waiting: Vec<(Vec<u32>, Vec<ArrayRef>)>,
}

/// The columns that [`Accumulators`] keeps for `function`.
pub(crate) fn state(function: &AggregateFunctionExpr) -> Result<Vec<DataType>> {
    let fields = function.state_fields().map_err(bug)?;
    Ok(std::iter::once(DataType::Boolean).chain(fields.iter().map(|f| f.data_type().clone())).collect())
}

impl Accumulators {
    pub(crate) fn new(function: Arc<AggregateFunctionExpr>) -> Result<Self> {
        let fields = state(&function)?.split_off(1);
        let ordering = function.order_bys().iter().map(|by| by.options).collect();
        let nth = nth_of(&function);
        Ok(Self { function, fields, ordering, nth, states: Vec::new(), state_bytes: 0, waiting: Vec::new() })
    }

    /// An accumulator in the state of `slot`.
    fn accumulator(&self, slot: u32) -> Result<Box<dyn Accumulator>, DataFusionError> {
        let mut accumulator = self.function.create_accumulator()?;
        if let Some(state) = &self.states[slot as usize] {
            accumulator.merge_batch(&columns_of(state)?)?;
        }
        Ok(accumulator)
    }

    fn replace(&mut self, slot: u32, state: Option<Vec<ScalarValue>>) {
        let size = |state: &Option<Vec<ScalarValue>>| state.iter().flatten().map(ScalarValue::size).sum::<usize>();
        let place = &mut self.states[slot as usize];
        self.state_bytes = self.state_bytes + size(&state) - size(place);
        *place = state;
    }

    /// The rows as they shall be taken: in the order of ORDER BY, if there is one.
    fn in_order(&self, args: &[ArrayRef], rows: usize) -> Result<Vec<u32>> {
        if self.ordering.is_empty() {
            return Ok((0..).take(rows).collect());
        }
        let by = args[args.len() - self.ordering.len()..].iter().zip(&self.ordering);
        let by: Vec<SortColumn> = by.map(|(column, options)| SortColumn { values: column.clone(), options: Some(*options) }).collect();
        Ok(lexsort_to_indices(&by, None)?.values().to_vec())
    }

    /// Calls `apply` once a slot with the accumulator and the rows of `columns` that belong to it, in `order`.
    fn fold(
        &mut self,
        slots: &[u32],
        columns: &[ArrayRef],
        mut order: Vec<u32>,
        apply: impl Fn(&mut dyn Accumulator, &[ArrayRef]) -> Result<(), DataFusionError>,
    ) -> Result<()> {
        order.sort_by_key(|&row| slots[row as usize]);
        for rows in order.chunk_by(|&a, &b| slots[a as usize] == slots[b as usize]) {
            let slot = slots[rows[0] as usize];
            let indices = UInt32Array::from(rows.to_vec());
            let taken = columns.iter().map(|c| take(c, &indices, None)).collect::<Result<Vec<_>, _>>()?;
            let mut accumulator = self.accumulator(slot).map_err(bug)?;
            apply(accumulator.as_mut(), &taken).map_err(bug)?;
            let state = accumulator.state().map_err(bug)?;
            self.replace(slot, Some(state.into_iter().map(|value| self.cut(value)).collect()));
        }
        Ok(())
    }

    /// Of the values in a state, those that nth_value can need: it does not drop any when it merges.
    fn cut(&self, value: ScalarValue) -> ScalarValue {
        let (Some(nth), ScalarValue::List(list)) = (self.nth, &value) else { return value };
        let values = list.value(0);
        let most = usize::try_from(nth.unsigned_abs()).unwrap_or(usize::MAX);
        if values.len() <= most {
            return value;
        }
        let start = if nth > 0 { 0 } else { values.len() - most };
        let mut kept = SingleRowListArrayBuilder::new(values.slice(start, most)).build_list_scalar();
        kept.compact();
        kept
    }
}

/// The value in `row` alone: a list by itself would keep, and count, all of the column.
fn owned(column: &ArrayRef, row: usize) -> Result<ScalarValue, DataFusionError> {
    ScalarValue::try_from_array(column, row).map(ScalarValue::compacted)
}

/// A state as columns of one row.
fn columns_of(state: &[ScalarValue]) -> Result<Vec<ArrayRef>, DataFusionError> {
    state.iter().map(|value| value.to_array_of_size(1)).collect()
}

/// The n of nth_value(x, n): the n-th value, from the end if negative.
fn nth_of(function: &AggregateFunctionExpr) -> Option<i64> {
    if function.fun().name() != "nth_value" {
        return None;
    }
    match function.expressions().get(1)?.downcast_ref::<Literal>()?.value() {
        ScalarValue::Int64(nth) => *nth,
        _ => None,
    }
}

fn bug(error: DataFusionError) -> Error {
    Error::bug(error.strip_backtrace())
}

impl StateColumns for Accumulators {
    fn resize(&mut self, slots: usize) {
        self.states.resize(slots, None);
    }

    fn reset(&mut self, slots: &[u32]) {
        slots.iter().for_each(|&s| self.replace(s, None));
    }

    fn gather(&self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        let states = || slots.iter().map(|&s| self.states[s as usize].as_ref());
        let mut columns: Vec<ArrayRef> = vec![Arc::new(BooleanArray::from_iter(states().map(|s| Some(s.is_some()))))];
        for (at, data_type) in self.fields.iter().enumerate() {
            if slots.is_empty() {
                columns.push(new_null_array(data_type, 0));
                continue;
            }
            let null = ScalarValue::try_from(data_type).map_err(bug)?;
            let values = states().map(|s| s.map_or_else(|| null.clone(), |s| s[at].clone()));
            columns.push(ScalarValue::iter_to_array(values).map_err(bug)?);
        }
        Ok(columns)
    }

    fn scatter(&mut self, slots: &[u32], columns: &[ArrayRef]) -> Result<()> {
        for (row, &slot) in slots.iter().enumerate() {
            let is_set = ScalarValue::try_from_array(&columns[0], row).map_err(bug)? == ScalarValue::Boolean(Some(true));
            let state = columns[1..].iter().map(|c| owned(c, row)).collect::<Result<Vec<_>, _>>().map_err(bug)?;
            self.replace(slot, is_set.then_some(state));
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.states.capacity() * size_of::<Option<Vec<ScalarValue>>>() + self.state_bytes
    }
}

impl Kernel for Accumulators {
    fn update(&mut self, slots: &[u32], args: &[ArrayRef], weights: Option<&[i64]>) -> Result<()> {
        let Some(weights) = weights else {
            self.waiting.push((slots.to_vec(), args.to_vec()));
            return Ok(());
        };
        // A row inserted n times is n rows.
        let repeat = |(row, &weight): (u32, &i64)| std::iter::repeat_n(row, usize::try_from(weight).unwrap_or(0));
        let repeated: Vec<u32> = (0_u32..).zip(weights).flat_map(repeat).collect();
        let slots: Vec<u32> = repeated.iter().map(|&row| slots[row as usize]).collect();
        let repeated = UInt32Array::from(repeated);
        let args = args.iter().map(|a| take(a, &repeated, None)).collect::<Result<Vec<_>, _>>()?;
        self.waiting.push((slots, args));
        Ok(())
    }

    fn settle(&mut self) -> Result<()> {
        let waiting = std::mem::take(&mut self.waiting);
        let Some((_, first)) = waiting.first() else { return Ok(()) };
        let column = |at: usize| concat(&waiting.iter().map(|(_, args)| args[at].as_ref()).collect::<Vec<_>>());
        let args = (0..first.len()).map(column).collect::<Result<Vec<_>, _>>()?;
        let slots: Vec<u32> = waiting.iter().flat_map(|(slots, _)| slots).copied().collect();
        let order = self.in_order(&args, slots.len())?;
        if self.ordering.is_empty() {
            return self.fold(&slots, &args, order, |accumulator, columns| accumulator.update_batch(columns));
        }
        let function = self.function.clone();
        self.fold(&slots, &args, order, |accumulator, columns| {
            let mut epoch = function.create_accumulator()?;
            epoch.update_batch(columns)?;
            accumulator.merge_batch(&columns_of(&epoch.state()?)?)
        })
    }

    fn merge(&mut self, slots: &[u32], columns: &[ArrayRef]) -> Result<()> {
        let is_set = columns[0].as_boolean();
        let slots: Vec<u32> = slots.iter().zip(is_set.values()).filter(|(_, is_set)| *is_set).map(|(slot, _)| *slot).collect();
        let columns = columns[1..].iter().map(|column| filter(column, is_set)).collect::<Result<Vec<_>, _>>()?;
        let order = (0..).take(slots.len()).collect();
        self.fold(&slots, &columns, order, |accumulator, columns| accumulator.merge_batch(columns))
    }

    fn evaluate(&self, slots: &[u32], failures: &mut Failures) -> Result<ArrayRef> {
        if slots.is_empty() {
            return Ok(new_null_array(self.function.field().data_type(), 0));
        }
        let mut results = Vec::with_capacity(slots.len());
        for (at, &slot) in slots.iter().enumerate() {
            let result = self.accumulator(slot).and_then(|mut a| a.evaluate());
            results.push(match result {
                Ok(value) => value,
                Err(_) => {
                    failures.push((at, "the aggregate has no value"));
                    ScalarValue::try_from(self.function.field().data_type()).map_err(bug)?
                }
            });
        }
        ScalarValue::iter_to_array(results).map_err(bug)
    }
}
