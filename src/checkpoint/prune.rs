//! Deletes what no kept checkpoint needs, never what one names.

use std::collections::HashSet;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use headwater_types::{Error, Result};
use object_store::path::Path as ObjectPath;
use object_store::{ObjectMeta, ObjectStoreExt};

use crate::remote::{manifest_name, manifest_number};
use crate::unnamed::Unnamed;
use crate::{Lease, Manifest, Remote};

/// So many checkpoints keep their data: the newest, and two to fall back on by hand.
const CHECKPOINTS_KEPT: usize = 3;
/// An object that no manifest names may be of an upload that is still going on; after this time it is not.
const ORPHAN_AGE: Duration = Duration::from_secs(24 * 3600);
/// Manifests tell the history of a database; after this time nobody asks.
const MANIFEST_AGE: Duration = Duration::from_secs(30 * 24 * 3600);
/// Every so many manifests the store is searched for what [`prune`] does not know of.
const MANIFESTS_PER_SWEEP: u64 = 60;

/// What was deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pruned {
    /// Files of old checkpoints.
    pub objects: usize,
    /// Files of uploads that never ended, old manifests, beats and probes.
    pub left_over: usize,
}

/// Deletes the data of all but the newest three checkpoints. To be called after [`crate::upload`].
///
/// Only a holder that has just appended to the chain prunes, and it deletes only what a pruned manifest named and no kept one names. A
/// holder that has lost the lease without knowing does no harm: its successor starts from a manifest that it keeps, and names new objects
/// after a higher fence. Nothing is lost if it stops half-way: the next call goes on.
pub async fn prune(lease: &Lease) -> Result<Pruned> {
    let unnamed = lease.unnamed().await;
    lease.check()?;
    let head = lease.head();
    let (remote, kept) = (lease.remote(), kept(lease.remote(), &head).await?);
    let first_kept = kept.last().map_or(head.number, |oldest| oldest.number);
    let needed: HashSet<&str> = kept.iter().flat_map(|manifest| &manifest.files).map(|file| file.object.as_str()).collect();
    let mut doomed = HashSet::new();
    for number in head.pruned_below..first_kept {
        // One that is gone was pruned by a later holder: then we have lost, and the next append says so.
        let Some(manifest) = remote.manifest(number).await? else { continue };
        doomed.extend(manifest.files.into_iter().map(|file| file.object).filter(|object| !needed.contains(object.as_str())));
    }
    let mut pruned = Pruned { objects: delete(remote, doomed.into_iter().map(ObjectPath::from).collect()).await?, left_over: 0 };
    if first_kept > head.pruned_below {
        lease.pruned_below(first_kept);
    }
    if head.number.is_multiple_of(MANIFESTS_PER_SWEEP) {
        pruned.left_over = sweep(remote, &head, &needed, &unnamed, ORPHAN_AGE).await?;
    }
    Ok(pruned)
}

/// The newest manifest and those below it, down to the oldest whose checkpoint is kept; newest first.
async fn kept(remote: &Remote, head: &Manifest) -> Result<Vec<Manifest>> {
    let mut checkpoints: HashSet<u64> = HashSet::from([head.checkpoint]);
    let mut kept = vec![head.clone()];
    for number in (head.pruned_below..head.number).rev() {
        let missing = || Error::corrupt(format!("{} at {} is missing", manifest_name(number), remote.name()));
        let manifest = remote.manifest(number).await?.ok_or_else(missing)?;
        checkpoints.insert(manifest.checkpoint);
        if checkpoints.iter().filter(|checkpoint| **checkpoint > 0).count() > CHECKPOINTS_KEPT {
            break;
        }
        kept.push(manifest);
    }
    Ok(kept)
}

/// Deletes what no manifest knows: files of uploads that never ended, beats of former holders, probes, old manifests.
async fn sweep(remote: &Remote, head: &Manifest, needed: &HashSet<&str>, unnamed: &Unnamed, orphan_age: Duration) -> Result<usize> {
    let newest = ObjectPath::from(manifest_name(head.number));
    // The store's own clock tells ages: it wrote this object moments ago.
    let now = remote.store.head(&newest).await.map_err(|e| remote.failed("look at the newest manifest", &e))?.last_modified;
    let older_than = |object: &ObjectMeta, age: Duration| (now - object.last_modified).to_std().is_ok_and(|past| past >= age);
    let is_left_over = |object: &ObjectMeta| {
        let name = object.location.as_ref();
        match name.split('/').next() {
            Some("data") => !needed.contains(name) && !unnamed.holds(name) && older_than(object, orphan_age),
            Some("manifest") => {
                manifest_number(&object.location).is_some_and(|number| number < head.pruned_below) && older_than(object, MANIFEST_AGE)
            }
            Some("beat") => name != crate::beat::beat_name(head.fence) && older_than(object, orphan_age),
            Some("probe") => older_than(object, orphan_age),
            _ => false,
        }
    };
    let mut left_over = Vec::new();
    for folder in ["data", "manifest", "beat", "probe"] {
        let mut listing = remote.store.list(Some(&ObjectPath::from(folder)));
        while let Some(object) = listing.try_next().await.map_err(|e| remote.failed(&format!("list {folder}"), &e))? {
            if is_left_over(&object) {
                left_over.push(object.location);
            }
        }
    }
    delete(remote, left_over).await
}

/// Deletes these objects; those that are gone already count too.
async fn delete(remote: &Remote, objects: Vec<ObjectPath>) -> Result<usize> {
    let count = objects.len();
    if count == 0 {
        return Ok(0);
    }
    let names = futures::stream::iter(objects.into_iter().map(Ok)).boxed();
    let mut deletions = remote.store.delete_stream(names);
    while let Some(deleted) = deletions.next().await {
        match deleted {
            Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
            Err(e) => return Err(remote.failed("delete old objects", &e)),
        }
    }
    Ok(count)
}

#[cfg(test)]
pub(crate) async fn sweep_now(lease: &Lease) -> Result<usize> {
    let unnamed = lease.unnamed().await;
    let head = lease.head();
    let kept = kept(lease.remote(), &head).await?;
    let needed = kept.iter().flat_map(|manifest| &manifest.files).map(|file| file.object.as_str()).collect();
    sweep(lease.remote(), &head, &needed, &unnamed, Duration::ZERO).await
}
