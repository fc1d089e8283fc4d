//! Rows on their way to their groups: which shard of which window each belongs to.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::buffer::ScalarBuffer;
use arrow::datatypes::Int64Type;
use datafusion::common::hash_utils::{RandomState, create_hashes};
use headwater_state::ResidentTable;
use headwater_types::{BATCH_ROWS_MAX, Error, Result};

use super::call::Arguments;
use super::groups::GroupStates;
use super::layout::{GroupColumns, Part, PartRows};
use super::places::Places;

/// Groups are split over so many shards.
pub(crate) const SHARDS: usize = ResidentTable::<GroupStates>::SHARDS;
const SHARD_BITS: u32 = SHARDS.trailing_zeros();

/// So many rows are put in order at once: few enough for a core's cache, and every shard gets enough of them to outweigh what a part costs.
const ROUTED_ROWS: usize = 4 * BATCH_ROWS_MAX;

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
    /// The rows of `batches` in the order of `places`.
    fn put(batches: &[Rows], places: &Places) -> Result<Self> {
        // Calls often share an argument.
        let mut put: Vec<(Vec<ArrayRef>, ArrayRef)> = Vec::new();
        let mut put_column = |column: &dyn Fn(&Rows) -> ArrayRef| -> Result<ArrayRef> {
            let columns: Vec<ArrayRef> = batches.iter().map(column).collect();
            let is_same = |known: &[ArrayRef]| known.iter().zip(&columns).all(|(a, b)| Arc::ptr_eq(a, b));
            if let Some((_, column)) = put.iter().find(|(known, _)| is_same(known)) {
                return Ok(column.clone());
            }
            let column = places.put(&columns)?;
            put.push((columns, column.clone()));
            Ok(column)
        };
        let Rows { groups, args, .. } = &batches[0];
        let keys = (0..groups.keys.len()).map(|at| put_column(&|batch| batch.groups.keys[at].clone())).collect::<Result<_>>()?;
        let mut put_arguments = |(call, Arguments { columns, keep }): (usize, &Arguments)| {
            let columns = (0..columns.len()).map(|at| put_column(&|batch| batch.args[call].columns[at].clone())).collect::<Result<_>>()?;
            let keeps = batches.iter().filter_map(|batch| batch.args[call].keep.clone());
            let keeps: Vec<ArrayRef> = keeps.map(|keep| Arc::new(keep) as ArrayRef).collect();
            let keep = keep.as_ref().map(|_| Ok::<_, Error>(places.put(&keeps)?.as_boolean().clone())).transpose()?;
            Ok(Arguments { columns, keep })
        };
        let args = args.iter().enumerate().map(&mut put_arguments).collect::<Result<_>>()?;
        let weights = batches.iter().any(|batch| batch.weights.is_some()).then(|| {
            let weight = |&(batch, row): &(usize, usize)| batches[batch].weights.as_ref().map_or(1, |weights| weights[row]);
            places.origins().iter().map(weight).collect()
        });
        Ok(Self { groups: GroupColumns { window: None, keys, rows: places.rows }, args, weights })
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
}

/// Puts rows in the order of their shards, so that what follows reads them one after the other; windows that are not split belong to the first shard.
pub(crate) fn route(waiting: Vec<Waiting>, is_split: &impl Fn(i64) -> bool) -> Result<Vec<Routed>> {
    if !waiting.iter().flat_map(|waiting| &waiting.parts).any(|part| is_split(part.partition)) {
        let whole = |part| ShardPart { shard: 0, part };
        let as_they_are = waiting.into_iter().map(|Waiting { rows, parts }| Routed { rows, parts: parts.into_iter().map(whole).collect() });
        return Ok(as_they_are.collect());
    }
    let lots = in_lots(waiting, ROUTED_ROWS).into_iter().map(|lot| {
        let (batches, parts): (Vec<Rows>, Vec<Vec<Part>>) = lot.into_iter().map(|waiting| (waiting.rows, waiting.parts)).unzip();
        let shards = batches.iter().map(|batch| shard_of(&batch.groups.keys)).collect::<Result<Vec<_>>>()?;
        let (places, parts) = Places::new(shards.into_iter().zip(parts).collect(), is_split);
        Ok(Routed { rows: Rows::put(&batches, &places)?, parts })
    });
    lots.collect()
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
    let (places, mut parts) = Places::new(vec![(shard_of(&groups.keys)?, parts)], is_split);
    for ShardPart { part, .. } in &mut parts {
        if let PartRows::Slice(start, count) = part.rows {
            let rows = places.origins()[start..start + count].iter().map(|&(_, row)| row as u32);
            part.rows = PartRows::Picked(rows.collect::<Vec<u32>>().into());
        }
    }
    Ok(parts)
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
}
