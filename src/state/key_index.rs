//! The hash index of a resident table: key columns to slot numbers, by machine words where keys have a fixed width, else by Arrow row bytes.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayData, ArrayRef, BooleanArray, make_array};
use arrow::buffer::{Buffer, NullBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::row::{RowConverter, Rows, SortField};
use foldhash::fast::FixedState;
use hashbrown::HashTable;
use headwater_types::{Error, Result};

use crate::word_table::WordTable;

/// Numbers of slots: those given back first, then new ones.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    pub(crate) count: u32,
    pub(crate) free: Vec<u32>,
}

impl Slots {
    fn next(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            self.count += 1;
            self.count - 1
        })
    }
}

/// Keys of one partition. Equality is that of Arrow's row format: NULL equals NULL; floats compare by their bits.
pub(crate) enum KeyIndex {
    /// No key columns: one group.
    Single(bool),
    /// One column of at most eight bytes.
    Word(WordIndex<1>),
    /// Two such columns.
    TwoWords(WordIndex<2>),
    /// Anything else.
    Bytes(Box<ByteIndex>),
}

impl KeyIndex {
    /// No keys.
    pub(crate) fn new(schema: &SchemaRef) -> Result<KeyIndex> {
        let types: Vec<DataType> = schema.fields().iter().map(|f| f.data_type().clone()).collect();
        Ok(match &types[..] {
            [] => KeyIndex::Single(false),
            [a] if is_word(a) => KeyIndex::Word(WordIndex::new([a.clone()])),
            [a, b] if is_word(a) && is_word(b) => KeyIndex::TwoWords(WordIndex::new([a.clone(), b.clone()])),
            _ => KeyIndex::Bytes(Box::new(ByteIndex::new(types)?)),
        })
    }

    /// Makes room for `more` keys.
    pub(crate) fn reserve(&mut self, more: usize) {
        match self {
            KeyIndex::Single(_) => {}
            KeyIndex::Word(index) => index.reserve(more),
            KeyIndex::TwoWords(index) => index.reserve(more),
            KeyIndex::Bytes(index) => index.reserve(more),
        }
    }

    /// The slot of each row's key into `found`, adding keys that are not there.
    pub(crate) fn intern(&mut self, keys: &[ArrayRef], slots: &mut Slots, found: &mut Vec<u32>) -> Result<()> {
        match self {
            KeyIndex::Single(is_there) => {
                if !*is_there {
                    slots.count = slots.count.max(1);
                    slots.free.clear();
                    *is_there = true;
                }
                found.push(0);
                Ok(())
            }
            KeyIndex::Word(index) => index.intern(keys, slots, found),
            KeyIndex::TwoWords(index) => index.intern(keys, slots, found),
            KeyIndex::Bytes(index) => index.intern(keys, slots, found),
        }
    }

    /// Takes the key of `slot` out of the index; the key itself can be read until the slot is used again.
    pub(crate) fn remove(&mut self, slot: u32) {
        match self {
            KeyIndex::Single(is_there) => *is_there = false,
            KeyIndex::Word(index) => index.remove(slot),
            KeyIndex::TwoWords(index) => index.remove(slot),
            KeyIndex::Bytes(index) => index.remove(slot),
        }
    }

    /// The key columns of `slots`.
    pub(crate) fn gather(&self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        match self {
            KeyIndex::Single(_) => Ok(Vec::new()),
            KeyIndex::Word(index) => index.gather(slots),
            KeyIndex::TwoWords(index) => index.gather(slots),
            KeyIndex::Bytes(index) => index.gather(slots),
        }
    }

    /// Gives back memory that removed keys hold.
    pub(crate) fn compact(&mut self) {
        if let KeyIndex::Bytes(index) = self {
            index.compact();
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        match self {
            KeyIndex::Single(_) => 0,
            KeyIndex::Word(index) => index.bytes(),
            KeyIndex::TwoWords(index) => index.bytes(),
            KeyIndex::Bytes(index) => index.bytes(),
        }
    }
}

/// Types whose values fit a word and are equal where their bits are. Floats are not among them.
fn is_word(data_type: &DataType) -> bool {
    *data_type == DataType::Boolean
        || data_type.is_integer()
        || matches!(
            data_type,
            DataType::Date32
                | DataType::Date64
                | DataType::Time32(_)
                | DataType::Time64(_)
                | DataType::Timestamp(_, _)
                | DataType::Duration(_)
        )
}

/// Keys of N columns, each as a machine word. Rows with a NULL, few as a rule, have a table of their own, so that the others carry no flags.
pub(crate) struct WordIndex<const N: usize> {
    types: [DataType; N],
    table: WordTable<N>,
    /// Words (zero where NULL) and which of them are NULL, to slot.
    null_table: HashMap<([u64; N], u8), u32, FixedState>,
    keys: KeysBySlot<N>,
    /// The batch at hand.
    words: Vec<[u64; N]>,
}

impl<const N: usize> WordIndex<N> {
    fn new(types: [DataType; N]) -> Self {
        let keys = KeysBySlot { words: Vec::new(), nulls: Vec::new() };
        Self { types, table: WordTable::new(), null_table: HashMap::default(), keys, words: Vec::new() }
    }

    fn reserve(&mut self, more: usize) {
        self.table.reserve(more);
        self.keys.words.reserve(more);
        self.keys.nulls.reserve(more);
    }

    fn intern(&mut self, keys: &[ArrayRef], slots: &mut Slots, found: &mut Vec<u32>) -> Result<()> {
        if keys.len() != N || keys.iter().zip(&self.types).any(|(key, t)| key.data_type() != t) {
            return Err(Error::bug("keys of other types than the table's"));
        }
        found.reserve(keys[0].len());
        let has_nulls = keys.iter().any(|key| key.null_count() > 0);
        let is_as_stored = N == 1 && !has_nulls && keys[0].data_type().primitive_width() == Some(8);
        if !is_as_stored {
            self.load(keys);
        }
        let words = std::mem::take(&mut self.words);
        let Self { table, null_table, keys: by_slot, .. } = self;
        let add = |nulls: u8, key: [u64; N], slots: &mut Slots, by_slot: &mut KeysBySlot<N>| {
            let slot = slots.next();
            by_slot.store(slot, key, nulls);
            slot
        };
        if is_as_stored {
            table.intern(words_of(&keys[0]).as_chunks().0, |key| add(0, key, slots, by_slot), found);
        } else if !has_nulls {
            table.intern(&words, |key| add(0, key, slots, by_slot), found);
        } else {
            for (row, &key) in words.iter().enumerate() {
                match (0..N).fold(0, |nulls, column| nulls | (u8::from(keys[column].is_null(row)) << column)) {
                    0 => table.intern(&[key], |key| add(0, key, slots, by_slot), found),
                    nulls => found.push(*null_table.entry((key, nulls)).or_insert_with(|| add(nulls, key, slots, by_slot))),
                }
            }
        }
        self.words = words;
        Ok(())
    }

    fn load(&mut self, keys: &[ArrayRef]) {
        self.words.clear();
        self.words.resize(keys[0].len(), [0; N]);
        for (column, key) in keys.iter().enumerate() {
            let data = key.to_data();
            let (offset, length) = (data.offset(), data.len());
            let buffer = &data.buffers()[0];
            let words = self.words.iter_mut();
            match data.data_type().primitive_width() {
                Some(8) => words.zip(&*ScalarBuffer::<u64>::new(buffer.clone(), offset, length)).for_each(|(w, &v)| w[column] = v),
                Some(4) => words.zip(&*ScalarBuffer::<u32>::new(buffer.clone(), offset, length)).for_each(|(w, &v)| w[column] = v.into()),
                Some(2) => words.zip(&*ScalarBuffer::<u16>::new(buffer.clone(), offset, length)).for_each(|(w, &v)| w[column] = v.into()),
                Some(_) => words.zip(&*ScalarBuffer::<u8>::new(buffer.clone(), offset, length)).for_each(|(w, &v)| w[column] = v.into()),
                None => words.zip(BooleanArray::from(data.clone()).values()).for_each(|(w, v)| w[column] = v.into()),
            }
            if let Some(nulls) = key.nulls() {
                // What lies under a NULL is arbitrary.
                self.words.iter_mut().zip(nulls).filter(|(_, is_valid)| !is_valid).for_each(|(w, _)| w[column] = 0);
            }
        }
    }

    fn remove(&mut self, slot: u32) {
        let key = self.keys.words[slot as usize];
        match self.keys.nulls[slot as usize] {
            0 => self.table.remove(&key),
            nulls => drop(self.null_table.remove(&(key, nulls))),
        }
    }

    fn gather(&self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        (0..N).map(|column| self.gather_column(column, slots)).collect()
    }

    fn gather_column(&self, column: usize, slots: &[u32]) -> Result<ArrayRef> {
        let words = slots.iter().map(|&slot| self.keys.words[slot as usize][column]);
        let is_null = |slot: u32| self.keys.nulls[slot as usize] & (1 << column) != 0;
        let nulls = slots.iter().any(|&slot| is_null(slot)).then(|| slots.iter().map(|&slot| !is_null(slot)).collect::<NullBuffer>());
        let values = match self.types[column].primitive_width() {
            Some(8) => Buffer::from_vec(words.collect::<Vec<u64>>()),
            // Each word was widened from such a value.
            Some(4) => Buffer::from_vec(words.map(|w| w as u32).collect::<Vec<u32>>()),
            Some(2) => Buffer::from_vec(words.map(|w| w as u16).collect::<Vec<u16>>()),
            Some(_) => Buffer::from_vec(words.map(|w| w as u8).collect::<Vec<u8>>()),
            None => return Ok(Arc::new(BooleanArray::new(words.map(|w| w != 0).collect(), nulls))),
        };
        let data = ArrayData::builder(self.types[column].clone()).len(slots.len()).add_buffer(values).nulls(nulls).build()?;
        Ok(make_array(data))
    }

    fn bytes(&self) -> usize {
        self.table.bytes()
            + self.null_table.capacity() * size_of::<([u64; N], u8, u32)>()
            + self.keys.words.capacity() * size_of::<[u64; N]>()
            + self.keys.nulls.capacity()
            + self.words.capacity() * size_of::<[u64; N]>()
    }
}

/// A column of eight bytes a value as it lies in memory.
fn words_of(column: &ArrayRef) -> ScalarBuffer<u64> {
    let data = column.to_data();
    ScalarBuffer::new(data.buffers()[0].clone(), data.offset(), data.len())
}

/// The key of each slot, and which of its words are NULL.
struct KeysBySlot<const N: usize> {
    words: Vec<[u64; N]>,
    nulls: Vec<u8>,
}

impl<const N: usize> KeysBySlot<N> {
    /// Slots are given out one after the other, and again when they are free.
    #[inline]
    fn store(&mut self, slot: u32, key: [u64; N], nulls: u8) {
        let slot = slot as usize;
        if slot == self.words.len() {
            self.words.push(key);
            self.nulls.push(nulls);
        } else {
            self.words[slot] = key;
            self.nulls[slot] = nulls;
        }
    }
}

/// Keys of any columns as Arrow row bytes, one after the other in an arena.
pub(crate) struct ByteIndex {
    converter: RowConverter,
    hasher: FixedState,
    /// Upper half of the hash, slot.
    table: HashTable<(u32, u32)>,
    arena: Vec<u8>,
    /// Place in the arena and hash, by slot.
    keys: Vec<Span>,
    /// Bytes of removed keys.
    dead_bytes: usize,
    /// The batch at hand.
    rows: Rows,
}

#[derive(Clone, Copy, Default)]
struct Span {
    start: usize,
    length: usize,
    hash: u64,
}

/// Removed keys' bytes from which on a compaction may pay.
const DEAD_BYTES_MIN: usize = 1 << 20;

impl ByteIndex {
    fn new(types: Vec<DataType>) -> Result<Self> {
        let converter = RowConverter::new(types.into_iter().map(SortField::new).collect())?;
        let rows = converter.empty_rows(0, 0);
        Ok(Self {
            converter,
            hasher: FixedState::default(),
            table: HashTable::new(),
            arena: Vec::new(),
            keys: Vec::new(),
            dead_bytes: 0,
            rows,
        })
    }

    fn reserve(&mut self, more: usize) {
        self.keys.reserve(more);
        let spans = &self.keys;
        self.table.reserve(more, |&(_, slot)| spans[slot as usize].hash);
    }

    fn intern(&mut self, keys: &[ArrayRef], slots: &mut Slots, found: &mut Vec<u32>) -> Result<()> {
        self.rows.clear();
        self.converter.append(&mut self.rows, keys)?;
        found.reserve(self.rows.num_rows());
        for row in &self.rows {
            let bytes = row.data();
            let mut state = self.hasher.build_hasher();
            state.write(bytes);
            let hash = state.finish();
            let (arena, spans) = (&self.arena, &self.keys);
            let is_equal = |&(upper, slot): &(u32, u32)| upper == upper_half(hash) && spans[slot as usize].of(arena) == bytes;
            if let Some(&(_, slot)) = self.table.find(hash, is_equal) {
                found.push(slot);
                continue;
            }
            let slot = slots.next();
            if self.keys.len() <= slot as usize {
                self.keys.resize(slot as usize + 1, Span::default());
            }
            self.keys[slot as usize] = Span { start: self.arena.len(), length: bytes.len(), hash };
            self.arena.extend_from_slice(bytes);
            let spans = &self.keys;
            self.table.insert_unique(hash, (upper_half(hash), slot), |&(_, slot)| spans[slot as usize].hash);
            found.push(slot);
        }
        Ok(())
    }

    fn remove(&mut self, slot: u32) {
        let span = self.keys[slot as usize];
        if let Ok(entry) = self.table.find_entry(span.hash, |&(_, s)| s == slot) {
            entry.remove();
            self.dead_bytes += span.length;
        }
    }

    fn gather(&self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        let parser = self.converter.parser();
        let rows = slots.iter().map(|&slot| parser.parse(self.keys[slot as usize].of(&self.arena)));
        Ok(self.converter.convert_rows(rows)?)
    }

    fn compact(&mut self) {
        if self.dead_bytes < DEAD_BYTES_MIN || self.dead_bytes * 2 < self.arena.len() {
            return;
        }
        let mut arena = Vec::with_capacity(self.arena.len() - self.dead_bytes);
        for &(_, slot) in &self.table {
            let span = &mut self.keys[slot as usize];
            let start = arena.len();
            arena.extend_from_slice(span.of(&self.arena));
            span.start = start;
        }
        self.arena = arena;
        self.dead_bytes = 0;
    }

    fn bytes(&self) -> usize {
        self.table.allocation_size() + self.arena.capacity() + self.keys.capacity() * size_of::<Span>() + self.rows.size()
    }
}

impl Span {
    #[inline]
    fn of(self, arena: &[u8]) -> &[u8] {
        &arena[self.start..self.start + self.length]
    }
}

fn upper_half(hash: u64) -> u32 {
    // The shift leaves 32 bits.
    (hash >> 32) as u32
}
