//! The file source as the runtime reads it: every place resumable, appended lines found, damage named.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, ArrayRef, AsArray, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, TimeUnit};
use headwater_types::{ErrorKind, HeldClock, Result};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;

use super::File;
use crate::{Connector, Encoding, Format, Include, Options, Partition, Position, Positions, Reject, Source, SourceDefinition, SourceEvent};

fn definition(path: &str, encoding: Encoding) -> SourceDefinition {
    let fields = vec![Field::new("n", DataType::Int64, false), Field::new("t", DataType::Utf8, true)];
    SourceDefinition {
        name: String::from("s"),
        schema: Arc::new(Schema::new(fields)),
        options: Options::from([(String::from("path"), String::from(path))]),
        format: Format::Plain,
        encoding,
        encoding_options: Options::new(),
        includes: Vec::new(),
    }
}

fn watching(path: &str) -> SourceDefinition {
    let mut definition = definition(path, Encoding::Json);
    definition.options.insert(String::from("mode"), String::from("watch"));
    definition
}

fn open(definition: &SourceDefinition, positions: &Positions, readers: usize) -> Result<Vec<Box<dyn Source>>> {
    File.open_source(definition, positions, readers, Arc::new(HeldClock::at(0)))
}

fn lines(from: i64, count: i64) -> String {
    (from..from + count).map(|n| format!("{{\"n\":{n},\"t\":\"row {n}\"}}\n")).collect()
}

fn append(path: &Path, text: &str) {
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).expect("a writable file");
    file.write_all(text.as_bytes()).expect("written");
}

#[derive(Default)]
struct Read {
    batches: Vec<(Partition, RecordBatch, Position)>,
    rejects: Vec<Reject>,
    told: Vec<String>,
}

impl Read {
    fn take(&mut self, events: Vec<SourceEvent>) {
        for event in events {
            self.told.push(match event {
                SourceEvent::Rows(batch) => {
                    assert!(batch.rows.num_rows() <= 8192);
                    self.batches.push((batch.partition.clone(), batch.rows, batch.next));
                    self.rejects.extend(batch.rejects);
                    format!("rows {}", name(&batch.partition))
                }
                SourceEvent::Found(partition, _) => format!("found {}", name(&partition)),
                SourceEvent::AtEnd(partition) => format!("end {}", name(&partition)),
                SourceEvent::Closed(partition) => format!("closed {}", name(&partition)),
                SourceEvent::Flushed(token) => format!("flushed {token}"),
                SourceEvent::Finished => String::from("finished"),
                SourceEvent::State(state) => format!("state {}", state.is_some()),
            });
        }
    }

    fn numbers(&self) -> Vec<i64> {
        self.batches.iter().flat_map(|(_, b, _)| b.column(0).as_primitive::<Int64Type>().values().to_vec()).collect()
    }

    fn positions(&self) -> Positions {
        self.batches.iter().map(|(partition, _, position)| (partition.clone(), position.clone())).collect()
    }
}

fn name(partition: &Partition) -> &str {
    partition.rsplit('/').next().unwrap_or(partition)
}

/// Reads a bounded source to its end with one reader.
fn read(definition: &SourceDefinition, positions: &Positions) -> Result<Read> {
    let mut read = Read::default();
    let mut reader = open(definition, positions, 1)?.remove(0);
    while read.told.last().is_none_or(|t| t != "finished") {
        let mut events = Vec::new();
        reader.poll(Duration::from_millis(10), &mut events)?;
        read.take(events);
    }
    Ok(read)
}

/// Polls until `until` has been told, or for two seconds.
fn poll_until(reader: &mut dyn Source, read: &mut Read, until: &str) {
    for _ in 0..200 {
        let mut events = Vec::new();
        reader.poll(Duration::from_millis(10), &mut events).expect("readable");
        read.take(events);
        if read.told.iter().any(|t| t == until) {
            return;
        }
    }
    panic!("never told '{until}': {:?}", read.told);
}

#[test]
fn files_are_read_in_the_order_of_their_names_to_their_ends() {
    let dir = tempfile::tempdir().expect("a directory");
    append(&dir.path().join("b.json"), &lines(20_000, 10));
    append(&dir.path().join("a.json"), &lines(0, 20_000));
    append(&dir.path().join("c.json"), "{\"n\":30000}\r\n\n   \n{\"n\":30001}");
    append(&dir.path().join("other.txt"), "no");
    let pattern = format!("{}/*.json", dir.path().display());
    let definition = definition(&pattern, Encoding::Json);
    let capabilities = File.check_source(&definition).expect("good options");
    assert!(capabilities.bounded && capabilities.replayable);
    let start = File.start(&definition).expect("files are there");
    assert_eq!(start.len(), 3);
    let whole = read(&definition, &start).expect("readable");
    let expected: Vec<i64> = (0..20_010).chain([30_000, 30_001]).collect();
    assert_eq!(whole.numbers(), expected);
    let told: Vec<&str> = whole.told.iter().map(String::as_str).filter(|t| !t.starts_with("rows")).collect();
    let ends = ["end a.json", "closed a.json", "end b.json", "closed b.json", "end c.json", "closed c.json", "finished"];
    assert_eq!(told, ends);
    assert_eq!(read(&definition, &Positions::new()).expect("readable").told[..3], ["found a.json", "found b.json", "found c.json"]);
    // At the end again there is nothing left, even without the files.
    assert_eq!(read(&definition, &whole.positions()).expect("readable").numbers(), Vec::<i64>::new());
    std::fs::remove_file(dir.path().join("a.json")).expect("removed");
    assert_eq!(read(&definition, &whole.positions()).expect("readable").told[0], "closed a.json");
    let error = read(&definition, &start).err().expect("a file is missing");
    assert!(error.kind() == ErrorKind::External && error.message().contains("a.json' has vanished"), "{error}");
}

#[test]
fn several_readers_share_the_files() {
    let dir = tempfile::tempdir().expect("a directory");
    for file in 0..5 {
        append(&dir.path().join(format!("{file}.json")), &lines(file * 1000, 1000));
    }
    let readers = open(&definition(&format!("{}/*", dir.path().display()), Encoding::Json), &Positions::new(), 3).expect("open");
    assert_eq!(readers.len(), 3);
    let mut read = Read::default();
    for mut reader in readers {
        let mut events = Vec::new();
        while !matches!(events.last(), Some(SourceEvent::Finished)) {
            reader.poll(Duration::from_millis(1), &mut events).expect("readable");
        }
        read.take(events);
    }
    let mut numbers = read.numbers();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..5000).collect::<Vec<_>>());
}

/// The rest from every position equals the rest of the whole, rejects included.
fn resumes_everywhere(definition: &SourceDefinition) {
    let whole = read(definition, &Positions::new()).expect("readable");
    let schema = definition.schema.clone();
    let all = |read: &Read| concat_batches(&schema, read.batches.iter().map(|(_, b, _)| b)).expect("one schema");
    assert!(whole.batches.len() > 2, "{} batches", whole.batches.len());
    let mut rows = 0;
    for (partition, batch, position) in &whole.batches {
        rows += batch.num_rows();
        let rest = read(definition, &Positions::from([(partition.clone(), position.clone())])).expect("readable");
        assert_eq!(all(&rest), all(&whole).slice(rows, all(&whole).num_rows() - rows));
        let places = |rejects: &[Reject]| rejects.iter().map(|r| (r.position.clone(), r.reason.clone())).collect::<Vec<_>>();
        assert!(places(&whole.rejects).ends_with(&places(&rest.rejects)));
    }
}

/// A reader that is told to stop at a position of its one file stops there, wherever it began, and tells no end.
fn stops_everywhere(definition: &SourceDefinition) {
    let whole = read(definition, &Positions::new()).expect("readable");
    let mut from = Positions::new();
    for (at, (partition, _, position)) in whole.batches.iter().enumerate() {
        let upto = Positions::from([(partition.clone(), position.clone())]);
        let mut reader = open(definition, &from, 1).expect("opened").remove(0);
        reader.stop_at(&upto).expect("told");
        reader.flush(1).expect("noted");
        let mut stopped = Read::default();
        for _ in 0..at + 4 {
            let mut events = Vec::new();
            reader.poll(Duration::from_millis(1), &mut events).expect("readable");
            stopped.take(events);
        }
        let rows = |read: &Read, batches: std::ops::Range<usize>| read.batches[batches].iter().map(|(_, b, _)| b.num_rows()).sum::<usize>();
        let expected = rows(&whole, if from.is_empty() { 0..at + 1 } else { at..at + 1 });
        assert_eq!(rows(&stopped, 0..stopped.batches.len()), expected);
        assert_eq!(stopped.positions(), upto);
        assert!(stopped.told.iter().all(|t| t.starts_with("rows") || t.starts_with("found")), "{:?}", stopped.told);
        // Every second one goes on from where the last one stopped.
        from = if at % 2 == 0 { upto } else { Positions::new() };
    }
}

#[test]
fn a_watching_reader_stops_where_it_is_told_and_leaves_other_files() {
    let dir = tempfile::tempdir().expect("a directory");
    let (a, b) = (dir.path().join("a.json"), dir.path().join("b.json"));
    append(&a, &lines(0, 10));
    append(&b, &lines(100, 10));
    let definition = watching(&format!("{}/*.json", dir.path().display()));
    let mut shared = open(&definition, &Positions::new(), 1).expect("opened").remove(0);
    let mut read = Read::default();
    poll_until(shared.as_mut(), &mut read, "end a.json");
    let upto: Positions = read.positions().into_iter().filter(|(partition, _)| name(partition) == "a.json").collect();
    append(&a, &lines(10, 10));
    let mut private = open(&definition, &Positions::new(), 1).expect("opened").remove(0);
    private.stop_at(&upto).expect("told");
    let mut read = Read::default();
    for _ in 0..10 {
        let mut events = Vec::new();
        private.poll(Duration::from_millis(1), &mut events).expect("readable");
        read.take(events);
    }
    assert_eq!(read.numbers(), (0..10).collect::<Vec<_>>());
    assert_eq!(read.positions(), upto);
    assert!(read.told.iter().any(|t| t == "found b.json"), "{:?}", read.told);
}

#[test]
fn every_position_in_json_and_csv_gives_the_same_rest() {
    let dir = tempfile::tempdir().expect("a directory");
    let json: String = (0..30_000).map(|n| if n % 1_000 == 7 { String::from("garbage\n") } else { lines(n, 1) }).collect();
    append(&dir.path().join("a.json"), &json);
    let mut made = definition(&format!("{}/a.json", dir.path().display()), Encoding::Json);
    resumes_everywhere(&made);
    stops_everywhere(&made);
    let whole = read(&made, &Positions::new()).expect("readable");
    assert_eq!(whole.rejects.len(), 30);
    assert!(whole.rejects[1].position.starts_with("line 1008, byte ") && whole.rejects[1].payload == b"garbage");
    made.schema = Arc::new(Schema::new(vec![
        Field::new("n", DataType::Int64, false),
        Field::new("from", DataType::Utf8, true),
        Field::new("byte", DataType::Int64, true),
    ]));
    made.includes = vec![Include { what: String::from("file"), column: 1 }, Include { what: String::from("offset"), column: 2 }];
    resumes_everywhere(&made);
    stops_everywhere(&made);
    let batch = &read(&made, &Positions::new()).expect("readable").batches[0].1;
    assert!(batch.column(1).as_string::<i32>().value(5).ends_with("a.json"));
    assert_eq!(batch.column(2).as_primitive::<Int64Type>().value(1), 20);

    let csv: String = (0..30_000).map(|n| format!("\"line\n{n}\",{n},x\n")).collect();
    append(&dir.path().join("a.csv"), &format!("t,n,other\n{csv}"));
    let mut made = definition(&format!("{}/a.csv", dir.path().display()), Encoding::Csv);
    made.encoding_options.insert(String::from("header"), String::from("true"));
    resumes_everywhere(&made);
    stops_everywhere(&made);
    assert_eq!(read(&made, &Positions::new()).expect("readable").numbers(), (0..30_000).collect::<Vec<_>>());
}

#[test]
fn watching_finds_new_files_and_whole_lines() {
    let dir = tempfile::tempdir().expect("a directory");
    let definition = watching(&format!("{}/*.json", dir.path().display()));
    assert!(!File.check_source(&definition).expect("good options").bounded);
    assert_eq!(File.start(&definition).expect("no file yet"), Positions::new());
    let mut reader = open(&definition, &Positions::new(), 1).expect("open").remove(0);
    let mut read = Read::default();
    poll_until(&mut *reader, &mut read, "state true");
    let path = dir.path().join("a.json");
    append(&path, "{\"n\":0}\n{\"n\":");
    poll_until(&mut *reader, &mut read, "end a.json");
    assert_eq!(read.numbers(), [0]);
    append(&path, "1}\n");
    reader.flush(1).expect("noted");
    poll_until(&mut *reader, &mut read, "flushed 1");
    assert_eq!(read.numbers(), [0, 1]);
    append(&dir.path().join("b.json"), &lines(2, 20_000));
    reader.flush(2).expect("noted");
    poll_until(&mut *reader, &mut read, "flushed 2");
    assert_eq!(read.numbers(), (0..20_002).collect::<Vec<_>>());
    assert!(read.told.iter().any(|t| t == "found b.json") && read.told.iter().any(|t| t == "state false"));
    // Opened again it goes on where it stood; two readers divide the files.
    append(&path, &lines(50_000, 1));
    append(&dir.path().join("b.json"), &lines(60_000, 1));
    let mut again = Read::default();
    for mut reader in open(&definition, &read.positions(), 2).expect("open") {
        reader.flush(3).expect("noted");
        again.told.clear();
        poll_until(&mut *reader, &mut again, "flushed 3");
    }
    let mut numbers = again.numbers();
    numbers.sort_unstable();
    assert_eq!(numbers, [50_000, 60_000]);
    // A file read to its end may go, one that shrinks may not.
    std::fs::remove_file(&path).expect("removed");
    reader.flush(4).expect("noted");
    poll_until(&mut *reader, &mut read, "flushed 4");
    poll_until(&mut *reader, &mut read, "closed a.json");
    std::fs::write(dir.path().join("b.json"), "{}").expect("written");
    let error = (0..50).find_map(|_| reader.poll(Duration::from_millis(5), &mut Vec::new()).err()).expect("it shrank");
    assert!(error.message().contains("was cut or replaced"), "{error}");
}

#[test]
fn a_file_that_goes_before_it_was_read_to_its_end_is_waited_for() {
    let dir = tempfile::tempdir().expect("a directory");
    let definition = watching(&format!("{}/*.json", dir.path().display()));
    let (half, other) = (dir.path().join("a.json"), dir.path().join("b.json"));
    append(&half, "{\"n\":0}\n{\"n\":");
    append(&other, &lines(5, 1));
    let mut reader = open(&definition, &Positions::new(), 1).expect("open").remove(0);
    let mut read = Read::default();
    poll_until(&mut *reader, &mut read, "end b.json");
    poll_until(&mut *reader, &mut read, "end a.json");
    std::fs::remove_file(&half).expect("removed");
    let vanished = |reader: &mut dyn Source| (0..50).find_map(|_| reader.poll(Duration::from_millis(5), &mut Vec::new()).err());
    let error = vanished(&mut *reader).expect("half a line was left");
    assert!(error.kind() == ErrorKind::External && error.message().contains("a.json' has vanished"), "{error}");
    // The same after it was opened again; no reader says that it waits for a file while there is one.
    let mut failed = 0;
    for mut reader in open(&definition, &read.positions(), 2).expect("open") {
        let mut events = Vec::new();
        failed += usize::from((0..50).any(|_| reader.poll(Duration::from_millis(5), &mut events).is_err()));
        assert!(!events.iter().any(|e| matches!(e, SourceEvent::State(Some(_)))), "{events:?}");
    }
    assert_eq!(failed, 1);
}

#[test]
fn a_byte_order_mark_is_no_text() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = |name: &str| dir.path().join(name).display().to_string();
    append(&dir.path().join("a.json"), &format!("\u{feff}{}", lines(0, 2)));
    append(&dir.path().join("bare.csv"), "\u{feff}1,x\n");
    append(&dir.path().join("named.csv"), "\u{feff}n,t\n1,x\n2,y\n");
    let json = read(&definition(&path("a.json"), Encoding::Json), &Positions::new()).expect("readable");
    assert_eq!((json.numbers(), json.rejects.len()), (vec![0, 1], 0));
    let bare = read(&definition(&path("bare.csv"), Encoding::Csv), &Positions::new()).expect("readable");
    assert_eq!((bare.numbers(), bare.rejects.len()), (vec![1], 0));
    let mut named = definition(&path("named.csv"), Encoding::Csv);
    named.encoding_options.insert(String::from("header"), String::from("true"));
    let whole = read(&named, &Positions::new()).expect("readable");
    assert_eq!((whole.numbers(), whole.rejects.len()), (vec![1, 2], 0));
    // A header is read again, mark and all, by who goes on behind it.
    append(&dir.path().join("named.csv"), "3,z\n");
    assert_eq!(read(&named, &whole.positions()).expect("readable").numbers(), [3]);
    std::fs::write(dir.path().join("named.csv"), "n,t\n").expect("written");
    let error = read(&named, &whole.positions()).err().expect("it was cut");
    assert!(error.kind() == ErrorKind::Invalid && error.message().contains("was cut or replaced"), "nobody waits for ever: {error}");
    std::fs::write(dir.path().join("named.csv"), "n;t\n1;x\n").expect("written");
    let error = read(&named, &Positions::new()).err().expect("another delimiter");
    assert!(error.message().contains("named.csv': the header lacks column \"n\": it has \"n;t\""), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("delimiter = ';'")), "{:?}", error.hint());
}

#[test]
fn a_file_without_records_is_read_to_its_end() {
    let dir = tempfile::tempdir().expect("a directory");
    append(&dir.path().join("a.json"), "");
    append(&dir.path().join("b.json"), &lines(0, 1));
    let definition = definition(&format!("{}/*.json", dir.path().display()), Encoding::Json);
    let whole = read(&definition, &Positions::new()).expect("readable");
    assert_eq!(whole.positions().len(), 2);
    stops_with(&definition, &whole.positions());
    std::fs::remove_file(dir.path().join("a.json")).expect("removed");
    assert_eq!(read(&definition, &whole.positions()).expect("readable").told[0], "closed a.json");
}

/// A reader from the start that is told to stop at `upto` comes to stand there.
fn stops_with(definition: &SourceDefinition, upto: &Positions) {
    let mut reader = open(definition, &Positions::new(), 1).expect("opened").remove(0);
    reader.stop_at(upto).expect("told");
    let mut stopped = Read::default();
    for _ in 0..upto.len() + 2 {
        let mut events = Vec::new();
        reader.poll(Duration::from_millis(1), &mut events).expect("readable");
        stopped.take(events);
    }
    assert_eq!(stopped.positions(), *upto);
}

#[test]
fn what_cannot_be_read_is_named() {
    let refused = |definition: &SourceDefinition| File.check_source(definition).expect_err("a bad definition").to_string();
    assert!(refused(&definition("/x/a.json.gz", Encoding::Json)).contains("compressed (.gz)"));
    let mut made = definition("/x/a.json", Encoding::Json);
    made.options.insert(String::from("paht"), String::new());
    assert!(refused(&made).contains("did you mean 'path'?"));
    made.options.remove("paht");
    made.options.insert(String::from("mode"), String::from("tail"));
    assert!(refused(&made).contains("'bounded' nor 'watch'"));
    assert!(refused(&definition("/x/[", Encoding::Json)).contains("no pattern"));
    assert!(refused(&definition("/x/a", Encoding::Native)).contains("needs FORMAT"));
    let dir = tempfile::tempdir().expect("a directory");
    let missing = definition(&format!("{}/nothing*.json", dir.path().display()), Encoding::Json);
    assert!(File.start(&missing).expect_err("no file").message().contains("no file matches"));
    append(&dir.path().join("a.gz"), "x");
    let all = definition(&format!("{}/*", dir.path().display()), Encoding::Json);
    assert_eq!(File.start(&all).expect_err("compressed").kind(), ErrorKind::Unsupported);
    std::fs::write(dir.path().join("b.json"), b"\x1f\x8b\x08\0\0\0\0\0").expect("written");
    let path = format!("{}/b.json", dir.path().display());
    for made in [definition(&path, Encoding::Json), watching(&path)] {
        let mut reader = open(&made, &Positions::new(), 1).expect("opened").remove(0);
        let error = (0..5).find_map(|_| reader.poll(Duration::from_millis(1), &mut Vec::new()).err()).expect("no text");
        assert!(error.kind() == ErrorKind::Unsupported && error.message().contains("b.json' is compressed (gzip)"), "{error}");
    }
}

#[test]
fn a_record_without_an_end_is_one_reject() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("a.csv");
    append(&path, "1,x\n2,\"never closed\n");
    append(&path, &"3,y\n".repeat(5 << 20));
    let made = definition(&path.display().to_string(), Encoding::Csv);
    let read = read(&made, &Positions::new()).expect("readable");
    assert_eq!(read.rejects.len(), 1);
    assert!(read.rejects[0].reason.contains("more than 16777216 bytes") && read.rejects[0].payload.len() == 64 << 10);
    assert!(read.numbers().len() > 1_000_000 && read.numbers()[1] == 3);
}

fn write_parquet(path: &Path, columns: Vec<(&str, ArrayRef)>) {
    let batch = RecordBatch::try_from_iter(columns).expect("columns of one length");
    let file = std::fs::File::create(path).expect("a writable file");
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(9_000)).build();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).expect("a writer");
    writer.write(&batch).expect("written");
    writer.close().expect("closed");
}

#[test]
fn parquet_is_projected_checked_and_resumed() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("a.parquet");
    let numbers: ArrayRef = Arc::new(Int32Array::from_iter((0..30_000).map(|n| (n % 5_000 != 3).then_some(n))));
    let times: ArrayRef = Arc::new(TimestampMillisecondArray::from_iter_values(0..30_000));
    let unused: ArrayRef = Arc::new(Int64Array::from_iter_values(0..30_000));
    write_parquet(&path, vec![("unused", unused), ("at", times), ("n", numbers)]);
    let mut made = definition(&path.display().to_string(), Encoding::Parquet);
    made.schema = Arc::new(Schema::new(vec![
        Field::new("n", DataType::Int64, false),
        Field::new("t", DataType::Utf8, true),
        Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, None), true),
        Field::new("row", DataType::Int64, true),
    ]));
    made.includes = vec![Include { what: String::from("offset"), column: 3 }];
    File.check_source(&made).expect("good options");
    resumes_everywhere(&made);
    stops_everywhere(&made);
    let whole = read(&made, &Positions::new()).expect("readable");
    assert_eq!(whole.rejects.len(), 6);
    assert_eq!(whole.rejects[1].position, "row 5003");
    assert_eq!(whole.rejects[1].reason, "column \"n\" is NOT NULL");
    assert_eq!(whole.numbers(), (0..30_000).filter(|n| n % 5_000 != 3).collect::<Vec<_>>());
    let first = &whole.batches[0].1;
    assert_eq!(first.column(1).null_count(), first.num_rows());
    assert_eq!(first.column(3).as_primitive::<Int64Type>().value(3), 4);
    assert_eq!(whole.told[whole.told.len() - 3..], ["end a.parquet", "closed a.parquet", "finished"]);

    write_parquet(&path, vec![("n", Arc::new(StringArray::from(vec!["x"])))]);
    let error = read(&made, &Positions::new()).err().expect("another type");
    assert!(error.message().contains("column \"n\" is VARCHAR there and declared as BIGINT"), "{error}");
    std::fs::write(&path, "no parquet").expect("written");
    assert!(read(&made, &Positions::new()).err().expect("no Parquet").message().contains("cannot be read as Parquet"));
}

/// Prints the speed of reading NDJSON beside Arrow's; run it with `--ignored --nocapture` on an idle machine.
#[test]
#[ignore = "a measurement"]
fn measured_against_arrow_json() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("a.json");
    append(&path, &lines(0, 1_000_000));
    let made = definition(&path.display().to_string(), Encoding::Json);
    let clock = HeldClock::at(0);
    let elapsed = || headwater_types::Clock::elapsed(&clock).as_secs_f64();
    for _ in 0..3 {
        let start = elapsed();
        assert_eq!(read(&made, &Positions::new()).expect("readable").numbers().len(), 1_000_000);
        let ours = elapsed() - start;
        let start = elapsed();
        let file = std::io::BufReader::with_capacity(1 << 20, std::fs::File::open(&path).expect("a file"));
        let reader = arrow::json::ReaderBuilder::new(made.schema.clone()).with_batch_size(8192).build(file).expect("a reader");
        assert_eq!(reader.map(|b| b.expect("good rows").num_rows()).sum::<usize>(), 1_000_000);
        let arrows = elapsed() - start;
        println!("NDJSON file: ours {:.2} M/s, arrow-json {:.2} M/s, ratio {:.2}", 1.0 / ours, 1.0 / arrows, arrows / ours);
    }
}
