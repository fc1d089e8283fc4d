//! Every column type into PostgreSQL, read back as PostgreSQL writes it.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, FixedSizeBinaryArray, Float32Array, Float64Array, Int16Array,
    Int32Array, Int64Array, IntervalMonthDayNanoArray, ListArray, RecordBatch, StringArray, Time64MicrosecondArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{Field, Int32Type, IntervalMonthDayNano, Schema, SchemaRef};
use headwater_types::ChangeBatch;

use super::postgres_sink::{delivery, sink_of, target};
use super::services::service;

/// Column name, type in PostgreSQL, a value and NULL in Arrow, the value's text in PostgreSQL.
fn columns() -> Vec<(&'static str, &'static str, ArrayRef, &'static str)> {
    let decimal = |value: i128, precision, scale| {
        Decimal128Array::from(vec![Some(value), None]).with_precision_and_scale(precision, scale).expect("digits enough")
    };
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), None, Some(-3)]), None]);
    let mut texts = arrow::array::ListBuilder::new(arrow::array::StringBuilder::new());
    texts.append_value([Some("a \"b\" \\"), None, Some("")]);
    texts.append_null();
    let uuid = [0x12_u8, 0x3e, 0x45, 0x67, 0xe8, 0x9b, 0x12, 0xd3, 0xa4, 0x56, 0x42, 0x66, 0x14, 0x17, 0x40, 0];
    let uuids = FixedSizeBinaryArray::try_from_sparse_iter_with_size([Some(uuid), None].into_iter(), 16).expect("16 bytes");
    let micros = 1_767_225_601_000_001;
    vec![
        ("b", "boolean", Arc::new(BooleanArray::from(vec![Some(true), None])), "true"),
        ("i2", "smallint", Arc::new(Int16Array::from(vec![Some(-7), None])), "-7"),
        ("i4", "int", Arc::new(Int32Array::from(vec![Some(i32::MIN), None])), "-2147483648"),
        ("i8", "bigint", Arc::new(Int64Array::from(vec![Some(i64::MAX), None])), "9223372036854775807"),
        ("i4wide", "bigint", Arc::new(Int32Array::from(vec![Some(5), None])), "5"),
        ("f4", "real", Arc::new(Float32Array::from(vec![Some(1.5), None])), "1.5"),
        ("f8", "double precision", Arc::new(Float64Array::from(vec![Some(-0.1), None])), "-0.1"),
        ("n", "numeric", Arc::new(decimal(-1_234_567, 10, 4)), "-123.4567"),
        ("n38", "numeric", Arc::new(decimal(10_i128.pow(38) - 1, 38, 38)), "0.99999999999999999999999999999999999999"),
        ("total", "bigint", Arc::new(decimal(120_000, 38, 0)), "120000"),
        ("t", "text", Arc::new(StringArray::from(vec![Some("ü'\""), None])), "ü'\""),
        ("vc", "varchar(9)", Arc::new(StringArray::from(vec![Some("abc"), None])), "abc"),
        ("raw", "bytea", Arc::new(BinaryArray::from(vec![Some(&[0_u8, 255][..]), None])), "\\x00ff"),
        ("d", "date", Arc::new(Date32Array::from(vec![Some(20_454), None])), "2026-01-01"),
        ("tm", "time", Arc::new(Time64MicrosecondArray::from(vec![Some(3_600_000_001), None])), "01:00:00.000001"),
        ("ts", "timestamp", Arc::new(TimestampMicrosecondArray::from(vec![Some(micros), None])), "2026-01-01 00:00:01.000001"),
        (
            "tz",
            "timestamptz",
            Arc::new(TimestampMicrosecondArray::from(vec![Some(-1), None]).with_timezone("UTC")),
            "1969-12-31 23:59:59.999999+00",
        ),
        (
            "iv",
            "interval",
            Arc::new(IntervalMonthDayNanoArray::from(vec![Some(IntervalMonthDayNano::new(14, 3, 1_000_000)), None])),
            "1 year 2 mons 3 days 00:00:00.001",
        ),
        ("u", "uuid", Arc::new(uuids), "123e4567-e89b-12d3-a456-426614174000"),
        ("j", "jsonb", Arc::new(StringArray::from(vec![Some("{\"a\":1}"), None])), "{\"a\": 1}"),
        ("js", "json", Arc::new(StringArray::from(vec![Some("{\"a\":1}"), None])), "{\"a\": 1}"),
        ("li", "int[]", Arc::new(list), "{1,NULL,-3}"),
        ("lt", "text[]", Arc::new(texts.finish()), "{\"a \\\"b\\\" \\\\\",NULL,\"\"}"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_arrives_as_it_left() {
    let Some(service) = service("HEADWATER_POSTGRES", "every_type_arrives_as_it_left").await else { return };
    let columns = columns();
    let declared: Vec<String> = columns.iter().map(|(name, sql, ..)| format!("{name} {sql}")).collect();
    let db = target(&service, &format!("CREATE TABLE t (k int PRIMARY KEY, {})", declared.join(", "))).await;
    let mut fields = vec![Field::new("k", arrow::datatypes::DataType::Int32, true)];
    fields.extend(columns.iter().map(|(name, sql, array, _)| {
        let mark = if sql.starts_with("json") { "jsonb" } else { sql };
        Field::new(*name, array.data_type().clone(), true).with_metadata(HashMap::from([("headwater.type".into(), mark.to_string())]))
    }));
    let schema: SchemaRef = Arc::new(Schema::new(fields));
    let mut arrays: Vec<ArrayRef> = vec![Arc::new(Int32Array::from(vec![1, 2]))];
    arrays.extend(columns.iter().map(|(_, _, array, _)| array.clone()));
    let rows = RecordBatch::try_new(schema.clone(), arrays).expect("as declared");
    let (mut sink, uuid) = sink_of(&service, &db, &schema, &[0]);
    sink.mark().await.expect("the target fits");
    sink.deliver(&delivery(uuid, None, 1, vec![ChangeBatch::insertions(rows)])).await.expect("delivered");
    for (name, sql, _, text) in &columns {
        let answer = db.client.query(&format!("SELECT {name}::text FROM {}.t ORDER BY k", db.schema), &[]).await.expect("a column");
        let (value, null): (Option<String>, Option<String>) = (answer[0].get(0), answer[1].get(0));
        assert_eq!(value.as_deref(), Some(*text), "{name} {sql}");
        assert_eq!(null, None, "{name} {sql}");
    }
}
