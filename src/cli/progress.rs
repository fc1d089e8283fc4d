//! The live line of a running script: rows a second, watermark, lag, state, last checkpoint.
#![allow(clippy::print_stderr, reason = "the live line goes to the terminal")]

use std::io::{IsTerminal, Write};
use std::time::Duration;

use headwater::{Clock, Database, Result, Status, SystemClock};

use crate::show::CLEAR;
use crate::troubles;

/// Time between two looks.
const EVERY: Duration = Duration::from_millis(500);

/// Shows how `database` gets on until it ends; where standard error is no terminal, what does not get on is logged.
pub(crate) async fn show(database: Database) -> Result<()> {
    if !std::io::stderr().is_terminal() {
        return troubles::log(&database).await;
    }
    let clock = SystemClock::default();
    let mut before: Option<(Duration, u64)> = None;
    loop {
        let status = database.status().await?;
        let now = clock.elapsed();
        let rate = before.map_or(0.0, |(at, rows)| rate(status.rows - rows, now - at));
        before = Some((now, status.rows));
        eprint!("{CLEAR}{}", line(&status, rate));
        // A terminal that is gone needs no line.
        let _gone = std::io::stderr().flush();
        tokio::time::sleep(EVERY).await;
    }
}

/// Rows a second.
#[allow(clippy::cast_precision_loss, reason = "a rate for people")]
pub(crate) fn rate(rows: u64, time: Duration) -> f64 {
    rows as f64 / time.as_secs_f64().max(0.001)
}

/// The line.
pub(crate) fn line(status: &Status, rows_per_s: f64) -> String {
    let watermark = status.sources.iter().filter_map(|s| s.watermark).min();
    let lag: u64 = status.sources.iter().flat_map(|s| s.partitions.iter().filter_map(|p| p.lag)).sum();
    let late: u64 = status.views.iter().map(|v| v.late).sum();
    let errors: u64 = status.sources.iter().map(|s| s.errors).sum::<u64>() + status.views.iter().map(|v| v.errors).sum::<u64>();
    let mut parts = vec![format!("{} rows", grouped(status.rows)), format!("{} rows/s", thousands(rows_per_s))];
    if let Some(at) = watermark {
        parts.push(format!("watermark {}", instant(at)));
    }
    parts.push(format!("lag {}", grouped(lag)));
    parts.push(format!("state {:.1} MiB", mebibytes(status.state_bytes)));
    if late + errors > 0 {
        parts.push(format!("late {late}, errors {errors}"));
    }
    if let Some(epoch) = status.checkpoint {
        parts.push(format!("checkpoint at epoch {epoch}"));
    }
    let waiting = status.paused.clone().or_else(|| status.sources.iter().find_map(|s| s.message.clone()));
    parts.extend(waiting.map(|w| w.lines().next().unwrap_or_default().to_owned()));
    parts.join(" · ")
}

#[allow(clippy::cast_precision_loss, reason = "a size for people")]
fn mebibytes(bytes: usize) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate is not negative and far below 2^64")]
fn thousands(rate: f64) -> String {
    grouped(rate.round() as u64)
}

/// `1234567` as `1,234,567`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn instant(at: i64) -> String {
    if at >= headwater_types::END_OF_TIME {
        return "at the end".to_owned();
    }
    chrono::DateTime::from_timestamp_micros(at).map_or_else(String::new, |t| t.format("%Y-%m-%d %H:%M:%S").to_string())
}

#[cfg(test)]
mod tests {
    use super::grouped;

    #[test]
    fn digits_in_threes() {
        assert_eq!(grouped(7), "7");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(grouped(123_456), "123,456");
    }
}
