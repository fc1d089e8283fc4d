//! Lowers an optimized logical plan to operators: one arm a plan node, each a call; what is derived of each node on the way up.

use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::DFSchema;
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Distinct, Expr, LogicalPlan};
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};
use headwater_operators::{Edge, Input, OperatorSpec, Plan, PlanNode, Properties, Windows, checked};
use headwater_types::{Error, Result};

use super::refusal::Refusal;
use super::{aggregate, join, relation, rows, window};
use crate::context::Context;
use crate::errors::in_text;

/// Where a column's values first came from, so that two columns can be known to be edges of one window.
pub(super) type Origin = usize;

/// What is known of a column beyond its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fact {
    /// Equal for columns that hold the same values.
    pub origin: Origin,
    /// The window's edge that it is, and the origin of the time column.
    pub window: Option<(Windows, Edge, Origin)>,
}

/// A lowered plan node: where its rows come from and what is known of them.
#[derive(Debug, Clone)]
pub(super) struct Lowered {
    pub input: Input,
    pub schema: SchemaRef,
    pub properties: Properties,
    pub facts: Vec<Fact>,
    /// If the last node only picks columns: what it reads, and which. What reads it may as well read that.
    pub picked: Option<(Box<Lowered>, Vec<usize>)>,
    /// No change below the watermark comes from here any more: an operator beneath has refused it.
    pub promised: bool,
}

/// The plan as it grows, inputs before readers.
pub(super) struct Lowering<'a> {
    pub context: &'a Context<'a>,
    pub nodes: Vec<PlanNode>,
    pub refusing: Option<usize>,
    pub refusal: Option<Refusal>,
    origins: Origin,
}

/// The operators of `logical`; with `emit_on_close` its rows come once, when their window closes. Also whether the root is promised, as [`Lowered`] says.
pub(super) fn lower(context: &Context<'_>, logical: &LogicalPlan, emit_on_close: bool) -> Result<(Plan, bool, Option<Refusal>)> {
    let mut lowering = Lowering { context, nodes: Vec::new(), refusing: None, refusal: None, origins: 0 };
    let root = lowering.lower(logical, emit_on_close)?;
    let promised = root.promised;
    if matches!(root.input, Input::Relation(_)) {
        rows::keep_all(&mut lowering, root)?;
    }
    Ok((Plan { nodes: lowering.nodes, refusing: lowering.refusing }, promised, lowering.refusal))
}

impl Lowering<'_> {
    /// Lowers `plan` and all below it. `emit` asks the next aggregate on the way down to emit closed groups only.
    pub(super) fn lower(&mut self, plan: &LogicalPlan, emit: bool) -> Result<Lowered> {
        match plan {
            LogicalPlan::SubqueryAlias(alias) => self.lower(&alias.input, emit),
            LogicalPlan::Sort(sort) => self.lower(&sort.input, emit),
            LogicalPlan::Projection(projection) => rows::project(self, projection, emit),
            LogicalPlan::Filter(filter) => rows::filter(self, filter, emit),
            LogicalPlan::Aggregate(node) => aggregate::aggregate(self, node, emit),
            LogicalPlan::Distinct(Distinct::All(input)) => aggregate::distinct(self, input, emit),
            _ if emit => Err(no_window(plan)),
            LogicalPlan::TableScan(scan) => relation::scan(self, scan),
            LogicalPlan::Values(values) => relation::values(self, values),
            LogicalPlan::EmptyRelation(empty) => relation::empty(self, empty),
            LogicalPlan::Union(union) => rows::union(self, union),
            LogicalPlan::Join(node) => join::join(self, node),
            LogicalPlan::Unnest(unnest) => window::hop(self, unnest),
            other => Err(Error::unsupported(format!("{} is not supported in a materialized view", name_of(other)))),
        }
    }

    /// A new origin, for a column whose values come from nowhere else.
    pub(super) fn origin(&mut self) -> Origin {
        self.origins += 1;
        self.origins
    }

    pub(super) fn new_fact(&mut self) -> Fact {
        Fact { origin: self.origin(), window: None }
    }

    pub(super) fn new_facts(&mut self, columns: usize) -> Vec<Fact> {
        (0..columns).map(|_| self.new_fact()).collect()
    }

    /// Adds a node that reads `inputs`.
    pub(super) fn add(&mut self, spec: Arc<dyn OperatorSpec>, inputs: Vec<Input>, schema: SchemaRef, properties: Properties) -> Input {
        self.nodes.push(PlanNode { spec, inputs, schema, properties });
        Input::Node(self.nodes.len() - 1)
    }

    /// `expr` over the columns of `schema`, ready to be evaluated; integer overflow is an error.
    pub(super) fn physical(&self, expr: &Expr, schema: &DFSchema) -> Result<Arc<dyn PhysicalExpr>> {
        let (props, planning) = (ExecutionProps::new(), PhysicalPlanningContext::default());
        checked(create_physical_expr(expr, schema, &props, &planning).map_err(|e| self.error(e))?)
    }

    pub(super) fn error(&self, error: datafusion::error::DataFusionError) -> Error {
        in_text(error, &self.context.text)
    }
}

fn no_window(plan: &LogicalPlan) -> Error {
    let error = Error::invalid(format!("EMIT ON WINDOW CLOSE needs a GROUP BY above {}", name_of(plan)));
    error.with_detail("rows are emitted when their group closes, that is when the watermark passes a column they are grouped by")
}

fn name_of(plan: &LogicalPlan) -> String {
    let text = plan.display().to_string();
    text.split([':', '(']).next().unwrap_or_default().trim().to_owned()
}
