//! The one place of the engine that starts tasks: each ended with its owner, or waited for.

use std::future::Future;

use headwater_types::{Error, Result};
use tokio::task::JoinHandle;

/// A task that ends when this is dropped. What it has to tell it tells itself: a database must not wait for it.
pub(crate) struct Task(JoinHandle<()>);

impl Task {
    /// Starts `work`.
    #[allow(clippy::disallowed_methods, reason = "the one place that wraps it")]
    pub fn start(work: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(work))
    }
}

/// Does `work` to its end, also when whoever waits for it is given up before.
///
/// # Errors
/// Those of `work`; `Bug` if it panicked.
#[allow(clippy::disallowed_methods, reason = "the one place that wraps it")]
pub(crate) async fn to_the_end<T: Send + 'static>(work: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
    tokio::spawn(work).await.map_err(|e| Error::bug(format!("work that was to be done to its end was not: {e}")))?
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}
