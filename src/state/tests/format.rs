//! What every version of the format wrote is still read, and damage to it is named. `HEADWATER_GOLDEN=write` writes the file of the present version.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

mod support;

use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use headwater_state::{
    BlockStore, Family, MemoryStore, Relation, ResidentTable, Shape, StateColumns, Store, StoreOptions, TableId, Writes,
};
use headwater_types::{Epoch, ErrorKind, ObjectId, Result};
use support::{Row, changes, keys, read_changes, read_scan, schema};

const KEYED: TableId = TableId { object: ObjectId(1), number: TableId::ROWS };
const LOGGED: TableId = TableId { object: ObjectId(1), number: TableId::LATE };
const RESIDENT: TableId = TableId { object: ObjectId(2), number: 0 };

#[derive(Default)]
struct Counts(Vec<i64>);

impl StateColumns for Counts {
    fn resize(&mut self, slots: usize) {
        self.0.resize(slots, 0);
    }

    fn reset(&mut self, slots: &[u32]) {
        slots.iter().for_each(|&slot| self.0[slot as usize] = 0);
    }

    fn gather(&self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        Ok(vec![Arc::new(slots.iter().map(|&slot| Some(self.0[slot as usize])).collect::<Int64Array>())])
    }

    fn scatter(&mut self, slots: &[u32], columns: &[ArrayRef]) -> Result<()> {
        slots.iter().zip(columns[0].as_primitive::<Int64Type>().values()).for_each(|(&slot, &count)| self.0[slot as usize] = count);
        Ok(())
    }

    fn bytes(&self) -> usize {
        0
    }
}

fn row(key: i64) -> Row {
    ((key % 5 != 0).then_some(key), Some(format!("{} {}", "a long and dull text ".repeat(5), key % 3)))
}

fn open_resident(store: &Arc<Store>) -> Result<ResidentTable<Counts>> {
    let counts = Arc::new(Schema::new(vec![Field::new("count", DataType::Int64, false)]));
    ResidentTable::open(store, RESIDENT, schema(), counts, Arc::new(Counts::default))
}

fn open(blocks: Arc<dyn BlockStore>) -> Result<(Arc<Store>, Relation, Relation)> {
    let store = Store::open(blocks, StoreOptions::default())?;
    let keyed = Relation::open(&store, KEYED, schema(), Shape::Keyed(vec![0]))?;
    let logged = Relation::open(&store, LOGGED, schema(), Shape::AppendOnly)?;
    Ok((store, keyed, logged))
}

/// A large run, small ones, an outbox, a log, a resident table with a removed group.
fn write() -> Arc<MemoryStore> {
    let memory = Arc::new(MemoryStore::new());
    let (store, mut keyed, mut logged) = open(memory.clone()).unwrap();
    let mut resident = open_resident(&store).unwrap();
    let mut slots = Vec::new();
    for epoch in 1..=4u64 {
        let new: Vec<(Row, i64)> = match epoch {
            1 => (0..900).map(|key| (row(key), 1)).collect(),
            2 => vec![(row(1), -1), (row(901), 2)],
            _ => vec![(row(1_000 + epoch as i64), 1)],
        };
        keyed.keep_epochs(epoch > 1);
        keyed.apply(changes(&new)).unwrap();
        logged.apply(changes(&[(row(epoch as i64), 1)])).unwrap();
        let batch = support::rows(&[row(epoch as i64), row(6)]);
        let state = resident.shards_mut()[0].intern(-7, batch.columns(), &mut slots).unwrap();
        slots.iter().for_each(|&slot| state.0[slot as usize] += 1);
        if epoch == 3 {
            resident.shards_mut()[0].remove(-7, &slots[..1]);
        }
        let mut writes = Writes::new();
        keyed.flush(Epoch(epoch), &mut writes).unwrap();
        logged.flush(Epoch(epoch), &mut writes).unwrap();
        resident.flush(&mut writes).unwrap();
        store.collect_garbage(&mut writes);
        memory.write(&writes).unwrap();
    }
    memory
}

fn check(blocks: Arc<dyn BlockStore>) -> Result<()> {
    let (store, keyed, logged) = open(blocks)?;
    let mut expected: Vec<(Row, i64)> = (0..900).filter(|&key| key != 1).map(|key| (row(key), 1)).collect();
    expected.extend([(row(901), 2), (row(1_003), 1), (row(1_004), 1)]);
    expected.sort_unstable();
    let mut net: Vec<(Row, i64)> = Vec::new();
    for (row, weight) in expected {
        match net.last_mut() {
            Some((last, sum)) if *last == row => *sum += weight,
            _ => net.push((row, weight)),
        }
    }
    for batch in keyed.snapshot().changes()?.chain(logged.snapshot().changes()?) {
        batch?;
    }
    assert_eq!(read_changes(&keyed.snapshot()), net);
    assert_eq!(keyed.lookup(&keys(&[Some(17), Some(1), Some(5_000)]))?.probe, [0, 1, 1]);
    let epochs: Vec<u64> = keyed.epochs_after(Epoch(0)).map(|kept| Ok(kept?.0.0)).collect::<Result<_>>()?;
    assert_eq!(epochs, [2, 3, 4]);
    assert_eq!(read_scan(&logged.snapshot()), [row(1), row(2), row(3), row(4)]);
    let resident = open_resident(&store)?;
    let (counts, _, live) = resident.shards()[0].partition(-7)?.unwrap();
    let mut counts: Vec<i64> = live.iter().map(|&slot| counts.0[slot as usize]).collect();
    counts.sort_unstable();
    assert_eq!(counts, [1, 1, 1, 4]);
    Ok(())
}

const FAMILIES: [Family; 2] = [Family::Meta, Family::Blocks];

type Entry = (Family, Vec<u8>, Vec<u8>);

fn entries(store: &dyn BlockStore) -> Vec<Entry> {
    let mut entries = Vec::new();
    for family in FAMILIES {
        let mut visit = |key: &[u8], value: &[u8]| {
            entries.push((family, key.to_vec(), value.to_vec()));
            Ok(())
        };
        store.scan(family, b"", &mut visit).unwrap();
    }
    entries
}

fn load(entries: &[Entry]) -> Arc<MemoryStore> {
    let memory = Arc::new(MemoryStore::new());
    let mut writes = Writes::new();
    entries.iter().for_each(|(family, key, value)| writes.put(*family, key.clone(), value.clone()));
    memory.write(&writes).unwrap();
    memory
}

/// The golden file: per entry family u8, then key and value, each after its length u32 LE.
fn golden(version: u32) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/v{version}.bin"))
}

#[test]
fn every_past_version_is_read() {
    if std::env::var("HEADWATER_GOLDEN").is_ok_and(|value| value == "write") {
        let mut bytes = Vec::new();
        for (family, key, value) in entries(&*write()) {
            bytes.push(FAMILIES.iter().position(|&f| f == family).unwrap() as u8);
            for part in [key, value] {
                bytes.extend((part.len() as u32).to_le_bytes());
                bytes.extend(part);
            }
        }
        std::fs::write(golden(headwater_state::FORMAT_VERSION), bytes).unwrap();
    }
    for version in 1..=headwater_state::FORMAT_VERSION {
        let bytes = std::fs::read(golden(version)).unwrap();
        let mut rest = &bytes[..];
        let mut take = |count: usize| {
            let (part, left) = rest.split_at_checked(count)?;
            rest = left;
            Some(part.to_vec())
        };
        let mut entries = Vec::new();
        while let Some(family) = take(1) {
            let mut part = || {
                let length = u32::from_le_bytes(take(4).unwrap().try_into().unwrap());
                take(length as usize).unwrap()
            };
            entries.push((FAMILIES[family[0] as usize], part(), part()));
        }
        check(load(&entries)).unwrap();
    }
}

/// Every block and every entry, damaged one after the other: an error that names the place, or (what repeats a default) no change at all.
#[test]
fn damage_is_named_and_never_a_panic() {
    let whole = entries(&*write());
    check(load(&whole)).unwrap();
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        let (family, key, value) = &mut damaged[at];
        let is_block = *family == Family::Blocks;
        let name = format!("{} {}", String::from_utf8_lossy(key), value.len());
        let middle = value.len() / 2;
        value[middle] ^= 0x10;
        let store = load(&damaged);
        match std::panic::catch_unwind(AssertUnwindSafe(|| check(store))) {
            Ok(Ok(())) => assert!(!is_block, "{name}: damage went unnoticed"),
            Ok(Err(error)) => {
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{name}: {error}");
                assert!(!is_block || error.message().contains(" of object "), "{name}: {error}");
            }
            // A count in an entry that is only an estimate, say, is seen by the check itself.
            Err(_) => assert!(!is_block, "{name}: a damaged block made the check fail, and not the store"),
        }
        if is_block {
            let mut missing = whole.clone();
            missing.remove(at);
            let store = load(&missing);
            let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| check(store)));
            assert!(!matches!(outcome, Ok(Ok(()))), "{name}: a missing block went unnoticed");
        }
    }
}
