//! Rows put in the order of their shards: where each of them goes, and columns in that order.

use std::cell::OnceCell;
use std::collections::BTreeMap;

use arrow::array::{Array, ArrayData, ArrayRef, make_array};
use arrow::buffer::{Buffer, ScalarBuffer};
use arrow::compute::interleave;
use arrow::datatypes::{ArrowNativeType, DataType};
use headwater_types::Result;

use super::layout::{Part, PartRows};
use super::routing::{SHARDS, ShardPart};

/// Where the rows of some batches go, so that those of one window and shard follow each other, in their order.
pub(crate) struct Places {
    moves: Vec<Move>,
    /// How many rows there are.
    pub(crate) rows: usize,
    /// Batch and row of every place, if somebody asked.
    origins: OnceCell<Vec<(usize, usize)>>,
}

/// Rows of one batch, and the place of each.
struct Move {
    batch: usize,
    rows: PartRows,
    places: Vec<u32>,
}

impl Places {
    /// Places for the rows of `batches`, which are the shard of each row and the parts it has; and what follows each other there. Rows of windows that
    /// are not split belong to the first shard.
    pub(crate) fn new(batches: Vec<(Vec<u8>, Vec<Part>)>, is_split: &impl Fn(i64) -> bool) -> (Self, Vec<ShardPart>) {
        let mut windows: BTreeMap<i64, [usize; SHARDS]> = BTreeMap::new();
        for (shards, parts) in &batches {
            for Part { partition, rows } in parts {
                let counts = windows.entry(*partition).or_default();
                if is_split(*partition) {
                    rows.map(|row| counts[usize::from(shards[row]) % SHARDS] += 1);
                } else {
                    counts[0] += rows.len();
                }
            }
        }
        let (mut pieces, mut start) = (Vec::with_capacity(SHARDS), 0);
        for (partition, counts) in &mut windows {
            for (shard, count) in counts.iter_mut().enumerate().filter(|(_, count)| **count > 0) {
                pieces.push(ShardPart { shard, part: Part { partition: *partition, rows: PartRows::Slice(start, *count) } });
                // From here on it says where the next row goes.
                start += std::mem::replace(count, start);
            }
        }
        let mut moves = Vec::with_capacity(batches.len());
        for (batch, (shards, parts)) in batches.into_iter().enumerate() {
            for Part { partition, rows } in parts {
                let (next, is_split) = (windows.entry(partition).or_default(), is_split(partition));
                let places = rows.map(|row| {
                    let next = &mut next[if is_split { usize::from(shards[row]) % SHARDS } else { 0 }];
                    *next += 1;
                    // Batches that are put in order together have fewer than 2^32 rows.
                    (*next - 1) as u32
                });
                moves.push(Move { batch, rows, places });
            }
        }
        (Self { moves, rows: start, origins: OnceCell::new() }, pieces)
    }

    /// Batch and row of what comes to every place.
    pub(crate) fn origins(&self) -> &[(usize, usize)] {
        self.origins.get_or_init(|| {
            let mut origins = vec![(0, 0); self.rows];
            for Move { batch, rows, places } in &self.moves {
                let mut places = places.iter();
                rows.map(|row| places.next().into_iter().for_each(|&place| origins[place as usize] = (*batch, row)));
            }
            origins
        })
    }

    /// The column that has `columns` in these batches, in order.
    pub(crate) fn put(&self, columns: &[ArrayRef]) -> Result<ArrayRef> {
        let data_type = columns[0].data_type();
        let has_nulls = columns.iter().any(|column| column.is_nullable());
        let values = match data_type.primitive_width().filter(|_| !has_nulls) {
            Some(4) => self.put_values::<u32>(columns),
            Some(8) => self.put_values::<u64>(columns),
            // Intervals are as wide, but need not lie where an i128 may.
            Some(16) if matches!(data_type, DataType::Decimal128(..)) => self.put_values::<i128>(columns),
            _ => {
                let columns: Vec<&dyn Array> = columns.iter().map(|column| column.as_ref()).collect();
                return Ok(interleave(&columns, self.origins())?);
            }
        };
        Ok(make_array(ArrayData::builder(data_type.clone()).len(self.rows).add_buffer(values).build()?))
    }

    /// Reads the values one after the other and writes each to its place: to a few places in turn, which stay in the cache. The other way round, most
    /// reads would wait for memory.
    fn put_values<T: ArrowNativeType>(&self, columns: &[ArrayRef]) -> Buffer {
        let mut put = vec![T::default(); self.rows];
        for Move { batch, rows, places } in &self.moves {
            let data = columns[*batch].to_data();
            let values = ScalarBuffer::<T>::new(data.buffers()[0].clone(), data.offset(), data.len());
            match rows {
                PartRows::Slice(first, _) => places.iter().zip(&values[*first..]).for_each(|(&place, &value)| put[place as usize] = value),
                PartRows::Picked(rows) => {
                    places.iter().zip(rows.values()).for_each(|(&place, &row)| put[place as usize] = values[row as usize]);
                }
            }
        }
        Buffer::from_vec(put)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{AsArray, Decimal128Array, Int32Array, Int64Array, IntervalMonthDayNanoArray, StringArray};
    use arrow::datatypes::{Int64Type, IntervalMonthDayNano};
    use proptest::prelude::*;

    use super::super::layout::GroupColumns;
    use super::super::routing::shard_of;
    use super::*;

    /// A batch: of each row the window, the key, and whether it is NULL.
    fn batches() -> impl Strategy<Value = Vec<Vec<(i64, i64, bool)>>> {
        prop::collection::vec(prop::collection::vec((0..3_i64, 0..50_i64, prop::bool::weighted(0.1)), 0..60), 1..4)
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        /// Every row comes to one place, those of a window and shard in their order; columns of every kind come along.
        #[test]
        fn rows_follow_each_other_by_window_and_shard(batches in batches(), has_nulls: bool) {
            let is_split = |window: i64| window != 1;
            let ids: Vec<ArrayRef> = numbered(&batches);
            let keys: Vec<ArrayRef> = batches.iter().map(|rows| {
                Arc::new(rows.iter().map(|row| (!has_nulls || !row.2).then_some(row.1)).collect::<Int64Array>()) as ArrayRef
            }).collect();
            let shards: Vec<Vec<u8>> = keys.iter().map(|key| shard_of(std::slice::from_ref(key)).unwrap()).collect();
            let parts = |(rows, key): (&Vec<(i64, i64, bool)>, &ArrayRef)| {
                let window = rows.iter().map(|row| row.0).collect::<Vec<_>>();
                GroupColumns { window: Some(window.into()), keys: vec![key.clone()], rows: rows.len() }.parts()
            };
            let parts: Vec<Vec<Part>> = batches.iter().zip(&keys).map(parts).collect();
            let (places, pieces) = Places::new(shards.iter().cloned().zip(parts).collect(), &is_split);
            let put = places.put(&ids).unwrap();
            let mut seen = Vec::new();
            for ShardPart { shard, part } in pieces {
                let mine = part.rows.of(&put).unwrap();
                let mine = mine.as_primitive::<Int64Type>().values();
                prop_assert!(mine.is_sorted());
                for &id in mine {
                    let (batch, row) = place_of(id);
                    prop_assert_eq!(batches[batch][row].0, part.partition);
                    let expected = if is_split(part.partition) { usize::from(shards[batch][row]) % SHARDS } else { 0 };
                    prop_assert_eq!(shard, expected);
                }
                seen.extend_from_slice(mine);
            }
            prop_assert_eq!(seen, put.as_primitive::<Int64Type>().values().to_vec());
            let mut sorted = put.as_primitive::<Int64Type>().values().to_vec();
            sorted.sort_unstable();
            let all: Vec<i64> = ids.iter().flat_map(|ids| ids.as_primitive::<Int64Type>().values().to_vec()).collect();
            prop_assert_eq!(sorted, all);
            // Each other column as the rows of the ids say.
            for of_key in [int, decimal, text] {
                let columns: Vec<ArrayRef> = keys.iter().map(|key| of_key(key.as_primitive())).collect();
                let column = places.put(&columns).unwrap();
                for (at, &id) in put.as_primitive::<Int64Type>().values().iter().enumerate() {
                    let (batch, row) = place_of(id);
                    prop_assert_eq!(&column.slice(at, 1), &columns[batch].slice(row, 1));
                }
            }
        }
    }

    /// Intervals lie where an i128 may not.
    #[test]
    fn intervals_are_put_wherever_they_lie() {
        let intervals: Vec<IntervalMonthDayNano> = (0..5).map(|n| IntervalMonthDayNano::new(n, n, n.into())).collect();
        for skipped in 0..2 {
            let bytes: Vec<u64> = std::iter::repeat_n(0, skipped).chain(intervals.iter().flat_map(words)).collect();
            let buffer = Buffer::from_vec(bytes).slice(skipped * 8);
            let column: ArrayRef = Arc::new(IntervalMonthDayNanoArray::new(ScalarBuffer::new(buffer, 0, 5), None));
            let parts = vec![Part { partition: 0, rows: PartRows::Slice(0, 5) }];
            let (places, _) = Places::new(vec![(vec![1, 0, 1, 0, 1], parts)], &|_| true);
            let put = places.put(&[column]).unwrap();
            let expected = IntervalMonthDayNanoArray::from(vec![intervals[1], intervals[3], intervals[0], intervals[2], intervals[4]]);
            assert_eq!(put.as_ref(), &expected as &dyn Array);
        }
    }

    /// As they lie in memory.
    fn words(interval: &IntervalMonthDayNano) -> [u64; 2] {
        let low = u64::from(interval.months.cast_unsigned()) | u64::from(interval.days.cast_unsigned()) << 32;
        [low, interval.nanoseconds.cast_unsigned()]
    }

    /// Columns of numbers that say batch and row.
    fn numbered(batches: &[Vec<(i64, i64, bool)>]) -> Vec<ArrayRef> {
        let ids = |(batch, rows): (usize, &Vec<_>)| -> ArrayRef {
            Arc::new(Int64Array::from_iter_values((0..rows.len()).map(|row| (batch * 1_000 + row) as i64)))
        };
        batches.iter().enumerate().map(ids).collect()
    }

    fn place_of(id: i64) -> (usize, usize) {
        (id as usize / 1_000, id as usize % 1_000)
    }

    fn int(keys: &Int64Array) -> ArrayRef {
        Arc::new(keys.iter().map(|key| key.map(|key| key as i32)).collect::<Int32Array>())
    }

    fn decimal(keys: &Int64Array) -> ArrayRef {
        Arc::new(keys.iter().map(|key| key.map(|key| i128::from(key) << 70)).collect::<Decimal128Array>())
    }

    fn text(keys: &Int64Array) -> ArrayRef {
        Arc::new(keys.iter().map(|key| key.map(|key| key.to_string())).collect::<StringArray>())
    }
}
