//! One seed: tables, views over them and over each other, changes, kills; each view compared with its batch after every step.

use std::sync::Arc;
use std::time::Duration;

use crate::slt::ScriptDatabase;
use headwater::{MemoryStore, Options, Session};
use headwater_types::{Error, ErrorKind};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::Tally;
use super::changes;
use super::compare::same_rows;
use super::query::{Query, query};
use super::relation::{Relation, Table};

/// A seed that takes longer than this hangs.
const SEED_TIME_MAX: Duration = Duration::from_secs(120);
const VIEWS_MAX: usize = 5;

/// Runs `seed`.
///
/// # Errors
/// The first difference, with the statements that led to it.
pub fn run_seed(seed: u64) -> Result<Tally, String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().map_err(|e| e.to_string())?;
    runtime.block_on(async {
        let mut run = Run::start(seed).await.map_err(|e| e.to_string())?;
        let result = match tokio::time::timeout(SEED_TIME_MAX, run.steps()).await {
            Ok(result) => result,
            Err(_) => Err(format!("no end after {SEED_TIME_MAX:?}")),
        };
        result.map_err(|message| format!("{message}\nafter:\n{};\n", run.statements.join(";\n")))?;
        run.database.close().await.map_err(|e| e.to_string())?;
        Ok(run.tally)
    })
}

struct View {
    relation: Relation,
    query: Query,
}

struct Run {
    rng: SmallRng,
    database: Arc<ScriptDatabase>,
    session: Option<Session>,
    tables: Vec<Table>,
    views: Vec<View>,
    names: usize,
    statements: Vec<String>,
    tally: Tally,
}

/// A database in memory in which new views catch up in steps of a few rows.
pub async fn with_small_chunks(rng: &mut SmallRng) -> Result<Arc<ScriptDatabase>, Error> {
    let memory = Arc::new(MemoryStore::new());
    let backfill_rows = rng.random_range(1..10);
    let options = Options { blocks: Some(memory.clone()), backfill_rows, ..Options::in_memory() };
    ScriptDatabase::open(options, Some(memory)).await
}

impl Run {
    async fn start(seed: u64) -> Result<Self, Error> {
        let mut rng = SmallRng::seed_from_u64(seed);
        let database = with_small_chunks(&mut rng).await?;
        let session = Some(database.session().await?);
        let tables = (0..rng.random_range(1..4)).map(|at| Table::random(&mut rng, format!("t{at}"))).collect();
        let (views, statements, tally) = (Vec::new(), Vec::new(), Tally::default());
        Ok(Self { rng, database, session, tables, views, names: 0, statements, tally })
    }

    async fn steps(&mut self) -> Result<(), String> {
        for create in self.tables.iter().map(Table::create).collect::<Vec<_>>() {
            self.execute(&create).await.map_err(|e| format!("a table was refused: {e}"))?;
        }
        for _ in 0..self.rng.random_range(0..4) {
            self.change().await?;
        }
        self.create_view().await?;
        for _ in 0..self.rng.random_range(8..25) {
            match self.rng.random_range(0..100) {
                0..12 if self.views.len() < VIEWS_MAX => self.create_view().await?,
                12..20 => self.crash().await?,
                20..23 => self.drop_view().await?,
                _ => self.change().await?,
            }
            self.compare().await?;
        }
        Ok(())
    }

    async fn execute(&mut self, sql: &str) -> Result<(), Error> {
        self.statements.push(sql.to_string());
        let session = self.session.as_mut().expect("a session is open between kills");
        session.execute(sql).await.map(drop)
    }

    /// A write may break the key; nothing else may fail.
    async fn change(&mut self) -> Result<(), String> {
        let sql = changes::statement(&mut self.rng, &mut self.tables);
        match self.execute(&sql).await {
            Err(error) if error.sqlstate() != "23505" => Err(format!("a write failed: {error}")),
            _ => Ok(()),
        }
    }

    async fn create_view(&mut self) -> Result<(), String> {
        let tables = self.tables.iter().map(|t| t.relation.clone());
        let relations: Vec<Relation> = tables.chain(self.views.iter().map(|v| v.relation.clone())).collect();
        let query = query(&mut self.rng, &relations, 1);
        let name = format!("v{}", self.names);
        self.names += 1;
        self.tally.views += 1;
        let background = if self.rng.random_bool(0.5) { "on" } else { "off" };
        self.execute(&format!("SET background_ddl = {background}")).await.map_err(|e| e.to_string())?;
        match self.execute(&format!("CREATE MATERIALIZED VIEW {name} AS {}", query.sql)).await {
            Ok(()) => {
                let relation = Relation { name, columns: query.columns.clone(), append_only: query.append_only };
                self.views.push(View { relation, query });
                self.catch_up().await?;
                self.compare().await
            }
            Err(error) if error.kind() == ErrorKind::Unsupported => {
                self.tally.refused += 1;
                if std::env::var_os("HEADWATER_FUZZ_SHOW").is_some() {
                    println!("refused: {error}\n  {}", query.sql);
                }
                self.statements.pop();
                Ok(())
            }
            Err(error) => Err(format!("a view failed: {error}")),
        }
    }

    /// Writes and kills go on while a view that was created in the background is catching up.
    async fn catch_up(&mut self) -> Result<(), String> {
        for _ in 0..self.rng.random_range(0..4) {
            match self.rng.random_range(0..4) {
                0 => self.crash().await?,
                _ => self.change().await?,
            }
        }
        self.execute("FLUSH").await.map_err(|e| format!("FLUSH: {e}"))
    }

    /// The last view, which no other reads.
    async fn drop_view(&mut self) -> Result<(), String> {
        let Some(view) = self.views.pop() else { return Ok(()) };
        self.execute(&format!("DROP MATERIALIZED VIEW {}", view.relation.name)).await.map_err(|e| format!("a drop failed: {e}"))
    }

    async fn crash(&mut self) -> Result<(), String> {
        self.statements.push("CRASH".to_string());
        self.session = None;
        self.database.crash().await.map_err(|e| format!("it does not open again: {e}"))?;
        self.session = Some(self.database.session().await.map_err(|e| e.to_string())?);
        // A power loss may take back that a view had caught up.
        self.execute("FLUSH").await.map_err(|e| format!("FLUSH after a crash: {e}"))
    }

    async fn compare(&mut self) -> Result<(), String> {
        let session = self.session.as_mut().expect("a session is open between kills");
        for view in &self.views {
            let name = &view.relation.name;
            let rows = session.query(&format!("SELECT * FROM {name}")).await.map_err(|e| format!("view {name}: {e}"))?;
            let batch =
                session.query(&view.query.sql).await.map_err(|e| format!("no batch of {name}: {e}\n  its query: {}", view.query.sql))?;
            same_rows(name, &view.query.columns, &rows, &batch).map_err(|e| format!("{e}\n  its query: {}", view.query.sql))?;
            self.tally.comparisons += 1;
        }
        Ok(())
    }
}
