//! What readers see: the snapshots of one committed epoch, replaced as a whole at each commit.

use std::collections::HashMap;
use std::sync::Arc;

use headwater_state::{Snapshot, TableId};
use headwater_types::{ChangeBatch, Epoch, Error, Micros, ObjectId, Result};
use parking_lot::RwLock;

/// A relation at the cut, or why it is off it.
#[derive(Clone)]
pub enum RelationState {
    /// Its rows as of the epoch.
    At(Snapshot),
    /// It cannot be read; the error says why.
    Off(Error),
}

/// All relations at one committed epoch.
#[derive(Clone, Default)]
pub struct Published {
    /// The epoch.
    pub epoch: Epoch,
    /// Its time.
    pub now: Micros,
    relations: HashMap<TableId, RelationState>,
}

impl Published {
    /// The rows of `table`.
    ///
    /// # Errors
    /// Why the relation is off the cut; `NotFound` if there is none such.
    pub fn relation(&self, table: TableId) -> Result<&Snapshot> {
        match self.relations.get(&table) {
            Some(RelationState::At(snapshot)) => Ok(snapshot),
            Some(RelationState::Off(error)) => Err(error.clone()),
            None => Err(Error::not_found("this relation holds no rows to read")),
        }
    }

    /// The same with `changes` on top of the rows of `object`: what a transaction sees that has made them.
    ///
    /// # Errors
    /// As [`Published::relation`]; other column types.
    pub fn with(&self, object: ObjectId, changes: ChangeBatch) -> Result<Published> {
        let changed = self.relation(TableId::new(object, TableId::ROWS))?.with(changes)?;
        let mut published = self.clone();
        published.set(TableId::new(object, TableId::ROWS), RelationState::At(changed));
        Ok(published)
    }

    pub(crate) fn set(&mut self, id: TableId, state: RelationState) {
        self.relations.insert(id, state);
    }

    pub(crate) fn remove(&mut self, object: ObjectId) {
        self.relations.retain(|id, _| id.object != object);
    }
}

/// Where the loop puts the latest cut and readers take it; neither waits for the other's work.
#[derive(Default)]
pub struct PublishedCell(RwLock<Arc<Published>>);

impl PublishedCell {
    /// The latest committed cut.
    #[must_use]
    pub fn get(&self) -> Arc<Published> {
        self.0.read().clone()
    }

    pub(crate) fn set(&self, published: Arc<Published>) {
        *self.0.write() = published;
    }
}
