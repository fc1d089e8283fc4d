//! Every value of `renderings.tsv`, written by a real PostgreSQL (`renderings.sql`), read and written again by us: text and binary to the byte.

use super::{Format, encode_column};
use crate::decode::{read_binary, read_text_column};
use arrow::array::StringArray;
use arrow::datatypes::{DataType, Field, IntervalUnit, TimeUnit};
use headwater::system::{TYPE_METADATA, wire_type};
use std::sync::Arc;

fn field_of(name: &str) -> Field {
    if let Some(item) = name.strip_suffix("[]") {
        return Field::new("v", DataType::List(Arc::new(field_of(item).with_name("item"))), true);
    }
    let marked = |t: DataType, mark: &str| Field::new("v", t, true).with_metadata([(TYPE_METADATA.to_owned(), mark.to_owned())].into());
    let data_type = match name {
        "bool" => DataType::Boolean,
        "int2" => DataType::Int16,
        "int4" => DataType::Int32,
        "int8" => DataType::Int64,
        "oid" => DataType::UInt32,
        "float4" => DataType::Float32,
        "float8" => DataType::Float64,
        "text" | "varchar" => DataType::Utf8,
        "bytea" => DataType::Binary,
        "date" => DataType::Date32,
        "time" => DataType::Time64(TimeUnit::Microsecond),
        "timestamp" => DataType::Timestamp(TimeUnit::Microsecond, None),
        "timestamptz" => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        "interval" => DataType::Interval(IntervalUnit::MonthDayNano),
        "uuid" => return marked(DataType::FixedSizeBinary(16), "uuid"),
        "jsonb" => return marked(DataType::Utf8, "jsonb"),
        other => {
            let digits = other.trim_start_matches("numeric(").trim_end_matches(')');
            let (precision, scale) = digits.split_once(',').unwrap_or_else(|| panic!("no type {other}"));
            DataType::Decimal128(precision.parse().expect("precision"), scale.parse().expect("scale"))
        }
    };
    Field::new("v", data_type, true)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn bytes_of(hex: &str) -> Vec<u8> {
    (0..hex.len() / 2).map(|i| u8::from_str_radix(&hex[i * 2..i * 2 + 2], 16).expect("hex digits")).collect()
}

#[test]
fn values_are_written_and_read_as_postgres_does() {
    let mut differences = Vec::new();
    let mut compared = 0;
    for line in include_str!("renderings.tsv").lines() {
        let mut parts = line.splitn(3, '\t');
        let (Some(name), Some(text), Some(binary)) = (parts.next(), parts.next(), parts.next()) else {
            panic!("a line without three parts: {line}")
        };
        // A tab inside a value would be cut: the binary form is always the last part.
        let (text, binary) = match binary.rsplit_once('\t') {
            Some((more, last)) => (format!("{text}\t{more}"), last),
            None => (text.to_owned(), binary),
        };
        if name == "row" {
            continue;
        }
        // boolean::text says true where the wire says t.
        let text = if name == "bool" { text[..1].to_owned() } else { text };
        let field = field_of(name);
        compared += 1;
        let array = match read_text_column(&StringArray::from(vec![text.clone()]), &field) {
            Ok(array) => array,
            Err(error) => {
                differences.push(format!("{name} {text}: {error}"));
                continue;
            }
        };
        let cells = encode_column(&array, &field, Format::Text).expect("text form");
        let ours = String::from_utf8_lossy(cells.get(0).unwrap_or(b"NULL")).into_owned();
        if ours != text {
            differences.push(format!("{name}: PostgreSQL {text}, ours {ours}"));
        }
        if name.ends_with("[][]") {
            continue;
        }
        let cells = encode_column(&array, &field, Format::Binary).expect("binary form");
        let ours = hex(cells.get(0).unwrap_or_default());
        if ours != binary {
            differences.push(format!("{name} {text}: PostgreSQL {binary}, ours {ours}"));
        }
        let oid = wire_type(&field).expect("a type of PostgreSQL").oid;
        let value = read_binary(Some(&bytes_of(binary)), field.data_type(), oid).expect("binary parameter");
        let again = value.to_array().expect("array");
        // Without the item's metadata, jsonb inside an array would differ; a value alone does not carry it either.
        let again = encode_column(&again, &field, Format::Text).expect("text form");
        let ours = String::from_utf8_lossy(again.get(0).unwrap_or(b"NULL")).into_owned();
        if ours != text {
            differences.push(format!("{name} from binary: PostgreSQL {text}, ours {ours}"));
        }
    }
    assert!(compared > 2_000, "only {compared} values compared");
    assert!(differences.is_empty(), "{} of {compared} differ:\n{}", differences.len(), differences.join("\n"));
}

#[test]
fn records_are_written_as_postgres_does() {
    use arrow::array::{ArrayRef, Int32Array, Int64Array, StructArray};
    let texts = StringArray::from(vec![Some("a b"), Some(""), Some("q\"\\()"), Some("plain")]);
    let columns: Vec<(Arc<Field>, ArrayRef)> = vec![
        (Arc::new(Field::new("a", DataType::Int32, true)), Arc::new(Int32Array::from(vec![Some(1), Some(-5), None, Some(1)]))),
        (Arc::new(Field::new("b", DataType::Utf8, true)), Arc::new(texts)),
        (Arc::new(Field::new("c", DataType::Int64, true)), Arc::new(Int64Array::from(vec![None, Some(7), Some(0), Some(1)]))),
    ];
    let array: ArrayRef = Arc::new(StructArray::from(columns));
    let field = Field::new("v", array.data_type().clone(), true);
    let text = encode_column(&array, &field, Format::Text).expect("text form");
    let binary = encode_column(&array, &field, Format::Binary).expect("binary form");
    let expected: Vec<&str> = include_str!("renderings.tsv").lines().filter(|l| l.starts_with("row\t")).collect();
    assert_eq!(expected.len(), 4);
    for (row, line) in expected.iter().enumerate() {
        let ours = format!("row\t{}\t{}", String::from_utf8_lossy(text.get(row).expect("text")), hex(binary.get(row).expect("binary")));
        assert_eq!(&ours, line);
    }
}
