//! A planned view: operator specs in topological order with what was derived about each, as lowering makes it and the runtime opens it.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use headwater_state::TableId;

use crate::OperatorSpec;

/// Where a node's input comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// The rows of a source, table or view of the catalog, or one of the relations beside them.
    Relation(TableId),
    /// An earlier node of the same plan.
    Node(usize),
}

/// What bounds an operator's state.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Bound {
    /// It keeps none.
    #[default]
    Stateless,
    /// Grows with the distinct keys or rows of its input.
    Unbounded,
    /// Forgotten as the watermark of this column passes.
    Watermark(String),
}

/// What was derived about a node's output, bottom up.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Properties {
    /// No row is ever deleted.
    pub append_only: bool,
    /// Columns that no two rows share, if such are known.
    pub key: Option<Vec<usize>>,
    /// Columns that carry a watermark.
    pub watermarked: Vec<usize>,
    /// What bounds the state of this node.
    pub bound: Bound,
}

/// One operator of a plan.
#[derive(Debug, Clone)]
pub struct PlanNode {
    /// What it does.
    pub spec: Arc<dyn OperatorSpec>,
    /// Its inputs, in the operator's order.
    pub inputs: Vec<Input>,
    /// Its output columns.
    pub schema: SchemaRef,
    /// What is known of its output.
    pub properties: Properties,
}

/// A view's operators, inputs before readers; the last node's output is the view.
#[derive(Debug, Clone)]
pub struct Plan {
    /// In topological order, at least one.
    pub nodes: Vec<PlanNode>,
    /// The node that refuses late rows, if one does. Its one input is another node, whose schema is that of `$late`.
    pub refusing: Option<usize>,
}

impl Plan {
    /// The node whose output is the view.
    #[must_use]
    pub fn root(&self) -> &PlanNode {
        self.nodes.last().expect("a plan has at least one node")
    }

    /// The relations that it reads, each once.
    #[must_use]
    pub fn reads(&self) -> Vec<TableId> {
        let relation = |input: &Input| match input {
            Input::Relation(table) => Some(*table),
            Input::Node(_) => None,
        };
        let mut tables: Vec<TableId> = self.nodes.iter().flat_map(|n| n.inputs.iter().filter_map(relation)).collect();
        tables.sort_unstable();
        tables.dedup();
        tables
    }

    /// The columns that node `refusing` reads: those of its rows in `$late`.
    #[must_use]
    pub fn refused_schema(&self, refusing: usize) -> SchemaRef {
        match self.nodes[refusing].inputs[0] {
            Input::Node(node) => self.nodes[node].schema.clone(),
            Input::Relation(_) => unreachable!("lowering puts a projection between a relation and an operator that refuses"),
        }
    }

    /// What the stored state of this plan depends on.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let one = |node: &PlanNode| format!("{}({})", node.spec.name(), node.spec.fingerprint());
        self.nodes.iter().filter(|n| !n.spec.fingerprint().is_empty()).map(one).collect::<Vec<_>>().join("\n")
    }
}
