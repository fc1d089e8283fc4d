//! A running view: its operators joined by their inputs, the relation it fills, the rows it took no account of.

use std::sync::Arc;

use headwater_operators::{Input, Operator, Output, Plan, StatePlace, Step};
use headwater_state::{Relation, Shape, Store, TableId, Writes};
use headwater_types::{BATCH_ROWS_MAX, ChangeBatch, Epoch, Error, INLINE_ROWS_MAX, Micros, ObjectId, Result, Watermarks};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::backfill::Backfill;
use crate::diverted::Diverted;
use crate::{ViewDef, persisted};

/// So many rows gather before the view works on them, so that all threads have something to do.
const ARRIVED_ROWS_MAX: usize = 65_536;

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
    /// The watermarks of its inputs at the end of the last epoch.
    watermarks: Vec<Watermarks>,
    /// Those of its output.
    output: Watermarks,
}

/// Nodes that read a node, with the input they read it on.
type Readers = Vec<(usize, usize)>;

/// A batch before a node.
struct Arrival {
    node: usize,
    input: usize,
    batch: ChangeBatch,
}

impl Arrival {
    /// The same in batches of at most so many rows.
    fn cut(self, rows_max: usize) -> Vec<Arrival> {
        if self.batch.len() <= rows_max {
            return vec![self];
        }
        let Self { node, input, batch } = self;
        batch.pieces(rows_max).map(|batch| Self { node, input, batch }).collect()
    }
}

/// What became of a batch in operators without state.
#[derive(Default)]
struct Passed {
    /// It came to operators with state,
    arrivals: Vec<Arrival>,
    /// it came out of the last node,
    changes: Vec<ChangeBatch>,
    /// or these nodes took no account of some of its rows.
    refused: Vec<(usize, Output)>,
}

/// A view that runs.
pub(crate) struct RunningView {
    pub id: ObjectId,
    pub def: ViewDef,
    nodes: Vec<Node>,
    /// By node.
    readers: Vec<Readers>,
    /// By node: how many rows the operators without state make of one, from there on.
    rows_per_row: Vec<usize>,
    arrivals: Vec<Arrival>,
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
        let readers: Vec<Readers> = (0..nodes.len()).map(|number| readers_of(&def.plan, number)).collect();
        Ok(Self {
            id: def.id,
            rows_per_row: rows_per_row(&def.plan, &readers),
            readers,
            diverted: Diverted::open(store, &def)?,
            def,
            nodes,
            arrivals: Vec::new(),
            relation,
            changes: Vec::new(),
            due: None,
            backfill: None,
            built_at: record.built_at,
            record_changed: false,
        })
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
        for (number, node) in self.nodes.iter().enumerate() {
            for (input, _) in node.inputs.iter().enumerate().filter(|(_, input)| **input == Input::Relation(from)) {
                self.arrivals.extend(batch.chunks().map(|batch| Arrival { node: number, input, batch }));
            }
        }
        if self.arrivals.iter().map(|arrival| arrival.batch.len()).sum::<usize>() >= ARRIVED_ROWS_MAX { self.push(now) } else { Ok(()) }
    }

    /// Pushes what arrived.
    fn push(&mut self, now: Micros) -> Result<()> {
        let arrivals = std::mem::take(&mut self.arrivals);
        self.carry(arrivals, now)
    }

    /// Takes batches through operators without state, a portion side by side, and then pushes what came out, one after the other: so no more than a
    /// portion waits in between, however much a window or a join made of it.
    fn carry(&mut self, arrivals: Vec<Arrival>, now: Micros) -> Result<()> {
        // No more than a batch is to come of each.
        let cut = |arrival: Arrival| {
            let rows_max = BATCH_ROWS_MAX / self.rows_per_row[arrival.node];
            arrival.cut(rows_max)
        };
        let mut arrivals = arrivals.into_iter().flat_map(cut).collect::<Vec<_>>().into_iter();
        while !arrivals.as_slice().is_empty() {
            let portion: Vec<Arrival> = arrivals.by_ref().take(2 * rayon::current_num_threads()).collect();
            for Passed { arrivals, changes, refused } in self.pass(portion)? {
                refused.into_iter().try_for_each(|(node, out)| self.diverted.take(node, out.late, out.failed, now))?;
                self.changes.extend(changes);
                for Arrival { node, input, batch } in arrivals {
                    let mut out = Output::default();
                    self.nodes[node].operator.push(input, batch, &mut out)?;
                    self.route(node, out, now)?;
                }
            }
        }
        Ok(())
    }

    fn pass(&self, arrivals: Vec<Arrival>) -> Result<Vec<Passed>> {
        let rows: usize = arrivals.iter().map(|arrival| arrival.batch.len() * self.rows_per_row[arrival.node]).sum();
        let (plan, readers) = (&self.def.plan, &self.readers);
        let pass = |arrival| {
            let mut passed = Passed::default();
            pass(plan, readers, arrival, &mut passed).map(|()| passed)
        };
        if rows < INLINE_ROWS_MAX { arrivals.into_iter().map(pass).collect() } else { arrivals.into_par_iter().map(pass).collect() }
    }

    /// What a node gave goes on to its readers at once; what the last one gave is the view's change.
    fn route(&mut self, node: usize, out: Output, now: Micros) -> Result<()> {
        self.diverted.take(node, out.late, out.failed, now)?;
        if node + 1 == self.nodes.len() {
            self.changes.extend(out.batches);
            return Ok(());
        }
        let arrivals = before_readers(&self.readers[node], out.batches).collect();
        self.carry(arrivals, now)
    }

    /// All input has come: every node finishes after its upstreams, then tells its watermark. `watermark_of` knows those of the relations.
    pub fn finish(&mut self, epoch: Epoch, now: Micros, watermark_of: &dyn Fn(TableId) -> Watermarks) -> Result<()> {
        self.due = None;
        self.push(now)?;
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

fn readers_of(plan: &Plan, number: usize) -> Readers {
    let reads = |(reader, node): (usize, &headwater_operators::PlanNode)| {
        let inputs = node.inputs.iter().enumerate().filter(|(_, i)| **i == Input::Node(number));
        inputs.map(|(input, _)| (reader, input)).collect::<Vec<_>>()
    };
    plan.nodes.iter().enumerate().flat_map(reads).collect()
}

/// How many rows the operators without state make of one that comes to each node: at most a batch is told, since one row cannot be cut.
fn rows_per_row(plan: &Plan, readers: &[Readers]) -> Vec<usize> {
    // Nodes come after what they read.
    let mut rows_per_row = vec![1_usize; readers.len()];
    for node in (0..readers.len()).rev() {
        if let Some(operator) = plan.nodes[node].spec.stateless() {
            let beyond = readers[node].iter().map(|&(reader, _)| rows_per_row[reader]).fold(0, usize::saturating_add);
            rows_per_row[node] = operator.rows_per_row_max().saturating_mul(beyond.max(1)).min(BATCH_ROWS_MAX);
        }
    }
    rows_per_row
}

/// Each batch before each reader.
fn before_readers(readers: &Readers, batches: Vec<ChangeBatch>) -> impl Iterator<Item = Arrival> {
    batches.into_iter().flat_map(|batch| readers.iter().map(move |&(node, input)| Arrival { node, input, batch: batch.clone() }))
}

/// Takes a batch through operators without state, as far as there are any.
fn pass(plan: &Plan, readers: &[Readers], arrival: Arrival, passed: &mut Passed) -> Result<()> {
    let node = arrival.node;
    let Some(operator) = plan.nodes[node].spec.stateless() else {
        passed.arrivals.push(arrival);
        return Ok(());
    };
    let mut out = Output::default();
    operator.apply(arrival.input, arrival.batch, &mut out)?;
    let batches = std::mem::take(&mut out.batches);
    if !out.late.is_empty() || !out.failed.is_empty() {
        passed.refused.push((node, out));
    }
    if node + 1 == plan.nodes.len() {
        passed.changes.extend(batches);
        return Ok(());
    }
    before_readers(&readers[node], batches).try_for_each(|arrival| pass(plan, readers, arrival, passed))
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

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field, IntervalMonthDayNano, Schema, TimeUnit};
    use headwater_operators::{Hop, OperatorSpec, PlanNode, Properties, Union, Windows};

    use super::*;

    /// Sixty windows a row, and all of it twice: neither on its own tells how much comes out.
    #[test]
    fn windows_and_readers_multiply_rows() {
        let time = Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, None), true);
        let span = |seconds: i64| IntervalMonthDayNano::new(0, 0, seconds * 1_000_000_000);
        let hop = Hop::new(&Arc::new(Schema::new(vec![time])), 0, Windows::hop(span(60), span(3_600), None).unwrap()).unwrap();
        let schema = hop.schema().clone();
        let union: Arc<dyn OperatorSpec> = Arc::new(Union::new(2));
        let node = |spec: Arc<dyn OperatorSpec>, inputs: Vec<Input>| PlanNode {
            spec,
            inputs,
            schema: schema.clone(),
            properties: Properties::default(),
        };
        let source = Input::Relation(TableId::new(ObjectId(1), TableId::ROWS));
        let nodes = vec![node(Arc::new(hop), vec![source]), node(union, vec![Input::Node(0), Input::Node(0)])];
        let plan = Plan { nodes, refusing: None };
        let readers: Vec<Readers> = (0..2).map(|number| readers_of(&plan, number)).collect();
        assert_eq!(rows_per_row(&plan, &readers), [120, 1]);
    }
}
