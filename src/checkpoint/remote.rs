//! The far end of a checkpoint URL: reads and writes of whole objects, and the proof that the store keeps its promises.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use headwater_types::{Clock, Error, Result};
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use uuid::Uuid;

use crate::Manifest;
use crate::location::{open_place, sync_path};

/// How often a holder says that it lives, and when others believe that it does not. Constants but for tests.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// Between two beats.
    pub beat: Duration,
    /// So long after the *beginning* of its last good renewal a holder may write.
    pub good: Duration,
    /// So long a beat must stand still before another takes the lease. Above `good`, so that clocks need not agree, only run.
    pub live: Duration,
    /// One small request; after this its outcome is unknown.
    pub request: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { beat: seconds(5), good: seconds(10), live: seconds(15), request: seconds(4) }
    }
}

impl Timing {
    /// The same, `factor` times faster, but for requests, which take what they take: for tests.
    #[must_use]
    pub fn hurried(factor: u32) -> Self {
        let full = Self::default();
        Self { beat: full.beat / factor, good: full.good / factor, live: full.live / factor, request: full.request }
    }
}

/// An object store with a place in it, proven to create objects only once.
#[derive(Clone)]
pub struct Remote {
    name: Arc<str>,
    pub(crate) store: Arc<dyn ObjectStore>,
    root: Option<PathBuf>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) timing: Timing,
}

impl Remote {
    /// Opens `s3://bucket/prefix` (credentials, region and endpoint from the `AWS_*` environment), `file:///directory` or `memory://`,
    /// and proves that it answers and creates objects only once. `External` where it cannot be reached.
    pub async fn open(url: &str, clock: Arc<dyn Clock>) -> Result<Remote> {
        let place = open_place(url)?;
        Self { name: url.into(), store: place.store, root: place.root, clock, timing: Timing::default() }.probe().await
    }

    /// Uses a store that is already there; `name` is for messages.
    pub async fn with_store(name: &str, store: Arc<dyn ObjectStore>, clock: Arc<dyn Clock>) -> Result<Remote> {
        Self { name: name.into(), store, root: None, clock, timing: Timing::default() }.probe().await
    }

    /// The same with other times: for tests.
    #[must_use]
    pub fn with_timing(self, timing: Timing) -> Remote {
        Remote { timing, ..self }
    }

    /// The URL, for messages.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The newest manifest, or None where there is no database yet.
    pub async fn newest(&self) -> Result<Option<Manifest>> {
        match self.highest(0).await? {
            0 => Ok(None),
            number => self.manifest(number).await,
        }
    }

    /// Manifest `number`, or None where it does not exist.
    pub async fn manifest(&self, number: u64) -> Result<Option<Manifest>> {
        let name = manifest_name(number);
        match self.get(&name).await? {
            Some(bytes) => Manifest::decode(&name, number, &bytes).map(Some).map_err(|e| e.context(self.name())),
            None => Ok(None),
        }
    }

    /// The highest manifest number at or above `from`; `from` if there is none.
    pub(crate) async fn highest(&self, from: u64) -> Result<u64> {
        let below = ObjectPath::from(manifest_name(from));
        let prefix = ObjectPath::from("manifest");
        let mut listing = self.store.list_with_offset(Some(&prefix), &below);
        let mut highest = from;
        while let Some(entry) = listing.try_next().await.map_err(|e| self.failed("list manifests", &e))? {
            highest = highest.max(manifest_number(&entry.location).unwrap_or(0));
        }
        Ok(highest)
    }

    /// The bytes of a small object, or None where it does not exist.
    pub(crate) async fn get(&self, name: &str) -> Result<Option<Bytes>> {
        let path = ObjectPath::from(name);
        let read = async { self.store.get(&path).await?.bytes().await };
        match self.within(read).await {
            Some(Ok(bytes)) => Ok(Some(bytes)),
            Some(Err(object_store::Error::NotFound { .. })) => Ok(None),
            Some(Err(e)) => Err(self.failed(&format!("read {name}"), &e)),
            None => Err(self.failed(&format!("read {name}"), &"no answer")),
        }
    }

    /// Writes a small object over what is there.
    pub(crate) async fn overwrite(&self, name: &str, bytes: Vec<u8>) -> Result<()> {
        let path = ObjectPath::from(name);
        match self.within(self.store.put(&path, PutPayload::from(bytes))).await {
            Some(Ok(_)) => Ok(()),
            Some(Err(e)) => Err(self.failed(&format!("write {name}"), &e)),
            None => Err(self.failed(&format!("write {name}"), &"no answer")),
        }
    }

    /// Tries to create a small object. An error says nothing: the object may be there, or come to be there later.
    pub(crate) async fn create(&self, name: &str, bytes: Bytes) -> Result<(), object_store::Error> {
        let path = ObjectPath::from(name);
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let no_answer = || Err(object_store::Error::Generic { store: "checkpoint", source: "no answer".into() });
        self.within(self.store.put_opts(&path, PutPayload::from(bytes), options)).await.map_or_else(no_answer, |done| done.map(|_| ()))
    }

    /// Makes objects of a local store survive a power loss; others promise that themselves.
    pub(crate) async fn sync(&self, objects: Vec<String>) -> Result<()> {
        let Some(root) = self.root.clone() else { return Ok(()) };
        let synced = tokio::task::spawn_blocking(move || objects.iter().try_for_each(|object| sync_path(&root, object)));
        let result = synced.await.map_err(|e| Error::bug(format!("syncing a checkpoint panicked: {e}")))?;
        result.map_err(|e| Error::storage(format!("cannot sync the checkpoint at {}: {e}", self.name)))
    }

    /// The outcome of a small request, or None if it took too long.
    async fn within<T>(&self, request: impl Future<Output = T>) -> Option<T> {
        tokio::time::timeout(self.timing.request, request).await.ok()
    }

    pub(crate) fn failed(&self, what: &str, why: &dyn std::fmt::Display) -> Error {
        Error::external(format!("cannot {what} at {}: {why}", self.name))
    }

    /// Refuses a store that ignores create-only writes: on such a store two processes could both believe that they hold the lease.
    async fn probe(self) -> Result<Remote> {
        let name = format!("probe/{}", Uuid::new_v4());
        let refused = |why: String| {
            Error::unsupported(format!("{} cannot hold checkpoints: {why}", self.name))
                .with_hint("the store must honour conditional writes (If-None-Match), as AWS S3, MinIO and Cloudflare R2 do")
        };
        // An error of the first create is judged by whether it can be read back: its reply may have been lost.
        let first = self.create(&name, Bytes::from_static(b"first")).await;
        let read = self.get(&name).await?;
        match (first, read) {
            (Err(e @ object_store::Error::NotImplemented { .. }), _) => return Err(refused(e.to_string())),
            (Err(e), None) => return Err(self.failed("write", &e)),
            (Ok(()), None) => return Err(refused("an object cannot be read after it was written".into())),
            (_, Some(_)) => {}
        }
        let second = self.create(&name, Bytes::from_static(b"second")).await;
        let after = self.get(&name).await?;
        let deleted = self.store.delete(&ObjectPath::from(name.as_str())).await;
        if second.is_ok() || after.as_deref() != Some(b"first") {
            return Err(refused("it overwrites an object that was to be created only if absent".into()));
        }
        match deleted {
            // A probe that stays costs a few bytes; the next sweep takes it.
            Ok(()) | Err(_) => Ok(self),
        }
    }
}

pub(crate) fn manifest_name(number: u64) -> String {
    format!("manifest/{number:020}.json")
}

pub(crate) fn manifest_number(path: &ObjectPath) -> Option<u64> {
    path.filename()?.strip_suffix(".json")?.parse().ok()
}
