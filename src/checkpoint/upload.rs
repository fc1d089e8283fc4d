//! Uploads a checkpoint directory: what the last manifest does not name, then the manifest that names it all.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use futures::TryStreamExt;
use futures::stream::FuturesUnordered;
use headwater_types::{Epoch, Error, Result};
use object_store::path::Path as ObjectPath;
use object_store::{MultipartUpload, ObjectStoreExt, PutPayload};
use sha2::{Digest, Sha256};

use crate::transfer::{FILES_PARALLEL, PART_BYTES, PARTS_PARALLEL, Tally, blocking};
use crate::{Lease, Manifest, ManifestFile, OnProgress, Remote};

const ATTEMPTS: u32 = 4;

/// Uploads the files of `directory`, a checkpoint that nobody changes, as the state at the end of `epoch`; returns the new manifest once it
/// is the newest of the chain. Table and blob files that the last manifest names with the same size are not moved again.
///
/// `External`: not done, may be tried again with this or a later checkpoint. `Fenced`: the lease is lost.
pub async fn upload(lease: &Lease, directory: &Path, epoch: Epoch, progress: OnProgress<'_>) -> Result<Manifest> {
    let mut unnamed = lease.unnamed().await;
    lease.check()?;
    let head = lease.head();
    if epoch < head.epoch {
        return Err(Error::bug(format!("a checkpoint of epoch {epoch} was to follow one of epoch {}", head.epoch)));
    }
    let found = files_of(directory.to_owned()).await?;
    let mut files = Vec::with_capacity(found.len());
    let mut fresh = Vec::new();
    for (name, bytes) in found {
        let known = head.files.iter().find(|file| file.name == name).or_else(|| unnamed.get(&name));
        match known {
            Some(file) if is_immutable(&name) && file.bytes == bytes => files.push(file.clone()),
            _ => fresh.push((name, bytes)),
        }
    }
    let tally = Tally::new(fresh.len(), fresh.iter().map(|(_, bytes)| bytes).sum(), progress);
    let folder = format!("data/{:010}/{:020}", lease.fence(), head.number + 1);
    let sender = Sender { remote: lease.remote(), directory, folder: &folder, tally: &tally };
    let mut uploads = futures::stream::iter(fresh).map(|(name, bytes)| sender.send(name, bytes)).buffer_unordered(FILES_PARALLEL);
    let mut moved = Vec::new();
    while let Some(file) = uploads.try_next().await? {
        lease.check()?;
        if is_immutable(&file.name) {
            unnamed.insert(file.clone());
        }
        moved.push(file.object.clone());
        files.push(file);
    }
    drop(uploads);
    lease.remote().sync(moved).await?;
    files.sort_by(|a, b| a.name.cmp(&b.name));
    let manifest = lease.name_files(epoch, &files).await?;
    unnamed.clear();
    Ok(manifest)
}

/// RocksDB never changes these once they are written, and within one incarnation never uses a number twice.
fn is_immutable(name: &str) -> bool {
    name.ends_with(".sst") || name.ends_with(".blob")
}

/// RocksDB's lock and log messages, and what belongs to this directory alone.
fn is_left_behind(name: &str) -> bool {
    name == "LOCK" || name == "LOG" || name.starts_with("LOG.old") || name.starts_with("headwater.json")
}

/// Name and size of each file, sorted by name.
async fn files_of(directory: PathBuf) -> Result<Vec<(String, u64)>> {
    blocking(move || {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&directory)? {
            let entry = entry?;
            let name =
                entry.file_name().into_string().map_err(|name| Error::bug(format!("{name:?} in a checkpoint is not a plain name")))?;
            let metadata = entry.metadata()?;
            if metadata.is_dir() {
                return Err(Error::bug(format!("{name:?} in a checkpoint is a directory")));
            }
            if !is_left_behind(&name) {
                files.push((name, metadata.len()));
            }
        }
        files.sort();
        Ok(files)
    })
    .await
}

/// Moves single files.
struct Sender<'a> {
    remote: &'a Remote,
    directory: &'a Path,
    folder: &'a str,
    tally: &'a Tally<'a>,
}

impl Sender<'_> {
    async fn send(&self, name: String, bytes: u64) -> Result<ManifestFile> {
        let path = self.directory.join(&name);
        let sha256 = blocking(move || hash(&path, bytes)).await?;
        // The number of the manifest to come and the checksum make the name unique: what was once deleted is never written again.
        let file = ManifestFile { object: format!("{}/{name}-{}", self.folder, &sha256[..16]), name, bytes, sha256 };
        let mut wait = self.remote.timing.beat / 25;
        for attempt in 1.. {
            let mut sent = 0;
            match self.send_once(&file, &mut sent).await {
                Ok(()) => break,
                Err(e) if attempt == ATTEMPTS || !e.kind().is_retryable() => return Err(e),
                Err(_) => self.tally.taken_back(sent),
            }
            tokio::time::sleep(wait).await;
            wait *= 4;
        }
        self.tally.file_done();
        Ok(file)
    }

    /// `sent` counts the bytes told to the tally.
    async fn send_once(&self, file: &ManifestFile, sent: &mut u64) -> Result<()> {
        let path = self.directory.join(&file.name);
        let source = Arc::new(blocking(move || Ok(File::open(path)?)).await?);
        let object = ObjectPath::from(file.object.as_str());
        let failed = |e: &object_store::Error| self.remote.failed(&format!("write {}", file.object), e);
        if file.bytes <= PART_BYTES {
            let body = read_part(source, 0, file.bytes).await?;
            self.remote.store.put(&object, PutPayload::from(body)).await.map_err(|e| failed(&e))?;
            *sent = file.bytes;
            self.tally.moved(file.bytes);
            return Ok(());
        }
        let mut upload = self.remote.store.put_multipart(&object).await.map_err(|e| failed(&e))?;
        let done = match self.send_parts(&source, file, upload.as_mut(), sent).await {
            Ok(()) => upload.complete().await.map(|_| ()).map_err(|e| failed(&e)),
            Err(e) => Err(e),
        };
        match done {
            Ok(()) => Ok(()),
            // Parts that cannot be taken back now are left to the store's own rule for unfinished uploads.
            Err(e) => Err(match upload.abort().await {
                Ok(()) => e,
                Err(abort) => e.with_detail(format!("its parts could not be removed either: {abort}")),
            }),
        }
    }

    async fn send_parts(&self, source: &Arc<File>, file: &ManifestFile, upload: &mut dyn MultipartUpload, sent: &mut u64) -> Result<()> {
        let failed = |e: object_store::Error| self.remote.failed(&format!("write {}", file.object), &e);
        let mut on_their_way = FuturesUnordered::new();
        let mut at = 0;
        while at < file.bytes {
            if on_their_way.len() == PARTS_PARALLEL {
                on_their_way.try_next().await.map_err(failed)?;
            }
            let length = PART_BYTES.min(file.bytes - at);
            let part = read_part(source.clone(), at, length).await?;
            on_their_way.push(upload.put_part(PutPayload::from(part)));
            at += length;
            *sent += length;
            self.tally.moved(length);
        }
        while on_their_way.try_next().await.map_err(failed)?.is_some() {}
        Ok(())
    }
}

async fn read_part(file: Arc<File>, at: u64, length: u64) -> Result<Bytes> {
    blocking(move || {
        let mut part = vec![0; usize::try_from(length).expect("a part fits in memory")];
        file.read_exact_at(&mut part, at)?;
        Ok(Bytes::from(part))
    })
    .await
}

/// SHA-256 of a file of `bytes` bytes, in hexadecimal.
fn hash(path: &Path, bytes: u64) -> Result<String> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    let mut total = 0;
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        hasher.update(&buffer[..read]);
        total += read as u64;
    }
    if total != bytes {
        return Err(Error::bug(format!("{} changed while it was uploaded: {bytes} bytes, then {total}", path.display())));
    }
    Ok(hex(&hasher.finalize()))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]).map(char::from).collect()
}
