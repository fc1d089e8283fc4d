//! An object store that fails as real ones do, by a seed: for tests and simulations.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result, UploadPart,
};
use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// How often each thing goes wrong, as a share of all requests.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// The request does not arrive.
    pub fail: f64,
    /// The request is carried out, its reply is lost.
    pub lose_reply: f64,
    /// A write is answered with an error, and carried out before some later request.
    pub arrive_late: f64,
    /// A request waits up to `delay_max` first.
    pub delay: f64,
    /// The longest wait.
    pub delay_max: Duration,
    /// Conditional writes are carried out without their condition, as by old servers.
    pub ignore_conditions: bool,
}

/// Decorates another store with [`Faults`]. Each process of a simulation has its own over the same store.
#[derive(Debug)]
pub struct FaultyStore {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    store: Arc<dyn ObjectStore>,
    random: Mutex<SmallRng>,
    faults: Mutex<Faults>,
    late: Mutex<Vec<Late>>,
    dead: AtomicBool,
    requests: AtomicU64,
    requests_max: AtomicU64,
}

/// A write that is still on its way.
#[derive(Debug)]
enum Late {
    Put(Path, PutPayload, PutOptions),
    Delete(Path),
}

enum Fate {
    Good,
    Fail,
    LoseReply,
    ArriveLate,
}

impl FaultyStore {
    /// `store` with `faults` as `seed` throws them.
    #[must_use]
    pub fn new(store: Arc<dyn ObjectStore>, seed: u64, faults: Faults) -> Self {
        let shared = Shared {
            store,
            random: Mutex::new(SmallRng::seed_from_u64(seed)),
            faults: Mutex::new(faults),
            late: Mutex::default(),
            dead: AtomicBool::new(false),
            requests: AtomicU64::new(0),
            requests_max: AtomicU64::new(u64::MAX),
        };
        Self { shared: Arc::new(shared) }
    }

    /// A second handle of the same process.
    #[must_use]
    pub fn handle(&self) -> Self {
        Self { shared: self.shared.clone() }
    }

    /// Other faults from now on.
    pub fn set_faults(&self, faults: Faults) {
        *self.shared.faults.lock() = faults;
    }

    /// The process dies: no request of it is carried out any more, but for those on their way.
    pub fn die(&self) {
        self.shared.dead.store(true, Ordering::SeqCst);
    }

    /// The process dies after `requests` more requests.
    pub fn die_after(&self, requests: u64) {
        self.shared.requests_max.store(self.requests() + requests, Ordering::SeqCst);
    }

    /// Requests so far.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::SeqCst)
    }

    /// Carries out the writes that are still on their way.
    pub async fn deliver_late(&self) {
        self.shared.deliver(1.0).await;
    }
}

impl Shared {
    async fn fate(&self, is_write: bool) -> Fate {
        let request = self.requests.fetch_add(1, Ordering::SeqCst);
        if request >= self.requests_max.load(Ordering::SeqCst) {
            self.dead.store(true, Ordering::SeqCst);
        }
        let faults = *self.faults.lock();
        let wait = {
            let mut random = self.random.lock();
            random.random_bool(faults.delay).then(|| faults.delay_max.mul_f64(random.random()))
        };
        if let Some(wait) = wait {
            tokio::time::sleep(wait).await;
        }
        self.deliver(0.3).await;
        if self.dead.load(Ordering::SeqCst) {
            return Fate::Fail;
        }
        let thrown: f64 = self.random.lock().random();
        match thrown {
            x if x < faults.fail => Fate::Fail,
            x if x < faults.fail + faults.lose_reply => Fate::LoseReply,
            x if is_write && x < faults.fail + faults.lose_reply + faults.arrive_late => Fate::ArriveLate,
            _ => Fate::Good,
        }
    }

    async fn deliver(&self, share: f64) {
        let arriving: Vec<Late> = {
            let (mut late, mut random) = (self.late.lock(), self.random.lock());
            late.extract_if(.., |_| random.random_bool(share)).collect()
        };
        for write in arriving {
            // Nobody waits for the answer any more.
            match write {
                Late::Put(path, payload, options) => drop(self.store.put_opts(&path, payload, options).await),
                Late::Delete(path) => drop(self.store.delete(&path).await),
            }
        }
    }

    async fn put(&self, path: &Path, payload: PutPayload, mut options: PutOptions) -> Result<PutResult> {
        if self.faults.lock().ignore_conditions {
            options.mode = object_store::PutMode::Overwrite;
        }
        match self.fate(true).await {
            Fate::Good => self.store.put_opts(path, payload, options).await,
            Fate::Fail => lost("put"),
            Fate::LoseReply => {
                drop(self.store.put_opts(path, payload, options).await);
                lost("put")
            }
            Fate::ArriveLate => {
                self.late.lock().push(Late::Put(path.clone(), payload, options));
                lost("put")
            }
        }
    }

    async fn delete(&self, path: Path) -> Result<Path> {
        match self.fate(true).await {
            Fate::Good => self.store.delete(&path).await?,
            Fate::Fail => lost("delete")?,
            Fate::LoseReply => {
                drop(self.store.delete(&path).await);
                lost("delete")?;
            }
            Fate::ArriveLate => {
                self.late.lock().push(Late::Delete(path.clone()));
                lost("delete")?;
            }
        }
        Ok(path)
    }

    async fn read(&self) -> Result<()> {
        match self.fate(false).await {
            Fate::Good => Ok(()),
            _ => lost("read"),
        }
    }
}

fn lost<T>(what: &str) -> Result<T> {
    Err(Error::Generic { store: "faulty", source: format!("{what}: connection reset").into() })
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "faulty {}", self.shared.store)
    }
}

#[async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.shared.put(location, payload, options).await
    }

    async fn put_multipart_opts(&self, location: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.shared.read().await?;
        let upload = self.shared.store.put_multipart_opts(location, options).await?;
        Ok(Box::new(FaultyUpload { shared: self.shared.clone(), upload }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.shared.read().await?;
        self.shared.store.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let shared = self.shared.clone();
        locations
            .then(move |path| {
                let shared = shared.clone();
                async move { shared.delete(path?).await }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (shared, prefix) = (self.shared.clone(), prefix.cloned());
        let listing = async move {
            shared.read().await?;
            Ok::<_, Error>(shared.store.list(prefix.as_ref()))
        };
        futures::stream::once(listing).try_flatten().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.shared.read().await?;
        self.shared.store.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.shared.read().await?;
        self.shared.store.copy_opts(from, to, options).await
    }
}

#[derive(Debug)]
struct FaultyUpload {
    shared: Arc<Shared>,
    upload: Box<dyn MultipartUpload>,
}

#[async_trait]
impl MultipartUpload for FaultyUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let (shared, part) = (self.shared.clone(), self.upload.put_part(data));
        Box::pin(async move {
            shared.read().await?;
            part.await
        })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        match self.shared.fate(false).await {
            Fate::Good => self.upload.complete().await,
            Fate::LoseReply => {
                self.upload.complete().await?;
                lost("complete")
            }
            _ => lost("complete"),
        }
    }

    async fn abort(&mut self) -> Result<()> {
        self.shared.read().await?;
        self.upload.abort().await
    }
}
