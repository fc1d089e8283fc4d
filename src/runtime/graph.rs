//! A running view: its operators joined by their inputs, the relation it fills, the rows it took no account of.

use std::sync::Arc;

use headwater_operators::{Input, Operator, Output, StatePlace, Step};
use headwater_state::{Relation, Shape, Store, TableId, Writes};
use headwater_types::{ChangeBatch, Epoch, Error, Micros, ObjectId, Result, Watermarks};
use serde::{Deserialize, Serialize};

use crate::backfill::Backfill;
use crate::diverted::Diverted;
use crate::{ViewDef, persisted};

/// The stored form of a view's progress.
#[derive(Debug, Default, Serialize, Deserialize)]
struct ViewRecord {
    /// The watermarks each node finished its last epoch with, by input.
    watermarks: Vec<Vec<Watermarks>>,
    /// The view's own watermarks.
    output: Watermarks,
    /// When it had met the tables and views that it reads.
    #[serde(default)]
    built_at: Epoch,
}

struct Node {
    operator: Box<dyn Operator>,
    inputs: Vec<Input>,
    /// Nodes that read this one, with the input they read it on.
    readers: Arc<[(usize, usize)]>,
    /// The watermarks of its inputs at the end of the last epoch.
    watermarks: Vec<Watermarks>,
    /// Those of its output.
    output: Watermarks,
}

/// A view that runs.
pub(crate) struct RunningView {
    pub id: ObjectId,
    pub def: ViewDef,
    nodes: Vec<Node>,
    pub relation: Relation,
    pub diverted: Diverted,
    /// What the view changed in this epoch, for the views and sinks on it.
    pub changes: Vec<ChangeBatch>,
    /// When an operator wants to run although nothing comes.
    pub due: Option<Micros>,
    /// How far it is with what the tables and views that it reads held before it; none once it has met them.
    pub backfill: Option<Backfill>,
    /// The epoch in which it had: its changes since are all of its changes.
    pub built_at: Epoch,
    record_changed: bool,
}

impl RunningView {
    /// Opens the operators with the state of the last commit.
    ///
    /// # Errors
    /// `Storage`, `Corrupt`.
    pub fn open(store: &Arc<Store>, def: ViewDef) -> Result<Self> {
        let record: ViewRecord = persisted::get(store.blocks().as_ref(), &persisted::object_key("view", def.id))?.unwrap_or_default();
        let mut place = StatePlace::new(store.clone(), def.id);
        let mut nodes = Vec::with_capacity(def.plan.nodes.len());
        for (number, planned) in def.plan.nodes.iter().enumerate() {
            let none = || vec![Watermarks::none(); planned.inputs.len()];
            nodes.push(Node {
                operator: planned.spec.open(&mut place)?,
                inputs: planned.inputs.clone(),
                readers: readers_of(&def, number),
                watermarks: record.watermarks.get(number).cloned().unwrap_or_else(none),
                output: Watermarks::none(),
            });
        }
        if let Some(root) = nodes.last_mut() {
            root.output = record.output;
        }
        let root = def.plan.root();
        let shape =
            if root.properties.append_only { Shape::AppendOnly } else { Shape::Keyed(root.properties.key.clone().unwrap_or_default()) };
        let relation = Relation::open(store, TableId::new(def.id, TableId::ROWS), root.schema.clone(), shape)?;
        let diverted = Diverted::open(store, &def)?;
        let changes = Vec::new();
        let built_at = record.built_at;
        Ok(Self { id: def.id, def, nodes, relation, diverted, changes, due: None, backfill: None, built_at, record_changed: false })
    }

    /// The relations that this view reads, each once.
    pub fn reads(&self) -> Vec<TableId> {
        self.def.plan.reads()
    }

    /// It has met the tables and views that it reads: from `epoch` on it takes their changes.
    pub fn caught_up(&mut self, epoch: Epoch) {
        self.backfill = None;
        self.built_at = epoch;
        self.record_changed = true;
    }

    /// The watermarks of the view's columns.
    pub fn watermarks(&self) -> &Watermarks {
        &self.nodes[self.nodes.len() - 1].output
    }

    /// The epoch starts.
    pub fn begin(&mut self, epoch: Epoch, now: Micros) -> Result<()> {
        self.changes.clear();
        self.diverted.begin();
        for node in &mut self.nodes {
            node.operator.begin(&Step { epoch, now, watermarks: node.watermarks.clone() })?;
        }
        Ok(())
    }

    /// Rows of relation `from` come.
    pub fn push_from(&mut self, from: TableId, batch: &ChangeBatch, now: Micros) -> Result<()> {
        for node in 0..self.nodes.len() {
            for input in 0..self.nodes[node].inputs.len() {
                if self.nodes[node].inputs[input] == Input::Relation(from) {
                    for piece in batch.chunks() {
                        self.push(node, input, piece, now)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn push(&mut self, node: usize, input: usize, batch: ChangeBatch, now: Micros) -> Result<()> {
        let mut out = Output::default();
        self.nodes[node].operator.push(input, batch, &mut out)?;
        self.route(node, out, now)
    }

    /// What a node gave goes on to its readers at once; what the last one gave is the view's change.
    fn route(&mut self, node: usize, out: Output, now: Micros) -> Result<()> {
        self.diverted.take(node, out.late, out.failed, now)?;
        if node + 1 == self.nodes.len() {
            self.changes.extend(out.batches);
            return Ok(());
        }
        let readers = self.nodes[node].readers.clone();
        for batch in out.batches {
            for &(reader, input) in readers.iter() {
                self.push(reader, input, batch.clone(), now)?;
            }
        }
        Ok(())
    }

    /// All input has come: every node finishes after its upstreams, then tells its watermark. `watermark_of` knows those of the relations.
    pub fn finish(&mut self, epoch: Epoch, now: Micros, watermark_of: &dyn Fn(TableId) -> Watermarks) -> Result<()> {
        self.due = None;
        for node in 0..self.nodes.len() {
            let of_input = |input: &Input| match input {
                Input::Relation(table) => watermark_of(*table),
                Input::Node(upstream) => self.nodes[*upstream].output.clone(),
            };
            let mut watermarks: Vec<Watermarks> = self.nodes[node].inputs.iter().map(of_input).collect();
            for (new, old) in watermarks.iter_mut().zip(&self.nodes[node].watermarks) {
                new.advance(old);
            }
            let mut out = Output::default();
            let step = Step { epoch, now, watermarks };
            let finished = self.nodes[node].operator.finish(&step, &mut out)?;
            self.route(node, out, now)?;
            let node = &mut self.nodes[node];
            self.record_changed |= node.watermarks != step.watermarks;
            node.watermarks = step.watermarks;
            node.output.advance(&finished.watermarks);
            self.due = [self.due, finished.due].into_iter().flatten().min();
        }
        for batch in &self.changes {
            self.relation.apply(batch.clone())?;
        }
        Ok(())
    }

    /// Everything that changed, into the epoch's batch.
    pub fn flush(&mut self, epoch: Epoch, writes: &mut Writes) -> Result<()> {
        for node in &mut self.nodes {
            node.operator.flush(epoch, writes)?;
        }
        self.relation.flush(epoch, writes).map_err(|e| e.context(format!("view \"{}\"", self.def.name)))?;
        self.diverted.flush(epoch, writes)?;
        if std::mem::take(&mut self.record_changed) {
            let watermarks = self.nodes.iter().map(|n| n.watermarks.clone()).collect();
            let record = ViewRecord { watermarks, output: self.watermarks().clone(), built_at: self.built_at };
            persisted::put(writes, persisted::object_key("view", self.id), &record)?;
        }
        Ok(())
    }

    /// Bytes of resident state, operators and relation.
    pub fn state_bytes(&self) -> usize {
        self.nodes.iter().map(|n| n.operator.state_bytes()).sum::<usize>() + self.relation.bytes()
    }

    /// For each operator: name, rows or groups kept, bytes.
    pub fn operators(&self) -> Vec<(String, u64, usize)> {
        let planned = self.def.plan.nodes.iter().map(|n| n.spec.name().to_owned());
        planned.zip(&self.nodes).map(|(name, n)| (name, n.operator.state_rows(), n.operator.state_bytes())).collect()
    }

    /// Groups of the refusing operator whose key is below this are closed.
    pub fn closed_below(&self) -> Option<Micros> {
        let refusing = self.def.plan.refusing?;
        let key = self.def.plan.nodes[refusing].spec.closing_column()?;
        self.nodes[refusing].watermarks.first()?.get(key)
    }
}

fn readers_of(def: &ViewDef, number: usize) -> Arc<[(usize, usize)]> {
    let reads = |(reader, node): (usize, &headwater_operators::PlanNode)| {
        let inputs = node.inputs.iter().enumerate().filter(|(_, i)| **i == Input::Node(number));
        inputs.map(|(input, _)| (reader, input)).collect::<Vec<_>>()
    };
    def.plan.nodes.iter().enumerate().flat_map(reads).collect()
}

/// Why a view is off the cut, kept until it is dropped.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct FailureRecord {
    pub message: String,
    pub limit: bool,
}

impl FailureRecord {
    pub fn of(error: &Error) -> Self {
        Self { message: error.to_string(), limit: error.kind() == headwater_types::ErrorKind::Limit }
    }

    /// What a reader of the view is told.
    pub fn error(&self, view: &str) -> Error {
        let error = format!("view \"{view}\" is off the cut: {}", self.message);
        let error = if self.limit { Error::limit(error) } else { Error::bug(error) };
        error.with_hint(format!(
            "it is tried again when the database is opened; or drop it and create it again: DROP MATERIALIZED VIEW {view}"
        ))
    }
}
