//! Rows on their way to their groups: which shard of which window each belongs to.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, UInt32Array};
use arrow::buffer::ScalarBuffer;
use arrow::compute::take;
use arrow::datatypes::Int64Type;
use datafusion::common::hash_utils::{RandomState, create_hashes};
use headwater_state::ResidentTable;
use headwater_types::{Error, Result};

use super::call::Arguments;
use super::groups::GroupStates;
use super::layout::{GroupColumns, Part, PartRows};

/// Groups are split over so many shards.
pub(crate) const SHARDS: usize = ResidentTable::<GroupStates>::SHARDS;
const SHARD_BITS: u32 = SHARDS.trailing_zeros();

/// Rows on their way: their group columns, what the calls take from them, their weights.
pub(crate) struct Rows {
    pub(crate) groups: GroupColumns,
    pub(crate) args: Vec<Arguments>,
    pub(crate) weights: Option<ScalarBuffer<i64>>,
}

/// Rows that wait for their groups, by window.
pub(crate) struct Waiting {
    pub(crate) rows: Rows,
    pub(crate) parts: Vec<Part>,
}

/// Rows of one window that belong to one shard.
pub(crate) struct ShardPart {
    pub(crate) shard: usize,
    pub(crate) part: Part,
}

/// Rows in the order of their shards.
pub(crate) struct Routed {
    pub(crate) rows: Rows,
    pub(crate) parts: Vec<ShardPart>,
}

impl Rows {
    /// The rows at `order`.
    fn take(self, order: &UInt32Array) -> Result<Self> {
        let Self { mut groups, mut args, mut weights } = self;
        // Calls often share an argument.
        let mut taken: Vec<(ArrayRef, ArrayRef)> = Vec::new();
        let mut take_column = |column: &mut ArrayRef| -> Result<()> {
            let known = taken.iter().find(|(from, _)| Arc::ptr_eq(from, column)).map(|(_, to)| to.clone());
            let to = known.map_or_else(|| take(column, order, None), Ok)?;
            taken.push((std::mem::replace(column, to.clone()), to));
            Ok(())
        };
        groups.keys.iter_mut().try_for_each(&mut take_column)?;
        for args in &mut args {
            args.columns.iter_mut().try_for_each(&mut take_column)?;
            args.keep = args.keep.as_ref().map(|keep| Ok::<_, Error>(take(keep, order, None)?.as_boolean().clone())).transpose()?;
        }
        weights = weights.map(|weights| order.values().iter().map(|&row| weights[row as usize]).collect());
        Ok(Self { groups, args, weights })
    }
}

impl Waiting {
    /// Gives the parts of windows that are not split to `take`; the rest is what is left to route, if there is any.
    pub(crate) fn without_whole(
        mut self,
        is_split: &impl Fn(i64) -> bool,
        mut take: impl FnMut(&Rows, &Part) -> Result<()>,
    ) -> Result<Option<Self>> {
        let (split, whole): (Vec<Part>, Vec<Part>) = self.parts.into_iter().partition(|part| is_split(part.partition));
        whole.iter().try_for_each(|part| take(&self.rows, part))?;
        self.parts = split;
        Ok((!self.parts.is_empty()).then_some(self))
    }

    /// Puts rows of split windows in the order of their shards, so that what follows reads them one after the other; all others belong to the first.
    pub(crate) fn route(self, is_split: &impl Fn(i64) -> bool) -> Result<Routed> {
        let Self { rows, parts } = self;
        if !parts.iter().any(|part| is_split(part.partition)) {
            let parts = parts.into_iter().map(|part| ShardPart { shard: 0, part }).collect();
            return Ok(Routed { rows, parts });
        }
        let (order, parts) = order_by_shard(&rows.groups.keys, parts, is_split)?;
        Ok(Routed { rows: rows.take(&order.into())?, parts })
    }
}

/// `waiting` in order, cut into lots of about so many rows.
pub(crate) fn in_lots(waiting: Vec<Waiting>, rows: usize) -> Vec<Vec<Waiting>> {
    let mut lots: Vec<Vec<Waiting>> = vec![Vec::new()];
    let (mut left, mut count) = (waiting.into_iter(), 0);
    while let Some(next) = left.next() {
        count += next.rows.groups.rows;
        lots.last_mut().expect("there is a lot").push(next);
        if count >= rows && !left.as_slice().is_empty() {
            lots.push(Vec::new());
            count = 0;
        }
    }
    lots
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

/// The rows of `parts` in the order of their shards, and the pieces of that order that belong to one window and shard.
fn order_by_shard(keys: &[ArrayRef], parts: Vec<Part>, is_split: &impl Fn(i64) -> bool) -> Result<(Vec<u32>, Vec<ShardPart>)> {
    let shards = shard_of(keys)?;
    let (mut order, mut pieces) = (Vec::with_capacity(shards.len()), Vec::with_capacity(SHARDS));
    for part in parts {
        let mut start = order.len();
        let counts = match (is_split(part.partition), &part.rows) {
            (true, PartRows::Slice(first, count)) => sort_by_shard(*first..first + count, &shards, &mut order),
            (true, PartRows::Picked(rows)) => sort_by_shard(rows.values().iter().map(|&row| row as usize), &shards, &mut order),
            (false, rows) => {
                order.extend_from_slice(&rows.indices());
                vec![rows.len()]
            }
        };
        for (shard, count) in counts.into_iter().enumerate().filter(|(_, count)| *count > 0) {
            pieces.push(ShardPart { shard, part: Part { partition: part.partition, rows: PartRows::Slice(start, count) } });
            start += count;
        }
    }
    Ok((order, pieces))
}

/// Appends `rows` to `order`, those of shard 0 first, each shard's in their order; gives the number of rows of each shard.
fn sort_by_shard(rows: impl Iterator<Item = usize> + Clone, shards: &[u8], order: &mut Vec<u32>) -> Vec<usize> {
    let shard = |row: usize| usize::from(shards[row]) % SHARDS;
    let mut counts = vec![0; SHARDS];
    rows.clone().for_each(|row| counts[shard(row)] += 1);
    let mut next = [0; SHARDS];
    let mut start = order.len();
    for (next, count) in next.iter_mut().zip(&counts) {
        *next = start;
        start += count;
    }
    order.resize(start, 0);
    for row in rows {
        let place = &mut next[shard(row)];
        // A batch has fewer than 2^32 rows.
        order[*place] = row as u32;
        *place += 1;
    }
    counts
}

/// The shard of each key.
pub(crate) fn shard_of(keys: &[ArrayRef]) -> Result<Vec<u8>> {
    // The index within a shard goes by the lower bits.
    by_hash(keys, |hash| (hash >> (u64::BITS - SHARD_BITS)) as u8)
}

/// How many different keys there are.
pub(crate) fn distinct(keys: &[ArrayRef]) -> Result<usize> {
    let mut hashes = by_hash(keys, |hash| hash)?;
    hashes.sort_unstable();
    hashes.dedup();
    Ok(hashes.len())
}

/// `pick` of the hash of each key. Equal keys have equal bytes, so equal hashes.
fn by_hash<P>(keys: &[ArrayRef], pick: impl Fn(u64) -> P) -> Result<Vec<P>> {
    // The same way for all batches of a type: where one batch has a NULL, its other keys must fall to the same shards as before.
    if let [key] = keys
        && let Some(numbers) = key.as_primitive_opt::<Int64Type>()
    {
        let of = |number: i64| pick(mix(number.cast_unsigned()));
        return Ok(match numbers.null_count() {
            0 => numbers.values().iter().map(|&number| of(number)).collect(),
            _ => numbers.iter().map(|number| number.map_or_else(|| pick(0), of)).collect(),
        });
    }
    let mut hashes = vec![0; keys.first().map_or(0, |key| key.len())];
    create_hashes(keys, &RandomState::default(), &mut hashes).map_err(|e| Error::bug(e.strip_backtrace()))?;
    Ok(hashes.into_iter().map(pick).collect())
}

/// Folded multiplication, as in wyhash and foldhash: both halves of the product depend on every bit of the number.
#[inline(always)]
fn mix(number: u64) -> u64 {
    // Digits of e, and of the square root of 2.
    let product = u128::from(number ^ 0xb7e1_5162_8aed_2a6b) * 0x6a09_e667_f3bc_c909;
    product as u64 ^ (product >> 64) as u64
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
            assert!(counts.iter().all(|&count| count > 10_000 / SHARDS / 4), "{counts:?}");
        }
    }

    /// A key falls to the same shard whatever is beside it.
    #[test]
    fn nulls_move_no_other_key() {
        let with: ArrayRef = Arc::new(Int64Array::from(vec![Some(7), None, Some(-3)]));
        let without: ArrayRef = Arc::new(Int64Array::from(vec![7, -3]));
        let (with, without) = (shard_of(&[with]).unwrap(), shard_of(&[without]).unwrap());
        assert_eq!((with[0], with[2]), (without[0], without[1]));
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
