//! A Parquet file read by columns, from any row on, its types checked against the declared ones.

use std::fs::File;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, Int64Array, RecordBatch, RecordBatchOptions, StringArray};
use arrow::compute::{CastOptions, cast_with_options, filter_record_batch, is_not_null};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use headwater_types::{BATCH_ROWS_MAX, Error, Result};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::errors::ParquetError;

use super::listing::{cut_error, io_error};
use super::place::{Piece, Place};
use super::records::Included;
use crate::format::{JsonEncoder, type_name};
use crate::{Reject, SourceDefinition};

/// Where a declared column comes from.
enum From {
    /// The column of this index among those read.
    File(usize),
    /// It is not in the file.
    Missing,
    Included(Included),
}

/// An open Parquet file.
pub(super) struct ParquetFile {
    path: String,
    schema: SchemaRef,
    columns: Vec<From>,
    reader: ParquetRecordBatchReader,
    rows: u64,
    place: Place,
    /// Nothing is read from here on.
    upto: Option<Place>,
    is_whole: bool,
}

/// What the disk says may pass, and a file that is still being written becomes Parquet with its last bytes; what else is no Parquet stays none.
fn error(path: &str, error: ParquetError, is_whole: bool) -> Error {
    let message = format!("file '{path}' cannot be read as Parquet: {error}");
    match error {
        ParquetError::External(_) => Error::external(message),
        _ if !is_whole => Error::external(message),
        _ => Error::invalid(message).with_sqlstate("22000"),
    }
}

impl ParquetFile {
    /// Opens `path` at row `place.offset`; `includes` are those of the definition. Others may still write to a file that is not `is_whole`.
    ///
    /// # Errors
    /// `External` if the file is gone; `Invalid` if it is no Parquet file, or a column has another type, or is NOT NULL and not there.
    pub(super) fn open(
        definition: &SourceDefinition,
        includes: &[Included],
        path: &str,
        place: Place,
        upto: Option<Place>,
        is_whole: bool,
    ) -> Result<Self> {
        let file = File::open(path).map_err(|error| io_error(path, &error))?;
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|e| error(path, e, is_whole))?;
        let schema = definition.schema.clone();
        let (mut read, mut columns) = (Vec::new(), Vec::new());
        for (at, field) in schema.fields().iter().enumerate() {
            if let Some(include) = definition.includes.iter().position(|i| i.column == at) {
                columns.push(From::Included(includes[include]));
                continue;
            }
            let found = builder.schema().index_of(field.name()).ok();
            check(path, field, found.map(|f| builder.schema().field(f)))?;
            columns.push(found.map_or(From::Missing, From::File));
            read.extend(found);
        }
        read.sort_unstable();
        for column in &mut columns {
            if let From::File(at) = column {
                *at = read.binary_search(at).expect("every column found is read");
            }
        }
        let metadata = builder.metadata().clone();
        let rows: u64 = metadata.file_metadata().num_rows().unsigned_abs();
        if rows < place.offset {
            let message = format!("file '{path}' has {rows} rows, and {} of it have been read: it was replaced", place.offset);
            return Err(cut_error(message, !is_whole));
        }
        let (mut group, mut skip) = (0, place.offset);
        while group < metadata.num_row_groups() && skip >= metadata.row_group(group).num_rows().unsigned_abs() {
            skip -= metadata.row_group(group).num_rows().unsigned_abs();
            group += 1;
        }
        let mask = ProjectionMask::roots(builder.parquet_schema(), read);
        let left = upto.map(|upto| usize::try_from(upto.offset.saturating_sub(place.offset)).unwrap_or(usize::MAX));
        let builder = if let Some(left) = left { builder.with_limit(left) } else { builder };
        let reader = builder
            .with_projection(mask)
            .with_row_groups((group..metadata.num_row_groups()).collect())
            .with_offset(usize::try_from(skip).unwrap_or(usize::MAX))
            .with_batch_size(BATCH_ROWS_MAX)
            .build()
            .map_err(|e| error(path, e, is_whole))?;
        Ok(Self { path: path.to_owned(), schema, columns, reader, rows, place: Place { is_end: false, ..place }, upto, is_whole })
    }

    /// The next rows; `None` at the end.
    ///
    /// # Errors
    /// `External` if they cannot be read.
    pub(super) fn next(&mut self) -> Result<Option<Piece>> {
        let Some(batch) = self.reader.next().transpose().map_err(|e| error(&self.path, e.into(), self.is_whole))? else {
            return Ok(None);
        };
        let start = self.place.offset;
        let arrays = self.schema.fields().iter().zip(&self.columns).map(|(field, from)| self.column(field, from, &batch, start));
        let arrays = arrays.collect::<Result<Vec<_>>>()?;
        self.place.offset += batch.num_rows() as u64;
        let (rows, rejects) = keep_not_null(&self.schema, arrays, batch.num_rows(), start)?;
        let place = self.upto.filter(|_| self.is_stopped()).unwrap_or(Place { is_end: self.place.offset >= self.rows, ..self.place });
        Ok(Some(Piece { rows, rejects, place }))
    }

    /// True once it stands where it is to stop.
    pub(super) fn is_stopped(&self) -> bool {
        self.upto.is_some_and(|upto| self.place.offset >= upto.offset)
    }

    fn column(&self, field: &Field, from: &From, batch: &RecordBatch, start: u64) -> Result<ArrayRef> {
        let rows = batch.num_rows();
        let array: ArrayRef = match from {
            From::File(at) => batch.column(*at).clone(),
            From::Missing => arrow::array::new_null_array(field.data_type(), rows),
            From::Included(Included::File) => Arc::new(StringArray::from_iter_values(std::iter::repeat_n(&self.path, rows))),
            From::Included(Included::Offset) => {
                Arc::new(Int64Array::from_iter_values((0..rows as u64).map(|row| (start + row).cast_signed())))
            }
        };
        if array.data_type() == field.data_type() {
            return Ok(array);
        }
        let options = CastOptions { safe: false, ..CastOptions::default() };
        cast_with_options(&array, field.data_type(), &options)
            .map_err(|e| Error::invalid(format!("file '{}', column \"{}\": {e}", self.path, field.name())).with_sqlstate("22000"))
    }
}

/// Checks that `there` can be read as `declared`.
fn check(path: &str, declared: &Field, there: Option<&Field>) -> Result<()> {
    match there {
        None if !declared.is_nullable() => {
            Err(Error::invalid(format!("file '{path}' has no column \"{}\", which is NOT NULL", declared.name())))
        }
        Some(there) if !fits(there.data_type(), declared.data_type()) => {
            let (file, ours) = (type_name(there), type_name(declared));
            Err(Error::invalid(format!("file '{path}': column \"{}\" is {file} there and declared as {ours}", declared.name())))
        }
        _ => Ok(()),
    }
}

/// True if every value of type `from` has the same value in type `to` (fractions of a microsecond aside).
fn fits(from: &DataType, to: &DataType) -> bool {
    use DataType as T;
    match (from, to) {
        (from, to) if from == to => true,
        (T::Dictionary(_, value), to) => fits(value, to),
        (T::Int8 | T::UInt8, T::Int16 | T::Int32 | T::Int64) => true,
        (T::Int16 | T::UInt16, T::Int32 | T::Int64) | (T::Int32 | T::UInt32, T::Int64) => true,
        (T::Float32 | T::Int8 | T::Int16 | T::Int32, T::Float64) | (T::Int8 | T::Int16, T::Float32) => true,
        (T::Utf8 | T::LargeUtf8 | T::Utf8View, T::Utf8) => true,
        (T::Binary | T::LargeBinary | T::BinaryView | T::FixedSizeBinary(_), T::Binary) => true,
        (T::Decimal32(p, s) | T::Decimal64(p, s) | T::Decimal128(p, s), T::Decimal128(precision, scale)) => {
            s <= scale && i16::from(*p) - i16::from(*s) <= i16::from(*precision) - i16::from(*scale)
        }
        (T::Timestamp(_, zone), T::Timestamp(_, ours)) => zone.is_some() == ours.is_some(),
        (T::Time32(_) | T::Time64(_), T::Time64(_)) | (T::Date64, T::Date32) => true,
        (T::List(from) | T::LargeList(from), T::List(to)) => fits(from.data_type(), to.data_type()),
        _ => false,
    }
}

/// The rows without NULL in NOT NULL columns; the others are rejected as JSON. The first row is number `start` of the file.
fn keep_not_null(schema: &SchemaRef, arrays: Vec<ArrayRef>, rows: usize, start: u64) -> Result<(RecordBatch, Vec<Reject>)> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    let required = |at: &usize| !schema.field(*at).is_nullable() && arrays[*at].null_count() > 0;
    let broken: Vec<usize> = (0..arrays.len()).filter(required).collect();
    if broken.is_empty() {
        return Ok((RecordBatch::try_new_with_options(schema.clone(), arrays, &options)?, Vec::new()));
    }
    let mut keep = BooleanArray::from(vec![true; rows]);
    for at in &broken {
        keep = arrow::compute::and(&keep, &is_not_null(&arrays[*at])?)?;
    }
    let fields: Vec<Field> = schema.fields().iter().map(|f| f.as_ref().clone().with_nullable(true)).collect();
    let all = RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)?;
    let columns: Vec<usize> = (0..all.num_columns()).collect();
    let encoder = JsonEncoder::new(&all.schema(), &columns)?;
    let json = encoder.rows(&all)?;
    let reject = |row: usize| {
        let mut payload = Vec::new();
        json.write(row, &mut payload);
        let at = broken.iter().find(|at| all.column(**at).is_null(row)).copied().unwrap_or_default();
        Reject {
            position: format!("row {}", start + row as u64),
            reason: format!("column \"{}\" is NOT NULL", schema.field(at).name()),
            payload,
        }
    };
    let rejects = (0..rows).filter(|row| !keep.value(*row)).map(reject).collect();
    let kept = filter_record_batch(&all, &keep)?;
    let options = RecordBatchOptions::new().with_row_count(Some(kept.num_rows()));
    Ok((RecordBatch::try_new_with_options(schema.clone(), kept.columns().to_vec(), &options)?, rejects))
}
