//! The contract of an operator, and what the epoch loop hands to it.

use std::fmt::Debug;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use headwater_state::{Store, TableId, Writes};
use headwater_types::{ChangeBatch, Epoch, Micros, ObjectId, Result, Watermarks};

/// When an operator wants its `finish` called although nothing came: epoch time in microseconds.
pub type DueTime = Micros;

/// Where in time an epoch stands: at `begin` with the watermarks it starts from, at `finish` with those of its end.
#[derive(Debug, Clone)]
pub struct Step {
    /// The epoch being made.
    pub epoch: Epoch,
    /// Epoch time, `now()` in SQL.
    pub now: Micros,
    /// One entry per input, in the order of the plan.
    pub watermarks: Vec<Watermarks>,
}

/// What an operator gives: changes for its readers, and the rows it took no account of.
#[derive(Debug, Default)]
pub struct Output {
    /// Changes, at most 8,192 rows each, of the operator's output schema.
    pub batches: Vec<ChangeBatch>,
    /// Rows refused because their window has closed, of the operator's *input* schema, with the watermark that refused them.
    pub late: Vec<(ChangeBatch, Micros)>,
    /// Rows on which an expression failed, of the operator's input schema, with the reason.
    pub failed: Vec<(ChangeBatch, String)>,
}

impl Output {
    /// Hands `batch` on unless it is empty; larger ones in pieces of 8,192 rows.
    pub fn push(&mut self, batch: ChangeBatch) {
        self.batches.extend(batch.chunks());
    }
}

/// How an operator left an epoch.
#[derive(Debug, Default)]
pub struct Finished {
    /// The watermarks of its output columns.
    pub watermarks: Watermarks,
    /// When it must run next even if nothing comes.
    pub due: Option<DueTime>,
}

/// One step of the graph: changes in, changes out. Reads no clock, awaits nothing, knows no barrier and no connector; keeps nothing outside its
/// state tables and what it can rebuild from them. Per epoch the loop calls begin, push 0..n times per input, finish, flush.
pub trait Operator: Send {
    /// The epoch starts; `step` has the watermarks of its start (after a restart: the restored ones).
    ///
    /// # Errors
    /// Any error sets the view aside.
    fn begin(&mut self, step: &Step) -> Result<()> {
        let _ = step;
        Ok(())
    }

    /// Takes `batch` on input `input`. Order inside an epoch means nothing.
    ///
    /// # Errors
    /// Any error sets the view aside; a row on which an expression fails is no error but goes to `out.failed`.
    fn push(&mut self, input: usize, batch: ChangeBatch, out: &mut Output) -> Result<()>;

    /// All input of the epoch has come; `step` has the watermarks of its end. Emits what could not be emitted before (one consolidated -old/+new
    /// per key), closes windows, forgets state.
    ///
    /// # Errors
    /// Any error sets the view aside.
    fn finish(&mut self, step: &Step, out: &mut Output) -> Result<Finished>;

    /// Dirty state into the epoch's one write batch. Emits nothing.
    ///
    /// # Errors
    /// `Storage`.
    fn flush(&mut self, epoch: Epoch, writes: &mut Writes) -> Result<()> {
        let _ = (epoch, writes);
        Ok(())
    }

    /// Bytes of resident state.
    fn state_bytes(&self) -> usize {
        0
    }

    /// Rows or groups kept.
    fn state_rows(&self) -> u64 {
        0
    }
}

/// What an operator that keeps nothing does to a batch: the same whatever came before, so that batches may go through it side by side.
pub trait Stateless: Sync {
    /// As [`Operator::push`].
    ///
    /// # Errors
    /// As [`Operator::push`].
    fn apply(&self, input: usize, batch: ChangeBatch, out: &mut Output) -> Result<()>;

    /// How many rows it may make of one.
    fn rows_per_row_max(&self) -> usize {
        1
    }
}

/// The plan-time form of an operator: says what it is and opens it. Plain data; two equal specs over equal inputs do the same.
pub trait OperatorSpec: Debug + Send + Sync {
    /// Its name in `EXPLAIN`.
    fn name(&self) -> &'static str;

    /// Its arguments in `EXPLAIN`, on one line.
    fn describe(&self) -> String;

    /// What the stored state depends on: equal fingerprints can read each other's state. Empty for an operator without state.
    fn fingerprint(&self) -> String {
        String::new()
    }

    /// The input column whose watermark closes its groups, for an operator that refuses late rows.
    fn closing_column(&self) -> Option<usize> {
        None
    }

    /// What it does to its input, if that is all it does: it is pushed through here, and opened only for its watermarks.
    fn stateless(&self) -> Option<&dyn Stateless> {
        None
    }

    /// The operator, with the state it left at the last commit.
    ///
    /// # Errors
    /// `Storage`, `Corrupt`.
    fn open(&self, place: &mut StatePlace) -> Result<Box<dyn Operator>>;
}

/// Where an operator opens its state tables: numbered in plan order, so that a restart finds them again.
pub struct StatePlace {
    store: Arc<Store>,
    object: ObjectId,
    next: u16,
}

impl StatePlace {
    /// The tables of `object`, from number 0 on.
    #[must_use]
    pub fn new(store: Arc<Store>, object: ObjectId) -> Self {
        Self { store, object, next: 0 }
    }

    /// The number of the next table.
    pub fn next_table(&mut self) -> TableId {
        let id = TableId::new(self.object, self.next);
        self.next += 1;
        id
    }

    /// The store that holds it.
    #[must_use]
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }
}

/// The column types of `schema`, for fingerprints.
pub(crate) fn types_of(schema: &SchemaRef) -> String {
    schema.fields().iter().map(|f| f.data_type().to_string()).collect::<Vec<_>>().join(", ")
}
