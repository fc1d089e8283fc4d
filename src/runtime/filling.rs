//! How a new view takes what its tables and views hold: a held snapshot of each in bounded chunks, then the changes since, until it meets the present.
//!
//! ```text
//! relation   ──────────●══════════●══════════●══════════►  epochs of the database, which go on
//!                      │ snapshot   kept epochs (pinned like a sink's outbox)
//! view        waits ─► chunk, chunk, chunk, epoch, epoch … ─► meets: this epoch's changes are next, with watermarks
//! ```
//!
//! One chunk is taken an epoch. Until it has met the present the view is off the cut, gets no watermark, and begins anew after a restart.

use std::time::Duration;

use headwater_state::{Family, TableId};
use headwater_types::{ChangeBatch, Clock, Epoch, Error, ObjectId, Result};

use crate::backfill::{Backfill, Pieces, Stage};
use crate::epoch_loop::EpochLoop;
use crate::persisted;

/// A chunk ends after this long, although more rows may be taken: the other views' epochs stay short.
const CHUNK_TIME_MAX: Duration = Duration::from_millis(20);
/// … but never before this many epochs of changes: while they are taken one more is made, so taking fewer might never meet the present.
const CHUNK_EPOCHS_MIN: usize = 2;

/// The same rows in pieces of at most `rows_max`.
fn cut(pieces: Pieces, rows_max: usize) -> Pieces {
    Box::new(pieces.flat_map(move |piece| {
        let cut = |piece: ChangeBatch| {
            let at = (0..piece.len()).step_by(rows_max);
            at.map(|at| piece.slice(at, rows_max.min(piece.len() - at))).collect::<Vec<_>>()
        };
        match piece.map(cut) {
            Ok(pieces) => pieces.into_iter().map(Ok).collect::<Vec<_>>(),
            Err(error) => vec![Err(error)],
        }
    }))
}

/// What one step has taken.
struct Chunk {
    rows: usize,
    rows_max: usize,
    until: Duration,
}

impl Chunk {
    fn is_full(&self, clock: &dyn Clock) -> bool {
        self.rows > 0 && (self.rows >= self.rows_max || clock.elapsed() >= self.until)
    }
}

impl EpochLoop {
    /// The relations with kept rows that `view` reads: all but the rows of sources.
    fn kept_reads(&self, view: ObjectId) -> Vec<TableId> {
        let reads = self.views.get(&view).map(|v| v.reads()).unwrap_or_default();
        reads.into_iter().filter(|table| !self.is_stream(*table)).collect()
    }

    /// True if `view` waits for relations that are all on the cut by now.
    fn can_start(&self, view: ObjectId) -> bool {
        let waits = self.views.get(&view).and_then(|v| v.backfill.as_ref()).is_some_and(|b| !b.is_started());
        waits && self.kept_reads(view).iter().all(|table| self.relation(*table).is_some())
    }

    /// True if some view can go on catching up with its relations without anything coming.
    pub(crate) fn is_backfilling(&self) -> bool {
        self.views.values().any(|v| v.backfill.as_ref().is_some_and(Backfill::is_started) || self.can_start(v.id))
    }

    /// Takes the snapshots that a view begins with: the rows of the last commit, before this epoch changes anything.
    pub(crate) fn start_backfill(&mut self, view: ObjectId) {
        if !self.can_start(view) {
            return;
        }
        let mut backfill = Backfill::default();
        for table in self.kept_reads(view) {
            let (epoch, rows_max) = (self.epoch, self.setup.backfill_rows);
            let Some(relation) = self.relation_mut(table) else { return };
            relation.keep_epochs(true);
            backfill.rows_total += relation.rows();
            match relation.snapshot().changes() {
                Ok(pieces) => drop(backfill.stages.insert(table, Stage::Snapshot(cut(pieces, rows_max), epoch))),
                Err(error) => return self.set_aside(view, error),
            }
        }
        if let Some(view) = self.views.get_mut(&view) {
            view.backfill = Some(backfill);
        }
    }

    /// One chunk for a view that is catching up with its relations. True if it has met them: this epoch's changes are next.
    pub(crate) fn backfill(&mut self, id: ObjectId) -> bool {
        let Some(mut backfill) = self.views.get_mut(&id).and_then(|v| v.backfill.take()) else { return true };
        let met = self.take_chunk(id, &mut backfill);
        let tables: Vec<TableId> = backfill.stages.keys().copied().collect();
        let epoch = self.epoch.next();
        if let Some(view) = self.views.get_mut(&id) {
            match met {
                Ok(true) => {
                    view.caught_up(epoch);
                    self.writes.delete(Family::Meta, persisted::object_key("backfill", id));
                }
                Ok(false) => view.backfill = Some(backfill),
                Err(ref error) => self.set_aside(id, error.clone()),
            }
        }
        for table in tables {
            self.release_epochs(table);
        }
        met.unwrap_or(false) && self.views.contains_key(&id)
    }

    fn take_chunk(&mut self, id: ObjectId, backfill: &mut Backfill) -> Result<bool> {
        let clock = self.clock.clone();
        let mut chunk = Chunk { rows: 0, rows_max: self.setup.backfill_rows, until: clock.elapsed() + CHUNK_TIME_MAX };
        for (table, stage) in &mut backfill.stages {
            while let Stage::Snapshot(pieces, epoch) = stage {
                if chunk.is_full(clock.as_ref()) {
                    return Ok(false);
                }
                let Some(piece) = pieces.next().transpose()? else {
                    *stage = Stage::Since(*epoch);
                    break;
                };
                chunk.rows += piece.len();
                backfill.rows += piece.len() as u64;
                self.push(id, *table, &piece);
            }
        }
        let mut met = backfill.is_started();
        for (table, stage) in &mut backfill.stages {
            if let Stage::Since(epoch) = stage {
                let before = chunk.rows;
                met &= self.take_epochs(id, *table, epoch, &mut chunk)?;
                backfill.rows += (chunk.rows - before) as u64;
            }
        }
        Ok(met)
    }

    /// Takes kept epochs of `table` after `since`; true at the last one.
    fn take_epochs(&mut self, id: ObjectId, table: TableId, since: &mut Epoch, chunk: &mut Chunk) -> Result<bool> {
        let mut taken = 0;
        while *since < self.epoch {
            if taken >= CHUNK_EPOCHS_MIN && chunk.is_full(self.clock.as_ref()) {
                return Ok(false);
            }
            let off = || Error::bug("a view goes on catching up with a relation that is off the cut");
            let next = self.relation(table).ok_or_else(off)?.epochs_after(*since).next().transpose()?;
            let Some((epoch, changes)) = next else {
                *since = self.epoch;
                break;
            };
            for batch in &changes {
                chunk.rows += batch.len();
                self.push(id, table, batch);
            }
            *since = epoch;
            taken += 1;
        }
        Ok(true)
    }

    /// Frees the kept epochs of `table` that neither a sink nor a view that is catching up needs any more.
    pub(crate) fn release_epochs(&mut self, table: TableId) {
        let of_sinks = self.sinks.values().filter(|s| s.def.from == table).map(|s| s.seen);
        let of_views = self.views.values().filter_map(|v| v.backfill.as_ref()?.needs_after(table));
        let (needed, all) = (of_sinks.chain(of_views).min(), self.epoch);
        let Some(relation) = self.relation_mut(table) else { return };
        relation.keep_epochs(needed.is_some());
        relation.release(needed.unwrap_or(all));
    }
}
