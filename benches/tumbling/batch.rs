//! DataFusion's own run: its default settings, every core.

use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use datafusion::datasource::MemTable;
use datafusion::prelude::{JsonReadOptions, SessionContext};
use headwater::{Error, Result};

use crate::input;

const QUERY: &str = "SELECT date_bin(INTERVAL '10 seconds', at) AS window_start, key, count(*) AS n, sum(price) AS total, max(price) AS top \
                     FROM bids GROUP BY 1, 2";

/// Runs the query to its end; the number of groups and of rows counted.
pub async fn run(batches: &[RecordBatch], file: Option<&tempfile::TempDir>) -> Result<(usize, i64)> {
    let failed = |e: datafusion::error::DataFusionError| Error::bug(e.to_string());
    let context = SessionContext::new();
    match file {
        None => {
            let half = batches.len().div_ceil(2).max(1);
            let parts = batches.chunks(half).map(<[RecordBatch]>::to_vec).collect();
            let table = MemTable::try_new(input::schema(), parts).map_err(failed)?;
            context.register_table("bids", Arc::new(table)).map_err(failed)?;
        }
        Some(directory) => {
            let schema = input::schema();
            let options = JsonReadOptions::default().schema(&schema);
            let path = directory.path().join("bids.json").display().to_string();
            context.register_json("bids", path, options).await.map_err(failed)?;
        }
    }
    let result = context.sql(QUERY).await.map_err(failed)?.collect().await.map_err(failed)?;
    let counted = |b: &RecordBatch| b.column(2).as_primitive::<Int64Type>().values().iter().sum::<i64>();
    Ok((result.iter().map(RecordBatch::num_rows).sum(), result.iter().map(counted).sum()))
}
