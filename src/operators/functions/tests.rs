//! Our functions as the batch engine runs them.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int32Array, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::DataType;
use datafusion::prelude::{SessionConfig, SessionContext};

use super::register;
use crate::testing::texts;

fn run(sql: &str) -> Result<RecordBatch, String> {
    let rows = RecordBatch::try_from_iter([
        ("key", Arc::new(Int32Array::from(vec![1, 1, 2, 2, 2])) as ArrayRef),
        ("small", Arc::new(Int32Array::from(vec![Some(i32::MAX), Some(1), None, None, None]))),
        ("big", Arc::new(Int64Array::from(vec![i64::MAX, i64::MAX, 1, 2, 2]))),
        ("float", Arc::new(Float64Array::from(vec![1e16, 1.0, 1e16, -1e16, 0.1]))),
        ("at", Arc::new(TimestampMicrosecondArray::from(vec![-1, 0, 9, 10, 25]))),
    ]);
    // Several partitions, so that partial states are merged.
    let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(3).with_batch_size(1));
    let mut state = context.state();
    register(&mut state).map_err(|e| e.to_string())?;
    let context = SessionContext::new_with_state(state);
    context.register_batch("t", rows.unwrap()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let frame = context.sql(sql).await.map_err(|e| e.strip_backtrace())?;
        let schema = Arc::new(frame.schema().as_arrow().clone());
        let batches = frame.collect().await.map_err(|e| e.strip_backtrace())?;
        Ok(arrow::compute::concat_batches(&schema, &batches).unwrap())
    })
}

fn rows(sql: &str) -> Vec<Vec<String>> {
    texts(&run(sql).unwrap())
}

fn strings(expected: &[&[&str]]) -> Vec<Vec<String>> {
    expected.iter().map(|row| row.iter().map(ToString::to_string).collect()).collect()
}

#[test]
fn sums_are_exact_and_wide() {
    let sql = "SELECT key, sum(small), sum(big), sum(float), avg(small), avg(big) FROM t GROUP BY key ORDER BY key";
    let result = run(sql).unwrap();
    let types: Vec<DataType> = result.schema().fields().iter().skip(1).map(|f| f.data_type().clone()).collect();
    use DataType::{Decimal128, Float64, Int64};
    assert_eq!(types, vec![Int64, Decimal128(38, 0), Float64, Decimal128(38, 16), Decimal128(38, 16)]);
    let expected: &[&[&str]] = &[
        &[
            "1",
            "2147483648",
            "18446744073709551614",
            "10000000000000000.0",
            "1073741824.0000000000000000",
            "9223372036854775807.0000000000000000",
        ],
        &["2", "NULL", "5", "0.1", "NULL", "1.6666666666666667"],
    ];
    let mut found = texts(&result);
    found[0][3] = found[0][3].replace("1e16", "10000000000000000.0");
    assert_eq!(found, strings(expected));
}

#[test]
fn distinct_sums_and_sliding_frames() {
    assert_eq!(rows("SELECT sum(DISTINCT big), avg(DISTINCT big) FROM t WHERE key = 2"), strings(&[&["3", "1.5000000000000000"]]));
    let sql = "SELECT sum(big) OVER (ORDER BY at ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM t WHERE key = 2 ORDER BY at";
    assert_eq!(rows(sql), strings(&[&["1"], &["3"], &["4"]]));
    let sql = "SELECT key, sum(DISTINCT big), count(*) FROM t GROUP BY key ORDER BY key";
    assert_eq!(rows(sql), strings(&[&["1", "9223372036854775807", "2"], &["2", "3", "3"]]));
}

#[test]
fn variances_lose_no_digits() {
    assert_eq!(
        rows("SELECT var_pop(float + 100), stddev(big), corr(big, big) FROM t WHERE key = 2 AND float < 1 AND float > 0"),
        strings(&[&["0.0", "NULL", "NULL"]])
    );
    assert_eq!(rows("SELECT covar_pop(big, big * 2), var_samp(big), var(big) FROM t WHERE key = 2").remove(0)[0], "0.4444444444444444");
}

#[test]
fn a_sum_out_of_range_fails_the_query() {
    let error = run("SELECT sum(CAST(big AS DECIMAL(38, 0)) * 10000000000000000000) FROM t").unwrap_err();
    assert!(error.contains("sum out of range"), "{error}");
    let error = run("SELECT sum('a') FROM t").unwrap_err();
    assert!(error.contains("does not exist"), "{error}");
}

#[test]
fn window_edges_are_functions() {
    let sql = "SELECT tumble_start(at, INTERVAL '10 microseconds'), tumble_end(at, INTERVAL '10 microseconds', INTERVAL '3 microseconds') FROM t ORDER BY at";
    let found = rows(sql);
    let starts: Vec<&str> = found.iter().map(|row| row[0].as_str()).collect();
    let at = |micros: &str| format!("1970-01-01T00:00:00{micros}");
    assert_eq!(starts, ["1969-12-31T23:59:59.999990", &at(""), &at(""), &at(".000010"), &at(".000020")]);
    let ends: Vec<&str> = found.iter().map(|row| row[1].as_str()).collect();
    assert_eq!(ends, [at(".000003"), at(".000003"), at(".000013"), at(".000013"), at(".000033")]);
    let sql = "SELECT unnest(hop_starts(at, INTERVAL '5 microseconds', INTERVAL '10 microseconds')) AS s, big FROM t WHERE at = '1970-01-01T00:00:00.000009'";
    assert_eq!(rows(sql), strings(&[&[&at(".000005"), "1"], &[&at(""), "1"]]));
    let sql = "SELECT hop_end(at, INTERVAL '5 microseconds', INTERVAL '10 microseconds') FROM t WHERE at = '1970-01-01T00:00:00.000010'";
    assert_eq!(rows(sql), strings(&[&[&at(".000020")]]));
}

#[test]
fn the_window_of_no_time_is_null() {
    assert_eq!(rows("SELECT tumble_start(NULL, INTERVAL '1 day')"), strings(&[&["NULL"]]));
    let sql = "SELECT tumble_start(a, INTERVAL '10 microseconds'), tumble_end(a, INTERVAL '10 microseconds') \
        FROM (SELECT nullif(at, TIMESTAMP '1970-01-01T00:00:00.000009') AS a FROM t WHERE at >= '1970-01-01T00:00:00.000009') ORDER BY 1";
    let at = |micros: &str| format!("1970-01-01T00:00:00{micros}");
    assert_eq!(rows(sql), strings(&[&[&at(".000010"), &at(".000020")], &[&at(".000020"), &at(".000030")], &["NULL", "NULL"]]));
    let sql = "SELECT s, hop_end(s, INTERVAL '5 microseconds', INTERVAL '10 microseconds') FROM (SELECT unnest(hop_starts(\
        nullif(at, TIMESTAMP '1970-01-01T00:00:00.000009'), INTERVAL '5 microseconds', INTERVAL '10 microseconds')) AS s FROM t \
        WHERE at = '1970-01-01T00:00:00.000009')";
    assert_eq!(rows(sql), strings(&[&["NULL", "NULL"]]));
}

#[test]
fn windows_of_odd_sizes_are_errors() {
    for (sql, text) in [
        ("SELECT tumble_start(at, INTERVAL '0 days') FROM t", "must be positive"),
        ("SELECT tumble_start(at) FROM t", "takes (time, size [, offset])"),
        ("SELECT tumble_start(big, INTERVAL '1 day') FROM t", "takes a timestamp"),
    ] {
        let error = run(sql).unwrap_err();
        assert!(error.contains(text), "{sql}: {error}");
    }
}
