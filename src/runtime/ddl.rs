//! Objects come and go inside the loop: created, restored, set aside, dropped.

use headwater_state::{Family, TableId, Writes};
use headwater_types::{Error, ObjectId, Result};

use crate::backfill::Backfill;
use crate::command::Reply;
use crate::epoch_loop::{EpochLoop, FailedView, answer};
use crate::graph::{FailureRecord, RunningView};
use crate::sources::RunningSource;
use crate::table::RunningTable;
use crate::{Definition, ViewDef, persisted};

impl EpochLoop {
    /// Starts a new object and commits `catalog` in the same epoch.
    pub(crate) fn create(&mut self, object: Definition, catalog: Writes, reply: Reply<headwater_types::Epoch>) -> Result<()> {
        match self.add(object) {
            Ok(()) => self.commit_catalog(catalog, reply),
            Err(error) => {
                answer(reply, Err(error));
                Ok(())
            }
        }
    }

    /// Commits `catalog`; `reply` is told once that is durable.
    pub(crate) fn commit_catalog(&mut self, catalog: Writes, reply: Reply<headwater_types::Epoch>) -> Result<()> {
        self.writes.append(catalog);
        self.wanted = true;
        let epoch = self.epoch.next();
        self.on_durable.push(Box::new(move |synced| answer(reply, synced.map(|()| epoch))));
        self.step(crate::gather::Wake::Due)
    }

    /// Everything that was there at the last commit.
    pub(crate) fn restore(&mut self, objects: Vec<Definition>) -> Result<()> {
        let (sinks, others): (Vec<_>, Vec<_>) = objects.into_iter().partition(|o| matches!(o, Definition::Sink(_)));
        for object in others {
            match object {
                Definition::View(def) => self.restore_view(*def)?,
                Definition::Source(def) => drop(self.sources.insert(def.id, RunningSource::open(&self.store, def)?)),
                other => self.add(other)?,
            }
        }
        self.restore_feeds()?;
        let anew: Vec<ObjectId> = self.views.values().filter(|v| v.backfill.is_some()).map(|v| v.id).collect();
        for view in anew {
            self.build(view)?;
        }
        // Feeds that stand where the shared one stands join it now, although nothing may come.
        self.wanted |= self.feeds.values().any(|f| !self.is_shared(f));
        sinks.into_iter().try_for_each(|sink| self.add(sink))
    }

    fn add(&mut self, object: Definition) -> Result<()> {
        match object {
            Definition::Source(def) => {
                let id = def.id;
                let source = RunningSource::open(&self.store, def)?;
                self.sources.insert(id, source);
                let feed = self.new_feed(id);
                self.sources.entry(id).and_modify(|s| s.shared = Some(feed));
                Ok(())
            }
            Definition::Table(def) => {
                let id = def.id;
                let table = RunningTable::open(&self.store, def, self.now.max(self.clock.now()))?;
                self.tables.insert(id, table);
                self.appeared.push(id);
                Ok(())
            }
            Definition::View(def) => self.add_view(*def),
            Definition::Sink(def) => self.start_sink(*def),
        }
    }

    /// A view that was just created.
    fn add_view(&mut self, def: ViewDef) -> Result<()> {
        let id = def.id;
        let view = RunningView::open(&self.store, def)?;
        let off = view.reads().into_iter().map(|from| from.object).find(|from| self.failed.contains_key(from));
        if let Some(from) = off {
            return Err(self.why_off(from));
        }
        self.views.insert(id, view);
        self.build(id)
    }

    /// A view as it was at the last commit. One that was catching up with tables or views then, or has failed over them, begins anew; one that has
    /// failed over sources goes on from where it was: a new version or a higher limit may have cured it.
    fn restore_view(&mut self, def: ViewDef) -> Result<()> {
        let id = def.id;
        let key = |kind| persisted::object_key(kind, id);
        let blocks = self.store.blocks().clone();
        let has_failed = blocks.get(Family::Meta, &key("failed"))?.is_some();
        let was_behind = blocks.get(Family::Meta, &key("backfill"))?.is_some();
        self.writes.delete(Family::Meta, key("failed"));
        self.wanted |= has_failed || was_behind;
        let is_over_kept = def.plan.reads().into_iter().any(|table| !self.is_stream(table));
        let begins_anew = was_behind || (has_failed && is_over_kept);
        if begins_anew {
            let mut writes = Writes::new();
            self.store.drop_object(id, &mut writes)?;
            writes.delete(Family::Meta, key("view"));
            blocks.write(&writes)?;
        }
        let mut view = RunningView::open(&self.store, def)?;
        view.backfill = begins_anew.then(Backfill::default);
        self.views.insert(id, view);
        Ok(())
    }

    /// A view takes everything that its relations hold: sources from their start, tables and views by their rows.
    fn build(&mut self, id: ObjectId) -> Result<()> {
        let reads = self.views.get(&id).map(RunningView::reads).unwrap_or_default();
        let (streams, kept): (Vec<TableId>, Vec<TableId>) = reads.into_iter().partition(|table| self.is_stream(*table));
        for stream in streams {
            self.feed_view(id, stream.object);
        }
        if let (Some(view), false) = (self.views.get_mut(&id), kept.is_empty()) {
            view.backfill = Some(Backfill::default());
            persisted::put(&mut self.writes, persisted::object_key("backfill", id), &())?;
        }
        Ok(())
    }

    /// A view has failed: it and all above it flush nothing of this epoch and drop their state; the others go on.
    pub(crate) fn set_aside(&mut self, id: ObjectId, error: Error) {
        let Some(view) = self.views.remove(&id) else { return };
        let name = view.def.name.clone();
        let mut writes = std::mem::take(&mut self.writes);
        self.broken = self.park_view(&view, &mut writes).err().or(self.broken.take());
        self.writes = writes;
        self.wanted = true;
        // Whoever follows it would wait for changes that do not come.
        self.subscriptions.retain(|(relation, _)| relation.object != id);
        view.reads().into_iter().for_each(|table| self.release_epochs(table));
        let record = FailureRecord::of(&error);
        if persisted::put(&mut self.writes, persisted::object_key("failed", id), &record).is_err() {
            debug_assert!(false, "a failure is plain text");
        }
        let readers: Vec<ObjectId> = self.views.values().filter(|v| v.reads().iter().any(|from| from.object == id)).map(|v| v.id).collect();
        self.failed.insert(id, FailedView { name: name.clone(), error });
        for reader in readers {
            let above = Error::new(self.failed[&id].error.kind(), format!("it reads view \"{name}\", which is off the cut"));
            self.set_aside(reader, above);
        }
    }

    /// Ends `objects` and deletes what they keep.
    pub(crate) fn drop_objects(&mut self, objects: &[ObjectId], catalog: Writes, reply: Reply<headwater_types::Epoch>) -> Result<()> {
        let mut writes = std::mem::take(&mut self.writes);
        for id in objects {
            self.stop_sink(*id, &mut writes);
            let reads = self.views.remove(id).map(|view| view.reads());
            if self.failed.remove(id).is_some() || reads.is_some() {
                self.unfeed_view(*id, &mut writes);
            }
            reads.into_iter().flatten().for_each(|table| self.release_epochs(table));
            self.tables.remove(id);
            self.erase_source(*id, &mut writes);
            for kind in ["view", "failed", "backfill", "table"] {
                writes.delete(Family::Meta, persisted::object_key(kind, *id));
            }
            self.unpublish(*id);
            self.subscriptions.retain(|(relation, _)| relation.object != *id);
            self.store.drop_object(*id, &mut writes)?;
        }
        self.writes = writes;
        self.commit_catalog(catalog, reply)
    }
}
