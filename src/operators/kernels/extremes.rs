//! min and max: of fixed-width values in typed columns, of any other type that has an order through rows of bytes.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowNativeTypeOp, ArrowPrimitiveType, AsArray, PrimitiveArray, new_null_array};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::datatypes::DataType;
use arrow::row::{OwnedRow, RowConverter, SortField};
use headwater_state::StateColumns;
use headwater_types::Result;

use super::{Failures, Kernel, each, pick};

/// min or max of a fixed-width type; NaN is greatest, as in PostgreSQL. State: the value, NULL before the first.
///
/// Insertions only. Over changes the operator finds the new extreme in its trace and puts it in with `scatter`.
#[derive(Debug)]
pub(crate) struct Extremes<T: ArrowPrimitiveType> {
    is_max: bool,
    data_type: DataType,
    /// Before the first value, what no value is worse than.
    values: Vec<T::Native>,
    is_set: Vec<bool>,
}

impl<T: ArrowPrimitiveType> Extremes<T> {
    pub(crate) fn new(is_max: bool, data_type: DataType) -> Self {
        Self { is_max, data_type, values: Vec::new(), is_set: Vec::new() }
    }

    fn worst(&self) -> T::Native {
        if self.is_max { T::Native::MIN_TOTAL_ORDER } else { T::Native::MAX_TOTAL_ORDER }
    }

    fn column(&self, slots: &[u32]) -> ArrayRef {
        let is_set = BooleanBuffer::from(pick(&self.is_set, slots));
        let nulls = (is_set.count_set_bits() < slots.len()).then(|| NullBuffer::new(is_set));
        let values = PrimitiveArray::<T>::new(pick(&self.values, slots).into(), nulls);
        Arc::new(values.with_data_type(self.data_type.clone()))
    }
}

impl<T: ArrowPrimitiveType> StateColumns for Extremes<T> {
    fn resize(&mut self, slots: usize) {
        self.values.resize(slots, self.worst());
        self.is_set.resize(slots, false);
    }

    fn reset(&mut self, slots: &[u32]) {
        for &slot in slots {
            self.values[slot as usize] = self.worst();
            self.is_set[slot as usize] = false;
        }
    }

    fn gather(&self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.column(slots)])
    }

    fn scatter(&mut self, slots: &[u32], columns: &[ArrayRef]) -> Result<()> {
        self.reset(slots);
        self.update(slots, columns, None)
    }

    fn bytes(&self) -> usize {
        self.values.capacity() * size_of::<T::Native>() + self.is_set.capacity()
    }
}

impl<T: ArrowPrimitiveType> Kernel for Extremes<T> {
    fn update(&mut self, slots: &[u32], args: &[ArrayRef], _weights: Option<&[i64]>) -> Result<()> {
        let (values, is_set, column) = (&mut self.values, &mut self.is_set, args[0].as_primitive::<T>());
        if self.is_max {
            each(slots, column, None, |slot, value, _| {
                let now = values[slot];
                values[slot] = if value.is_gt(now) { value } else { now };
                is_set[slot] = true;
            });
        } else {
            each(slots, column, None, |slot, value, _| {
                let now = values[slot];
                values[slot] = if value.is_lt(now) { value } else { now };
                is_set[slot] = true;
            });
        }
        Ok(())
    }

    fn merge(&mut self, slots: &[u32], columns: &[ArrayRef]) -> Result<()> {
        self.update(slots, columns, None)
    }

    fn evaluate(&self, slots: &[u32], _failures: &mut Failures) -> Result<ArrayRef> {
        Ok(self.column(slots))
    }
}

/// min or max of any type with an order: strings, bytes, booleans, intervals. State and duties as [`Extremes`].
#[derive(Debug)]
pub(crate) struct RowExtremes {
    is_max: bool,
    converter: RowConverter,
    null: OwnedRow,
    values: Vec<Option<OwnedRow>>,
    value_bytes: usize,
}

impl RowExtremes {
    pub(crate) fn new(is_max: bool, data_type: &DataType) -> Result<Self> {
        let converter = RowConverter::new(vec![SortField::new(data_type.clone())])?;
        let null = converter.convert_columns(&[new_null_array(data_type, 1)])?.row(0).owned();
        Ok(Self { is_max, converter, null, values: Vec::new(), value_bytes: 0 })
    }

    fn column(&self, slots: &[u32]) -> Result<ArrayRef> {
        let rows = slots.iter().map(|&s| self.values[s as usize].as_ref().unwrap_or(&self.null).row());
        Ok(self.converter.convert_rows(rows)?.remove(0))
    }

    fn replace(&mut self, slot: u32, value: Option<OwnedRow>) {
        let size = |row: &Option<OwnedRow>| row.as_ref().map_or(0, |r| r.as_ref().len());
        let place = &mut self.values[slot as usize];
        self.value_bytes = self.value_bytes + size(&value) - size(place);
        *place = value;
    }
}

impl StateColumns for RowExtremes {
    fn resize(&mut self, slots: usize) {
        self.values.resize(slots, None);
    }

    fn reset(&mut self, slots: &[u32]) {
        slots.iter().for_each(|&s| self.replace(s, None));
    }

    fn gather(&self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.column(slots)?])
    }

    fn scatter(&mut self, slots: &[u32], columns: &[ArrayRef]) -> Result<()> {
        self.reset(slots);
        self.update(slots, columns, None)
    }

    fn bytes(&self) -> usize {
        self.values.capacity() * size_of::<Option<OwnedRow>>() + self.value_bytes
    }
}

impl Kernel for RowExtremes {
    fn update(&mut self, slots: &[u32], args: &[ArrayRef], _weights: Option<&[i64]>) -> Result<()> {
        let rows = self.converter.convert_columns(&args[..1])?;
        let nulls = args[0].logical_nulls();
        for (index, &slot) in slots.iter().enumerate() {
            if nulls.as_ref().is_some_and(|n| n.is_null(index)) {
                continue;
            }
            let row = rows.row(index);
            let is_better = match &self.values[slot as usize] {
                None => true,
                Some(now) if self.is_max => row > now.row(),
                Some(now) => row < now.row(),
            };
            if is_better {
                self.replace(slot, Some(row.owned()));
            }
        }
        Ok(())
    }

    fn merge(&mut self, slots: &[u32], columns: &[ArrayRef]) -> Result<()> {
        self.update(slots, columns, None)
    }

    fn evaluate(&self, slots: &[u32], _failures: &mut Failures) -> Result<ArrayRef> {
        self.column(slots)
    }
}
