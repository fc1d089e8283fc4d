//! Keys of a few machine words to slot numbers: open addressing, probed a chunk of keys at a time and without a branch a key.
//!
//! A general hash table stops at each key: what it does next depends on what it finds, so a line that must come from memory and a guess that was
//! wrong are both waited for. Here a first pass over a chunk takes the slot out of each key's home entry or the one after it, whatever that holds, and
//! notes where it was not the key's: many loads are under way at once, and nothing is guessed. Only the keys noted, new ones as a rule, are looked for
//! one by one.

/// Keys of a chunk.
const CHUNK_KEYS: usize = 256;

/// Smallest capacity.
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
}

impl<const N: usize> WordTable<N> {
    pub(crate) fn new() -> Self {
        Self { entries: Vec::new(), count: 0 }
    }

    /// Appends the slot of each of `keys` to `found`, in order; `add` gives the slot of a key that is not there yet.
    pub(crate) fn intern(&mut self, keys: &[[u64; N]], mut add: impl FnMut([u64; N]) -> u32, found: &mut Vec<u32>) {
        for chunk in keys.chunks(CHUNK_KEYS) {
            self.reserve(chunk.len());
            let mask = self.entries.len() - 1;
            let first = found.len();
            let (mut missed, mut misses) = ([0; CHUNK_KEYS], 0);
            found.extend(chunk.iter().enumerate().map(|(row, key)| {
                let home = hash(key) as usize & mask;
                let entry = &self.entries[(home + usize::from(self.entries[home].key != *key)) & mask];
                missed[misses % CHUNK_KEYS] = row;
                misses += usize::from((entry.key != *key) | (entry.slot == EMPTY));
                entry.slot
            }));
            for &row in &missed[..misses] {
                let at = self.find(&chunk[row]);
                let entry = &mut self.entries[at];
                if entry.slot == EMPTY {
                    *entry = Entry { key: chunk[row], slot: add(chunk[row]) };
                    self.count += 1;
                }
                found[first + row] = entry.slot;
            }
        }
    }

    /// The entry of `key`, or the empty one where it belongs.
    #[inline]
    fn find(&self, key: &[u64; N]) -> usize {
        let mask = self.entries.len() - 1;
        let mut at = hash(key) as usize & mask;
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
        let mut gap = self.find(key);
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
            let home = hash(&entry.key) as usize & mask;
            // It may move to the gap unless its home lies between the gap and itself.
            if (at.wrapping_sub(home) & mask) >= (at.wrapping_sub(gap) & mask) {
                self.entries[gap] = entry;
                gap = at;
            }
        }
        self.entries[gap].slot = EMPTY;
    }

    /// Makes room for `more` keys.
    pub(crate) fn reserve(&mut self, more: usize) {
        if (self.count + more) * 4 <= self.entries.len() * 3 {
            return;
        }
        let capacity = ((self.count + more) * 4 / 3 + 1).next_power_of_two().max(CAPACITY_MIN);
        let old = std::mem::replace(&mut self.entries, vec![Entry { key: [0; N], slot: EMPTY }; capacity]);
        for entry in old.into_iter().filter(|entry| entry.slot != EMPTY) {
            let at = self.find(&entry.key);
            self.entries[at] = entry;
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.entries.capacity() * size_of::<Entry<N>>()
    }
}

/// Folded multiplication, as in wyhash and foldhash: both halves of the product depend on every bit of the word.
#[inline(always)]
fn hash<const N: usize>(key: &[u64; N]) -> u64 {
    // Digits of pi, and 2^64 divided by the golden ratio.
    key.iter().fold(0x243f_6a88_85a3_08d3, |state, word| {
        let product = u128::from(state ^ word) * 0x9e37_79b9_7f4a_7c15;
        product as u64 ^ (product >> 64) as u64
    })
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
            let mut table = WordTable::<2>::new();
            let mut map: HashMap<[u64; 2], u32> = HashMap::new();
            let mut next = 0;
            for (is_insert, number) in steps {
                let key = [number / 20, number % 20];
                if is_insert {
                    let mut found = Vec::new();
                    table.intern(&[key], |_| { next += 1; next }, &mut found);
                    let expected = *map.entry(key).or_insert(next);
                    prop_assert_eq!(found, [expected]);
                } else {
                    table.remove(&key);
                    map.remove(&key);
                }
                prop_assert_eq!(table.count, map.len());
            }
            let keys: Vec<[u64; 2]> = map.keys().copied().collect();
            let mut found = Vec::new();
            table.intern(&keys, |_| u32::MAX - 1, &mut found);
            prop_assert_eq!(found, keys.iter().map(|key| map[key]).collect::<Vec<u32>>());
        }
    }
}
