//! Tells what sources and sinks wait for: to whoever listens to a database, and as notices of the statement that waits for them.

use std::collections::BTreeMap;
use std::future::Future;

use headwater_runtime::Troubles;
use headwater_types::{ObjectId, Result};
use tokio::sync::{mpsc, watch};

use crate::checkpointer::Checkpointer;
use crate::{Database, Notice, Session};

/// A source, a sink or a checkpoint that does not get on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// `source`, `sink` or `checkpoint`.
    pub noun: &'static str,
    /// Its name; of the checkpoint the URL.
    pub name: String,
    /// Why, in one line.
    pub message: String,
    /// Trying again does not help; otherwise it is tried again.
    pub stopped: bool,
}

/// Follows what sources, sinks and checkpoints wait for.
pub struct TroubleWatch {
    database: Database,
    changes: watch::Receiver<Troubles>,
    checkpoints: Option<watch::Receiver<Option<String>>>,
}

impl TroubleWatch {
    /// Everything that does not get on, after the next change; `None` when the database has ended.
    pub async fn next(&mut self) -> Option<Vec<Trouble>> {
        tokio::select! {
            changed = self.changes.changed() => changed.ok()?,
            () = changed(self.checkpoints.as_mut()) => {}
        }
        let checkpoint = self.checkpoint();
        let troubles = self.changes.borrow_and_update().clone();
        let catalog = self.database.shared.catalog();
        let named = |(id, trouble): (ObjectId, headwater_runtime::Trouble)| {
            let object = catalog.get(id)?;
            let (noun, name) = (object.kind.noun(), object.name.clone());
            Some(Trouble { noun, message: without_name(&trouble.message, noun, &name), name, stopped: trouble.stopped })
        };
        Some(troubles.into_iter().filter_map(named).chain(checkpoint).collect())
    }

    fn checkpoint(&mut self) -> Option<Trouble> {
        let message = self.checkpoints.as_mut()?.borrow_and_update().clone()?;
        let name = self.database.shared.options.checkpoint.clone().unwrap_or_default();
        Some(Trouble { noun: "checkpoint", name, message, stopped: false })
    }
}

/// Returns after the next change, if there can be one.
async fn changed(watched: Option<&mut watch::Receiver<Option<String>>>) {
    let is_over = match watched {
        Some(watched) => watched.changed().await.is_err(),
        None => true,
    };
    if is_over {
        std::future::pending().await
    }
}

impl Database {
    /// Follows what sources and sinks wait for, from the beginning.
    #[must_use]
    pub fn troubles(&self) -> TroubleWatch {
        let mut changes = self.shared.runtime.troubles();
        changes.mark_changed();
        let checkpoints = self.shared.checkpointer.as_ref().map(Checkpointer::failing);
        TroubleWatch { database: self.clone(), changes, checkpoints }
    }
}

impl Session {
    /// Has `listener` told at once what a running statement waits for; without one it is not told. What does not fit into a full channel is left out.
    pub fn tell_notices_to(&mut self, listener: mpsc::Sender<Notice>) {
        self.listener = Some(listener);
    }

    /// Waits for `work`, and tells what the sources among `below` wait for meanwhile: each reason once.
    pub(crate) async fn telling<T>(&self, below: &[ObjectId], work: impl Future<Output = Result<T>>) -> Result<T> {
        let mut troubles = self.shared.runtime.troubles();
        let mut told = BTreeMap::new();
        let mut work = std::pin::pin!(work);
        loop {
            self.tell_troubles(&troubles.borrow_and_update(), below, &mut told);
            tokio::select! {
                biased;
                outcome = &mut work => return outcome,
                changed = troubles.changed() => if changed.is_err() { return work.await },
            }
        }
    }

    fn tell_troubles(&self, troubles: &Troubles, below: &[ObjectId], told: &mut BTreeMap<ObjectId, String>) {
        let Some(listener) = &self.listener else { return };
        for (id, trouble) in troubles.iter().filter(|(id, _)| below.contains(id)) {
            let Some(object) = self.shared.catalog().get(*id).cloned() else { continue };
            if told.get(id) == Some(&trouble.message) {
                continue;
            }
            told.insert(*id, trouble.message.clone());
            let (noun, name) = (object.kind.noun(), &object.name);
            let message = without_name(&trouble.message, noun, name);
            // Nobody listens any more, or has heard enough.
            let _unheard = listener.try_send(Notice::new(format!("{noun} \"{name}\": {message}; waiting")));
        }
    }
}

/// Connectors say which source or sink a message is about; here that stands before it anyway.
fn without_name(message: &str, noun: &str, name: &str) -> String {
    message.strip_prefix(&format!("{noun} '{name}': ")).unwrap_or(message).to_owned()
}
