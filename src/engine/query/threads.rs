//! Threads of their own for ad-hoc queries: one that computes for long holds up neither clients nor the epoch loop.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::{GreedyMemoryPool, TrackConsumersPool};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::StreamExt;
use headwater_types::{Error, Result};
use parking_lot::Mutex;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::provider::{external, ours};

/// Room on the stack for plans of the greatest depth. Only what is used of it takes memory.
const STACK_BYTES: usize = 256 << 20;
/// What a query may have made before somebody takes it.
const BATCHES_AHEAD: usize = 2;
/// How much less than others a query gets of a busy machine.
const NICENESS: i32 = 5;
/// How long the end of a database waits for a query that does not look up from its work.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// How many of those that hold most memory an error names.
const NAMED_CONSUMERS: std::num::NonZeroUsize = std::num::NonZeroUsize::MIN;

/// Where queries run, and the memory that all of them together may take. The threads start with the first query.
pub(crate) struct QueryThreads {
    state: Mutex<State>,
    memory: Arc<RuntimeEnv>,
}

enum State {
    New,
    Running(Runtime),
    Stopped,
}

impl QueryThreads {
    /// # Errors
    /// `Limit` where there is no place for spilled rows.
    pub fn new(memory_bytes: usize) -> Result<Self> {
        let pool = TrackConsumersPool::new(GreedyMemoryPool::new(memory_bytes), NAMED_CONSUMERS);
        let memory = RuntimeEnvBuilder::new().with_memory_pool(Arc::new(pool)).build_arc().map_err(ours)?;
        Ok(Self { state: Mutex::new(State::New), memory })
    }

    /// What a query takes its memory from.
    pub fn memory(&self) -> Arc<RuntimeEnv> {
        self.memory.clone()
    }

    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static, ended: Arc<AtomicBool>) -> Result<Query> {
        let mut state = self.state.lock();
        if let State::New = *state {
            *state = State::Running(threads()?);
        }
        match &*state {
            State::Running(runtime) => Ok(Query { task: runtime.spawn(work), ended }),
            _ => Err(Error::cancelled("the database is shut down").with_sqlstate("57P01")),
        }
    }

    /// Runs the query that `begin` starts; its rows come as they are made. Dropping them ends it, and sets what `begin` is given.
    ///
    /// # Errors
    /// What `begin` says.
    pub async fn rows<F>(&self, begin: impl FnOnce(Arc<AtomicBool>) -> F) -> Result<SendableRecordBatchStream>
    where
        F: Future<Output = Result<SendableRecordBatchStream>> + Send + 'static,
    {
        let ended = Arc::new(AtomicBool::new(false));
        let (schema, begun) = oneshot::channel();
        let (batches, rows) = mpsc::channel(BATCHES_AHEAD);
        let mut query = self.spawn(run(begin(ended.clone()), schema, batches), ended)?;
        let schema: SchemaRef = match begun.await {
            Ok(schema) => schema?,
            Err(_) => return Err(query.failure().await),
        };
        let rows = futures::stream::unfold(Some((rows, query)), |state| async move {
            let (mut rows, mut query) = state?;
            match rows.recv().await {
                Some(batch) => Some((batch, Some((rows, query)))),
                // Rows that end with a panic have not ended.
                None => query.ended().await.err().map(|error| (Err(external(error)), None)),
            }
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
    }

    /// Ends every query, and returns when they hold nothing of the database any more.
    pub async fn stop(&self) {
        let state = std::mem::replace(&mut *self.state.lock(), State::Stopped);
        if let State::Running(runtime) = state {
            let stopped = tokio::task::spawn_blocking(move || runtime.shutdown_timeout(STOP_TIMEOUT)).await;
            debug_assert!(stopped.is_ok(), "waiting for threads does not panic");
        }
    }
}

impl Drop for QueryThreads {
    fn drop(&mut self) {
        if let State::Running(runtime) = std::mem::replace(self.state.get_mut(), State::Stopped) {
            runtime.shutdown_background();
        }
    }
}

/// Half the cores: the other half is for the epoch loop and what feeds it.
fn threads() -> Result<Runtime> {
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let lower_priority = || {
        // On Linux this is of the calling thread alone. A machine that does not allow it runs queries like the rest.
        let _ = rustix::process::nice(NICENESS);
    };
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(cores.div_ceil(2).max(2)).thread_name("query").thread_stack_size(STACK_BYTES);
    let runtime = builder.on_thread_start(lower_priority).enable_all().build();
    runtime.map_err(|e| Error::limit(format!("cannot start threads for queries: {e}")))
}

/// Begins a query, tells its columns, and hands its rows over until nobody wants more.
async fn run(
    begin: impl Future<Output = Result<SendableRecordBatchStream>>,
    schema: oneshot::Sender<Result<SchemaRef>>,
    batches: mpsc::Sender<Result<RecordBatch, DataFusionError>>,
) {
    let mut stream = match begin.await {
        Ok(stream) => stream,
        Err(error) => return drop(schema.send(Err(error))),
    };
    if schema.send(Ok(stream.schema())).is_err() {
        return;
    }
    while let Some(batch) = stream.next().await {
        if batches.send(batch).await.is_err() {
            return;
        }
    }
    // Whoever sees the end of the rows may count on the query holding nothing of the database.
    drop(stream);
}

/// A query that runs; it ends when this is dropped.
struct Query {
    task: JoinHandle<()>,
    ended: Arc<AtomicBool>,
}

impl Query {
    /// # Errors
    /// `Bug` if it panicked.
    async fn ended(&mut self) -> Result<()> {
        match (&mut self.task).await {
            Ok(()) => Ok(()),
            Err(end) if end.is_panic() => {
                Err(Error::bug(format!("the query failed: {}", headwater_runtime::panic_message(&end.into_panic()))))
            }
            Err(_) => Err(Error::cancelled("the database is shut down").with_sqlstate("57P01")),
        }
    }

    /// Why it ended without a word.
    async fn failure(&mut self) -> Error {
        self.ended().await.err().unwrap_or_else(|| Error::bug("a query ended without a word"))
    }
}

impl Drop for Query {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        self.task.abort();
    }
}
