//! The decoder and the encoder as the connectors use them: what is accepted, what is refused and why, and that nothing comes apart.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Decimal128Type, Field, Float64Type, Int64Type, IntervalUnit, Schema, TimeUnit, TimestampMicrosecondType};
use proptest::prelude::*;

use super::{Decoder, IncludeValue, JsonEncoder};
use crate::{Encoding, Include, Options, SourceDefinition};

fn marked(name: &str, data_type: DataType, mark: &str) -> Field {
    Field::new(name, data_type, true).with_metadata(HashMap::from([(String::from("headwater.type"), String::from(mark))]))
}

fn all_types() -> Vec<Field> {
    let item = Arc::new(Field::new("item", DataType::Int32, true));
    vec![
        Field::new("boolean", DataType::Boolean, true),
        Field::new("smallint", DataType::Int16, true),
        Field::new("int", DataType::Int32, true),
        Field::new("bigint", DataType::Int64, true),
        Field::new("real", DataType::Float32, true),
        Field::new("double", DataType::Float64, true),
        Field::new("numeric", DataType::Decimal128(20, 4), true),
        Field::new("varchar", DataType::Utf8, true),
        Field::new("bytea", DataType::Binary, true),
        Field::new("date", DataType::Date32, true),
        Field::new("time", DataType::Time64(TimeUnit::Microsecond), true),
        Field::new("timestamp", DataType::Timestamp(TimeUnit::Microsecond, None), true),
        Field::new("timestamptz", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true),
        Field::new("interval", DataType::Interval(IntervalUnit::MonthDayNano), true),
        marked("uuid", DataType::FixedSizeBinary(16), "uuid"),
        marked("jsonb", DataType::Utf8, "jsonb"),
        Field::new("array", DataType::List(item), true),
    ]
}

pub(crate) fn definition(fields: Vec<Field>, encoding: Encoding) -> SourceDefinition {
    SourceDefinition {
        name: String::from("s"),
        schema: Arc::new(Schema::new(fields)),
        options: Options::new(),
        format: crate::Format::Plain,
        encoding,
        encoding_options: Options::new(),
        includes: Vec::new(),
    }
}

fn decoder(fields: Vec<Field>) -> Decoder {
    Decoder::new(&definition(fields, Encoding::Json)).expect("the types are known")
}

fn encode(batch: &RecordBatch) -> Vec<String> {
    let columns: Vec<usize> = (0..batch.num_columns()).collect();
    let encoder = JsonEncoder::new(&batch.schema(), &columns).expect("the types are known");
    let rows = encoder.rows(batch).expect("the same schema");
    let row = |at| {
        let mut out = Vec::new();
        rows.write(at, &mut out);
        String::from_utf8(out).expect("JSON is text")
    };
    (0..batch.num_rows()).map(row).collect()
}

/// Decodes `records` and gives them back as JSON, and the reasons for those refused.
fn through(decoder: &mut Decoder, records: &[&str]) -> (Vec<String>, Vec<String>) {
    let reasons = records.iter().filter_map(|r| decoder.decode(r.as_bytes(), &[]).err()).collect();
    (encode(&decoder.finish().expect("columns are of one length")), reasons)
}

const FULL: &str = r#"{"boolean":true,"smallint":-32768,"int":7,"bigint":9223372036854775807,"real":1.5,"double":0.1,"numeric":"12345678901234.5678","varchar":"a\"\\\n\u0001é😀","bytea":"AP8Q","date":"2024-02-29","time":"23:59:59.000001","timestamp":"2026-01-01T00:00:00.123456","timestamptz":"2026-01-01T00:00:00Z","interval":"1 year 2 mons 3 days 04:05:06","uuid":"123e4567-e89b-12d3-a456-426614174000","jsonb":{"a": [1, null]},"array":[1,null,3]}"#;

#[test]
fn every_type_comes_back_as_it_went_in() {
    let (rows, reasons) = through(&mut decoder(all_types()), &[FULL, "{}", FULL]);
    assert_eq!(reasons, Vec::<String>::new());
    assert_eq!(rows[0], FULL);
    assert_eq!(rows[2], FULL);
    assert!(rows[1].starts_with(r#"{"boolean":null,"smallint":null"#) && !rows[1].contains("true"), "{}", rows[1]);
    serde_json::from_str::<serde_json::Value>(&rows[0]).expect("valid JSON");
}

#[test]
fn other_forms_of_the_same_values_are_accepted() {
    let cases = [
        (r#"{"bigint":"42"}"#, r#""bigint":42"#),
        (r#"{"bigint":1e3}"#, r#""bigint":1000"#),
        (r#"{"numeric":0.30000000000000004}"#, r#""numeric":"0.3000""#),
        (r#"{"numeric":-0.00005}"#, r#""numeric":"-0.0001""#),
        (r#"{"numeric":9007199254740993.5}"#, r#""numeric":"9007199254740993.5000""#),
        (r#"{"double":"NaN"}"#, r#""double":"NaN""#),
        (r#"{"timestamp":1767225600123}"#, r#""timestamp":"2026-01-01T00:00:00.123000""#),
        (r#"{"timestamp":"1767225600000"}"#, r#""timestamp":"2026-01-01T00:00:00""#),
        (r#"{"timestamp":"2026-01-01 02:00:00+02"}"#, r#""timestamp":"2026-01-01T00:00:00""#),
        (r#"{"bytea":"\\x00ff10"}"#, r#""bytea":"AP8Q""#),
        (r#"{"int":1,"int":2}"#, r#""int":2"#),
        (r#"{"int":1,"int":null}"#, r#""int":null"#),
        ("\t{ \"int\" :\r\n 5 , \"x\":{\"int\":[9,{}]} } ", r#""int":5"#),
        (r#"{"\u0069nt":6}"#, r#""int":6"#),
        (r#"{"varchar":"\ud83d\ude00\/"}"#, r#""varchar":"😀/""#),
        (r#"{"array":[]}"#, r#""array":[]"#),
        (r#"{"jsonb":"a\u0041"}"#, r#""jsonb":"a\u0041""#),
        (r#"{"boolean":"off"}"#, r#""boolean":false"#),
    ];
    for (record, part) in cases {
        let (rows, reasons) = through(&mut decoder(all_types()), &[record]);
        assert!(reasons.is_empty(), "{record}: {reasons:?}");
        assert!(rows[0].contains(part), "{record} gave {}", rows[0]);
    }
}

#[test]
fn what_does_not_fit_is_refused_with_its_column_and_leaves_nothing() {
    let cases = [
        (r#"{"smallint":32768}"#, "\"smallint\""),
        (r#"{"int":2147483648}"#, "\"int\" (INT) cannot hold 2147483648"),
        (r#"{"int":1.5}"#, "\"int\""),
        (r#"{"bigint":9223372036854775808}"#, "\"bigint\""),
        (r#"{"bigint":"x"}"#, "cannot hold x"),
        (r#"{"bigint":""}"#, "\"bigint\""),
        (r#"{"bigint":true}"#, "\"bigint\""),
        (r#"{"bigint":{"a":1}}"#, "\"bigint\""),
        (r#"{"varchar":5}"#, "\"varchar\" (VARCHAR) cannot hold 5"),
        (r#"{"real":1e39}"#, "\"real\""),
        (r#"{"double":1e400}"#, "\"double\""),
        (r#"{"numeric":10000000000000000}"#, "NUMERIC(20,4)"),
        (r#"{"timestamp":"yesterday"}"#, "cannot hold yesterday"),
        (r#"{"timestamp":"2026-02-30"}"#, "\"timestamp\""),
        (r#"{"date":5}"#, "\"date\""),
        (r#"{"uuid":"123"}"#, "\"uuid\""),
        (r#"{"bytea":"a*"}"#, "\"bytea\""),
        (r#"{"array":[1,"x"]}"#, "\"item\""),
        (r#"{"array":{"a":1}}"#, "\"array\""),
        (r#"{"varchar":"\ud83d"}"#, "surrogate"),
        (r#"{"varchar":"\u0000"}"#, "U+0000"),
        (r#"{"int":1"#, "found its end"),
        (r#"{"int":1}x"#, "nothing after"),
        (r#"{"int":01}"#, "a number"),
        (r#"{"int":1,}"#, "a name"),
        (r#"{"other":[1,}"#, "a value"),
        ("[1]", "expected '{'"),
        ("", "expected '{'"),
        ("garbage", "expected '{' at byte 0, found 'g'"),
    ];
    let mut decoder = decoder(all_types());
    for (record, part) in cases {
        let (rows, reasons) = through(&mut decoder, &[FULL, record, FULL]);
        assert_eq!(rows, [FULL, FULL], "{record}");
        assert!(reasons.len() == 1 && reasons[0].contains(part), "{record}: {reasons:?}");
    }
    let reason = decoder.decode(b"{\"varchar\":\"a\xff\"}", &[]).expect_err("not UTF-8");
    assert_eq!(reason, "not UTF-8 at byte 13");
}

#[test]
fn not_null_and_included_columns_are_kept_to() {
    let fields = vec![
        Field::new("id", DataType::Int64, false),
        Field::new("offset", DataType::Int64, true),
        Field::new("key", DataType::Utf8, true),
        Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, None), true),
    ];
    let mut definition = definition(fields, Encoding::Json);
    definition.includes = (1..4).map(|column| Include { what: String::from("x"), column }).collect();
    let mut decoder = Decoder::new(&definition).expect("the types are known");
    let includes = [IncludeValue::Integer(7), IncludeValue::Bytes(b"k"), IncludeValue::Micros(1_000_000)];
    assert_eq!(decoder.decode(b"{}", &includes), Err(String::from("column \"id\" is NOT NULL")));
    assert_eq!(decoder.decode(b"{\"id\":null}", &includes), Err(String::from("column \"id\" is NOT NULL")));
    // The connector's columns are not the record's to fill.
    assert_eq!(decoder.decode(b"{\"id\":1,\"offset\":99,\"key\":\"x\"}", &includes), Ok(()));
    assert_eq!(decoder.decode(b"{\"id\":2}", &[IncludeValue::Null, IncludeValue::Null, IncludeValue::Null]), Ok(()));
    let bad_key = [IncludeValue::Null, IncludeValue::Bytes(b"\xff"), IncludeValue::Null];
    assert!(decoder.decode(b"{\"id\":3}", &bad_key).is_err_and(|reason| reason.contains("not UTF-8")));
    let batch = decoder.finish().expect("columns are of one length");
    assert_eq!(
        encode(&batch),
        [r#"{"id":1,"offset":7,"key":"k","at":"1970-01-01T00:00:01"}"#, r#"{"id":2,"offset":null,"key":null,"at":null}"#]
    );
}

#[test]
fn the_unit_of_numbers_in_timestamps_is_an_option() {
    for (unit, micros) in [("seconds", 1_500_000_000), ("millis", 1_500_000), ("micros", 1_500)] {
        let mut definition = definition(vec![Field::new("t", DataType::Timestamp(TimeUnit::Microsecond, None), true)], Encoding::Json);
        definition.encoding_options.insert(String::from("timestamp.format"), String::from(unit));
        let mut decoder = Decoder::new(&definition).expect("a known unit");
        decoder.decode(b"{\"t\":1500}", &[]).expect("a number");
        let batch = decoder.finish().expect("one column");
        assert_eq!(batch.column(0).as_primitive::<TimestampMicrosecondType>().value(0), micros);
    }
    let mut definition = definition(vec![Field::new("t", DataType::Timestamp(TimeUnit::Microsecond, None), true)], Encoding::Json);
    definition.encoding_options.insert(String::from("timestamp.format"), String::from("iso8601"));
    let mut decoder = Decoder::new(&definition).expect("a known unit");
    assert!(decoder.decode(b"{\"t\":1500}", &[]).is_err());
    definition.encoding_options.insert(String::from("timestamp.fromat"), String::from("millis"));
    let error = Decoder::new(&definition).err().expect("an unknown option");
    assert_eq!(error.hint(), Some("did you mean 'timestamp.format'?"));
}

#[test]
fn csv_follows_rfc_4180_and_postgresql_in_null() {
    let fields =
        || vec![Field::new("a", DataType::Int64, true), Field::new("b", DataType::Utf8, true), Field::new("c", DataType::Boolean, false)];
    let mut csv = definition(fields(), Encoding::Csv);
    let mut decoder = Decoder::new(&csv).expect("the types are known");
    let text = "1,x,t\r\n,,f\n2,\"\",t\n3,\"a,\"\"b\"\"\nc\",f\n4,5\" pipe,t\n";
    let mut rest = text.as_bytes();
    while let Some(end) = decoder.record_end(rest) {
        decoder.decode(&rest[..end], &[]).expect("a good record");
        rest = &rest[end..];
    }
    assert!(rest.is_empty());
    for (bad, why) in [
        ("1,2", "2 fields"),
        ("1,2,t,4", "more than the 3"),
        ("x,y,t", "\"a\""),
        ("1,y,", "NOT NULL"),
        ("1,\"a\"b,t", "closing quote"),
        ("1,\"a", "not closed"),
    ] {
        assert!(decoder.decode(bad.as_bytes(), &[]).is_err_and(|reason| reason.contains(why)), "{bad}");
    }
    let batch = decoder.finish().expect("columns are of one length");
    assert_eq!(batch.column(0).as_primitive::<Int64Type>().iter().collect::<Vec<_>>(), [Some(1), None, Some(2), Some(3), Some(4)]);
    assert_eq!(
        batch.column(1).as_string::<i32>().iter().collect::<Vec<_>>(),
        [Some("x"), None, Some(""), Some("a,\"b\"\nc"), Some("5\" pipe")]
    );

    csv.encoding_options = Options::from([(String::from("header"), String::from("true")), (String::from("delimiter"), String::from(";"))]);
    let mut decoder = Decoder::new(&csv).expect("the types are known");
    decoder.header(b"c;other;a;b\r\n").expect("a header");
    decoder.decode(b"t;zzz;9;\n", &[]).expect("a good record");
    assert_eq!(encode(&decoder.finish().expect("columns")), [r#"{"a":9,"b":null,"c":true}"#]);
    for (header, lacks, hint) in [
        ("a;c\n", "lacks column \"b\": it has \"a\", \"c\"", "separated by ';', and"),
        ("c,b,a\r\n", "lacks column \"a\": it has \"c,b,a\"", "seem to be separated by ',': ENCODE CSV (delimiter = ',', …)"),
        ("c\tb\ta\n", "lacks column \"a\"", "delimiter = '\\t'"),
        ("A;b;c", "lacks column \"a\"", "declare the column as \"A\""),
    ] {
        let error = decoder.header(header.as_bytes()).expect_err("a column is missing");
        assert!(error.message().contains(lacks) && error.hint().is_some_and(|h| h.contains(hint)), "{error} {:?}", error.hint());
    }
    assert!(decoder.header(b"c;c").is_err_and(|e| e.message().contains("twice")));
}

fn json_value() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        any::<String>().prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 32, 5, |value| {
        prop_oneof![
            prop::collection::vec(value.clone(), 0..5).prop_map(Into::into),
            prop::collection::hash_map(any::<String>(), value, 0..5).prop_map(|m| serde_json::Value::Object(m.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    /// A JSON column takes a record exactly when serde_json does, whatever the bytes.
    #[test]
    fn bytes_are_accepted_exactly_when_serde_json_accepts_them(cuts in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4)) {
        let mut record = FULL.as_bytes().to_vec();
        for (at, byte) in cuts {
            let at = at.index(record.len());
            record[at] = byte;
        }
        let fields = vec![marked("jsonb", DataType::Utf8, "jsonb")];
        let mut decoder = decoder(fields);
        let ours = decoder.decode(&record, &[]);
        let theirs = serde_json::from_slice::<HashMap<String, serde::de::IgnoredAny>>(&record);
        // What serde_json ignores it does not check to be UTF-8.
        let theirs = std::str::from_utf8(&record).is_ok() && theirs.is_ok();
        prop_assert_eq!(ours.is_ok(), theirs, "{:?}: {:?}", String::from_utf8_lossy(&record), ours);
        prop_assert_eq!(decoder.finish().expect("one column").num_rows(), usize::from(ours.is_ok()));
    }

    #[test]
    fn arbitrary_bytes_never_break_a_batch(records in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..8)) {
        for encoding in [Encoding::Json, Encoding::Csv] {
            let mut decoder = Decoder::new(&definition(all_types(), encoding)).expect("the types are known");
            let accepted = records.iter().filter(|r| decoder.decode(r, &[]).is_ok()).count();
            prop_assert_eq!(decoder.finish().expect("columns are of one length").num_rows(), accepted);
        }
    }

    #[test]
    fn csv_fields_come_back_whatever_is_in_them(rows in prop::collection::vec((any::<Option<i64>>(), any::<Option<String>>()), 1..8), crlf in any::<bool>()) {
        let end = if crlf { "\r\n" } else { "\n" };
        let quoted = |text: &String| format!("\"{}\"", text.replace('"', "\"\""));
        let line = |(n, t): &(Option<i64>, Option<String>)| {
            format!("{},{}{end}", n.map_or_else(String::new, |n| n.to_string()), t.as_ref().map_or_else(String::new, quoted))
        };
        let text: String = rows.iter().map(line).collect();
        let fields = vec![Field::new("n", DataType::Int64, true), Field::new("t", DataType::Utf8, true)];
        let mut decoder = Decoder::new(&definition(fields, Encoding::Csv)).expect("the types are known");
        let mut rest = text.as_bytes();
        while let Some(end) = decoder.record_end(rest) {
            decoder.decode(&rest[..end], &[]).expect("a good record");
            rest = &rest[end..];
        }
        prop_assert!(rest.is_empty());
        let batch = decoder.finish().expect("columns are of one length");
        let numbers: Vec<_> = batch.column(0).as_primitive::<Int64Type>().iter().collect();
        let texts: Vec<_> = batch.column(1).as_string::<i32>().iter().map(|t| t.map(String::from)).collect();
        prop_assert_eq!(numbers.into_iter().zip(texts).collect::<Vec<_>>(), rows);
    }

    #[test]
    fn damaged_records_leave_their_neighbours_whole(at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>()) {
        let mut damaged = FULL.as_bytes().to_vec();
        let at = at.index(damaged.len());
        if cut { damaged.truncate(at) } else { damaged[at] = byte }
        let mut decoder = decoder(all_types());
        decoder.decode(FULL.as_bytes(), &[]).expect("a good record");
        let accepted = decoder.decode(&damaged, &[]).is_ok();
        decoder.decode(FULL.as_bytes(), &[]).expect("a good record");
        let rows = encode(&decoder.finish().expect("columns are of one length"));
        prop_assert_eq!(rows.len(), 2 + usize::from(accepted));
        prop_assert!(rows[0] == FULL && rows[rows.len() - 1] == FULL);
    }

    #[test]
    fn scalars_come_back_as_serde_json_wrote_them(int in any::<i64>(), double in any::<f64>().prop_filter("finite", |v| v.is_finite()), text in "[^\u{0}]*", units in any::<i64>()) {
        let record = serde_json::json!({"bigint": int, "double": double, "varchar": text}).to_string();
        let mut decoder = decoder(all_types());
        decoder.decode(record.as_bytes(), &[]).expect("a good record");
        let numeric = format!("{{\"numeric\":{}{}.{:04}}}", if units < 0 { "-" } else { "" }, units.unsigned_abs() / 10_000, units.unsigned_abs() % 10_000);
        decoder.decode(numeric.as_bytes(), &[]).expect("a good record");
        let batch = decoder.finish().expect("columns");
        let row: serde_json::Value = serde_json::from_str(&encode(&batch)[0]).expect("valid JSON");
        prop_assert_eq!(&row["bigint"], &serde_json::json!(int));
        // serde_json does not read every double exactly, the standard library does.
        let shown = format!("\"double\":{:?},", double);
        prop_assert!(encode(&batch)[0].contains(&shown));
        prop_assert_eq!(batch.column(5).as_primitive::<Float64Type>().value(0).to_bits(), double.to_bits());
        prop_assert_eq!(row["varchar"].as_str(), Some(text.as_str()));
        prop_assert_eq!(batch.column(6).as_primitive::<Decimal128Type>().value(1), i128::from(units));
    }

    #[test]
    fn any_json_is_kept_and_any_other_field_is_ignored(value in json_value()) {
        let record = format!("{{\"ignored\":{value},\"jsonb\":{value}}}");
        let mut decoder = decoder(vec![marked("jsonb", DataType::Utf8, "jsonb")]);
        decoder.decode(record.as_bytes(), &[]).expect("valid JSON");
        let batch = decoder.finish().expect("one column");
        let kept = batch.column(0).as_string::<i32>();
        if value.is_null() {
            prop_assert!(kept.is_null(0));
        } else {
            prop_assert_eq!(kept.value(0), value.to_string());
        }
    }
}

/// Prints how much faster than Arrow's own decoder ours is; run it with `--ignored --nocapture` on an idle machine.
#[test]
#[ignore = "a measurement"]
#[allow(clippy::disallowed_methods, reason = "it measures")]
fn measured_against_arrow_json() {
    let fields = vec![
        Field::new("auction", DataType::Int64, true),
        Field::new("bidder", DataType::Int64, true),
        Field::new("price", DataType::Int64, true),
        Field::new("channel", DataType::Utf8, true),
        Field::new("date_time", DataType::Timestamp(TimeUnit::Microsecond, None), true),
        Field::new("url", DataType::Utf8, true),
    ];
    let record = |i: u64| {
        let at = i % 60;
        format!(
            "{{\"auction\":{},\"bidder\":{},\"price\":{},\"channel\":\"channel-{at}\",\"date_time\":\"2026-01-01T00:00:{at:02}.{:06}\",\"url\":\"https://auctions/item/{}\"}}\n",
            1000 + i % 977,
            2000 + i % 1999,
            i * 7919 % 10_000_000,
            i % 1_000_000,
            10_000_000 + i
        )
    };
    let text: String = (0..100_000).map(record).collect();
    let definition = definition(fields, Encoding::Json);
    let mut best = [f64::MAX; 2];
    for _ in 0..7 {
        let start = std::time::Instant::now();
        let mut decoder = Decoder::new(&definition).expect("the types are known");
        let (mut rest, mut rows) = (text.as_bytes(), 0);
        while let Some(end) = decoder.record_end(rest) {
            decoder.decode(&rest[..end], &[]).expect("a good record");
            rest = &rest[end..];
            if decoder.rows() == 8192 {
                rows += decoder.finish().expect("columns").num_rows();
            }
        }
        rows += decoder.finish().expect("columns").num_rows();
        best[0] = best[0].min(start.elapsed().as_secs_f64());
        assert_eq!(rows, 100_000);

        let start = std::time::Instant::now();
        let reader =
            arrow::json::ReaderBuilder::new(definition.schema.clone()).with_batch_size(8192).build(text.as_bytes()).expect("a reader");
        let rows: usize = reader.map(|batch| batch.expect("good rows").num_rows()).sum();
        best[1] = best[1].min(start.elapsed().as_secs_f64());
        assert_eq!(rows, 100_000);
    }
    let [ours, arrows] = best;
    let bytes = text.len() / 100_000;
    println!("records of {bytes} bytes: ours {:.0}/s, arrow-json {:.0}/s, ratio {:.2}", 1e5 / ours, 1e5 / arrows, arrows / ours);
}
