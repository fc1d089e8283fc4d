//! Headwater's run: state and view in a data directory, every epoch written and synced.

use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use headwater::{Database, Options, Result, SystemClock};

use crate::effort::{Effort, Meter};
use crate::memory::Memory;

/// Runs the view over `source`, which ends if it `is_bounded`, to its end: the time from the start of reading, and the number of groups and of rows counted.
pub async fn run(source: &str, is_bounded: bool, batches: &[RecordBatch], clock: &SystemClock) -> Result<(Effort, (usize, i64))> {
    let data = tempfile::tempdir()?;
    let mut options = Options::at(data.path());
    options.registry.register(Arc::new(Memory { batches: batches.to_vec() }));
    let database = Database::open(options).await?;
    let mut session = database.session();
    let script = format!(
        "CREATE SOURCE bids (key BIGINT, price BIGINT, at TIMESTAMP, WATERMARK FOR at AS at - INTERVAL '1 second') {source};
         CREATE MATERIALIZED VIEW totals AS
         SELECT window_start, key, count(*) AS n, sum(price) AS total, max(price) AS top
         FROM TUMBLE(bids, at, INTERVAL '10 seconds') GROUP BY window_start, key EMIT ON WINDOW CLOSE;"
    );
    let meter = Meter::start(clock);
    session.run_script(&script, async |_, _| Ok(())).await?;
    if is_bounded {
        database.finished().await?;
    } else {
        // All that the source holds is in the view, and synced.
        session.run_script("FLUSH", async |_, _| Ok(())).await?;
    }
    let effort = meter.stop();
    let rows = session.query("SELECT count(*) AS groups, sum(n)::BIGINT AS n FROM totals").await?;
    let value = |column: usize| rows[0].column(column).as_primitive::<Int64Type>().value(0);
    let result = (usize::try_from(value(0)).unwrap_or(0), value(1));
    database.close().await?;
    Ok((effort, result))
}
