//! Join: pairs of rows with equal keys, over changes on both sides.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch, UInt32Array};
use arrow::buffer::NullBuffer;
use arrow::datatypes::SchemaRef;
use datafusion::physical_expr::PhysicalExpr;
use headwater_state::{Trace, Writes};
use headwater_types::{BATCH_ROWS_MAX, ChangeBatch, Epoch, Error, Result, RowOrder, Watermarks, consolidate};

use crate::expressions::{evaluate_rows, to_array};
use crate::filter::keep_true;
use crate::{Finished, Operator, OperatorSpec, Output, StatePlace, Step};

/// Inner join. Input 0 is the left side, 1 the right. Output: the left columns, then the right ones. NULL keys match nothing.
#[derive(Debug, Clone)]
pub struct Join {
    left: SchemaRef,
    right: SchemaRef,
    on: Vec<(usize, usize)>,
    residual: Option<Arc<dyn PhysicalExpr>>,
    schema: SchemaRef,
}

impl Join {
    /// Rows with equal `on` columns (left index, right index; of the same type, at least one pair) that also meet `residual`, a condition over the
    /// output `schema`: left columns, then right columns.
    ///
    /// # Errors
    /// `Unsupported`: no pair of key columns. `Bug`: key columns of different types, or another number of output columns.
    pub fn new(
        left: SchemaRef,
        right: SchemaRef,
        on: Vec<(usize, usize)>,
        residual: Option<Arc<dyn PhysicalExpr>>,
        schema: SchemaRef,
    ) -> Result<Self> {
        if on.is_empty() {
            return Err(Error::unsupported("a join without an equality between both sides is not supported in a view"));
        }
        if schema.fields().len() != left.fields().len() + right.fields().len() {
            return Err(Error::bug("a join's output has the columns of both sides"));
        }
        for &(l, r) in &on {
            if left.field(l).data_type() != right.field(r).data_type() {
                return Err(Error::bug(format!("join keys of different types: {} and {}", left.field(l), right.field(r))));
            }
        }
        Ok(Self { left, right, on, residual, schema })
    }

    /// The output columns that carry a watermark, given those of both sides: key columns that carry one on both.
    #[must_use]
    pub fn watermarked(&self, left: &[usize], right: &[usize]) -> Vec<usize> {
        let both = self.on.iter().filter(|(l, r)| left.contains(l) && right.contains(r));
        both.flat_map(|&(l, r)| [l, self.left.fields().len() + r]).collect()
    }

    /// A key of the output, given one of each side: both together; one side's alone where the other side's key is within the join columns.
    #[must_use]
    pub fn key(&self, left: Option<&[usize]>, right: Option<&[usize]>) -> Option<Vec<usize>> {
        let (left, right) = (left?, right?);
        let shifted = || right.iter().map(|r| r + self.left.fields().len());
        if right.iter().all(|r| self.on.iter().any(|on| on.1 == *r)) {
            return Some(left.to_vec());
        }
        if left.iter().all(|l| self.on.iter().any(|on| on.0 == *l)) {
            return Some(shifted().collect());
        }
        Some(left.iter().copied().chain(shifted()).collect())
    }
}

impl OperatorSpec for Join {
    fn name(&self) -> &'static str {
        "Join"
    }

    fn describe(&self) -> String {
        let pair = |&(l, r): &(usize, usize)| format!("{} = {}", self.left.field(l).name(), self.right.field(r).name());
        let on = self.on.iter().map(pair).collect::<Vec<_>>().join(" AND ");
        self.residual.as_ref().map_or_else(|| on.clone(), |residual| format!("{on} AND {residual}"))
    }

    fn fingerprint(&self) -> String {
        format!("{:?} {} {}", self.on, crate::operator::types_of(&self.left), crate::operator::types_of(&self.right))
    }

    fn open(&self, place: &mut StatePlace) -> Result<Box<dyn Operator>> {
        let (left_keys, right_keys) = self.on.iter().copied().unzip();
        let left = Side::open(&self.left, left_keys, place)?;
        let right = Side::open(&self.right, right_keys, place)?;
        Ok(Box::new(Joined { spec: self.clone(), sides: [left, right] }))
    }
}

/// One side of a join: its rows by key, and its changes of this epoch.
struct Side {
    schema: SchemaRef,
    keys: Vec<usize>,
    order: RowOrder,
    trace: Trace,
    pending: Vec<ChangeBatch>,
}

impl Side {
    fn open(schema: &SchemaRef, keys: Vec<usize>, place: &mut StatePlace) -> Result<Self> {
        let table = place.next_table();
        let trace = Trace::open(place.store(), table, schema.clone(), &keys)?;
        let order = RowOrder::new(schema, &(0..schema.fields().len()).collect::<Vec<_>>())?;
        Ok(Self { schema: schema.clone(), keys, order, trace, pending: Vec::new() })
    }

    fn key_columns(&self, rows: &RecordBatch) -> Vec<ArrayRef> {
        self.keys.iter().map(|&k| rows.column(k).clone()).collect()
    }

    /// Rows whose key has a NULL equal nothing, ever: they are not kept.
    fn push(&mut self, batch: ChangeBatch) -> Result<()> {
        let nulls = self.keys.iter().fold(None, |all, &k| NullBuffer::union(all.as_ref(), batch.rows().column(k).logical_nulls().as_ref()));
        let batch = match nulls.filter(|n| n.null_count() > 0) {
            Some(nulls) => batch.filter(&BooleanArray::new(nulls.into_inner(), None))?,
            None => batch,
        };
        if !batch.is_empty() {
            self.pending.push(batch);
        }
        Ok(())
    }

    fn take_changes(&mut self) -> Result<ChangeBatch> {
        consolidate(&self.schema, &self.order, &std::mem::take(&mut self.pending))
    }
}

/// The open operator. Changes wait until the end of the epoch, so that each side meets the other's consolidated ones.
struct Joined {
    spec: Join,
    sides: [Side; 2],
}

impl Joined {
    /// Hands on the pairs of `changes` of side `from` with the rows that the other side's trace holds now.
    fn meet(&self, changes: &ChangeBatch, from: usize, out: &mut Output) -> Result<()> {
        let other = &self.sides[1 - from];
        for piece in changes.chunks() {
            let matches = other.trace.lookup(&self.sides[from].key_columns(piece.rows()))?;
            for start in (0..matches.probe.len()).step_by(BATCH_ROWS_MAX) {
                let length = BATCH_ROWS_MAX.min(matches.probe.len() - start);
                let probe = &matches.probe[start..start + length];
                self.pair(&piece, probe, &matches.rows.slice(start, length), from, out)?;
            }
        }
        Ok(())
    }

    /// Row i of the pairs is row `probe[i]` of `mine` beside row i of `theirs`, with the product of their weights.
    fn pair(&self, mine: &ChangeBatch, probe: &[u32], theirs: &ChangeBatch, from: usize, out: &mut Output) -> Result<()> {
        let weights: Vec<i64> = probe.iter().enumerate().map(|(row, &at)| mine.weight(at as usize) * theirs.weight(row)).collect();
        let mine = mine.take(&UInt32Array::from(probe.to_vec()))?;
        let (left, right) = if from == 0 { (mine.rows(), theirs.rows()) } else { (theirs.rows(), mine.rows()) };
        let columns = left.columns().iter().chain(right.columns()).cloned().collect();
        let pairs = ChangeBatch::new(RecordBatch::try_new(self.spec.schema.clone(), columns)?, weights)?;
        let Some(residual) = &self.spec.residual else {
            out.push(pairs);
            return Ok(());
        };
        for (good, keep) in evaluate_rows(&pairs, |rows| to_array(residual, rows), out)? {
            out.push(keep_true(&good, keep.as_boolean())?);
        }
        Ok(())
    }
}

impl Operator for Joined {
    fn push(&mut self, input: usize, batch: ChangeBatch, _out: &mut Output) -> Result<()> {
        self.sides[input].push(batch)
    }

    fn finish(&mut self, step: &Step, out: &mut Output) -> Result<Finished> {
        // (A + dA) x (B + dB) - A x B = dA x B + (A + dA) x dB, so A must have taken dA in before dB meets it.
        let left = self.sides[0].take_changes()?;
        self.meet(&left, 0, out)?;
        self.sides[0].trace.insert(left)?;
        let right = self.sides[1].take_changes()?;
        self.meet(&right, 1, out)?;
        self.sides[1].trace.insert(right)?;
        let mut watermarks = Watermarks::none();
        for &(l, r) in &self.spec.on {
            let sides = (step.watermarks.first().and_then(|w| w.get(l)), step.watermarks.get(1).and_then(|w| w.get(r)));
            if let (Some(left), Some(right)) = sides {
                watermarks.set(l, Some(left.min(right)));
                watermarks.set(self.spec.left.fields().len() + r, Some(left.min(right)));
            }
        }
        Ok(Finished { watermarks, due: None })
    }

    fn flush(&mut self, epoch: Epoch, writes: &mut Writes) -> Result<()> {
        self.sides.iter_mut().try_for_each(|side| side.trace.flush(epoch, writes))
    }

    fn state_bytes(&self) -> usize {
        self.sides.iter().map(|side| side.trace.bytes()).sum()
    }

    fn state_rows(&self) -> u64 {
        self.sides.iter().map(|side| side.trace.rows()).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use arrow::array::{Int64Array, StringArray};
    use arrow::datatypes::{DataType, Field, Schema};
    use datafusion::logical_expr::Operator as Symbol;
    use datafusion::physical_expr::expressions::{binary, col};
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{Bench, View, add};

    type Row = (Option<i64>, i64);

    fn side(name: &str) -> SchemaRef {
        let field = |kind: &str, data_type| Field::new(format!("{name}_{kind}"), data_type, true);
        Arc::new(Schema::new(vec![field("text", DataType::Utf8), field("key", DataType::Int64), field("value", DataType::Int64)]))
    }

    fn batch(name: &str, rows: &[(Row, i64)]) -> ChangeBatch {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(rows.iter().map(|r| Some(format!("{name}{}", r.0.1))).collect::<StringArray>()),
            Arc::new(rows.iter().map(|r| r.0.0).collect::<Int64Array>()),
            Arc::new(rows.iter().map(|r| Some(r.0.1)).collect::<Int64Array>()),
        ];
        ChangeBatch::new(RecordBatch::try_new(side(name), columns).unwrap(), rows.iter().map(|r| r.1).collect::<Vec<_>>()).unwrap()
    }

    fn output() -> SchemaRef {
        Arc::new(Schema::new(side("l").fields().iter().chain(side("r").fields()).cloned().collect::<Vec<_>>()))
    }

    fn spec(has_residual: bool) -> Join {
        let less = || binary(col("l_value", &output()).unwrap(), Symbol::LtEq, col("r_value", &output()).unwrap(), &output()).unwrap();
        Join::new(side("l"), side("r"), vec![(1, 1)], has_residual.then(less), output()).unwrap()
    }

    fn recompute(left: &BTreeMap<Row, i64>, right: &BTreeMap<Row, i64>, has_residual: bool) -> View {
        let mut view = View::new();
        for (l, l_weight) in left {
            for (r, r_weight) in right {
                if l.0.is_some() && l.0 == r.0 && (!has_residual || l.1 <= r.1) {
                    let (l, r) = (batch("l", &[(*l, 1)]), batch("r", &[(*r, 1)]));
                    let columns = l.rows().columns().iter().chain(r.rows().columns()).cloned().collect();
                    let pair = RecordBatch::try_new(output(), columns).unwrap();
                    add(&mut view, &ChangeBatch::new(pair, vec![l_weight * r_weight]).unwrap());
                }
            }
        }
        view
    }

    fn rows() -> impl Strategy<Value = Vec<(Row, bool)>> {
        prop::collection::vec(((prop::option::weighted(0.9, 0..4_i64), 0..4_i64), prop::bool::weighted(0.3)), 0..10)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn pairs_follow_changes_on_both_sides(epochs in prop::collection::vec((rows(), rows(), any::<bool>()), 1..6), has_residual in any::<bool>()) {
            let mut bench = Bench::new(spec(has_residual), 2);
            let mut sides = [BTreeMap::<Row, i64>::new(), BTreeMap::new()];
            for (left, right, restart) in epochs {
                let mut input = Vec::new();
                for (number, (name, rows)) in [("l", left), ("r", right)].into_iter().enumerate() {
                    for (row, is_deletion) in rows {
                        let weight = sides[number].entry(row).or_insert(0);
                        let change = if is_deletion && *weight > 0 { -1 } else { 1 };
                        *weight += change;
                        input.push((number, batch(name, &[(row, change)])));
                    }
                    sides[number].retain(|_, w| *w != 0);
                }
                bench.epoch(&input, &[]);
                prop_assert_eq!(&bench.view, &recompute(&sides[0], &sides[1], has_residual));
                if restart {
                    bench.reopen();
                }
            }
        }
    }

    #[test]
    fn many_pairs_come_in_batches() {
        let rows: Vec<(Row, i64)> = (0..200).map(|value| ((Some(1), value), 1)).collect();
        let mut bench = Bench::new(spec(false), 2);
        bench.epoch(&[(0, batch("l", &rows)), (1, batch("r", &rows))], &[]);
        assert_eq!(bench.view.len(), 40_000);
    }

    #[test]
    fn only_key_columns_keep_a_watermark() {
        assert_eq!(spec(false).watermarked(&[1, 2], &[1]), vec![1, 4]);
        assert_eq!(spec(false).watermarked(&[1], &[2]), Vec::<usize>::new());
        let mut bench = Bench::new(spec(false), 2);
        bench.epoch(&[], &[(0, 1, 50), (0, 2, 70), (1, 1, 40)]);
        assert_eq!(
            (bench.output_watermarks.get(1), bench.output_watermarks.get(4), bench.output_watermarks.get(2)),
            (Some(40), Some(40), None)
        );
    }

    #[test]
    fn a_key_of_the_pairs_is_found() {
        assert_eq!(spec(false).key(Some(&[0]), Some(&[1])), Some(vec![0]));
        assert_eq!(spec(false).key(Some(&[1]), Some(&[0])), Some(vec![3]));
        assert_eq!(spec(false).key(Some(&[0]), Some(&[0])), Some(vec![0, 3]));
        assert_eq!(spec(false).key(None, Some(&[0])), None);
    }
}
