//! Relations: their rows, their outbox, their append-only shape, DROP, over reopens and on both stores.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

mod support;

use headwater_state::{Relation, Shape, TableId, Writes};
use headwater_types::{ChangeBatch, Epoch, ErrorKind, ObjectId};
use support::{Row, TestStore, changes, keys, read_changes, read_rows, read_scan, rows, schema};

const ID: TableId = TableId { object: ObjectId(3), number: TableId::ROWS };

fn open(base: &TestStore, shape: &Shape) -> Relation {
    Relation::open(base.store(), ID, schema(), shape.clone()).unwrap()
}

fn row(key: i64, value: &str) -> Row {
    (Some(key), Some(value.to_string()))
}

fn kept(relation: &Relation, after: u64) -> Vec<(u64, Vec<(Row, i64)>)> {
    let epochs: Vec<_> = relation.epochs_after(Epoch(after)).collect::<Result<_, _>>().unwrap();
    let list = |batches: Vec<ChangeBatch>| {
        batches.iter().flat_map(|b| read_rows(b.rows()).into_iter().zip(b.weights_or_ones().to_vec())).collect::<Vec<(Row, i64)>>()
    };
    epochs.into_iter().map(|(epoch, batches)| (epoch.0, list(batches))).collect()
}

#[test]
fn the_outbox_survives_reopen_and_release_frees_it() {
    for (on_disk, shape) in
        [(false, Shape::Keyed(vec![0])), (true, Shape::Keyed(vec![0])), (false, Shape::AppendOnly), (true, Shape::AppendOnly)]
    {
        let mut base = TestStore::new(on_disk);
        let mut relation = open(&base, &shape);
        relation.apply(changes(&[(row(0, "before"), 1)])).unwrap();
        base.commit(|epoch, writes| relation.flush(epoch, writes).unwrap());
        relation.keep_epochs(true);
        for epoch in 2..=40 {
            if epoch % 5 != 0 {
                relation.apply(changes(&[(row(epoch, "x"), 1)])).unwrap();
            }
            base.commit(|epoch, writes| relation.flush(epoch, writes).unwrap());
        }
        let expected: Vec<(u64, Vec<(Row, i64)>)> = (2..=40).filter(|e| e % 5 != 0).map(|e| (e as u64, vec![(row(e, "x"), 1)])).collect();
        assert_eq!(kept(&relation, 0), expected);
        assert_eq!(kept(&relation, 38), expected[expected.len() - 1..]);
        assert!(relation.kept_bytes() > 0);
        drop(relation);
        base.reopen();
        let mut relation = open(&base, &shape);
        assert_eq!(kept(&relation, 0), expected);
        relation.release(Epoch(20));
        assert_eq!(kept(&relation, 0)[0].0, 21);
        for _ in 0..4 {
            base.commit(|epoch, writes| relation.flush(epoch, writes).unwrap());
        }
        let with_outbox = base.count_blocks();
        drop(relation);
        base.reopen();
        let mut relation = open(&base, &shape);
        assert_eq!(kept(&relation, 0)[0].0, 21);
        assert_eq!(relation.rows(), 32);
        assert_eq!(read_scan(&relation.snapshot()).len(), 32);
        relation.release(Epoch(40));
        for _ in 0..4 {
            base.commit(|epoch, writes| relation.flush(epoch, writes).unwrap());
        }
        assert_eq!(relation.kept_bytes(), 0);
        assert!(base.count_blocks() <= with_outbox - 10, "{} of {with_outbox} blocks", base.count_blocks());
        assert_eq!(read_scan(&relation.snapshot()).len(), 32);
    }
}

#[test]
fn an_append_only_relation_keeps_order_and_few_blocks() {
    for on_disk in [false, true] {
        let mut base = TestStore::new(on_disk);
        let mut relation = open(&base, &Shape::AppendOnly);
        let mut expected = Vec::new();
        for epoch in 0..1_000i64 {
            let new: Vec<Row> = (0..1 + epoch % 30).map(|i| row(-epoch, &i.to_string())).collect();
            relation.apply(ChangeBatch::insertions(rows(&new))).unwrap();
            expected.extend(new);
            if epoch == 500 {
                // Not yet flushed, but there.
                assert_eq!(read_scan(&relation.snapshot()), expected);
            }
            base.commit(|epoch, writes| relation.flush(epoch, writes).unwrap());
            if epoch % 300 == 299 {
                drop(relation);
                base.reopen();
                relation = open(&base, &Shape::AppendOnly);
            }
        }
        assert_eq!(read_scan(&relation.snapshot()), expected);
        assert_eq!(relation.rows(), expected.len() as u64);
        assert!(base.count_blocks() < 60, "{} blocks of {} rows", base.count_blocks(), expected.len());
        let projected = relation.snapshot().scan(Some(&[1])).unwrap().next().unwrap().unwrap();
        assert_eq!(projected.num_columns(), 1);
        assert_eq!(relation.lookup(&keys(&[Some(1)])).unwrap_err().kind(), ErrorKind::Unsupported);
        assert_eq!(relation.apply(changes(&[(row(1, "a"), -1)])).unwrap_err().kind(), ErrorKind::Bug);
    }
}

#[test]
fn trimming_drops_the_oldest() {
    let mut base = TestStore::new(false);
    let mut relation = open(&base, &Shape::AppendOnly);
    for epoch in 0..200i64 {
        let new: Vec<Row> = (0..100).map(|i| row(epoch, &format!("{}", i * 7_919))).collect();
        relation.apply(ChangeBatch::insertions(rows(&new))).unwrap();
        relation.trim(20_000).unwrap();
        base.commit(|epoch, writes| relation.flush(epoch, writes).unwrap());
    }
    let left = read_scan(&relation.snapshot());
    assert!(left.len() < 10_000 && left.len() >= 100, "{} rows", left.len());
    assert_eq!(left.last().unwrap().0, Some(199));
    assert!(left.is_sorted_by_key(|row| row.0));
    drop(relation);
    base.reopen();
    assert_eq!(read_scan(&open(&base, &Shape::AppendOnly).snapshot()), left);
}

#[test]
fn rows_are_repeated_by_their_weight() {
    let mut base = TestStore::new(false);
    let mut relation = open(&base, &Shape::Keyed(vec![]));
    relation.apply(changes(&[(row(1, "a"), 3), (row(2, "b"), 20_000), (row(3, "c"), 1)])).unwrap();
    base.commit(|epoch, writes| relation.flush(epoch, writes).unwrap());
    let scanned = read_scan(&relation.snapshot());
    assert_eq!(scanned.len(), 20_004);
    assert_eq!(relation.rows(), 20_004);
    assert_eq!(scanned[2..4], [row(1, "a"), row(2, "b")]);
    let sizes: Vec<usize> = relation.snapshot().scan(Some(&[0])).unwrap().map(|b| b.unwrap().num_rows()).collect();
    assert!(sizes.iter().all(|&n| n <= 8_192), "{sizes:?}");
    assert_eq!(relation.weights_of(&rows(&[row(2, "b"), row(9, "z")])).unwrap(), [20_000, 0]);
    assert_eq!(relation.lookup(&[]).unwrap_err().kind(), ErrorKind::Unsupported);
}

#[test]
fn a_row_there_fewer_than_zero_times_is_a_bug() {
    let mut base = TestStore::new(false);
    let mut relation = open(&base, &Shape::Keyed(vec![0]));
    relation.apply(changes(&[(row(1, "a"), 1)])).unwrap();
    base.commit(|epoch, writes| relation.flush(epoch, writes).unwrap());
    relation.apply(changes(&[(row(1, "a"), -2)])).unwrap();
    let error = relation.flush(Epoch(9), &mut Writes::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Bug);
    assert!(error.message().contains("object 3") && error.to_string().contains("| 1 | a |"), "{error}");
}

#[test]
fn dropping_an_object_leaves_nothing_and_spares_its_readers() {
    let mut base = TestStore::new(false);
    let (mut relation, mut log) = (
        open(&base, &Shape::Keyed(vec![0])),
        Relation::open(base.store(), TableId::new(ID.object, TableId::LATE), schema(), Shape::AppendOnly).unwrap(),
    );
    let mut other = Relation::open(base.store(), TableId::new(ObjectId(4), 0), schema(), Shape::AppendOnly).unwrap();
    relation.keep_epochs(true);
    for epoch in 0..50 {
        let new = changes(&[(row(epoch, "x"), 1)]);
        for target in [&mut relation, &mut log, &mut other] {
            target.apply(new.clone()).unwrap();
        }
        base.commit(|epoch, writes| [&mut relation, &mut log, &mut other].into_iter().for_each(|r| r.flush(epoch, writes).unwrap()));
    }
    let snapshot = relation.snapshot();
    drop(relation);
    drop(log);
    let store = base.store().clone();
    base.commit(|_, writes| store.drop_object(ID.object, writes).unwrap());
    base.commit(|_, _| {});
    assert_eq!(read_changes(&snapshot).len(), 50);
    drop(snapshot);
    base.commit(|_, _| {});
    base.commit(|_, _| {});
    let blocks_left = base.count_blocks();
    drop(other);
    drop(store);
    base.reopen();
    assert_eq!(base.count_blocks(), blocks_left, "a restart finds nothing more to delete");
    assert_eq!(open(&base, &Shape::AppendOnly).rows(), 0);
    let other = Relation::open(base.store(), TableId::new(ObjectId(4), 0), schema(), Shape::AppendOnly).unwrap();
    assert_eq!(other.rows(), 50);
    assert!(blocks_left <= 20, "{blocks_left} blocks of the other relation");
}
