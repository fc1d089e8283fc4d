//! How groups are laid out: the window key chooses the partition, the other group columns are the key within it.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, PrimitiveArray, RecordBatch, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimestampMicrosecondType};
use headwater_state::{Shard, StateColumns};
use headwater_types::{Error, Micros, Result};

use crate::window::Windows;

/// A batch in which the window changes this often at most is cut into slices; one in greater disorder is picked apart row by row.
const SLICES_MAX: usize = 8;

/// Where each group column is kept. Indices named `group` count the group columns of the output.
pub(crate) struct Layout {
    /// The input column of each group column.
    pub(crate) groups: Vec<usize>,
    pub(crate) window: Option<usize>,
    window_end: Option<(usize, Windows)>,
    /// The group columns within a partition.
    keys: Vec<usize>,
    fields: Vec<FieldRef>,
}

/// The group columns of some rows, as state is kept by: the window's moments, and the key columns.
pub(crate) struct GroupColumns {
    pub(crate) window: Option<PrimitiveArray<TimestampMicrosecondType>>,
    pub(crate) keys: Vec<ArrayRef>,
    pub(crate) rows: usize,
}

/// Rows of one partition.
pub(crate) struct Part {
    pub(crate) partition: i64,
    pub(crate) rows: PartRows,
}

/// Which rows of a batch.
pub(crate) enum PartRows {
    Slice(usize, usize),
    Picked(UInt32Array),
}

impl Layout {
    pub(crate) fn new(input: &Schema, groups: &[usize], window: Option<usize>, window_end: Option<(usize, Windows)>) -> Result<Self> {
        let fields: Vec<FieldRef> = groups.iter().map(|&g| input.fields()[g].clone()).collect();
        if let Some(window) = window {
            let is_time = matches!(fields[window].data_type(), DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, _));
            if !is_time {
                return Err(Error::bug(format!("the window key {} is no timestamp", fields[window])));
            }
        }
        let is_kept = |group: &usize| Some(*group) != window && window_end.as_ref().is_none_or(|e| e.0 != *group);
        let keys = (0..groups.len()).filter(is_kept).collect();
        Ok(Self { groups: groups.to_vec(), window, window_end, keys, fields })
    }

    /// The key columns within a partition; a constant where there are none.
    pub(crate) fn key_schema(&self) -> SchemaRef {
        let fields: Vec<Field> = self.keys.iter().map(|&k| self.fields[k].as_ref().clone().with_nullable(true)).collect();
        Arc::new(Schema::new(if fields.is_empty() { vec![Field::new("all", DataType::Boolean, true)] } else { fields }))
    }

    /// True if a partition has one group.
    pub(crate) fn has_no_keys(&self) -> bool {
        self.keys.is_empty()
    }

    /// The columns by which kept values are ordered: the window key first, then the key columns; a constant where there are none.
    pub(crate) fn value_fields(&self) -> Vec<Field> {
        let kept = self.window.iter().chain(&self.keys).map(|&g| self.fields[g].as_ref().clone().with_nullable(true));
        let fields: Vec<Field> = kept.enumerate().map(|(n, field)| field.with_name(format!("group_{n}"))).collect();
        if fields.is_empty() { vec![Field::new("all", DataType::Boolean, true)] } else { fields }
    }

    /// The group columns of input rows.
    pub(crate) fn of_input(&self, rows: &RecordBatch) -> GroupColumns {
        let column = |group: usize| rows.column(self.groups[group]);
        let window = self.window.map(|w| column(w).as_primitive().clone());
        GroupColumns { window, keys: self.keys.iter().map(|&k| column(k).clone()).collect(), rows: rows.num_rows() }
    }

    /// The group columns of rows that start with [`Layout::value_fields`].
    pub(crate) fn of_values(&self, rows: &RecordBatch) -> GroupColumns {
        let window = self.window.map(|_| rows.column(0).as_primitive().clone());
        let first = usize::from(window.is_some());
        GroupColumns { window, keys: rows.columns()[first..first + self.keys.len()].to_vec(), rows: rows.num_rows() }
    }

    /// The output's group columns for groups of `partition` with these keys.
    pub(crate) fn output(&self, partition: i64, keys: &[ArrayRef], rows: usize) -> Result<Vec<ArrayRef>> {
        let moment = |at: Micros, group: usize| -> ArrayRef {
            let column = PrimitiveArray::<TimestampMicrosecondType>::from_value(at, rows);
            Arc::new(column.with_data_type(self.fields[group].data_type().clone()))
        };
        let column = |group: usize| {
            if self.window == Some(group) {
                return Ok(moment(partition, group));
            }
            if let Some((_, windows)) = self.window_end.as_ref().filter(|e| e.0 == group) {
                let end = windows.end_of(partition).ok_or_else(|| Error::bug("a window that was assigned has no end"))?;
                return Ok(moment(end, group));
            }
            let at = self.keys.iter().position(|k| *k == group).expect("a group column is the window, its end or a key");
            Ok(keys[at].clone())
        };
        (0..self.fields.len()).map(column).collect()
    }
}

impl Part {
    /// All of `rows` rows, in the one partition where there is no window.
    pub(crate) fn whole(rows: usize) -> Self {
        Self { partition: 0, rows: PartRows::Slice(0, rows) }
    }

    /// The first `count` of its rows, if it has more.
    pub(crate) fn first(&self, count: usize) -> Self {
        let rows = match &self.rows {
            PartRows::Slice(start, length) => PartRows::Slice(*start, count.min(*length)),
            PartRows::Picked(rows) => PartRows::Picked(rows.slice(0, count.min(rows.len()))),
        };
        Self { partition: self.partition, rows }
    }
}

impl GroupColumns {
    /// One row of the group that has no columns.
    pub(crate) fn without_keys() -> Self {
        Self { window: None, keys: Vec::new(), rows: 1 }
    }

    /// The columns of [`Layout::value_fields`].
    pub(crate) fn to_value_columns(&self) -> Vec<ArrayRef> {
        let window = self.window.iter().map(|w| Arc::new(w.clone()) as ArrayRef);
        let columns: Vec<ArrayRef> = window.chain(self.keys.iter().cloned()).collect();
        if columns.is_empty() { vec![Arc::new(BooleanArray::from(vec![true; self.rows]))] } else { columns }
    }

    /// The rows by partition, each row in exactly one part. The window column has no NULL.
    pub(crate) fn parts(&self) -> Vec<Part> {
        let Some(window) = &self.window else {
            return vec![Part::whole(self.rows)];
        };
        let moments = window.values();
        let Some(&first) = moments.first() else { return Vec::new() };
        if moments.iter().fold(true, |all, &at| all & (at == first)) {
            return vec![Part { partition: first, rows: PartRows::Slice(0, self.rows) }];
        }
        slices(moments).unwrap_or_else(|| picked(moments))
    }

    /// Finds or adds the group of each row of `part` in `shard`; their slots, one a row, into `slots`. Gives the states of the part's window.
    pub(crate) fn intern<'a, S: StateColumns>(&self, part: &Part, shard: &'a mut Shard<S>, slots: &mut Vec<u32>) -> Result<&'a mut S> {
        if self.keys.is_empty() {
            // Every row is in the same group: one row stands for all.
            let states = shard.intern(part.partition, &[Arc::new(BooleanArray::from(vec![true]))], slots)?;
            slots.resize(part.rows.len(), slots[0]);
            return Ok(states);
        }
        shard.intern(part.partition, &self.keys_of(&part.rows)?, slots)
    }

    /// The key columns of `rows`.
    pub(crate) fn keys_of(&self, rows: &PartRows) -> Result<Vec<ArrayRef>> {
        self.keys.iter().map(|key| rows.of(key)).collect()
    }
}

/// Runs of one moment, if they are few.
fn slices(moments: &[Micros]) -> Option<Vec<Part>> {
    let mut parts = Vec::new();
    let mut start = 0;
    for run in moments.chunk_by(|a, b| a == b) {
        if parts.len() == SLICES_MAX {
            return None;
        }
        parts.push(Part { partition: run[0], rows: PartRows::Slice(start, run.len()) });
        start += run.len();
    }
    Some(parts)
}

/// The rows of each moment.
fn picked(moments: &[Micros]) -> Vec<Part> {
    let mut lists: Vec<(Micros, Vec<u32>)> = Vec::new();
    let mut places: HashMap<Micros, usize> = HashMap::new();
    let mut last = 0;
    for (row, &at) in (0_u32..).zip(moments) {
        if lists.get(last).is_none_or(|list| list.0 != at) {
            last = *places.entry(at).or_insert(lists.len());
            if last == lists.len() {
                lists.push((at, Vec::new()));
            }
        }
        lists[last].1.push(row);
    }
    lists.into_iter().map(|(partition, rows)| Part { partition, rows: PartRows::Picked(UInt32Array::from(rows)) }).collect()
}

impl PartRows {
    /// How many rows.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Slice(_, length) => *length,
            Self::Picked(rows) => rows.len(),
        }
    }

    /// What `of` makes of the number of each. Inlined with it: a loop a case.
    #[inline(always)]
    pub(crate) fn map<T>(&self, of: impl FnMut(usize) -> T) -> Vec<T> {
        match self {
            Self::Slice(start, length) => (*start..start + length).map(of).collect(),
            Self::Picked(rows) => rows.values().iter().map(|&row| row as usize).map(of).collect(),
        }
    }

    /// These rows of `column`.
    pub(crate) fn of(&self, column: &ArrayRef) -> Result<ArrayRef> {
        Ok(match self {
            Self::Slice(0, length) if *length == column.len() => column.clone(),
            Self::Slice(start, length) => column.slice(*start, *length),
            Self::Picked(rows) => take(column, rows, None)?,
        })
    }

    /// These rows' weights.
    pub(crate) fn weights(&self, weights: &[i64]) -> Vec<i64> {
        match self {
            Self::Slice(start, length) => weights[*start..start + length].to_vec(),
            Self::Picked(rows) => rows.values().iter().map(|&row| weights[row as usize]).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts_of(moments: Vec<i64>) -> Vec<(i64, Vec<u64>)> {
        let rows = moments.len();
        let ids: ArrayRef = Arc::new(arrow::array::UInt64Array::from_iter_values(0..rows as u64));
        let columns = GroupColumns { window: Some(moments.into()), keys: vec![ids.clone()], rows };
        let of = |part: &Part| part.rows.of(&ids).unwrap().as_primitive::<arrow::datatypes::UInt64Type>().values().to_vec();
        let mut parts: Vec<_> = columns.parts().iter().map(|part| (part.partition, of(part))).collect();
        parts.sort();
        parts
    }

    #[test]
    fn rows_are_parted_by_window() {
        assert_eq!(parts_of(vec![]), vec![]);
        assert_eq!(parts_of(vec![7, 7]), vec![(7, vec![0, 1])]);
        assert_eq!(parts_of(vec![7, 7, 9, 8]), vec![(7, vec![0, 1]), (8, vec![3]), (9, vec![2])]);
        let disorder: Vec<i64> = (0..20).map(|row| row % 3).collect();
        let expected = (0..3).map(|at| (at, (0..20).filter(|row| *row as i64 % 3 == at).collect())).collect::<Vec<(i64, Vec<u64>)>>();
        assert_eq!(parts_of(disorder), expected);
    }
}
