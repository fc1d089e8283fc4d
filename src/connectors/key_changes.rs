//! Changes of an upsert sink by key: rows to write, and keys to delete that no row of the same delivery brings back.

use std::collections::HashSet;

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute;
use arrow::datatypes::SchemaRef;
use headwater_types::{ChangeBatch, Result, RowOrder};

/// What a delivery does to a target that has one row a key.
pub(crate) struct KeyChanges {
    /// Rows to insert, or to replace those of their keys by; each key once.
    pub(crate) upserts: RecordBatch,
    /// Rows whose keys are to be deleted; none of them is among the upserts. Each key once.
    pub(crate) deletes: RecordBatch,
}

impl KeyChanges {
    /// Splits `changes` of `schema` by the columns `key`. Of several insertions of a key the last counts.
    pub(crate) fn new(schema: &SchemaRef, key: &[usize], changes: &[ChangeBatch]) -> Result<Self> {
        let all = ChangeBatch::concat(schema, changes)?;
        let keys = RowOrder::new(schema, key)?.rows(all.rows())?;
        let mut seen = HashSet::with_capacity(all.len());
        let (mut inserted, mut deleted) = (Vec::new(), Vec::new());
        let count = u32::try_from(all.len()).expect("a delivery has fewer than 2^32 rows");
        for row in (0..count).rev().filter(|&row| all.weight(row as usize) > 0) {
            if seen.insert(keys.row(row as usize)) {
                inserted.push(row);
            }
        }
        for row in (0..count).filter(|&row| all.weight(row as usize) < 0) {
            if seen.insert(keys.row(row as usize)) {
                deleted.push(row);
            }
        }
        inserted.reverse();
        let take = |rows: Vec<u32>| compute::take_record_batch(all.rows(), &UInt32Array::from(rows));
        Ok(Self { upserts: take(inserted)?, deletes: take(deleted)? })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{AsArray, Int64Array};
    use arrow::datatypes::{DataType, Field, Int64Type, Schema};

    use super::*;

    #[test]
    fn a_key_is_deleted_only_if_nothing_replaces_it() {
        let schema = Arc::new(Schema::new(vec![Field::new("k", DataType::Int64, true), Field::new("v", DataType::Int64, true)]));
        let batch = |keys: Vec<Option<i64>>, values: Vec<i64>, weights: Vec<i64>| {
            let rows = RecordBatch::try_new(schema.clone(), vec![Arc::new(Int64Array::from(keys)), Arc::new(Int64Array::from(values))]);
            ChangeBatch::new(rows.expect("two columns"), weights).expect("as many weights")
        };
        let changes = [
            batch(vec![Some(1), Some(2), None], vec![10, 20, 30], vec![-1, -1, -1]),
            batch(vec![Some(2), Some(3), None, Some(2)], vec![21, 31, 32, 22], vec![1, 1, 1, 1]),
        ];
        let net = KeyChanges::new(&schema, &[0], &changes).expect("the schemas agree");
        let column = |rows: &RecordBatch, c: usize| rows.column(c).as_primitive::<Int64Type>().iter().collect::<Vec<_>>();
        assert_eq!(column(&net.upserts, 0), [Some(3), None, Some(2)]);
        assert_eq!(column(&net.upserts, 1), [Some(31), Some(32), Some(22)]);
        assert_eq!(column(&net.deletes, 0), [Some(1)]);
    }
}
