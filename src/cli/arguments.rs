//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use headwater::Options;

/// Headwater: an embedded SQL streaming database.
///
/// Declare sources, event-time windows, materialized views and sinks in SQL; query them with psql while they run.
#[derive(Debug, Parser)]
#[command(name = "headwater", version, max_term_width = 120)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a script until its bounded sources end, or until Ctrl-C; then print its views.
    Run(RunArguments),
    /// Serve Postgres clients; a script is run first, if one is given.
    Serve(ServeArguments),
    /// Run sqllogictest scripts (.slt), each on an empty database and a clock that only ADVANCE CLOCK moves.
    Test {
        /// The scripts; of a directory, every .slt file in it and below.
        #[arg(required = true, value_name = "PATH")]
        files: Vec<PathBuf>,
    },
}

/// Where a database lives.
#[derive(Debug, Args)]
pub struct StorageArguments {
    /// The data directory; without one everything is in memory and ends with the process.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Take checkpoints to this URL: s3://bucket/prefix or file:///directory.
    #[arg(long, value_name = "URL")]
    pub checkpoint: Option<String>,
    /// Seconds between two checkpoints.
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    pub checkpoint_interval: u64,
    /// Take the checkpoint URL over from a process that does not answer any more.
    #[arg(long)]
    pub take_over: bool,
    /// Resident state of all views together, in MiB; a quarter of the machine unless given.
    #[arg(long, value_name = "MIB")]
    pub memory_limit: Option<usize>,
}

impl StorageArguments {
    /// The same as options of a database.
    #[must_use]
    pub fn options(&self) -> Options {
        let mut options = self.data.as_ref().map_or_else(Options::in_memory, Options::at);
        options.checkpoint.clone_from(&self.checkpoint);
        options.checkpoint_interval = Duration::from_secs(self.checkpoint_interval.max(1));
        options.take_over = self.take_over;
        if let Some(mib) = self.memory_limit {
            options.memory_limit_bytes = mib << 20;
        }
        options
    }
}

/// `headwater run`.
#[derive(Debug, Args)]
pub struct RunArguments {
    /// The script.
    #[arg(value_name = "SCRIPT.sql")]
    pub script: PathBuf,
    /// Where the database lives.
    #[command(flatten)]
    pub storage: StorageArguments,
    /// Also answer Postgres clients at this address while the script runs.
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,
    /// Rows of each view that the summary shows.
    #[arg(long, value_name = "ROWS", default_value_t = 10)]
    pub rows: usize,
}

/// `headwater serve`.
#[derive(Debug, Args)]
pub struct ServeArguments {
    /// A script to run first; on data that it has run on before, what is there as written stays.
    #[arg(value_name = "SCRIPT.sql")]
    pub script: Option<PathBuf>,
    /// Where the database lives.
    #[command(flatten)]
    pub storage: StorageArguments,
    /// Where Postgres clients connect.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:6565")]
    pub listen: SocketAddr,
    /// Listen also where other machines can connect, although nobody is asked for a password: whoever reaches the port can read and write everything.
    #[arg(long)]
    pub insecure: bool,
}
