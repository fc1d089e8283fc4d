//! The same protocol against a real S3 server, where one is running.

use std::io::Write;
use std::sync::Arc;

use headwater_types::SystemClock;

use super::world::{Disk, QUIET, content};
use crate::location::open_s3;
use crate::{Claim, Lease, Remote, Timing, restore};

/// `HEADWATER_S3` is the server's address, with a bucket `headwater`; credentials come from the `AWS_*` environment (`script/services env`).
#[tokio::test]
async fn a_real_s3_server_keeps_a_checkpoint() {
    let Ok(endpoint) = std::env::var("HEADWATER_S3") else {
        // Not by eprintln!, which the test harness keeps to itself while a test passes.
        let message = b"SKIPPED a_real_s3_server_keeps_a_checkpoint: HEADWATER_S3 is not set (script/services up s3)\n";
        std::io::stderr().write_all(message).unwrap();
        return;
    };
    let rest = format!("headwater/checkpoint-{}", uuid::Uuid::new_v4());
    let place = open_s3(&format!("s3://{rest}"), &rest, Some(endpoint)).unwrap();
    let clock = Arc::new(SystemClock::default());
    let remote = Remote::with_store(&rest, place.store, clock).await.unwrap().with_timing(Timing::hurried(10));
    let mut disk = Disk::new(11);
    let lease = disk.open(&remote, false).await.unwrap();
    std::fs::write(disk.path().join("999999.sst"), vec![7; 20 << 20]).unwrap();
    for _ in 0..5 {
        disk.work();
        disk.upload_and_prune(&lease).await.unwrap();
    }
    lease.release().await.unwrap();
    let parent = tempfile::tempdir().unwrap();
    let into = parent.path().join("data");
    let claim = Claim { local: None, directory: into.clone(), take_over: false };
    let (second, manifest) = Lease::acquire(&remote, claim).await.unwrap();
    restore(&second, &manifest.unwrap(), &into, QUIET).await.unwrap();
    assert!(content(&into) == content(disk.path()));
    assert!(lease.check().is_err());
    second.release().await.unwrap();
}
