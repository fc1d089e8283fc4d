//! min and max: of fixed-width values in typed columns, of any other type that has an order through rows of bytes.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowNativeTypeOp, ArrowPrimitiveType, AsArray, PrimitiveArray, new_null_array};
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
    values: Vec<Extreme<T::Native>>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Extreme<V> {
    value: V,
    is_set: bool,
}

impl<T: ArrowPrimitiveType> Extremes<T> {
    pub(crate) fn new(is_max: bool, data_type: DataType) -> Self {
        Self { is_max, data_type, values: Vec::new() }
    }

    fn column(&self, slots: &[u32]) -> ArrayRef {
        let picked = pick(&self.values, slots);
        let values: PrimitiveArray<T> = if picked.iter().all(|e| e.is_set) {
            PrimitiveArray::from_iter_values(picked.iter().map(|e| e.value))
        } else {
            picked.iter().map(|e| e.is_set.then_some(e.value)).collect()
        };
        Arc::new(values.with_data_type(self.data_type.clone()))
    }
}

impl<T: ArrowPrimitiveType> StateColumns for Extremes<T> {
    fn resize(&mut self, slots: usize) {
        self.values.resize(slots, Extreme::default());
    }

    fn reset(&mut self, slots: &[u32]) {
        slots.iter().for_each(|&s| self.values[s as usize] = Extreme::default());
    }

    fn gather(&self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.column(slots)])
    }

    fn scatter(&mut self, slots: &[u32], columns: &[ArrayRef]) -> Result<()> {
        self.reset(slots);
        each(slots, columns[0].as_primitive::<T>(), None, |slot, value, _| self.values[slot] = Extreme { value, is_set: true });
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.values.capacity() * size_of::<Extreme<T::Native>>()
    }
}

impl<T: ArrowPrimitiveType> Kernel for Extremes<T> {
    fn update(&mut self, slots: &[u32], args: &[ArrayRef], _weights: Option<&[i64]>) -> Result<()> {
        let (values, column) = (&mut self.values, args[0].as_primitive::<T>());
        if self.is_max {
            each(slots, column, None, |slot, value, _| {
                let extreme = &mut values[slot];
                if !extreme.is_set || value.is_gt(extreme.value) {
                    *extreme = Extreme { value, is_set: true };
                }
            });
        } else {
            each(slots, column, None, |slot, value, _| {
                let extreme = &mut values[slot];
                if !extreme.is_set || value.is_lt(extreme.value) {
                    *extreme = Extreme { value, is_set: true };
                }
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
