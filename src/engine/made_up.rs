//! Relations that are made up when they are read: the glue between queries and the folder `system`.

use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::logical_expr::LogicalPlan;
use headwater_runtime::Status;
use headwater_sql::{Extensions, Settings};
use headwater_types::{Error, Result};

use crate::database::Shared;

/// What the system relations add to the language.
pub(crate) fn extensions() -> Extensions {
    Extensions::default()
}

/// True if `plan` reads a relation that is filled from the runtime's status.
pub(crate) fn reads_status(plan: &LogicalPlan) -> bool {
    let _ = plan;
    false
}

/// System relation `schema.name` as it is now.
///
/// # Errors
/// `NotFound`.
pub(crate) fn table(shared: &Shared, settings: &Settings, schema: &str, name: &str, status: Option<&Status>) -> Result<Arc<dyn TableProvider>> {
    let _ = (shared, settings, status);
    Err(Error::not_found(format!("relation \"{schema}.{name}\" does not exist")).with_sqlstate("42P01"))
}
