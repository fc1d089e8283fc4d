//! The embedded API: scripts that run again, Arrow in and changes out, what is told of a source that cannot be reached, data of another version.

mod changes;
mod scripts;
mod unreachable;
mod upgrade;

use std::sync::Arc;
use std::time::Duration;

use headwater::{Database, MemoryStore, Options, Session};
use libtest_mimic::Trial;

use crate::scripts::views::lines;

/// What hangs is ended.
const TIME_MAX: Duration = Duration::from_secs(60);

/// One test each.
pub fn trials() -> Vec<Trial> {
    [scripts::trials(), changes::trials(), unreachable::trials(), upgrade::trials()].into_iter().flatten().collect()
}

fn trial<F: Future<Output = Result<(), String>>>(name: &str, test: impl Fn() -> F + Send + 'static) -> Trial {
    Trial::test(format!("embedded::{name}"), move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().map_err(|e| e.to_string())?;
        let ended = runtime.block_on(async { tokio::time::timeout(TIME_MAX, test()).await });
        ended.unwrap_or_else(|_| Err(format!("no end after {TIME_MAX:?}"))).map_err(Into::into)
    })
}

/// Options of databases that live on one store in memory.
fn on_one_store() -> (Arc<MemoryStore>, Options) {
    let store = Arc::new(MemoryStore::new());
    (store.clone(), Options { blocks: Some(store), ..Options::in_memory() })
}

async fn open(options: &Options) -> Result<Database, String> {
    Database::open(options.clone()).await.map_err(|e| e.to_string())
}

async fn run(session: &mut Session, sql: &str) -> Result<(), String> {
    session.execute(sql).await.map(drop).map_err(|e| format!("{sql}: {e}"))
}

/// The rows that `sql` gives, each a line.
async fn rows(database: &Database, sql: &str) -> Result<Vec<String>, String> {
    let rows = database.session().query(sql).await.map_err(|e| format!("{sql}: {e}"))?;
    lines(&rows).map_err(|e| e.to_string())
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, got: T, expected: T) -> Result<(), String> {
    if got == expected { Ok(()) } else { Err(format!("{what}: got {got:?}, expected {expected:?}")) }
}
