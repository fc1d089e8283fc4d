//! A relation as plans know it: a name and columns; the engine puts its rows in place of it.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::Constraints;
use datafusion::logical_expr::{LogicalPlan, TableSource, TableType};
use headwater_catalog::{Object, Part};
use headwater_types::ObjectId;

/// Which relation.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RelationId {
    /// One of an object of the catalog.
    Object(ObjectId, Part),
    /// One that the engine makes up when it is read.
    System {
        /// `headwater`, `pg_catalog`, `information_schema`.
        schema: String,
        /// Its name there.
        name: String,
    },
}

/// The table source of every scan in our plans: no rows, only what planning must know.
#[derive(Debug, Clone)]
pub struct RelationSource {
    /// Which relation.
    pub id: RelationId,
    /// Its name, for messages and EXPLAIN.
    pub name: String,
    /// Its columns.
    pub schema: SchemaRef,
    /// The object behind it; none for a system relation.
    pub object: Option<Arc<Object>>,
    /// The query to put in its place, for a view.
    pub plan: Option<LogicalPlan>,
    /// Its primary key, which we enforce: the optimizer may rely on it.
    pub key: Option<Constraints>,
}

impl RelationSource {
    /// The relation that a scan in a plan of ours reads.
    #[must_use]
    pub fn of(source: &Arc<dyn TableSource>) -> Option<&RelationSource> {
        source.downcast_ref::<RelationSource>()
    }
}

impl RelationSource {
    /// True if a view can follow its changes.
    #[must_use]
    pub fn is_followed(&self) -> bool {
        match (&self.id, &self.object) {
            (RelationId::Object(_, part), Some(object)) => object.is_followed(*part),
            _ => false,
        }
    }
}

impl TableSource for RelationSource {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn get_logical_plan(&self) -> Option<Cow<'_, LogicalPlan>> {
        self.plan.as_ref().map(Cow::Borrowed)
    }

    fn constraints(&self) -> Option<&Constraints> {
        self.key.as_ref()
    }
}
