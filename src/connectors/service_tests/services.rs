//! Where the services are, and how a test kills one.

use std::io::Write;
use std::path::Path;
use std::process::Command;

use tokio::sync::{Mutex, MutexGuard};

/// One test at a time talks to the services, so that a killed one troubles nobody else.
static TURN: Mutex<()> = Mutex::const_new(());

/// A service's address, and the turn of the test that asked.
pub(super) struct Service {
    pub(super) address: String,
    _turn: MutexGuard<'static, ()>,
}

/// The service whose address stands in `variable`, if it runs.
pub(super) async fn service(variable: &str, test: &str) -> Option<Service> {
    match std::env::var(variable) {
        Ok(address) if !address.is_empty() => Some(Service { address, _turn: TURN.lock().await }),
        _ => {
            skip(test, &format!("{variable} is not set; script/services up kafka postgres; . <(script/services env)"));
            None
        }
    }
}

/// True if the services may be killed: they are a set of the test's own, in a folder that was named for it.
pub(super) fn may_kill(test: &str) -> bool {
    let own = std::env::var("HEADWATER_SERVICES").is_ok();
    if !own {
        skip(test, "HEADWATER_SERVICES is not set, and services that others may use are not killed");
    }
    own
}

/// Runs `script/services VERB NAME`.
pub(super) fn services(verb: &str, name: &str) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../script/services");
    let status = Command::new(script).args([verb, name]).status().expect("script/services starts");
    assert!(status.success(), "script/services {verb} {name}");
}

/// Past the capture of the test harness: a test that did not run must be seen.
pub(super) fn skip(test: &str, why: &str) {
    let _unseen = writeln!(std::io::stderr(), "SKIPPED {test}: {why}");
}
