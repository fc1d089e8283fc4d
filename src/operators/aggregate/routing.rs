//! Rows on their way to their groups: which shard of which window each belongs to.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, UInt32Array};
use arrow::buffer::ScalarBuffer;
use arrow::compute::take;
use datafusion::common::hash_utils::{RandomState, create_hashes};
use headwater_state::ResidentTable;
use headwater_types::{Error, Result};

use super::call::Arguments;
use super::groups::GroupStates;
use super::layout::{GroupColumns, Part, PartRows};

/// Groups are split over so many shards.
pub(crate) const SHARDS: usize = ResidentTable::<GroupStates>::SHARDS;
const SHARD_BITS: u32 = SHARDS.trailing_zeros();

/// Rows that wait for their groups, by window.
pub(crate) struct Waiting {
    pub(crate) groups: GroupColumns,
    pub(crate) args: Vec<Arguments>,
    pub(crate) weights: Option<ScalarBuffer<i64>>,
    pub(crate) parts: Vec<Part>,
}

/// Rows of one window that belong to one shard.
pub(crate) struct ShardPart {
    pub(crate) shard: usize,
    pub(crate) part: Part,
}

/// Rows in the order of their shards.
pub(crate) struct Routed {
    pub(crate) groups: GroupColumns,
    pub(crate) args: Vec<Arguments>,
    pub(crate) weights: Option<ScalarBuffer<i64>>,
    pub(crate) parts: Vec<ShardPart>,
}

impl Waiting {
    /// Bytes that wait.
    pub(crate) fn bytes(&self) -> usize {
        let columns = self.groups.keys.iter().chain(self.args.iter().flat_map(|args| &args.columns));
        columns.map(|column| column.get_array_memory_size()).sum::<usize>() + self.weights.as_ref().map_or(0, |w| w.len() * 8)
    }

    /// Puts the rows in the order of their shards, so that what follows reads them one after the other.
    pub(crate) fn route(self, is_split: &impl Fn(i64) -> bool) -> Result<Routed> {
        let Self { mut groups, mut args, mut weights, parts } = self;
        if !parts.iter().any(|part| is_split(part.partition)) {
            let parts = parts.into_iter().map(|part| ShardPart { shard: 0, part }).collect();
            return Ok(Routed { groups, args, weights, parts });
        }
        let (order, parts) = order_by_shard(&groups.keys, parts, is_split)?;
        let order = UInt32Array::from(order);
        // Calls often share an argument.
        let mut sorted: Vec<(ArrayRef, ArrayRef)> = Vec::new();
        let mut sort = |column: &mut ArrayRef| -> Result<()> {
            let known = sorted.iter().find(|(from, _)| Arc::ptr_eq(from, column)).map(|(_, to)| to.clone());
            let to = known.map_or_else(|| take(column, &order, None), Ok)?;
            sorted.push((std::mem::replace(column, to.clone()), to));
            Ok(())
        };
        groups.keys.iter_mut().try_for_each(&mut sort)?;
        for args in &mut args {
            args.columns.iter_mut().try_for_each(&mut sort)?;
            args.keep = args.keep.as_ref().map(|keep| sorted_flags(keep, &order)).transpose()?;
        }
        weights = weights.map(|weights| order.values().iter().map(|&row| weights[row as usize]).collect());
        Ok(Routed { groups, args, weights, parts })
    }
}

/// The parts of `groups`, each shard's for itself.
pub(crate) fn shard_parts(groups: &GroupColumns, is_split: &impl Fn(i64) -> bool) -> Result<Vec<ShardPart>> {
    let parts = groups.parts();
    if !parts.iter().any(|part| is_split(part.partition)) {
        return Ok(parts.into_iter().map(|part| ShardPart { shard: 0, part }).collect());
    }
    let (order, mut parts) = order_by_shard(&groups.keys, parts, is_split)?;
    for ShardPart { part, .. } in &mut parts {
        if let PartRows::Slice(start, count) = part.rows {
            part.rows = PartRows::Picked(order[start..start + count].to_vec().into());
        }
    }
    Ok(parts)
}

fn sorted_flags(flags: &BooleanArray, order: &UInt32Array) -> Result<BooleanArray> {
    Ok(take(flags, order, None)?.as_boolean().clone())
}

/// The rows of `parts` in the order of their shards, and the pieces of that order that belong to one window and shard.
fn order_by_shard(keys: &[ArrayRef], parts: Vec<Part>, is_split: &impl Fn(i64) -> bool) -> Result<(Vec<u32>, Vec<ShardPart>)> {
    let shards = shard_of(keys)?;
    let (mut order, mut pieces) = (Vec::with_capacity(shards.len()), Vec::with_capacity(SHARDS));
    for part in parts {
        let rows = part.rows.indices();
        let counts = if is_split(part.partition) {
            sort_by_shard(&rows, &shards, &mut order)
        } else {
            order.extend_from_slice(&rows);
            vec![rows.len()]
        };
        let mut start = order.len() - rows.len();
        for (shard, count) in counts.into_iter().enumerate().filter(|(_, count)| *count > 0) {
            pieces.push(ShardPart { shard, part: Part { partition: part.partition, rows: PartRows::Slice(start, count) } });
            start += count;
        }
    }
    Ok((order, pieces))
}

/// Appends `rows` to `order`, those of shard 0 first, each shard's in their order; gives the number of rows of each shard.
fn sort_by_shard(rows: &[u32], shards: &[u8], order: &mut Vec<u32>) -> Vec<usize> {
    let mut counts = vec![0; SHARDS];
    rows.iter().for_each(|&row| counts[usize::from(shards[row as usize])] += 1);
    let mut next = [0; SHARDS];
    let mut start = order.len();
    for (next, count) in next.iter_mut().zip(&counts) {
        *next = start;
        start += count;
    }
    order.resize(start, 0);
    for &row in rows {
        let place = &mut next[usize::from(shards[row as usize])];
        order[*place] = row;
        *place += 1;
    }
    counts
}

/// The shard of each key. Equal keys have equal bytes, so equal hashes.
pub(crate) fn shard_of(keys: &[ArrayRef]) -> Result<Vec<u8>> {
    let mut hashes = vec![0; keys.first().map_or(0, |key| key.len())];
    create_hashes(keys, &RandomState::default(), &mut hashes).map_err(|e| Error::bug(e.strip_backtrace()))?;
    // The index within a shard goes by the lower bits.
    Ok(hashes.into_iter().map(|hash| (hash >> (u64::BITS - SHARD_BITS)) as u8).collect())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use arrow::array::{Float64Array, Int64Array, StringArray};

    use super::*;

    #[test]
    fn keys_spread_and_equal_keys_meet() {
        let numbers: ArrayRef = Arc::new((0..10_000).map(|n| (n % 7 != 0).then_some(n % 500)).collect::<Int64Array>());
        let texts: ArrayRef = Arc::new((0..10_000).map(|n| Some(format!("{}", n % 3))).collect::<StringArray>());
        for keys in [vec![numbers.clone()], vec![texts.clone(), numbers.clone()]] {
            let shards = shard_of(&keys).unwrap();
            let mut counts = [0; SHARDS];
            let mut seen = HashMap::new();
            for (row, &shard) in shards.iter().enumerate() {
                counts[usize::from(shard)] += 1;
                let key = keys.iter().map(|key| format!("{:?}", key.slice(row, 1))).collect::<String>();
                assert_eq!(*seen.entry(key).or_insert(shard), shard);
            }
            assert!(counts.iter().all(|&count| count > 400), "{counts:?}");
        }
    }

    /// What lies under a NULL, and where a column was cut from, means nothing.
    #[test]
    fn only_values_count() {
        let whole = Float64Array::new(vec![1.5, 0.0, 2.5, 0.0].into(), Some(vec![true, false, true, false].into()));
        let other = Float64Array::new(vec![9.0, 7.0, 2.5].into(), Some(vec![false, false, true].into()));
        let (whole, other): (ArrayRef, ArrayRef) = (Arc::new(whole), Arc::new(other));
        assert_eq!(shard_of(&[whole.slice(1, 2)]).unwrap(), shard_of(&[other.slice(1, 2)]).unwrap());
    }

    #[test]
    fn rows_are_sorted_by_shard_in_their_order() {
        let keys: ArrayRef = Arc::new(Int64Array::from_iter_values((0..100).map(|n| n % 10)));
        let moments = [vec![5; 60], vec![7; 40]].concat();
        let shards = shard_of(std::slice::from_ref(&keys)).unwrap();
        let groups = GroupColumns { window: Some(moments.clone().into()), keys: vec![keys.clone()], rows: 100 };
        let (order, parts) = order_by_shard(&[keys], groups.parts(), &|at| at == 5).unwrap();
        let mut seen = Vec::new();
        for ShardPart { shard, part } in parts {
            let PartRows::Slice(start, count) = part.rows else { unreachable!("rows are in order") };
            let rows = &order[start..start + count];
            assert!(rows.is_sorted());
            for &row in rows {
                assert_eq!(part.partition, moments[row as usize]);
                assert_eq!(shard, if part.partition == 5 { usize::from(shards[row as usize]) } else { 0 });
            }
            seen.extend_from_slice(rows);
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..100).collect::<Vec<u32>>());
    }
}
