//! The epoch loop: gather, push, finish, flush, commit; one thread, one order, one write batch an epoch.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use headwater_state::{Store, TableId, Writes};
use headwater_types::{ChangeBatch, Clock, Epoch, Error, Micros, ObjectId, Result, Watermarks};
use tokio::sync::{mpsc, oneshot, watch};

use crate::command::{Command, Reply, TableWrites};
use crate::commit::{Commit, Committer};
use crate::disk::{DiskWatch, no_room};
use crate::feed::{Feed, FeedId};
use crate::gather::{RowBudget, Wake};
use crate::graph::RunningView;
use crate::persisted::{self, EpochRecord};
use crate::sinks::RunningSink;
use crate::sources::RunningSource;
use crate::sync::{Syncer, Waiter};
use crate::table::RunningTable;
use crate::tasks::panic_message;
use crate::{Definition, EpochChanges, EpochStatus, Published, PublishedCell, RelationState, Setup, Troubles, WriteDone};

/// So many epochs are remembered to be shown.
const RECENT_MAX: usize = 100;

/// A view that failed, and why.
pub(crate) struct FailedView {
    pub name: String,
    pub error: Error,
}

/// A flush that waits for feeds, and for views that are catching up.
pub(crate) struct PendingFlush {
    pub feeds: Vec<FeedId>,
    pub views: Vec<ObjectId>,
    pub is_of_view: bool,
    pub reply: Reply<Epoch>,
}

/// Everything that runs, owned by one thread.
pub(crate) struct EpochLoop {
    pub store: Arc<Store>,
    pub clock: Arc<dyn Clock>,
    pub setup: Setup,
    /// For sinks, which ask like everybody else.
    pub commands: Sender<Command>,
    pub inbox: Receiver<Command>,
    /// Commands that came during an epoch and wait for its end.
    pub deferred: VecDeque<Command>,
    pub epoch: Epoch,
    pub now: Micros,
    pub rows: u64,
    pub row_budget: RowBudget,
    /// The last epochs, to be shown.
    pub recent: VecDeque<EpochStatus>,
    pub sources: BTreeMap<ObjectId, RunningSource>,
    pub feeds: BTreeMap<FeedId, Feed>,
    pub tables: BTreeMap<ObjectId, RunningTable>,
    /// By number, hence in topological order: a view is made after what it reads.
    pub views: BTreeMap<ObjectId, RunningView>,
    pub failed: BTreeMap<ObjectId, FailedView>,
    pub sinks: BTreeMap<ObjectId, RunningSink>,
    pub subscriptions: Vec<(TableId, mpsc::Sender<EpochChanges>)>,
    pub flushes: HashMap<u64, PendingFlush>,
    pub next_token: u64,
    pub held: bool,
    pub disk: DiskWatch,
    /// Something asks for an epoch although no rows came.
    pub wanted: bool,
    /// Tables created since the last cut: published although nothing changed.
    pub appeared: Vec<ObjectId>,
    /// What this epoch writes beside the rows: catalog entries, records of the runtime.
    pub writes: Writes,
    /// Who is told once this epoch is durable, and once it is committed.
    pub on_durable: Vec<Waiter>,
    pub on_commit: Vec<Reply<Epoch>>,
    pub published: Arc<PublishedCell>,
    cut: Published,
    pub synced: watch::Receiver<Epoch>,
    pub troubles: watch::Sender<Troubles>,
    pub checkpointed: watch::Sender<Epoch>,
    /// Dropped before the syncer, which waits for whoever may still ask for a sync.
    pub committer: Committer,
    pub syncer: Syncer,
    stopping: Option<Reply<Epoch>>,
    pub abandoned: bool,
    /// The store could not be read where there is no way back: the next flush says so.
    pub broken: Option<Error>,
}

impl EpochLoop {
    /// The loop over what was committed last.
    ///
    /// # Errors
    /// `Storage`, `Corrupt`.
    pub fn open(
        setup: Setup,
        objects: Vec<Definition>,
        inbox: (Receiver<Command>, Sender<Command>),
        published: Arc<PublishedCell>,
        synced: watch::Sender<Epoch>,
    ) -> Result<Self> {
        let store = setup.store.clone();
        let record: EpochRecord = persisted::get(store.blocks().as_ref(), &persisted::key("epoch", ""))?.unwrap_or_default();
        // A killed process may have left epochs that it wrote and never synced: sinks may not see them before they are durable.
        store.blocks().sync()?;
        synced.send_replace(record.epoch);
        let latest = synced.subscribe();
        let syncer = Syncer::start(store.blocks().clone(), synced)?;
        let committer = Committer::start(store.blocks().clone())?;
        let mut this = Self {
            clock: setup.clock.clone(),
            disk: DiskWatch::new(setup.directory.clone()),
            commands: inbox.1,
            inbox: inbox.0,
            setup,
            store,
            deferred: VecDeque::new(),
            epoch: record.epoch,
            now: record.now,
            rows: 0,
            row_budget: RowBudget::default(),
            recent: VecDeque::new(),
            sources: BTreeMap::new(),
            feeds: BTreeMap::new(),
            tables: BTreeMap::new(),
            views: BTreeMap::new(),
            failed: BTreeMap::new(),
            sinks: BTreeMap::new(),
            subscriptions: Vec::new(),
            flushes: HashMap::new(),
            next_token: 1,
            held: false,
            wanted: false,
            appeared: Vec::new(),
            writes: Writes::new(),
            on_durable: Vec::new(),
            on_commit: Vec::new(),
            published,
            cut: Published::default(),
            synced: latest,
            troubles: watch::channel(Troubles::new()).0,
            checkpointed: watch::channel(Epoch::default()).0,
            syncer,
            committer,
            stopping: None,
            abandoned: false,
            broken: None,
        };
        this.restore(objects)?;
        let cut = this.cut(None);
        this.published.set(cut);
        Ok(this)
    }

    /// Runs until told to stop.
    ///
    /// # Errors
    /// `Storage`: the store is closed and must be opened again.
    pub fn run(&mut self) -> Result<()> {
        let outcome = self.turn();
        if self.abandoned || outcome.is_err() {
            self.stop_tasks();
            self.syncer.abandon();
        }
        if self.abandoned { Ok(()) } else { outcome }
    }

    fn turn(&mut self) -> Result<()> {
        loop {
            self.disk.check(&self.clock);
            self.open_due_feeds();
            if !self.has_input() {
                self.settle_commit()?;
            }
            self.tell_troubles();
            match self.wait(self.sleep())? {
                Wake::Command(command) => self.handle(command)?,
                message @ Wake::Message(..) => self.step(message)?,
                Wake::Due if self.is_due() => self.step(Wake::Due)?,
                Wake::Due => {}
            }
            if self.abandoned {
                return Ok(());
            }
            if let Some(reply) = self.stopping.take() {
                return self.end(reply);
            }
        }
    }

    fn handle(&mut self, command: Command) -> Result<()> {
        let Some(command) = self.settle_before(command)? else { return Ok(()) };
        match command {
            Command::Create { object, catalog, reply } => self.create(object, catalog, reply),
            Command::Drop { objects, catalog, reply } => self.drop_objects(&objects, catalog, reply),
            Command::Catalog { catalog, reply } => self.commit_catalog(catalog, reply),
            Command::Write { .. } => self.step(Wake::Command(command)),
            Command::Flush { only, reply } => {
                self.start_flush(only, reply);
                self.step(Wake::Due)
            }
            Command::Hold(held) => {
                self.held = held;
                Ok(())
            }
            Command::Subscribe { relation, reply } => {
                self.subscribe(relation, reply);
                self.step(Wake::Due)
            }
            Command::Outbox { ask, reply } => {
                answer(reply, self.outbox(&ask));
                Ok(())
            }
            Command::Delivered { sink, mark, upto } => self.delivered(sink, mark, upto),
            Command::SinkState { sink, state } => {
                self.sink_state(sink, state);
                Ok(())
            }
            Command::Status { reply } => {
                answer(reply, Ok(self.status()));
                Ok(())
            }
            Command::Checkpoint { directory, reply } => {
                // What the copy holds must not be lost here by a power failure: the directory would then be older than its checkpoint.
                let blocks = self.store.blocks();
                let taken = blocks.sync().and_then(|()| blocks.checkpoint(&directory)).map(|()| self.epoch);
                answer(reply, taken);
                Ok(())
            }
            Command::CheckpointDurable(epoch) => {
                self.checkpointed.send_replace(epoch);
                Ok(())
            }
            Command::Abandon => {
                self.abandoned = true;
                Ok(())
            }
            Command::Stop { reply } => {
                self.stopping = Some(reply);
                Ok(())
            }
        }
    }

    /// One epoch, if there is anything to make it of; `first` is what woke the loop.
    pub(crate) fn step(&mut self, first: Wake) -> Result<()> {
        let (epoch, began) = (self.epoch.next(), self.clock.elapsed());
        self.now = self.now.max(self.clock.now());
        let due = self.is_due();
        self.begin(epoch);
        let gathered = self.gather(first, epoch)?;
        let wanted = std::mem::take(&mut self.wanted);
        if gathered.dirty || due || wanted || !self.on_commit.is_empty() {
            self.finish(epoch);
            let writes = self.flush(epoch)?;
            self.commit(epoch, writes)?;
            let duration = self.clock.elapsed() - began;
            self.row_budget.learn(gathered.rows, duration);
            self.remember(EpochStatus { epoch, now: self.now, rows: gathered.rows as u64, duration });
        }
        Ok(())
    }

    fn remember(&mut self, epoch: EpochStatus) {
        if self.recent.len() == RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(epoch);
    }

    fn begin(&mut self, epoch: Epoch) {
        let now = self.now;
        self.tables.values_mut().for_each(RunningTable::begin);
        self.sources.values_mut().for_each(|s| s.errors.begin());
        for id in self.view_ids() {
            self.guard(id, |view| view.begin(epoch, now));
            self.start_backfill(id);
        }
    }

    /// Pushes rows of `from` into a view.
    pub(crate) fn push(&mut self, view: ObjectId, from: TableId, batch: &ChangeBatch) {
        let now = self.now;
        self.guard(view, |view| view.push_from(from, batch, now));
    }

    /// All input has come: views finish in topological order, each after what it reads.
    fn finish(&mut self, epoch: Epoch) {
        let now = self.now;
        self.finish_with_shared();
        self.update_source_watermarks();
        for table in self.tables.values_mut() {
            table.finish(now);
        }
        for id in self.view_ids() {
            // A view that is still catching up with what it reads gets neither this epoch's changes nor watermarks.
            let reads = if self.backfill(id) { self.views.get(&id).map(RunningView::reads).unwrap_or_default() } else { Vec::new() };
            let mut watermarks: HashMap<TableId, Watermarks> = HashMap::new();
            for from in reads {
                watermarks.insert(from, self.watermarks_for(id, from));
                let changes: Vec<ChangeBatch> = self.changes_of(from).to_vec();
                for batch in &changes {
                    self.push(id, from, batch);
                }
            }
            let watermark_of = |from: TableId| watermarks.get(&from).cloned().unwrap_or_default();
            self.guard(id, |view| view.finish(epoch, now, &watermark_of));
        }
        self.enforce_memory_limit();
    }

    /// Everything that changed, as one batch. A view that cannot flush is set aside and writes nothing.
    fn flush(&mut self, epoch: Epoch) -> Result<Writes> {
        let mut writes = std::mem::take(&mut self.writes);
        for id in self.view_ids() {
            let mut own = Writes::new();
            if self.guard(id, |view| view.flush(epoch, &mut own)) {
                writes.append(own);
            }
        }
        for table in self.tables.values_mut() {
            table.flush(epoch, &mut writes)?;
        }
        for source in self.sources.values_mut() {
            source.errors.flush(epoch, &mut writes)?;
        }
        self.merge_feeds(&mut writes);
        self.settle_flushes();
        for feed in self.feeds.values_mut() {
            feed.save(&mut writes)?;
        }
        // Views that failed while flushing have left their failure here.
        writes.append(std::mem::take(&mut self.writes));
        if let Some(error) = self.broken.take() {
            return Err(error);
        }
        let record = EpochRecord { epoch, now: self.now, incarnation: self.incarnation() };
        persisted::put(&mut writes, persisted::key("epoch", ""), &record)?;
        self.store.collect_garbage(&mut writes);
        Ok(writes)
    }

    /// Written: visible to queries. Synced soon: told to whoever waits. The write overlaps with the next epoch if there is input for it.
    fn commit(&mut self, epoch: Epoch, writes: Writes) -> Result<()> {
        self.settle_commit()?;
        self.syncer.check()?;
        self.epoch = epoch;
        let (published, cut) = (self.published.clone(), self.cut(Some(epoch)));
        let told = self.changes_for_subscriptions(epoch)?;
        let mut waiters = std::mem::take(&mut self.on_durable);
        waiters.extend(told);
        let wanted = !waiters.is_empty() || !self.sinks.is_empty();
        let written = self.syncer.on_written(epoch, waiters, wanted);
        let on_commit = std::mem::take(&mut self.on_commit);
        let then = Box::new(move || {
            published.set(cut);
            written();
            on_commit.into_iter().for_each(|reply| answer(reply, Ok(epoch)));
        });
        let commit = Commit { writes, then };
        if self.has_input() { self.committer.write(commit) } else { self.write_commit(commit) }
    }

    /// The new cut, in the place of the old one.
    fn cut(&mut self, changed: Option<Epoch>) -> Arc<Published> {
        let all = changed.is_none();
        let live: Vec<ObjectId> = self.view_ids().into_iter().filter(|id| self.is_live(*id)).collect();
        let off = self.views.keys().chain(self.failed.keys()).filter(|id| !live.contains(id)).map(|id| (*id, self.why_off(*id)));
        let off: Vec<(ObjectId, Error)> = off.collect();
        let cut = &mut self.cut;
        cut.epoch = self.epoch;
        cut.now = self.now;
        for (id, table) in &self.tables {
            if all || !table.changes.is_empty() || self.appeared.contains(id) {
                cut.set(TableId::new(*id, TableId::ROWS), RelationState::At(table.relation.snapshot()));
            }
            if let Some(errors) = &table.errors {
                cut.set(TableId::new(*id, TableId::ERRORS), RelationState::At(errors.relation.snapshot()));
            }
        }
        for (id, view) in self.views.iter().filter(|(id, _)| live.contains(id)) {
            cut.set(TableId::new(*id, TableId::ROWS), RelationState::At(view.relation.snapshot()));
            if let Some(late) = &view.diverted.late {
                cut.set(TableId::new(*id, TableId::LATE), RelationState::At(late.relation.snapshot()));
            }
            cut.set(TableId::new(*id, TableId::ERRORS), RelationState::At(view.diverted.errors.relation.snapshot()));
        }
        for (id, source) in &self.sources {
            cut.set(TableId::new(*id, TableId::ERRORS), RelationState::At(source.errors.relation.snapshot()));
        }
        for (id, error) in off {
            for number in [TableId::ROWS, TableId::LATE, TableId::ERRORS] {
                cut.set(TableId::new(id, number), RelationState::Off(error.clone()));
            }
        }
        self.appeared.clear();
        Arc::new(cut.clone())
    }

    /// A created relation is there to be read at once, a dropped one is gone.
    pub(crate) fn unpublish(&mut self, id: ObjectId) {
        self.cut.remove(id);
    }

    /// The present incarnation.
    pub(crate) fn incarnation(&self) -> u64 {
        self.setup.lineage.last().map_or(0, |(incarnation, _)| *incarnation)
    }

    pub(crate) fn view_ids(&self) -> Vec<ObjectId> {
        self.views.keys().copied().collect()
    }

    /// Runs `work` on a view; if it fails or panics the view and all above it are set aside. True if all went well.
    pub(crate) fn guard(&mut self, id: ObjectId, work: impl FnOnce(&mut RunningView) -> Result<()>) -> bool {
        let Some(view) = self.views.get_mut(&id) else { return false };
        let outcome = catch_unwind(AssertUnwindSafe(|| work(view)));
        let outcome = outcome.unwrap_or_else(|panic| Err(Error::bug(format!("an operator panicked: {}", panic_message(&panic)))));
        match outcome {
            Ok(()) => true,
            Err(error) => {
                self.set_aside(id, error);
                false
            }
        }
    }

    fn enforce_memory_limit(&mut self) {
        let sizes: Vec<(ObjectId, usize)> = self.views.iter().map(|(id, v)| (*id, v.state_bytes())).collect();
        let total: usize = sizes.iter().map(|(_, bytes)| bytes).sum();
        let limit = self.setup.memory_limit_bytes;
        if total <= limit {
            return;
        }
        if let Some((id, bytes)) = sizes.into_iter().max_by_key(|(_, bytes)| *bytes) {
            let message = format!("its state takes {} MiB, all views together {} MiB of {} MiB", bytes >> 20, total >> 20, limit >> 20);
            self.set_aside(id, Error::limit(message).with_hint("raise the memory limit, or bound the view's state with windows"));
        }
    }

    /// Applies writes to different tables, all or none; their writer is told once the epoch is durable. True if anything changed.
    pub(crate) fn write(&mut self, writes: TableWrites, record: Writes, reply: Reply<WriteDone>, epoch: Epoch) -> bool {
        match self.apply(writes, epoch) {
            Ok(done) => {
                self.writes.append(record);
                self.on_durable.push(Box::new(move |synced| answer(reply, synced.map(|()| done))));
                true
            }
            Err(error) => {
                answer(reply, Err(error));
                false
            }
        }
    }

    fn apply(&mut self, writes: TableWrites, epoch: Epoch) -> Result<WriteDone> {
        if let Some(message) = self.disk.full() {
            return Err(no_room(message));
        }
        if !(self.setup.may_write)() {
            return Err(lease_in_doubt());
        }
        let gone = || Error::not_found("this table does not exist any more");
        let mut checked = Vec::with_capacity(writes.len());
        for (id, write) in writes {
            let table = self.tables.get(&id).ok_or_else(gone)?;
            checked.push((id, table.check(write, self.now)?));
        }
        let mut done = WriteDone { epoch, inserted: 0, deleted: 0, refused: 0, kept: None };
        for (id, write) in checked {
            let applied = self.tables.get_mut(&id).ok_or_else(gone)?.apply(write, self.now)?;
            done.inserted += applied.inserted;
            done.refused += applied.refused;
            done.deleted += applied.deleted;
            done.kept = applied.kept;
        }
        Ok(done)
    }

    fn end(&mut self, reply: Reply<Epoch>) -> Result<()> {
        self.stop_tasks();
        let synced = self.syncer.stop().map(|()| self.epoch);
        answer(reply, synced.clone());
        synced.map(drop)
    }

    fn stop_tasks(&mut self) {
        for sink in self.sinks.values() {
            sink.task.abort();
        }
        for feed in self.feeds.values_mut() {
            feed.group = None;
        }
    }
}

/// Tells whoever asked; nobody may be there any more.
pub(crate) fn answer<T>(reply: oneshot::Sender<T>, value: T) {
    let _nobody_waits_any_more = reply.send(value);
}

fn lease_in_doubt() -> Error {
    let error = Error::external("the lease on the checkpoint URL could not be renewed: nothing is written until it is");
    error.with_hint("check that the object store can be reached")
}

/// How long the loop sleeps when nothing comes.
impl EpochLoop {
    fn next_due(&self) -> Option<Micros> {
        let views = self.views.values().filter_map(|v| v.due);
        let tables = self.tables.values().filter_map(|t| t.due(self.now));
        views.chain(tables).chain(self.sources_due()).min()
    }

    fn is_due(&self) -> bool {
        self.wanted || self.is_backfilling() || self.next_due().is_some_and(|due| due <= self.clock.now().max(self.now))
    }

    fn sleep(&self) -> Option<Duration> {
        if self.wanted || self.is_backfilling() {
            return Some(Duration::ZERO);
        }
        let until = |due: Micros| Duration::from_micros(u64::try_from(due - self.clock.now()).unwrap_or(0)) + Duration::from_millis(1);
        let due = if self.clock.is_held() { None } else { self.next_due().map(until) };
        let reopen = self.feeds.values().filter(|f| self.may_be_opened(f)).filter_map(|f| f.reopen_in(&self.clock)).min();
        let disk = self.disk.check_in(!self.feeds.is_empty() || !self.tables.is_empty());
        [due, reopen, disk].into_iter().flatten().min()
    }
}
