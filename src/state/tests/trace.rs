//! A trace against a map of rows to weights, under random changes, flushes, reopens and forgetting.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{AsArray, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit, TimestampMicrosecondType};
use headwater_state::{End, TableId, Trace};
use headwater_types::{ChangeBatch, ObjectId};
use proptest::prelude::*;
use support::{Row, TestStore, changes, keys, read_changes, read_rows, rows, schema};

#[derive(Debug, Clone)]
enum Step {
    Insert(Vec<(Row, i64)>),
    Flush,
    Reopen,
    Sync,
    LosePower,
    Check,
}

fn row() -> impl Strategy<Value = Row> {
    (prop::option::weighted(0.9, -8i64..8), prop::option::weighted(0.9, "[ab]{0,2}"))
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => prop::collection::vec((row(), -2i64..3), 0..20).prop_map(Step::Insert),
        6 => Just(Step::Flush),
        1 => Just(Step::Reopen),
        1 => Just(Step::Sync),
        1 => Just(Step::LosePower),
        3 => Just(Step::Check),
    ]
}

type Model = BTreeMap<Row, i64>;

fn add(model: &mut Model, new: &[(Row, i64)]) {
    for (row, weight) in new {
        *model.entry(row.clone()).or_default() += weight;
    }
    model.retain(|_, weight| *weight != 0);
}

fn check(trace: &Trace, model: &Model) {
    let all: Vec<(Row, i64)> = model.iter().map(|(row, &weight)| (row.clone(), weight)).collect();
    assert_eq!(read_changes(&trace.snapshot()), all);
    let net: i64 = model.values().sum();
    assert_eq!(trace.rows(), net.max(0) as u64);
    let probes: Vec<Option<i64>> = [Some(3), None, Some(-8), Some(99), Some(3)].into_iter().chain((-7..8).map(Some)).collect();
    let matches = trace.lookup(&keys(&probes)).unwrap();
    let mut found: BTreeMap<(u32, Row), i64> = BTreeMap::new();
    assert!(matches.probe.is_sorted());
    for (i, row) in read_rows(matches.rows.rows()).into_iter().enumerate() {
        *found.entry((matches.probe[i], row)).or_default() += matches.rows.weight(i);
    }
    found.retain(|_, weight| *weight != 0);
    let mut expected = BTreeMap::new();
    for (i, key) in probes.iter().enumerate() {
        expected.extend(model.iter().filter(|(row, _)| row.0 == *key).map(|(row, &weight)| ((i as u32, row.clone()), weight)));
    }
    assert_eq!(found, expected);
    for end in [End::First, End::Last] {
        let (indices, batch) = trace.edge(&keys(&probes), end).unwrap();
        let batch = read_rows(&batch);
        for (key, index) in probes.iter().zip(indices) {
            let mut of_key = model.iter().filter(|(row, weight)| row.0 == *key && **weight > 0).map(|(row, _)| row);
            let expected = if end == End::First { of_key.next() } else { of_key.next_back() };
            assert_eq!(index.map(|i| &batch[i as usize]), expected, "{key:?} {end:?}");
        }
    }
    let asked: Vec<Row> = model.keys().cloned().chain([(Some(77), None)]).collect();
    let weights = trace.weights_of(&rows(&asked)).unwrap();
    let expected: Vec<i64> = asked.iter().map(|row| model.get(row).copied().unwrap_or(0)).collect();
    assert_eq!(weights, expected);
}

fn play(steps: Vec<Step>, on_disk: bool) {
    let mut base = TestStore::new(on_disk);
    let id = TableId::new(ObjectId(5), 2);
    let mut trace = Trace::open(base.store(), id, schema(), &[0]).unwrap();
    let (mut synced, mut written, mut model) = (Model::new(), Model::new(), Model::new());
    for step in steps {
        match step {
            Step::Insert(new) => {
                trace.insert(changes(&new)).unwrap();
                add(&mut model, &new);
            }
            Step::Flush => {
                base.commit(|epoch, writes| trace.flush(epoch, writes).unwrap());
                written = model.clone();
            }
            Step::Reopen => {
                drop(trace);
                base.reopen();
                trace = Trace::open(base.store(), id, schema(), &[0]).unwrap();
                model = written.clone();
            }
            Step::Sync => {
                base.sync();
                synced = written.clone();
            }
            Step::LosePower if on_disk => {}
            Step::LosePower => {
                drop(trace);
                base.lose_power();
                trace = Trace::open(base.store(), id, schema(), &[0]).unwrap();
                (written, model) = (synced.clone(), synced.clone());
            }
            Step::Check => check(&trace, &model),
        }
    }
    check(&trace, &model);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn a_trace_is_a_map_of_weights(steps in prop::collection::vec(step(), 1..120)) {
        play(steps, false);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn a_trace_is_a_map_of_weights_on_disk(steps in prop::collection::vec(step(), 1..120)) {
        play(steps, true);
    }
}

/// A cheap generator of numbers that look random.
fn numbers(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut state = seed;
    move |below| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    }
}

/// Large enough for merges over several epochs, many blocks and a cache that cannot hold them.
#[test]
fn large_traces_merge_in_portions_and_survive_reopens() {
    for on_disk in [false, true] {
        let mut base = TestStore::new(on_disk);
        let id = TableId::new(ObjectId(1), 0);
        let mut trace = Trace::open(base.store(), id, schema(), &[0]).unwrap();
        let mut model = Model::new();
        let mut next = numbers(7);
        for epoch in 0..220 {
            let size = 1 + next(900);
            let mut new: Vec<(Row, i64)> = (0..size).map(|_| ((Some(next(3_000) as i64), Some(format!("value {}", next(4)))), 1)).collect();
            // Half of them take back something that is there.
            let some: Vec<Row> = model.keys().skip(next(50) as usize).step_by(7).take(size as usize / 2).cloned().collect();
            new.extend(some.into_iter().map(|row| (row, -1)));
            trace.insert(changes(&new)).unwrap();
            add(&mut model, &new);
            base.commit(|epoch, writes| trace.flush(epoch, writes).unwrap());
            if epoch % 67 == 66 {
                drop(trace);
                base.reopen();
                trace = Trace::open(base.store(), id, schema(), &[0]).unwrap();
            }
        }
        let all: Vec<(Row, i64)> = model.iter().map(|(row, &weight)| (row.clone(), weight)).collect();
        assert_eq!(read_changes(&trace.snapshot()), all);
        let probes: Vec<Option<i64>> = (0..3_100).map(Some).collect();
        let matches = trace.lookup(&keys(&probes)).unwrap();
        let mut found = Model::new();
        for (i, row) in read_rows(matches.rows.rows()).into_iter().enumerate() {
            assert_eq!(probes[matches.probe[i] as usize], row.0);
            *found.entry(row).or_default() += matches.rows.weight(i);
        }
        found.retain(|_, weight| *weight != 0);
        assert_eq!(found, model);
        let (indices, _) = trace.edge(&keys(&probes), End::Last).unwrap();
        assert_eq!(
            indices.iter().filter(|i| i.is_some()).count(),
            model.iter().filter(|(_, w)| **w > 0).map(|(row, _)| row.0).collect::<std::collections::BTreeSet<_>>().len()
        );
    }
}

#[test]
fn a_snapshot_outlives_the_merges_and_its_blocks_go_with_it() {
    let mut base = TestStore::new(false);
    let mut trace = Trace::open(base.store(), TableId::new(ObjectId(1), 0), schema(), &[0]).unwrap();
    let fill = |base: &mut TestStore, trace: &mut Trace, epochs: i64| {
        for epoch in 0..epochs {
            let new: Vec<(Row, i64)> = (0..200).map(|k| ((Some(k), Some("x".repeat(400))), if epoch % 2 == 0 { 1 } else { -1 })).collect();
            trace.insert(changes(&new)).unwrap();
            base.commit(|epoch, writes| trace.flush(epoch, writes).unwrap());
        }
    };
    fill(&mut base, &mut trace, 1);
    let snapshot = trace.snapshot();
    let before = read_changes(&snapshot);
    assert_eq!(before.len(), 200);
    fill(&mut base, &mut trace, 99);
    assert_eq!(read_changes(&snapshot), before);
    drop(snapshot);
    for _ in 0..3 {
        base.commit(|epoch, writes| trace.flush(epoch, writes).unwrap());
    }
    assert!(base.count_blocks() < 12, "{} blocks of a nearly empty trace", base.count_blocks());
}

/// Rows (t TIMESTAMP, v BIGINT), NULL times included, forgotten as time goes on.
#[test]
fn forgotten_rows_are_gone_from_sight_and_then_from_the_store() {
    for on_disk in [false, true] {
        let mut base = TestStore::new(on_disk);
        let time = DataType::Timestamp(TimeUnit::Microsecond, None);
        let schema = Arc::new(Schema::new(vec![Field::new("t", time, true), Field::new("v", DataType::Int64, false)]));
        let batch = |times: Vec<Option<i64>>| {
            let values: Int64Array = times.iter().map(|t| Some(t.unwrap_or(-1) * 10)).collect();
            let times: TimestampMicrosecondArray = times.into_iter().collect();
            RecordBatch::try_new(schema.clone(), vec![Arc::new(times), Arc::new(values)]).unwrap()
        };
        let times = |trace: &Trace| -> Vec<Option<i64>> {
            let batches: Vec<RecordBatch> = trace.snapshot().scan(Some(&[0])).unwrap().map(|b| b.unwrap()).collect();
            batches.iter().flat_map(|b| b.column(0).as_primitive::<TimestampMicrosecondType>().iter().collect::<Vec<_>>()).collect()
        };
        let id = TableId::new(ObjectId(2), 1);
        let mut trace = Trace::open(base.store(), id, schema.clone(), &[0]).unwrap();
        let mut expected: Vec<Option<i64>> = Vec::new();
        for epoch in 0..120i64 {
            let new: Vec<Option<i64>> = (0..150).map(|i| (i % 50 != 7).then_some(epoch * 100 + i)).collect();
            expected.extend(&new);
            trace.insert(ChangeBatch::insertions(batch(new))).unwrap();
            if epoch % 3 == 0 {
                let below = epoch * 100 - 500;
                trace.forget_below(below).unwrap();
                expected.retain(|t| t.is_none_or(|t| t >= below));
            }
            base.commit(|epoch, writes| trace.flush(epoch, writes).unwrap());
            if epoch % 40 == 20 {
                drop(trace);
                base.reopen();
                trace = Trace::open(base.store(), id, schema.clone(), &[0]).unwrap();
            }
            expected.sort_unstable();
            // Equal rows were added up and given out again.
            assert_eq!(times(&trace), expected, "epoch {epoch}");
        }
        let probes: Vec<Option<i64>> = vec![Some(0), None, Some(11_390), Some(11_410)];
        let found = trace.lookup(batch(probes.clone()).columns().get(..1).unwrap()).unwrap();
        let weight_of = |probe: u32| (0..found.probe.len()).filter(|&i| found.probe[i] == probe).map(|i| found.rows.weight(i)).sum::<i64>();
        let count = |time: Option<i64>| expected.iter().filter(|t| **t == time).count() as i64;
        assert_eq!([0, 1, 2, 3].map(weight_of), [0, count(None), count(Some(11_390)), count(Some(11_410))]);
        assert_eq!(trace.weights_of(&batch(probes.clone())).unwrap(), [0, count(None), count(Some(11_390)), count(Some(11_410))]);
        let (edges, _) = trace.edge(batch(probes).columns().get(..1).unwrap(), End::First).unwrap();
        assert_eq!(edges.iter().map(Option::is_some).collect::<Vec<_>>(), [false, true, true, true]);
        for _ in 0..40 {
            trace.insert(ChangeBatch::insertions(batch(vec![Some(20_000); 50]))).unwrap();
            trace.forget_below(20_000).unwrap();
            base.commit(|epoch, writes| trace.flush(epoch, writes).unwrap());
        }
        assert!(base.count_blocks() < 15, "{} blocks", base.count_blocks());
        assert!(trace.forget_below(5).is_ok());
        assert_eq!(times(&trace).iter().flatten().min(), Some(&20_000), "the floor never sinks");
    }
}
