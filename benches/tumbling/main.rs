//! Ten-second tumbling count, sum and max by key: Headwater, durable, beside DataFusion's batch run of the same query on the same input.
#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod arguments;
mod batch;
mod effort;
mod input;
mod memory;
mod stream;
mod topic;

use arrow::array::RecordBatch;
use clap::Parser;
use headwater::{Error, Result, SystemClock};

use arguments::{Arguments, Input};
use effort::{Effort, Meter};
use topic::Topic;

/// As in the server.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let clock = SystemClock::default();
    println!(
        "{:<8} {:>9} {:>10} {:>14} {:>14} {:>7} {:>10}",
        "input", "keys", "rows", "batch rows/s", "ours rows/s", "ratio", "core ratio"
    );
    for &keys in &arguments.keys {
        let batches = input::bids(arguments.rows, keys, arguments.rate)?;
        for &input in &arguments.input {
            let name = format!("{input:?}").to_lowercase();
            let place = Place::fill(input, &batches).await?;
            let (mut ratios, mut core_ratios) = (Vec::new(), Vec::new());
            for _ in 0..arguments.runs {
                let (theirs, ours) = pair(&place, &batches, &clock).await?;
                let (ratio, cores) = (theirs.time.as_secs_f64() / ours.time.as_secs_f64(), theirs.cores_s / ours.cores_s);
                let (their_rate, our_rate) = (theirs.rate(arguments.rows), ours.rate(arguments.rows));
                println!("{name:<8} {keys:>9} {:>10} {their_rate:>14.0} {our_rate:>14.0} {ratio:>7.2} {cores:>10.2}", arguments.rows);
                ratios.push(ratio);
                core_ratios.push(cores);
            }
            println!("{name:<8} {keys:>9} median ratio {:.2}, of core time {:.2}", median(ratios), median(core_ratios));
            place.clear().await?;
        }
    }
    Ok(())
}

fn median(mut ratios: Vec<f64>) -> f64 {
    ratios.sort_by(f64::total_cmp);
    ratios[ratios.len() / 2]
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

    fn is_bounded(&self) -> bool {
        !matches!(self, Self::Topic(..))
    }

    async fn clear(self) -> Result<()> {
        match self {
            Self::Topic(topic, _) => topic.delete().await,
            Self::Memory | Self::File(_) => Ok(()),
        }
    }
}

/// Both engines on one input, one after the other; the results are compared.
async fn pair(place: &Place, batches: &[RecordBatch], clock: &SystemClock) -> Result<(Effort, Effort)> {
    let meter = Meter::start(clock);
    let expected = batch::run(batches, place.file()).await?;
    let theirs = meter.stop();
    let (ours, groups) = stream::run(&place.source(), place.is_bounded(), batches, clock).await?;
    if expected != groups {
        return Err(Error::bug(format!("the batch engine found {expected:?} groups and bids, the view {groups:?}")));
    }
    Ok((theirs, ours))
}
