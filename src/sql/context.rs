//! What DataFusion's SQL planner asks while it resolves one statement: relations of the catalog, functions, types.

use std::cell::RefCell;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::catalog::TableFunctionArgs;
use datafusion::common::{Constraint, Constraints, DFSchema, Result, ScalarValue, TableReference};
use datafusion::config::ConfigOptions;
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::planner::{ContextProvider, ExprPlanner, RelationPlanner, TypePlanner};
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{AggregateUDF, Expr, HigherOrderUDF, LogicalPlan, ScalarUDF, TableSource, WindowUDF, lit};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::sql::sqlparser::parser::Parser as SqlParser;
use headwater_catalog::{Catalog, Named, ObjectKind, Part};
use headwater_types::{Error, ObjectId};

use crate::errors::{into_datafusion, nearest};
use crate::functions::CastCall;
use crate::marks::CAST_TO;
use crate::parser::{DIALECT, Name, SourceText};
use crate::planner::Planner;
use crate::{RelationId, RelationSource, Settings};

/// Views inside views deeper than this are refused rather than overflowing the stack.
const VIEW_DEPTH_MAX: usize = 32;

/// One statement's view of the world.
pub(crate) struct Context<'a> {
    pub planner: &'a Planner,
    pub catalog: &'a Catalog,
    pub settings: &'a Settings,
    pub text: Arc<SourceText>,
    /// Types of `$1` … where the client gave them.
    pub parameters: Vec<Option<DataType>>,
    /// Objects read, through views too, in order of first mention.
    pub reads: RefCell<Vec<ObjectId>>,
    depth: usize,
}

impl<'a> Context<'a> {
    pub(crate) fn new(planner: &'a Planner, catalog: &'a Catalog, settings: &'a Settings, text: Arc<SourceText>) -> Self {
        Self { planner, catalog, settings, text, parameters: Vec::new(), reads: RefCell::default(), depth: 0 }
    }

    /// The object called `name`.
    ///
    /// # Errors
    /// `NotFound` (42P01) with the nearest name proposed.
    pub(crate) fn named(&self, name: &Name) -> headwater_types::Result<Named> {
        self.catalog.resolve(&name.text).ok_or_else(|| name.blame(self.no_relation(&name.text)))
    }

    fn no_relation(&self, name: &str) -> Error {
        let error = Error::not_found(format!("relation \"{name}\" does not exist")).with_sqlstate("42P01");
        match nearest(name, self.catalog.names()) {
            Some(near) => error.with_hint(format!("did you mean \"{near}\"?")),
            None => error,
        }
    }

    fn note(&self, id: ObjectId) {
        let mut reads = self.reads.borrow_mut();
        if !reads.contains(&id) {
            reads.push(id);
        }
    }

    fn source(&self, reference: &TableReference) -> headwater_types::Result<RelationSource> {
        let name = reference.table();
        let schema = reference.schema().unwrap_or("public");
        if (reference.schema().is_none() || schema == "public")
            && let Some(named) = self.catalog.resolve(name)
        {
            return self.of_catalog(named);
        }
        let schemas: &[&str] = if reference.schema().is_some() { &[schema] } else { &["pg_catalog"] };
        match schemas.iter().find_map(|s| Some((*s, self.planner.system_relation(s, name)?))) {
            Some((schema, columns)) => Ok(of_system(schema, name, columns)),
            None => Err(self.no_relation(&reference.to_string())),
        }
    }

    fn of_catalog(&self, named: Named) -> headwater_types::Result<RelationSource> {
        let object = named.object;
        self.note(object.id);
        let plan = match (&object.kind, named.part) {
            (ObjectKind::View, _) => Some(self.view_plan(&object.sql, &object.name)?),
            (ObjectKind::Sink(_), _) => {
                let error = Error::invalid(format!("\"{}\" is a sink: it cannot be read", object.name)).with_sqlstate("42809");
                return Err(error.with_hint("read the view that it delivers"));
            }
            _ => None,
        };
        let name = format!("{}{}", object.name, named.part.suffix());
        let key = match (&object.kind, named.part) {
            (ObjectKind::Table(table), Part::Rows) if !table.primary_key.is_empty() => {
                Some(Constraints::new_unverified(vec![Constraint::PrimaryKey(table.primary_key.clone())]))
            }
            _ => None,
        };
        let schema = headwater_catalog::Column::schema(&named.columns);
        Ok(RelationSource { id: RelationId::Object(object.id, named.part), name, schema, object: Some(object), plan, key })
    }

    /// The query of a view, to be put in its place.
    fn view_plan(&self, sql: &str, name: &str) -> headwater_types::Result<LogicalPlan> {
        if self.depth >= VIEW_DEPTH_MAX {
            return Err(Error::limit(format!("views are nested deeper than {VIEW_DEPTH_MAX} levels")));
        }
        let statement = crate::parser::parse(sql)?.pop().ok_or_else(|| Error::bug(format!("view \"{name}\" has no text")))?;
        let inside =
            Context { depth: self.depth + 1, ..Context::new(self.planner, self.catalog, self.settings, statement.source().clone()) };
        let plan = crate::views::view_query(&inside, statement.ast()).map_err(|e| e.context(format!("in view \"{name}\"")))?;
        inside.reads.borrow().iter().for_each(|id| self.note(*id));
        Ok(plan)
    }
}

fn of_system(schema: &str, name: &str, columns: SchemaRef) -> RelationSource {
    let id = RelationId::System { schema: schema.to_owned(), name: name.to_owned() };
    RelationSource { id, name: format!("{schema}.{name}"), schema: columns, object: None, plan: None, key: None }
}

/// The function `name`, which casts to `data_type`.
fn cast_function(name: &str, data_type: &str) -> Option<Arc<ScalarUDF>> {
    let data_type = SqlParser::new(&DIALECT).try_with_sql(data_type).and_then(|mut parser| parser.parse_data_type()).ok()?;
    Some(Arc::new(CastCall::function(name, crate::types::field(&data_type).ok()?)))
}

/// The type of a literal that is a date or a timestamp.
fn moment_type(arg: &Expr) -> Option<DataType> {
    match arg {
        Expr::Literal(value, _) => Some(value.data_type()).filter(|t| matches!(t, DataType::Date32 | DataType::Timestamp(..))),
        _ => None,
    }
}

/// Table functions know integers as bigint only.
fn wide(arg: Expr) -> Expr {
    match &arg {
        Expr::Literal(ScalarValue::Int32(Some(value)), _) => lit(i64::from(*value)),
        _ => arg,
    }
}

impl ContextProvider for Context<'_> {
    fn get_table_source(&self, name: TableReference) -> Result<Arc<dyn TableSource>> {
        self.source(&name).map(|source| Arc::new(source) as _).map_err(into_datafusion)
    }

    fn get_table_function_source(&self, name: &str, args: Vec<Expr>) -> Result<Arc<dyn TableSource>> {
        let state = self.planner.session_state();
        let Some(function) = state.table_functions().get(name) else {
            return Err(into_datafusion(Error::not_found(format!("function {name} does not exist")).with_sqlstate("42883")));
        };
        let context = SimplifyContext::builder().with_config_options(state.config_options().clone()).build();
        let simplifier = ExprSimplifier::new(context);
        let schema = DFSchema::empty();
        let args =
            args.into_iter().map(|arg| simplifier.simplify(simplifier.coerce(arg, &schema)?).map(wide)).collect::<Result<Vec<_>>>()?;
        if let Some(moment) = args.iter().find_map(moment_type) {
            let error = Error::unsupported(format!("{name} of {} is not supported", crate::type_names::type_name(&moment)));
            return Err(into_datafusion(error.with_hint("SELECT start + n * INTERVAL '1 day' FROM generate_series(0, 9) AS s(n)")));
        }
        Ok(provider_as_source(function.create_table_provider_with_args(TableFunctionArgs::new(&args, state))?))
    }

    fn create_cte_work_table(&self, name: &str, schema: SchemaRef) -> Result<Arc<dyn TableSource>> {
        let table = datafusion::datasource::cte_worktable::CteWorkTable::new(name, schema);
        Ok(provider_as_source(Arc::new(table)))
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        self.planner.expr_planners()
    }

    fn get_relation_planners(&self) -> &[Arc<dyn RelationPlanner>] {
        self.planner.relation_planners()
    }

    fn get_type_planner(&self) -> Option<Arc<dyn TypePlanner>> {
        Some(self.planner.type_planner())
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        match name.strip_prefix(CAST_TO) {
            Some(data_type) => cast_function(name, data_type),
            None => self.planner.session_state().scalar_functions().get(name).cloned(),
        }
    }

    fn get_higher_order_meta(&self, name: &str) -> Option<Arc<HigherOrderUDF>> {
        self.planner.session_state().higher_order_functions().get(name).cloned()
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        self.planner.session_state().aggregate_functions().get(name).cloned()
    }

    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        self.planner.session_state().window_functions().get(name).cloned()
    }

    fn get_variable_type(&self, _names: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        self.planner.session_state().config_options()
    }

    fn udf_names(&self) -> Vec<String> {
        self.planner.session_state().scalar_functions().keys().cloned().collect()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        self.planner.session_state().higher_order_functions().keys().cloned().collect()
    }

    fn udaf_names(&self) -> Vec<String> {
        self.planner.session_state().aggregate_functions().keys().cloned().collect()
    }

    fn udwf_names(&self) -> Vec<String> {
        self.planner.session_state().window_functions().keys().cloned().collect()
    }
}
