//! The process that is killed: a database on a directory, its checkpoints in S3, running the script.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use headwater::{Database, Options, Result};

const DIRECTORY: &str = "HEADWATER_CHILD_DIRECTORY";
const CHECKPOINT: &str = "HEADWATER_CHILD_CHECKPOINT";
const SCRIPT: &str = "HEADWATER_CHILD_SCRIPT";

/// What a database of this test is opened with.
pub fn options(directory: &Path, checkpoint: &str) -> Options {
    Options {
        checkpoint: Some(checkpoint.to_owned()),
        checkpoint_interval: Duration::from_secs(2),
        take_over: true,
        ..Options::at(directory)
    }
}

/// True in a process that was started by [`start`].
pub fn is_child() -> bool {
    std::env::var_os(DIRECTORY).is_some()
}

/// Starts the database in a process of its own; what it complains of goes to `directory.log`.
pub fn start(directory: &Path, checkpoint: &str, script: &str) -> Child {
    let log = std::fs::File::options().create(true).append(true).open(directory.with_extension("log")).expect("a log file");
    Command::new(std::env::current_exe().expect("this program"))
        .env(DIRECTORY, directory)
        .env(CHECKPOINT, checkpoint)
        .env(SCRIPT, script)
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("the child starts")
}

/// The child's `main`: runs until it is killed.
pub fn run() -> ExitCode {
    let variable = |name| std::env::var(name).expect("set by the parent");
    let tokio = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads");
    let outcome: Result<()> = tokio.block_on(async {
        let database = Database::open(options(&PathBuf::from(variable(DIRECTORY)), &variable(CHECKPOINT))).await?;
        database.session().run_script(&variable(SCRIPT), async |_, _| Ok(())).await?;
        database.ended().await
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the child ended: {error:?}");
            ExitCode::FAILURE
        }
    }
}
