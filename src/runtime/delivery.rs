//! One task per sink: takes synced epochs from the outbox, delivers them with their mark, tries again with back-off.

use std::sync::Arc;
use std::time::Duration;

use headwater_connectors::{Delivery, Mark, Sink};
use headwater_types::{ChangeBatch, Epoch, Error, ErrorKind, ObjectId, Result, RowOrder, consolidate};
use tokio::sync::watch;

use crate::SinkDef;
use crate::command::{Command, Reply};
use crate::sinks::SinkState;

/// The first and the longest pause between two tries.
const BACK_OFF_MIN: Duration = Duration::from_millis(200);
const BACK_OFF_MAX: Duration = Duration::from_secs(10);
/// One delivery takes waiting epochs up to this many bytes.
pub(crate) const DELIVERY_BYTES_MAX: usize = 64 << 20;

/// What a sink asks of the loop.
pub(crate) struct OutboxAsk {
    pub sink: ObjectId,
    pub what: OutboxPart,
}

/// Which rows.
pub(crate) enum OutboxPart {
    /// None: only the mark kept here.
    Mark,
    /// The whole relation as it is now.
    All,
    /// The changes of the epochs after the first up to the second, or of as many of them as fit in one delivery.
    Epochs(Epoch, Epoch),
}

/// Rows with weights, complete up to `upto`.
pub(crate) struct OutboxAnswer {
    pub upto: Epoch,
    pub changes: Vec<ChangeBatch>,
    /// The mark kept here.
    pub kept: Option<Mark>,
    /// False if the epochs that were asked for are not all kept any more.
    pub complete: bool,
}

/// What a sink may deliver: synced epochs, and for some sinks only what a durable checkpoint holds.
#[derive(Clone)]
pub(crate) struct Deliverable {
    pub synced: watch::Receiver<Epoch>,
    pub checkpoint: Option<watch::Receiver<Epoch>>,
}

impl Deliverable {
    fn upto(&self) -> Epoch {
        let synced = *self.synced.borrow();
        self.checkpoint.as_ref().map_or(synced, |c| synced.min(*c.borrow()))
    }

    async fn beyond(&mut self, epoch: Epoch) -> Result<()> {
        let closed = |_| Error::cancelled("the database is shut down");
        self.synced.wait_for(|e| *e > epoch).await.map_err(closed)?;
        if let Some(checkpoint) = &mut self.checkpoint {
            checkpoint.wait_for(|e| *e > epoch).await.map_err(closed)?;
        }
        Ok(())
    }
}

/// This line of time, and whether it is certain that nobody else goes on with it.
#[derive(Clone)]
pub(crate) struct Line {
    pub lineage: Vec<(u64, Epoch)>,
    pub may_write: Arc<dyn Fn() -> bool + Send + Sync>,
}

impl Line {
    fn incarnation(&self) -> u64 {
        self.lineage.last().map_or(0, |(incarnation, _)| *incarnation)
    }

    /// Every later incarnation began from an epoch that holds what was delivered with `mark`.
    fn holds(&self, mark: &Mark) -> bool {
        let Some(at) = self.lineage.iter().position(|(incarnation, _)| *incarnation == mark.incarnation) else { return false };
        self.lineage[at + 1..].iter().all(|(_, began)| mark.epoch <= *began)
    }

    fn check(&self) -> Result<()> {
        let in_doubt = || Error::external("the lease on the checkpoint URL could not be renewed: nothing is delivered until it is");
        if (self.may_write)() { Ok(()) } else { Err(in_doubt()) }
    }
}

pub(crate) struct Courier {
    pub def: SinkDef,
    pub runtime: Asker,
    pub deliverable: Deliverable,
    pub line: Line,
    retries: u64,
    /// The next pause, if the target does not answer.
    back_off: Duration,
}

/// How a courier reaches the loop.
#[derive(Clone)]
pub(crate) struct Asker(pub crossbeam_channel::Sender<Command>);

impl Asker {
    async fn tell(&self, mut command: Command) -> Result<()> {
        loop {
            match self.0.try_send(command) {
                Ok(()) => return Ok(()),
                Err(crossbeam_channel::TrySendError::Full(back)) => command = back,
                Err(crossbeam_channel::TrySendError::Disconnected(_)) => return Err(Error::cancelled("the database is shut down")),
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    async fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T> {
        let (reply, answer) = tokio::sync::oneshot::channel();
        self.tell(command(reply)).await?;
        answer.await.map_err(|_| Error::cancelled("the database is shut down"))?
    }
}

impl Courier {
    pub fn new(def: SinkDef, runtime: Asker, deliverable: Deliverable, line: Line) -> Self {
        Self { def, runtime, deliverable, line, retries: 0, back_off: BACK_OFF_MIN }
    }

    /// Delivers until the database shuts down or an error says that trying again does not help.
    pub async fn run(mut self) {
        loop {
            let Err(error) = self.deliver_all().await else { return };
            if error.kind() == ErrorKind::Cancelled {
                return;
            }
            self.retries += 1;
            let pause = self.next_pause(error.kind());
            let told = self.tell_state(Some(error.to_string()), pause.is_none()).await;
            let (Ok(()), Some(pause)) = (told, pause) else { return };
            tokio::time::sleep(pause).await;
        }
    }

    /// When to try again after an error of this kind; `None` if that cannot help.
    fn next_pause(&mut self, kind: ErrorKind) -> Option<Duration> {
        match kind {
            ErrorKind::External => {
                let pause = self.back_off;
                self.back_off = (pause * 2).min(BACK_OFF_MAX);
                Some(pause)
            }
            // The target is not what it must be: somebody has to repair it, and no more than that.
            ErrorKind::Invalid | ErrorKind::NotFound | ErrorKind::Exists | ErrorKind::InUse | ErrorKind::Limit => Some(BACK_OFF_MAX),
            _ => None,
        }
    }

    async fn tell_state(&self, message: Option<String>, stopped: bool) -> Result<()> {
        let state = SinkState { message, stopped, retries: self.retries };
        self.runtime.tell(Command::SinkState { sink: self.def.id, state }).await
    }

    async fn deliver_all(&mut self) -> Result<()> {
        let mut sink = self.def.connector.open_sink(&self.def.definition)?;
        // What the target holds, and how far its epochs have been seen: epochs whose net change is nothing move only the latter.
        let (mut mark, mut seen) = self.reconcile(sink.as_mut()).await?;
        self.tell_state(None, false).await?;
        self.back_off = BACK_OFF_MIN;
        loop {
            self.deliverable.beyond(seen).await?;
            let answer = self.outbox(OutboxPart::Epochs(seen, self.deliverable.upto())).await?;
            if !answer.complete {
                mark = self.rewrite(sink.as_mut()).await?;
                seen = mark.epoch;
                continue;
            }
            seen = answer.upto;
            let changes = net(&self.def, &answer.changes)?;
            if !changes.is_empty() {
                let next = Mark { incarnation: self.line.incarnation(), epoch: seen, ..mark };
                self.line.check()?;
                sink.deliver(&Delivery { before: Some(mark), mark: next, changes }).await?;
                mark = next;
            }
            if !answer.changes.is_empty() {
                self.delivered(mark, seen).await?;
            }
        }
    }

    /// Compares the mark that the target holds with the one kept here, and decides where to go on from: the mark to replace, and the epoch behind which
    /// rows are still to be delivered.
    async fn reconcile(&mut self, sink: &mut dyn Sink) -> Result<(Mark, Epoch)> {
        let held = sink.mark().await?;
        let kept = self.outbox(OutboxPart::Mark).await?.kept;
        let here = if sink.keeps_mark() { held } else { held.or(kept) };
        let mark = match (here, kept) {
            (Some(mark), _) if self.is_of_this_line(&mark) => mark,
            // What the target got after the checkpoint comes again.
            (Some(mark), Some(kept)) if self.def.may_repeat => return Ok((mark, kept.epoch)),
            (here, None) if here.is_none() || self.def.may_repeat => self.first_delivery(sink, here).await?,
            _ => self.rewrite(sink).await?,
        };
        Ok((mark, mark.epoch))
    }

    /// Not ahead of what is durable here, and of this line of time.
    fn is_of_this_line(&self, mark: &Mark) -> bool {
        mark.epoch <= *self.deliverable.synced.borrow() && self.line.holds(mark)
    }

    /// The view as it is now, in the place of the mark `before`; the target keeps what it has of others.
    async fn first_delivery(&mut self, sink: &mut dyn Sink, before: Option<Mark>) -> Result<Mark> {
        let (mark, changes) = self.all().await?;
        self.line.check()?;
        sink.deliver(&Delivery { before, mark, changes }).await?;
        self.delivered(mark, mark.epoch).await?;
        Ok(mark)
    }

    /// Makes the target equal to the relation, whatever it held.
    async fn rewrite(&mut self, sink: &mut dyn Sink) -> Result<Mark> {
        if !self.def.definition.upsert {
            let name = &self.def.definition.name;
            let error = Error::storage(format!(
                "sink \"{name}\" cannot tell which rows its target has: its view was built anew since, or the mark there is not of this line of time"
            ));
            return Err(error.with_hint("an append sink cannot take rows back; check the target, then drop the sink and create it again"));
        }
        let (mark, rows) = self.all().await?;
        self.line.check()?;
        sink.rewrite(rows, mark).await?;
        self.delivered(mark, mark.epoch).await?;
        Ok(mark)
    }

    /// The whole relation, once the epoch that it is from is durable.
    async fn all(&mut self) -> Result<(Mark, Vec<ChangeBatch>)> {
        let answer = self.outbox(OutboxPart::All).await?;
        if answer.upto.0 > 0 {
            self.deliverable.beyond(Epoch(answer.upto.0 - 1)).await?;
        }
        let mark = Mark { sink: self.def.definition.uuid, incarnation: self.line.incarnation(), epoch: answer.upto };
        Ok((mark, net(&self.def, &answer.changes)?))
    }

    async fn outbox(&self, what: OutboxPart) -> Result<OutboxAnswer> {
        let ask = OutboxAsk { sink: self.def.id, what };
        self.runtime.ask(|reply| Command::Outbox { ask, reply }).await
    }

    async fn delivered(&self, mark: Mark, upto: Epoch) -> Result<()> {
        self.runtime.tell(Command::Delivered { sink: self.def.id, mark, upto }).await
    }
}

/// The net change: at most one deletion and one insertion a row, deletions first.
fn net(def: &SinkDef, changes: &[ChangeBatch]) -> Result<Vec<ChangeBatch>> {
    let schema = &def.definition.schema;
    let all: Vec<usize> = (0..schema.fields().len()).collect();
    let net = consolidate(schema, &RowOrder::new(schema, &all)?, changes)?;
    let (mut deleted, mut inserted) = (Vec::new(), Vec::new());
    for row in 0..net.len() {
        let index = u32::try_from(row).map_err(|_| Error::limit("a delivery of more than 2^32 rows"))?;
        if net.weight(row) < 0 { deleted.push(index) } else { inserted.push(index) }
    }
    let mut batches = Vec::new();
    for rows in [deleted, inserted].into_iter().filter(|rows| !rows.is_empty()) {
        batches.extend(net.take(&rows.into())?.chunks());
    }
    Ok(batches)
}
