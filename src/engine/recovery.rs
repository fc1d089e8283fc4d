//! Opens a database: the store, the catalog, every view planned again and compared with what its state was made by.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use headwater_catalog::{Catalog, Derived, Object, ObjectKind};
use headwater_checkpoint::{Claim, Identity, Lease, LocalIdentity, OpenWith, Remote, decide, restore};
use headwater_runtime::{Definition, Runtime, Setup};
use headwater_sql::Planner;
use headwater_state::{BlockStore, MemoryStore, RocksOptions, RocksStore, Store, StoreOptions, Writes};
use headwater_types::{Epoch, Error, Result};

use crate::checkpointer::Checkpointer;
use crate::database::Shared;
use crate::ddl::view_definition;
use crate::tasks::Task;
use parking_lot::RwLock;

use crate::{Options, connect, made_up};

/// Decoded blocks kept in memory: an eighth of the memory limit.
const CACHE_SHARE: usize = 8;
/// This version.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// An opened store, where on its line of time it stands, and what takes checkpoints of it.
struct Opened {
    blocks: Arc<dyn BlockStore>,
    lineage: Vec<(u64, Epoch)>,
    checkpointer: Option<Checkpointer>,
    lease: Option<Lease>,
}

pub(crate) async fn open(options: Options) -> Result<Shared> {
    let opened = open_store(&options).await?;
    let store = Store::open(opened.blocks, StoreOptions { cache_bytes: options.memory_limit_bytes / CACHE_SHARE })?;
    let catalog = Catalog::load(store.blocks().as_ref())?;
    let catalog = Arc::new(RwLock::new(Arc::new(catalog)));
    let running = Arc::new(OnceLock::new());
    let planner = Planner::new(made_up::extensions(&catalog, &running))?;
    let definitions = definitions(&catalog.read(), &planner, &options)?;
    note_version(Arc::make_mut(&mut catalog.write()), store.blocks().as_ref())?;
    let setup = Setup {
        store,
        clock: options.clock.clone(),
        readers_max: std::thread::available_parallelism().map_or(2, usize::from),
        memory_limit_bytes: options.memory_limit_bytes,
        backfill_rows: options.backfill_rows.max(1),
        directory: options.data.clone(),
        lineage: opened.lineage,
        may_write: match opened.lease {
            Some(lease) => Arc::new(move || lease.is_good()),
            None => Arc::new(|| true),
        },
        tokio: tokio::runtime::Handle::current(),
    };
    let runtime = Runtime::start(setup, definitions)?;
    let runtime = running.get_or_init(|| runtime).clone();
    if let Some(checkpointer) = &opened.checkpointer {
        checkpointer.start(&runtime, options.checkpoint_interval);
    }
    Shared::new(options, runtime, planner, catalog, opened.checkpointer)
}

async fn open_store(options: &Options) -> Result<Opened> {
    let alone = |blocks| Opened { blocks, lineage: vec![(0, Epoch(0))], checkpointer: None, lease: None };
    match (&options.blocks, &options.data, &options.checkpoint) {
        (Some(blocks), _, _) => Ok(alone(blocks.clone())),
        (None, None, None) => Ok(alone(Arc::new(MemoryStore::new()))),
        (None, None, Some(_)) => {
            let error = Error::invalid("checkpoints need a data directory");
            Err(error.with_hint("say where the data lives: --data DIR"))
        }
        (None, Some(data), None) => {
            let blocks = rocks(data)?;
            let identity = identity_of(data)?;
            Ok(Opened { lineage: lineage(&identity), ..alone(blocks) })
        }
        (None, Some(data), Some(url)) => open_with_checkpoints(options, data, url).await,
    }
}

/// The lease first, then whichever is right: the directory as it is, the newest checkpoint, or nothing yet.
async fn open_with_checkpoints(options: &Options, data: &Path, url: &str) -> Result<Opened> {
    let remote = match &options.remote {
        Some(remote) => remote.clone(),
        None => Remote::open(url, options.clock.clone()).await?,
    };
    let (mut blocks, mut local) = (None, None);
    if data.join("CURRENT").exists() {
        let store = rocks(data)?;
        let epoch = headwater_runtime::last_epoch(store.as_ref())?;
        local = Some(LocalIdentity { identity: identity_of(data)?, epoch });
        blocks = Some(store);
    }
    let claim = Claim { local: local.clone(), directory: data.to_owned(), take_over: options.take_over };
    let (lease, newest) = Lease::acquire(&remote, claim).await?;
    let alive = lease.keep_alive();
    let keeper = Task::start(async move {
        // Its end is heard of through the lease itself.
        let _heard_through_the_lease = alive.await;
    });
    let identity = match (decide(local.as_ref(), newest.as_ref())?, newest, local) {
        (OpenWith::Local, _, Some(local)) => local.identity,
        (OpenWith::Restore, Some(manifest), _) => restore(&lease, &manifest, data, &|_| {}).await?,
        _ => fresh(&lease, data).await?,
    };
    let blocks = match blocks {
        Some(blocks) => blocks,
        None => rocks(data)?,
    };
    let checkpointer = Checkpointer::new(lease.clone(), data.to_owned(), options.clock.clone(), keeper);
    Ok(Opened { blocks, lineage: lineage(&identity), checkpointer: Some(checkpointer), lease: Some(lease) })
}

async fn fresh(lease: &Lease, data: &Path) -> Result<Identity> {
    let identity = lease.begin().await?;
    std::fs::create_dir_all(data)?;
    identity.save(data)?;
    Ok(identity)
}

fn rocks(data: &Path) -> Result<Arc<dyn BlockStore>> {
    Ok(Arc::new(RocksStore::open(data, RocksOptions::default())?))
}

/// Who the directory is; a new one is given a name.
fn identity_of(data: &Path) -> Result<Identity> {
    if let Some(identity) = Identity::load(data)? {
        return Ok(identity);
    }
    let identity = Identity::new();
    identity.save(data)?;
    Ok(identity)
}

fn lineage(identity: &Identity) -> Vec<(u64, Epoch)> {
    identity.lineage.iter().map(|i| (i.incarnation, i.epoch)).collect()
}

/// Every object as the runtime needs it, in the order of their numbers.
fn definitions(catalog: &Catalog, planner: &Planner, options: &Options) -> Result<Vec<Definition>> {
    let one = |object: &Arc<Object>| -> Result<Option<Definition>> {
        Ok(match &object.kind {
            ObjectKind::Source(spec) => Some(Definition::Source(connect::source(object, spec, &options.registry)?)),
            ObjectKind::Table(_) => Some(Definition::Table(connect::table(object)?)),
            ObjectKind::View => None,
            ObjectKind::MaterializedView(derived) => {
                let planned = planner.replan(object, catalog).map_err(|e| e.context(format!("view \"{}\"", object.name)))?;
                if planned.plan.fingerprint() != derived.fingerprint {
                    return Err(other_plan(object, derived));
                }
                Some(view_definition(object, &planned))
            }
            ObjectKind::Sink(spec) => {
                Some(Definition::Sink(Box::new(connect::sink(object, spec, &options.registry, options.checkpoint.is_some())?)))
            }
        })
    };
    catalog.list().filter_map(|object| one(object).transpose()).collect()
}

fn other_plan(object: &Object, derived: &Derived) -> Error {
    let maker = if derived.version.is_empty() { "an earlier version".to_owned() } else { format!("Headwater {}", derived.version) };
    let message =
        format!("view \"{}\" was last read by {maker}: Headwater {VERSION} plans it otherwise and cannot read its state", object.name);
    Error::unsupported(message)
        .with_hint(format!("open the data with {maker}, drop the view there, and create it again with this version; nothing was changed"))
}

/// Every view could be read: notes that this version can, so that a later one that cannot names it.
fn note_version(catalog: &mut Catalog, blocks: &dyn BlockStore) -> Result<()> {
    let mut writes = Writes::new();
    for object in catalog.list().cloned().collect::<Vec<_>>() {
        let ObjectKind::MaterializedView(derived) = &object.kind else { continue };
        if derived.version == VERSION {
            continue;
        }
        let derived = Derived { version: VERSION.to_owned(), ..derived.clone() };
        let noted = catalog.replace(Object { kind: ObjectKind::MaterializedView(derived), ..Object::clone(&object) })?;
        catalog.put(&noted, &mut writes)?;
    }
    if writes.is_empty() { Ok(()) } else { blocks.write(&writes) }
}
