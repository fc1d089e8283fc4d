//! The one place that starts threads: named, and a panic becomes an error that somebody sees.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::JoinHandle;

use headwater_types::{Error, Result};
use rayon::{ThreadPool, ThreadPoolBuilder};

/// Room on the stack for expressions of the greatest depth that a statement may have. Only what is used of it takes memory.
const STACK_BYTES: usize = 256 << 20;

/// Runs `work` on a new thread called `name`; if it panics, `on_panic` gets the message.
///
/// # Errors
/// The machine has no thread to give.
pub fn spawn_thread(
    name: &str,
    work: impl FnOnce() + Send + 'static,
    on_panic: impl FnOnce(Error) + Send + 'static,
) -> Result<JoinHandle<()>> {
    let thread = name.to_owned();
    let body = move || {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(work)) {
            on_panic(Error::bug(format!("thread {thread} panicked: {}", panic_message(&panic))));
        }
    };
    let thread = std::thread::Builder::new().name(name.to_owned()).stack_size(STACK_BYTES);
    thread.spawn(body).map_err(|e| Error::limit(format!("cannot start thread {name}: {e}")))
}

/// Threads for work that is shared out, one a core.
///
/// # Errors
/// The machine has no threads to give.
pub(crate) fn thread_pool() -> Result<ThreadPool> {
    let pool = ThreadPoolBuilder::new().thread_name(|number| format!("epoch loop {number}")).stack_size(STACK_BYTES);
    pool.build().map_err(|e| Error::limit(format!("cannot start threads: {e}")))
}

/// What a panic said.
#[must_use]
pub fn panic_message(panic: &Box<dyn std::any::Any + Send>) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "unknown panic".to_owned())
}

#[cfg(test)]
mod tests {
    use rayon::prelude::*;

    use super::*;

    /// Uses a kilobyte of the stack for each level.
    fn descend(levels: u32) -> u32 {
        let room = std::hint::black_box([levels; 256]);
        if levels == 0 { 0 } else { descend(levels - 1) + room[0] / levels }
    }

    /// Rows are worked on by these threads too, with all that an expression may ask of the stack.
    #[test]
    fn threads_of_the_pool_have_room_for_deep_expressions() {
        let depths = thread_pool().unwrap().install(|| (0..8).into_par_iter().map(|_| descend(32_000)).collect::<Vec<_>>());
        assert_eq!(depths, [32_000; 8]);
    }
}
