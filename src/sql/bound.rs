//! A statement with every name and type resolved: owned data that the engine executes.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_expr::PhysicalExpr;
use headwater_catalog::Object;
use headwater_operators::Plan;
use headwater_types::Micros;

use crate::RelationId;

/// What a statement does. Objects to create are drafts: number 0, no UUID, until [`headwater_catalog::Catalog::create`] gives them.
#[derive(Debug)]
pub enum Bound {
    /// CREATE SOURCE; the connector has not been asked yet.
    CreateSource(Object),
    /// CREATE TABLE.
    CreateTable(Object),
    /// CREATE [OR REPLACE] VIEW; with a number where it replaces the view of that number.
    CreateView(Object),
    /// CREATE MATERIALIZED VIEW.
    CreateMaterializedView(Object, Box<PlannedView>),
    /// CREATE SINK. With a view (a draft, too) for AS SELECT: create it first, then put its number into `from` and `depends_on` of the sink.
    CreateSink(Object, Option<Box<(Object, PlannedView)>>),
    /// IF NOT EXISTS and it does, IF EXISTS and it does not: the command tag and the notice.
    Nothing(&'static str, String),
    /// DROP: these, in this order (readers before what they read).
    Drop(&'static str, Vec<Arc<Object>>),
    /// COMMENT ON: the object as it then is.
    Comment(Object),
    /// INSERT, also from COPY … FROM by `CopyFrom`.
    Insert(Box<Insert>),
    /// DELETE: `rows` gives whole rows of the table, each to be deleted once.
    Delete(Box<Changed>),
    /// UPDATE: `rows` gives the old row's columns, then the new row's.
    Update(Box<Changed>),
    /// A statement that returns rows of the relations it reads: SELECT, VALUES, TABLE. Analyzed, not yet optimized.
    Query(LogicalPlan),
    /// Rows known now: EXPLAIN, SHOW, DESCRIBE. First the command tag.
    Rows(&'static str, RecordBatch),
    /// EXPLAIN WATERMARK of this object.
    ExplainWatermark(Arc<Object>),
    /// FLUSH.
    Flush,
    /// `SET [LOCAL] name = value`, checked; no value: back to the default.
    Set {
        /// The setting.
        name: String,
        /// Its new value.
        value: Option<String>,
        /// Only until the end of the block.
        local: bool,
    },
    /// RESET ALL.
    ResetAll,
    /// BEGIN.
    Begin,
    /// COMMIT.
    Commit,
    /// ROLLBACK.
    Rollback,
    /// SAVEPOINT, RELEASE, ROLLBACK TO: tag and name; the engine refuses what it cannot do.
    Savepoint(&'static str, String),
    /// DECLARE name … CURSOR FOR.
    Declare(String, CursorQuery),
    /// FETCH from a cursor.
    Fetch(Cursor),
    /// CLOSE name; no name: CLOSE ALL.
    Close(Option<String>),
    /// DISCARD ALL and the like.
    Discard,
    /// UNLISTEN: there is never anything to do.
    Unlisten,
    /// PREPARE name (types) AS statement; no type where it is left open.
    Prepare(String, Vec<Option<DataType>>, Box<crate::Statement>),
    /// EXECUTE name (values): constant expressions, evaluated.
    Execute(String, Vec<datafusion::scalar::ScalarValue>),
    /// DEALLOCATE name; no name: ALL.
    Deallocate(Option<String>),
    /// COPY table FROM STDIN.
    CopyFrom(CopyFrom),
    /// COPY … TO STDOUT.
    CopyOut(CopyOut),
    /// ADVANCE CLOCK: tests only.
    AdvanceClock(Micros),
    /// CRASH: tests only.
    Crash,
    /// CHECKPOINT: takes one now.
    Checkpoint,
}

/// A planned view.
#[derive(Debug, Clone)]
pub struct PlannedView {
    /// Its operators.
    pub plan: Plan,
    /// The optimized query they were made of: what the view's rows must equal, run as a batch.
    pub logical: LogicalPlan,
    /// No change below its watermarks comes from it any more.
    pub promised: bool,
    /// The aggregate that refuses late rows, if one does: for an oracle.
    pub refusal: Option<crate::streaming::Refusal>,
}

/// INSERT.
#[derive(Debug, Clone)]
pub struct Insert {
    /// Where to.
    pub table: Arc<Object>,
    /// The rows: the table's columns in order, cast to their types, NULL where not given.
    pub input: LogicalPlan,
    /// What happens to a row whose primary key is there already.
    pub on_conflict: OnConflict,
    /// RETURNING.
    pub returning: Option<Returning>,
}

/// What an INSERT does with a row whose primary key is there already.
#[derive(Debug, Clone)]
pub enum OnConflict {
    /// Error 23505.
    Refuse,
    /// DO NOTHING.
    Nothing,
    /// DO UPDATE SET: expressions over the existing row's columns followed by those of the row to insert (`excluded`).
    Update {
        /// The new row: one expression a column of the table.
        row: Vec<Arc<dyn PhysicalExpr>>,
        /// WHERE: rows for which this is not true stay as they are.
        filter: Option<Arc<dyn PhysicalExpr>>,
    },
}

/// DELETE or UPDATE.
#[derive(Debug, Clone)]
pub struct Changed {
    /// Where.
    pub table: Arc<Object>,
    /// The rows, as [`Bound`] says.
    pub rows: LogicalPlan,
    /// RETURNING: over the new row's columns, the deleted row's for DELETE.
    pub returning: Option<Returning>,
}

/// RETURNING: expressions over the table's columns.
#[derive(Debug, Clone)]
pub struct Returning {
    /// What the client sees.
    pub schema: SchemaRef,
    /// One a column.
    pub exprs: Vec<Arc<dyn PhysicalExpr>>,
}

/// What a cursor goes over.
#[derive(Debug, Clone)]
pub enum CursorQuery {
    /// The rows of a query.
    Query(LogicalPlan),
    /// SUBSCRIPTION CURSOR: a relation's rows, then its changes for ever.
    Subscription(Target),
}

/// A relation that changes are wanted of.
#[derive(Debug, Clone)]
pub struct Target {
    /// Which.
    pub id: RelationId,
    /// Its name as written.
    pub name: String,
    /// Its columns.
    pub schema: SchemaRef,
}

/// FETCH.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// The cursor's name.
    pub name: String,
    /// At most so many rows; none: all that there are.
    pub rows_max: Option<u64>,
    /// `WITH (timeout = '…')`: how long to wait for the first, in microseconds.
    pub timeout_us: Option<Micros>,
    /// MOVE: the rows are passed over, not returned.
    pub skip: bool,
}

/// COPY table (columns) FROM STDIN.
#[derive(Debug, Clone)]
pub struct CopyFrom {
    /// Where to.
    pub table: Arc<Object>,
    /// Indices of the columns that come, in order.
    pub columns: Vec<usize>,
    /// Rows of the table, the other columns at their defaults, from the one relation that it scans, which has the columns that come. None if all do.
    pub fill: Option<LogicalPlan>,
    /// How.
    pub format: CopyFormat,
}

/// COPY … TO STDOUT.
#[derive(Debug, Clone)]
pub enum CopyOut {
    /// The rows of a query.
    Query(LogicalPlan, CopyFormat),
    /// COPY (SUBSCRIBE view): changes for ever.
    Subscribe(Target, CopyFormat),
}

/// How COPY writes values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyFormat {
    /// `text`, `csv` or `binary`.
    pub name: String,
    /// The first line holds the column names.
    pub header: bool,
    /// Between values.
    pub delimiter: char,
    /// What stands for NULL.
    pub null: String,
}
