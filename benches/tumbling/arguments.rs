//! The command line of the benchmark.

use clap::{Parser, ValueEnum};

const KAFKA_HELP: &str = "Input 'kafka' needs a broker on this machine, whose address stands in HEADWATER_KAFKA:
  script/services up kafka && . <(script/services env)
It makes a topic of its own and deletes it afterwards. The batch engine reads the same records from a file.

Every run measures both engines one after the other on the same input and compares their results.";

/// Ten-second tumbling count, sum and max by key: Headwater, durable, beside DataFusion's batch run of the same query.
///
/// Absolute times depend on the machine; the ratio of the two is what counts.
#[derive(Debug, Parser)]
#[command(name = "tumbling", after_help = KAFKA_HELP)]
pub struct Arguments {
    /// Rows of each input.
    #[arg(long, value_name = "N", default_value_t = 40_000_000, value_parser = positive)]
    pub rows: u64,
    /// Numbers of different keys.
    #[arg(long, value_name = "K,…", value_delimiter = ',', default_values_t = [1_000, 100_000], value_parser = positive)]
    pub keys: Vec<u64>,
    /// Rows a second of event time: with the number of keys it says how many rows a group has.
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = positive)]
    pub rate: u64,
    /// Where the rows come from.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Input::Memory, Input::Ndjson])]
    pub input: Vec<Input>,
    /// Pairs of runs for each input and number of keys.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = positive)]
    pub runs: u64,
}

/// Where rows come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Input {
    /// Arrow batches.
    Memory,
    /// A file of JSON lines.
    Ndjson,
    /// A Kafka topic of JSON records of about 150 bytes.
    Kafka,
}

fn positive(text: &str) -> Result<u64, String> {
    let number: u64 = text.replace('_', "").parse().map_err(|_| String::from("not a number"))?;
    if number > 0 && i64::try_from(number).is_ok() { Ok(number) } else { Err("must be positive".into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(std::iter::once(&"tumbling").chain(words))
    }

    #[test]
    fn arguments_are_read_or_refused() {
        let arguments = parse(&["--keys", "10,1_000", "--input", "kafka,memory", "--rows", "5"]).unwrap();
        assert_eq!((arguments.rows, arguments.runs), (5, 3));
        assert_eq!(arguments.keys, [10, 1_000]);
        assert_eq!(arguments.input, [Input::Kafka, Input::Memory]);
        for wrong in [&["--rows", "many"][..], &["--keys", "0"], &["--input", "csv"], &["--row", "5"], &["--runs"], &["--keys", "1,"]] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
