//! The embedded API in one page: open, define, insert Arrow batches, follow a view, query it.
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::util::pretty::pretty_format_batches;
use headwater::{Database, Options, Result};

#[tokio::main]
async fn main() -> Result<()> {
    let database = Database::open(Options::in_memory()).await?;
    let mut session = database.session();
    session
        .execute(
            "CREATE TABLE clicks (user_id BIGINT, at TIMESTAMP, WATERMARK FOR at AS at - INTERVAL '5 seconds') APPEND ONLY;
             CREATE MATERIALIZED VIEW clicks_per_minute AS
             SELECT window_start, user_id, count(*) AS clicks FROM TUMBLE(clicks, at, INTERVAL '1 minute')
             GROUP BY window_start, user_id;",
        )
        .await?;

    let mut changes = database.subscribe("clicks_per_minute").await?;
    let inserter = database.inserter("clicks")?;
    for minute in 0..3 {
        let users = Int64Array::from_iter_values((0..1_000).map(|n| n % 3));
        let times = TimestampMicrosecondArray::from_iter_values((0..1_000).map(|n| minute * 60_000_000 + n * 1_000));
        let batch = RecordBatch::try_new(inserter.schema(), vec![Arc::new(users), Arc::new(times)])?;
        let done = inserter.insert(batch).await?;
        println!("inserted {} rows in epoch {}", done.inserted, done.epoch);
    }
    while let Some(change) = changes.next().await {
        let rows: usize = change.changes.iter().map(headwater::ChangeBatch::len).sum();
        println!("epoch {} changed {rows} rows of the view", change.epoch);
        if rows > 0 && change.epoch.0 >= 5 {
            break;
        }
    }
    let rows = session.query("SELECT * FROM clicks_per_minute ORDER BY window_start, user_id").await?;
    println!("{}", pretty_format_batches(&rows)?);
    database.close().await
}
