//! Appends to the chain of manifests so that exactly one process gets each number, whatever replies are lost.

use std::time::Duration;

use bytes::Bytes;
use headwater_types::{Error, Result};

use crate::remote::manifest_name;
use crate::{Manifest, Remote};

/// So often a create is tried before its outcome is left open.
const ATTEMPTS: u32 = 5;

/// How an append ended.
pub(crate) enum Appended {
    /// Ours stands in the chain and is the newest.
    Ours,
    /// This other one stands at our number, or above it.
    Taken(Box<Manifest>),
}

/// Creates `manifest` at its number.
///
/// A reply may be lost, so the outcome of a create is what stands at its number afterwards: our nonce, or another's. An error means that
/// nothing is known: the create may still arrive. Whoever goes on after one must try the same number again and take what it finds there.
pub(crate) async fn append(remote: &Remote, manifest: &Manifest) -> Result<Appended> {
    let name = manifest_name(manifest.number);
    let body = Bytes::from(manifest.encode()?);
    let mut wait = remote.timing.beat / 20;
    let mut last = Error::bug("no attempt was made");
    for attempt in 0..ATTEMPTS {
        if attempt > 0 {
            pause(&mut wait).await;
        }
        match attempt_once(remote, manifest, &name, &body).await {
            Ok(Some(appended)) => return Ok(appended),
            Ok(None) => last = remote.failed(&format!("create {name}"), &"the write did not arrive"),
            Err(e) if e.kind().is_retryable() => last = e,
            Err(e) => return Err(e),
        }
    }
    Err(last)
}

/// None if the object is not there (yet).
async fn attempt_once(remote: &Remote, manifest: &Manifest, name: &str, body: &Bytes) -> Result<Option<Appended>> {
    if remote.create(name, body.clone()).await.is_err() {
        match remote.manifest(manifest.number).await? {
            None => return Ok(None),
            Some(found) if found.nonce != manifest.nonce => return Ok(Some(Appended::Taken(Box::new(found)))),
            Some(_) => {}
        }
    }
    newest_or_taken(remote, manifest, name).await.map(Some)
}

/// A number can be free because it is so old that its manifest was pruned: then there is a higher one, and we have been asleep for long.
async fn newest_or_taken(remote: &Remote, manifest: &Manifest, name: &str) -> Result<Appended> {
    let highest = remote.highest(manifest.number).await?;
    if highest == manifest.number {
        remote.sync(vec![name.to_owned()]).await?;
        return Ok(Appended::Ours);
    }
    match remote.manifest(highest).await? {
        Some(found) => Ok(Appended::Taken(Box::new(found))),
        None => Err(remote.failed(&format!("read {}", manifest_name(highest)), &"it was listed, but is gone")),
    }
}

/// Waits, and doubles `wait` for the next time.
async fn pause(wait: &mut Duration) {
    tokio::time::sleep(*wait).await;
    *wait *= 2;
}
