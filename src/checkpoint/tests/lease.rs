//! One holder at a time, over lost replies, dead processes and late writes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use headwater_types::{Epoch, ErrorKind, SystemClock};
use object_store::memory::InMemory;

use super::world::{Disk, QUIET, World};
use crate::{Claim, Faults, FaultyStore, Lease, Remote, upload};

fn claim(directory: &std::path::Path, take_over: bool) -> Claim {
    Claim { local: None, directory: directory.to_owned(), take_over }
}

#[tokio::test]
async fn a_store_that_ignores_conditions_is_refused() {
    let faults = Faults { ignore_conditions: true, ..Faults::default() };
    let store = FaultyStore::new(Arc::new(InMemory::new()), 0, faults);
    let error = Remote::with_store("s3://old", Arc::new(store), Arc::new(SystemClock::default())).await.map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.message().contains("s3://old"), "{error}");
}

#[tokio::test]
async fn a_live_holder_is_named_and_a_released_lease_is_free_at_once() {
    let world = World::new(50);
    let remote = world.plain().await;
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (first, before) = Lease::acquire(&remote, claim(a.path(), false)).await.unwrap();
    assert!(before.is_none() && first.is_good() && first.fence() == 1);
    let taken = async {
        let error = Lease::acquire(&remote, claim(b.path(), false)).await.map(|_| ()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Fenced);
        assert!(error.message().contains(&a.path().display().to_string()), "{error}");
        assert!(error.message().contains(&std::process::id().to_string()), "{error}");
        first.release().await.unwrap();
    };
    let (alive, ()) = tokio::join!(first.keep_alive(), taken);
    alive.unwrap();
    assert!(!first.is_good());
    let began = tokio::time::Instant::now();
    let (second, before) = Lease::acquire(&remote, claim(b.path(), false)).await.unwrap();
    assert!(began.elapsed() < world.timing.live, "no need to wait");
    assert_eq!((second.fence(), before.unwrap().fence), (2, 1));
}

#[tokio::test]
async fn a_dead_holder_is_waited_for_and_finds_out() {
    let world = World::new(50);
    let remote = world.plain().await;
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (first, _) = Lease::acquire(&remote, claim(a.path(), false)).await.unwrap();
    // Nobody keeps it alive.
    let began = tokio::time::Instant::now();
    let (second, _) = Lease::acquire(&remote, claim(b.path(), false)).await.unwrap();
    // The boot clock ticks every 10 ms.
    assert!(began.elapsed() + Duration::from_millis(20) >= world.timing.live);
    assert!(!first.is_good() && second.is_good());
    std::fs::write(a.path().join("CURRENT"), "x").unwrap();
    let error = upload(&first, a.path(), Epoch(1), QUIET).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced);
    assert!(error.message().contains(&b.path().display().to_string()), "{error}");
    assert_eq!(first.lost().await.kind(), ErrorKind::Fenced);
    assert_eq!(first.keep_alive().await.unwrap_err().kind(), ErrorKind::Fenced);
}

#[tokio::test]
async fn the_same_directory_is_taken_over_at_once() {
    // Slow enough that waiting would be seen.
    let world = World::new(1);
    let remote = world.plain().await;
    let mut disk = Disk::new(1);
    let first = disk.open(&remote, false).await.unwrap();
    disk.work();
    disk.upload(&first).await.unwrap();
    let began = tokio::time::Instant::now();
    let second = disk.open(&remote, false).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(4));
    assert_eq!(second.fence(), first.fence() + 1);
}

#[tokio::test]
async fn a_holder_that_was_cut_off_comes_back_if_nobody_took_its_place() {
    let world = World::new(50);
    let (remote, faulty) = world.remote(1, Faults::default()).await;
    let a = tempfile::tempdir().unwrap();
    let (lease, _) = Lease::acquire(&remote, claim(a.path(), false)).await.unwrap();
    let story = async {
        faulty.set_faults(Faults { fail: 1.0, ..Faults::default() });
        tokio::time::sleep(world.timing.good * 2).await;
        assert!(!lease.is_good(), "no renewal for too long");
        lease.check().unwrap();
        let number = lease.head().number;
        faulty.set_faults(Faults::default());
        tokio::time::timeout(Duration::from_secs(20), async {
            while !lease.is_good() {
                tokio::time::sleep(world.timing.beat / 10).await;
            }
        })
        .await
        .unwrap();
        assert!(lease.head().number > number, "a beat is not enough: it asks the chain");
        lease.release().await.unwrap();
    };
    let (end, ()) = tokio::join!(lease.keep_alive(), story);
    end.unwrap();
}

/// Processes that want the lease, work a while, hang or die; over a store that loses and delays. At no time may a process believe that it
/// holds the lease after another has taken it, and no manifest number is given twice.
async fn race(seed: u64) {
    let world = World::new(250);
    let faults =
        Faults { fail: 0.03, lose_reply: 0.05, arrive_late: 0.05, delay: 0.2, delay_max: Duration::from_millis(15), ..Faults::default() };
    let newest_fence = AtomicU64::new(0);
    let numbers = parking_lot::Mutex::new(std::collections::HashMap::new());
    let processes = FuturesUnordered::new();
    for process in 0..3 {
        let (world, newest_fence, numbers) = (&world, &newest_fence, &numbers);
        processes.push(async move {
            let disk = tempfile::tempdir().unwrap();
            std::fs::write(disk.path().join("CURRENT"), "x").unwrap();
            let (remote, faulty) = world.remote(seed * 10 + process, faults).await;
            let Ok((lease, _)) = Lease::acquire(&remote, claim(disk.path(), true)).await else { return };
            newest_fence.fetch_max(lease.fence(), Ordering::SeqCst);
            let work = async {
                for step in 0..12 {
                    let highest = newest_fence.load(Ordering::SeqCst);
                    assert!(!lease.is_good() || lease.fence() >= highest, "seed {seed}: two holders");
                    if step % 4 == 3
                        && let Ok(manifest) = upload(&lease, disk.path(), Epoch(0), QUIET).await
                    {
                        let twice = numbers.lock().insert(manifest.number, manifest.nonce);
                        assert!(twice.is_none(), "seed {seed}: number {} is given twice", manifest.number);
                    }
                    if step == 8 && (seed + process).is_multiple_of(3) {
                        faulty.die();
                    }
                    tokio::time::sleep(world.timing.beat / 3).await;
                }
            };
            // A third of the processes hang: they work on without renewing.
            if (seed + process) % 3 == 1 {
                work.await;
            } else {
                tokio::select! { () = work => {}, _ = lease.keep_alive() => {} }
            }
        });
    }
    processes.collect::<Vec<()>>().await;
    let remote = world.plain().await;
    let highest = remote.newest().await.unwrap().map_or(0, |manifest| manifest.number);
    let mut fence = 0;
    for number in 1..=highest {
        let manifest = remote.manifest(number).await.unwrap().expect("the chain has no holes");
        assert!(manifest.fence >= fence, "seed {seed}: fences go up");
        fence = manifest.fence;
        if let Some(nonce) = numbers.lock().get(&number) {
            assert_eq!(*nonce, manifest.nonce, "seed {seed}: a reported manifest is another's");
        }
    }
}

#[tokio::test]
async fn racing_holders_never_hold_together() {
    // Most of it is waiting, so they race side by side.
    futures::stream::iter(0..200).map(race).buffer_unordered(50).collect::<Vec<()>>().await;
}
