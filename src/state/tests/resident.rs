//! A resident table against a map, under random groups, removals, dropped partitions, flushes and reopens, for every kind of key.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int16Array, Int64Array, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimeUnit};
use headwater_state::{Family, ResidentTable, StateColumns, TableId};
use headwater_types::{ErrorKind, ObjectId, Result};
use proptest::prelude::*;
use support::TestStore;

/// Count and sum.
#[derive(Default)]
struct Sums {
    counts: Vec<i64>,
    sums: Vec<i64>,
}

impl StateColumns for Sums {
    fn resize(&mut self, slots: usize) {
        self.counts.resize(slots, 0);
        self.sums.resize(slots, 0);
    }

    fn reset(&mut self, slots: &[u32]) {
        for &slot in slots {
            self.counts[slot as usize] = 0;
            self.sums[slot as usize] = 0;
        }
    }

    fn gather(&self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        let column = |values: &[i64]| Arc::new(slots.iter().map(|&s| Some(values[s as usize])).collect::<Int64Array>()) as ArrayRef;
        Ok(vec![column(&self.counts), column(&self.sums)])
    }

    fn scatter(&mut self, slots: &[u32], columns: &[ArrayRef]) -> Result<()> {
        for (row, &slot) in slots.iter().enumerate() {
            self.counts[slot as usize] = columns[0].as_primitive::<Int64Type>().value(row);
            self.sums[slot as usize] = columns[1].as_primitive::<Int64Type>().value(row);
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        (self.counts.capacity() + self.sums.capacity()) * 8
    }
}

/// Kinds of keys; each makes columns out of small numbers, NULL for 0.
#[derive(Debug, Clone, Copy)]
enum Keys {
    None,
    Word,
    Boolean,
    TwoWords,
    Text,
    TextAndWord,
}

impl Keys {
    fn schema(self) -> SchemaRef {
        let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let types = match self {
            Keys::None => vec![],
            Keys::Word => vec![DataType::Int64],
            Keys::Boolean => vec![DataType::Boolean],
            Keys::TwoWords => vec![time, DataType::Int16],
            Keys::Text => vec![DataType::Utf8],
            Keys::TextAndWord => vec![DataType::Utf8, DataType::Int64],
        };
        Arc::new(Schema::new(types.into_iter().map(|t| Field::new("k", t, true)).collect::<Vec<_>>()))
    }

    fn columns(self, numbers: &[i64]) -> Vec<ArrayRef> {
        let some = |n: i64| (n != 0).then_some(n);
        let int = || Arc::new(numbers.iter().map(|&n| some(n).map(|n| n - 5)).collect::<Int64Array>()) as ArrayRef;
        let text = || Arc::new(numbers.iter().map(|&n| some(n).map(|n| format!("key {n}"))).collect::<StringArray>()) as ArrayRef;
        match self {
            Keys::None => vec![],
            Keys::Word => vec![int()],
            Keys::Boolean => vec![Arc::new(numbers.iter().map(|&n| some(n % 3).map(|n| n == 1)).collect::<BooleanArray>())],
            Keys::TwoWords => {
                let times = numbers.iter().map(|&n| some(n % 4)).collect::<TimestampMicrosecondArray>().with_timezone("UTC");
                vec![Arc::new(times), Arc::new(numbers.iter().map(|&n| some(n / 4).map(|n| n as i16 - 1)).collect::<Int16Array>())]
            }
            Keys::Text => vec![text()],
            Keys::TextAndWord => vec![text(), int()],
        }
    }

    /// The number that stands for all numbers with the same key.
    fn least_equal(self, number: i64) -> i64 {
        match self {
            Keys::None => 0,
            Keys::Boolean => number % 3,
            _ => number,
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Add(i64, Vec<(i64, i64)>),
    Remove(i64, Vec<i64>),
    Drop(i64),
    Split(i64),
    Flush,
    Reopen,
    Sync,
    LosePower,
}

fn step() -> impl Strategy<Value = Step> {
    let partition = || prop_oneof![Just(-10i64), Just(0), Just(1 << 40)];
    prop_oneof![
        8 => (partition(), prop::collection::vec((0i64..16, -5i64..5), 1..40)).prop_map(|(p, rows)| Step::Add(p, rows)),
        3 => (partition(), prop::collection::vec(0i64..16, 1..6)).prop_map(|(p, keys)| Step::Remove(p, keys)),
        1 => partition().prop_map(Step::Drop),
        2 => partition().prop_map(Step::Split),
        6 => Just(Step::Flush),
        2 => Just(Step::Reopen),
        1 => Just(Step::Sync),
        1 => Just(Step::LosePower),
    ]
}

fn kinds() -> impl Strategy<Value = Keys> {
    prop_oneof![Just(Keys::None), Just(Keys::Word), Just(Keys::Boolean), Just(Keys::TwoWords), Just(Keys::Text), Just(Keys::TextAndWord)]
}

/// Partition and number to count and sum.
type Model = BTreeMap<(i64, i64), (i64, i64)>;

struct Play {
    base: TestStore,
    kind: Keys,
    table: Option<ResidentTable<Sums>>,
    model: Model,
    written: Model,
    synced: Model,
    on_disk: bool,
    touched: BTreeSet<(i64, i64)>,
}

impl Play {
    fn new(kind: Keys, on_disk: bool) -> Play {
        let mut play = Play {
            base: TestStore::new(on_disk),
            kind,
            table: None,
            model: Model::new(),
            written: Model::new(),
            synced: Model::new(),
            on_disk,
            touched: BTreeSet::new(),
        };
        play.open();
        play
    }

    fn open(&mut self) {
        let state = Schema::new(vec![Field::new("count", DataType::Int64, false), Field::new("sum", DataType::Int64, false)]);
        let id = TableId::new(ObjectId(9), 1);
        let new = Arc::new(Sums::default);
        self.table = Some(ResidentTable::open(self.base.store(), id, self.kind.schema(), Arc::new(state), new).unwrap());
    }

    /// Shard and slot of each key. `intern` gives one slot in all where there are no key columns.
    fn slots(&mut self, partition: i64, numbers: &[i64]) -> Vec<(usize, u32)> {
        let table = self.table.as_mut().unwrap();
        let keys = self.kind.columns(numbers);
        let shards = if table.is_split(partition) { shard_of(&keys, numbers.len()) } else { vec![0; numbers.len()] };
        let mut slots = vec![99];
        let mut places = vec![(0, 0); numbers.len()];
        for (number, shard) in table.shards_mut().iter_mut().enumerate() {
            let rows: Vec<usize> = (0..numbers.len()).filter(|&row| usize::from(shards[row]) == number).collect();
            if rows.is_empty() {
                continue;
            }
            let keys = self.kind.columns(&rows.iter().map(|&row| numbers[row]).collect::<Vec<_>>());
            shard.intern(partition, &keys, &mut slots).unwrap();
            if matches!(self.kind, Keys::None) {
                slots = vec![slots[0]; rows.len()];
            }
            assert_eq!(slots.len(), rows.len());
            rows.iter().zip(&slots).for_each(|(&row, &slot)| places[row] = (number, slot));
        }
        places
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::Add(partition, rows) => {
                let numbers: Vec<i64> = rows.iter().map(|r| r.0).collect();
                let slots = self.slots(partition, &numbers);
                for ((number, value), (shard, slot)) in rows.into_iter().zip(slots) {
                    let id = (partition, self.kind.least_equal(number));
                    let shard = &mut self.table.as_mut().unwrap().shards_mut()[shard];
                    let is_new = shard.is_new(partition, slot);
                    // A removed and added group is new too, though the log knows it.
                    assert!(is_new || self.written.contains_key(&id));
                    assert!(!is_new || !self.written.contains_key(&id) || !self.model.contains_key(&id) || self.touched.contains(&id));
                    let state = shard.state_mut(partition).unwrap();
                    state.counts[slot as usize] += 1;
                    state.sums[slot as usize] += value;
                    let entry = self.model.entry(id).or_default();
                    *entry = (entry.0 + 1, entry.1 + value);
                    self.touched.insert(id);
                }
            }
            Step::Remove(partition, numbers) => {
                let numbers: Vec<i64> =
                    numbers.into_iter().filter(|&n| self.model.contains_key(&(partition, self.kind.least_equal(n)))).collect();
                if numbers.is_empty() {
                    return;
                }
                let mut slots = self.slots(partition, &numbers);
                slots.sort_unstable();
                slots.dedup();
                for (number, shard) in self.table.as_mut().unwrap().shards_mut().iter_mut().enumerate() {
                    let slots: Vec<u32> = slots.iter().filter(|place| place.0 == number).map(|place| place.1).collect();
                    shard.remove(partition, &slots);
                }
                for number in numbers {
                    self.model.remove(&(partition, self.kind.least_equal(number)));
                    self.touched.remove(&(partition, self.kind.least_equal(number)));
                }
            }
            Step::Drop(partition) => {
                self.table.as_mut().unwrap().drop_partition(partition);
                self.model.retain(|&(p, _), _| p != partition);
                self.touched.retain(|&(p, _)| p != partition);
            }
            Step::Split(partition) => {
                let table = self.table.as_mut().unwrap();
                let was_split = table.is_split(partition);
                let is_touched = table.shards()[0].touched().any(|(p, _)| p == partition);
                table.split(partition, |keys| Ok(shard_of(keys, keys.first().map_or(1, |k| k.len())))).unwrap();
                assert!(!is_touched || table.is_split(partition) == was_split, "the slots of touched groups are known");
            }
            Step::Flush => {
                self.check_touched();
                let table = self.table.as_mut().unwrap();
                self.base.commit(|_, writes| table.flush(writes).unwrap());
                self.written = self.model.clone();
                self.touched.clear();
            }
            Step::Reopen => {
                self.table = None;
                self.base.reopen();
                self.open();
                self.model = self.written.clone();
                self.touched.clear();
            }
            Step::Sync => {
                self.base.sync();
                self.synced = self.written.clone();
            }
            Step::LosePower if self.on_disk => {}
            Step::LosePower => {
                self.table = None;
                self.base.lose_power();
                self.open();
                (self.model, self.written) = (self.synced.clone(), self.synced.clone());
                self.touched.clear();
            }
        }
        self.check();
    }

    fn check_touched(&self) {
        let table = self.table.as_ref().unwrap();
        let count: usize = table.shards().iter().flat_map(|shard| shard.touched()).map(|(_, slots)| slots.len()).sum();
        assert_eq!(count, self.touched.len());
    }

    /// The model's groups are the table's, and nothing else is.
    fn check(&self) {
        let table = self.table.as_ref().unwrap();
        assert_eq!(table.groups(), self.model.len());
        for partition in table.partitions() {
            let of_partition: Vec<(i64, (i64, i64))> =
                self.model.range((partition, i64::MIN)..=(partition, i64::MAX)).map(|(&(_, n), &state)| (n, state)).collect();
            let mut found = BTreeSet::new();
            for (number, shard) in table.shards().iter().enumerate() {
                let Some((state, keys, live)) = shard.partition(partition).unwrap() else { continue };
                let is_right = |s: &u8| usize::from(*s) == number;
                assert!(if table.is_split(partition) { shard_of(&keys, live.len()).iter().all(is_right) } else { number == 0 });
                for (row, &slot) in live.iter().enumerate() {
                    let key: Vec<ArrayRef> = keys.iter().map(|k| k.slice(row, 1)).collect();
                    found.insert(format!("{key:?} {} {}", state.counts[slot as usize], state.sums[slot as usize]));
                }
                assert_eq!(shard.keys_of(partition, &live).unwrap(), keys);
            }
            let expected: BTreeSet<String> =
                of_partition.iter().map(|&(n, (count, sum))| format!("{:?} {count} {sum}", self.kind.columns(&[n]))).collect();
            assert_eq!(found, expected);
        }
    }
}

/// A shard for each key: by the sum of the bytes of its text.
fn shard_of(keys: &[ArrayRef], rows: usize) -> Vec<u8> {
    let text = |row: usize| keys.iter().map(|key| format!("{:?}", key.slice(row, 1))).collect::<String>();
    (0..rows).map(|row| (text(row).bytes().map(usize::from).sum::<usize>() % ResidentTable::<Sums>::SHARDS) as u8).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn a_resident_table_is_a_map(kind in kinds(), steps in prop::collection::vec(step(), 1..80)) {
        let mut play = Play::new(kind, false);
        steps.into_iter().for_each(|step| play.run(step));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn a_resident_table_is_a_map_on_disk(kind in kinds(), steps in prop::collection::vec(step(), 1..80)) {
        let mut play = Play::new(kind, true);
        steps.into_iter().for_each(|step| play.run(step));
    }
}

#[test]
fn a_log_stays_within_twice_its_groups() {
    let mut play = Play::new(Keys::Word, false);
    for epoch in 0..600 {
        play.run(Step::Add(0, (0..10).map(|n| (n, epoch)).collect()));
        play.run(Step::Flush);
    }
    // 276 rows of ten an epoch.
    assert!(play.base.count_blocks() <= 30, "{} blocks", play.base.count_blocks());
    play.run(Step::Drop(0));
    play.run(Step::Flush);
    assert_eq!(play.base.count_blocks(), 0);
}

#[test]
fn removing_every_group_leaves_nothing_behind() {
    let mut play = Play::new(Keys::Text, false);
    play.run(Step::Add(7, vec![(1, 1), (2, 2)]));
    play.run(Step::Flush);
    play.run(Step::Remove(7, vec![1, 2]));
    play.run(Step::Flush);
    assert_eq!(play.base.count_blocks(), 0);
}

#[test]
fn another_schema_is_refused() {
    let mut play = Play::new(Keys::Word, false);
    play.run(Step::Add(0, vec![(1, 1)]));
    play.run(Step::Flush);
    let id = TableId::new(ObjectId(9), 1);
    let schema = Arc::new(Schema::new(vec![Field::new("count", DataType::Int64, false)]));
    let error = ResidentTable::open(play.base.store(), id, Keys::Word.schema(), schema, Arc::new(Sums::default)).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.message().contains("table 1 of object 9"), "{error}");
}

/// More groups than one block holds, on shards and not: every key comes back, removed ones do not.
#[test]
fn many_groups_come_back_from_many_blocks() {
    for is_split in [false, true] {
        let mut play = Play::new(Keys::Word, false);
        if is_split {
            play.run(Step::Split(3));
        }
        let all = |value: i64| (1..=20_000).map(move |n| (n, value)).collect::<Vec<_>>();
        play.run(Step::Add(3, all(1)));
        play.run(Step::Flush);
        play.run(Step::Remove(3, (1..=20_000).filter(|n| n % 2 == 0).collect()));
        play.run(Step::Add(3, (1..=15_000).map(|n| (n, 2)).collect()));
        play.run(Step::Flush);
        play.run(Step::Reopen);
        play.run(Step::Split(3));
        play.run(Step::Add(3, all(3)));
        play.run(Step::Flush);
        play.run(Step::Reopen);
        assert_eq!(play.table.as_ref().unwrap().groups(), 20_000);
    }
}

/// A text of any length.
#[derive(Default)]
struct Texts(Vec<String>);

impl StateColumns for Texts {
    fn resize(&mut self, slots: usize) {
        self.0.resize(slots, String::new());
    }

    fn reset(&mut self, slots: &[u32]) {
        slots.iter().for_each(|&slot| self.0[slot as usize].clear());
    }

    fn gather(&self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        Ok(vec![Arc::new(StringArray::from_iter_values(slots.iter().map(|&slot| &self.0[slot as usize])))])
    }

    fn scatter(&mut self, slots: &[u32], columns: &[ArrayRef]) -> Result<()> {
        let values = slots.iter().zip(columns[0].as_string::<i32>());
        values.for_each(|(&slot, value)| self.0[slot as usize] = value.unwrap_or_default().to_owned());
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.0.iter().map(String::capacity).sum()
    }
}

/// One group whose state is large, and changes in every epoch: the log keeps a few of its images, not hundreds.
#[test]
fn the_log_of_a_large_state_is_short() {
    let (keys, state) = (Keys::Word, Schema::new(vec![Field::new("text", DataType::Utf8, true)]));
    let mut base = TestStore::new(false);
    let id = TableId::new(ObjectId(1), 1);
    let open =
        |base: &TestStore| ResidentTable::open(base.store(), id, keys.schema(), Arc::new(state.clone()), Arc::new(Texts::default)).unwrap();
    let mut table = open(&base);
    let text = |epoch: u32| (0..60_000_u32).map(|n| n.wrapping_mul(2_654_435_761).wrapping_add(epoch).to_string()).collect::<String>();
    for epoch in 0..30 {
        let mut slots = Vec::new();
        table.shards_mut()[0].intern(0, &keys.columns(&[1]), &mut slots).unwrap().0[0] = text(epoch);
        base.commit(|_, writes| table.flush(writes).unwrap());
        if epoch == 20 {
            table = open(&base);
        }
    }
    let mut stored = 0;
    let count = &mut |_: &[u8], value: &[u8]| {
        stored += value.len();
        Ok(())
    };
    base.store().blocks().scan(Family::Blocks, &[], count).unwrap();
    assert!(stored < 4 * text(0).len(), "{stored} bytes for a state of {}", text(0).len());
    assert_eq!(open(&base).shards()[0].state(0).unwrap().0[0], text(29));
}
