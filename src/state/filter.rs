//! A filter per large run: says for most keys that are not in it that they are not, so that lookups read few blocks in vain.
//!
//! A split-block Bloom filter (Putze, Sanders, Singler 2007; the one of Parquet): a key sets eight bits, one in each word of one 32-byte line.
//! With ten bits a key about one absent key in a hundred passes. The hash is ours, over the values and not over Arrow's row bytes, because it
//! is stored.
//!
//! ```text
//! version u8 | 0 [7] | xxh3 of the lines u64 LE | lines, each eight u32 LE
//! ```

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::DataType;
use headwater_types::{Error, Result};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

const VERSION: u8 = 1;
const HEADER_BYTES: usize = 16;
const KEYS_PER_LINE: u64 = 25;

/// Odd constants that give each word its bit.
const SALTS: [u32; 8] = [0x47b6_137b, 0x4497_4d91, 0x8824_ad5b, 0xa2b7_289d, 0x7054_95c7, 0x2df1_424b, 0x9efc_4947, 0x5c6b_fb31];

pub(crate) struct Filter {
    lines: Vec<[u32; 8]>,
}

impl Filter {
    /// An empty filter for `keys` keys.
    pub(crate) fn new(keys: u64) -> Filter {
        Filter { lines: vec![[0; 8]; (keys / KEYS_PER_LINE + 1) as usize] }
    }

    fn line(&self, hash: u64) -> usize {
        // The upper half scaled to the number of lines; below it, as one factor is below 2^32.
        (((hash >> 32) * self.lines.len() as u64) >> 32) as usize
    }

    fn bits(hash: u64) -> [u32; 8] {
        SALTS.map(|salt| 1 << ((hash as u32).wrapping_mul(salt) >> 27))
    }

    pub(crate) fn insert(&mut self, hash: u64) {
        let line = self.line(hash);
        self.lines[line].iter_mut().zip(Self::bits(hash)).for_each(|(word, bit)| *word |= bit);
    }

    /// False only for keys that were never inserted.
    pub(crate) fn may_contain(&self, hash: u64) -> bool {
        self.lines[self.line(hash)].iter().zip(Self::bits(hash)).all(|(word, bit)| word & bit != 0)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.lines.capacity() * 32
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; HEADER_BYTES];
        bytes[0] = VERSION;
        bytes.extend(self.lines.iter().flatten().flat_map(|word| word.to_le_bytes()));
        let sum = xxh3_64(&bytes[HEADER_BYTES..]);
        bytes[8..16].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Filter> {
        let damaged = || Error::corrupt("the filter is damaged");
        let (header, words) = bytes.split_at_checked(HEADER_BYTES).ok_or_else(damaged)?;
        if header[0] != VERSION {
            return Err(Error::corrupt(format!("the filter has version {}, this program reads {VERSION}", header[0])));
        }
        if header[8..] != xxh3_64(words).to_le_bytes() || words.is_empty() || words.len() % 32 != 0 {
            return Err(damaged());
        }
        let mut lines = vec![[0; 8]; words.len() / 32];
        for (word, bytes) in lines.as_flattened_mut().iter_mut().zip(words.chunks_exact(4)) {
            *word = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        }
        Ok(Filter { lines })
    }
}

/// True if keys of this type can be hashed.
pub(crate) fn is_hashable(data_type: &DataType) -> bool {
    use DataType as T;
    data_type.primitive_width().is_some() || matches!(data_type, T::Utf8 | T::Binary | T::Boolean | T::FixedSizeBinary(_))
}

/// A hash of each row of `columns`, of hashable types, that will never change.
pub(crate) fn hash_rows(columns: &[ArrayRef]) -> Vec<u64> {
    let mut hashes = vec![0; columns.first().map_or(0, |c| c.len())];
    for column in columns {
        hash_column(column, &mut hashes);
        if let Some(nulls) = column.nulls() {
            hashes.iter_mut().zip(nulls).filter(|(_, is_valid)| !is_valid).for_each(|(hash, _)| *hash = xxh3_64_with_seed(b"null", *hash));
        }
    }
    hashes
}

/// Adds a column to the hashes; what it adds for NULL is arbitrary but the same for every NULL.
fn hash_column(column: &ArrayRef, hashes: &mut [u64]) {
    let seeds: Option<Vec<u64>> = (column.null_count() > 0).then(|| hashes.to_vec());
    match column.data_type() {
        DataType::Utf8 => {
            column.as_string::<i32>().iter().zip(&mut *hashes).for_each(|(value, h)| add(h, value.unwrap_or_default().as_bytes()))
        }
        DataType::Binary => column.as_binary::<i32>().iter().zip(&mut *hashes).for_each(|(value, h)| add(h, value.unwrap_or_default())),
        DataType::FixedSizeBinary(_) => {
            column.as_fixed_size_binary().iter().zip(&mut *hashes).for_each(|(value, h)| add(h, value.unwrap_or_default()));
        }
        DataType::Boolean => {
            column.as_boolean().iter().zip(&mut *hashes).for_each(|(value, h)| add(h, &[value.unwrap_or_default().into()]))
        }
        data_type => {
            let width = data_type.primitive_width().expect("only hashable columns are hashed");
            let data = column.to_data();
            let values = &data.buffers()[0][data.offset() * width..];
            values.chunks_exact(width).zip(&mut *hashes).for_each(|(value, h)| add(h, value));
        }
    }
    // What lies under a NULL must not count.
    if let (Some(seeds), Some(nulls)) = (seeds, column.nulls()) {
        hashes.iter_mut().zip(seeds).zip(nulls).filter(|(_, is_valid)| !is_valid).for_each(|((hash, seed), _)| *hash = seed);
    }
}

#[inline]
fn add(hash: &mut u64, value: &[u8]) {
    *hash = xxh3_64_with_seed(value, *hash);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Decimal128Array, Int64Array, StringArray};

    use super::*;

    fn keys(from: i64, to: i64) -> Vec<ArrayRef> {
        let numbers: Int64Array = (from..to).map(|n| (n % 10 != 0).then_some(n)).collect();
        let texts: StringArray = (from..to).map(|n| (n % 7 != 0).then(|| format!("{}", n / 3))).collect();
        let sums: Decimal128Array = (from..to).map(|n| Some(i128::from(n))).collect();
        vec![Arc::new(numbers), Arc::new(texts), Arc::new(sums)]
    }

    #[test]
    fn every_key_passes_and_few_others_do_also_after_a_restart() {
        let mut filter = Filter::new(10_000);
        hash_rows(&keys(0, 10_000)).into_iter().for_each(|hash| filter.insert(hash));
        let filter = Filter::decode(&filter.encode()).unwrap();
        assert!(hash_rows(&keys(0, 10_000)).into_iter().all(|hash| filter.may_contain(hash)));
        let passed = hash_rows(&keys(10_000, 20_000)).into_iter().filter(|&hash| filter.may_contain(hash)).count();
        assert!(passed < 200, "{passed} of 10,000 absent keys");
        let mut damaged = filter.encode();
        damaged[100] ^= 1;
        assert!(Filter::decode(&damaged).is_err());
    }

    #[test]
    fn slices_and_nulls_hash_like_what_they_hold() {
        let all = hash_rows(&keys(0, 100));
        let sliced: Vec<ArrayRef> = keys(0, 100).iter().map(|c| c.slice(13, 50)).collect();
        assert_eq!(hash_rows(&sliced), all[13..63]);
        let one = Int64Array::new(vec![1, 5].into(), Some(vec![true, false].into()));
        let other = Int64Array::new(vec![1, 9].into(), Some(vec![true, false].into()));
        assert_eq!(hash_rows(&[Arc::new(one)]), hash_rows(&[Arc::new(other)]));
    }

    #[test]
    fn the_stored_hash_never_changes() {
        assert_eq!(hash_rows(&keys(1, 3)), [3_420_980_217_718_777_655, 5_604_336_659_067_498_298]);
    }
}
