//! Relations that are made up when they are read: the glue between queries and the folder `system`.

use std::sync::{Arc, OnceLock};

use datafusion::catalog::{MemTable, TableProvider};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::logical_expr::LogicalPlan;
use headwater_catalog::Catalog;
use headwater_runtime::{Runtime, Status};
use headwater_sql::{Extensions, RelationId, RelationSource, Settings};
use headwater_types::{Error, Result};
use parking_lot::RwLock;

use crate::checkpointer::Checkpointer;
use crate::database::Shared;
use crate::provider::ours;
use crate::system::{self, Facts};

/// What the system relations add to the language. Their functions look at `catalog` when they run, and at the rows of `runtime` once it has started.
pub(crate) fn extensions(catalog: &Arc<RwLock<Arc<Catalog>>>, runtime: &Arc<OnceLock<Runtime>>) -> Extensions {
    let (catalog, runtime) = (Arc::clone(catalog), Arc::clone(runtime));
    let now: system::SeenNow = Arc::new(move || {
        let cut = runtime.get().map(Runtime::published).unwrap_or_default();
        system::Seen { catalog: catalog.read().clone(), cut }
    });
    Extensions {
        scalar: system::functions(&now),
        relations: system::declarations(),
        rewrite: Some(system::rewrite),
        ..Extensions::default()
    }
}

/// True if `plan` reads a relation that is filled from the runtime's status.
pub(crate) fn reads_status(plan: &LogicalPlan) -> bool {
    let mut found = false;
    let look = |node: &LogicalPlan| {
        if let LogicalPlan::TableScan(scan) = node
            && let Some(RelationId::System { schema, name }) = RelationSource::of(&scan.source).map(|s| &s.id)
        {
            found |= system::shows_status(schema, name);
        }
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    };
    plan.apply_with_subqueries(look).expect("looking at a plan cannot fail");
    found
}

/// System relation `schema.name` as it is now.
///
/// # Errors
/// `NotFound`.
pub(crate) fn table(
    shared: &Shared,
    settings: &Settings,
    schema: &str,
    name: &str,
    status: Option<&Status>,
) -> Result<Arc<dyn TableProvider>> {
    let missing = || Error::not_found(format!("relation \"{schema}.{name}\" does not exist")).with_sqlstate("42P01");
    let relation = system::find(schema, name).ok_or_else(missing)?;
    let status = system::Status {
        runtime: status.cloned().unwrap_or_default(),
        checkpoints: shared.checkpointer.as_ref().map_or_else(Vec::new, Checkpointer::taken),
        sessions: shared.sessions.list(),
    };
    let facts = Facts { catalog: Catalog::clone(&shared.catalog()), status, settings: settings.clone() };
    let batch = relation.batch(&facts)?;
    Ok(Arc::new(MemTable::try_new(batch.schema(), vec![vec![batch]]).map_err(ours)?))
}
