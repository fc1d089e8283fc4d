//! Any other aggregate of the batch engine, over rows that are never deleted: its own accumulator, a state a group.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, UInt32Array, new_null_array};
use arrow::compute::{concat, filter, take};
use arrow::datatypes::DataType;
use datafusion::common::{DataFusionError, ScalarValue};
use datafusion::logical_expr::Accumulator;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use headwater_state::StateColumns;
use headwater_types::{Error, Result};

use super::{Failures, Kernel};

/// An aggregate without a kernel of ours. Evaluating an accumulator, or asking for its state, may empty it, so what is kept is the state, and an
/// accumulator is made of it for each use; rows wait for the end of the epoch, so that this is done once. State: Boolean, whether there were rows; then the function's own state fields.
#[derive(Debug)]
pub(crate) struct Accumulators {
    function: Arc<AggregateFunctionExpr>,
    fields: Vec<DataType>,
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
        Ok(Self { function, fields, states: Vec::new(), state_bytes: 0, waiting: Vec::new() })
    }

    /// An accumulator in the state of `slot`.
    fn accumulator(&self, slot: u32) -> Result<Box<dyn Accumulator>, DataFusionError> {
        let mut accumulator = self.function.create_accumulator()?;
        if let Some(state) = &self.states[slot as usize] {
            let columns = state.iter().map(|value| value.to_array_of_size(1)).collect::<Result<Vec<_>, _>>()?;
            accumulator.merge_batch(&columns)?;
        }
        Ok(accumulator)
    }

    fn replace(&mut self, slot: u32, state: Option<Vec<ScalarValue>>) {
        let size = |state: &Option<Vec<ScalarValue>>| state.iter().flatten().map(ScalarValue::size).sum::<usize>();
        let place = &mut self.states[slot as usize];
        self.state_bytes = self.state_bytes + size(&state) - size(place);
        *place = state;
    }

    /// Calls `apply` once a slot with the accumulator and the rows of `columns` that belong to it, in their order.
    fn fold(
        &mut self,
        slots: &[u32],
        columns: &[ArrayRef],
        apply: impl Fn(&mut dyn Accumulator, &[ArrayRef]) -> Result<(), DataFusionError>,
    ) -> Result<()> {
        let mut order: Vec<u32> = (0..).take(slots.len()).collect();
        order.sort_by_key(|&row| slots[row as usize]);
        for rows in order.chunk_by(|&a, &b| slots[a as usize] == slots[b as usize]) {
            let slot = slots[rows[0] as usize];
            let indices = UInt32Array::from(rows.to_vec());
            let taken = columns.iter().map(|c| take(c, &indices, None)).collect::<Result<Vec<_>, _>>()?;
            let mut accumulator = self.accumulator(slot).map_err(bug)?;
            apply(accumulator.as_mut(), &taken).map_err(bug)?;
            self.replace(slot, Some(accumulator.state().map_err(bug)?));
        }
        Ok(())
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
            let state = columns[1..].iter().map(|c| ScalarValue::try_from_array(c, row)).collect::<Result<Vec<_>, _>>().map_err(bug)?;
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
        self.fold(&slots, &args, |accumulator, columns| accumulator.update_batch(columns))
    }

    fn merge(&mut self, slots: &[u32], columns: &[ArrayRef]) -> Result<()> {
        let is_set = columns[0].as_boolean();
        let slots: Vec<u32> = slots.iter().zip(is_set.values()).filter(|(_, is_set)| *is_set).map(|(slot, _)| *slot).collect();
        let columns = columns[1..].iter().map(|column| filter(column, is_set)).collect::<Result<Vec<_>, _>>()?;
        self.fold(&slots, &columns, |accumulator, columns| accumulator.merge_batch(columns))
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
