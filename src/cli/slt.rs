//! Runs test scripts in the public sqllogictest format, each on a database of its own with a held clock.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use headwater::{BlockState, Database, MemoryStore, Options, Outcome, Session};
use headwater_types::{Error, HeldClock, Result};
use libtest_mimic::{Arguments, Conclusion, Trial};
use sqllogictest::{AsyncDB, DBOutput, DefaultColumnType, Record, Runner};
use tokio::sync::Mutex;

/// One directive of a script.
pub type ScriptRecord = Record<DefaultColumnType>;

/// Runs each of `paths` on a fresh database and prints what failed, as test runners do; of a directory every `.slt` file in it and below.
pub fn run_files(paths: &[PathBuf]) -> Conclusion {
    let files: Vec<PathBuf> = paths.iter().flat_map(|path| scripts_or_itself(path)).collect();
    let trial = |file: &PathBuf| {
        let file = file.clone();
        Trial::test(file.display().to_string(), move || run_file(&file).map_err(|message| message.into()))
    };
    libtest_mimic::run(&Arguments::default(), files.iter().map(trial).collect())
}

/// The scripts at `path`, in order. What cannot be listed stands for itself: running it tells why.
fn scripts(path: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(path) else { return vec![path.to_owned()] };
    let mut inside: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    inside.retain(|path| path.is_dir() || path.extension().is_some_and(|e| e == "slt"));
    inside.sort();
    inside.iter().flat_map(|path| scripts(path)).collect()
}

/// The scripts at `path`; a directory without any stands for itself, so that running it is an error.
fn scripts_or_itself(path: &Path) -> Vec<PathBuf> {
    let found = scripts(path);
    if found.is_empty() { vec![path.to_owned()] } else { found }
}

/// Runs `file` on a fresh database: in memory, or in a temporary directory if it takes checkpoints.
///
/// # Errors
/// What differed from the script's expectation, and where.
pub fn run_file(file: &Path) -> Result<(), String> {
    let records = read(file)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().map_err(|e| e.to_string())?;
    runtime.block_on(async {
        let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
        let database = match takes_checkpoints(&records) {
            true => ScriptDatabase::with_checkpoints(folder.path()).await,
            false => ScriptDatabase::in_memory().await,
        };
        let database = database.map_err(|e| e.to_string())?;
        let result = run_records(&database, records, async |_| Ok(())).await;
        database.close().await.map_err(|e| e.to_string())?;
        result
    })
}

/// The records of a script, included files among them.
///
/// # Errors
/// Where the script cannot be read, or is not well formed.
pub fn read(file: &Path) -> Result<Vec<ScriptRecord>, String> {
    if file.is_dir() {
        return Err(format!("there is no .slt file in {}", file.display()));
    }
    let text = std::fs::read_to_string(file).map_err(|e| format!("cannot read {}: {e}", file.display()))?;
    let parsed = match text.strip_prefix('\u{feff}') {
        // The mark that some editors begin a file with.
        Some(text) => sqllogictest::parse_with_name(text, file.display().to_string()),
        None => sqllogictest::parse_file(file),
    };
    parsed.map_err(|e| e.to_string())
}

/// Runs `records` in order up to a `halt`, calling `after` behind each; stops at the first that differs.
///
/// # Errors
/// What differed from the script's expectation, and where; or the error of `after`.
pub async fn run_records(
    database: &Arc<ScriptDatabase>,
    records: Vec<ScriptRecord>,
    mut after: impl AsyncFnMut(&ScriptRecord) -> Result<(), String>,
) -> Result<(), String> {
    let mut runner = Runner::new(|| ScriptSession::open(database.clone()));
    for record in records {
        if matches!(record, Record::Halt { .. }) {
            break;
        }
        runner.run_async(record.clone()).await.map_err(|e| e.display(false).to_string())?;
        after(&record).await?;
    }
    runner.shutdown_async().await;
    Ok(())
}

/// Where a session stands while its database lives.
type Place = Mutex<Option<Session>>;

/// The database under a script. It can be killed and opened again on what was committed.
pub struct ScriptDatabase {
    options: Options,
    memory: Option<Arc<MemoryStore>>,
    /// None only while it is opened again.
    open: Mutex<Option<Database>>,
    /// Every session's place, emptied by a kill: a session that lived on would keep the store open.
    places: Mutex<Vec<Weak<Place>>>,
    /// Sessions inside a transaction block or with an open cursor, which a kill would break.
    busy: AtomicUsize,
}

impl ScriptDatabase {
    /// A fresh database in memory whose clock is held at 2026-01-01.
    ///
    /// # Errors
    /// Those of opening.
    pub async fn in_memory() -> Result<Arc<Self>> {
        let memory = Arc::new(MemoryStore::new());
        let options = Options { blocks: Some(memory.clone()), ..Options::in_memory() };
        Self::open(options, Some(memory)).await
    }

    /// A database in the directory `data`.
    ///
    /// # Errors
    /// Those of opening.
    pub async fn at(data: &Path) -> Result<Arc<Self>> {
        Self::open(Options::at(data), None).await
    }

    /// A database in `folder` whose checkpoints go to a store there.
    ///
    /// # Errors
    /// Those of opening.
    pub async fn with_checkpoints(folder: &Path) -> Result<Arc<Self>> {
        let store = folder.join("store");
        std::fs::create_dir_all(&store)?;
        let checkpoint = Some(format!("file://{}", store.display()));
        Self::open(Options { checkpoint, ..Options::at(folder.join("data")) }, None).await
    }

    /// A database with `options`, but on a held clock; `memory` is its block store, if it is one in memory.
    ///
    /// # Errors
    /// Those of opening.
    pub async fn open(options: Options, memory: Option<Arc<MemoryStore>>) -> Result<Arc<Self>> {
        let clock = Arc::new(HeldClock::at(HeldClock::TEST_START));
        let options = Options { clock, ..options };
        let open = Mutex::new(Some(Database::open(options.clone()).await?));
        Ok(Arc::new(Self { options, memory, open, places: Mutex::default(), busy: AtomicUsize::new(0) }))
    }

    /// A session of the database as it is open now.
    ///
    /// # Errors
    /// It could not be opened again after a kill.
    pub async fn session(&self) -> Result<Session> {
        self.open.lock().await.as_ref().map(Database::session).ok_or_else(not_open)
    }

    /// True while a session is inside a transaction block or has an open cursor.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.busy.load(Ordering::SeqCst) > 0
    }

    /// Kills the database, loses what was not synced as a power failure would, and opens it again.
    ///
    /// # Errors
    /// Those of opening.
    pub async fn crash(&self) -> Result<()> {
        self.reopen(true).await
    }

    /// Kills the database, the machine running on, and opens it again.
    ///
    /// # Errors
    /// Those of opening.
    pub async fn kill(&self) -> Result<()> {
        self.reopen(false).await
    }

    async fn reopen(&self, power_lost: bool) -> Result<()> {
        let mut open = self.open.lock().await;
        for place in self.places.lock().await.drain(..).filter_map(|place| place.upgrade()) {
            place.lock().await.take();
        }
        // The old one is gone before the new one comes: it may hold the lock of a directory.
        if let Some(database) = open.take() {
            database.abandon().await;
        }
        if let (Some(memory), true) = (&self.memory, power_lost) {
            memory.crash();
        }
        *open = Some(Database::open(self.options.clone()).await?);
        Ok(())
    }

    /// Closes the database in good order.
    ///
    /// # Errors
    /// Those of closing.
    pub async fn close(&self) -> Result<()> {
        match self.open.lock().await.take() {
            Some(database) => database.close().await,
            None => Err(not_open()),
        }
    }
}

fn not_open() -> Error {
    Error::bug("the script's database is not open")
}

/// True for `CRASH`, the one statement that the database cannot run itself.
fn is_crash(sql: &str) -> bool {
    is_word(sql, "CRASH")
}

fn takes_checkpoints(records: &[ScriptRecord]) -> bool {
    records.iter().any(|record| matches!(record, Record::Statement { sql, .. } if is_word(sql, "CHECKPOINT")))
}

fn is_word(sql: &str, word: &str) -> bool {
    sql.trim().trim_end_matches(';').trim_end().eq_ignore_ascii_case(word)
}

/// A session of a script: goes on in a new session of the reopened database after a kill, with its settings made again.
pub struct ScriptSession {
    database: Arc<ScriptDatabase>,
    place: Arc<Place>,
    settings: Vec<String>,
    cursors: usize,
    busy: bool,
}

impl ScriptSession {
    async fn open(database: Arc<ScriptDatabase>) -> Result<Self> {
        Ok(Self { database, place: Arc::default(), settings: Vec::new(), cursors: 0, busy: false })
    }

    /// The session: a new one, with its settings made again, at the beginning and after a kill.
    async fn session(&mut self) -> Result<Session> {
        if let Some(session) = self.place.lock().await.take() {
            return Ok(session);
        }
        let mut session = self.database.session().await?;
        for at in 0..self.settings.len() {
            execute(&mut session, &self.settings[at]).await?;
        }
        self.cursors = 0;
        self.database.places.lock().await.push(Arc::downgrade(&self.place));
        Ok(session)
    }

    /// Keeps what must be made again after a kill, and what forbids one.
    fn note(&mut self, sql: &str) {
        let words: Vec<String> = sql.split_whitespace().take(2).map(str::to_ascii_uppercase).collect();
        match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            ["PREPARE", _] => self.settings.push(sql.to_string()),
            ["DEALLOCATE", name] => self.settings.retain(|setting| prepared(setting).is_none_or(|p| *name != "ALL" && p != *name)),
            ["SET" | "RESET", what] if !matches!(*what, "LOCAL" | "TRANSACTION") => self.settings.push(sql.to_string()),
            ["DECLARE", _] => self.cursors += 1,
            ["CLOSE", _] => self.cursors = self.cursors.saturating_sub(1),
            _ => {}
        }
    }

    fn note_busy(&mut self, block: BlockState) {
        let busy = self.cursors > 0 || block != BlockState::Idle;
        if busy != self.busy {
            if busy {
                self.database.busy.fetch_add(1, Ordering::SeqCst)
            } else {
                self.database.busy.fetch_sub(1, Ordering::SeqCst)
            };
            self.busy = busy;
        }
    }

    async fn sql(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>> {
        let mut session = self.session().await?;
        let outcomes = execute(&mut session, sql).await;
        if outcomes.is_ok() {
            self.note(sql);
        }
        let result = match outcomes.map(|all| all.into_iter().next()) {
            Ok(Some(outcome)) => printed(outcome).await,
            Ok(None) => Ok(DBOutput::StatementComplete(0)),
            Err(error) => Err(error),
        };
        self.note_busy(session.block_state());
        *self.place.lock().await = Some(session);
        result
    }
}

/// The name that a PREPARE gives, in capitals.
fn prepared(sql: &str) -> Option<String> {
    let words = sql.to_ascii_uppercase();
    let name = words.strip_prefix("PREPARE")?.trim_start();
    name.split(|c: char| c.is_whitespace() || c == '(').next().map(str::to_owned)
}

/// Executes `sql`; a boxed future of one lifetime, which the compiler sees to be `Send`.
fn execute<'a>(session: &'a mut Session, sql: &'a str) -> Pin<Box<dyn Future<Output = Result<Vec<Outcome>>> + Send + 'a>> {
    Box::pin(session.execute(sql))
}

/// A boxed future of one lifetime, which the compiler sees to be `Send`.
fn boxed<'a, T>(future: impl Future<Output = T> + Send + 'a) -> Pin<Box<dyn Future<Output = T> + Send + 'a>> {
    Box::pin(future)
}

/// What the public runner would print of `outcome` over the simple protocol.
async fn printed(outcome: Outcome) -> Result<DBOutput<DefaultColumnType>> {
    let count = outcome.tag.rsplit(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0);
    let Some(rows) = outcome.rows else { return Ok(DBOutput::StatementComplete(count)) };
    let columns = rows.schema.fields().len();
    let mut lines = Vec::new();
    for batch in &rows.collect().await? {
        lines.extend(headwater_pgwire::text_rows(batch)?.into_iter().map(|row| row.into_iter().map(shown).collect()));
    }
    if lines.is_empty() {
        return Ok(DBOutput::StatementComplete(0));
    }
    Ok(DBOutput::Rows { types: vec![DefaultColumnType::Any; columns], rows: lines })
}

/// NULL and the empty string have names in scripts.
fn shown(value: Option<String>) -> String {
    match value {
        None => "NULL".to_string(),
        Some(text) if text.is_empty() => "(empty)".to_string(),
        Some(text) => text,
    }
}

#[async_trait::async_trait]
impl AsyncDB for ScriptSession {
    type Error = Error;
    type ColumnType = DefaultColumnType;

    async fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>> {
        if !is_crash(sql) {
            return boxed(self.sql(sql)).await;
        }
        boxed(self.database.crash()).await?;
        Ok(DBOutput::StatementComplete(0))
    }

    async fn shutdown(&mut self) {
        if self.busy {
            self.database.busy.fetch_sub(1, Ordering::SeqCst);
            self.busy = false;
        }
    }

    fn engine_name(&self) -> &str {
        "headwater"
    }

    async fn sleep(duration: Duration) {
        tokio::time::sleep(duration).await;
    }

    fn error_sql_state(error: &Error) -> Option<String> {
        Some(error.sqlstate().to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_is_told_from_sql() {
        assert!(is_crash("crash ;") && is_crash("CRASH"));
        assert!(!is_crash("SELECT crash") && !is_crash("CRASH NOW"));
    }

    #[test]
    fn directories_are_searched_and_marks_read_over() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(dir.path().join("b")).expect("a directory in it");
        for (name, text) in
            [("a.slt", "\u{feff}statement ok\nSELECT 1\n"), ("b/c.slt", "query I\nSELECT 1\n----\n1\n"), ("b/notes.txt", "x")]
        {
            std::fs::write(dir.path().join(name), text).expect("a file");
        }
        let found = scripts(dir.path());
        assert_eq!(found, [dir.path().join("a.slt"), dir.path().join("b/c.slt")]);
        for file in found {
            assert_eq!(run_file(&file), Ok(()));
        }
        let empty = dir.path().join("empty");
        std::fs::create_dir(&empty).expect("an empty directory");
        assert_eq!(scripts_or_itself(&empty), std::slice::from_ref(&empty));
        let nothing = run_file(&empty).expect_err("nothing to run");
        assert!(nothing.contains("no .slt file"), "{nothing}");
        let missing = run_file(&dir.path().join("missing.slt")).expect_err("no such file");
        assert!(missing.contains("cannot read"), "{missing}");
    }

    #[test]
    fn checkpoints_are_taken_and_survive_a_crash() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("checkpoint.slt");
        let script = "statement ok\nCREATE TABLE t (a INT)\n\nstatement ok\nINSERT INTO t VALUES (1)\n\nstatement ok\nCHECKPOINT\n\n\
            query I\nSELECT count(*) FROM headwater.checkpoints\n----\n1\n\nstatement ok\nCRASH\n\nquery I\nSELECT a FROM t\n----\n1\n";
        std::fs::write(&file, script).expect("a file");
        assert_eq!(run_file(&file), Ok(()));
    }

    #[test]
    fn null_and_empty_have_names() {
        assert_eq!((shown(None), shown(Some(String::new())), shown(Some("a".into()))), ("NULL".into(), "(empty)".into(), "a".into()));
    }
}
