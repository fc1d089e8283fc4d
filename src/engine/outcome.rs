//! What a statement gives back.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::execution::SendableRecordBatchStream;
use futures::TryStreamExt;
use headwater_sql::CopyFormat;
use headwater_types::Result;

use crate::dml::copy_in::CopyIn;
use crate::provider::ours;
use crate::query::source_table::SourceTable;

/// A message that is no error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// `NOTICE` or `WARNING`.
    pub severity: &'static str,
    /// One sentence.
    pub message: String,
}

impl Notice {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { severity: "NOTICE", message: message.into() }
    }
}

/// Rows that come as they are made.
pub struct Rows {
    /// Their columns.
    pub schema: SchemaRef,
    /// The rows, or the first error.
    pub stream: SendableRecordBatchStream,
    /// Sources that are read for them.
    pub(crate) sources: Vec<SourceTable>,
}

impl Rows {
    /// What there is to say once the rows have been read: records of sources that were left out.
    #[must_use]
    pub fn notices(&self) -> Vec<Notice> {
        let warnings = self.sources.iter().flat_map(SourceTable::warnings);
        warnings.map(|message| Notice { severity: "WARNING", message }).collect()
    }

    /// The same rows, changed on their way.
    pub(crate) fn over(self, change: impl FnOnce(SendableRecordBatchStream) -> SendableRecordBatchStream) -> Self {
        let stream = change(self.stream);
        Self { schema: stream.schema(), stream, sources: self.sources }
    }

    /// The next batch; `None` behind the last.
    ///
    /// # Errors
    /// The first error of the stream.
    pub async fn next(&mut self) -> Result<Option<RecordBatch>> {
        self.stream.try_next().await.map_err(ours)
    }

    /// All of them.
    ///
    /// # Errors
    /// The first error of the stream.
    pub async fn collect(self) -> Result<Vec<RecordBatch>> {
        self.stream.try_collect().await.map_err(ours)
    }
}

/// How a statement exchanges data beside its result.
pub enum CopyKind {
    /// It does not.
    None,
    /// COPY … TO STDOUT: the rows go out as copy data of this form.
    Out(CopyFormat),
    /// COPY table FROM STDIN: the client sends rows.
    In(Box<CopyIn>),
}

/// What a statement did.
pub struct Outcome {
    /// PostgreSQL's command tag: `SELECT`, `INSERT 0 3`, `CREATE SOURCE`.
    pub tag: String,
    /// Messages for the user.
    pub notices: Vec<Notice>,
    /// Rows, if it returns any.
    pub rows: Option<Rows>,
    /// COPY or not.
    pub copy: CopyKind,
}

impl Outcome {
    /// Done, nothing to show.
    pub(crate) fn done(tag: impl Into<String>) -> Self {
        Self { tag: tag.into(), notices: Vec::new(), rows: None, copy: CopyKind::None }
    }

    /// Rows known now.
    pub(crate) fn batch(tag: &str, batch: RecordBatch) -> Self {
        let schema = batch.schema();
        let stream = futures::stream::iter([Ok(batch)]);
        let stream = datafusion::physical_plan::stream::RecordBatchStreamAdapter::new(schema.clone(), stream);
        Self { rows: Some(Rows { schema, stream: Box::pin(stream), sources: Vec::new() }), ..Self::done(tag) }
    }

    pub(crate) fn with_notice(mut self, message: impl Into<String>) -> Self {
        self.notices.push(Notice::new(message));
        self
    }
}
