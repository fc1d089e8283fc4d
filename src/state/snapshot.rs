//! The rows of a relation as of one moment, held by reference: readers never block and are never blocked.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::datatypes::SchemaRef;
use headwater_types::{BATCH_ROWS_MAX, ChangeBatch, Error, Result};

use crate::Matches;
use crate::merge::{MergedBatches, Sorted};
use crate::run::Run;
use crate::stack::Stack;

/// Rows with positive weights, as of the moment it was taken. Cheap to clone; holds its runs until dropped.
#[derive(Clone)]
pub struct Snapshot {
    schema: SchemaRef,
    parts: Parts,
}

#[derive(Clone)]
enum Parts {
    Sorted(Arc<Stack>),
    Logged(Arc<Logged>),
}

/// Runs in arrival order, and rows that are not in a run yet.
#[derive(Default)]
pub(crate) struct Logged {
    pub(crate) runs: Vec<Arc<Run>>,
    pub(crate) fresh: Vec<RecordBatch>,
}

type Batches<T> = Box<dyn Iterator<Item = Result<T>> + Send>;

impl Snapshot {
    /// No rows of `schema`.
    #[must_use]
    pub fn empty(schema: SchemaRef) -> Self {
        Self::logged(schema, Logged::default())
    }

    pub(crate) fn sorted(stack: Stack) -> Self {
        Self { schema: stack.schema.clone(), parts: Parts::Sorted(Arc::new(stack)) }
    }

    pub(crate) fn logged(schema: SchemaRef, logged: Logged) -> Self {
        Self { schema, parts: Parts::Logged(Arc::new(logged)) }
    }

    /// The same with `changes` on top: what a transaction sees that has made them.
    ///
    /// # Errors
    /// Other column types; `Bug` for a deletion from an append-only relation.
    pub fn with(&self, changes: ChangeBatch) -> Result<Snapshot> {
        match &self.parts {
            Parts::Sorted(stack) => Ok(Self::sorted(stack.with(changes)?)),
            Parts::Logged(_) if changes.weights().is_some_and(|w| w.iter().any(|&w| w != 1)) => {
                Err(Error::bug("an append-only relation takes single insertions"))
            }
            Parts::Logged(logged) => {
                let mut fresh = logged.fresh.clone();
                fresh.push(changes.rows().clone());
                Ok(Self::logged(self.schema.clone(), Logged { runs: logged.runs.clone(), fresh }))
            }
        }
    }

    /// The schema of the rows.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// How many rows, as an estimate for the optimizer.
    #[must_use]
    pub fn rows(&self) -> u64 {
        match &self.parts {
            Parts::Sorted(stack) => stack.rows(),
            Parts::Logged(logged) => {
                let fresh: usize = logged.fresh.iter().map(RecordBatch::num_rows).sum();
                logged.runs.iter().map(|run| run.entry().rows).sum::<u64>() + fresh as u64
            }
        }
    }

    /// Stored bytes: the encoded blocks, and what is in memory only so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        match &self.parts {
            Parts::Sorted(stack) => stack.parts.iter().map(Sorted::stored_bytes).sum(),
            Parts::Logged(logged) => {
                let fresh: usize = logged.fresh.iter().map(RecordBatch::get_array_memory_size).sum();
                logged.runs.iter().map(|run| run.entry().bytes).sum::<u64>() + fresh as u64
            }
        }
    }

    /// The net rows, a row of weight n appearing n times, in batches of at most 8,192 rows with the columns of `projection`, block by block.
    /// Sorted relations give them in their order, append-only ones in the order of arrival.
    ///
    /// # Errors
    /// A column that is not there; each item those of the block store, `Bug` for a row with a negative weight.
    pub fn scan(&self, projection: Option<&[usize]>) -> Result<Batches<RecordBatch>> {
        let all: Vec<usize> = (0..self.schema.fields().len()).collect();
        let columns = projection.map_or(all, <[usize]>::to_vec);
        self.schema.project(&columns)?;
        let changes: Batches<ChangeBatch> = match &self.parts {
            Parts::Sorted(stack) => match &stack.parts[..] {
                // One run is net already: only the wanted columns need decoding.
                [Sorted::Run(run)] if stack.floor.is_none() => blocks(run.clone(), columns),
                _ => Box::new(MergedBatches::new(stack.merge(), BATCH_ROWS_MAX).map(move |batch| batch?.project(&columns))),
            },
            Parts::Logged(logged) => log_batches(logged, columns),
        };
        Ok(Box::new(changes.flat_map(repeat_rows)))
    }

    /// The net rows with their weights, in the order of [`Snapshot::scan`].
    ///
    /// # Errors
    /// Each item those of the block store.
    pub fn changes(&self) -> Result<Batches<ChangeBatch>> {
        match &self.parts {
            Parts::Sorted(stack) => Ok(Box::new(MergedBatches::new(stack.merge(), BATCH_ROWS_MAX))),
            Parts::Logged(logged) => Ok(log_batches(logged, (0..self.schema.fields().len()).collect())),
        }
    }

    /// All rows whose key columns equal one of `keys`.
    ///
    /// # Errors
    /// `Unsupported` for append-only shapes, which have no key; those of the block store.
    pub fn lookup(&self, keys: &[ArrayRef]) -> Result<Matches> {
        match &self.parts {
            Parts::Sorted(stack) => stack.lookup(keys),
            Parts::Logged(_) => Err(Error::unsupported("a lookup in an append-only relation")),
        }
    }
}

/// The blocks of a run, with some of its columns.
fn blocks(run: Arc<Run>, columns: Vec<usize>) -> Batches<ChangeBatch> {
    Box::new((0..run.blocks()).map(move |number| run.columns(number, &columns)))
}

fn log_batches(logged: &Arc<Logged>, columns: Vec<usize>) -> Batches<ChangeBatch> {
    let (of_runs, of_fresh, logged) = (columns.clone(), columns, logged.clone());
    let fresh: Vec<RecordBatch> = logged.fresh.clone();
    let runs = (0..logged.runs.len()).flat_map(move |at| blocks(logged.runs[at].clone(), of_runs.clone()));
    let fresh = fresh.into_iter().map(move |rows| Ok(ChangeBatch::insertions(rows.project(&of_fresh)?)));
    Box::new(runs.chain(fresh))
}

/// Each row as often as its weight says, in batches of at most 8,192 rows.
fn repeat_rows(changes: Result<ChangeBatch>) -> Batches<RecordBatch> {
    let changes = match changes {
        Ok(changes) => changes,
        Err(error) => return Box::new(std::iter::once(Err(error))),
    };
    let Some(weights) = changes.weights() else {
        return Box::new(changes.chunks().map(|chunk| Ok(chunk.rows().clone())).collect::<Vec<_>>().into_iter());
    };
    if weights.iter().any(|&w| w < 0) {
        return Box::new(std::iter::once(Err(Error::bug("a row of a relation is there fewer than zero times"))));
    }
    let rows = changes.rows().clone();
    let repeated = Repeat { weights: weights.to_vec(), row: 0, given: 0 };
    Box::new(repeated.map(move |indices| Ok(arrow::compute::take_record_batch(&rows, &UInt32Array::from(indices))?)))
}

/// Row numbers, each as often as its weight, in pieces.
struct Repeat {
    weights: Vec<i64>,
    row: usize,
    /// How often `row` was given already.
    given: i64,
}

impl Iterator for Repeat {
    type Item = Vec<u32>;

    fn next(&mut self) -> Option<Vec<u32>> {
        let mut indices = Vec::new();
        while indices.len() < BATCH_ROWS_MAX && self.row < self.weights.len() {
            let room = (BATCH_ROWS_MAX - indices.len()) as i64;
            let times = (self.weights[self.row] - self.given).min(room);
            indices.resize(indices.len() + usize::try_from(times).unwrap_or(0), self.row as u32);
            self.given += times;
            if self.given == self.weights[self.row] {
                self.row += 1;
                self.given = 0;
            }
        }
        (!indices.is_empty()).then_some(indices)
    }
}
