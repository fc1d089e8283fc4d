//! Pruning never deletes what a kept manifest names, and in the end deletes the rest.

use futures::{StreamExt, TryStreamExt};
use headwater_types::ErrorKind;
use object_store::ObjectStore;
use object_store::path::Path as ObjectPath;
use std::collections::BTreeSet;

use super::world::{Disk, World};
use crate::prune::sweep_now;
use crate::{Faults, prune};

async fn objects(world: &World) -> BTreeSet<String> {
    let listing = world.raw().list(Some(&ObjectPath::from("data")));
    listing.map_ok(|object| object.location.to_string()).try_collect().await.unwrap()
}

/// The newest manifests down to the third checkpoint, read from the store itself.
async fn check_kept(world: &World, seed: u64) {
    let remote = world.plain().await;
    let Some(newest) = remote.newest().await.unwrap() else { return };
    let mut checkpoints = BTreeSet::new();
    for number in (1..=newest.number).rev() {
        let manifest = remote.manifest(number).await.unwrap().unwrap();
        checkpoints.insert(manifest.checkpoint);
        if checkpoints.iter().filter(|c| **c > 0).count() > 3 {
            break;
        }
        for file in &manifest.files {
            assert!(world.exists(&file.object).await, "seed {seed}: manifest {number} lacks {}", file.object);
        }
    }
}

/// Uploads, prunes, crashes, take-overs by the same directory, over a store that loses replies and delivers late.
async fn life(seed: u64) {
    let world = World::new(20_000);
    let faults = Faults { fail: 0.05, lose_reply: 0.05, arrive_late: 0.05, ..Faults::default() };
    let mut disk = Disk::new(seed);
    for process in 0..3 {
        let (remote, faulty) = world.remote(seed * 7 + process, faults).await;
        let Ok(lease) = disk.open(&remote, true).await else { continue };
        for step in 0..5 {
            disk.work();
            for outcome in [disk.upload(&lease).await.map(|_| ()), prune(&lease).await.map(|_| ())] {
                let known = outcome.err().is_none_or(|e| e.kind() == ErrorKind::External);
                assert!(known, "seed {seed}: only the store fails");
            }
            if (seed + step).is_multiple_of(4) {
                faulty.deliver_late().await;
            }
            check_kept(&world, seed).await;
        }
        faulty.die_after(seed % 9);
        drop(disk.upload_and_prune(&lease).await);
        check_kept(&world, seed).await;
        // What is still on its way arrives after the next process has begun.
    }
}

#[tokio::test]
async fn what_a_kept_manifest_names_is_never_deleted() {
    let seeds = std::env::var("HEADWATER_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(1000);
    futures::stream::iter(0..seeds).map(life).buffer_unordered(32).collect::<Vec<()>>().await;
}

#[tokio::test]
async fn old_checkpoints_and_orphans_go() {
    let world = World::new(1000);
    let remote = world.plain().await;
    let mut disk = Disk::new(5);
    let lease = disk.open(&remote, false).await.unwrap();
    let mut named = Vec::new();
    for _ in 0..10 {
        disk.work();
        let manifest = disk.upload_and_prune(&lease).await.unwrap();
        named.push(manifest.files.into_iter().map(|file| file.object).collect::<BTreeSet<_>>());
    }
    let kept = |named: &[BTreeSet<String>]| named[named.len() - 3..].iter().flatten().cloned().collect::<BTreeSet<_>>();
    assert_eq!(objects(&world).await, kept(&named), "three checkpoints, no more and no less");
    let orphan = "data/0000000001/00000000000000000099/000001.sst-feed";
    remote.overwrite(orphan, vec![1]).await.unwrap();
    disk.work();
    let manifest = disk.upload_and_prune(&lease).await.unwrap();
    named.push(manifest.files.into_iter().map(|file| file.object).collect());
    assert!(world.exists(orphan).await, "it may be of an upload that is going on");
    assert!(sweep_now(&lease).await.unwrap() > 0, "a day later it is not");
    assert_eq!(objects(&world).await, kept(&named));
    assert!(remote.newest().await.unwrap().is_some_and(|manifest| manifest.number == lease.head().number));
    assert!(remote.manifest(1).await.unwrap().is_some(), "manifests stay a month");
}
