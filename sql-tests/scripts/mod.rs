//! The scripts of `slt/`, each run in every way that must give the same answers.

mod event_times;
mod recut;
pub(crate) mod views;
mod wire;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::slt::{self, ScriptDatabase, ScriptRecord};
use libtest_mimic::Trial;
use sqllogictest::StatementExpect;

pub use views::Comparisons;
use views::Views;

/// A script that takes longer than this hangs.
const SCRIPT_TIME_MAX: Duration = Duration::from_secs(60);

/// A way of running a script.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// As it is written.
    AsIs,
    /// Killed and opened again after every statement outside of a transaction block.
    Reopened,
    /// Each INSERT of several rows split into one a row: more epochs.
    Split,
    /// Neighbouring INSERTs into the same table merged: fewer epochs.
    Merged,
    /// Every materialized view compared with its query run as a batch, after every statement.
    Batch,
    /// By the public runner's rules over the Postgres wire.
    Wire,
}

const WAYS: [Way; 6] = [Way::AsIs, Way::Reopened, Way::Split, Way::Merged, Way::Batch, Way::Wire];

/// One test for each script and way; what was compared with a batch is counted in `comparisons`.
pub fn trials(comparisons: &Arc<Comparisons>) -> Vec<Trial> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("slt");
    let mut files = Vec::new();
    collect(&root, &mut files);
    files.sort();
    let mut trials = Vec::new();
    for file in files {
        let name = file.strip_prefix(&root).expect("found under the root").with_extension("").display().to_string();
        for way in WAYS.into_iter().filter(|way| may_run(&name, *way)) {
            let (file, name, comparisons) = (file.clone(), name.clone(), comparisons.clone());
            let title = format!("{}::{name}", format!("{way:?}").to_lowercase());
            let test = move || {
                let views = Views::new(name, &comparisons);
                run(&file, way, views).map_err(|message| message.into())
            };
            trials.push(Trial::test(title, test));
        }
    }
    trials
}

/// Scripts that hold the clock need our own runner; those in `held/once` measure silence, which a restart breaks.
fn may_run(name: &str, way: Way) -> bool {
    match way {
        Way::Wire => !name.starts_with("held/"),
        Way::Reopened => !name.starts_with("held/once/"),
        _ => true,
    }
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("the scripts are there").flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|e| e == "slt") {
            files.push(path);
        }
    }
}

fn run(file: &Path, way: Way, views: Views<'_>) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().map_err(|e| e.to_string())?;
    let script = async {
        let records = slt::read(file)?;
        match way {
            Way::AsIs => as_is(records).await,
            Way::Reopened => reopened(file, records).await,
            Way::Split => as_is(recut::split(records)).await,
            Way::Merged => as_is(recut::merge(records)).await,
            Way::Batch => compared(records, views).await,
            Way::Wire => wire::run(records).await,
        }
    };
    runtime.block_on(async {
        tokio::time::timeout(SCRIPT_TIME_MAX, script).await.unwrap_or_else(|_| Err(format!("no end after {SCRIPT_TIME_MAX:?}")))
    })
}

async fn as_is(records: Vec<ScriptRecord>) -> Result<(), String> {
    let database = ScriptDatabase::in_memory().await.map_err(|e| e.to_string())?;
    slt::run_records(&database, records, async |_| Ok(())).await?;
    database.close().await.map_err(|e| e.to_string())
}

/// Every tenth file on RocksDB, the others in memory. The machine runs on: what power loss takes is the simulation's matter.
async fn reopened(file: &Path, records: Vec<ScriptRecord>) -> Result<(), String> {
    let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
    let on_disk = file.display().to_string().bytes().map(usize::from).sum::<usize>() % 10 == 0;
    let database = if on_disk { ScriptDatabase::at(&folder.path().join("data")).await } else { ScriptDatabase::in_memory().await };
    let database = database.map_err(|e| e.to_string())?;
    let reopen = async |record: &ScriptRecord| match record {
        ScriptRecord::Statement { loc, .. } | ScriptRecord::Query { loc, .. } if !database.is_busy() => {
            database.kill().await.map_err(|e| format!("opening again after {loc}: {e}"))
        }
        _ => Ok(()),
    };
    slt::run_records(&database, records, reopen).await?;
    database.close().await.map_err(|e| e.to_string())
}

async fn compared(records: Vec<ScriptRecord>, mut views: Views<'_>) -> Result<(), String> {
    let database = ScriptDatabase::in_memory().await.map_err(|e| e.to_string())?;
    let compare = async |record: &ScriptRecord| match record {
        ScriptRecord::Statement { loc, sql, expected, .. } => {
            if !matches!(expected, StatementExpect::Error(_)) {
                views.note(sql);
            }
            if database.is_busy() {
                return Ok(());
            }
            let mut session = database.session().await.map_err(|e| e.to_string())?;
            views.compare(&mut session).await.map_err(|e| format!("{e}\nafter {loc}"))
        }
        _ => Ok(()),
    };
    slt::run_records(&database, records, compare).await?;
    database.close().await.map_err(|e| e.to_string())
}
