//! The Kafka source: start modes, rejects, flushes, new partitions, transactions, lost offsets, a killed broker, and how fast it is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::AsArray;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, TimeUnit};
use headwater_types::{Clock, ErrorKind, SystemClock};
use rdkafka::producer::Producer;

use super::kafka_topic::{Topic, WAIT};
use super::services::{may_kill, service, services};
use crate::{Connector, Encoding, Format, Include, Options, Position, Positions, Source, SourceBatch, SourceDefinition, SourceEvent, all};

fn definition(topic: &Topic, more: &[(&str, &str)]) -> SourceDefinition {
    SourceDefinition {
        name: "src".into(),
        schema: Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)])),
        options: topic.options(more),
        format: Format::Plain,
        encoding: Encoding::Json,
        encoding_options: Options::new(),
        includes: Vec::new(),
    }
}

fn kafka() -> Arc<dyn Connector> {
    all().get("kafka").expect("registered").clone()
}

fn readers(definition: &SourceDefinition, positions: &Positions, readers_max: usize) -> Vec<Box<dyn Source>> {
    let clock = Arc::new(SystemClock::default());
    kafka().open_source(definition, positions, readers_max, clock).expect("the broker answers")
}

/// Where the source starts, and its readers there.
fn started(definition: &SourceDefinition, readers_max: usize) -> (Positions, Vec<Box<dyn Source>>) {
    kafka().check_source(definition).expect("the options are right");
    let positions = kafka().start(definition).expect("the broker answers");
    let readers = readers(definition, &positions, readers_max);
    (positions, readers)
}

/// What a reader told so far.
#[derive(Default)]
struct Told {
    batches: Vec<SourceBatch>,
    others: Vec<SourceEvent>,
}

impl Told {
    /// Polls `reader` until `enough`.
    fn until(&mut self, reader: &mut dyn Source, mut enough: impl FnMut(&Told) -> bool) {
        let begun = SystemClock::default();
        let mut events = Vec::new();
        while !enough(self) {
            assert!(begun.elapsed() < WAIT, "{} rows, {:?}", self.rows(), self.others);
            reader.poll(Duration::from_millis(50), &mut events).expect("the reader goes on");
            for event in events.drain(..) {
                match event {
                    SourceEvent::Rows(batch) => self.batches.push(batch),
                    other => self.others.push(other),
                }
            }
        }
    }

    fn flushed(&self, token: u64) -> bool {
        self.others.iter().any(|e| matches!(e, SourceEvent::Flushed(t) if *t == token))
    }

    fn rows(&self) -> usize {
        self.batches.iter().map(|b| b.rows.num_rows()).sum()
    }

    fn rejects(&self) -> usize {
        self.batches.iter().map(|b| b.rejects.len()).sum()
    }

    fn values(&self) -> Vec<i64> {
        let mut values: Vec<i64> = Vec::new();
        self.batches.iter().for_each(|b| values.extend(b.rows.column(0).as_primitive::<Int64Type>().values()));
        values.sort_unstable();
        values
    }

    fn positions(&self, mut from: Positions) -> Positions {
        self.batches.iter().for_each(|b| drop(from.insert(b.partition.clone(), b.next.clone())));
        from
    }
}

fn json(numbers: std::ops::Range<i64>) -> Vec<String> {
    numbers.map(|n| format!("{{\"n\":{n}}}")).collect()
}

fn spread(records: &[String], partitions: usize) -> impl Iterator<Item = (i32, &str)> {
    records.iter().enumerate().map(move |(i, r)| (i32::try_from(i % partitions).expect("few"), r.as_str()))
}

#[tokio::test(flavor = "multi_thread")]
async fn two_readers_share_the_partitions_and_go_on_from_their_positions() {
    let Some(service) = service("HEADWATER_KAFKA", "two_readers_share_the_partitions_and_go_on_from_their_positions").await else { return };
    let topic = Topic::create(&service.address, 3).await;
    let producer = topic.producer(None);
    let mut records = json(0..3000);
    records.extend(["garbage".to_owned(), "{\"n\":\"x\"}".to_owned()]);
    topic.write(&producer, spread(&records, 3));
    let definition = definition(&topic, &[]);
    let (mut positions, mut readers) = started(&definition, 2);
    assert_eq!(readers.len(), 2);
    let (mut values, mut rejects) = (Vec::new(), 0);
    for reader in &mut readers {
        reader.flush(7).expect("asked");
        let mut told = Told::default();
        told.until(reader.as_mut(), |t| t.flushed(7));
        assert!(told.batches.iter().all(|b| b.rows.num_rows() <= 8192));
        values.extend(told.values());
        rejects += told.rejects();
        positions = told.positions(positions);
    }
    values.sort_unstable();
    assert_eq!(values, (0..3000).collect::<Vec<_>>());
    assert_eq!(rejects, 2);
    assert_eq!(positions.values().map(|p| p.0.as_str()).collect::<Vec<_>>(), ["1001", "1001", "1000"]);
    drop(readers);
    topic.write(&producer, spread(&json(3000..3010), 3));
    let mut told = Told::default();
    told.until(self::readers(&definition, &positions, 1)[0].as_mut(), |t| t.rows() >= 10);
    assert_eq!(told.values(), (3000..3010).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limited_reader_stops_exactly_where_it_was_told() {
    let Some(service) = service("HEADWATER_KAFKA", "a_limited_reader_stops_exactly_where_it_was_told").await else { return };
    let topic = Topic::create(&service.address, 3).await;
    let producer = topic.producer(None);
    topic.write(&producer, spread(&json(0..9000), 3));
    let definition = definition(&topic, &[]);
    let start = kafka().start(&definition).expect("the broker answers");
    // Partition 0 in the middle, 1 at its start, 2 not at all.
    let upto = Positions::from([("0".into(), Position("1234".into())), ("1".into(), Position("0".into()))]);
    let mut reader = readers(&definition, &start, 1).remove(0);
    reader.stop_at(&upto).expect("told");
    reader.flush(7).expect("asked");
    let mut told = Told::default();
    told.until(reader.as_mut(), |t| t.rows() >= 1234);
    let waits = SystemClock::default();
    told.until(reader.as_mut(), |_| waits.elapsed() > Duration::from_secs(1));
    assert_eq!(told.values(), (0..1234).map(|n| n * 3).collect::<Vec<_>>());
    assert_eq!(told.positions(Positions::new()), Positions::from([("0".into(), Position("1234".into()))]));
    assert!(told.others.is_empty(), "{:?}", told.others);
    // Behind the records of an aborted transaction nothing is told but that it has come there.
    let marked = Topic::create(&service.address, 1).await;
    let producer = marked.producer(Some(&marked.name));
    producer.init_transactions(WAIT).expect("begun");
    producer.begin_transaction().expect("begun");
    marked.write(&producer, spread(&json(0..5), 1));
    producer.commit_transaction(WAIT).expect("committed");
    producer.begin_transaction().expect("begun");
    marked.write(&producer, spread(&json(5..9), 1));
    producer.abort_transaction(WAIT).expect("aborted");
    let definition = self::definition(&marked, &[]);
    let (start, mut shared) = started(&definition, 1);
    shared[0].flush(1).expect("asked");
    let mut told = Told::default();
    told.until(shared[0].as_mut(), |t| t.flushed(1));
    let upto = told.positions(start.clone());
    let mut reader = readers(&definition, &start, 1).remove(0);
    reader.stop_at(&upto).expect("told");
    let mut told = Told::default();
    told.until(reader.as_mut(), |t| t.positions(start.clone()) == upto);
    assert_eq!(told.values(), (0..5).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_starts_where_it_was_told() {
    let Some(service) = service("HEADWATER_KAFKA", "a_source_starts_where_it_was_told").await else { return };
    let topic = Topic::create(&service.address, 2).await;
    let producer = topic.producer(None);
    topic.write(&producer, spread(&json(0..20), 2));
    let start = |more: &[(&str, &str)]| {
        let positions = kafka().start(&definition(&topic, more)).map_err(|e| e.kind())?;
        Ok(positions.into_iter().map(|(p, Position(at))| format!("{p}:{at}")).collect::<Vec<_>>().join(","))
    };
    assert_eq!(start(&[]), Ok("0:0,1:0".to_owned()));
    assert_eq!(start(&[("scan.startup.mode", "latest")]), Ok("0:10,1:10".to_owned()));
    let at = [("scan.startup.mode", "timestamp"), ("scan.startup.timestamp.millis", "1767225600005")];
    assert_eq!(start(&at), Ok("0:3,1:2".to_owned()), "the records 0, 2, 4 and 1, 3 are older");
    let late = [("scan.startup.mode", "timestamp"), ("scan.startup.timestamp.millis", "1867225600005")];
    assert_eq!(start(&late), Ok("0:10,1:10".to_owned()));
    assert_eq!(start(&[("scan.startup.mode", "offsets"), ("scan.startup.offsets", "1:4")]), Ok("0:0,1:4".to_owned()));
    assert_eq!(start(&[("scan.startup.mode", "offsets"), ("scan.startup.offsets", "1:40")]), Err(ErrorKind::Invalid));
    assert_eq!(start(&[("scan.startup.mode", "offsets"), ("scan.startup.offsets", "2:0")]), Err(ErrorKind::Invalid));
    let missing = Topic { name: "no-such-topic".into(), brokers: service.address.clone() };
    let error = kafka().start(&definition(&missing, &[])).expect_err("there is none");
    assert!(error.kind() == ErrorKind::NotFound && error.message().contains("no-such-topic"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_that_are_gone_are_an_error() {
    let Some(service) = service("HEADWATER_KAFKA", "offsets_that_are_gone_are_an_error").await else { return };
    let topic = Topic::create(&service.address, 1).await;
    topic.write(&topic.producer(None), spread(&json(0..20), 1));
    topic.delete_before(0, 10).await;
    let positions = Positions::from([("0".into(), Position("5".into()))]);
    let mut reader = readers(&definition(&topic, &[]), &positions, 1).remove(0);
    let (begun, mut events) = (SystemClock::default(), Vec::new());
    let error = loop {
        match reader.poll(Duration::from_millis(50), &mut events) {
            Ok(()) => assert!(begun.elapsed() < WAIT, "{events:?}"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    assert!(!events.iter().any(|e| matches!(e, SourceEvent::Rows(_))), "nothing may be skipped: {events:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn new_partitions_are_found_and_read_from_their_beginning() {
    let Some(service) = service("HEADWATER_KAFKA", "new_partitions_are_found_and_read_from_their_beginning").await else { return };
    let topic = Topic::create(&service.address, 1).await;
    let mut reader = started(&definition(&topic, &[]), 4).1.remove(0);
    let mut told = Told::default();
    told.until(reader.as_mut(), |t| t.others.iter().any(|e| matches!(e, SourceEvent::AtEnd(p) if &**p == "0")));
    topic.add_partitions(3).await;
    topic.write(&topic.producer(None), spread(&json(0..30), 3));
    told.until(reader.as_mut(), |t| t.rows() >= 30);
    assert_eq!(told.values(), (0..30).collect::<Vec<_>>());
    let found = |name: &str| told.others.iter().any(|e| matches!(e, SourceEvent::Found(p, Position(at)) if &**p == name && at == "0"));
    assert!(found("1") && found("2") && !found("0"), "{:?}", told.others);
}

#[tokio::test(flavor = "multi_thread")]
async fn aborted_records_are_not_read_and_do_not_hold_a_flush() {
    let Some(service) = service("HEADWATER_KAFKA", "aborted_records_are_not_read_and_do_not_hold_a_flush").await else { return };
    let topic = Topic::create(&service.address, 1).await;
    let producer = topic.producer(Some(&topic.name));
    producer.init_transactions(WAIT).expect("begun");
    let mut reader = started(&definition(&topic, &[]), 1).1.remove(0);
    let mut told = Told::default();
    let all = json(0..30);
    let mut committed = 0;
    for (round, commit) in [(0, true), (1, false), (2, true)] {
        producer.begin_transaction().expect("begun");
        topic.write(&producer, spread(&all[round * 10..round * 10 + 10], 1));
        if commit {
            producer.commit_transaction(WAIT).expect("committed");
            committed += 10;
            // A broker answers a commit before it lets anybody read what was committed.
            told.until(reader.as_mut(), |t| t.rows() >= committed);
        } else {
            producer.abort_transaction(WAIT).expect("aborted");
        }
        reader.flush(round as u64).expect("asked");
        told.until(reader.as_mut(), |t| t.flushed(round as u64));
    }
    assert_eq!(told.values(), (0..10).chain(20..30).collect::<Vec<_>>());
    // 30 records and three marks: the position is behind the last of them, wherever a reader began.
    let end = Positions::from([("0".into(), Position("33".into()))]);
    assert_eq!(told.positions(Positions::new()), end);
    assert_eq!(kafka().start(&definition(&topic, &[("scan.startup.mode", "latest")])).expect("answered"), end);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_record_carries_can_be_included() {
    let Some(service) = service("HEADWATER_KAFKA", "what_a_record_carries_can_be_included").await else { return };
    let topic = Topic::create(&service.address, 2).await;
    topic.write(&topic.producer(None), [(1, "{\"n\":1}")]);
    let mut definition = definition(&topic, &[]);
    let names = ["key", "partition", "offset", "timestamp", "headers"];
    let time = DataType::Timestamp(TimeUnit::Microsecond, None);
    let types = [DataType::Utf8, DataType::Int32, DataType::Int64, time, DataType::Utf8];
    let mut fields = vec![Field::new("n", DataType::Int64, true)];
    fields.extend(names.iter().zip(types).map(|(name, of)| Field::new(*name, of, true)));
    definition.schema = Arc::new(Schema::new(fields));
    definition.includes = (1..).zip(names).map(|(column, what)| Include { what: what.into(), column }).collect();
    let mut told = Told::default();
    told.until(started(&definition, 1).1[0].as_mut(), |t| t.rows() == 1);
    let rows = &told.batches.iter().find(|b| b.rows.num_rows() == 1).expect("one").rows;
    let text = |c: usize| arrow::util::display::array_value_to_string(rows.column(c), 0).expect("a value");
    let expected = ["1", "k", "1", "0", "2026-01-01T00:00:00", "[{\"key\":\"h\",\"value\":\"x\"}]"];
    assert_eq!((0..6).map(text).collect::<Vec<_>>(), expected);
    definition.includes[0].what = "shoe_size".into();
    assert_eq!(kafka().check_source(&definition).expect_err("no such thing").kind(), ErrorKind::Invalid);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_down_is_waited_for() {
    let test = "a_broker_that_is_down_is_waited_for";
    let Some(service) = service("HEADWATER_KAFKA", test).await else { return };
    if !may_kill(test) {
        return;
    }
    let topic = Topic::create(&service.address, 1).await;
    topic.write(&topic.producer(None), spread(&json(0..10), 1));
    let (positions, mut readers) = started(&definition(&topic, &[]), 1);
    let mut told = Told::default();
    told.until(readers[0].as_mut(), |t| t.rows() == 10);
    services("kill", "kafka");
    told.until(readers[0].as_mut(), |t| t.others.iter().any(|e| matches!(e, SourceEvent::State(Some(_)))));
    println!("{:?}", told.others);
    let begun = SystemClock::default();
    let clock = Arc::new(SystemClock::default());
    let error = kafka().open_source(&definition(&topic, &[]), &positions, 1, clock).err().expect("it is down");
    assert_eq!(error.kind(), ErrorKind::External, "{error}");
    println!("{error} after {:?}", begun.elapsed());
    services("up", "kafka");
    topic.write(&topic.producer(None), spread(&json(10..20), 1));
    told.until(readers[0].as_mut(), |t| {
        t.rows() == 20 && matches!(t.others.last(), Some(SourceEvent::State(None) | SourceEvent::AtEnd(_)))
    });
    assert_eq!(told.values(), (0..20).collect::<Vec<_>>());
    assert!(told.others.iter().any(|e| matches!(e, SourceEvent::State(None))), "{:?}", told.others);
}

/// Prints rates; fails only if records are missing. `HEADWATER_RATE_EVENTS` sets how many are read.
#[tokio::test(flavor = "multi_thread")]
async fn rates() {
    let Some(service) = service("HEADWATER_KAFKA", "rates").await else { return };
    let count: i64 = std::env::var("HEADWATER_RATE_EVENTS").ok().and_then(|n| n.parse().ok()).unwrap_or(200_000);
    let topic = Topic::create(&service.address, 4).await;
    let pad = "x".repeat(60);
    let record = |n: i64| {
        format!(
            "{{\"email_id\":{n},\"subscriber_id\":{},\"opened_at\":\"2026-01-01 00:00:01.5\",\"client\":\"{pad}\",\"n\":{n}}}",
            n % 1000
        )
    };
    let records: Vec<String> = (0..count).map(record).collect();
    println!("{} bytes an event", records[count as usize / 2].len());
    topic.write(&topic.producer(None), spread(&records, 4));
    drop(records);
    let mut definition = definition(&topic, &[]);
    let wide = [
        ("n", DataType::Int64),
        ("email_id", DataType::Int64),
        ("subscriber_id", DataType::Int64),
        ("opened_at", DataType::Timestamp(TimeUnit::Microsecond, None)),
        ("client", DataType::Utf8),
    ];
    definition.schema = Arc::new(Schema::new(wide.map(|(name, of)| Field::new(name, of, true)).to_vec()));
    let consumer = topic.reader();
    let mut list = rdkafka::TopicPartitionList::new();
    (0..4).for_each(|p| list.add_partition_offset(&topic.name, p, rdkafka::Offset::Beginning).expect("an offset"));
    rdkafka::consumer::Consumer::assign(&consumer, &list).expect("assigned");
    let (begun, mut raw) = (SystemClock::default(), 0);
    while raw < count {
        raw += i64::from(consumer.poll(WAIT).expect("records").is_ok());
    }
    println!("raw consume, one record a call: {:.0} events/s", count as f64 / begun.elapsed().as_secs_f64());
    for readers_max in [1, 2] {
        let (_, readers) = started(&definition, readers_max);
        let begun = SystemClock::default();
        let seen: usize = std::thread::scope(|scope| {
            let read = |mut reader: Box<dyn Source>| {
                scope.spawn(move || {
                    reader.flush(1).expect("asked");
                    let (mut rows, mut events, mut done) = (0, Vec::new(), false);
                    while !done {
                        reader.poll(Duration::from_millis(50), &mut events).expect("goes on");
                        for event in events.drain(..) {
                            match event {
                                SourceEvent::Rows(batch) => rows += batch.rows.num_rows(),
                                SourceEvent::Flushed(_) => done = true,
                                _ => {}
                            }
                        }
                    }
                    rows
                })
            };
            let threads: Vec<_> = readers.into_iter().map(read).collect();
            threads.into_iter().map(|t| t.join().expect("no panic")).sum()
        });
        println!("{readers_max} reader(s), decoded: {:.0} events/s", seen as f64 / begun.elapsed().as_secs_f64());
        assert_eq!(seen as i64, count);
    }
    latency(&topic, &definition);
}

/// Prints how long single events take from before they are sent until they are rows.
fn latency(topic: &Topic, definition: &SourceDefinition) {
    let mut latest = definition.clone();
    latest.options.insert("scan.startup.mode".into(), "latest".into());
    let mut reader = started(&latest, 1).1.remove(0);
    let mut at_ends = Told::default();
    at_ends.until(reader.as_mut(), |t| t.others.iter().filter(|e| matches!(e, SourceEvent::AtEnd(_))).count() >= 4);
    let producer = topic.producer(None);
    let mut waits = BTreeMap::new();
    for n in 0..50 {
        std::thread::park_timeout(Duration::from_millis(30));
        let begun = SystemClock::default();
        topic.write(&producer, [(n % 4, "{\"n\":1}")]);
        let written = begun.elapsed();
        let mut told = Told::default();
        told.until(reader.as_mut(), |t| t.rows() == 1);
        waits.insert(begun.elapsed(), written);
    }
    println!("visible after (and acknowledged after), median: {:?}, worst: {:?}", waits.iter().nth(25), waits.iter().next_back());
}
