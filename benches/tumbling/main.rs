//! Ten-second tumbling count, sum and max by key: Headwater, durable, beside DataFusion's batch run of the same query on the same input.
#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod arguments;
mod batch;
mod input;
mod memory;
mod stream;
mod topic;

use std::time::Duration;

use arrow::array::RecordBatch;
use clap::Parser;
use headwater::{Clock, Error, Result, SystemClock};

use arguments::{Arguments, Input};
use topic::Topic;

/// As in the server.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let clock = SystemClock::default();
    println!("{:<8} {:>9} {:>10} {:>14} {:>14} {:>7}", "input", "keys", "rows", "batch rows/s", "ours rows/s", "ratio");
    for &keys in &arguments.keys {
        let batches = input::bids(arguments.rows, keys)?;
        for &input in &arguments.input {
            let name = format!("{input:?}").to_lowercase();
            let place = Place::fill(input, &batches).await?;
            let mut ratios = Vec::new();
            for _ in 0..arguments.runs {
                let (theirs, ours) = pair(&place, &batches, &clock).await?;
                let (theirs, ours) = (rate(arguments.rows, theirs), rate(arguments.rows, ours));
                println!("{name:<8} {keys:>9} {:>10} {theirs:>14.0} {ours:>14.0} {:>7.2}", arguments.rows, ours / theirs);
                ratios.push(ours / theirs);
            }
            ratios.sort_by(f64::total_cmp);
            println!("{name:<8} {keys:>9} median ratio {:.2}", ratios[ratios.len() / 2]);
            place.clear().await?;
        }
    }
    Ok(())
}

/// Where an input lies.
enum Place {
    Memory,
    File(tempfile::TempDir),
    /// A topic, and a file of the same records.
    Topic(Topic, tempfile::TempDir),
}

impl Place {
    async fn fill(input: Input, batches: &[RecordBatch]) -> Result<Self> {
        Ok(match input {
            Input::Memory => Self::Memory,
            Input::Ndjson => Self::File(input::write_ndjson(batches, "")?),
            Input::Kafka => Self::Topic(Topic::fill(batches).await?, input::write_ndjson(batches, input::PADDING)?),
        })
    }

    fn file(&self) -> Option<&tempfile::TempDir> {
        match self {
            Self::Memory => None,
            Self::File(file) | Self::Topic(_, file) => Some(file),
        }
    }

    /// The options of the source that reads it.
    fn source(&self) -> String {
        match self {
            Self::Memory => "WITH (connector = 'memory')".to_owned(),
            Self::File(file) => {
                format!("WITH (connector = 'file', path = '{}/*.json') FORMAT PLAIN ENCODE JSON", file.path().display())
            }
            Self::Topic(topic, _) => topic.source(),
        }
    }

    async fn clear(self) -> Result<()> {
        match self {
            Self::Topic(topic, _) => topic.delete().await,
            Self::Memory | Self::File(_) => Ok(()),
        }
    }
}

/// Both engines on one input, one after the other; the results are compared.
async fn pair(place: &Place, batches: &[RecordBatch], clock: &SystemClock) -> Result<(Duration, Duration)> {
    let start = clock.elapsed();
    let expected = batch::run(batches, place.file()).await?;
    let theirs = clock.elapsed() - start;
    let (ours, groups) = stream::run(&place.source(), batches, clock).await?;
    if expected != groups {
        return Err(Error::bug(format!("the batch engine found {expected:?} groups and bids, the view {groups:?}")));
    }
    Ok((theirs, ours))
}

#[allow(clippy::cast_precision_loss, reason = "a rate for people")]
fn rate(rows: u64, time: Duration) -> f64 {
    rows as f64 / time.as_secs_f64()
}
