//! What the engine asks of the loop, and the handle it asks through.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{BooleanArray, RecordBatch};
use crossbeam_channel::Sender;
use headwater_state::{Store, TableId, Writes};
use headwater_types::{ChangeBatch, Clock, Epoch, Error, ObjectId, Result};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};

use crate::delivery::{OutboxAnswer, OutboxAsk};
use crate::epoch_loop::EpochLoop;
use crate::tasks::thread_pool;
use crate::{Definition, PublishedCell, Refused, Status, Troubles, spawn_thread};

/// Commands that may wait for the loop.
const COMMANDS_MAX: usize = 1_024;
/// Epochs that a subscription may be behind.
const SUBSCRIPTION_EPOCHS_MAX: usize = 1_024;

/// What is done with a row whose primary key is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Conflict {
    /// The write fails with 23505.
    #[default]
    Refuse,
    /// The row is left out.
    Nothing,
    /// The row replaces the old one; of several with one key the last wins.
    Replace,
}

/// One write to a table, applied whole in one epoch: deletions first.
#[derive(Debug, Default)]
pub struct TableWrite {
    /// Whole rows to delete, each as often as it stands here.
    pub delete: Option<RecordBatch>,
    /// Rows to insert; where the table has a watermark, dated by [`crate::EventTime::date`].
    pub insert: Option<RecordBatch>,
    /// Rows that go to the table's `$errors` instead.
    pub refused: Vec<Refused>,
    /// What happens to keys that are there already.
    pub conflict: Conflict,
}

/// What a write did, told once it is durable.
#[derive(Debug, Clone)]
pub struct WriteDone {
    /// The epoch it went into.
    pub epoch: Epoch,
    /// Rows inserted.
    pub inserted: u64,
    /// For each row to insert whether it went in; none where all did, and for writes to several tables.
    pub kept: Option<BooleanArray>,
    /// Rows deleted.
    pub deleted: u64,
    /// Rows that went to `$errors`.
    pub refused: u64,
}

/// The net change of one synced epoch of a view.
#[derive(Debug, Clone)]
pub struct EpochChanges {
    /// The epoch.
    pub epoch: Epoch,
    /// Rows with weights, consolidated.
    pub changes: Vec<ChangeBatch>,
}

/// Writes to different tables, applied all or none.
pub(crate) type TableWrites = Vec<(ObjectId, TableWrite)>;

pub(crate) type Reply<T> = oneshot::Sender<Result<T>>;

/// One command to the loop. A dropped reply means that nobody waits any more.
pub(crate) enum Command {
    Create { object: Definition, catalog: Writes, reply: Reply<Epoch> },
    Drop { objects: Vec<ObjectId>, catalog: Writes, reply: Reply<Epoch> },
    Catalog { catalog: Writes, reply: Reply<Epoch> },
    Write { writes: TableWrites, record: Writes, reply: Reply<WriteDone> },
    Flush { only: Option<ObjectId>, reply: Reply<Epoch> },
    Hold(bool),
    Subscribe { relation: TableId, reply: Reply<mpsc::Receiver<EpochChanges>> },
    Outbox { ask: OutboxAsk, reply: Reply<OutboxAnswer> },
    Delivered { sink: ObjectId, mark: headwater_connectors::Mark, upto: Epoch },
    SinkState { sink: ObjectId, state: crate::sinks::SinkState },
    Status { reply: Reply<Status> },
    Checkpoint { directory: PathBuf, reply: Reply<Epoch> },
    CheckpointDurable(Epoch),
    Stop { reply: Reply<Epoch> },
    Abandon,
}

/// What the runtime stands on.
pub struct Setup {
    /// Where rows are kept.
    pub store: Arc<Store>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Readers per source at most.
    pub readers_max: usize,
    /// Resident state of all views; the view that takes most is set aside when it is passed.
    pub memory_limit_bytes: usize,
    /// Rows of its tables and views that a new view takes in one epoch while it is catching up, at least 1.
    pub backfill_rows: usize,
    /// The directory whose disk is watched for free space.
    pub directory: Option<PathBuf>,
    /// The incarnations of this line of time, oldest first, each with the epoch that it began from; the last is the present one.
    pub lineage: Vec<(u64, Epoch)>,
    /// False while nothing may be delivered or inserted, because another process may own the database by now.
    pub may_write: Arc<dyn Fn() -> bool + Send + Sync>,
    /// Where sinks run.
    pub tokio: tokio::runtime::Handle,
}

/// The running database, as its owner holds it. A clone is the same database.
#[derive(Clone)]
pub struct Runtime {
    pub(crate) commands: Sender<Command>,
    store: Arc<Store>,
    published: Arc<PublishedCell>,
    synced: watch::Receiver<Epoch>,
    troubles: watch::Receiver<Troubles>,
    thread: Arc<Mutex<Option<std::thread::JoinHandle<()>>>>,
    died: Arc<Mutex<Option<Error>>>,
}

impl Runtime {
    /// Starts the loop over what was committed last, with `objects` in the order of their numbers.
    ///
    /// # Errors
    /// `Storage`, `Corrupt`.
    pub fn start(setup: Setup, objects: Vec<Definition>) -> Result<Runtime> {
        let (commands, inbox) = crossbeam_channel::bounded(COMMANDS_MAX);
        let published = Arc::new(PublishedCell::default());
        let (synced_sender, synced) = watch::channel(Epoch::default());
        let died = Arc::new(Mutex::new(None));
        let store = setup.store.clone();
        // The loop is one of the pool's threads: what it shares out it takes part in.
        let pool = thread_pool()?;
        let ends = (inbox, commands.clone());
        let mut epoch_loop = pool.install(|| EpochLoop::open(setup, objects, ends, published.clone(), synced_sender))?;
        let troubles = epoch_loop.troubles.subscribe();
        let (on_error, on_panic) = (died.clone(), died.clone());
        let run = move || {
            if let Err(error) = pool.install(|| epoch_loop.run()) {
                *on_error.lock() = Some(error);
            }
        };
        let thread = spawn_thread("epoch loop", run, move |panic| *on_panic.lock() = Some(panic))?;
        let thread = Arc::new(Mutex::new(Some(thread)));
        Ok(Runtime { commands, store, published, synced, troubles, thread, died })
    }

    /// The latest committed cut.
    #[must_use]
    pub fn published(&self) -> Arc<crate::Published> {
        self.published.get()
    }

    /// The latest epoch that survives power loss.
    #[must_use]
    pub fn synced(&self) -> watch::Receiver<Epoch> {
        self.synced.clone()
    }

    /// What sources and sinks wait for.
    #[must_use]
    pub fn troubles(&self) -> watch::Receiver<Troubles> {
        self.troubles.clone()
    }

    /// Starts `object` and commits `catalog` with it.
    ///
    /// # Errors
    /// What the object's opening says.
    pub async fn create(&self, object: Definition, catalog: Writes) -> Result<Epoch> {
        self.ask(|reply| Command::Create { object, catalog, reply }).await
    }

    /// Ends `objects` (readers before what they read), deletes what they keep and commits `catalog` with it.
    ///
    /// # Errors
    /// `Storage`.
    pub async fn drop_objects(&self, objects: Vec<ObjectId>, catalog: Writes) -> Result<Epoch> {
        self.ask(|reply| Command::Drop { objects, catalog, reply }).await
    }

    /// Commits `catalog` alone.
    ///
    /// # Errors
    /// `Storage`.
    pub async fn commit_catalog(&self, catalog: Writes) -> Result<Epoch> {
        self.ask(|reply| Command::Catalog { catalog, reply }).await
    }

    /// Applies `write`; returns when its epoch is durable.
    ///
    /// # Errors
    /// What [`TableWrite`]'s checks say; `NotFound`.
    pub async fn write(&self, table: ObjectId, write: TableWrite) -> Result<WriteDone> {
        self.write_all(vec![(table, write)], Writes::new()).await
    }

    /// Applies writes to different tables in one epoch, all or none, and commits `record` with them; returns when it is durable.
    ///
    /// # Errors
    /// As [`Runtime::write`].
    pub async fn write_all(&self, writes: Vec<(ObjectId, TableWrite)>, record: Writes) -> Result<WriteDone> {
        self.ask(|reply| Command::Write { writes, record, reply }).await
    }

    /// Returns when everything that the sources hold now (those that `only` reads, or all) is committed and visible.
    ///
    /// # Errors
    /// `Storage`.
    pub async fn flush(&self, only: Option<ObjectId>) -> Result<Epoch> {
        self.ask(|reply| Command::Flush { only, reply }).await
    }

    /// While held, sources that have not been read yet are not read: the views of one script start together.
    ///
    /// # Errors
    /// The loop has ended.
    pub async fn hold(&self, hold: bool) -> Result<()> {
        self.tell(Command::Hold(hold)).await
    }

    /// The rows of `relation` as one change, then its changes by synced epoch.
    ///
    /// # Errors
    /// `NotFound`, or why it is off the cut.
    pub async fn subscribe(&self, relation: TableId) -> Result<mpsc::Receiver<EpochChanges>> {
        self.ask(|reply| Command::Subscribe { relation, reply }).await
    }

    /// How everything stands.
    ///
    /// # Errors
    /// The loop has ended.
    pub async fn status(&self) -> Result<Status> {
        self.ask(|reply| Command::Status { reply }).await
    }

    /// Puts a copy of the store between two epochs into the new directory `directory`, and says which epoch it holds.
    ///
    /// # Errors
    /// `Storage`, `Unsupported` for a store without files.
    pub async fn checkpoint(&self, directory: PathBuf) -> Result<Epoch> {
        self.ask(|reply| Command::Checkpoint { directory, reply }).await
    }

    /// A checkpoint of `epoch` is durable elsewhere.
    ///
    /// # Errors
    /// The loop has ended.
    pub async fn checkpoint_durable(&self, epoch: Epoch) -> Result<()> {
        self.tell(Command::CheckpointDurable(epoch)).await
    }

    /// Ends the loop after a last, synced epoch.
    ///
    /// # Errors
    /// `Storage`.
    pub async fn stop(&self) -> Result<Epoch> {
        let epoch = self.ask(|reply| Command::Stop { reply }).await?;
        self.join().await;
        Ok(epoch)
    }

    /// Ends the loop where it stands: nothing more is written, synced or delivered. For a crash that is meant, and a database that is dropped.
    pub fn abandon(&self) {
        // A full queue is emptied by the loop, an ended loop needs nothing more.
        let _already_ended = self.commands.send(Command::Abandon);
    }

    /// Ends the loop where it stands, for `reason`.
    pub fn fail(&self, reason: Error) {
        self.died.lock().get_or_insert(reason);
        self.abandon();
    }

    /// Where rows are kept.
    #[must_use]
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Waits for the loop's thread.
    pub async fn join(&self) {
        let thread = self.thread.lock().take();
        if let Some(thread) = thread {
            // Its panic, if any, is in `died` already.
            let _in_died = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }

    /// Why the loop ended, if it did by itself.
    #[must_use]
    pub fn died(&self) -> Option<Error> {
        self.died.lock().clone()
    }

    pub(crate) async fn tell(&self, mut command: Command) -> Result<()> {
        loop {
            match self.commands.try_send(command) {
                Ok(()) => return Ok(()),
                Err(crossbeam_channel::TrySendError::Full(back)) => command = back,
                Err(crossbeam_channel::TrySendError::Disconnected(_)) => return Err(self.ended()),
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    pub(crate) async fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        self.tell(command(reply)).await?;
        answer.await.map_err(|_| self.ended())?
    }

    fn ended(&self) -> Error {
        self.died().unwrap_or_else(|| Error::cancelled("the database is shut down"))
    }
}

/// The last epoch committed to a store that is not open yet.
///
/// # Errors
/// `Storage`, `Corrupt`.
pub fn last_epoch(blocks: &dyn headwater_state::BlockStore) -> Result<Epoch> {
    let record: Option<crate::persisted::EpochRecord> = crate::persisted::get(blocks, &crate::persisted::key("epoch", ""))?;
    Ok(record.unwrap_or_default().epoch)
}

/// A channel for a subscription.
pub(crate) fn subscription() -> (mpsc::Sender<EpochChanges>, mpsc::Receiver<EpochChanges>) {
    mpsc::channel(SUBSCRIPTION_EPOCHS_MAX)
}
