//! The aggregate against a recomputation of every group from all accepted rows, over random changes, epochs and restarts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, IntervalMonthDayNano, Schema, SchemaRef, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::functions_aggregate::{count::count_udaf, min_max::max_udaf, min_max::min_udaf};
use datafusion::logical_expr::{AggregateUDF, Operator as Symbol};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::AggregateExprBuilder;
use datafusion::physical_expr::expressions::{binary, col, lit};
use headwater_types::ChangeBatch;
use proptest::prelude::*;

use super::{Aggregate, AggregateCall};
use crate::testing::{Bench, View, rows_of};
use crate::{Windows, aggregate_functions};

const SIZE: i64 = 10;

/// Window number, key, text, value.
type Row = (i64, Option<i64>, Option<u8>, Option<i64>);

fn input() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("start", DataType::Timestamp(TimeUnit::Microsecond, None), true),
        Field::new("end", DataType::Timestamp(TimeUnit::Microsecond, None), true),
        Field::new("key", DataType::Int64, true),
        Field::new("text", DataType::Utf8, true),
        Field::new("value", DataType::Int64, true),
    ]))
}

fn batch(rows: &[(Row, i64)], is_weighted: bool) -> ChangeBatch {
    let times =
        |shift: i64| -> ArrayRef { Arc::new(TimestampMicrosecondArray::from_iter_values(rows.iter().map(|r| (r.0.0 + shift) * SIZE))) };
    let columns: Vec<ArrayRef> = vec![
        times(0),
        times(1),
        Arc::new(rows.iter().map(|r| r.0.1).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|r| r.0.2.map(|t| format!("t{t}"))).collect::<StringArray>()),
        Arc::new(rows.iter().map(|r| r.0.3).collect::<Int64Array>()),
    ];
    let batch = RecordBatch::try_new(input(), columns).unwrap();
    if is_weighted {
        ChangeBatch::new(batch, rows.iter().map(|r| r.1).collect::<Vec<_>>()).unwrap()
    } else {
        ChangeBatch::insertions(batch)
    }
}

fn ours(name: &str) -> Arc<AggregateUDF> {
    aggregate_functions().into_iter().find(|f| f.name() == name).unwrap()
}

fn call(
    function: Arc<AggregateUDF>,
    arg: Arc<dyn PhysicalExpr>,
    is_distinct: bool,
    filter: Option<Arc<dyn PhysicalExpr>>,
) -> AggregateCall {
    let builder = AggregateExprBuilder::new(function, vec![arg]).schema(input()).alias("result").with_distinct(is_distinct);
    AggregateCall::new(Arc::new(builder.build().unwrap()), filter)
}

fn column(name: &str) -> Arc<dyn PhysicalExpr> {
    col(name, &input()).unwrap()
}

fn is_positive() -> Arc<dyn PhysicalExpr> {
    binary(column("value"), Symbol::Gt, lit(ScalarValue::Int64(Some(0))), &input()).unwrap()
}

fn calls() -> Vec<AggregateCall> {
    vec![
        call(count_udaf(), lit(ScalarValue::Int64(Some(1))), false, None),
        call(count_udaf(), column("value"), false, None),
        call(ours("sum"), column("value"), false, None),
        call(ours("sum"), column("value"), false, Some(is_positive())),
        call(min_udaf(), column("value"), false, None),
        call(max_udaf(), column("text"), false, None),
        call(count_udaf(), column("value"), true, None),
        call(ours("sum"), column("value"), true, Some(is_positive())),
        call(max_udaf(), column("value"), false, Some(is_positive())),
    ]
}

fn result_types() -> Vec<DataType> {
    use DataType::{Decimal128, Int64, Utf8};
    vec![Int64, Int64, Decimal128(38, 0), Decimal128(38, 0), Int64, Utf8, Int64, Decimal128(38, 0), Int64]
}

/// The results of `calls` over the net `rows` of a group.
fn expected(rows: &BTreeMap<Row, i64>) -> Vec<String> {
    let text = |value: Option<i64>| value.map_or("NULL".to_string(), |v| v.to_string());
    let values: Vec<(i64, i64)> = rows.iter().filter_map(|(row, w)| Some((row.3?, *w))).collect();
    let positive: Vec<(i64, i64)> = values.iter().copied().filter(|v| v.0 > 0).collect();
    let sum = |values: &[(i64, i64)]| text((!values.is_empty()).then(|| values.iter().map(|(v, w)| v * w).sum()));
    let distinct = |values: &[(i64, i64)]| values.iter().map(|v| (v.0, 1)).collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>();
    let greatest_text = rows.keys().filter_map(|row| row.2).max().map_or("NULL".to_string(), |t| format!("t{t}"));
    vec![
        rows.values().sum::<i64>().to_string(),
        values.iter().map(|v| v.1).sum::<i64>().to_string(),
        sum(&values),
        sum(&positive),
        text(values.iter().map(|v| v.0).min()),
        greatest_text,
        distinct(&values).len().to_string(),
        sum(&distinct(&positive)),
        text(positive.iter().map(|v| v.0).max()),
    ]
}

/// How a case groups.
#[derive(Debug, Clone, Copy)]
struct Case {
    groups: &'static [usize],
    has_window: bool,
    has_end: bool,
    on_close: bool,
    append_only: bool,
}

fn spec(case: Case) -> Aggregate {
    let mut fields: Vec<Field> = case.groups.iter().map(|&g| input().field(g).clone()).collect();
    fields.extend(result_types().into_iter().enumerate().map(|(n, t)| Field::new(format!("result_{n}"), t, true)));
    let mut spec = Aggregate::new(input(), case.groups.to_vec(), calls(), Arc::new(Schema::new(fields)), case.append_only).unwrap();
    if case.has_window {
        spec = spec.with_window_key(case.groups.iter().position(|g| *g == 0).unwrap());
    }
    if case.has_end {
        let windows = Windows::tumble(IntervalMonthDayNano::new(0, 0, SIZE * 1_000), None).unwrap();
        spec = spec.with_window_end(case.groups.iter().position(|g| *g == 1).unwrap(), windows);
    }
    if case.on_close { spec.with_emit_on_close() } else { spec }
}

fn group_of(case: Case, row: &Row) -> Vec<String> {
    let text = [batch(&[(*row, 1)], false)];
    let texts = crate::testing::texts(text[0].rows()).remove(0);
    case.groups.iter().map(|&g| texts[g].clone()).collect()
}

/// What the view should be over the net accepted rows, when windows below `closed` are closed.
fn recompute(case: Case, accepted: &BTreeMap<Row, i64>, closed: i64) -> View {
    let mut groups: BTreeMap<Vec<String>, BTreeMap<Row, i64>> = BTreeMap::new();
    if case.groups.is_empty() {
        groups.insert(Vec::new(), BTreeMap::new());
    }
    for (row, weight) in accepted {
        if !case.on_close || row.0 < closed {
            groups.entry(group_of(case, row)).or_default().insert(*row, *weight);
        }
    }
    groups
        .into_iter()
        .map(|(mut group, rows)| {
            group.extend(expected(&rows));
            (group, 1)
        })
        .collect()
}

/// What one epoch brings: rows, deletions of earlier rows, how far the watermark (in windows) moves, and whether the process restarts after it.
#[derive(Debug, Clone)]
struct Turn {
    rows: Vec<Row>,
    deletions: Vec<prop::sample::Index>,
    advance: i64,
    restart: bool,
}

fn turns() -> impl Strategy<Value = Vec<Turn>> {
    let row =
        (0..6_i64, prop::option::weighted(0.8, 0..3_i64), prop::option::weighted(0.8, 0..4_u8), prop::option::weighted(0.8, -3..4_i64));
    let turn = (prop::collection::vec(row, 0..15), prop::collection::vec(any::<prop::sample::Index>(), 0..8), 0..3_i64, any::<bool>());
    let turn = turn.prop_map(|(rows, deletions, advance, restart)| Turn { rows, deletions, advance, restart });
    prop::collection::vec(turn, 1..7)
}

fn run(case: Case, turns: &[Turn]) {
    let mut bench = Bench::new(spec(case), 1);
    let mut accepted: BTreeMap<Row, i64> = BTreeMap::new();
    let (mut closed, mut late) = (0, 0);
    for turn in turns {
        let mut changes: Vec<(Row, i64)> = turn.rows.iter().map(|r| (*r, 1)).collect();
        if !case.append_only {
            // Only rows that the operator accepted can go; one of a closed window is refused then.
            let mut live: BTreeMap<Row, i64> = accepted.clone();
            for deletion in turn.deletions.iter().filter(|_| !accepted.is_empty()) {
                let row = *deletion.get(&accepted.keys().collect::<Vec<_>>());
                let left = live.entry(*row).or_insert(0);
                if *left > 0 {
                    *left -= 1;
                    changes.push((*row, -1));
                }
            }
        }
        for (row, weight) in &changes {
            if case.has_window && row.0 < closed {
                late += weight;
                continue;
            }
            *accepted.entry(*row).or_insert(0) += weight;
        }
        accepted.retain(|_, w| *w != 0);
        let (first, second) = changes.split_at(changes.len() / 2);
        let input = [first, second].map(|rows| (0, batch(rows, !case.append_only)));
        closed += turn.advance;
        bench.epoch(&input, &[(0, 0, closed * SIZE)]);
        assert_eq!(bench.view, recompute(case, &accepted, closed));
        assert_eq!(bench.late.values().sum::<i64>(), late);
        assert_eq!(bench.failed, View::new());
        if turn.restart {
            bench.reopen();
        }
    }
}

const PLAIN: Case = Case { groups: &[2], has_window: false, has_end: false, on_close: false, append_only: false };

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn groups_follow_changes(turns in turns()) {
        run(PLAIN, &turns);
        run(Case { groups: &[3, 2], ..PLAIN }, &turns);
    }

    #[test]
    fn the_global_row_follows_changes(turns in turns()) {
        run(Case { groups: &[], ..PLAIN }, &turns);
        run(Case { groups: &[], append_only: true, ..PLAIN }, &turns);
    }

    #[test]
    fn windows_follow_changes_until_they_close(turns in turns()) {
        run(Case { groups: &[2, 0], has_window: true, ..PLAIN }, &turns);
        run(Case { groups: &[0, 1, 2], has_window: true, has_end: true, ..PLAIN }, &turns);
        run(Case { groups: &[0], has_window: true, append_only: true, ..PLAIN }, &turns);
    }

    #[test]
    fn windows_are_emitted_when_they_close(turns in turns()) {
        let case = Case { groups: &[0, 2], has_window: true, on_close: true, ..PLAIN };
        run(case, &turns);
        run(Case { append_only: true, ..case }, &turns);
        run(Case { groups: &[1, 0], has_end: true, ..case }, &turns);
    }
}

fn sum_by_key(append_only: bool) -> Aggregate {
    let fields = vec![input().field(2).clone(), Field::new("sum", DataType::Decimal128(38, 0), true)];
    Aggregate::new(input(), vec![2], vec![call(ours("sum"), column("value"), false, None)], Arc::new(Schema::new(fields)), append_only)
        .unwrap()
}

#[test]
fn a_group_that_stays_the_same_is_not_emitted_again() {
    let mut bench = Bench::new(sum_by_key(false), 1);
    bench.epoch(&[(0, batch(&[((0, Some(1), None, Some(5)), 1), ((0, Some(2), None, Some(7)), 1)], true))], &[]);
    assert_eq!(bench.emitted, rows_of(&[["1", "5"], ["2", "7"]]));
    bench.epoch(&[(0, batch(&[((0, Some(1), None, Some(0)), 1), ((0, Some(2), None, Some(1)), 1)], true))], &[]);
    let mut change = rows_of(&[["2", "8"]]);
    change.insert(vec!["2".to_string(), "7".to_string()], -1);
    assert_eq!(bench.emitted, change);
}

#[test]
fn deleting_more_than_was_inserted_is_a_bug() {
    let mut bench = Bench::new(sum_by_key(false), 1);
    let error = bench.try_epoch(&[(0, batch(&[((0, Some(1), None, Some(5)), -1)], true))], &[]).unwrap_err();
    assert_eq!(error.kind(), headwater_types::ErrorKind::Bug);
}

#[test]
fn watermarks_come_out_on_the_window_columns() {
    let case = Case { groups: &[2, 1, 0], has_window: true, has_end: true, ..PLAIN };
    assert_eq!(spec(case).watermarked(), vec![2, 1]);
    assert_eq!(spec(case).key(), vec![0, 2]);
    let mut bench = Bench::new(spec(case), 1);
    bench.epoch(&[], &[(0, 0, 3 * SIZE)]);
    assert_eq!((bench.output_watermarks.get(0), bench.output_watermarks.get(1)), (None, Some(4 * SIZE)));
    assert_eq!(bench.output_watermarks.get(2), Some(3 * SIZE));
}

#[test]
fn a_row_whose_argument_fails_counts_nowhere() {
    let divided = binary(lit(ScalarValue::Int64(Some(100))), Symbol::Divide, column("value"), &input()).unwrap();
    let fields =
        vec![input().field(2).clone(), Field::new("sum", DataType::Decimal128(38, 0), true), Field::new("count", DataType::Int64, true)];
    let calls = vec![call(ours("sum"), divided.clone(), false, None), call(count_udaf(), lit(ScalarValue::Int64(Some(1))), false, None)];
    let spec = Aggregate::new(input(), vec![2], calls, Arc::new(Schema::new(fields.clone())), true).unwrap();
    let rows = batch(&[((0, Some(1), None, Some(5)), 1), ((0, Some(1), Some(3), Some(0)), 1), ((0, Some(1), None, Some(50)), 1)], false);
    let mut bench = Bench::new(spec, 1);
    bench.epoch(&[(0, rows.clone())], &[]);
    assert_eq!(bench.view, rows_of(&[["1", "22", "2"]]));
    assert_eq!(bench.failed, rows_of(&[["1970-01-01T00:00:00", "1970-01-01T00:00:00.000010", "1", "t3", "0", "division by zero"]]));
    // Behind a filter that leaves the row out, it does not fail.
    let calls =
        vec![call(ours("sum"), divided, false, Some(is_positive())), call(count_udaf(), lit(ScalarValue::Int64(Some(1))), false, None)];
    let mut bench = Bench::new(Aggregate::new(input(), vec![2], calls, Arc::new(Schema::new(fields)), true).unwrap(), 1);
    bench.epoch(&[(0, rows)], &[]);
    assert_eq!((bench.view, bench.failed), (rows_of(&[["1", "22", "3"]]), View::new()));
}

#[test]
fn a_group_out_of_range_loses_its_row_until_it_is_back() {
    let schema = Arc::new(Schema::new(vec![Field::new("value", DataType::Decimal128(38, 0), true)]));
    let rows = |values: &[i128], weight: i64| {
        let column = arrow::array::Decimal128Array::from(values.to_vec()).with_precision_and_scale(38, 0).unwrap();
        let batch = RecordBatch::try_new(schema.clone(), vec![Arc::new(column)]).unwrap();
        (0, ChangeBatch::new(batch, vec![weight; values.len()]).unwrap())
    };
    let sum = AggregateExprBuilder::new(ours("sum"), vec![col("value", &schema).unwrap()]).schema(schema.clone()).alias("sum");
    let call = AggregateCall::new(Arc::new(sum.build().unwrap()), None);
    let mut bench = Bench::new(Aggregate::new(schema.clone(), vec![], vec![call], schema.clone(), false).unwrap(), 1);
    let most = 10_i128.pow(38) - 1;
    bench.epoch(&[rows(&[most, 1], 1)], &[]);
    assert_eq!((&bench.view, &bench.failed), (&View::new(), &rows_of(&[["NULL", "sum out of range"]])));
    bench.reopen();
    bench.epoch(&[rows(&[1], 1)], &[]);
    assert_eq!((&bench.view, &bench.failed), (&View::new(), &rows_of(&[["NULL", "sum out of range"]])));
    bench.epoch(&[rows(&[1, 1], -1)], &[]);
    assert_eq!((&bench.view, &bench.failed), (&rows_of(&[[most.to_string().as_str()]]), &View::new()));
}

#[test]
fn other_aggregates_live_on_their_accumulators_over_insertions_only() {
    let function = datafusion::functions_aggregate::median::median_udaf();
    let fields = vec![input().field(2).clone(), Field::new("median", DataType::Int64, true)];
    let make = |append_only| {
        let calls = vec![call(function.clone(), column("value"), false, None)];
        Aggregate::new(input(), vec![2], calls, Arc::new(Schema::new(fields.clone())), append_only)
    };
    let refused = make(false).unwrap_err();
    assert!(refused.message().contains("median()") && refused.kind() == headwater_types::ErrorKind::Unsupported, "{refused:?}");
    let mut bench = Bench::new(make(true).unwrap(), 1);
    let row = |key, value| ((0, Some(key), None, Some(value)), 1);
    bench.epoch(&[(0, batch(&[row(1, 5), row(2, 4), row(1, 9)], false)), (0, batch(&[row(1, 1)], false))], &[]);
    assert_eq!(bench.view, rows_of(&[["1", "5"], ["2", "4"]]));
    bench.reopen();
    bench.epoch(&[(0, batch(&[row(1, 100), row(1, 101)], false))], &[]);
    assert_eq!(bench.view, rows_of(&[["1", "9"], ["2", "4"]]));
}
