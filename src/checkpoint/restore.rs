//! Restores a checkpoint into a data directory that appears whole or not at all.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use futures::StreamExt;
use headwater_types::{Error, Result};
use object_store::ObjectStoreExt;
use object_store::path::Path as ObjectPath;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use crate::transfer::{FILES_PARALLEL, PART_BYTES, Tally, blocking};
use crate::upload::hex;
use crate::{Identity, Lease, Manifest, ManifestFile, OnProgress, Remote};

const ATTEMPTS: u32 = 5;

/// Downloads the files of `manifest`, checks each one's size and checksum, begins a new incarnation in the chain, and only then makes `into`
/// appear, with its [`Identity`] in it. `into` must be absent or empty.
///
/// An interrupted restore leaves `<into>.restoring`, which nobody opens and the next restore removes.
/// `Corrupt` names an object that is missing or not what was written; `Limit`: not enough space.
pub async fn restore(lease: &Lease, manifest: &Manifest, into: &Path, progress: OnProgress<'_>) -> Result<Identity> {
    let _one = lease.unnamed().await;
    lease.check()?;
    let building = beside(into);
    prepare(into.to_owned(), building.clone(), manifest.bytes()).await?;
    download(lease, manifest, &building, progress).await?;
    // Before the directory can be opened the chain says that time went back: a sink must never take its new epochs for the old ones.
    let identity = lease.begin_from(manifest).await?;
    appear(building, into.to_owned(), identity.clone()).await?;
    Ok(identity)
}

/// Downloads all files into `building`. After an error it still waits for the files that are being written, so that the folder can be removed.
async fn download(lease: &Lease, manifest: &Manifest, building: &Path, progress: OnProgress<'_>) -> Result<()> {
    let tally = Tally::new(manifest.files.len(), manifest.bytes(), progress);
    let failed = Mutex::new(None);
    let downloads = manifest.files.iter().cloned().map(|file| {
        let (tally, failed, path) = (&tally, &failed, building.join(&file.name));
        async move {
            if failed.lock().is_some() {
                return;
            }
            let fetched = fetch(lease.remote(), &file, path, tally).await;
            if let Err(error) = lease.check().and(fetched) {
                failed.lock().get_or_insert(error);
            }
        }
    });
    futures::stream::iter(downloads).buffer_unordered(FILES_PARALLEL).collect::<()>().await;
    failed.into_inner().map_or(Ok(()), Err)
}

fn beside(into: &Path) -> PathBuf {
    let mut name = OsString::from(into);
    name.push(".restoring");
    PathBuf::from(name)
}

async fn prepare(into: PathBuf, building: PathBuf, bytes: u64) -> Result<()> {
    blocking(move || {
        let in_the_way = match fs::read_dir(&into) {
            Ok(mut entries) => entries.next().is_some(),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => false,
            Err(e) => return Err(Error::storage(format!("cannot restore into {}: {e}", into.display()))),
        };
        if in_the_way {
            return Err(Error::exists(format!("cannot restore into {}: it is not empty", into.display())));
        }
        let made = match fs::remove_dir_all(&building) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e),
            Ok(()) | Err(_) => fs::create_dir_all(&building),
        };
        made.map_err(|e| Error::storage(format!("cannot make {}: {e}", building.display())))?;
        let space = rustix::fs::statvfs(&building).map_err(|e| Error::storage(format!("cannot look at {}: {e}", building.display())))?;
        let free = space.f_bavail.saturating_mul(space.f_frsize);
        if free < bytes {
            return Err(Error::limit(format!("restoring into {} needs {bytes} bytes, {free} are free", into.display())));
        }
        Ok(())
    })
    .await
}

async fn appear(building: PathBuf, into: PathBuf, identity: Identity) -> Result<()> {
    blocking(move || {
        identity.save(&building)?;
        let parent = into.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let rename = || {
            File::open(&building)?.sync_all()?;
            fs::rename(&building, &into)?;
            File::open(parent)?.sync_all()
        };
        rename().map_err(|e: std::io::Error| Error::storage(format!("cannot move the restored directory to {}: {e}", into.display())))
    })
    .await
}

async fn fetch(remote: &Remote, file: &ManifestFile, path: PathBuf, tally: &Tally<'_>) -> Result<()> {
    let mut wait = remote.timing.beat / 25;
    for attempt in 1.. {
        let mut received = 0;
        match fetch_once(remote, file, path.clone(), tally, &mut received).await {
            Ok(()) => break,
            Err(e) if attempt == ATTEMPTS || !e.kind().is_retryable() => return Err(e),
            Err(_) => tally.taken_back(received),
        }
        tokio::time::sleep(wait).await;
        wait *= 3;
    }
    tally.file_done();
    Ok(())
}

async fn fetch_once(remote: &Remote, file: &ManifestFile, path: PathBuf, tally: &Tally<'_>, received: &mut u64) -> Result<()> {
    let object = ObjectPath::from(file.object.as_str());
    let damaged = |why: String| Error::corrupt(format!("the object {} at {} {why}", file.object, remote.name()));
    let mut target = blocking(move || Ok((File::create(path)?, Sha256::new()))).await?;
    while *received < file.bytes {
        let range = *received..file.bytes.min(*received + PART_BYTES);
        let length = range.end - range.start;
        let part = match remote.store.get_range(&object, range).await {
            Ok(part) => part,
            Err(object_store::Error::NotFound { .. }) => return Err(damaged("is missing".into())),
            Err(e) => return Err(wrong_size_or(remote, file, &object, e).await),
        };
        if part.len() as u64 != length {
            return Err(damaged(format!("is shorter than the {} bytes of its manifest", file.bytes)));
        }
        target = blocking(move || {
            target.0.write_all(&part)?;
            target.1.update(&part);
            Ok(target)
        })
        .await?;
        *received += length;
        tally.moved(length);
    }
    let sum = blocking(move || {
        target.0.sync_all()?;
        Ok(hex(&target.1.finalize()))
    })
    .await?;
    if sum == file.sha256 { Ok(()) } else { Err(damaged(format!("is damaged: its SHA-256 is {sum}, its manifest says {}", file.sha256))) }
}

/// A range that the store refuses is damage if the object is too short, and otherwise a failure to be tried again.
async fn wrong_size_or(remote: &Remote, file: &ManifestFile, object: &ObjectPath, error: object_store::Error) -> Error {
    match remote.store.head(object).await {
        Ok(found) if found.size != file.bytes => Error::corrupt(format!(
            "the object {} at {} has {} bytes, its manifest says {}",
            file.object,
            remote.name(),
            found.size,
            file.bytes
        )),
        Ok(_) | Err(_) => remote.failed(&format!("read {}", file.object), &error),
    }
}
