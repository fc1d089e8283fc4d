//! A database in this process: opened, spoken to through sessions, closed.

mod troubles;

use std::sync::Arc;

use futures::future::BoxFuture;
use headwater_catalog::{Catalog, Column, Named, Part};
use headwater_runtime::{Runtime, Status};
use headwater_sql::Planner;
use headwater_types::{Clock, Error, Result};
use parking_lot::RwLock;
use tokio::sync::OwnedMutexGuard;

use crate::activity::Sessions;
use crate::checkpointer::Checkpointer;
use crate::query::threads::QueryThreads;
use crate::recovery;
use crate::tasks::to_the_end;
use crate::{Inserter, Options, Session, Subscription};

pub use troubles::{Trouble, TroubleWatch};

/// Queries together may take half of what the views may.
const QUERY_SHARE: usize = 2;

/// What all sessions of a database share.
pub(crate) struct Shared {
    pub options: Options,
    pub clock: Arc<dyn Clock>,
    pub runtime: Runtime,
    pub planner: Planner,
    catalog: Arc<RwLock<Arc<Catalog>>>,
    /// One definition at a time.
    pub ddl: Arc<tokio::sync::Mutex<()>>,
    /// One UPDATE or DELETE at a time: each reads the epoch that it changes.
    pub dml: tokio::sync::Mutex<()>,
    pub checkpointer: Option<Checkpointer>,
    /// Where ad-hoc queries run.
    pub queries: QueryThreads,
    pub sessions: Arc<Sessions>,
}

impl Shared {
    pub fn new(
        options: Options,
        runtime: Runtime,
        planner: Planner,
        catalog: Arc<RwLock<Arc<Catalog>>>,
        checkpointer: Option<Checkpointer>,
    ) -> Result<Self> {
        Ok(Self {
            queries: QueryThreads::new(options.memory_limit_bytes / QUERY_SHARE)?,
            clock: options.clock.clone(),
            options,
            runtime,
            planner,
            catalog,
            ddl: Arc::default(),
            dml: tokio::sync::Mutex::new(()),
            checkpointer,
            sessions: Arc::default(),
        })
    }

    /// What exists now.
    pub fn catalog(&self) -> Arc<Catalog> {
        self.catalog.read().clone()
    }

    /// Shows `catalog` once `change` has made the loop hold what it says. Both are done although the statement is given up meanwhile: the loop carries out
    /// what it was asked for, and the next definition must not get the same number.
    pub async fn change_catalog<T: Send + 'static>(
        &self,
        one_at_a_time: OwnedMutexGuard<()>,
        catalog: Catalog,
        change: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<()> {
        let shown = self.catalog.clone();
        to_the_end(async move {
            change.await?;
            *shown.write() = Arc::new(catalog);
            drop(one_at_a_time);
            Ok(())
        })
        .await
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.runtime.abandon();
    }
}

/// An open database. A clone is the same database; it ends when the last clone goes, or with [`Database::close`].
#[derive(Clone)]
pub struct Database {
    pub(crate) shared: Arc<Shared>,
}

impl Database {
    /// Opens a database: what was committed is there, views go on where they stood.
    ///
    /// # Errors
    /// `Fenced` if another process has the directory or the checkpoint URL; `Corrupt` for damaged data or data of a newer version; `Storage`.
    pub async fn open(options: Options) -> Result<Database> {
        let opening: BoxFuture<'static, Result<Shared>> = Box::pin(recovery::open(options));
        let shared = opening.await?;
        Ok(Database { shared: Arc::new(shared) })
    }

    /// A session of user `root` in database `dev`.
    #[must_use]
    pub fn session(&self) -> Session {
        self.session_for("root", "dev")
    }

    /// A session of `user` in `database`.
    #[must_use]
    pub fn session_for(&self, user: &str, database: &str) -> Session {
        Session::new(self.shared.clone(), user, database)
    }

    /// Synchronises the last epoch, takes a checkpoint where there is a URL, ends everything.
    ///
    /// # Errors
    /// `Storage`; `External` if the last checkpoint could not be taken.
    pub async fn close(&self) -> Result<()> {
        let checkpoint = match &self.shared.checkpointer {
            Some(checkpointer) => checkpointer.close(&self.shared.runtime).await,
            None => Ok(()),
        };
        self.shared.queries.stop().await;
        self.shared.runtime.stop().await?;
        checkpoint
    }

    /// Ends everything as if the process had died here: nothing more is written, synchronised or delivered.
    pub async fn abandon(&self) {
        if let Some(checkpointer) = &self.shared.checkpointer {
            checkpointer.abandon();
        }
        self.shared.runtime.abandon();
        self.shared.queries.stop().await;
        self.shared.runtime.join().await;
    }

    /// The rows of `relation` (a table, a view, `<view>$late`, `…$errors`) now, then its changes, epoch by epoch as they become durable.
    ///
    /// # Errors
    /// `NotFound`, or why the relation cannot be read.
    pub async fn subscribe(&self, relation: &str) -> Result<Subscription> {
        let catalog = self.shared.catalog();
        let is_kept = |n: &Named| if n.part == Part::Rows { n.object.is_kept() } else { n.object.is_followed(n.part) };
        let named = catalog.resolve(relation).filter(is_kept).ok_or_else(|| missing(relation))?;
        let changes = self.shared.runtime.subscribe(named.part.of(named.object.id)).await?;
        Ok(Subscription::new(Column::schema(&named.columns), changes))
    }

    /// Inserts Arrow batches into `table`, without SQL.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn inserter(&self, table: &str) -> Result<Inserter> {
        let catalog = self.shared.catalog();
        let object = catalog.find(table).ok_or_else(|| missing(table))?;
        if !matches!(object.kind, headwater_catalog::ObjectKind::Table(_)) {
            return Err(Error::invalid(format!("{} \"{table}\" is no table", object.kind.noun())).with_sqlstate("42809"));
        }
        Ok(Inserter::new(self.shared.runtime.clone(), self.shared.clock.clone(), object.clone()))
    }

    /// How everything stands.
    ///
    /// # Errors
    /// The database has ended.
    pub async fn status(&self) -> Result<Status> {
        self.shared.runtime.status().await
    }

    /// Returns when every bounded source was read to its end, and all that follows from it is committed and delivered.
    ///
    /// # Errors
    /// A source stopped, or the database has ended.
    pub async fn finished(&self) -> Result<()> {
        loop {
            let status = self.status().await?;
            if let Some(source) = status.sources.iter().find(|s| s.state == "stopped") {
                let name = self.name_of(source.id).unwrap_or_default();
                let message = source.message.clone().unwrap_or_default();
                return Err(Error::external(format!("source \"{name}\" stopped: {message}")));
            }
            if let Some(sink) = status.sinks.iter().find(|s| s.stopped) {
                let message = sink.message.clone().unwrap_or_default();
                return Err(Error::external(format!("sink \"{}\" stopped: {message}", self.name_of(sink.id).unwrap_or_default())));
            }
            let read = status.sources.iter().all(|s| s.state == "finished" || s.state == "unread");
            let delivered = status.sinks.iter().all(|s| s.backlog_bytes == 0 && s.delivered.is_some());
            if read && delivered {
                self.shared.runtime.flush(None).await?;
                return Ok(());
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    /// Returns when the database has ended by itself, with the reason: a failed disk, a lost lease, a bug.
    ///
    /// # Errors
    /// Always: the reason.
    pub async fn ended(&self) -> Result<()> {
        let mut synced = self.shared.runtime.synced();
        while synced.changed().await.is_ok() {}
        Err(self.shared.runtime.died().unwrap_or_else(|| Error::cancelled("the database is shut down")))
    }

    /// The names of the materialized views and tables, in the order they were made.
    #[must_use]
    pub fn relations(&self) -> Vec<String> {
        self.shared.catalog().list().filter(|o| o.is_kept()).map(|o| o.name.clone()).collect()
    }

    /// The name of catalog object `id`, for showing a [`Status`].
    #[must_use]
    pub fn name_of(&self, id: headwater_types::ObjectId) -> Option<String> {
        self.shared.catalog().get(id).map(|o| o.name.clone())
    }
}

pub(crate) fn missing(name: &str) -> Error {
    Error::not_found(format!("relation \"{name}\" does not exist")).with_sqlstate("42P01")
}
