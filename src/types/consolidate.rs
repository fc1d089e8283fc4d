//! The algebra's one step: sort changes, add the weights of equal rows, drop what comes to nothing.

use arrow::array::UInt32Array;
use arrow::datatypes::SchemaRef;
use arrow::row::Rows;

use crate::{ChangeBatch, Result, RowOrder, order_prefix};

/// The net change of `batches`: sorted by `order` (which must cover every column), each row once, no weight zero.
///
/// # Errors
/// The batches have different schemas.
pub fn consolidate(schema: &SchemaRef, order: &RowOrder, batches: &[ChangeBatch]) -> Result<ChangeBatch> {
    let all = ChangeBatch::concat(schema, batches)?;
    if all.is_empty() {
        return Ok(all);
    }
    let rows = order.rows(all.rows())?;
    let sorted = sort_indices(&rows);
    let (mut kept, mut weights) = (Vec::with_capacity(all.len()), Vec::with_capacity(all.len()));
    let mut at = 0;
    while at < sorted.len() {
        let first = sorted[at] as usize;
        let mut weight = 0;
        while at < sorted.len() && rows.row(sorted[at] as usize) == rows.row(first) {
            weight += all.weight(sorted[at] as usize);
            at += 1;
        }
        if weight != 0 {
            kept.push(sorted[at - 1]);
            weights.push(weight);
        }
    }
    let taken = ChangeBatch::insertions(all.rows().clone()).take(&UInt32Array::from(kept))?;
    ChangeBatch::new(taken.rows().clone(), weights)
}

fn sort_indices(rows: &Rows) -> Vec<u32> {
    let count = u32::try_from(rows.num_rows()).expect("a batch has fewer than 2^32 rows");
    if (1..rows.num_rows()).all(|i| rows.row(i - 1) <= rows.row(i)) {
        return (0..count).collect();
    }
    // Most comparisons end within the first bytes, which as numbers beside the index need no look at the rows.
    let mut indices: Vec<(u128, u32)> = (0..count).map(|i| (order_prefix(rows.row(i as usize).data()), i)).collect();
    indices.sort_unstable_by(|(a_prefix, a), (b_prefix, b)| {
        a_prefix.cmp(b_prefix).then_with(|| rows.row(*a as usize).cmp(&rows.row(*b as usize)))
    });
    indices.into_iter().map(|(_, index)| index).collect()
}

/// True if a consolidated batch that should be a relation holds a row fewer than zero times: a bug upstream.
#[must_use]
pub fn multiplicities_negative(relation: &ChangeBatch) -> bool {
    relation.weights().is_some_and(|w| w.iter().any(|&w| w < 0))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, RecordBatch};
    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;

    #[test]
    fn equal_rows_add_up_and_zero_goes() {
        let schema = Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, true)]));
        let batch = |values: Vec<Option<i64>>, weights: Vec<i64>| {
            let rows = RecordBatch::try_new(schema.clone(), vec![Arc::new(Int64Array::from(values))]).expect("one column");
            ChangeBatch::new(rows, weights).expect("as many weights")
        };
        let order = RowOrder::new(&schema, &[0]).expect("integers have an order");
        let net = consolidate(
            &schema,
            &order,
            &[batch(vec![Some(3), None, Some(1)], vec![1, 2, 1]), batch(vec![Some(3), Some(1), Some(2)], vec![-1, 1, -4])],
        )
        .expect("same schema");
        assert_eq!(net.rows().column(0).as_ref(), &Int64Array::from(vec![None, Some(1), Some(2)]));
        assert_eq!(net.weights(), Some(&[2, 2, -4][..]));
        assert!(multiplicities_negative(&net));
    }
}
