//! The runs that belong to a table, and those that its outbox keeps, in memory and in the store.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use headwater_types::{Epoch, Result};

use crate::keys::{Meta, kept_key};
use crate::run::{Run, RunEntry, RunWriter};
use crate::{Family, Store, TableId, Writes};

/// Which runs belong to a table. Every change of it goes into the epoch's writes; a run that leaves both lists is doomed.
pub(crate) struct Roster {
    store: Arc<Store>,
    table: TableId,
    listed: Vec<Arc<Run>>,
    kept: BTreeMap<Epoch, Arc<Run>>,
    keep: bool,
    /// Out of the outbox, but not yet in the store.
    released: Vec<(Epoch, Arc<Run>)>,
}

impl Roster {
    pub(crate) fn open(store: &Arc<Store>, table: TableId, schema: &SchemaRef) -> Result<Roster> {
        let mut runs: BTreeMap<u64, Arc<Run>> = BTreeMap::new();
        store.blocks().scan(Family::Meta, &Meta::Run.of_table(table), &mut |key, value| {
            let (_, number) = Meta::Run.parse(key)?;
            runs.insert(number, Run::open(store, table, number, schema.clone(), RunEntry::decode(table, value)?));
            Ok(())
        })?;
        let mut kept = BTreeMap::new();
        store.blocks().scan(Family::Meta, &Meta::Kept.of_table(table), &mut |key, value| {
            let (_, epoch) = Meta::Kept.parse(key)?;
            let entry = RunEntry::decode(table, value)?;
            let number = entry.number.unwrap_or_default();
            let run = runs.get(&number).cloned();
            kept.insert(Epoch(epoch), run.unwrap_or_else(|| Run::open(store, table, number, schema.clone(), entry)));
            Ok(())
        })?;
        let listed = runs.into_values().collect();
        Ok(Roster { store: store.clone(), table, listed, kept, keep: false, released: Vec::new() })
    }

    /// The runs of the rows, by number.
    pub(crate) fn listed(&self) -> &[Arc<Run>] {
        &self.listed
    }

    /// Adds an epoch's own run to the rows, and to the outbox if epochs are kept.
    pub(crate) fn add_epoch(&mut self, epoch: Epoch, run: &Arc<Run>, writes: &mut Writes) -> Result<()> {
        self.list(run, writes)?;
        if self.keep {
            let entry = RunEntry { number: Some(run.number()), ..run.entry().clone() };
            writes.put(Family::Meta, kept_key(self.table, epoch), entry.encode()?);
            self.kept.insert(epoch, run.clone());
        }
        Ok(())
    }

    /// Puts `run`, if any, in the place of `inputs`.
    pub(crate) fn replace(&mut self, inputs: &[Arc<Run>], run: Option<&Arc<Run>>, writes: &mut Writes) -> Result<()> {
        if let Some(run) = run {
            self.list(run, writes)?;
        }
        for input in inputs {
            self.listed.retain(|r| r.number() != input.number());
            writes.delete(Family::Meta, Meta::Run.numbered(self.table, input.number()));
            self.doom_unless_named(input, writes);
        }
        Ok(())
    }

    fn list(&mut self, run: &Arc<Run>, writes: &mut Writes) -> Result<()> {
        writes.put(Family::Meta, Meta::Run.numbered(self.table, run.number()), run.entry().encode()?);
        // It was doomed while it was half written.
        writes.delete(Family::Meta, Meta::Doomed.numbered(self.table, run.number()));
        self.store.save(self.table, run.number());
        self.listed.push(run.clone());
        Ok(())
    }

    /// A run that is half written: nobody's, should the process end.
    pub(crate) fn doom_unfinished(&self, run: &RunWriter, writes: &mut Writes) {
        self.store.doom(self.table, run.number(), run.blocks(), writes);
    }

    fn doom_unless_named(&self, run: &Arc<Run>, writes: &mut Writes) {
        let is_named = |other: &Arc<Run>| other.number() == run.number();
        let is_released = self.released.iter().any(|(_, r)| is_named(r));
        if !is_released && !self.listed.iter().any(is_named) && !self.kept.values().any(is_named) {
            self.store.doom(self.table, run.number(), run.blocks(), writes);
        }
    }

    pub(crate) fn keep_epochs(&mut self, keep: bool) {
        self.keep = keep;
    }

    /// The runs of kept epochs after `after`.
    pub(crate) fn kept_after(&self, after: Epoch) -> impl Iterator<Item = (Epoch, &Arc<Run>)> {
        self.kept.range(after.next()..).map(|(&epoch, run)| (epoch, run))
    }

    pub(crate) fn kept_bytes(&self) -> usize {
        self.kept.values().map(|run| run.entry().bytes as usize).sum()
    }

    pub(crate) fn release(&mut self, upto: Epoch) {
        let later = self.kept.split_off(&upto.next());
        self.released.extend(std::mem::replace(&mut self.kept, later));
    }

    /// What was released since the last flush.
    pub(crate) fn flush_released(&mut self, writes: &mut Writes) {
        while let Some((epoch, run)) = self.released.pop() {
            writes.delete(Family::Meta, kept_key(self.table, epoch));
            self.doom_unless_named(&run, writes);
        }
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.listed.iter().map(|run| run.memory_bytes()).sum()
    }
}
