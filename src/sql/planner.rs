//! What is built once per database to bind statements with: functions, settings, and our hooks in DataFusion's SQL planner.

mod membership;
mod orders;

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use datafusion::execution::{FunctionRegistry, SessionState, SessionStateBuilder};
use datafusion::functions::datetime::planner::DatetimeFunctionPlanner;
use datafusion::functions::unicode::planner::UnicodeFunctionPlanner;
use datafusion::logical_expr::planner::{ExprPlanner, RelationPlanner, TypePlanner};
use datafusion::logical_expr::{AggregateUDF, ScalarUDF, WindowUDF};
use datafusion::optimizer::{Optimizer, OptimizerRule};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::prelude::SessionConfig;
use datafusion::sql::planner::{NullOrdering, ParserOptions};
use datafusion::sql::sqlparser::ast;
use headwater_catalog::{Catalog, Object};
use headwater_types::{Error, Result};

use self::membership::Membership;
use crate::casts::PostgresTypes;
use crate::casts::exact_casts::ExactCasts;
use crate::errors::from_datafusion;
use crate::floats::EqualFloats;
use crate::planned_types::PlannedTypes;
use crate::types::Types;
use crate::windows::WindowFunctions;
use crate::{Bound, PlannedView, Settings, Statement, binder, streaming};

use orders::DecidingOrders;

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
    state: SessionState,
    relations: HashMap<(String, String), SchemaRef>,
    rewrite: Option<Rewrite>,
    expr_planners: Vec<Arc<dyn ExprPlanner>>,
    relation_planners: Vec<Arc<dyn RelationPlanner>>,
    type_planner: Arc<dyn TypePlanner>,
}

impl Planner {
    /// A planner with DataFusion's functions, ours, and the engine's; those of the same name give way to the later.
    ///
    /// # Errors
    /// `Bug` if two functions cannot live together.
    pub fn new(extensions: Extensions) -> Result<Planner> {
        let state = SessionStateBuilder::new().with_config(settings()).with_default_features();
        let state = state.with_analyzer_rule(Arc::new(ExactCasts)).with_analyzer_rule(Arc::new(EqualFloats::new()));
        let state = state.with_analyzer_rule(Arc::new(DecidingOrders)).with_optimizer_rules(batch_rules());
        let mut state = state.with_physical_optimizer_rules(physical_rules()).build();
        headwater_operators::register(&mut state)?;
        for function in crate::functions::library().into_iter().chain(extensions.scalar) {
            state.register_udf(function).map_err(from_datafusion)?;
        }
        for function in extensions.aggregate {
            state.register_udaf(function).map_err(from_datafusion)?;
        }
        for function in extensions.window {
            state.register_udwf(function).map_err(from_datafusion)?;
        }
        state.register_function_rewrite(Arc::new(PostgresTypes)).map_err(from_datafusion)?;
        let mut expr_planners: Vec<Arc<dyn ExprPlanner>> =
            vec![Arc::new(PlannedTypes), Arc::new(UnicodeFunctionPlanner), Arc::new(DatetimeFunctionPlanner)];
        expr_planners.extend(state.expr_planners().iter().cloned());
        Ok(Planner {
            relations: extensions.relations.into_iter().map(|(schema, name, columns)| ((schema, name), columns)).collect(),
            rewrite: extensions.rewrite,
            expr_planners,
            relation_planners: vec![Arc::new(WindowFunctions::new())],
            type_planner: Arc::new(Types),
            state,
        })
    }

    /// The batch engine's state with the same functions and settings as our plans: `create_physical_plan` of it optimizes and plans a [`Bound::Query`]
    /// in which each [`crate::RelationSource`] has been replaced by a table provider.
    #[must_use]
    pub fn session_state(&self) -> &SessionState {
        &self.state
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
    pub fn bind_prepared(
        &self,
        statement: &Statement,
        catalog: &Catalog,
        settings: &Settings,
        types: &[Option<DataType>],
    ) -> Result<Bound> {
        crate::room::with_room(|| binder::bind(self, statement, catalog, settings, types))
    }

    /// Plans a materialized view of the catalog again, after a restart. Compare `plan.fingerprint()` with the stored one.
    ///
    /// # Errors
    /// As [`Planner::bind`].
    pub fn replan(&self, view: &Object, catalog: &Catalog) -> Result<PlannedView> {
        let settings = Settings::new("root", "dev");
        let statement = crate::parse(&view.sql)?.pop().ok_or_else(|| Error::bug(format!("\"{}\" has no text", view.name)))?;
        let planned = crate::room::with_room(|| streaming::replan(self, &statement, catalog, &settings));
        planned.map_err(|e| e.context(format!("view \"{}\"", view.name)))
    }

    /// The columns of a system relation, if there is one of that name.
    pub(crate) fn system_relation(&self, schema: &str, name: &str) -> Option<SchemaRef> {
        self.relations.get(&(schema.to_owned(), name.to_owned())).cloned()
    }

    pub(crate) fn rewrite(&self) -> Option<Rewrite> {
        self.rewrite
    }

    pub(crate) fn expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        &self.expr_planners
    }

    pub(crate) fn relation_planners(&self) -> &[Arc<dyn RelationPlanner>] {
        &self.relation_planners
    }

    pub(crate) fn type_planner(&self) -> Arc<dyn TypePlanner> {
        self.type_planner.clone()
    }

    pub(crate) fn parser_options() -> ParserOptions {
        ParserOptions {
            parse_float_as_decimal: true,
            enable_ident_normalization: true,
            support_varchar_with_length: true,
            enable_options_value_normalization: false,
            collect_spans: true,
            map_string_types_to_utf8view: false,
            default_null_ordering: NullOrdering::NullsMax,
        }
    }
}

/// Ours about subqueries, then DataFusion's without one that sums sums: the type of our `sum` is wider than that of what it adds up.
fn batch_rules() -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    let membership: Arc<dyn OptimizerRule + Send + Sync> = Arc::new(Membership);
    let batch = Optimizer::new().rules.into_iter().filter(|rule| rule.name() != "single_distinct_aggregation_to_group_by");
    std::iter::once(membership).chain(batch).collect()
}

/// DataFusion's rules without one that answers from statistics: it takes a constant to have one distinct value where there are no rows at all.
fn physical_rules() -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    PhysicalOptimizer::new().rules.into_iter().filter(|rule| rule.name() != "aggregate_statistics").collect()
}

/// DataFusion's settings, pinned: results must not depend on the machine or on a default that moves.
fn settings() -> SessionConfig {
    let mut config = SessionConfig::new().with_information_schema(false).with_create_default_catalog_and_schema(false);
    let options = config.options_mut();
    options.execution.time_zone = Some("UTC".to_owned());
    options.sql_parser.parse_float_as_decimal = true;
    options.sql_parser.map_string_types_to_utf8view = false;
    options.sql_parser.collect_spans = true;
    // Our aggregates and views know less of NOT NULL than the optimizer derives; the check would refuse such plans, which are right.
    options.execution.skip_physical_aggregate_schema_check = true;
    options.optimizer.enable_dynamic_filter_pushdown = false;
    options.optimizer.filter_null_join_keys = true;
    config
}
