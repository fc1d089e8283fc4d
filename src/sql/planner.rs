//! Binds statements: what is built once per database.

use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use datafusion::execution::SessionState;
use datafusion::logical_expr::{AggregateUDF, ScalarUDF, WindowUDF};
use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::ast;
use headwater_catalog::{Catalog, Object};
use headwater_types::{Error, Result};

use crate::{Bound, PlannedView, Settings, Statement};

/// What the engine adds to the language: its own functions and system relations.
#[derive(Debug, Clone, Default)]
pub struct Extensions {
    /// Scalar functions, such as those of `pg_catalog`.
    pub scalar: Vec<Arc<ScalarUDF>>,
    /// Aggregates.
    pub aggregate: Vec<Arc<AggregateUDF>>,
    /// Window functions.
    pub window: Vec<Arc<WindowUDF>>,
    /// System relations: schema, name, columns.
    pub relations: Vec<(String, String, SchemaRef)>,
    /// Called on the parsed form of each statement that only reads (SELECT, also inside EXPLAIN, DECLARE, COPY … TO) before its names are resolved,
    /// and on no definition: it puts what clients ask of `pg_catalog` into words that the planner has.
    pub rewrite: Option<Rewrite>,
}

/// Changes a parsed query in place, with the session's settings at hand.
pub type Rewrite = fn(&mut ast::Statement, &Settings) -> Result<()>;

/// Resolves names and types and plans. One per database; `bind` takes `&self` and may run on many threads.
#[derive(Debug)]
pub struct Planner {
    extensions: Extensions,
}

impl Planner {
    /// A planner with DataFusion's functions, ours, and the engine's.
    ///
    /// # Errors
    /// `Bug` if two functions cannot live together.
    pub fn new(extensions: Extensions) -> Result<Planner> {
        Ok(Planner { extensions })
    }

    /// The batch engine's state with the same functions and settings as our plans: `create_physical_plan` of it optimizes and plans a [`Bound::Query`]
    /// in which each [`crate::RelationSource`] has been replaced by a table provider.
    #[must_use]
    pub fn session_state(&self) -> &SessionState {
        let _ = &self.extensions;
        unreachable!("replaced by the next commit")
    }

    /// Resolves `statement`.
    ///
    /// # Errors
    /// `Invalid`, `NotFound`, `Exists`, `InUse`, `Unsupported`, with the place in the text where it is known.
    pub fn bind(&self, statement: &Statement, catalog: &Catalog, settings: &Settings) -> Result<Bound> {
        self.bind_prepared(statement, catalog, settings, &[])
    }

    /// Resolves `statement`, in which `$1` … stand for values of `types`; where a type is missing it is inferred.
    ///
    /// # Errors
    /// As [`Planner::bind`].
    pub fn bind_prepared(&self, statement: &Statement, catalog: &Catalog, settings: &Settings, types: &[Option<DataType>]) -> Result<Bound> {
        Err(Error::unsupported(format!("bind {statement:?} {catalog:?} {settings:?} {types:?}")))
    }

    /// Plans a materialized view of the catalog again, after a restart. Compare `plan.fingerprint()` with the stored one.
    ///
    /// # Errors
    /// As [`Planner::bind`].
    pub fn replan(&self, view: &Object, catalog: &Catalog) -> Result<PlannedView> {
        Err(Error::unsupported(format!("replan {view:?} {catalog:?}")))
    }
}

impl Bound {
    /// The types of `$1` … in order; text where nothing says otherwise.
    ///
    /// # Errors
    /// `Invalid` if a number is left out.
    pub fn parameters(&self) -> Result<Vec<DataType>> {
        Err(Error::unsupported("parameters"))
    }

    /// The same with values in place of `$1` ….
    ///
    /// # Errors
    /// `Invalid` if there are too few, or one cannot be cast.
    pub fn with_parameters(self, values: &[ScalarValue]) -> Result<Bound> {
        Err(Error::unsupported(format!("values {values:?}")))
    }

    /// The columns it returns; none if it returns no rows.
    #[must_use]
    pub fn columns(&self) -> Option<SchemaRef> {
        None
    }
}
