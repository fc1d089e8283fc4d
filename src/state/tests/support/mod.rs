//! Stores to test on: in memory, and in a directory that is opened again.
#![allow(dead_code, clippy::unwrap_used, reason = "each test file uses a part of it, and a failed test panics")]

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use headwater_state::{BlockStore, MemoryStore, RocksOptions, RocksStore, Snapshot, Store, StoreOptions, Writes};
use headwater_types::{ChangeBatch, Epoch};

/// A database that can be closed and opened.
pub struct TestStore {
    memory: Option<Arc<MemoryStore>>,
    directory: tempfile::TempDir,
    pub store: Option<Arc<Store>>,
    pub epoch: Epoch,
}

/// A small cache, so that blocks are read from the store again.
const CACHE_BYTES: usize = 64 << 10;

impl TestStore {
    pub fn new(on_disk: bool) -> TestStore {
        let memory = (!on_disk).then(|| Arc::new(MemoryStore::new()));
        let mut base = TestStore { memory, directory: tempfile::tempdir().unwrap(), store: None, epoch: Epoch(0) };
        base.reopen();
        base
    }

    pub fn reopen(&mut self) {
        self.store = None;
        let blocks: Arc<dyn BlockStore> = match &self.memory {
            Some(memory) => memory.clone(),
            None => Arc::new(RocksStore::open(self.directory.path(), RocksOptions::default()).unwrap()),
        };
        self.store = Some(Store::open(blocks, StoreOptions { cache_bytes: CACHE_BYTES }).unwrap());
    }

    pub fn store(&self) -> &Arc<Store> {
        self.store.as_ref().unwrap()
    }

    /// One epoch: what `flush` writes and the garbage, in one batch.
    pub fn commit(&mut self, flush: impl FnOnce(Epoch, &mut Writes)) {
        self.epoch = self.epoch.next();
        let mut writes = Writes::new();
        flush(self.epoch, &mut writes);
        self.store().collect_garbage(&mut writes);
        self.store().blocks().write(&writes).unwrap();
    }

    /// Makes what was committed survive a power loss.
    pub fn sync(&self) {
        self.store().blocks().sync().unwrap();
    }

    /// Power loss, then a restart; in memory only.
    pub fn lose_power(&mut self) {
        self.memory.as_ref().unwrap().crash();
        self.reopen();
    }

    pub fn count_blocks(&self) -> usize {
        let mut count = 0;
        let family = headwater_state::Family::Blocks;
        self.store()
            .blocks()
            .scan(family, &[], &mut |_, _| {
                count += 1;
                Ok(())
            })
            .unwrap();
        count
    }
}

/// Rows (k BIGINT, v VARCHAR).
pub type Row = (Option<i64>, Option<String>);

pub fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("k", DataType::Int64, true), Field::new("v", DataType::Utf8, true)]))
}

pub fn rows(rows: &[Row]) -> RecordBatch {
    let keys: Int64Array = rows.iter().map(|r| r.0).collect();
    let values: StringArray = rows.iter().map(|r| r.1.clone()).collect();
    RecordBatch::try_new(schema(), vec![Arc::new(keys), Arc::new(values)]).unwrap()
}

pub fn changes(changes: &[(Row, i64)]) -> ChangeBatch {
    let all: Vec<Row> = changes.iter().map(|c| c.0.clone()).collect();
    ChangeBatch::new(rows(&all), changes.iter().map(|c| c.1).collect::<Vec<i64>>()).unwrap()
}

pub fn keys(keys: &[Option<i64>]) -> Vec<ArrayRef> {
    vec![Arc::new(keys.iter().copied().collect::<Int64Array>())]
}

pub fn read_rows(batch: &RecordBatch) -> Vec<Row> {
    let keys = batch.column(0).as_any().downcast_ref::<Int64Array>().unwrap();
    let values = batch.column(1).as_any().downcast_ref::<StringArray>().unwrap();
    let text = |i: usize| values.is_valid(i).then(|| values.value(i).to_string());
    (0..batch.num_rows()).map(|i| (keys.is_valid(i).then(|| keys.value(i)), text(i))).collect()
}

/// Rows and weights in the order the snapshot gives them.
pub fn read_changes(snapshot: &Snapshot) -> Vec<(Row, i64)> {
    let mut all = Vec::new();
    for batch in snapshot.changes().unwrap() {
        let batch = batch.unwrap();
        all.extend(read_rows(batch.rows()).into_iter().zip(batch.weights_or_ones().iter().copied()));
    }
    all
}

pub fn read_scan(snapshot: &Snapshot) -> Vec<Row> {
    snapshot.scan(None).unwrap().flat_map(|batch| read_rows(&batch.unwrap())).collect()
}
