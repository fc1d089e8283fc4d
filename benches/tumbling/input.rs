//! Bids: a key, a price, a time that goes on with every row.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::sync::Arc;

use arrow::array::{AsArray, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType};
use headwater::Result;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// 2025-01-01, so that no bid is ahead of the clock.
const START_US: i64 = 1_735_689_600_000_000;
const HOUR_US: i64 = 3_600_000_000;

/// `key BIGINT, price BIGINT, at TIMESTAMP`.
pub fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("key", DataType::Int64, true),
        Field::new("price", DataType::Int64, true),
        Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, None), true),
    ]))
}

/// `rows` bids over `keys` keys, `rate` of them a second, seeded.
pub fn bids(rows: u64, keys: u64, rate: u64) -> Result<Vec<RecordBatch>> {
    let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let (rows, keys, rate) = (usize::try_from(rows).unwrap_or(usize::MAX), number(keys), number(rate));
    let mut random = SmallRng::seed_from_u64(7);
    let mut batches = Vec::new();
    let mut at = 0;
    while at < rows {
        let count = 8_192.min(rows - at);
        let key = Int64Array::from_iter_values((0..count).map(|_| random.random_range(0..keys)));
        let price = Int64Array::from_iter_values((0..count).map(|_| random.random_range(1..10_000)));
        let micros = |row: usize| START_US + i64::try_from(row).unwrap_or(i64::MAX) * 1_000_000 / rate;
        let time = TimestampMicrosecondArray::from_iter_values((at..at + count).map(micros));
        batches.push(RecordBatch::try_new(schema(), vec![Arc::new(key), Arc::new(price), Arc::new(time)])?);
        at += count;
    }
    Ok(batches)
}

/// More fields of a bid, which nobody asks for: with them a record has about 150 bytes.
pub const PADDING: &str = r#","bidder":"person-4711","channel":"organic","url":"https://auctions.example/item/8842?ref=mail""#;

/// Writes a bid as a JSON object.
pub fn write_json(batch: &RecordBatch, row: usize, padding: &str, out: &mut impl Write) -> Result<()> {
    let (key, price) = (batch.column(0).as_primitive::<Int64Type>(), batch.column(1).as_primitive::<Int64Type>());
    let at = batch.column(2).as_primitive::<TimestampMicrosecondType>();
    let time = at.value_as_datetime(row).map(|t| t.format("%Y-%m-%dT%H:%M:%S%.6f").to_string()).unwrap_or_default();
    write!(out, r#"{{"key":{},"price":{},"at":"{time}"{padding}}}"#, key.value(row), price.value(row))?;
    Ok(())
}

/// A bid an hour after the last one.
pub fn last_bid(batches: &[RecordBatch]) -> Result<RecordBatch> {
    let last = batches.last().map(|batch| batch.column(2).as_primitive::<TimestampMicrosecondType>());
    let last = last.and_then(|at| at.values().last().copied()).unwrap_or(START_US);
    let at = TimestampMicrosecondArray::from_value(last + HOUR_US, 1);
    let number = Int64Array::from_value(1, 1);
    Ok(RecordBatch::try_new(schema(), vec![Arc::new(number.clone()), Arc::new(number), Arc::new(at)])?)
}

/// The bids as a file of JSON lines; gone when dropped.
pub fn write_ndjson(batches: &[RecordBatch], padding: &str) -> Result<tempfile::TempDir> {
    let directory = tempfile::tempdir()?;
    let mut file = BufWriter::new(File::create(directory.path().join("bids.json"))?);
    for batch in batches {
        for row in 0..batch.num_rows() {
            write_json(batch, row, padding, &mut file)?;
            file.write_all(b"\n")?;
        }
    }
    file.flush()?;
    Ok(directory)
}
