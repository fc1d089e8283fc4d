//! A block: up to 8,192 changes in columns, its encoding in the store, and its rows as bytes to search in.
//!
//! ```text
//!  0  version u8 | flags u8: 1 = the last column holds the weights | 0 u16 | rows u32 LE
//!  8  xxh3 of everything after it, seeded with the eight bytes before it, u64 LE
//! 16  length of the message u32 LE, a multiple of 8 | length of the packings u32 LE, since version 2
//! 24  packings of the columns (pack.rs)
//!  …  Arrow IPC record batch message (without the schema, which the table has once)
//!  …  Arrow IPC body, each buffer compressed with LZ4 where that pays
//! ```

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use arrow::array::{Array, ArrayRef, Int64Array, RecordBatch, RecordBatchOptions};
use arrow::buffer::Buffer;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::ipc::reader::read_record_batch;
use arrow::ipc::writer::{DictionaryTracker, IpcDataGenerator, IpcWriteContext, IpcWriteOptions};
use arrow::ipc::{CompressionType, MetadataVersion, root_as_message};
use arrow::row::Rows;
use headwater_types::{ChangeBatch, Error, Result, RowOrder, data_bytes};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::pack::Packings;

/// Of blocks with packed columns; all others have version 1.
const VERSION: u8 = 2;
const FLAG_WEIGHTS: u8 = 1;
const HEADER_BYTES: usize = 24;

/// Below this, packing and the frames of LZ4 cost more than they save.
const COMPRESSED_BYTES_MIN: usize = 2 << 10;

/// A decoded block. Blocks of sorted runs get their rows' order bytes when first searched or merged.
pub(crate) struct Block {
    changes: ChangeBatch,
    keys: OnceLock<Rows>,
    short_keys: OnceLock<Rows>,
    bytes: usize,
}

impl Block {
    pub(crate) fn new(changes: ChangeBatch) -> Block {
        let bytes = changes.bytes();
        Block { changes, keys: OnceLock::new(), short_keys: OnceLock::new(), bytes }
    }

    pub(crate) fn changes(&self) -> &ChangeBatch {
        &self.changes
    }

    pub(crate) fn len(&self) -> usize {
        self.changes.len()
    }

    /// Bytes of the columns, without the order bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes in memory.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.bytes + self.keys.get().map_or(0, Rows::size) + self.short_keys.get().map_or(0, Rows::size)
    }

    /// The rows' order bytes; `order` must be the table's, by all columns.
    pub(crate) fn keys(&self, order: &RowOrder) -> Result<&Rows> {
        self.order_bytes(&self.keys, order)
    }

    /// The rows' order bytes by the key columns alone: all that a lookup needs, and quicker to make.
    pub(crate) fn short_keys(&self, order: &RowOrder) -> Result<&Rows> {
        self.order_bytes(&self.short_keys, order)
    }

    fn order_bytes<'a>(&self, place: &'a OnceLock<Rows>, order: &RowOrder) -> Result<&'a Rows> {
        if let Some(keys) = place.get() {
            return Ok(keys);
        }
        let keys = order.rows(self.changes.rows())?;
        Ok(place.get_or_init(|| keys))
    }
}

/// Columns of a block of `schema` that has weights.
fn with_weights(schema: &SchemaRef) -> SchemaRef {
    let mut fields: Vec<Arc<Field>> = schema.fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new("weight", DataType::Int64, false)));
    Arc::new(Schema::new(fields))
}

/// Turns blocks into bytes; keeps the encoder's buffers from one block to the next.
pub(crate) struct BlockEncoder {
    plain: IpcWriteOptions,
    compressed: IpcWriteOptions,
    context: IpcWriteContext,
    weighted: Option<(SchemaRef, SchemaRef)>,
}

impl BlockEncoder {
    pub(crate) fn new() -> Result<BlockEncoder> {
        let plain = IpcWriteOptions::try_new(8, false, MetadataVersion::V5)?;
        let compressed = plain.clone().try_with_compression(Some(CompressionType::LZ4_FRAME))?;
        Ok(BlockEncoder { plain, compressed, context: IpcWriteContext::default(), weighted: None })
    }

    pub(crate) fn encode(&mut self, changes: &ChangeBatch) -> Result<Vec<u8>> {
        let (rows, flags) = match changes.weights() {
            None => (changes.rows().clone(), 0),
            Some(_) => (self.append_weights(changes)?, FLAG_WEIGHTS),
        };
        let (packings, rows, plain_bytes) = pack(rows)?;
        let options = if plain_bytes < COMPRESSED_BYTES_MIN { &self.plain } else { &self.compressed };
        let mut dictionaries = DictionaryTracker::new(true);
        let (_, encoded) = IpcDataGenerator::default().encode(&rows, &mut dictionaries, options, &mut self.context)?;
        let count = u32::try_from(rows.num_rows()).map_err(|_| Error::bug("a block of more than 2^32 rows"))?;
        let length = |bytes: usize| u32::try_from(bytes).map_err(|_| Error::bug("a block's message is too long"));
        let message = encoded.ipc_message.len().next_multiple_of(8);
        let mut bytes = Vec::with_capacity(HEADER_BYTES + packings.len() + message + encoded.arrow_data.len());
        bytes.extend_from_slice(&[if packings.is_empty() { 1 } else { VERSION }, flags, 0, 0]);
        bytes.extend_from_slice(&count.to_le_bytes());
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(&length(message)?.to_le_bytes());
        bytes.extend_from_slice(&length(packings.len())?.to_le_bytes());
        bytes.extend_from_slice(&packings);
        bytes.extend_from_slice(&encoded.ipc_message);
        bytes.resize(HEADER_BYTES + packings.len() + message, 0);
        bytes.extend_from_slice(&encoded.arrow_data);
        let sum = checksum(&bytes);
        bytes[8..16].copy_from_slice(&sum.to_le_bytes());
        Ok(bytes)
    }

    fn append_weights(&mut self, changes: &ChangeBatch) -> Result<RecordBatch> {
        let schema = changes.schema();
        let weighted = match &self.weighted {
            Some((plain, weighted)) if Arc::ptr_eq(plain, &schema) => weighted.clone(),
            _ => {
                let weighted = with_weights(&schema);
                self.weighted = Some((schema, weighted.clone()));
                weighted
            }
        };
        let mut columns: Vec<ArrayRef> = changes.rows().columns().to_vec();
        columns.push(Arc::new(Int64Array::new(changes.weights_or_ones(), None)));
        Ok(RecordBatch::try_new(weighted, columns)?)
    }
}

/// Packs the columns of a block that is large enough: the packings' bytes (none if nothing was packed), the columns, and the bytes of those that
/// stayed as they were.
fn pack(rows: RecordBatch) -> Result<(Vec<u8>, RecordBatch, usize)> {
    let bytes = data_bytes(&rows);
    if bytes < COMPRESSED_BYTES_MIN {
        return Ok((Vec::new(), rows, bytes));
    }
    let (packings, packed) = Packings::pack(&rows)?;
    let plain: Vec<usize> = (0..rows.num_columns()).filter(|&column| !packings.is_packed(column)).collect();
    if plain.len() == rows.num_columns() {
        return Ok((Vec::new(), rows, bytes));
    }
    Ok((packings.to_bytes(), packed, data_bytes(&rows.project(&plain)?)))
}

fn checksum(bytes: &[u8]) -> u64 {
    let seed = bytes[..8].iter().rev().fold(0u64, |seed, &byte| seed << 8 | u64::from(byte));
    xxh3_64_with_seed(&bytes[16..], seed)
}

/// The changes in `bytes`, of which only the columns `projection` are decoded if given.
///
/// # Errors
/// `Corrupt` if these are not the bytes that were encoded; the caller adds which block it is.
pub(crate) fn decode(schema: &SchemaRef, bytes: Vec<u8>, projection: Option<&[usize]>) -> Result<ChangeBatch> {
    check(&bytes)?;
    let has_weights = bytes[1] & FLAG_WEIGHTS != 0;
    let length = |at: usize| bytes[at..at + 4].iter().rev().fold(0, |length: usize, &byte| length << 8 | usize::from(byte));
    let (message_bytes, packings_bytes) = (length(16), length(20));
    let start = HEADER_BYTES + packings_bytes;
    if bytes.len() < start + message_bytes {
        return Err(Error::corrupt("the block is cut short"));
    }
    let whole = if has_weights { with_weights(schema) } else { schema.clone() };
    let packings = match packings_bytes {
        0 => None,
        _ => Some(Packings::from_bytes(&bytes[HEADER_BYTES..start], whole.fields().len())?),
    };
    let buffer = Buffer::from_vec(bytes);
    let message = root_as_message(&buffer[start..start + message_bytes])
        .map_err(|e| Error::corrupt(format!("the block's message is unreadable: {e}")))?;
    let header = message.header_as_record_batch().ok_or_else(|| Error::corrupt("the block's message is no record batch"))?;
    let stored = packings.as_ref().map_or_else(|| whole.clone(), |packings| packings.stored(&whole));
    let wanted: Option<Vec<usize>> = projection.map(|columns| {
        let weights = has_weights.then_some(schema.fields().len());
        columns.iter().copied().chain(weights).collect()
    });
    let body = buffer.slice(start + message_bytes);
    let rows = read_record_batch(&body, header, stored, &HashMap::new(), wanted.as_deref(), &message.version())
        .map_err(|e| Error::corrupt(format!("the block's columns are unreadable: {e}")))?;
    let count = rows.num_rows();
    let mut columns = rows.columns().to_vec();
    if let Some(packings) = packings {
        for (at, column) in columns.iter_mut().enumerate() {
            let stored_at = wanted.as_ref().map_or(at, |wanted| wanted[at]);
            *column = packings.unpack(stored_at, column, whole.field(stored_at).data_type())?;
        }
    }
    let weights = if has_weights { columns.pop() } else { None };
    let schema = match projection {
        Some(columns) => Arc::new(schema.project(columns)?),
        None => schema.clone(),
    };
    let options = RecordBatchOptions::new().with_row_count(Some(count));
    let rows = RecordBatch::try_new_with_options(schema, columns, &options)?;
    match weights {
        None => Ok(ChangeBatch::insertions(rows)),
        Some(weights) => {
            let weights =
                weights.as_any().downcast_ref::<Int64Array>().ok_or_else(|| Error::corrupt("the block's weights are no integers"))?;
            ChangeBatch::new(rows, weights.values().clone())
        }
    }
}

fn check(bytes: &[u8]) -> Result<()> {
    if bytes.len() < HEADER_BYTES {
        return Err(Error::corrupt("the block is cut short"));
    }
    if bytes[0] > VERSION {
        return Err(Error::corrupt(format!("the block has version {}, this program reads up to {VERSION}", bytes[0])));
    }
    let stored = u64::from_le_bytes([bytes[8], bytes[9], bytes[10], bytes[11], bytes[12], bytes[13], bytes[14], bytes[15]]);
    if checksum(bytes) != stored {
        return Err(Error::corrupt("the block's checksum does not match"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use arrow::array::{Decimal128Array, StringArray};

    use super::*;

    fn sample(rows: usize) -> ChangeBatch {
        let schema = Arc::new(Schema::new(vec![
            Field::new("a", DataType::Int64, true),
            Field::new("b", DataType::Utf8, true),
            Field::new("c", DataType::Decimal128(38, 2), false),
        ]));
        let ints: Int64Array = (0..rows).map(|i| (i % 3 != 0).then_some(i as i64)).collect();
        let texts: StringArray = (0..rows).map(|i| Some(format!("text {}", i % 17))).collect();
        let sums = Decimal128Array::from_iter_values((0..rows).map(|i| i as i128)).with_precision_and_scale(38, 2).unwrap();
        let rows = RecordBatch::try_new(schema, vec![Arc::new(ints), Arc::new(texts), Arc::new(sums)]).unwrap();
        let weights: Vec<i64> = (0..rows.num_rows() as i64).map(|i| i - 5).collect();
        ChangeBatch::new(rows, weights).unwrap()
    }

    #[test]
    fn blocks_come_back_with_weights_and_projected() {
        for count in [0, 1, 10, 5_000] {
            let changes = sample(count).slice(0, count);
            let bytes = BlockEncoder::new().unwrap().encode(&changes).unwrap();
            let back = decode(&changes.schema(), bytes.clone(), None).unwrap();
            assert_eq!(back.rows(), changes.rows());
            assert_eq!(back.weights(), changes.weights());
            let some = decode(&changes.schema(), bytes, Some(&[2, 0])).unwrap();
            assert_eq!(some.rows(), &changes.rows().project(&[2, 0]).unwrap());
            assert_eq!(some.weights(), changes.weights());
        }
    }

    #[test]
    fn large_blocks_are_compressed() {
        let changes = sample(5_000);
        let bytes = BlockEncoder::new().unwrap().encode(&changes).unwrap();
        assert!(bytes.len() < data_bytes(changes.rows()), "{} bytes", bytes.len());
    }

    #[test]
    fn a_flipped_bit_anywhere_is_found() {
        let changes = sample(100);
        let bytes = BlockEncoder::new().unwrap().encode(&changes).unwrap();
        for at in (0..bytes.len()).step_by(7) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 4;
            let error = decode(&changes.schema(), damaged, None).unwrap_err();
            assert_eq!(error.kind(), headwater_types::ErrorKind::Corrupt, "byte {at}");
        }
        assert!(decode(&changes.schema(), bytes[..20].to_vec(), None).is_err());
    }
}
