//! Takes checkpoints: every few seconds, on request, and at the end.

use headwater_runtime::Runtime;
use headwater_types::{Error, Result};

/// Takes checkpoints of one database.
pub(crate) struct Checkpointer {}

impl Checkpointer {
    pub async fn take(&self, _runtime: &Runtime) -> Result<()> {
        Err(Error::unsupported("CHECKPOINT"))
    }

    pub async fn close(&self, _runtime: &Runtime) -> Result<()> {
        Err(Error::unsupported("CHECKPOINT"))
    }

    pub fn abandon(&self) {}
}
