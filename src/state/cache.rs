//! Decoded blocks that all tables share, bounded by bytes; blocks not yet in the store are never thrown out.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::TableId;
use crate::block::Block;

/// Table, run and number of a block.
pub(crate) type BlockId = (TableId, u64, u32);

struct Entry {
    block: Arc<Block>,
    bytes: usize,
    /// Looked up since the hand last passed.
    used: bool,
    /// The generation in which it was written; none once it is surely in the store.
    written: Option<u64>,
}

/// A cache with the clock algorithm: a hand goes round over the entries and throws out the first that was not used since its last round.
pub(crate) struct BlockCache {
    entries: HashMap<BlockId, Entry, foldhash::fast::FixedState>,
    hand: VecDeque<BlockId>,
    written: VecDeque<(u64, BlockId)>,
    bytes: usize,
    bytes_max: usize,
    generation: u64,
}

/// Generations (epochs) after which a block handed to a write batch is surely in the store: commit of one epoch may overlap the next.
const GENERATIONS_UNTIL_WRITTEN: u64 = 3;

/// So many places under the hand whose blocks are gone are no matter.
const HAND_SPARE: usize = 1_024;

impl BlockCache {
    pub(crate) fn new(bytes_max: usize) -> BlockCache {
        BlockCache {
            entries: HashMap::with_hasher(foldhash::fast::FixedState::default()),
            hand: VecDeque::new(),
            written: VecDeque::new(),
            bytes: 0,
            bytes_max,
            generation: 0,
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn get(&mut self, id: &BlockId) -> Option<Arc<Block>> {
        let entry = self.entries.get_mut(id)?;
        entry.used = true;
        Some(entry.block.clone())
    }

    /// Adds a block that was read from the store.
    pub(crate) fn insert(&mut self, id: BlockId, block: Arc<Block>) {
        self.add(id, block, None);
    }

    /// Adds a block that is on its way to the store.
    pub(crate) fn insert_written(&mut self, id: BlockId, block: Arc<Block>) {
        self.written.push_back((self.generation, id));
        self.add(id, block, Some(self.generation));
    }

    fn add(&mut self, id: BlockId, block: Arc<Block>, written: Option<u64>) {
        // Searched blocks hold their rows' order bytes too, about as much again.
        let bytes = block.bytes() * 2;
        match self.entries.insert(id, Entry { block, bytes, used: false, written }) {
            Some(old) => self.bytes -= old.bytes,
            None => self.hand.push_back(id),
        }
        self.bytes += bytes;
        self.shrink();
    }

    /// Another epoch's writes were handed over.
    pub(crate) fn next_generation(&mut self) {
        self.generation += 1;
        while let Some(&(generation, id)) = self.written.front() {
            if generation + GENERATIONS_UNTIL_WRITTEN > self.generation {
                break;
            }
            self.written.pop_front();
            if let Some(entry) = self.entries.get_mut(&id) {
                entry.written = None;
            }
        }
        // With room to spare the hand stands still, and what is gone would stay under it for ever.
        if self.hand.len() > 2 * self.entries.len() + HAND_SPARE {
            self.hand.retain(|id| self.entries.contains_key(id));
        }
        self.shrink();
    }

    /// Forgets the blocks of a run that is gone.
    pub(crate) fn remove(&mut self, id: &BlockId) {
        // Its place under the hand stays until the hand comes by.
        if let Some(entry) = self.entries.remove(id) {
            self.bytes -= entry.bytes;
        }
    }

    fn shrink(&mut self) {
        let mut steps = self.hand.len() * 2;
        while self.bytes > self.bytes_max && steps > 0 {
            steps -= 1;
            let Some(id) = self.hand.pop_front() else { break };
            match self.entries.get_mut(&id) {
                None => {}
                Some(entry) if entry.used || entry.written.is_some() => {
                    entry.used = false;
                    self.hand.push_back(id);
                }
                Some(entry) => {
                    self.bytes -= entry.bytes;
                    self.entries.remove(&id);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, RecordBatch};
    use arrow::datatypes::{DataType, Field, Schema};
    use headwater_types::{ChangeBatch, ObjectId};

    use super::*;

    fn block() -> Arc<Block> {
        let schema = Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, false)]));
        let rows = RecordBatch::try_new(schema, vec![Arc::new(Int64Array::from(vec![0; 100]))]).unwrap();
        Arc::new(Block::new(ChangeBatch::insertions(rows)))
    }

    #[test]
    fn keeps_the_used_and_the_unwritten_within_its_budget() {
        let table = TableId::new(ObjectId(1), 0);
        let mut cache = BlockCache::new(block().bytes() * 2 * 10);
        cache.insert_written((table, 0, 0), block());
        cache.insert((table, 1, 0), block());
        for number in 0..100 {
            assert!(cache.get(&(table, 1, 0)).is_some(), "used every time");
            cache.insert((table, 2, number), block());
        }
        assert!(cache.get(&(table, 0, 0)).is_some(), "not yet written");
        assert!(cache.get(&(table, 2, 0)).is_none());
        assert!(cache.bytes() <= cache.bytes_max);
        for _ in 0..GENERATIONS_UNTIL_WRITTEN {
            cache.next_generation();
        }
        for number in 0..100 {
            cache.insert((table, 3, number), block());
        }
        assert!(cache.get(&(table, 0, 0)).is_none(), "written and unused");
    }

    /// With room for everything the hand never moves, and blocks come and go for ever.
    #[test]
    fn what_is_gone_leaves_nothing_behind() {
        let table = TableId::new(ObjectId(1), 0);
        let mut cache = BlockCache::new(usize::MAX);
        for number in 0..10 * HAND_SPARE as u32 {
            cache.insert_written((table, number.into(), 0), block());
            cache.next_generation();
            cache.remove(&(table, number.into(), 0));
        }
        assert!(cache.hand.len() <= HAND_SPARE + 1, "{}", cache.hand.len());
    }
}
