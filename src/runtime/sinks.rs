//! Sinks and subscriptions inside the loop: outboxes pinned until delivered, marks kept, changes handed out.

use headwater_connectors::Mark;
use headwater_state::{Family, TableId, Writes};
use headwater_types::{ChangeBatch, Epoch, Error, ObjectId, Result, RowOrder, consolidate};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::command::{Reply, subscription};
use crate::delivery::{Asker, Courier, DELIVERY_BYTES_MAX, Deliverable, Line, OutboxAnswer, OutboxAsk, OutboxPart};
use crate::epoch_loop::{EpochLoop, answer};
use crate::sync::Waiter;
use crate::{EpochChanges, SinkDef, persisted};

/// A sink that delivers.
pub(crate) struct RunningSink {
    pub def: SinkDef,
    pub task: JoinHandle<()>,
    /// What the target holds.
    pub mark: Option<Mark>,
    /// All epochs up to this one are delivered, those without a net change among them.
    pub seen: Epoch,
    pub state: SinkState,
}

/// How a sink gets on.
#[derive(Debug, Clone, Default)]
pub(crate) struct SinkState {
    /// What it waits for, or why it stopped.
    pub message: Option<String>,
    /// Trying again does not help.
    pub stopped: bool,
    /// Failures since the start of the process.
    pub retries: u64,
}

impl EpochLoop {
    /// Starts delivering.
    pub(crate) fn start_sink(&mut self, def: SinkDef) -> Result<()> {
        let mark: Option<Mark> = persisted::get(self.store.blocks().as_ref(), &persisted::object_key("sink", def.id))?;
        if let Some(relation) = self.relation_mut(def.from) {
            relation.keep_epochs(true);
        }
        let checkpoint = def.wait_for_checkpoint.then(|| self.checkpointed.subscribe());
        let deliverable = Deliverable { synced: self.synced.clone(), checkpoint };
        let line = Line { lineage: self.setup.lineage.clone(), may_write: self.setup.may_write.clone() };
        let courier = Courier::new(def.clone(), Asker(self.commands.clone()), deliverable, line);
        let task = self.setup.tokio.spawn(courier.run());
        self.sinks
            .insert(def.id, RunningSink { def, task, mark, seen: mark.map_or(Epoch(0), |m: Mark| m.epoch), state: SinkState::default() });
        Ok(())
    }

    /// Stops delivering; the last sink of a relation frees its outbox.
    pub(crate) fn stop_sink(&mut self, id: ObjectId, writes: &mut Writes) {
        let Some(sink) = self.sinks.remove(&id) else { return };
        sink.task.abort();
        writes.delete(Family::Meta, persisted::object_key("sink", id));
        let from = sink.def.from;
        self.release_epochs(from);
    }

    /// The epoch in which a view has met what was there before it; 0 for what was never built.
    fn built_at(&self, table: TableId) -> Epoch {
        self.views.get(&table.object).map_or(Epoch(0), |view| view.built_at)
    }

    /// What a sink asked for.
    pub(crate) fn outbox(&self, ask: &OutboxAsk) -> Result<OutboxAnswer> {
        let sink = self.sinks.get(&ask.sink).ok_or_else(|| Error::cancelled("the sink was dropped"))?;
        let off = || Error::external("its view is off the cut; delivery goes on when it is back");
        let relation = self.relation(sink.def.from).ok_or_else(off)?;
        let mut answer = OutboxAnswer { upto: self.epoch, changes: Vec::new(), kept: sink.mark, complete: true };
        match ask.what {
            OutboxPart::Mark => {}
            OutboxPart::All => answer.changes = relation.snapshot().changes()?.collect::<Result<_>>()?,
            OutboxPart::Epochs(after, upto) => {
                // Without a mark here nothing was freed yet: the process ended between the first delivery and the epoch that would keep its mark.
                // What a view held before it was built anew says nothing of how it changed since.
                answer.complete = sink.mark.is_none_or(|m| after >= m.epoch) && after >= self.built_at(sink.def.from);
                answer.upto = upto;
                let mut bytes = 0;
                for kept in relation.epochs_after(after) {
                    let (epoch, changes) = kept?;
                    if epoch > upto {
                        break;
                    }
                    bytes += changes.iter().map(ChangeBatch::bytes).sum::<usize>();
                    answer.changes.extend(changes);
                    if bytes >= DELIVERY_BYTES_MAX {
                        answer.upto = epoch;
                        break;
                    }
                }
            }
        }
        Ok(answer)
    }

    /// A delivery is in the target: its mark is kept with the next epoch, what no sink of the relation needs is freed.
    pub(crate) fn delivered(&mut self, id: ObjectId, mark: Mark, upto: Epoch) -> Result<()> {
        let Some(sink) = self.sinks.get_mut(&id) else { return Ok(()) };
        sink.mark = Some(mark);
        sink.seen = upto;
        let from = sink.def.from;
        persisted::put(&mut self.writes, persisted::object_key("sink", id), &mark)?;
        self.release_epochs(from);
        Ok(())
    }

    pub(crate) fn sink_state(&mut self, id: ObjectId, state: SinkState) {
        if let Some(sink) = self.sinks.get_mut(&id) {
            sink.state = state;
        }
    }

    /// The rows of a relation now, then its changes.
    pub(crate) fn subscribe(&mut self, table: TableId, reply: Reply<mpsc::Receiver<EpochChanges>>) {
        let rows = match self.relation(table) {
            Some(relation) => relation.snapshot().changes().and_then(Iterator::collect::<Result<Vec<_>>>),
            None => Err(self.why_off(table.object)),
        };
        match rows {
            Ok(changes) => {
                let (sender, receiver) = subscription();
                let first = EpochChanges { epoch: self.epoch, changes };
                self.on_durable.push(Box::new({
                    let sender = sender.clone();
                    move |synced| drop(synced.map(|()| sender.try_send(first)))
                }));
                self.wanted = true;
                self.subscriptions.push((table, sender));
                answer(reply, Ok(receiver));
            }
            Err(error) => answer(reply, Err(error)),
        }
    }

    /// What this epoch changed for each subscription, to be told once it is durable. A subscription that does not keep up ends.
    pub(crate) fn changes_for_subscriptions(&mut self, epoch: Epoch) -> Result<Vec<Waiter>> {
        let mut told: Vec<Waiter> = Vec::new();
        for (id, sender) in std::mem::take(&mut self.subscriptions) {
            // The place is taken now: between now and then other epochs come to be told.
            let Ok(place) = sender.clone().try_reserve_owned() else { continue };
            if let Some(net) = self.net_changes(id)? {
                let change = EpochChanges { epoch, changes: vec![net] };
                told.push(Box::new(move |synced| drop(synced.map(|()| place.send(change)))));
            }
            self.subscriptions.push((id, sender));
        }
        Ok(told)
    }

    /// What this epoch changed in a relation all in all, if anything.
    fn net_changes(&self, id: TableId) -> Result<Option<ChangeBatch>> {
        let changes = self.changes_of(id);
        let Some(schema) = changes.first().map(ChangeBatch::schema) else { return Ok(None) };
        let all: Vec<usize> = (0..schema.fields().len()).collect();
        let net = consolidate(&schema, &RowOrder::new(&schema, &all)?, changes)?;
        Ok((!net.is_empty()).then_some(net))
    }
}
