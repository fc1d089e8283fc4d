//! The relations inside the loop by the table that keeps them: rows of tables and views, and what stands beside those and beside sources.

use headwater_state::{Relation, TableId};
use headwater_types::{ChangeBatch, Error, ObjectId, Watermarks};

use crate::diverted::Beside;
use crate::epoch_loop::EpochLoop;
use crate::graph::FailureRecord;

impl EpochLoop {
    /// The kept rows of a relation that is on the cut.
    pub(crate) fn relation(&self, table: TableId) -> Option<&Relation> {
        let id = table.object;
        if self.views.contains_key(&id) && !self.is_live(id) {
            return None;
        }
        if table.number != TableId::ROWS {
            return self.beside(table).map(|b| &b.relation);
        }
        self.tables.get(&id).map(|t| &t.relation).or_else(|| self.views.get(&id).map(|v| &v.relation))
    }

    /// True for a running view that is on the cut.
    pub(crate) fn is_live(&self, view: ObjectId) -> bool {
        self.views.get(&view).is_some_and(|v| v.backfill.is_none()) && !self.is_apart(view)
    }

    /// True for a view that will come on the cut by itself: it reads what was there before it, or what it reads does.
    pub(crate) fn is_catching_up(&self, view: ObjectId) -> bool {
        let Some(running) = self.views.get(&view).filter(|_| !self.is_live(view)) else { return false };
        let of_views = || running.reads().into_iter().map(|from| from.object).filter(|id| self.views.contains_key(id));
        self.stopped_apart(view).is_none() && of_views().all(|id| self.is_live(id) || self.is_catching_up(id))
    }

    /// True for the rows of a source, which are not kept.
    pub(crate) fn is_stream(&self, table: TableId) -> bool {
        table.number == TableId::ROWS && self.sources.contains_key(&table.object)
    }

    /// Why a relation cannot be read.
    pub(crate) fn why_off(&self, id: ObjectId) -> Error {
        if let Some(failed) = self.failed.get(&id) {
            return FailureRecord::of(&failed.error).error(&failed.name);
        }
        let Some(view) = self.views.get(&id) else { return Error::not_found("this relation does not exist any more") };
        let error = Error::in_use(format!("view \"{}\" is off the cut: {}", view.def.name, self.what_is_missing(id)));
        error.with_sqlstate("55000").with_hint("headwater.jobs shows how far it is; FLUSH waits for it")
    }

    /// What a view that is catching up still has to read.
    pub(crate) fn what_is_missing(&self, id: ObjectId) -> String {
        let stopped = self.stopped_apart(id).and_then(|feed| Some((self.source_name(feed.record.source)?, feed.stopped.as_ref()?)));
        if let Some((source, error)) = stopped {
            return format!("source \"{source}\" stopped while it was catching up: {error}");
        }
        match self.views.get(&id).and_then(|v| v.backfill.as_ref()) {
            Some(backfill) if backfill.is_started() => "it is catching up with the tables and views that it reads".to_owned(),
            Some(_) => "it waits for a view that is off the cut".to_owned(),
            None => "it is catching up with its source".to_owned(),
        }
    }

    pub(crate) fn source_name(&self, id: ObjectId) -> Option<&str> {
        self.sources.get(&id).map(|s| s.def.definition.name.as_str())
    }

    pub(crate) fn relation_mut(&mut self, table: TableId) -> Option<&mut Relation> {
        if table.number != TableId::ROWS {
            return self.beside_mut(table).map(|b| &mut b.relation);
        }
        match self.tables.get_mut(&table.object) {
            Some(table) => Some(&mut table.relation),
            None => self.views.get_mut(&table.object).map(|v| &mut v.relation),
        }
    }

    /// What a relation changed in this epoch.
    pub(crate) fn changes_of(&self, table: TableId) -> &[ChangeBatch] {
        if table.number != TableId::ROWS {
            return self.beside(table).map(|b| b.changes.as_slice()).unwrap_or_default();
        }
        let of_table = self.tables.get(&table.object).map(|t| t.changes.as_slice());
        of_table.or_else(|| self.views.get(&table.object).map(|v| v.changes.as_slice())).unwrap_or_default()
    }

    /// The watermarks that `from` gives to `view`; `$late` and `$errors` have none.
    pub(crate) fn watermarks_for(&self, view: ObjectId, from: TableId) -> Watermarks {
        if from.number != TableId::ROWS {
            return Watermarks::none();
        }
        if let Some(table) = self.tables.get(&from.object) {
            return table.watermarks();
        }
        if let Some(upstream) = self.views.get(&from.object) {
            return upstream.watermarks().clone();
        }
        self.source_watermarks(view, from.object)
    }

    fn beside(&self, table: TableId) -> Option<&Beside> {
        if let Some(view) = self.views.get(&table.object) {
            return if table.number == TableId::LATE { view.diverted.late.as_ref() } else { Some(&view.diverted.errors) };
        }
        match self.tables.get(&table.object) {
            Some(table) => table.errors.as_ref(),
            None => self.sources.get(&table.object).map(|s| &s.errors),
        }
    }

    fn beside_mut(&mut self, table: TableId) -> Option<&mut Beside> {
        if let Some(view) = self.views.get_mut(&table.object) {
            return if table.number == TableId::LATE { view.diverted.late.as_mut() } else { Some(&mut view.diverted.errors) };
        }
        match self.tables.get_mut(&table.object) {
            Some(table) => table.errors.as_mut(),
            None => self.sources.get_mut(&table.object).map(|s| &mut s.errors),
        }
    }
}
