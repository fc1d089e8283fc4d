//! What all tables of a database share: the block store, the cache of decoded blocks, run numbers, and the runs that nobody holds any more.

use std::collections::HashMap;
use std::sync::Arc;

use headwater_types::{Error, ObjectId, Result};
use parking_lot::Mutex;

use crate::block::Block;
use crate::cache::{BlockCache, BlockId};
use crate::keys::{FENCES, FILTER, Meta, RUN_LIMIT, block_key, table_bytes};
use crate::run::RunEntry;
use crate::schema::TableKind;
use crate::{BlockStore, Family, Writes};

/// Run numbers reserved at a time. The next ones are reserved in an epoch's own batch when half of them are left, so that in the middle of an epoch
/// nothing is written: that could fail where the epoch itself may wait.
const RUNS_RESERVED: u64 = 1 << 20;

/// Calls of `collect_garbage` after which a run that is not marked as doomed in the store never will be: its flush was thrown away.
const GARBAGE_ROUNDS_MAX: u8 = 4;

/// Number `number` of the tables of one catalog object: a view's operators count theirs from 0; the last ones are the relation's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TableId {
    /// The catalog object, first in every key.
    pub object: ObjectId,
    /// Which of its tables.
    pub number: u16,
}

impl TableId {
    /// The rows of a view or table.
    pub const ROWS: u16 = 0xFFFF;
    /// Its refused late changes.
    pub const LATE: u16 = 0xFFFE;
    /// Its rows on which an expression failed, or a source's undecodable records.
    pub const ERRORS: u16 = 0xFFFD;

    /// Table `number` of `object`.
    #[must_use]
    pub fn new(object: ObjectId, number: u16) -> Self {
        Self { object, number }
    }
}

/// Budgets that the whole store shares.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// Decoded blocks kept in memory, in bytes.
    pub cache_bytes: usize,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self { cache_bytes: 64 << 20 }
    }
}

/// The block store of one database and what its tables share.
pub struct Store {
    blocks: Arc<dyn BlockStore>,
    cache: Mutex<BlockCache>,
    runs: Mutex<Runs>,
    numbers: Mutex<RunNumbers>,
}

#[derive(Default)]
struct Runs {
    /// Runs that somebody holds.
    held: HashMap<(TableId, u64), HeldRun>,
    /// Doomed runs that nobody holds any more.
    dead: Vec<DeadRun>,
}

struct HeldRun {
    holders: usize,
    blocks: u32,
    doomed: bool,
}

struct DeadRun {
    table: TableId,
    run: u64,
    blocks: u32,
    rounds: u8,
}

struct RunNumbers {
    next: u64,
    limit: u64,
}

impl RunNumbers {
    /// More numbers to give out, once `writes` is written, or together with it.
    fn reserve(&mut self, writes: &mut Writes) {
        self.limit += RUNS_RESERVED;
        writes.put(Family::Meta, RUN_LIMIT.to_vec(), self.limit.to_be_bytes().to_vec());
    }
}

impl Store {
    /// Takes `blocks` into use and deletes what no table names any more: runs that lost their last holder, merges that were not finished.
    ///
    /// # Errors
    /// Those of the block store.
    pub fn open(blocks: Arc<dyn BlockStore>, options: StoreOptions) -> Result<Arc<Store>> {
        let mut writes = Writes::new();
        blocks.scan(Family::Meta, Meta::Doomed.prefix(), &mut |key, value| {
            let (table, run) = Meta::Doomed.parse(key)?;
            delete_run(table, run, parse_blocks(value)?, &mut writes);
            Ok(())
        })?;
        let next = match blocks.get(Family::Meta, RUN_LIMIT)? {
            None => 1,
            Some(limit) => u64::from_be_bytes(limit.try_into().map_err(|_| Error::corrupt("the limit of run numbers is malformed"))?),
        };
        let mut numbers = RunNumbers { next, limit: next };
        numbers.reserve(&mut writes);
        blocks.write(&writes)?;
        Ok(Arc::new(Store {
            blocks,
            cache: Mutex::new(BlockCache::new(options.cache_bytes)),
            runs: Mutex::default(),
            numbers: Mutex::new(numbers),
        }))
    }

    /// The store beneath.
    #[must_use]
    pub fn blocks(&self) -> &Arc<dyn BlockStore> {
        &self.blocks
    }

    /// Deletes the blocks of runs that have lost their last holder. To be called once an epoch, after all tables were flushed into `writes`.
    pub fn collect_garbage(&self, writes: &mut Writes) {
        self.cache.lock().next_generation();
        let mut numbers = self.numbers.lock();
        if numbers.limit - numbers.next < RUNS_RESERVED / 2 {
            numbers.reserve(writes);
        }
        drop(numbers);
        let dead = std::mem::take(&mut self.runs.lock().dead);
        let mut waiting = Vec::new();
        for mut run in dead {
            let marker = Meta::Doomed.numbered(run.table, run.run);
            if self.is_held(run.table, run.run) {
                // Its next last holder brings it back here.
                continue;
            }
            // Only what the store itself calls doomed: the flush that doomed it may not be written yet, or never.
            // A store that cannot be read refuses the epoch's write, too: until then the run waits.
            if matches!(self.blocks.get(Family::Meta, &marker), Ok(Some(_))) {
                delete_run(run.table, run.run, run.blocks, writes);
                self.forget_blocks(&run);
            } else if run.rounds < GARBAGE_ROUNDS_MAX {
                run.rounds += 1;
                waiting.push(run);
            }
        }
        self.runs.lock().dead.append(&mut waiting);
    }

    fn forget_blocks(&self, run: &DeadRun) {
        let mut cache = self.cache.lock();
        for block in 0..run.blocks {
            cache.remove(&(run.table, run.run, block));
        }
    }

    /// Deletes everything under `object` (DROP). Readers that still hold its snapshots may finish: what they hold goes after them.
    ///
    /// # Errors
    /// Those of the block store.
    pub fn drop_object(&self, object: ObjectId, writes: &mut Writes) -> Result<()> {
        let mut resident = Vec::new();
        self.blocks.scan(Family::Meta, &Meta::Schema.of_object(object), &mut |key, value| {
            writes.delete(Family::Meta, key.to_vec());
            if crate::schema::kind_of(value)? == TableKind::Resident {
                resident.push(key[key.len() - table_bytes(TableId::new(object, 0)).len()..].to_vec());
            }
            Ok(())
        })?;
        for table in resident {
            self.blocks.scan(Family::Blocks, &table, &mut |key, _| {
                writes.delete(Family::Blocks, key.to_vec());
                Ok(())
            })?;
        }
        self.blocks.scan(Family::Meta, &Meta::Floor.of_object(object), &mut |key, _| {
            writes.delete(Family::Meta, key.to_vec());
            Ok(())
        })?;
        for family in [Meta::Run, Meta::Kept] {
            self.blocks.scan(Family::Meta, &family.of_object(object), &mut |key, value| {
                let (table, number) = family.parse(key)?;
                let entry = RunEntry::decode(table, value)?;
                writes.delete(Family::Meta, key.to_vec());
                let run = entry.number.unwrap_or(number);
                self.doom(table, run, entry.blocks, writes);
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Bytes of decoded blocks in memory.
    #[must_use]
    pub fn cached_bytes(&self) -> usize {
        self.cache.lock().bytes()
    }

    /// A run number that no run of this database ever had.
    pub(crate) fn next_run(&self) -> Result<u64> {
        let mut numbers = self.numbers.lock();
        if numbers.next == numbers.limit {
            let mut writes = Writes::new();
            numbers.reserve(&mut writes);
            self.blocks.write(&writes)?;
        }
        numbers.next += 1;
        Ok(numbers.next - 1)
    }

    pub(crate) fn cached(&self, id: &BlockId) -> Option<Arc<Block>> {
        self.cache.lock().get(id)
    }

    pub(crate) fn cache(&self, id: BlockId, block: Arc<Block>) {
        self.cache.lock().insert(id, block);
    }

    pub(crate) fn cache_written(&self, id: BlockId, block: Arc<Block>) {
        self.cache.lock().insert_written(id, block);
    }

    fn is_held(&self, table: TableId, run: u64) -> bool {
        self.runs.lock().held.contains_key(&(table, run))
    }

    /// From the write of `writes` on, the run belongs to no table. Its blocks go when nobody holds it.
    pub(crate) fn doom(&self, table: TableId, run: u64, blocks: u32, writes: &mut Writes) {
        writes.put(Family::Meta, Meta::Doomed.numbered(table, run), blocks.to_be_bytes().to_vec());
        let runs = &mut *self.runs.lock();
        match runs.held.get_mut(&(table, run)) {
            Some(held) => {
                held.doomed = true;
                held.blocks = held.blocks.max(blocks);
            }
            None => runs.dead.push(DeadRun { table, run, blocks, rounds: 0 }),
        }
    }

    /// The run belongs to a table now: a merge is finished.
    pub(crate) fn save(&self, table: TableId, run: u64) {
        if let Some(held) = self.runs.lock().held.get_mut(&(table, run)) {
            held.doomed = false;
        }
    }

    fn hold(&self, table: TableId, run: u64) {
        let runs = &mut *self.runs.lock();
        runs.held.entry((table, run)).or_insert(HeldRun { holders: 0, blocks: 0, doomed: false }).holders += 1;
    }

    fn let_go(&self, table: TableId, run: u64) {
        let runs = &mut *self.runs.lock();
        let Some(held) = runs.held.get_mut(&(table, run)) else { return };
        held.holders -= 1;
        if held.holders == 0 {
            if held.doomed {
                runs.dead.push(DeadRun { table, run, blocks: held.blocks, rounds: 0 });
            }
            runs.held.remove(&(table, run));
        }
    }
}

/// Holds the blocks of a run: while it lives they are not deleted.
pub(crate) struct RunHold {
    store: Arc<Store>,
    table: TableId,
    run: u64,
}

impl RunHold {
    pub(crate) fn new(store: &Arc<Store>, table: TableId, run: u64) -> RunHold {
        store.hold(table, run);
        RunHold { store: store.clone(), table, run }
    }

    pub(crate) fn store(&self) -> &Arc<Store> {
        &self.store
    }

    pub(crate) fn table(&self) -> TableId {
        self.table
    }

    pub(crate) fn run(&self) -> u64 {
        self.run
    }
}

impl Drop for RunHold {
    fn drop(&mut self) {
        self.store.let_go(self.table, self.run);
    }
}

fn delete_run(table: TableId, run: u64, blocks: u32, writes: &mut Writes) {
    for block in (0..blocks).chain([FENCES, FILTER]) {
        writes.delete(Family::Blocks, block_key(table, run, block));
    }
    writes.delete(Family::Meta, Meta::Doomed.numbered(table, run));
}

fn parse_blocks(value: &[u8]) -> Result<u32> {
    let bytes = value.try_into().map_err(|_| Error::corrupt("the mark of a doomed run is malformed"))?;
    Ok(u32::from_be_bytes(bytes))
}
