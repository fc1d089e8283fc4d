//! How far a new view is with what its tables and views held before it.

use std::collections::BTreeMap;

use headwater_state::TableId;
use headwater_types::{ChangeBatch, Epoch, Result};

/// Rows in pieces, read as they are asked for.
pub(crate) type Pieces = Box<dyn Iterator<Item = Result<ChangeBatch>> + Send>;

/// How far a view is with one relation.
pub(crate) enum Stage {
    /// In its rows as of an epoch.
    Snapshot(Pieces, Epoch),
    /// Everything up to this epoch is taken.
    Since(Epoch),
}

/// How far a view is with its relations.
#[derive(Default)]
pub(crate) struct Backfill {
    /// Empty until all relations are on the cut.
    pub stages: BTreeMap<TableId, Stage>,
    /// Rows taken.
    pub rows: u64,
    /// Rows of the snapshots.
    pub rows_total: u64,
}

impl Backfill {
    /// False while it waits for a relation that is off the cut.
    pub fn is_started(&self) -> bool {
        !self.stages.is_empty()
    }

    /// The epoch of `table` after which its changes are still to be taken.
    pub fn needs_after(&self, table: TableId) -> Option<Epoch> {
        self.stages.get(&table).map(|stage| match stage {
            Stage::Snapshot(_, epoch) | Stage::Since(epoch) => *epoch,
        })
    }
}
