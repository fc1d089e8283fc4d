//! How fast the shapes are, beside something simple on the same input. Run by hand: `cargo test -p headwater-state --test speed -- --ignored --nocapture`.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "it measures and prints")]

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use headwater_state::{BlockStore, ResidentTable, RocksOptions, RocksStore, StateColumns, Store, StoreOptions, TableId, Trace, Writes};
use headwater_types::{ChangeBatch, Epoch, ObjectId, Result};

/// Time that this thread had a core: other work on the machine does not count.
struct ThreadTime;

impl ThreadTime {
    fn elapsed(&self) -> Duration {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
        Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
    }
}

const BATCH_ROWS: usize = 8_192;
const EPOCH_BATCHES: usize = 32;

/// Count, sum and maximum.
#[derive(Default)]
struct Aggregates {
    counts: Vec<i64>,
    sums: Vec<i64>,
    maxima: Vec<i64>,
}

impl StateColumns for Aggregates {
    fn resize(&mut self, slots: usize) {
        self.counts.resize(slots, 0);
        self.sums.resize(slots, 0);
        self.maxima.resize(slots, i64::MIN);
    }

    fn reset(&mut self, slots: &[u32]) {
        for &slot in slots {
            self.counts[slot as usize] = 0;
            self.sums[slot as usize] = 0;
            self.maxima[slot as usize] = i64::MIN;
        }
    }

    fn gather(&self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        let column = |values: &[i64]| Arc::new(Int64Array::from_iter_values(slots.iter().map(|&s| values[s as usize]))) as ArrayRef;
        Ok(vec![column(&self.counts), column(&self.sums), column(&self.maxima)])
    }

    fn scatter(&mut self, slots: &[u32], columns: &[ArrayRef]) -> Result<()> {
        for (target, column) in [&mut self.counts, &mut self.sums, &mut self.maxima].into_iter().zip(columns) {
            slots.iter().zip(column.as_primitive::<Int64Type>().values()).for_each(|(&slot, &value)| target[slot as usize] = value);
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        (self.counts.capacity() + self.sums.capacity() + self.maxima.capacity()) * 8
    }
}

fn numbers(mut state: u64) -> impl FnMut() -> u64 {
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    }
}

fn schema(names: &[&str]) -> SchemaRef {
    Arc::new(Schema::new(names.iter().map(|n| Field::new(*n, DataType::Int64, false)).collect::<Vec<_>>()))
}

/// Batches of (key, value); windows of 10 s of a million rows each.
fn bids(keys: u64, batches: usize) -> Vec<(i64, ArrayRef, Vec<i64>)> {
    let mut next = numbers(1);
    (0..batches)
        .map(|batch| {
            let column: Int64Array = (0..BATCH_ROWS).map(|_| Some((next() % keys) as i64)).collect();
            let window = (batch * BATCH_ROWS / 1_000_000) as i64 * 10_000_000;
            (window, Arc::new(column) as ArrayRef, (0..BATCH_ROWS).map(|_| (next() % 1_000) as i64).collect())
        })
        .collect()
}

#[test]
#[ignore = "measures"]
fn tumbling_count_sum_max() {
    let clock = ThreadTime;
    for keys in [1_000, 100_000, 1_000_000] {
        let batches = bids(keys, 1_024);
        let rows = (batches.len() * BATCH_ROWS) as f64;
        let start = clock.elapsed();
        let mut groups: HashMap<(i64, i64), (i64, i64, i64)> = HashMap::new();
        for (window, column, values) in &batches[..64] {
            for (key, &value) in column.as_primitive::<Int64Type>().values().iter().zip(values) {
                let group = groups.entry((*window, *key)).or_insert((0, 0, i64::MIN));
                *group = (group.0 + 1, group.1 + value, group.2.max(value));
            }
        }
        let map = rows / 16.0 / (clock.elapsed() - start).as_secs_f64();
        let directory = tempfile::tempdir().unwrap();
        let blocks: Arc<dyn BlockStore> = Arc::new(RocksStore::open(directory.path(), RocksOptions::default()).unwrap());
        let store = Store::open(blocks, StoreOptions::default()).unwrap();
        let new = Arc::new(Aggregates::default);
        let id = TableId::new(ObjectId(1), 0);
        let mut table = ResidentTable::open(&store, id, schema(&["key"]), schema(&["count", "sum", "max"]), new).unwrap();
        let mut slots = Vec::new();
        let (mut push, mut flush, mut commit, mut bytes) = (0.0, 0.0, 0.0, 0);
        let mut epoch = clock.elapsed();
        for (number, (window, column, values)) in batches.iter().enumerate() {
            let state = table.shards_mut()[0].intern(*window, std::slice::from_ref(column), &mut slots).unwrap();
            slots.iter().for_each(|&slot| state.counts[slot as usize] += 1);
            slots.iter().zip(values).for_each(|(&slot, &value)| state.sums[slot as usize] += value);
            slots.iter().zip(values).for_each(|(&slot, &value)| state.maxima[slot as usize] = state.maxima[slot as usize].max(value));
            if number % EPOCH_BATCHES == EPOCH_BATCHES - 1 {
                let pushed = clock.elapsed();
                for closed in table.partitions().into_iter().filter(|w| w + 10_000_000 < *window) {
                    table.drop_partition(closed);
                }
                let mut writes = Writes::new();
                table.flush(&mut writes).unwrap();
                let flushed = clock.elapsed();
                bytes += writes.bytes();
                store.blocks().write(&writes).unwrap();
                push += (pushed - epoch).as_secs_f64();
                flush += (flushed - pushed).as_secs_f64();
                epoch = clock.elapsed();
                commit += (epoch - flushed).as_secs_f64();
            }
        }
        let all = rows / (push + flush + commit) / 1e6;
        println!(
            "{keys} keys: {all:.1} M rows/s (push {push:.2} s, flush {flush:.2} s, write {commit:.2} s, {} MB logged); std HashMap {:.1} M rows/s",
            bytes >> 20,
            map / 1e6
        );
    }
}

#[test]
#[ignore = "measures"]
fn traces() {
    let clock = ThreadTime;
    for epoch_rows in [1_000usize, 30_000] {
        let directory = tempfile::tempdir().unwrap();
        let blocks: Arc<dyn BlockStore> = Arc::new(RocksStore::open(directory.path(), RocksOptions::default()).unwrap());
        let store = Store::open(blocks, StoreOptions { cache_bytes: 1 << 30 }).unwrap();
        let schema = schema(&["key", "a", "b"]);
        let mut trace = Trace::open(&store, TableId::new(ObjectId(1), 0), schema.clone(), &[0]).unwrap();
        let mut next = numbers(3);
        let total = 3_000_000;
        let (mut insert, mut flush, mut write, mut slowest) = (0.0, 0.0, 0.0, 0.0f64);
        let mut epoch = Epoch(0);
        for _ in 0..total / epoch_rows {
            let keys: Int64Array = (0..epoch_rows).map(|_| Some((next() % 1_000_000) as i64)).collect();
            let values: ArrayRef = Arc::new((0..epoch_rows).map(|_| Some(next() as i64 % 100)).collect::<Int64Array>());
            let rows = RecordBatch::try_new(schema.clone(), vec![Arc::new(keys), values.clone(), values]).unwrap();
            let start = clock.elapsed();
            for at in (0..epoch_rows).step_by(BATCH_ROWS) {
                trace.insert(ChangeBatch::insertions(rows.slice(at, BATCH_ROWS.min(epoch_rows - at)))).unwrap();
            }
            let inserted = clock.elapsed();
            epoch = epoch.next();
            let mut writes = Writes::new();
            trace.flush(epoch, &mut writes).unwrap();
            store.collect_garbage(&mut writes);
            let flushed = clock.elapsed();
            store.blocks().write(&writes).unwrap();
            insert += (inserted - start).as_secs_f64();
            flush += (flushed - inserted).as_secs_f64();
            slowest = slowest.max((flushed - inserted).as_secs_f64());
            write += (clock.elapsed() - flushed).as_secs_f64();
        }
        let rate = total as f64 / (insert + flush + write) / 1e3;
        println!(
            "{epoch_rows} rows an epoch: {rate:.0} k rows/s (insert {insert:.2} s, flush and merge {flush:.2} s, slowest {slowest:.3} s, write {write:.2} s)"
        );
        for probes in [1_000usize, 8_192] {
            let start = clock.elapsed();
            let mut found = 0;
            for _ in 0..20 {
                let keys: ArrayRef = Arc::new((0..probes).map(|_| Some((next() % 1_000_000) as i64)).collect::<Int64Array>());
                found += trace.lookup(&[keys]).unwrap().probe.len();
            }
            let took = (clock.elapsed() - start).as_secs_f64();
            println!("  lookup of {probes}: {:.2} µs a key, {found} rows", took / 20.0 / probes as f64 * 1e6);
        }
        let start = clock.elapsed();
        let scanned: usize = trace.snapshot().scan(None).unwrap().map(|b| b.unwrap().num_rows()).sum();
        println!("  scan: {:.1} M rows/s", scanned as f64 / (clock.elapsed() - start).as_secs_f64() / 1e6);
    }
}
