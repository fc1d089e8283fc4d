//! Kept values: every value of an argument with how often it occurs in its group, for DISTINCT, and for min and max over deletions.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::{is_not_null, partition, take};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use headwater_state::{End, Trace, Writes};
use headwater_types::{ChangeBatch, Epoch, Micros, Result, RowOrder, consolidate};

use super::call::Method;
use super::layout::Layout;
use super::routing::Rows;
use crate::StatePlace;
use crate::distinct::turned;
use crate::kernels::Function;

/// One argument's values: columns of the group, then the value; NULL is not kept.
pub(crate) struct Multiset {
    schema: SchemaRef,
    order: RowOrder,
    trace: Trace,
    pending: Vec<ChangeBatch>,
    /// The calls that live on it.
    uses: Vec<(usize, Method)>,
}

/// What the end of an epoch means for a call.
pub(crate) enum Settled {
    /// Values that came for the first time (+1) or went for good (-1).
    Turned(usize, ChangeBatch),
    /// The call's new value in each of the groups that changed.
    Edge(usize, RecordBatch, ArrayRef),
}

impl Multiset {
    /// The values of type `value` that the calls `uses` need.
    pub(crate) fn open(layout: &Layout, value: &DataType, uses: Vec<(usize, Method)>, place: &mut StatePlace) -> Result<Self> {
        let mut fields = layout.value_fields();
        let key: Vec<usize> = (0..fields.len()).collect();
        fields.push(Field::new("value", value.clone(), true));
        let schema = Arc::new(Schema::new(fields));
        let order = RowOrder::new(&schema, &(0..=key.len()).collect::<Vec<_>>())?;
        let table = place.next_table();
        let trace = Trace::open(place.store(), table, schema.clone(), &key)?;
        Ok(Self { schema, order, trace, pending: Vec::new(), uses })
    }

    /// Adds the values of `rows`.
    pub(crate) fn push(&mut self, rows: &Rows) -> Result<()> {
        let args = &rows.args[self.uses[0].0];
        let value = &args.columns[0];
        let mut columns = rows.groups.to_value_columns();
        columns.push(value.clone());
        let values = RecordBatch::try_new(self.schema.clone(), columns)?;
        let mut values = match &rows.weights {
            None => ChangeBatch::insertions(values),
            Some(weights) => ChangeBatch::new(values, weights.clone())?,
        };
        let is_kept: Option<BooleanArray> = match (&args.keep, value.logical_null_count() > 0) {
            (None, false) => None,
            (Some(keep), false) => Some(keep.clone()),
            (None, true) => Some(is_not_null(value)?),
            (Some(keep), true) => Some(arrow::compute::and(keep, &is_not_null(value)?)?),
        };
        if let Some(is_kept) = is_kept {
            values = values.filter(&is_kept)?;
        }
        if !values.is_empty() {
            self.pending.push(values);
        }
        Ok(())
    }

    /// Takes in the epoch's values.
    ///
    /// # Errors
    /// `Bug`: a value is deleted that was not there.
    pub(crate) fn settle(&mut self) -> Result<Vec<Settled>> {
        let changes = consolidate(&self.schema, &self.order, &std::mem::take(&mut self.pending))?;
        if changes.is_empty() {
            return Ok(Vec::new());
        }
        let is_distinct = |method: &Method| matches!(method, Method::Distinct(_));
        let before = if self.uses.iter().any(|u| is_distinct(&u.1)) { Some(self.trace.weights_of(changes.rows())?) } else { None };
        self.trace.insert(changes.clone())?;
        let turned = before.map(|before| turned(&changes, &before)).transpose()?;
        let mut settled = Vec::new();
        for &(call, method) in &self.uses {
            if let (true, Some(turned)) = (is_distinct(&method), &turned) {
                settled.push(Settled::Turned(call, turned.clone()));
                continue;
            }
            let groups = self.groups_of(changes.rows())?;
            let end = if method == Method::Edge(Function::Min) { End::First } else { End::Last };
            let (found, rows) = self.trace.edge(groups.columns(), end)?;
            let values = take(rows.column(self.value()), &UInt32Array::from(found), None)?;
            settled.push(Settled::Edge(call, groups, values));
        }
        Ok(settled)
    }

    /// The group columns of sorted `rows`, each group once.
    fn groups_of(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        let groups = rows.project(&(0..self.value()).collect::<Vec<_>>())?;
        let firsts = partition(groups.columns())?.ranges().into_iter().map(|range| range.start as u32);
        let firsts = UInt32Array::from_iter_values(firsts);
        Ok(arrow::compute::take_record_batch(&groups, &firsts)?)
    }

    /// The index of the value column.
    fn value(&self) -> usize {
        self.schema.fields().len() - 1
    }

    pub(crate) fn forget_below(&mut self, below: Micros) -> Result<()> {
        self.trace.forget_below(below)
    }

    pub(crate) fn flush(&mut self, epoch: Epoch, writes: &mut Writes) -> Result<()> {
        self.trace.flush(epoch, writes)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.trace.bytes() + self.pending.iter().map(ChangeBatch::bytes).sum::<usize>()
    }
}
