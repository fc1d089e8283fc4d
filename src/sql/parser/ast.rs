//! Statements as written: ours in structs of our own, SQL's own in sqlparser's.

use datafusion::sql::sqlparser::ast::{DataType, Expr, Query, Statement as Sql};
use headwater_types::Micros;

use super::reader::Name;

/// 1-based character offset and length in the text.
pub(crate) type Place = Option<(usize, usize)>;

/// One option of `WITH (…)` or `ENCODE … (…)`.
#[derive(Debug, Clone)]
pub(crate) struct OptionEntry {
    pub name: String,
    pub value: String,
    pub place: Place,
}

/// `name type NOT NULL PRIMARY KEY`.
#[derive(Debug, Clone)]
pub(crate) struct ColumnDef {
    pub name: Name,
    pub data_type: DataType,
    pub not_null: bool,
    pub default: Option<Expr>,
    pub type_place: Place,
}

/// `WATERMARK FOR column AS expr`.
#[derive(Debug, Clone)]
pub(crate) struct WatermarkDef {
    pub column: Name,
    pub expr: Expr,
    pub place: Place,
}

/// `INCLUDE what AS column`.
#[derive(Debug, Clone)]
pub(crate) struct IncludeDef {
    pub what: Name,
    pub column: Name,
}

/// `FORMAT f ENCODE e (…)`, words in lower case.
#[derive(Debug, Clone)]
pub(crate) struct EncodeDef {
    pub format: String,
    pub encoding: String,
    pub options: Vec<OptionEntry>,
    pub place: Place,
}

/// CREATE SOURCE, CREATE TABLE.
#[derive(Debug, Clone)]
pub(crate) struct CreateRelation {
    pub is_source: bool,
    pub if_not_exists: bool,
    pub name: Name,
    pub columns: Vec<ColumnDef>,
    pub primary_key: Vec<Name>,
    pub watermark: Option<WatermarkDef>,
    pub append_only: Place,
    pub includes: Vec<IncludeDef>,
    pub with: Vec<OptionEntry>,
    pub encode: Option<EncodeDef>,
}

/// What EMIT says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Emit {
    #[default]
    OnUpdate,
    OnWindowClose(Place),
}

/// CREATE VIEW, CREATE MATERIALIZED VIEW.
#[derive(Debug, Clone)]
pub(crate) struct CreateView {
    pub materialized: bool,
    pub or_replace: bool,
    pub if_not_exists: bool,
    pub name: Name,
    pub columns: Vec<Name>,
    pub with: Vec<OptionEntry>,
    pub query: Box<Query>,
    pub emit: Emit,
}

/// What a sink delivers.
#[derive(Debug, Clone)]
pub(crate) enum SinkInput {
    Relation(Name),
    Query(Box<Query>, Emit),
}

/// CREATE SINK.
#[derive(Debug, Clone)]
pub(crate) struct CreateSink {
    pub if_not_exists: bool,
    pub name: Name,
    pub input: SinkInput,
    pub with: Vec<OptionEntry>,
    pub encode: Option<EncodeDef>,
}

/// A kind of catalog object, as DROP, COMMENT and SHOW name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Source,
    Table,
    View,
    MaterializedView,
    Sink,
}

/// SHOW.
#[derive(Debug, Clone)]
pub(crate) enum Show {
    Objects(Kind),
    Columns(Name),
    Create(Name),
    Schemas,
    Databases,
    Variable(String),
    AllVariables,
}

/// What EXPLAIN explains.
#[derive(Debug, Clone)]
pub(crate) enum Explained {
    Statement(Box<Ast>),
    Object(Name),
}

/// What a cursor or COPY reads.
#[derive(Debug, Clone)]
pub(crate) enum Readable {
    Query(Box<Query>),
    Subscription(Name),
}

/// COPY.
#[derive(Debug, Clone)]
pub(crate) enum CopyWhat {
    From { table: Name, columns: Vec<Name> },
    To(Readable),
}

/// One statement.
#[derive(Debug, Clone)]
pub(crate) enum Ast {
    Query(Box<Query>),
    Insert(Box<Sql>),
    Update(Box<Sql>),
    Delete(Box<Sql>),
    CreateRelation(Box<CreateRelation>),
    CreateView(Box<CreateView>),
    CreateSink(Box<CreateSink>),
    Drop { kind: Kind, if_exists: bool, cascade: bool, names: Vec<Name> },
    Comment { kind: Kind, name: Name, column: Option<Name>, comment: Option<String> },
    Explain(Explained),
    ExplainWatermark(Name),
    Describe(Name),
    Show(Show),
    Set { name: Name, value: Option<String>, local: bool },
    ResetAll,
    Begin,
    Commit,
    Rollback,
    Savepoint(&'static str, String),
    Declare(String, Readable),
    Fetch { name: String, rows_max: Option<u64>, timeout: Option<OptionEntry>, skip: bool },
    Close(Option<String>),
    Discard,
    Unlisten,
    Prepare(String, Vec<DataType>, Box<super::Statement>),
    Execute(String, Vec<Expr>),
    Deallocate(Option<String>),
    Copy(CopyWhat, Vec<OptionEntry>),
    Flush,
    AdvanceClock(Micros),
    Crash,
    Checkpoint,
}
