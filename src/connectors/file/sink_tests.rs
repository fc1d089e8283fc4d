//! The file sink: what is delivered is there once, whatever happens in between.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use headwater_types::{ChangeBatch, Epoch, ErrorKind, Result};
use parquet::arrow::arrow_reader::ParquetRecordBatchReader;
use uuid::Uuid;

use super::File;
use crate::{Connector, Delivery, Encoding, Format, Mark, Options, Sink, SinkDefinition};

fn definition(directory: &Path, encoding: Encoding) -> SinkDefinition {
    SinkDefinition {
        name: String::from("out"),
        uuid: Uuid::from_u128(42),
        schema: Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)])),
        key: Vec::new(),
        upsert: false,
        options: Options::from([
            (String::from("path"), directory.display().to_string()),
            (String::from("roll.interval"), String::from("0 seconds")),
        ]),
        format: Format::Plain,
        encoding,
        encoding_options: Options::new(),
    }
}

fn mark(epoch: u64) -> Mark {
    Mark { sink: Uuid::from_u128(42), incarnation: 1, epoch: Epoch(epoch) }
}

/// The epochs after `after` up to `upto`, each with the rows 10 * epoch to 10 * epoch + 9.
fn delivery(definition: &SinkDefinition, after: u64, upto: u64) -> Delivery {
    let batch = |epoch: u64| {
        let numbers = Int64Array::from_iter_values((0..10).map(|n| (epoch * 10 + n).cast_signed()));
        ChangeBatch::insertions(RecordBatch::try_new(definition.schema.clone(), vec![Arc::new(numbers)]).expect("one column"))
    };
    let before = (after > 0).then(|| mark(after));
    Delivery { before, mark: mark(upto), changes: (after + 1..=upto).map(batch).collect() }
}

fn block<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime").block_on(future)
}

fn open(definition: &SinkDefinition) -> Box<dyn Sink> {
    File.open_sink(definition).expect("good options")
}

fn deliver(sink: &mut dyn Sink, delivery: &Delivery) -> Result<()> {
    block(sink.deliver(delivery))
}

/// The visible files in the order of their names, and the numbers in them.
fn files(directory: &Path) -> (Vec<String>, Vec<i64>) {
    let all = fs::read_dir(directory).expect("a directory").map(|e| e.expect("an entry").file_name().into_string().expect("text"));
    let names: BTreeSet<String> = all.filter(|n| !n.starts_with('.')).collect();
    let mut numbers = Vec::new();
    for name in &names {
        let path = directory.join(name);
        if name.ends_with("json") {
            for line in fs::read_to_string(path).expect("text").lines() {
                let row: serde_json::Value = serde_json::from_str(line).expect("JSON");
                numbers.push(row["n"].as_i64().expect("a number"));
            }
        } else {
            for batch in ParquetRecordBatchReader::try_new(fs::File::open(path).expect("a file"), 1024).expect("Parquet") {
                numbers.extend_from_slice(batch.expect("rows").column(0).as_primitive::<Int64Type>().values());
            }
        }
    }
    (names.into_iter().collect(), numbers)
}

#[test]
fn deliveries_are_there_once_and_the_names_tell_the_mark() {
    for encoding in [Encoding::Json, Encoding::Parquet] {
        let dir = tempfile::tempdir().expect("a directory");
        let definition = definition(dir.path(), encoding);
        let mut sink = open(&definition);
        assert_eq!(block(sink.mark()).expect("readable"), None);
        deliver(&mut *sink, &delivery(&definition, 0, 2)).expect("delivered");
        deliver(&mut *sink, &delivery(&definition, 2, 3)).expect("delivered");
        // The reply was lost: the same delivery again changes nothing.
        let mut sink = open(&definition);
        deliver(&mut *sink, &delivery(&definition, 2, 3)).expect("it is there");
        // Epochs without changes moved the mark kept elsewhere to 7.
        deliver(&mut *sink, &delivery(&definition, 7, 8)).expect("delivered");
        let (names, numbers) = files(dir.path());
        assert_eq!(numbers, (10..40).chain(80..90).collect::<Vec<_>>());
        assert_eq!(names.len(), 3);
        assert!(
            names[0].starts_with("out-0000000000000000000000000000002a-000001-00000000000000000000-00000000000000000002-0001-of-0001.")
        );
        // Readers take the files away, or the mark file is lost: the other tells.
        fs::remove_file(dir.path().join(&names[2])).expect("removed");
        assert_eq!(block(open(&definition).mark()).expect("readable"), Some(mark(8)));
        let hidden = dir.path().join(".0000000000000000000000000000002a.mark");
        fs::remove_file(hidden).expect("removed");
        assert_eq!(block(open(&definition).mark()).expect("readable"), Some(mark(3)));
        let error = deliver(&mut *open(&definition), &delivery(&definition, 1, 2)).expect_err("the files are ahead");
        assert_eq!(error.kind(), ErrorKind::Fenced);
    }
}

#[test]
fn a_crash_at_any_step_leaves_all_of_a_delivery_or_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut definition = definition(dir.path(), Encoding::Json);
    definition.options.insert(String::from("roll.bytes"), String::from("1"));
    deliver(&mut *open(&definition), &delivery(&definition, 0, 3)).expect("delivered");
    let (names, _) = files(dir.path());
    assert_eq!(names.len(), 3, "a file for each batch");
    assert!(names[2].ends_with("-0003-of-0003.json"));
    // What a crash after `named` renames leaves: the other parts under temporary names, no mark file.
    for named in 0..=3 {
        let crashed = tempfile::tempdir().expect("a directory");
        for (at, name) in names.iter().enumerate() {
            let left = if at < named { name.clone() } else { format!(".{}.tmp", name.replace("of-0003", "of-0000")) };
            fs::copy(dir.path().join(name), crashed.path().join(left)).expect("copied");
        }
        let mut again = definition.clone();
        again.options.insert(String::from("path"), crashed.path().display().to_string());
        let mut sink = open(&again);
        let held = block(sink.mark()).expect("readable");
        assert_eq!(held, (named > 0).then(|| mark(3)), "{named} renamed");
        // The next delivery goes on from there, perhaps cut otherwise.
        let after = held.map_or(0, |m| m.epoch.0);
        deliver(&mut *sink, &delivery(&again, after, 5)).expect("delivered");
        let (found, numbers) = files(crashed.path());
        assert_eq!(numbers, (10..60).collect::<Vec<_>>(), "{named} renamed");
        assert_eq!(found.len(), 5);
        let hidden = fs::read_dir(crashed.path())
            .expect("a directory")
            .filter(|e| e.as_ref().is_ok_and(|e| e.path().extension().is_some_and(|x| x == "tmp")));
        assert_eq!(hidden.count(), 0);
    }
}

#[test]
fn what_files_cannot_do_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let good = definition(dir.path(), Encoding::Json);
    let mut sink = open(&good);
    let row = delivery(&good, 0, 1).changes.remove(0).slice(0, 1);
    let twice = Delivery { changes: vec![ChangeBatch::new(row.rows().clone(), vec![2]).expect("a weight")], ..delivery(&good, 0, 1) };
    deliver(&mut *sink, &twice).expect("delivered");
    assert_eq!(files(dir.path()).1, [10, 10]);
    let error = deliver(&mut *sink, &Delivery { changes: vec![row.negate()], ..delivery(&good, 1, 2) }).expect_err("a deletion");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert_eq!(files(dir.path()).0.len(), 1);
    assert!(block(sink.rewrite(vec![], mark(3))).is_err());

    let refused = |change: &dyn Fn(&mut SinkDefinition)| {
        let mut bad = good.clone();
        change(&mut bad);
        File.check_sink(&bad).expect_err("a bad option").to_string()
    };
    assert!(refused(&|d| d.upsert = true).contains("append-only"));
    assert!(refused(&|d| d.encoding = Encoding::Csv).contains("ENCODE CSV"));
    assert!(refused(&|d| drop(d.options.insert("roll.byte".into(), "1".into()))).contains("did you mean 'roll.bytes'"));
    assert!(refused(&|d| drop(d.options.insert("prefix".into(), "a/b".into()))).contains("cannot begin"));
    assert!(refused(&|d| drop(d.options.remove("path"))).contains("needs the option 'path'"));
    let missing = definition(&dir.path().join("nowhere"), Encoding::Json);
    let error = block(open(&missing).mark()).expect_err("no directory");
    assert!(error.kind() == ErrorKind::Invalid && error.message().contains("does not exist"));
}
