//! What the store knows of a table: its kind, its columns and its key, written once and compared at every open.
//!
//! ```text
//! version u8 | kind u8 | key columns u16 LE, each u16 LE | Arrow IPC stream without batches: the schema
//! ```

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Schema, SchemaRef};
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use headwater_types::{Error, Result};

use crate::keys::Meta;
use crate::{Family, Store, TableId, Writes};

const VERSION: u8 = 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TableKind {
    Trace = 1,
    Log = 2,
    Resident = 3,
}

/// Compares a table with what the store knows of it; gives the write that makes it known if it is new.
pub(crate) struct TableSchema {
    table: TableId,
    kind: TableKind,
    key: Vec<usize>,
    schema: SchemaRef,
    is_stored: bool,
}

impl TableSchema {
    pub(crate) fn open(store: &Store, table: TableId, kind: TableKind, schema: &SchemaRef, key: &[usize]) -> Result<TableSchema> {
        let stored = store.blocks().get(Family::Meta, &Meta::Schema.of_table(table))?;
        let this = TableSchema { table, kind, key: key.to_vec(), schema: schema.clone(), is_stored: stored.is_some() };
        if let Some(stored) = stored {
            this.check(&stored).map_err(|e| e.context(format!("table {} of object {}", table.number, table.object)))?;
        }
        Ok(this)
    }

    fn check(&self, stored: &[u8]) -> Result<()> {
        if kind_of(stored)? != self.kind {
            return Err(Error::corrupt(format!("it is not stored as {:?}", self.kind)));
        }
        let (key, schema) = parse(stored)?;
        if key != self.key {
            return Err(Error::corrupt(format!("it is stored in the order of columns {key:?}, not {:?}", self.key)));
        }
        let (was, is) = (schema.fields(), self.schema.fields());
        let is_same = was.len() == is.len() && was.iter().zip(is.iter()).all(|(a, b)| a.data_type().equals_datatype(b.data_type()));
        if !is_same {
            return Err(Error::corrupt(format!("it is stored with the columns {}, not {}", describe(&schema), describe(&self.schema))));
        }
        Ok(())
    }

    /// Writes the schema with the table's first flush.
    pub(crate) fn flush(&mut self, writes: &mut Writes) -> Result<()> {
        if self.is_stored {
            return Ok(());
        }
        let mut bytes = vec![VERSION, self.kind as u8];
        let columns = self.key.iter().map(|&c| u16::try_from(c)).collect::<Result<Vec<u16>, _>>();
        let columns = columns.map_err(|_| Error::limit("a table has more than 65,535 columns"))?;
        bytes.extend_from_slice(&u16::try_from(columns.len()).unwrap_or(u16::MAX).to_le_bytes());
        columns.iter().for_each(|c| bytes.extend_from_slice(&c.to_le_bytes()));
        StreamWriter::try_new(&mut bytes, &self.schema)?.finish()?;
        writes.put(Family::Meta, Meta::Schema.of_table(self.table), bytes);
        self.is_stored = true;
        Ok(())
    }
}

/// `rows` under the table's schema: names and metadata may differ, types may not.
pub(crate) fn conform(schema: &SchemaRef, rows: &RecordBatch) -> Result<RecordBatch> {
    let (columns, fields) = (rows.columns(), schema.fields());
    if columns.len() != fields.len() || columns.iter().zip(fields).any(|(c, f)| c.data_type() != f.data_type()) {
        return Err(Error::bug(format!("rows of {} in a table of {}", describe(&rows.schema()), describe(schema))));
    }
    if Arc::ptr_eq(&rows.schema(), schema) {
        return Ok(rows.clone());
    }
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    Ok(RecordBatch::try_new_with_options(schema.clone(), columns.to_vec(), &options)?)
}

/// The kind in a stored schema.
pub(crate) fn kind_of(stored: &[u8]) -> Result<TableKind> {
    match stored {
        [version, ..] if *version > VERSION => Err(Error::corrupt(format!("its schema has version {version}, newer than this program"))),
        [_, 1, ..] => Ok(TableKind::Trace),
        [_, 2, ..] => Ok(TableKind::Log),
        [_, 3, ..] => Ok(TableKind::Resident),
        _ => Err(Error::corrupt("its schema is unreadable")),
    }
}

fn parse(stored: &[u8]) -> Result<(Vec<usize>, SchemaRef)> {
    let cut_short = || Error::corrupt("its schema is cut short");
    let count = stored.get(2..4).ok_or_else(cut_short)?;
    let stream = 4 + 2 * usize::from(u16::from_le_bytes([count[0], count[1]]));
    let key = stored.get(4..stream).ok_or_else(cut_short)?;
    let key = key.chunks_exact(2).map(|c| usize::from(u16::from_le_bytes([c[0], c[1]]))).collect();
    let reader = StreamReader::try_new(&stored[stream..], None).map_err(|e| Error::corrupt(format!("its schema is unreadable: {e}")))?;
    Ok((key, reader.schema()))
}

fn describe(schema: &Arc<Schema>) -> String {
    let columns: Vec<String> = schema.fields().iter().map(|f| format!("{} {}", f.name(), f.data_type())).collect();
    format!("({})", columns.join(", "))
}
