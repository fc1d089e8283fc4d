//! The aggregate against the batch engine: every function over every type that it takes, the same values to the last digit.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array, Int16Array, Int32Array, Int64Array, RecordBatch,
    StringArray, TimestampMicrosecondArray,
};
use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::execution::FunctionRegistry;
use datafusion::physical_expr::aggregate::AggregateExprBuilder;
use datafusion::physical_expr::expressions::{cast, col, lit};
use datafusion::physical_expr::{PhysicalExpr, PhysicalSortExpr};
use datafusion::prelude::{SessionConfig, SessionContext};
use headwater_types::ChangeBatch;
use proptest::prelude::*;

use super::{Aggregate, AggregateCall};
use crate::register;
use crate::testing::{Bench, View, add};

const NUMBERS: [&str; 6] = ["small", "int", "big", "decimal", "real", "double"];
const ALL: [&str; 9] = ["small", "int", "big", "decimal", "real", "double", "text", "day", "at"];

fn schema() -> SchemaRef {
    let field = |name: &str, data_type| Field::new(name, data_type, true);
    Arc::new(Schema::new(vec![
        field("key", DataType::Int32),
        field("small", DataType::Int16),
        field("int", DataType::Int32),
        field("big", DataType::Int64),
        field("decimal", DataType::Decimal128(12, 3)),
        field("real", DataType::Float32),
        field("double", DataType::Float64),
        field("text", DataType::Utf8),
        field("flag", DataType::Boolean),
        field("day", DataType::Date32),
        field("at", DataType::Timestamp(TimeUnit::Microsecond, None)),
    ]))
}

/// One row from a key and two numbers, either of which may be missing.
type Row = (i32, Option<i16>, Option<f64>);

fn batch(rows: &[Row]) -> RecordBatch {
    let wide = |row: &Row| row.1.map(|v| i64::from(v) << 47);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|r| Some(r.0)).collect::<Int32Array>()),
        Arc::new(rows.iter().map(|r| r.1).collect::<Int16Array>()),
        Arc::new(rows.iter().map(|r| r.1.map(|v| i32::from(v) << 15)).collect::<Int32Array>()),
        Arc::new(rows.iter().map(wide).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|r| r.1.map(i128::from)).collect::<Decimal128Array>().with_precision_and_scale(12, 3).unwrap()),
        Arc::new(rows.iter().map(|r| r.2.map(|v| v as f32)).collect::<Float32Array>()),
        Arc::new(rows.iter().map(|r| r.2).collect::<Float64Array>()),
        Arc::new(rows.iter().map(|r| r.1.map(|v| v.to_string())).collect::<StringArray>()),
        Arc::new(rows.iter().map(|r| r.1.map(|v| v % 3 != 0)).collect::<BooleanArray>()),
        Arc::new(rows.iter().map(|r| r.1.map(i32::from)).collect::<Date32Array>()),
        Arc::new(rows.iter().map(wide).map(|v| v.map(|v| v >> 20)).collect::<TimestampMicrosecondArray>()),
    ];
    RecordBatch::try_new(schema(), columns).unwrap()
}

/// Function, arguments, DISTINCT; only over insertions.
type Call = (&'static str, Vec<&'static str>, bool, bool);

fn calls() -> Vec<Call> {
    let mut calls = Vec::new();
    for function in ["sum", "avg"] {
        calls.extend(NUMBERS.iter().map(|&arg| (function, vec![arg], false, false)));
        calls.extend(["int", "decimal", "double"].map(|arg| (function, vec![arg], true, false)));
    }
    for function in ["min", "max", "count"] {
        calls.extend(ALL.iter().map(|&arg| (function, vec![arg], false, false)));
    }
    calls.extend(ALL.iter().map(|&arg| ("count", vec![arg], true, false)));
    for function in ["bit_and", "bit_or", "bit_xor"] {
        calls.extend(["small", "int", "big"].map(|arg| (function, vec![arg], false, false)));
    }
    calls.extend(["bool_and", "bool_or"].map(|function| (function, vec!["flag"], false, false)));
    calls.extend(["var", "var_pop", "stddev", "stddev_pop"].map(|function| (function, vec!["double"], false, false)));
    calls.extend(["covar_samp", "covar_pop", "corr"].map(|function| (function, vec!["double", "double"], false, false)));
    let regressions =
        ["regr_slope", "regr_intercept", "regr_count", "regr_r2", "regr_avgx", "regr_avgy", "regr_sxx", "regr_syy", "regr_sxy"];
    calls.extend(regressions.map(|function| (function, vec!["double", "decimal"], false, false)));
    calls.extend([("median", vec!["double"], false, true), ("approx_distinct", vec!["big"], false, true)]);
    calls.extend([("percentile_cont", vec!["double", "0.3"], false, true)]);
    calls.extend(ORDERED.iter().map(|(function, args)| (*function, args.to_vec(), false, true)));
    calls
}

/// Calls that depend on the order of their rows: each has ORDER BY with all that rows are made of, so that there is one right answer.
const ORDERED: [(&str, &[&str]); 7] = [
    ("array_agg", &["int"]),
    ("array_agg", &["double"]),
    ("string_agg", &["text", "','"]),
    ("first_value", &["double"]),
    ("last_value", &["text"]),
    ("nth_value", &["small", "2"]),
    ("nth_value", &["text", "-3"]),
];
const ORDER: &str = " ORDER BY double DESC NULLS LAST, small ASC NULLS FIRST";

fn is_ordered(name: &str) -> bool {
    ORDERED.iter().any(|ordered| ordered.0 == name)
}

/// [`ORDER`] as the planner has it.
fn order() -> Vec<PhysicalSortExpr> {
    let by = |name, descending, nulls_first| PhysicalSortExpr {
        expr: col(name, &schema()).unwrap(),
        options: SortOptions { descending, nulls_first },
    };
    vec![by("double", true, false), by("small", false, true)]
}

/// A column, or a literal as SQL writes it.
fn argument(text: &str) -> Arc<dyn PhysicalExpr> {
    if let Some(word) = text.strip_prefix('\'') {
        return lit(word.trim_end_matches('\''));
    }
    match (text.parse::<i64>(), text.parse::<f64>()) {
        (Ok(whole), _) => lit(whole),
        (_, Ok(number)) => lit(number),
        _ => col(text, &schema()).unwrap(),
    }
}

fn context() -> SessionContext {
    let mut state = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(1)).state();
    register(&mut state).unwrap();
    SessionContext::new_with_state(state)
}

fn spec(calls: &[Call], append_only: bool) -> Aggregate {
    let state = context().state();
    let call = |(name, args, is_distinct, _): &Call| {
        let args: Vec<Arc<dyn PhysicalExpr>> = args.iter().map(|arg| cast_for(name, argument(arg))).collect();
        let builder = AggregateExprBuilder::new(state.udaf(name).unwrap(), args).schema(schema()).alias(*name).with_distinct(*is_distinct);
        let builder = if is_ordered(name) { builder.order_by(order()) } else { builder };
        Arc::new(builder.build().unwrap())
    };
    let calls: Vec<_> = calls.iter().map(call).collect();
    let mut fields = vec![schema().field(0).clone()];
    fields.extend(calls.iter().enumerate().map(|(n, c)| Field::new(format!("c{n}"), c.field().data_type().clone(), true)));
    let calls = calls.into_iter().map(|c| AggregateCall::new(c, None)).collect();
    Aggregate::new(schema(), vec![0], calls, Arc::new(Schema::new(fields)), append_only).unwrap()
}

/// What the planner's coercion does: regressions take doubles.
fn cast_for(name: &str, arg: Arc<dyn PhysicalExpr>) -> Arc<dyn PhysicalExpr> {
    if name.starts_with("regr_") { cast(arg, &schema(), DataType::Float64).unwrap() } else { arg }
}

fn recompute(calls: &[Call], rows: &[Row]) -> View {
    let text = |(name, args, is_distinct, _): &Call| {
        let order = if is_ordered(name) { ORDER } else { "" };
        format!("{name}({}{}{order})", if *is_distinct { "DISTINCT " } else { "" }, args.join(", "))
    };
    let sql = format!("SELECT key, {} FROM t GROUP BY key", calls.iter().map(text).collect::<Vec<_>>().join(", "));
    let context = context();
    context.register_batch("t", batch(rows)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let batches = runtime.block_on(async { context.sql(&sql).await.unwrap().collect().await.unwrap() });
    let mut view = View::new();
    batches.into_iter().for_each(|rows| add(&mut view, &ChangeBatch::insertions(rows)));
    view
}

/// Compares cell by cell, so that a failure names the call.
fn same(calls: &[Call], view: &View, expected: &View) {
    assert_eq!(view.len(), expected.len());
    for (found, expected) in view.keys().zip(expected.keys()) {
        assert_eq!(found[0], expected[0]);
        for (at, call) in calls.iter().enumerate() {
            assert_eq!(found[at + 1], expected[at + 1], "{call:?} of group {}", found[0]);
        }
    }
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let double = prop_oneof![4 => -1e3..1e3_f64, 1 => -1e200..1e200_f64, 1 => Just(0.1), 1 => Just(1e-300)];
    prop::collection::vec((0..3, prop::option::weighted(0.8, -50..50_i16), prop::option::weighted(0.8, double)), 1..25)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn insertions_give_what_the_batch_engine_gives(epochs in prop::collection::vec(rows(), 1..4)) {
        let mut bench = Bench::new(spec(&calls(), true), 1);
        let mut all = Vec::new();
        for rows in epochs {
            bench.epoch(&[(0, ChangeBatch::insertions(batch(&rows)))], &[]);
            bench.reopen();
            all.extend(rows);
        }
        same(&calls(), &bench.view, &recompute(&calls(), &all));
    }

    #[test]
    fn changes_give_what_the_batch_engine_gives(kept in rows(), passing in rows()) {
        let calls: Vec<Call> = calls().into_iter().filter(|c| !c.3).collect();
        let mut bench = Bench::new(spec(&calls, false), 1);
        bench.epoch(&[(0, ChangeBatch::insertions(batch(&passing)))], &[]);
        same(&calls, &bench.view, &recompute(&calls, &passing));
        bench.reopen();
        bench.epoch(&[(0, ChangeBatch::insertions(batch(&kept))), (0, ChangeBatch::insertions(batch(&passing)).negate())], &[]);
        same(&calls, &bench.view, &recompute(&calls, &kept));
    }
}
