//! Keys of a few machine words to slot numbers: open addressing, probed a chunk of keys at a time so that cache misses overlap.
//!
//! A general hash table stops at each key until its line has come from memory, because what it does next depends on it. Here a first pass over
//! a chunk only reads each key's home entry, whatever it holds; the second pass finds them all in the cache. With a million groups that is the
//! difference between waiting for every miss and waiting for some.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::FixedState;

/// Keys whose home entries are read ahead: their lines fit the first-level cache.
const CHUNK_KEYS: usize = 256;

const CAPACITY_MIN: usize = 64;

const EMPTY: u32 = u32::MAX;

#[derive(Clone, Copy)]
struct Entry<const N: usize> {
    key: [u64; N],
    slot: u32,
}

/// A map from `[u64; N]` to u32, with linear probing, at most three quarters full, power-of-two capacity.
pub(crate) struct WordTable<const N: usize> {
    entries: Vec<Entry<N>>,
    count: usize,
    hasher: FixedState,
    /// Hashes of the chunk at hand.
    hashes: Vec<u64>,
}

impl<const N: usize> WordTable<N> {
    pub(crate) fn new(keys_expected: usize) -> Self {
        let mut table = Self { entries: Vec::new(), count: 0, hasher: FixedState::default(), hashes: Vec::with_capacity(CHUNK_KEYS) };
        table.reserve(keys_expected);
        table
    }

    /// Calls `found` with the slot of each of `keys` in order; `add` gives the slot of a key that is not there yet.
    #[inline]
    pub(crate) fn intern(&mut self, keys: &[[u64; N]], mut add: impl FnMut([u64; N]) -> u32, mut found: impl FnMut(u32)) {
        for chunk in keys.chunks(CHUNK_KEYS) {
            self.reserve(chunk.len());
            let mask = self.entries.len() - 1;
            let mut read_ahead = 0;
            let mut hashes = std::mem::take(&mut self.hashes);
            hashes.clear();
            hashes.extend(chunk.iter().map(|key| {
                let hash = self.hash(key);
                read_ahead ^= self.entries[hash as usize & mask].slot;
                hash
            }));
            // Or the compiler would leave the reading out.
            std::hint::black_box(read_ahead);
            for (key, &hash) in chunk.iter().zip(&hashes) {
                let at = self.find(key, hash);
                let entry = &mut self.entries[at];
                if entry.slot == EMPTY {
                    *entry = Entry { key: *key, slot: add(*key) };
                    self.count += 1;
                }
                found(entry.slot);
            }
            self.hashes = hashes;
        }
    }

    /// The entry of `key`, or the empty one where it belongs.
    #[inline]
    fn find(&self, key: &[u64; N], hash: u64) -> usize {
        let mask = self.entries.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            let entry = &self.entries[at];
            if entry.slot == EMPTY || entry.key == *key {
                return at;
            }
            at = (at + 1) & mask;
        }
    }

    /// Removes `key`; what was probed past it moves back, so that no gap cuts a probe short.
    pub(crate) fn remove(&mut self, key: &[u64; N]) {
        if self.entries.is_empty() {
            return;
        }
        let mask = self.entries.len() - 1;
        let mut gap = self.find(key, self.hash(key));
        if self.entries[gap].slot == EMPTY {
            return;
        }
        self.count -= 1;
        let mut at = gap;
        loop {
            at = (at + 1) & mask;
            let entry = self.entries[at];
            if entry.slot == EMPTY {
                break;
            }
            let home = self.hash(&entry.key) as usize & mask;
            // It may move to the gap unless its home lies between the gap and itself.
            if (at.wrapping_sub(home) & mask) >= (at.wrapping_sub(gap) & mask) {
                self.entries[gap] = entry;
                gap = at;
            }
        }
        self.entries[gap].slot = EMPTY;
    }

    /// Makes room for `more` keys.
    fn reserve(&mut self, more: usize) {
        if (self.count + more) * 4 <= self.entries.len() * 3 {
            return;
        }
        let capacity = ((self.count + more) * 4 / 3 + 1).next_power_of_two().max(CAPACITY_MIN);
        let old = std::mem::replace(&mut self.entries, vec![Entry { key: [0; N], slot: EMPTY }; capacity]);
        for entry in old.into_iter().filter(|entry| entry.slot != EMPTY) {
            let at = self.find(&entry.key, self.hash(&entry.key));
            self.entries[at] = entry;
        }
    }

    #[inline]
    fn hash(&self, key: &[u64; N]) -> u64 {
        let mut state = self.hasher.build_hasher();
        for &word in key {
            state.write_u64(word);
        }
        state.finish()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.entries.capacity() * size_of::<Entry<N>>() + self.hashes.capacity() * 8
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn is_a_map(steps in prop::collection::vec((any::<bool>(), 0u64..300), 1..1500)) {
            let mut table = WordTable::<2>::new(0);
            let mut map: HashMap<[u64; 2], u32> = HashMap::new();
            let mut next = 0;
            for (is_insert, number) in steps {
                let key = [number / 20, number % 20];
                if is_insert {
                    let mut found = None;
                    table.intern(&[key], |_| { next += 1; next }, |slot| found = Some(slot));
                    let expected = *map.entry(key).or_insert(next);
                    prop_assert_eq!(found, Some(expected));
                } else {
                    table.remove(&key);
                    map.remove(&key);
                }
                prop_assert_eq!(table.count, map.len());
            }
            let keys: Vec<[u64; 2]> = map.keys().copied().collect();
            let mut found = Vec::new();
            table.intern(&keys, |_| u32::MAX - 1, |slot| found.push(slot));
            prop_assert_eq!(found, keys.iter().map(|key| map[key]).collect::<Vec<u32>>());
        }
    }
}
