//! Records to columns: one decoder appends record after record to typed columns and hands them over as a batch.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use headwater_types::{Error, Micros, Result};

use super::column::{Column, EpochUnit};
use super::csv::CsvRecords;
use super::json::JsonRecords;
use crate::{Encoding, OptionSpec, SourceDefinition, check_options};

const JSON_OPTIONS: &[OptionSpec] = &[OptionSpec {
    name: "timestamp.format",
    about: "What a number stands for in a TIMESTAMP column: 'millis' (default), 'micros', 'seconds'; 'iso8601' refuses numbers.",
    required: false,
}];

const CSV_OPTIONS: &[OptionSpec] = &[
    OptionSpec { name: "delimiter", about: "The one character between fields; ',' by default.", required: false },
    OptionSpec {
        name: "header",
        about: "'true' if the first line of a file names its columns; 'false' by default: fields are the columns in order.",
        required: false,
    },
    JSON_OPTIONS[0],
];

/// What a connector knows of a record beside its payload, for one `INCLUDE` column. It is turned into the column's type.
#[derive(Debug, Clone, Copy)]
pub(crate) enum IncludeValue<'a> {
    /// Nothing known: NULL.
    Null,
    /// Text (a partition, a file, headers as JSON).
    Text(&'a str),
    /// Bytes (a key); text columns take them if they are UTF-8.
    Bytes(&'a [u8]),
    /// A whole number (a partition, an offset).
    Integer(i64),
    /// A point in time, in microseconds since 1970 UTC.
    Micros(Micros),
}

/// Decodes the records of a source into batches of its schema.
pub(crate) struct Decoder {
    schema: SchemaRef,
    columns: Vec<Column>,
    /// Columns that the connector fills, in the order of the definition's includes.
    includes: Vec<usize>,
    records: Records,
    rows: usize,
}

enum Records {
    Json(JsonRecords),
    Csv(CsvRecords),
}

impl Decoder {
    /// A decoder for the columns, format and encoding of `definition`. Connectors also call it from `check_source`, where it tells
    /// columns of types and options that the encoding does not have.
    ///
    /// # Errors
    /// `Unsupported` for a column type or an encoding that is not decoded record by record; `Invalid` for a bad encoding option.
    pub(crate) fn new(definition: &SourceDefinition) -> Result<Self> {
        let includes: Vec<usize> = definition.includes.iter().map(|i| i.column).collect();
        let fields = definition.schema.fields();
        let carried = || fields.iter().enumerate().filter(|(at, _)| !includes.contains(at)).map(|(at, f)| (at, f.name().as_str()));
        let records = match definition.encoding {
            Encoding::Json => {
                check_options("ENCODE JSON", JSON_OPTIONS, &definition.encoding_options)?;
                Records::Json(JsonRecords::new(carried()))
            }
            Encoding::Csv => {
                check_options("ENCODE CSV", CSV_OPTIONS, &definition.encoding_options)?;
                Records::Csv(CsvRecords::new(&definition.encoding_options, carried())?)
            }
            other => return Err(Error::unsupported(format!("records encoded as {}", format!("{other:?}").to_uppercase()))),
        };
        let unit = epoch_unit(definition.encoding_options.get("timestamp.format").map(String::as_str))?;
        let columns = fields.iter().map(|f| Column::new(Arc::clone(f), unit)).collect::<Result<_>>()?;
        Ok(Self { schema: Arc::clone(&definition.schema), columns, includes, records, rows: 0 })
    }

    /// Appends one record; `includes` has one value for each of the definition's includes, in their order.
    ///
    /// # Errors
    /// Why the record is no row, in words for a person; then nothing of it was appended.
    #[inline]
    pub(crate) fn decode(&mut self, record: &[u8], includes: &[IncludeValue<'_>]) -> Result<(), String> {
        let appended = self.append(record, includes);
        match appended {
            Ok(()) => self.rows += 1,
            Err(_) => self.columns.iter_mut().for_each(|c| c.truncate(self.rows)),
        }
        appended
    }

    fn append(&mut self, record: &[u8], includes: &[IncludeValue<'_>]) -> Result<(), String> {
        let filled = match &mut self.records {
            Records::Json(records) => records.decode(record, &mut self.columns, self.rows)?,
            Records::Csv(records) => records.decode(record, &mut self.columns)?,
        };
        for (&column, value) in self.includes.iter().zip(includes) {
            let column = &mut self.columns[column];
            match *value {
                IncludeValue::Null => column.push_null()?,
                IncludeValue::Text(text) => column.push_text(text.as_bytes())?,
                IncludeValue::Bytes(bytes) => column.push_bytes(bytes)?,
                IncludeValue::Integer(value) => column.push_integer(value)?,
                IncludeValue::Micros(micros) => column.push_micros(micros)?,
            }
        }
        if filled + self.includes.len() == self.columns.len() {
            return Ok(());
        }
        // What the record did not name is NULL.
        for column in &mut self.columns {
            if column.len() == self.rows {
                column.push_null()?;
            }
        }
        Ok(())
    }

    /// Takes the line that names a CSV file's columns; the records after it follow its order.
    ///
    /// # Errors
    /// `Invalid` if it names a column twice or lacks one.
    pub(crate) fn header(&mut self, line: &[u8]) -> Result<()> {
        match &mut self.records {
            Records::Csv(records) => records.header(line),
            Records::Json(_) => Err(Error::bug("JSON records have no header")),
        }
    }

    /// True if the first record of every file names its columns.
    pub(crate) fn has_header(&self) -> bool {
        matches!(&self.records, Records::Csv(records) if records.has_header())
    }

    /// The end of the record that `bytes` begin with, its line end included; `None` if that has not come yet.
    #[inline]
    pub(crate) fn record_end(&self, bytes: &[u8]) -> Option<usize> {
        match &self.records {
            Records::Json(_) => memchr::memchr(b'\n', bytes).map(|at| at + 1),
            Records::Csv(records) => records.record_end(bytes),
        }
    }

    /// How many line ends `record` has, its own among them.
    #[inline]
    pub(crate) fn lines(&self, record: &[u8]) -> u64 {
        match &self.records {
            Records::Json(_) => u64::from(record.last() == Some(&b'\n')),
            Records::Csv(_) => memchr::memchr_iter(b'\n', record).count() as u64,
        }
    }

    /// Rows appended since the last `finish`; connectors finish at [`headwater_types::BATCH_ROWS_MAX`] at the latest.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// The rows appended since the last call, as a batch of the definition's schema.
    ///
    /// # Errors
    /// `Bug` only.
    pub(crate) fn finish(&mut self) -> Result<RecordBatch> {
        let arrays = self.columns.iter_mut().map(Column::finish).collect::<Result<Vec<ArrayRef>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows));
        self.rows = 0;
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.schema), arrays, &options)?)
    }
}

fn epoch_unit(option: Option<&str>) -> Result<EpochUnit> {
    match option {
        None | Some("millis") => Ok(EpochUnit::Millis),
        Some("micros") => Ok(EpochUnit::Micros),
        Some("seconds") => Ok(EpochUnit::Seconds),
        Some("iso8601") => Ok(EpochUnit::Refused),
        Some(other) => Err(Error::invalid(format!("timestamp.format = '{other}' is not known"))
            .with_hint("it is 'millis', 'micros', 'seconds' or 'iso8601'")),
    }
}
