//! The generators as the runtime reads them: the same rows from every position, rates kept, ends told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, TimeUnit, TimestampMicrosecondType};
use headwater_types::{HeldClock, Result};

use super::{Datagen, Nexmark};
use crate::{Connector, Encoding, Format, Options, Position, Positions, Reject, SourceDefinition, SourceEvent};

fn definition(fields: Vec<Field>, options: &[(&str, &str)]) -> SourceDefinition {
    SourceDefinition {
        name: String::from("s"),
        schema: Arc::new(Schema::new(fields)),
        options: options.iter().map(|(name, value)| (String::from(*name), String::from(*value))).collect::<Options>(),
        format: Format::Plain,
        encoding: Encoding::Native,
        encoding_options: Options::new(),
        includes: Vec::new(),
    }
}

fn opened(disorder: &[(&str, &str)]) -> SourceDefinition {
    let fields = vec![
        Field::new("email_id", DataType::Int64, false),
        Field::new("subscriber_id", DataType::Int64, true),
        Field::new("opened_at", DataType::Timestamp(TimeUnit::Microsecond, None), true),
    ];
    let mut options = vec![
        ("datagen.rows.per.second", "0"),
        ("rows.total", "30000"),
        ("fields.email_id.min", "1"),
        ("fields.email_id.max", "20"),
        ("fields.subscriber_id.kind", "sequence"),
        ("fields.subscriber_id.start", "100"),
        ("fields.opened_at.kind", "sequence"),
        ("fields.opened_at.start", "2026-01-01 00:00:00"),
        ("fields.opened_at.step", "10 seconds"),
    ];
    options.extend_from_slice(disorder);
    definition(fields, &options)
}

struct Read {
    rows: RecordBatch,
    rejects: Vec<Reject>,
    /// The position after each batch, and how many rows and rejects had come by then.
    positions: Vec<(Position, usize, usize)>,
    events: Vec<&'static str>,
}

/// Reads one split of `connector` to its end.
fn read(connector: &dyn Connector, definition: &SourceDefinition, from: &Positions) -> Result<Read> {
    let mut readers = connector.open_source(definition, from, 1, Arc::new(HeldClock::at(HeldClock::TEST_START)))?;
    let (mut batches, mut rejects, mut positions, mut told, mut rows) = (Vec::new(), Vec::new(), Vec::new(), Vec::new(), 0);
    while told.last() != Some(&"finished") {
        let mut events = Vec::new();
        readers[0].poll(Duration::from_millis(20), &mut events)?;
        for event in events {
            told.push(match event {
                SourceEvent::Rows(batch) => {
                    assert!(batch.rows.num_rows() <= 8192);
                    rows += batch.rows.num_rows();
                    batches.push(batch.rows);
                    rejects.extend(batch.rejects);
                    positions.push((batch.next, rows, rejects.len()));
                    "rows"
                }
                SourceEvent::Found(..) => "found",
                SourceEvent::AtEnd(_) => "end",
                SourceEvent::Closed(_) => "closed",
                SourceEvent::Flushed(_) => "flushed",
                SourceEvent::Finished => "finished",
                SourceEvent::State(_) => "state",
            });
        }
    }
    let rows = concat_batches(&batches[0].schema(), &batches)?;
    Ok(Read { rows, rejects, positions, events: told })
}

fn resumes_everywhere(connector: &dyn Connector, definition: &SourceDefinition) {
    let start = connector.start(definition).expect("a start");
    let whole = read(connector, definition, &start).expect("readable");
    for (position, rows, rejects) in &whole.positions[..whole.positions.len() - 1] {
        let from = Positions::from([("0".into(), position.clone())]);
        let rest = read(connector, definition, &from).expect("readable");
        assert_eq!(rest.rows, whole.rows.slice(*rows, whole.rows.num_rows() - rows));
        let payloads = |rejects: &[Reject]| rejects.iter().map(|r| (r.position.clone(), r.payload.clone())).collect::<Vec<_>>();
        assert_eq!(payloads(&rest.rejects), payloads(&whole.rejects[*rejects..]));
    }
}

#[test]
fn the_email_stream_has_disorder_late_rows_and_garbage() {
    let definition = opened(&[
        ("fields.opened_at.max_past", "30 minutes"),
        ("fields.opened_at.late.fraction", "0.001"),
        ("fields.opened_at.late.by", "30 hours"),
        ("malformed.fraction", "0.002"),
        ("fields.subscriber_id.null.fraction", "0.01"),
    ]);
    assert!(Datagen.check_source(&definition).expect("good options").bounded);
    let read = read(&Datagen, &definition, &Positions::new()).expect("readable");
    assert_eq!(read.rows.num_rows() + read.rejects.len(), 30_000);
    assert!((20..150).contains(&read.rejects.len()), "{}", read.rejects.len());
    assert!(read.rejects.iter().all(|r| r.reason.starts_with("not JSON") && r.payload[0] == b'{'));
    let times = read.rows.column(2).as_primitive::<TimestampMicrosecondType>().values();
    let (mut max, mut late, mut disordered) = (i64::MIN, 0, 0);
    for time in times {
        late += u32::from(*time < max.saturating_sub(24 * 3_600_000_000));
        disordered += u32::from(*time < max);
        max = max.max(*time);
    }
    assert!((5..100).contains(&late), "{late} late");
    assert!(disordered > 20_000, "{disordered} out of order");
    let nulls = read.rows.column(1).null_count();
    assert!((150..500).contains(&nulls), "{nulls} nulls");
    let emails = read.rows.column(0).as_primitive::<Int64Type>().values();
    assert!(emails.iter().all(|e| (1..=20).contains(e)));
    assert_eq!(read.events.first(), Some(&"found"));
    assert_eq!(read.events[read.events.len() - 3..], ["end", "closed", "finished"]);
}

#[test]
fn every_position_gives_the_same_rest() {
    resumes_everywhere(&Datagen, &opened(&[("fields.opened_at.max_past", "30 minutes"), ("malformed.fraction", "0.01")]));
    for kind in ["Person", "Auction", "Bid"] {
        let options = [("nexmark.table.type", kind), ("nexmark.event.num", "2000000"), ("events.per.second", "0")];
        let mut definition = definition(vec![], &options);
        definition.schema = Nexmark.check_source(&definition).expect("good options").columns.expect("its own columns");
        if kind == "Bid" {
            definition.options.insert(String::from("nexmark.event.num"), String::from("30010"));
        }
        resumes_everywhere(&Nexmark, &definition);
    }
}

#[test]
fn a_relative_base_is_kept_in_the_position() {
    let mut definition = opened(&[]);
    definition.options.remove("fields.opened_at.start");
    resumes_everywhere(&Datagen, &definition);
    let start = Datagen.start(&definition).expect("a start");
    let first = read(&Datagen, &definition, &start).expect("readable");
    assert_eq!(first.rows, read(&Datagen, &definition, &start).expect("readable").rows);
}

#[test]
fn splits_make_the_same_rows_among_them() {
    let key = |batch: &RecordBatch| batch.column(1).as_primitive::<Int64Type>().values().to_vec();
    let whole = read(&Datagen, &opened(&[]), &Positions::new()).expect("readable");
    let parted = opened(&[("datagen.split.num", "4")]);
    let readers = Datagen.open_source(&parted, &Positions::new(), 3, Arc::new(HeldClock::at(0))).expect("open");
    assert_eq!(readers.len(), 3);
    let (mut parts, mut partitions) = (Vec::new(), BTreeMap::new());
    for mut reader in readers {
        let mut events = Vec::new();
        while !matches!(events.last(), Some(SourceEvent::Finished)) {
            reader.poll(Duration::from_millis(1), &mut events).expect("readable");
        }
        for event in events {
            if let SourceEvent::Rows(batch) = event {
                *partitions.entry(batch.partition).or_insert(0) += batch.rows.num_rows();
                parts.extend(key(&batch.rows));
            }
        }
    }
    parts.sort_unstable();
    assert_eq!(parts, key(&whole.rows));
    assert_eq!(partitions.into_values().collect::<Vec<_>>(), [7_500; 4]);
}

#[test]
fn nexmark_refers_to_what_exists() {
    let options = |kind| [("nexmark.table.type", kind), ("nexmark.event.num", "50000"), ("nexmark.min.event.gap.in.ns", "0")];
    let table = |kind, columns: &[&str]| {
        let mut made = definition(vec![], &options(kind));
        let all = Nexmark.check_source(&made).expect("good options").columns.expect("its own columns");
        let fields: Vec<Field> = columns.iter().map(|c| all.field_with_name(c).expect("a column").clone()).collect();
        made.schema = Arc::new(Schema::new(fields));
        read(&Nexmark, &made, &Positions::new()).expect("readable").rows
    };
    let ids = |kind| table(kind, &["id"]).column(0).as_primitive::<Int64Type>().values().to_vec();
    assert_eq!(ids("Person"), (1_000..2_000).collect::<Vec<i64>>());
    assert_eq!(ids("Auction"), (1_000..4_000).collect::<Vec<i64>>());
    let bids = table("Bid", &["date_time", "auction", "bidder", "price"]);
    assert_eq!(bids.num_rows(), 46_000);
    assert!(bids.column(1).as_primitive::<Int64Type>().values().iter().all(|a| (1_000..4_000).contains(a)));
    assert!(bids.column(2).as_primitive::<Int64Type>().values().iter().all(|b| (1_000..2_000).contains(b)));
    let times = bids.column(0).as_primitive::<TimestampMicrosecondType>().values();
    assert!(times.is_sorted() && times[45_999] - times[0] > 4_900_000);
}

#[test]
fn a_rate_is_kept_and_flushes_end() {
    let mut definition = opened(&[]);
    definition.options.insert(String::from("datagen.rows.per.second"), String::from("1000"));
    let clock = Arc::new(HeldClock::at(0));
    let mut reader = Datagen.open_source(&definition, &Positions::new(), 1, clock.clone()).expect("open").remove(0);
    let mut rows = 0;
    let mut polls = 0;
    let start = headwater_types::Clock::elapsed(&*clock);
    let elapsed = || headwater_types::Clock::elapsed(&*clock) - start;
    while elapsed() < Duration::from_millis(300) {
        let mut events = Vec::new();
        reader.poll(Duration::from_millis(50), &mut events).expect("readable");
        polls += 1;
        rows += events.iter().map(|e| if let SourceEvent::Rows(b) = e { b.rows.num_rows() } else { 0 }).sum::<usize>();
    }
    let allowed = elapsed().as_millis() as usize + 1;
    assert!(rows <= allowed && rows > 200, "{rows} rows");
    assert!(polls < 200, "{polls} polls");
    reader.flush(7).expect("noted");
    let mut events = Vec::new();
    reader.poll(Duration::from_millis(1), &mut events).expect("readable");
    assert!(events.iter().any(|e| matches!(e, SourceEvent::Flushed(7))));
}

#[test]
fn a_limited_generator_gives_what_exists_at_once_and_stops() {
    let mut definition = opened(&[]);
    definition.options.insert(String::from("datagen.rows.per.second"), String::from("1"));
    let start = Datagen.start(&definition).expect("a start");
    let (partition, position) = start.first_key_value().expect("one split");
    let base = position.0.split_once('@').expect("rows and time").1;
    let upto = Positions::from([(partition.clone(), Position(format!("777@{base}")))]);
    let mut reader = Datagen.open_source(&definition, &start, 1, Arc::new(HeldClock::at(0))).expect("open").remove(0);
    reader.stop_at(&upto).expect("told");
    reader.flush(1).expect("noted");
    let (mut rows, mut last) = (0, None);
    for _ in 0..5 {
        let mut events = Vec::new();
        reader.poll(Duration::from_millis(1), &mut events).expect("readable");
        for event in events {
            let SourceEvent::Rows(batch) = event else { panic!("it tells no end: {event:?}") };
            rows += batch.rows.num_rows() + batch.rejects.len();
            last = Some(batch.next);
        }
    }
    assert_eq!((rows, last.as_ref()), (777, upto.get(partition)));
}

#[test]
fn wrong_options_are_named() {
    let refused = |options: &[(&str, &str)]| {
        let error = Datagen.check_source(&opened(options)).expect_err("a bad option");
        format!("{error}")
    };
    assert!(refused(&[("fields.emial_id.min", "1")]).contains("did you mean \"email_id\""));
    assert!(refused(&[("fields.email_id.mni", "1")]).contains("did you mean 'min'"));
    assert!(refused(&[("row.total", "1")]).contains("did you mean 'rows.total'"));
    assert!(refused(&[("fields.email_id.length", "1")]).contains("says nothing about random values of type BIGINT"));
    assert!(refused(&[("fields.email_id.min", "30")]).contains("is above"));
    assert!(refused(&[("malformed.fraction", "2")]).contains("not from 0 to 1"));
    assert!(refused(&[("fields.email_id.null.fraction", "0.5")]).contains("NOT NULL"));
    assert!(refused(&[("fields.opened_at.late.by", "1 day")]).contains("go together"));
    let options = [("nexmark.table.type", "bids")];
    assert!(Nexmark.check_source(&definition(vec![], &options)).is_err());
    let options = [("nexmark.table.type", "Bid")];
    let error = Nexmark.check_source(&definition(vec![Field::new("price", DataType::Int32, true)], &options)).expect_err("a type");
    assert!(error.message().contains("BIGINT"));
}

#[test]
fn every_type_is_made_within_its_range() {
    let text = |name: &str| Field::new(name, DataType::Utf8, true);
    let fields = vec![
        Field::new("small", DataType::Int16, true),
        Field::new("int", DataType::Int32, true),
        Field::new("real", DataType::Float32, true),
        Field::new("price", DataType::Decimal128(3, 2), true),
        Field::new("yes", DataType::Boolean, true),
        Field::new("bytes", DataType::Binary, true),
        Field::new("id", DataType::FixedSizeBinary(16), true),
        Field::new("day", DataType::Date32, true),
        Field::new("clock", DataType::Time64(TimeUnit::Microsecond), true),
        text("name"),
        text("serial"),
    ];
    let options = [
        ("rows.total", "1000"),
        ("datagen.rows.per.second", "0"),
        ("fields.small.min", "-32768"),
        ("fields.small.max", "32767"),
        ("fields.real.min", "-1.5"),
        ("fields.real.max", "2.5"),
        ("fields.name.length", "13"),
        ("fields.serial.kind", "sequence"),
        ("fields.serial.start", "5"),
        ("fields.yes.null.fraction", "0.5"),
        ("fields.day.basetime", "2026-01-10"),
        ("fields.day.max_past", "3 days"),
    ];
    let made = definition(fields, &options);
    let rows = read(&Datagen, &made, &Positions::new()).expect("readable").rows;
    let encoder = crate::format::JsonEncoder::new(&made.schema, &(0..11).collect::<Vec<_>>()).expect("known types");
    let json = encoder.rows(&rows).expect("one schema");
    let mut nulls = 0;
    for row in 0..1000 {
        let mut line = Vec::new();
        json.write(row, &mut line);
        let row_of: serde_json::Value = serde_json::from_slice(&line).expect("JSON");
        let price: f64 = row_of["price"].as_str().expect("text").parse().expect("a number");
        assert!((0.0..=9.99).contains(&price), "{price}");
        assert!((-1.5..=2.5).contains(&row_of["real"].as_f64().expect("a number")));
        assert_eq!(row_of["name"].as_str().map(str::len), Some(13));
        assert_eq!(row_of["serial"].as_str(), Some((row + 5).to_string().as_str()));
        assert!((0..=1000).contains(&row_of["int"].as_i64().expect("a number")));
        let day = row_of["day"].as_str().expect("a date");
        assert!(("2026-01-07".."2026-01-11").contains(&day), "{day}");
        nulls += u32::from(row_of["yes"].is_null());
    }
    assert!((350..650).contains(&nulls));
    let refused = |name: &str, value: &str| {
        let mut bad = made.clone();
        bad.options.insert(String::from(name), String::from(value));
        Datagen.check_source(&bad).expect_err("a bad option").to_string()
    };
    assert!(refused("fields.small.max", "40000").contains("out of the column's range"));
    assert!(refused("fields.price.max", "10").contains("out of the column's range"));
    assert!(refused("fields.yes.kind", "sequence").contains("'sequence' of type BOOLEAN"));
    assert!(refused("fields.day.max_past", "much").contains("no length of time"));
}

/// Prints how many rows a second come out; run it with `--ignored --nocapture` on an idle machine.
#[test]
#[ignore = "a measurement"]
fn measured_speed() {
    let clock = Arc::new(HeldClock::at(0));
    let measure = |what: &str, connector: &dyn Connector, definition: &SourceDefinition| {
        let mut reader = connector.open_source(definition, &Positions::new(), 1, clock.clone()).expect("open").remove(0);
        let start = headwater_types::Clock::elapsed(&*clock);
        let (mut rows, mut events) = (0, Vec::new());
        while !matches!(events.last(), Some(SourceEvent::Finished)) {
            events.clear();
            reader.poll(Duration::from_millis(1), &mut events).expect("readable");
            rows += events.iter().map(|e| if let SourceEvent::Rows(b) = e { b.rows.num_rows() } else { 0 }).sum::<usize>();
        }
        let seconds = (headwater_types::Clock::elapsed(&*clock) - start).as_secs_f64();
        println!("{what}: {:.1} M rows/s", rows as f64 / seconds / 1e6);
    };
    let mut bids = definition(vec![], &[("nexmark.table.type", "Bid"), ("nexmark.event.num", "3000000"), ("events.per.second", "0")]);
    bids.schema = Nexmark.check_source(&bids).expect("good options").columns.expect("columns");
    measure("nexmark bids, all columns", &Nexmark, &bids);
    bids.schema = Arc::new(bids.schema.project(&[0, 2, 5]).expect("columns"));
    measure("nexmark bids: auction, price, date_time", &Nexmark, &bids);
    let mut emails = opened(&[("fields.opened_at.max_past", "30 minutes")]);
    emails.options.insert(String::from("rows.total"), String::from("3000000"));
    measure("datagen emails", &Datagen, &emails);
}
