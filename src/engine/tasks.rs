//! The one place of the engine that starts tasks, each ended with its owner.

use std::future::Future;

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

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}
