//! Writing one delivery as files of a limited size, all of them complete on disk before any of them has its name.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use arrow::array::{RecordBatch, UInt32Array};
use arrow::datatypes::SchemaRef;
use headwater_types::{ChangeBatch, Error, Result};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

use super::names::FileName;
use crate::Mark;
use crate::format::JsonEncoder;

/// What the files are in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Json,
    Parquet,
}

impl Kind {
    pub(super) fn extension(self) -> &'static str {
        match self {
            Kind::Json => "json",
            Kind::Parquet => "parquet",
        }
    }
}

/// How and where files are written.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub directory: PathBuf,
    pub prefix: String,
    pub kind: Kind,
    pub schema: SchemaRef,
    /// A file that has reached this size is the last but one.
    pub bytes_max: u64,
}

/// An open file of either kind.
enum Part {
    Json(BufWriter<File>, u64),
    Parquet(Box<ArrowWriter<File>>),
}

pub(super) fn failed(path: &Path, error: impl std::fmt::Display) -> Error {
    Error::external(format!("file '{}': {error}", path.display()))
}

impl Target {
    /// Writes `changes` under temporary names; on an error nothing is left of it.
    ///
    /// # Errors
    /// `External` if the disk fails or is full; `Unsupported` if a row is deleted.
    pub(super) fn write(&self, changes: &[ChangeBatch], name: &FileName) -> Result<u32> {
        let mut written = 0;
        let parts = self.write_parts(changes, name, &mut written);
        if parts.is_err() {
            for part in 1..=written {
                // The error that is on its way says more than one about cleaning up after it.
                let _leftover = std::fs::remove_file(self.directory.join(counting(name, part).temporary()));
            }
        }
        parts
    }

    fn write_parts(&self, changes: &[ChangeBatch], name: &FileName, written: &mut u32) -> Result<u32> {
        let columns: Vec<usize> = (0..self.schema.fields().len()).collect();
        let encoder = if self.kind == Kind::Json { Some(JsonEncoder::new(&self.schema, &columns)?) } else { None };
        let mut open: Option<(PathBuf, Part)> = None;
        for batch in changes {
            let rows = inserted(batch)?;
            if rows.num_rows() == 0 {
                continue;
            }
            let (path, mut part) = match open.take() {
                Some(open) => open,
                None => {
                    *written += 1;
                    let path = self.directory.join(counting(name, *written).temporary());
                    let file = File::create(&path).map_err(|error| failed(&path, error))?;
                    let part = self.part(file).map_err(|error| failed(&path, error))?;
                    (path, part)
                }
            };
            let size = part.append(&rows, encoder.as_ref()).map_err(|error| failed(&path, error))?;
            if size < self.bytes_max {
                open = Some((path, part));
            } else {
                part.sync().map_err(|error| failed(&path, error))?;
            }
        }
        if let Some((path, part)) = open {
            part.sync().map_err(|error| failed(&path, error))?;
        }
        Ok(*written)
    }

    fn part(&self, file: File) -> Result<Part> {
        Ok(match self.kind {
            Kind::Json => Part::Json(BufWriter::with_capacity(1 << 20, file), 0),
            Kind::Parquet => {
                let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
                let writer = ArrowWriter::try_new(file, self.schema.clone(), Some(properties));
                Part::Parquet(Box::new(writer.map_err(|error| Error::external(error.to_string()))?))
            }
        })
    }
}

/// `name` while it is not known how many parts there will be.
pub(super) fn counting(name: &FileName, part: u32) -> FileName {
    FileName { part, parts: 0, ..name.clone() }
}

/// The rows that `batch` inserts, each as often as its weight says.
fn inserted(batch: &ChangeBatch) -> Result<RecordBatch> {
    let Some(weights) = batch.weights() else { return Ok(batch.rows().clone()) };
    if weights.iter().any(|w| *w < 0) {
        let error = Error::unsupported("a file sink cannot take a row back, and the view deletes or changes rows");
        return Err(error.with_hint("use EMIT ON WINDOW CLOSE, or a sink that upserts"));
    }
    let indices: Vec<u32> = (0u32..).zip(weights).flat_map(|(row, weight)| (0..*weight).map(move |_| row)).collect();
    let taken = ChangeBatch::insertions(batch.rows().clone()).take(&UInt32Array::from(indices))?;
    Ok(taken.rows().clone())
}

impl Part {
    /// Appends rows; gives the size of the file so far, about.
    fn append(&mut self, rows: &RecordBatch, encoder: Option<&JsonEncoder>) -> Result<u64> {
        match self {
            Part::Json(file, bytes) => {
                let encoder = encoder.ok_or_else(|| Error::bug("JSON files have an encoder"))?;
                let json = encoder.rows(rows)?;
                let mut lines = Vec::new();
                for row in 0..rows.num_rows() {
                    json.write(row, &mut lines);
                    lines.push(b'\n');
                }
                file.write_all(&lines)?;
                *bytes += lines.len() as u64;
                Ok(*bytes)
            }
            Part::Parquet(writer) => {
                writer.write(rows).map_err(|error| Error::external(error.to_string()))?;
                Ok((writer.bytes_written() + writer.in_progress_size()) as u64)
            }
        }
    }

    /// Ends the file and has it on disk.
    fn sync(self) -> Result<()> {
        let file = match self {
            Part::Json(file, _) => file.into_inner().map_err(|error| Error::external(error.to_string()))?,
            Part::Parquet(writer) => writer.into_inner().map_err(|error| Error::external(error.to_string()))?,
        };
        Ok(file.sync_all()?)
    }
}

/// Replaces the file at `path` by one that holds `mark`.
pub(super) fn write_mark(path: &Path, mark: &Mark) -> Result<()> {
    let temporary = path.with_extension("mark.tmp");
    let bytes = serde_json::to_vec(mark).map_err(|error| Error::bug(error.to_string()))?;
    let write = || {
        let mut file = File::create(&temporary)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    };
    write().map_err(|error| failed(path, error))
}
