//! Runs test scripts in the public sqllogictest format on a database of their own with a held clock.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use arrow::compute::kernels::cast_utils::parse_interval_month_day_nano;
use futures::TryStreamExt;
use headwater::{BlockState, Database, MemoryStore, Options, Outcome, Session};
use headwater_types::{Error, HeldClock, Micros, Result};
use libtest_mimic::{Arguments, Conclusion, Trial};
use sqllogictest::{AsyncDB, DBOutput, DefaultColumnType, Record, Runner};
use tokio::sync::Mutex;

/// One directive of a script.
pub type ScriptRecord = Record<DefaultColumnType>;

/// Runs each of `files` on a fresh database in memory and prints what failed, as test runners do.
#[must_use]
pub fn run_files(files: &[PathBuf], arguments: &Arguments) -> Conclusion {
    let trial = |file: &PathBuf| {
        let file = file.clone();
        Trial::test(file.display().to_string(), move || run_file(&file).map_err(|message| message.into()))
    };
    libtest_mimic::run(arguments, files.iter().map(trial).collect())
}

/// Runs `file` on a fresh database in memory.
///
/// # Errors
/// What differed from the script's expectation, and where.
pub fn run_file(file: &Path) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().map_err(|e| e.to_string())?;
    runtime.block_on(async {
        let database = ScriptDatabase::in_memory().await.map_err(|e| e.to_string())?;
        let result = run_records(&database, read(file)?, async |_| Ok(())).await;
        database.close().await.map_err(|e| e.to_string())?;
        result
    })
}

/// The records of a script, included files among them.
///
/// # Errors
/// Where the script is not well formed.
pub fn read(file: &Path) -> Result<Vec<ScriptRecord>, String> {
    sqllogictest::parse_file(file).map_err(|e| e.to_string())
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

/// The database under a script. It can be killed and opened again on what was committed.
pub struct ScriptDatabase {
    options: Options,
    clock: Arc<HeldClock>,
    memory: Option<Arc<MemoryStore>>,
    open: Mutex<Database>,
    /// Counts the openings, so that a session notices that its database is gone.
    life: AtomicU64,
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

    async fn open(options: Options, memory: Option<Arc<MemoryStore>>) -> Result<Arc<Self>> {
        let clock = Arc::new(HeldClock::at(HeldClock::TEST_START));
        let options = Options { clock: clock.clone(), ..options };
        let open = Mutex::new(Database::open(options.clone()).await?);
        Ok(Arc::new(Self { options, clock, memory, open, life: AtomicU64::new(0), busy: AtomicUsize::new(0) }))
    }

    /// A session of the database as it is open now.
    pub async fn session(&self) -> Session {
        self.open.lock().await.session()
    }

    /// The database as it is open now.
    pub async fn database(&self) -> Database {
        self.open.lock().await.clone()
    }

    /// True while a session is inside a transaction block or has an open cursor.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.busy.load(Ordering::SeqCst) > 0
    }

    /// Kills the database, loses what was not synced, and opens it again.
    ///
    /// # Errors
    /// Those of opening.
    pub async fn crash(&self) -> Result<()> {
        let mut open = self.open.lock().await;
        open.abandon().await;
        if let Some(memory) = &self.memory {
            memory.crash();
        }
        *open = Database::open(self.options.clone()).await?;
        self.life.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    /// Moves the held clock on and makes an epoch at its new time.
    ///
    /// # Errors
    /// Those of `FLUSH`.
    pub async fn advance(&self, micros: Micros) -> Result<()> {
        self.clock.advance(micros);
        self.session().await.execute("FLUSH").await.map(drop)
    }

    /// Closes the database in good order.
    ///
    /// # Errors
    /// Those of closing.
    pub async fn close(&self) -> Result<()> {
        self.open.lock().await.close().await
    }
}

/// A statement that only the runner knows.
#[derive(Debug, PartialEq, Eq)]
enum TestStatement {
    AdvanceClock(Micros),
    Crash,
}

impl TestStatement {
    /// `ADVANCE CLOCK INTERVAL '…'` or `CRASH`; none for SQL.
    fn parse(sql: &str) -> Result<Option<Self>> {
        let words: Vec<String> = sql.trim().trim_end_matches(';').split_whitespace().map(str::to_ascii_uppercase).collect();
        match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            ["CRASH"] => Ok(Some(Self::Crash)),
            ["ADVANCE", "CLOCK", "INTERVAL", ..] => {
                let quoted = sql.split('\'').nth(1).ok_or_else(|| Error::invalid("ADVANCE CLOCK INTERVAL wants an interval in quotes"))?;
                let interval = parse_interval_month_day_nano(quoted)?;
                if interval.months != 0 {
                    return Err(Error::invalid("ADVANCE CLOCK takes days and smaller units: months differ in length"));
                }
                Ok(Some(Self::AdvanceClock(i64::from(interval.days) * 86_400_000_000 + interval.nanoseconds / 1_000)))
            }
            _ => Ok(None),
        }
    }
}

/// A session of a script: goes on in a new session of the reopened database after a kill, with its settings made again.
pub struct ScriptSession {
    database: Arc<ScriptDatabase>,
    session: Session,
    life: u64,
    settings: Vec<String>,
    cursors: usize,
    busy: bool,
}

impl ScriptSession {
    async fn open(database: Arc<ScriptDatabase>) -> Result<Self> {
        let life = database.life.load(Ordering::SeqCst);
        let session = database.session().await;
        Ok(Self { database, session, life, settings: Vec::new(), cursors: 0, busy: false })
    }

    /// Moves to the reopened database if there was a kill.
    async fn follow(&mut self) -> Result<()> {
        let life = self.database.life.load(Ordering::SeqCst);
        if life != self.life {
            self.session = self.database.session().await;
            self.life = life;
            self.cursors = 0;
            for setting in &self.settings {
                self.session.execute(setting).await?;
            }
        }
        Ok(())
    }

    /// Keeps what must be made again after a kill, and what forbids one.
    fn note(&mut self, sql: &str) {
        let words: Vec<String> = sql.split_whitespace().take(2).map(str::to_ascii_uppercase).collect();
        match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            ["SET" | "RESET", what] if !matches!(*what, "LOCAL" | "TRANSACTION") => self.settings.push(sql.to_string()),
            ["DECLARE", _] => self.cursors += 1,
            ["CLOSE", _] => self.cursors = self.cursors.saturating_sub(1),
            _ => {}
        }
    }

    fn note_busy(&mut self) {
        let busy = self.cursors > 0 || self.session.block_state() != BlockState::Idle;
        if busy != self.busy {
            if busy { self.database.busy.fetch_add(1, Ordering::SeqCst) } else { self.database.busy.fetch_sub(1, Ordering::SeqCst) };
            self.busy = busy;
        }
    }

    async fn sql(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>> {
        let outcomes = self.session.execute(sql).await;
        if outcomes.is_ok() {
            self.note(sql);
        }
        self.note_busy();
        match outcomes?.into_iter().next() {
            Some(outcome) => printed(outcome).await,
            None => Ok(DBOutput::StatementComplete(0)),
        }
    }
}

/// What the public runner would print of `outcome` over the simple protocol.
async fn printed(outcome: Outcome) -> Result<DBOutput<DefaultColumnType>> {
    let count = outcome.tag.rsplit(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0);
    let Some(rows) = outcome.rows else { return Ok(DBOutput::StatementComplete(count)) };
    let batches: Vec<_> = rows.stream.try_collect().await.map_err(headwater::query_error)?;
    let mut lines = Vec::new();
    for batch in &batches {
        lines.extend(headwater_pgwire::text_rows(batch)?.into_iter().map(|row| row.into_iter().map(shown).collect()));
    }
    if lines.is_empty() {
        return Ok(DBOutput::StatementComplete(0));
    }
    Ok(DBOutput::Rows { types: vec![DefaultColumnType::Any; rows.schema.fields().len()], rows: lines })
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
        match TestStatement::parse(sql)? {
            Some(TestStatement::AdvanceClock(micros)) => self.database.advance(micros).await?,
            Some(TestStatement::Crash) => self.database.crash().await?,
            None => {
                self.follow().await?;
                return self.sql(sql).await;
            }
        }
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
    fn test_statements_are_told_from_sql() {
        assert_eq!(TestStatement::parse("crash;").unwrap(), Some(TestStatement::Crash));
        assert_eq!(TestStatement::parse("ADVANCE CLOCK INTERVAL '1 minute'").unwrap(), Some(TestStatement::AdvanceClock(60_000_000)));
        assert_eq!(TestStatement::parse("advance clock interval '2 days 500 milliseconds'").unwrap(), Some(TestStatement::AdvanceClock(172_800_500_000)));
        assert_eq!(TestStatement::parse("SELECT 1").unwrap(), None);
        assert!(TestStatement::parse("ADVANCE CLOCK INTERVAL '1 month'").is_err());
    }

    #[test]
    fn null_and_empty_have_names() {
        assert_eq!((shown(None), shown(Some(String::new())), shown(Some("a".into()))), ("NULL".into(), "(empty)".into(), "a".into()));
    }
}
