//! The layout of the store's keys: where blocks, runs, outboxes and partitions of every table lie.
//!
//! ```text
//! family Blocks
//!   object u32 | table u16 | run u64 | block u32        a block of a run (numbers big-endian, so that bytes sort like numbers)
//!                                      0xFFFF_FFFF      the run's fences: the first row of each block and the last row of all
//!                                      0xFFFF_FFFE      the filter of a large run
//!   object u32 | table u16 | partition i64 | block u32  a block of a resident table's log (sign bit flipped, so that it sorts too)
//!
//! family Meta, all under "state/"
//!   schema/ object table         what the table is and its columns; written once
//!   run/    object table run     a run that belongs to the table's rows
//!   kept/   object table epoch   the run of an epoch that the outbox keeps
//!   doomed/ object table run     a run that belongs to nobody: its blocks go when its last reader left, or at the next start
//!   floor/  object table         rows below this timestamp are forgotten
//!   run_limit                    run numbers from here on were never given out
//! ```
//!
//! One key per run, and not one list per table, so that an epoch writes what changed and not what there is.
//! The blocks of a large run may be written epochs before its `run/` key: until then it is doomed.

use headwater_types::{Epoch, Error, ObjectId, Result};

use crate::TableId;

/// Number of the block that holds a run's fences.
pub(crate) const FENCES: u32 = u32::MAX;

/// Number of the block that holds a run's filter.
pub(crate) const FILTER: u32 = u32::MAX - 1;

pub(crate) const RUN_LIMIT: &[u8] = b"state/run_limit";

/// The prefixes of family `Meta`.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Meta {
    Schema,
    Run,
    Kept,
    Doomed,
    Floor,
}

impl Meta {
    pub(crate) fn prefix(self) -> &'static [u8] {
        match self {
            Meta::Schema => b"state/schema/",
            Meta::Run => b"state/run/",
            Meta::Kept => b"state/kept/",
            Meta::Doomed => b"state/doomed/",
            Meta::Floor => b"state/floor/",
        }
    }

    /// All keys of one object.
    pub(crate) fn of_object(self, object: ObjectId) -> Vec<u8> {
        [self.prefix(), &object.0.to_be_bytes()].concat()
    }

    /// The key of a table, or the prefix of its numbered keys.
    pub(crate) fn of_table(self, table: TableId) -> Vec<u8> {
        [self.prefix(), &table_bytes(table)].concat()
    }

    /// The key of one run or epoch of a table.
    pub(crate) fn numbered(self, table: TableId, number: u64) -> Vec<u8> {
        [self.prefix(), &table_bytes(table), &number.to_be_bytes()].concat()
    }

    /// What `numbered` was made of.
    pub(crate) fn parse(self, key: &[u8]) -> Result<(TableId, u64)> {
        let bytes: Option<&[u8; 14]> = key.strip_prefix(self.prefix()).and_then(|rest| rest.try_into().ok());
        let [o0, o1, o2, o3, t0, t1, number @ ..] =
            bytes.ok_or_else(|| Error::corrupt(format!("a key of the store is malformed: {key:?}")))?;
        let table = TableId::new(ObjectId(u32::from_be_bytes([*o0, *o1, *o2, *o3])), u16::from_be_bytes([*t0, *t1]));
        Ok((table, u64::from_be_bytes(*number)))
    }
}

pub(crate) fn kept_key(table: TableId, epoch: Epoch) -> Vec<u8> {
    Meta::Kept.numbered(table, epoch.0)
}

/// All blocks of a table.
pub(crate) fn table_bytes(table: TableId) -> [u8; 6] {
    let [o0, o1, o2, o3] = table.object.0.to_be_bytes();
    let [t0, t1] = table.number.to_be_bytes();
    [o0, o1, o2, o3, t0, t1]
}

pub(crate) fn block_key(table: TableId, run: u64, block: u32) -> Vec<u8> {
    let mut key = Vec::with_capacity(18);
    key.extend_from_slice(&table_bytes(table));
    key.extend_from_slice(&run.to_be_bytes());
    key.extend_from_slice(&block.to_be_bytes());
    key
}

/// A partition in the place of a run number.
pub(crate) fn partition_number(partition: i64) -> u64 {
    partition.cast_unsigned() ^ (1 << 63)
}

/// Partition and block number of a resident table's key.
pub(crate) fn parse_partition_key(key: &[u8]) -> Result<(i64, u32)> {
    let bytes: Option<&[u8; 12]> = key.get(6..).and_then(|rest| rest.try_into().ok());
    let [p0, p1, p2, p3, p4, p5, p6, p7, block @ ..] =
        bytes.ok_or_else(|| Error::corrupt(format!("a key of a resident table is malformed: {key:?}")))?;
    let number = u64::from_be_bytes([*p0, *p1, *p2, *p3, *p4, *p5, *p6, *p7]);
    Ok(((number ^ (1 << 63)).cast_signed(), u32::from_be_bytes(*block)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_like_numbers_and_parse_back() {
        let table = TableId::new(ObjectId(7), 3);
        let (low, high) = (block_key(table, 255, 9), block_key(table, 256, 0));
        assert!(low < high);
        assert_eq!(Meta::Run.parse(&Meta::Run.numbered(table, 256)).unwrap(), (table, 256));
        assert!(Meta::Run.parse(b"state/run/short").is_err());
        let partitions = [i64::MIN, -1, 0, 1, i64::MAX];
        let keys: Vec<_> = partitions.iter().map(|&p| block_key(table, partition_number(p), 5)).collect();
        assert!(keys.is_sorted());
        assert_eq!(parse_partition_key(&keys[1]).unwrap(), (-1, 5));
    }
}
