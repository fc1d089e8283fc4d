//! What was uploaded is what is restored, whatever fails in between.

use std::sync::Arc;

use headwater_types::{Epoch, ErrorKind, SystemClock};
use object_store::ObjectStoreExt;
use parking_lot::Mutex;

use super::world::{Disk, QUIET, World, content};
use crate::{Claim, Faults, Identity, Lease, LocalIdentity, OpenWith, Remote, Timing, decide, restore, upload};

const HURRY: u32 = 1000;

fn unreliable() -> Faults {
    Faults { fail: 0.1, lose_reply: 0.15, arrive_late: 0.1, ..Faults::default() }
}

/// Restores the newest manifest into a new directory, as another machine would, and returns its content.
async fn restored(remote: &Remote) -> (std::collections::BTreeMap<String, Vec<u8>>, Identity, Lease) {
    let parent = tempfile::tempdir().unwrap();
    let into = parent.path().join("data");
    let claim = Claim { local: None, directory: into.clone(), take_over: true };
    let (lease, manifest) = Lease::acquire(remote, claim).await.unwrap();
    assert_eq!(decide(None, manifest.as_ref()).unwrap(), OpenWith::Restore);
    let identity = restore(&lease, &manifest.unwrap(), &into, QUIET).await.unwrap();
    assert_eq!(Identity::load(&into).unwrap().as_ref(), Some(&identity));
    assert!(!parent.path().join("data.restoring").exists());
    (content(&into), identity, lease)
}

#[tokio::test]
async fn an_upload_moves_only_what_is_new_and_restores_whole() {
    let world = World::new(HURRY);
    let remote = world.plain().await;
    let mut disk = Disk::new(1);
    let lease = disk.open(&remote, false).await.unwrap();
    for _ in 0..8 {
        disk.work();
    }
    let first = disk.upload(&lease).await.unwrap();
    let moved = Mutex::new(0);
    let again = upload(&lease, disk.path(), disk.epoch, &|progress| *moved.lock() = progress.files_total).await.unwrap();
    assert_eq!(*moved.lock(), 2, "only CURRENT and MANIFEST");
    let tables = |files: &[crate::ManifestFile]| files.iter().filter(|f| f.name.ends_with(".sst")).cloned().collect::<Vec<_>>();
    assert!(!tables(&first.files).is_empty());
    assert_eq!(tables(&first.files), tables(&again.files));
    lease.release().await.unwrap();
    let (files, identity, second) = restored(&remote).await;
    assert_eq!(files, content(disk.path()));
    assert_eq!(identity.database, disk.identity.database);
    assert_ne!(identity.directory, disk.identity.directory);
    assert_eq!(identity.incarnation(), second.fence());
    assert_eq!(identity.lineage.last().unwrap().epoch, disk.epoch);
}

#[tokio::test]
async fn a_large_file_goes_up_in_parts_and_comes_back() {
    let (target, source, parent) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let url = format!("file://{}", target.path().display());
    let remote = Remote::open(&url, Arc::new(SystemClock::default())).await.unwrap().with_timing(Timing::hurried(HURRY));
    let big: Vec<u8> = (0..20_000_000_u32).map(|i| (i % 251) as u8).collect();
    std::fs::write(source.path().join("000001.sst"), &big).unwrap();
    std::fs::write(source.path().join("000002.log"), b"").unwrap();
    let claim = Claim { local: None, directory: source.path().to_owned(), take_over: false };
    let (lease, _) = Lease::acquire(&remote, claim).await.unwrap();
    let last = Mutex::new(None);
    upload(&lease, source.path(), Epoch(3), &|progress| *last.lock() = Some(progress)).await.unwrap();
    let last = last.lock().unwrap();
    assert_eq!((last.files_done, last.files_total, last.bytes_done, last.bytes_total), (2, 2, 20_000_000, 20_000_000));
    let manifest = remote.newest().await.unwrap().unwrap();
    let into = parent.path().join("data");
    restore(&lease, &manifest, &into, QUIET).await.unwrap();
    assert!(content(&into) == content(source.path()));
    assert_eq!(restore(&lease, &manifest, &into, QUIET).await.unwrap_err().kind(), ErrorKind::Exists);
}

#[tokio::test]
async fn a_damaged_or_missing_object_is_named_and_nothing_appears() {
    let world = World::new(HURRY);
    let remote = world.plain().await;
    let mut disk = Disk::new(2);
    let lease = disk.open(&remote, false).await.unwrap();
    disk.work();
    let manifest = disk.upload(&lease).await.unwrap();
    let victim = &manifest.files[0];
    let path = object_store::path::Path::from(victim.object.as_str());
    let parent = tempfile::tempdir().unwrap();
    let into = parent.path().join("data");
    for damage in [Some(&b"another content of 24 b."[..]), Some(b"short"), None] {
        match damage {
            Some(bytes) => drop(world.raw().put(&path, bytes.to_vec().into()).await.unwrap()),
            None => world.raw().delete(&path).await.unwrap(),
        }
        let error = restore(&lease, &manifest, &into, QUIET).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.message().contains(&victim.object), "{error}");
        assert!(!into.exists());
    }
    assert_eq!(lease.head().number, manifest.number, "no incarnation begins before all is there");
}

#[tokio::test]
async fn uploads_and_restores_outlast_lost_replies() {
    for seed in 0..60 {
        let world = World::new(HURRY);
        let (remote, faulty) = world.remote(seed, unreliable()).await;
        let mut disk = Disk::new(seed);
        let lease = loop {
            // A first lease whose reply was lost is our own again: same directory, same machine.
            match disk.open(&remote, true).await {
                Ok(lease) => break lease,
                Err(e) => assert_eq!(e.kind(), ErrorKind::External, "{e}"),
            }
        };
        let mut uploaded = None;
        for _ in 0..6 {
            disk.work();
            match disk.upload_and_prune(&lease).await {
                Ok(manifest) => uploaded = Some((manifest, content(disk.path()))),
                Err(e) => assert_eq!(e.kind(), ErrorKind::External, "seed {seed}: {e}"),
            }
        }
        faulty.set_faults(Faults::default());
        faulty.deliver_late().await;
        let newest = world.plain().await.newest().await.unwrap().unwrap();
        if newest.epoch == disk.epoch {
            uploaded = Some((newest.clone(), content(disk.path())));
        }
        let Some((expected, files)) = uploaded else { continue };
        assert!(newest.epoch >= expected.epoch, "seed {seed}: a checkpoint that was reported is gone");
        if newest.epoch == expected.epoch {
            assert!(restored(&world.plain().await).await.0 == files, "seed {seed}");
        }
    }
}

/// The process dies at each of its requests in turn; the directory is opened again, or lost and restored.
#[tokio::test]
async fn a_crash_at_any_request_leaves_the_old_checkpoint_or_the_new_one() {
    for requests in 0..40 {
        let world = World::new(HURRY);
        let (remote, faulty) = world.remote(requests, Faults::default()).await;
        let mut disk = Disk::new(7);
        let lease = disk.open(&remote, false).await.unwrap();
        let mut states = Vec::new();
        for _ in 0..4 {
            disk.work();
            disk.upload_and_prune(&lease).await.unwrap();
        }
        states.push((disk.epoch, content(disk.path())));
        disk.work();
        states.push((disk.epoch, content(disk.path())));
        faulty.die_after(requests);
        let reported = disk.upload_and_prune(&lease).await.is_ok();

        // Another machine, while the directory is out of reach.
        let (files, identity, second) = restored(&world.plain().await).await;
        let epoch = second.head().epoch;
        assert!(states.iter().any(|(e, f)| *e == epoch && *f == files), "request {requests}: neither the old nor the new checkpoint");
        assert!(!reported || epoch == disk.epoch, "request {requests}: a checkpoint that was reported is gone");
        second.release().await.unwrap();

        // The first machine comes back: time has moved on without it.
        let error = Lease::acquire(&world.plain().await, disk.claim(true)).await.map(|_| ()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Fenced);
        assert!(error.to_string().contains(&format!("incarnation {}", identity.incarnation())), "{error}");
    }
}

#[tokio::test]
async fn the_same_directory_goes_on_after_a_crash_at_any_request() {
    for requests in 0..40 {
        let world = World::new(HURRY);
        let (remote, faulty) = world.remote(requests, Faults::default()).await;
        let mut disk = Disk::new(9);
        let lease = disk.open(&remote, false).await.unwrap();
        disk.work();
        disk.upload_and_prune(&lease).await.unwrap();
        disk.work();
        faulty.die_after(requests);
        drop(disk.upload_and_prune(&lease).await);
        disk.work();
        let remote = world.plain().await;
        let again = disk.open(&remote, false).await.unwrap();
        assert_eq!(again.head().incarnation(), disk.identity.incarnation(), "the same history goes on");
        disk.upload_and_prune(&again).await.unwrap();
        again.release().await.unwrap();
        assert!(restored(&remote).await.0 == content(disk.path()), "request {requests}");
    }
}

#[test]
fn local_wins_only_if_it_is_of_the_lineage_and_not_older() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let world = World::new(HURRY);
        let mut disk = Disk::new(3);
        let lease = disk.open(&world.plain().await, false).await.unwrap();
        disk.work();
        disk.work();
        let manifest = disk.upload(&lease).await.unwrap();
        let local = |identity: &Identity, epoch: u64| LocalIdentity { identity: identity.clone(), epoch: Epoch(epoch) };
        let with = |local: Option<&LocalIdentity>| decide(local, Some(&manifest));
        assert_eq!(with(None).unwrap(), OpenWith::Restore);
        assert_eq!(with(Some(&local(&disk.identity, 2))).unwrap(), OpenWith::Local);
        assert_eq!(with(Some(&local(&disk.identity, 9))).unwrap(), OpenWith::Local);
        assert_eq!(decide(None, None).unwrap(), OpenWith::Fresh);
        assert_eq!(decide(Some(&local(&disk.identity, 0)), None).unwrap(), OpenWith::Local);
        for (other, why) in [(local(&disk.identity, 1), "older"), (local(&Identity::new(), 9), "different databases")] {
            let error = with(Some(&other)).unwrap_err();
            assert!(error.message().contains(why), "{error}");
            assert!(error.detail().unwrap().contains(&other.identity.database.to_string()), "names both: {error}");
        }
    });
}
