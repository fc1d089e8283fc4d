//! Opens a database: the store, the catalog, every view planned again and compared with what its state was made by.

use std::sync::Arc;

use headwater_catalog::{Catalog, Object, ObjectKind};
use headwater_runtime::{Definition, Runtime, Setup};
use headwater_sql::Planner;
use headwater_state::{BlockStore, MemoryStore, RocksOptions, RocksStore, Store, StoreOptions};
use headwater_types::{Epoch, Error, Result};

use crate::database::Shared;
use crate::ddl::view_definition;
use parking_lot::RwLock;

use crate::{Options, connect, made_up};

/// Decoded blocks kept in memory: an eighth of the memory limit.
const CACHE_SHARE: usize = 8;

pub(crate) async fn open(options: Options) -> Result<Shared> {
    if options.checkpoint.is_some() {
        return Err(Error::unsupported("a checkpoint URL"));
    }
    let blocks = open_blocks(&options)?;
    let store = Store::open(blocks, StoreOptions { cache_bytes: options.memory_limit_bytes / CACHE_SHARE })?;
    let catalog = Catalog::load(store.blocks().as_ref())?;
    let catalog = Arc::new(RwLock::new(Arc::new(catalog)));
    let planner = Planner::new(made_up::extensions(&catalog))?;
    let definitions = definitions(&catalog.read(), &planner, &options)?;
    let setup = Setup {
        store,
        clock: options.clock.clone(),
        readers_max: std::thread::available_parallelism().map_or(2, usize::from),
        memory_limit_bytes: options.memory_limit_bytes,
        directory: options.data.clone(),
        incarnation: 1,
        restored: Epoch(0),
        tokio: tokio::runtime::Handle::current(),
    };
    let runtime = Runtime::start(setup, definitions)?;
    Ok(Shared::new(options, runtime, planner, catalog, None))
}

fn open_blocks(options: &Options) -> Result<Arc<dyn BlockStore>> {
    match (&options.blocks, &options.data) {
        (Some(blocks), _) => Ok(blocks.clone()),
        (None, Some(directory)) => Ok(Arc::new(RocksStore::open(directory, RocksOptions::default())?)),
        (None, None) => Ok(Arc::new(MemoryStore::new())),
    }
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
                    return Err(other_plan(object));
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

fn other_plan(object: &Object) -> Error {
    let version = env!("CARGO_PKG_VERSION");
    let message = format!("view \"{}\" was made by another version: Headwater {version} plans it otherwise and cannot read its state", object.name);
    Error::unsupported(message).with_hint("open the data with the version that made it, drop the view there, and create it again with this one")
}
