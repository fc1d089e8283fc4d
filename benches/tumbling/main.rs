//! Ten-second tumbling count, sum and max by key: Headwater, durable, beside DataFusion's batch run of the same query on the same input.
//!
//! `tumbling [--rows N] [--keys K,K…] [--input memory,ndjson,kafka] [--runs N]`. Absolute times depend on the machine; the ratio is what counts.
#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod batch;
mod input;
mod memory;
mod stream;

use std::time::Duration;

use headwater::{Clock, Result, SystemClock};

/// What is measured.
struct Plan {
    rows: usize,
    keys: Vec<i64>,
    inputs: Vec<String>,
    runs: usize,
}

impl Plan {
    fn from_arguments() -> Self {
        let mut plan = Plan { rows: 10_000_000, keys: vec![1_000, 100_000], inputs: vec!["memory".into(), "ndjson".into()], runs: 3 };
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        for pair in arguments.chunks(2) {
            let [name, value] = pair else { continue };
            match name.as_str() {
                "--rows" => plan.rows = value.parse().unwrap_or(plan.rows),
                "--keys" => plan.keys = value.split(',').filter_map(|k| k.parse().ok()).collect(),
                "--input" => plan.inputs = value.split(',').map(str::to_owned).collect(),
                "--runs" => plan.runs = value.parse().unwrap_or(plan.runs),
                other => println!("{other} is not known"),
            }
        }
        plan
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let plan = Plan::from_arguments();
    let clock = SystemClock::default();
    println!("{:<8} {:>9} {:>10} {:>14} {:>14} {:>7}", "input", "keys", "rows", "batch rows/s", "ours rows/s", "ratio");
    for &keys in &plan.keys {
        let batches = input::bids(plan.rows, keys)?;
        for input in &plan.inputs {
            let mut ratios = Vec::new();
            for _ in 0..plan.runs {
                let (theirs, ours) = pair(input, &batches, &clock).await?;
                let (theirs, ours) = (rate(plan.rows, theirs), rate(plan.rows, ours));
                println!("{input:<8} {keys:>9} {:>10} {theirs:>14.0} {ours:>14.0} {:>7.2}", plan.rows, ours / theirs);
                ratios.push(ours / theirs);
            }
            ratios.sort_by(f64::total_cmp);
            println!("{input:<8} {keys:>9} median ratio {:.2}", ratios[ratios.len() / 2]);
        }
    }
    Ok(())
}

/// Both engines on one input, one after the other; the results are compared.
async fn pair(input: &str, batches: &[arrow::array::RecordBatch], clock: &SystemClock) -> Result<(Duration, Duration)> {
    let file = if input == "ndjson" { Some(input::write_ndjson(batches)?) } else { None };
    let start = clock.elapsed();
    let expected = batch::run(batches, file.as_ref()).await?;
    let theirs = clock.elapsed() - start;
    let (ours, groups) = stream::run(input, batches, file.as_ref(), clock).await?;
    if expected != groups {
        return Err(headwater::Error::bug(format!("the batch engine found {expected:?} groups and opens, the view {groups:?}")));
    }
    Ok((theirs, ours))
}

#[allow(clippy::cast_precision_loss, reason = "a rate for people")]
fn rate(rows: usize, time: Duration) -> f64 {
    rows as f64 / time.as_secs_f64()
}
