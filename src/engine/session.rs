//! A session: settings, transaction block, cursors, prepared statements; runs one statement after the other.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::scalar::ScalarValue;
use futures::future::BoxFuture;
use futures::{StreamExt, TryStreamExt};
use headwater_catalog::ObjectKind;
use headwater_sql::{Bound, Settings, Statement};
use headwater_types::{Error, ErrorKind, Result};
use tokio::sync::{mpsc, watch};

use crate::activity::{Activity, Running};
use crate::block::Block;
use crate::cursor::Cursor;
use crate::database::Shared;
use crate::provider::ours;
use crate::script::record::Script;
use crate::{CopyKind, Notice, Outcome, Rows};

/// Whether a transaction block is open, as a Postgres client is told after each statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockState {
    /// No block.
    Idle,
    /// In a block.
    Open,
    /// In a block that has failed: only ROLLBACK helps.
    Failed,
}

impl BlockState {
    /// As pg_stat_activity shows a session in which no statement runs.
    fn shown(self) -> &'static str {
        match self {
            BlockState::Idle => "idle",
            BlockState::Open => "idle in transaction",
            BlockState::Failed => "idle in transaction (aborted)",
        }
    }
}

/// Ends the running statement of a session from elsewhere.
#[derive(Clone)]
pub struct CancelHandle(Arc<watch::Sender<u64>>);

impl CancelHandle {
    /// The running statement ends with 57014; without one nothing happens.
    pub fn cancel(&self) {
        self.0.send_modify(|count| *count += 1);
    }
}

/// A statement whose types are known, ready to run with values.
#[derive(Debug, Clone)]
pub struct Prepared {
    pub(crate) statement: Statement,
    /// The types of `$1` ….
    pub parameters: Vec<DataType>,
    /// What it returns; `None` if no rows.
    pub columns: Option<SchemaRef>,
}

/// A statement of SQL's PREPARE.
#[derive(Debug, Clone)]
pub(crate) struct Named {
    statement: Statement,
    /// The types of `$1` …, where they are known before there are values.
    types: Vec<Option<DataType>>,
    /// What it returns, if all types are known.
    columns: Option<SchemaRef>,
}

/// One conversation with a database.
pub struct Session {
    pub(crate) shared: Arc<Shared>,
    pub(crate) settings: Settings,
    pub(crate) block: Option<Block>,
    pub(crate) cursors: HashMap<String, Cursor>,
    pub(crate) prepared: HashMap<String, Named>,
    /// The script that it runs, if it runs one.
    pub(crate) script: Option<Script>,
    /// What the running statement has to say beside its outcome.
    pub(crate) notices: Vec<Notice>,
    /// Who is told what it waits for while it does.
    pub(crate) listener: Option<mpsc::Sender<Notice>>,
    cancel: CancelHandle,
    activity: Activity,
}

impl Session {
    pub(crate) fn new(shared: Arc<Shared>, user: &str, database: &str) -> Self {
        let cancel = CancelHandle(Arc::new(watch::channel(0).0));
        let activity = shared.sessions.enter(user, shared.clock.clone());
        let mut settings = Settings::new(user, database);
        settings.pid = activity.pid;
        Self {
            activity,
            shared,
            settings,
            block: None,
            cursors: HashMap::new(),
            prepared: HashMap::new(),
            script: None,
            notices: Vec::new(),
            listener: None,
            cancel,
        }
    }

    /// The statements of `sql`, each with its own text.
    ///
    /// # Errors
    /// 42601 with the place.
    pub fn parse(&self, sql: &str) -> Result<Vec<Statement>> {
        headwater_sql::parse(sql)
    }

    /// Runs every statement of `sql`; parsed whole before the first runs. The rows of each are read to their end.
    ///
    /// # Errors
    /// The first error; statements before it have taken effect.
    pub async fn execute(&mut self, sql: &str) -> Result<Vec<Outcome>> {
        let mut outcomes = Vec::new();
        for statement in self.parse(sql)? {
            outcomes.push(self.run(&statement).await?);
        }
        Ok(outcomes)
    }

    /// Runs one statement that returns rows.
    ///
    /// # Errors
    /// What the statement says; `Invalid` if it returns no rows.
    pub async fn query(&mut self, sql: &str) -> Result<Vec<RecordBatch>> {
        let statements = self.parse(sql)?;
        let [statement] = statements.as_slice() else { return Err(Error::invalid("one statement was expected")) };
        let outcome = self.run(statement).await?;
        let rows = outcome.rows.ok_or_else(|| Error::invalid(format!("{} returns no rows", outcome.tag)))?;
        collect(rows).await
    }

    /// Runs one statement.
    ///
    /// # Errors
    /// What the statement says; inside a block the block fails with it.
    pub async fn run(&mut self, statement: &Statement) -> Result<Outcome> {
        self.run_with(statement, Call::default()).await
    }

    /// Finds the types of a statement's parameters and what it returns. `types` are those that the client knows.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub async fn prepare(&mut self, statement: &Statement, types: &[Option<DataType>]) -> Result<Prepared> {
        let bound = self.shared.planner.bind_prepared(statement, &self.shared.catalog(), &self.settings, types)?;
        Ok(Prepared { statement: statement.clone(), parameters: bound.parameters()?, columns: self.columns(&bound)? })
    }

    /// What `bound` returns; of a cursor or a prepared statement as the session has it now.
    fn columns(&self, bound: &Bound) -> Result<Option<SchemaRef>> {
        match bound {
            Bound::Fetch(fetch) if !fetch.skip => Ok(self.cursor_columns(&fetch.name)),
            Bound::Execute(name, values) => {
                let Some(named) = self.prepared.get(name) else { return Ok(None) };
                let types = named.types_with(values);
                let bound = self.shared.planner.bind_prepared(&named.statement, &self.shared.catalog(), &self.settings, &types)?;
                Ok(bound.columns())
            }
            _ => Ok(bound.columns()),
        }
    }

    /// What an open cursor returns; none if there is no cursor of that name.
    #[must_use]
    pub fn cursor_columns(&self, name: &str) -> Option<SchemaRef> {
        self.cursors.get(name).map(Cursor::columns)
    }

    /// Runs a prepared statement.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub async fn run_prepared(&mut self, prepared: &Prepared, parameters: Vec<ScalarValue>) -> Result<Outcome> {
        let types: Vec<Option<DataType>> = prepared.parameters.iter().cloned().map(Some).collect();
        let columns = prepared.columns.clone();
        self.run_with(&prepared.statement, Call { types, values: Some(parameters), columns }).await
    }

    async fn run_with(&mut self, statement: &Statement, call: Call) -> Result<Outcome> {
        let mut cancelled = self.cancel.0.subscribe();
        cancelled.mark_unchanged();
        let mut running = self.activity.begin(statement.text());
        self.notices.clear();
        let mut end: BoxFuture<'static, Error> = Box::pin(early_end(cancelled, self.settings.statement_timeout()));
        let outcome = tokio::select! {
            outcome = self.dispatch(statement, call) => outcome,
            error = &mut end => Err(self.with_what_is_left(statement, error)),
        };
        if let (Err(_), Some(block)) = (&outcome, &mut self.block) {
            block.failed = true;
        }
        self.activity.set_application(self.settings.get("application_name").unwrap_or_default());
        running.leaves(self.block_state().shown());
        let mut outcome = outcome?;
        outcome.notices.append(&mut self.notices);
        Ok(cancellable(outcome, end, running))
    }

    /// A view whose CREATE was cancelled while it caught up goes on doing so.
    fn with_what_is_left(&self, statement: &Statement, error: Error) -> Error {
        let catalog = self.shared.catalog();
        let created =
            statement.defined_name().and_then(|name| catalog.find(name)).filter(|o| matches!(o.kind, ObjectKind::MaterializedView(_)));
        match created {
            Some(view) if view.sql == statement.text() => {
                let detail = format!("materialized view \"{}\" is there and goes on catching up", view.name);
                error.with_detail(detail).with_hint("DROP it if it is not wanted; SET background_ddl = true makes CREATE return at once")
            }
            _ => error,
        }
    }

    async fn dispatch(&mut self, statement: &Statement, call: Call) -> Result<Outcome> {
        let bound = self.shared.planner.bind_prepared(statement, &self.shared.catalog(), &self.settings, &call.types)?;
        let shown = bound.columns();
        if let (Some(then), Some(now)) = (&call.columns, &shown) {
            check_unchanged(then, now)?;
        }
        let bound = match call.values {
            Some(values) => bound.with_parameters(&values)?,
            None => bound,
        };
        // What the batch engine cannot do, it says when the plan is about to run: the statement is known here.
        let outcome = self.perform(bound, statement).await.map_err(|error| match error.kind() {
            ErrorKind::Unsupported => headwater_sql::located(error, statement),
            _ => error,
        })?;
        Ok(match shown {
            Some(shown) => with_names(outcome, &shown),
            None => outcome,
        })
    }

    /// Does what a bound statement says: one line an arm.
    pub(crate) async fn perform(&mut self, bound: Bound, statement: &Statement) -> Result<Outcome> {
        self.check_block(&bound)?;
        match bound {
            Bound::CreateSource(object) => self.create_source(object).await,
            Bound::CreateTable(object) => self.create_table(object).await,
            Bound::CreateView(object) => self.create_view(object).await,
            Bound::CreateMaterializedView(object, planned) => self.create_materialized_view(object, *planned).await,
            Bound::CreateSink(object, view) => self.create_sink(object, view).await,
            Bound::Nothing(tag, notice) => Ok(Outcome::done(tag).with_notice(notice)),
            Bound::Drop(tag, objects) => self.drop_objects(tag, &objects).await,
            Bound::Comment(object) => self.comment(object).await,
            Bound::Insert(insert) => self.insert(*insert).await,
            Bound::Delete(changed) => self.delete(*changed).await,
            Bound::Update(changed) => self.update(*changed).await,
            Bound::Query(plan) => self.select(plan).await,
            Bound::Rows(tag, batch) => Ok(Outcome::batch(tag, batch)),
            Bound::ExplainWatermark(object) => self.explain_watermark(&object).await,
            Bound::Flush => self.flush().await,
            Bound::Set { name, value, local } => self.set(&name, value.as_deref(), local),
            Bound::ResetAll => self.reset_all(),
            Bound::Begin => self.begin(),
            Bound::Commit => self.commit().await,
            Bound::Rollback => self.rollback(),
            Bound::Savepoint(tag, name) => self.savepoint(tag, name),
            Bound::Declare(name, query) => self.declare(name, query).await,
            Bound::Fetch(fetch) => self.fetch(fetch).await,
            Bound::Close(name) => self.close_cursor(name),
            Bound::Discard => self.discard(),
            Bound::Unlisten => Ok(Outcome::done("UNLISTEN")),
            Bound::Prepare(name, types, statement) => self.prepare_named(name, types, *statement),
            Bound::Execute(name, values) => self.execute_named(&name, values).await,
            Bound::Deallocate(name) => self.deallocate(name),
            Bound::CopyFrom(copy) => self.copy_from(copy).await,
            Bound::CopyOut(copy) => self.copy_out(copy).await,
            Bound::AdvanceClock(micros) => self.advance_clock(micros),
            Bound::Crash => Err(Error::unsupported(format!("{} is for the test runner", statement.text()))),
            Bound::Checkpoint => self.checkpoint().await,
        }
    }

    /// Whether a transaction block is open.
    #[must_use]
    pub fn block_state(&self) -> BlockState {
        match &self.block {
            None => BlockState::Idle,
            Some(block) if block.failed => BlockState::Failed,
            Some(_) => BlockState::Open,
        }
    }

    /// Marks an open block as failed: an error happened outside a statement, such as a bad message of the client.
    pub fn fail_block(&mut self) {
        if let Some(block) = &mut self.block {
            block.failed = true;
        }
    }

    /// Its number, which `pg_backend_pid()` and `headwater.sessions` show.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.activity.pid
    }

    /// Says whom it speaks with, for `headwater.sessions`: an address and a port.
    pub fn set_client(&mut self, client: String) {
        self.activity.set_client(client);
    }

    /// Ends the running statement from elsewhere.
    #[must_use]
    pub fn cancel_handle(&self) -> CancelHandle {
        self.cancel.clone()
    }

    /// The value of a setting, as SHOW gives it.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<String> {
        self.settings.get(name).map(str::to_owned)
    }

    /// SQL's PREPARE.
    fn prepare_named(&mut self, name: String, declared: Vec<Option<DataType>>, statement: Statement) -> Result<Outcome> {
        if self.prepared.contains_key(&name) {
            return Err(Error::exists(format!("prepared statement \"{name}\" already exists")).with_sqlstate("42P05"));
        }
        let bound = self.shared.planner.bind_prepared(&statement, &self.shared.catalog(), &self.settings, &declared)?;
        let mut types = bound.known_parameters()?;
        types.resize(types.len().max(declared.len()), None);
        for (known, declared) in types.iter_mut().zip(declared) {
            *known = declared.or(known.take());
        }
        let columns = if types.iter().all(Option::is_some) { bound.columns() } else { None };
        self.prepared.insert(name, Named { statement, types, columns });
        Ok(Outcome::done("PREPARE"))
    }

    async fn execute_named(&mut self, name: &str, values: Vec<ScalarValue>) -> Result<Outcome> {
        let missing = || Error::not_found(format!("prepared statement \"{name}\" does not exist")).with_sqlstate("26000");
        let named = self.prepared.get(name).cloned().ok_or_else(missing)?;
        let (expected, given) = (named.types.len(), values.len());
        if expected != given {
            let error = Error::invalid(format!("wrong number of parameters for prepared statement \"{name}\"")).with_sqlstate("42601");
            return Err(error.with_detail(format!("expected {expected} parameters but got {given}")));
        }
        let types = named.types_with(&values);
        Box::pin(self.dispatch(&named.statement, Call { types, values: Some(values), columns: named.columns })).await
    }

    fn deallocate(&mut self, name: Option<String>) -> Result<Outcome> {
        match name {
            None => self.prepared.clear(),
            Some(name) => {
                let missing = || Error::not_found(format!("prepared statement \"{name}\" does not exist")).with_sqlstate("26000");
                self.prepared.remove(&name).ok_or_else(missing)?;
            }
        }
        Ok(Outcome::done("DEALLOCATE"))
    }

    fn set(&mut self, name: &str, value: Option<&str>, local: bool) -> Result<Outcome> {
        let outcome = Outcome::done(if value.is_some() { "SET" } else { "RESET" });
        if local && self.block.is_none() {
            return Ok(outcome.with_notice("SET LOCAL can only be used in transaction blocks"));
        }
        self.settings.set(name, value)?;
        Ok(outcome)
    }

    fn reset_all(&mut self) -> Result<Outcome> {
        self.settings.reset_all();
        Ok(Outcome::done("RESET"))
    }

    fn discard(&mut self) -> Result<Outcome> {
        if self.block.is_some() {
            return Err(Error::invalid("DISCARD ALL cannot run inside a transaction block").with_sqlstate("25001"));
        }
        self.settings.reset_all();
        self.cursors.clear();
        self.prepared.clear();
        Ok(Outcome::done("DISCARD ALL"))
    }
}

impl Named {
    /// The types of its parameters when they have these values.
    fn types_with(&self, values: &[ScalarValue]) -> Vec<Option<DataType>> {
        let given = |at: usize| values.get(at).map(ScalarValue::data_type);
        self.types.iter().enumerate().map(|(at, known)| known.clone().or_else(|| given(at))).collect()
    }
}

/// With what a statement is run: the types and values of `$1` …, and the columns that it is known to return.
#[derive(Default)]
struct Call {
    types: Vec<Option<DataType>>,
    values: Option<Vec<ScalarValue>>,
    columns: Option<SchemaRef>,
}

/// # Errors
/// `Unsupported` if what a client was told of a statement's columns does not hold any more.
fn check_unchanged(then: &Schema, now: &Schema) -> Result<()> {
    let same = |(a, b): (&FieldRef, &FieldRef)| a.name() == b.name() && a.data_type() == b.data_type() && a.metadata() == b.metadata();
    if then.fields().len() == now.fields().len() && then.fields().iter().zip(now.fields()).all(same) {
        return Ok(());
    }
    Err(Error::unsupported("cached plan must not change result type"))
}

/// Ready when the statement is cancelled, or has taken longer than `timeout`, with the error that says which.
async fn early_end(mut cancelled: watch::Receiver<u64>, timeout: Option<Duration>) -> Error {
    let expired = async {
        match timeout {
            Some(timeout) => tokio::time::sleep(timeout).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        Ok(()) = cancelled.changed() => Error::cancelled("canceling statement due to user request"),
        () = expired => Error::cancelled("canceling statement due to statement timeout"),
        else => std::future::pending().await,
    }
}

/// Rows end with the error of `end` if that comes while they are read; the statement runs until they are read or dropped.
fn cancellable(mut outcome: Outcome, end: BoxFuture<'static, Error>, running: Running) -> Outcome {
    if let CopyKind::In(copy) = &mut outcome.copy {
        copy.running = Some(running);
    } else if let Some(rows) = outcome.rows.take() {
        let end = Box::pin(async move {
            let _until_the_rows_are_read = running;
            end.await
        });
        outcome.rows = Some(rows.over(|stream| {
            let schema = stream.schema();
            Box::pin(RecordBatchStreamAdapter::new(schema, crate::query::until(stream, end)))
        }));
    }
    outcome
}

/// Plans give columns of one name another one each; the client sees the names that it wrote.
fn with_names(mut outcome: Outcome, shown: &SchemaRef) -> Outcome {
    let Some(rows) = outcome.rows.take() else { return outcome };
    let names = || shown.fields().iter().map(|f| f.name());
    if rows.schema.fields().len() != shown.fields().len() || rows.schema.fields().iter().map(|f| f.name()).eq(names()) {
        outcome.rows = Some(rows);
        return outcome;
    }
    let fields = rows.schema.fields().iter().zip(names()).map(|(f, name)| f.as_ref().clone().with_name(name)).collect::<Vec<_>>();
    let schema: SchemaRef = Arc::new(Schema::new(fields));
    outcome.rows = Some(rows.over(|stream| {
        let named = schema.clone();
        let stream = stream.map(move |batch| Ok(crate::provider::with_schema(&named, &batch?)?));
        Box::pin(RecordBatchStreamAdapter::new(schema, stream))
    }));
    outcome
}

/// The rows of an outcome, read to their end.
pub(crate) async fn collect(rows: Rows) -> Result<Vec<RecordBatch>> {
    rows.stream.try_collect().await.map_err(ours)
}
