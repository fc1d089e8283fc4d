//! How fast windowed aggregation is on one thread, by part. Run by hand, optimised: `cargo test --release -p headwater-operators --test speed -- --ignored --nocapture`.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "it measures and prints")]

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, IntervalMonthDayNano, Schema, SchemaRef, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::config::ConfigOptions;
use datafusion::functions_aggregate::{count::count_udaf, min_max::max_udaf};
use datafusion::logical_expr::AggregateUDF;
use datafusion::physical_expr::aggregate::AggregateExprBuilder;
use datafusion::physical_expr::expressions::{col, lit};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use headwater_operators::{
    Aggregate, AggregateCall, OperatorSpec, Output, Project, StatePlace, Step, aggregate_functions, scalar_functions,
};
use headwater_state::{MemoryStore, Store, StoreOptions, Writes};
use headwater_types::{ChangeBatch, Clock, Epoch, ObjectId, SystemClock, Watermarks};

const BATCH_ROWS: usize = 8_192;
const EPOCH_BATCHES: usize = 32;
const EPOCHS: usize = 64;
const WINDOW_MICROS: i64 = 10_000_000;
/// Rows a second of event time, so that a window takes a few million rows.
const ROWS_A_SECOND: i64 = 200_000;

fn field(name: &str, data_type: DataType) -> Field {
    Field::new(name, data_type, false)
}

fn time() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, None)
}

fn source() -> SchemaRef {
    Arc::new(Schema::new(vec![field("at", time()), field("key", DataType::Int64), field("value", DataType::Int64)]))
}

/// Event times rise with a jitter of a second, so that a batch near a boundary is in two windows.
fn batches(keys: u64) -> Vec<ChangeBatch> {
    let mut state = 42_u64;
    let mut next = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    };
    let batch = |number: usize| {
        let first = (number * BATCH_ROWS) as i64;
        let at: Vec<i64> =
            (0..BATCH_ROWS as i64).map(|row| (first + row) * 1_000_000 / ROWS_A_SECOND - (next() % 1_000_000) as i64).collect();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(TimestampMicrosecondArray::from(at)),
            Arc::new(Int64Array::from_iter_values((0..BATCH_ROWS).map(|_| (next() % keys) as i64))),
            Arc::new(Int64Array::from_iter_values((0..BATCH_ROWS).map(|_| (next() % 10_000) as i64))),
        ];
        ChangeBatch::insertions(RecordBatch::try_new(source(), columns).unwrap())
    };
    (0..EPOCHS * EPOCH_BATCHES).map(batch).collect()
}

fn window() -> Project {
    let start = scalar_functions().into_iter().find(|f| f.name() == "tumble_start").unwrap();
    let size = lit(ScalarValue::IntervalMonthDayNano(Some(IntervalMonthDayNano::new(0, 0, WINDOW_MICROS * 1_000))));
    let args = vec![col("at", &source()).unwrap(), size];
    let start = ScalarFunctionExpr::try_new(start, args, &source(), Arc::new(ConfigOptions::default())).unwrap();
    let exprs: Vec<Arc<dyn PhysicalExpr>> = vec![Arc::new(start), col("key", &source()).unwrap(), col("value", &source()).unwrap()];
    Project::new(exprs, windowed()).unwrap()
}

fn windowed() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("start", time(), true), field("key", DataType::Int64), field("value", DataType::Int64)]))
}

fn call(function: Arc<AggregateUDF>, arg: Arc<dyn PhysicalExpr>) -> AggregateCall {
    let builder = AggregateExprBuilder::new(function, vec![arg]).schema(windowed()).alias("result");
    AggregateCall::new(Arc::new(builder.build().unwrap()), None)
}

fn aggregate(on_close: bool) -> Aggregate {
    let value = || col("value", &windowed()).unwrap();
    let sum = aggregate_functions().into_iter().find(|f| f.name() == "sum").unwrap();
    let calls = vec![call(count_udaf(), lit(ScalarValue::Int64(Some(1)))), call(sum, value()), call(max_udaf(), value())];
    let result = |name: &str, data_type| Field::new(name, data_type, true);
    let schema = Schema::new(vec![
        Field::new("start", time(), true),
        field("key", DataType::Int64),
        result("count", DataType::Int64),
        result("sum", DataType::Decimal128(38, 0)),
        result("max", DataType::Int64),
    ]);
    let spec = Aggregate::new(windowed(), vec![0, 1], calls, Arc::new(schema), true).unwrap().with_window_key(0);
    if on_close { spec.with_emit_on_close() } else { spec }
}

#[test]
#[ignore = "measures"]
fn tumbling_count_sum_max_by_key() {
    let clock = SystemClock::default();
    for (keys, on_close) in [(1_000, true), (100_000, true), (1_000, false), (100_000, false)] {
        let batches = batches(keys);
        let store = Store::open(Arc::new(MemoryStore::new()), StoreOptions::default()).unwrap();
        let mut place = StatePlace::new(store.clone(), ObjectId(1));
        let (mut window, mut aggregate) = (window().open(&mut place).unwrap(), aggregate(on_close).open(&mut place).unwrap());
        let mut spent = [Duration::ZERO; 4];
        let mut watermark = Watermarks::none();
        let mut emitted = 0;
        for (number, epoch) in batches.chunks(EPOCH_BATCHES).enumerate() {
            let mut step = Step { epoch: Epoch(number as u64 + 1), now: 0, watermarks: vec![watermark.clone()] };
            aggregate.begin(&step).unwrap();
            let mut out = Output::default();
            for batch in epoch {
                let mut windowed = Output::default();
                let start = clock.elapsed();
                window.push(0, batch.clone(), &mut windowed).unwrap();
                let middle = clock.elapsed();
                spent[0] += middle - start;
                windowed.batches.into_iter().for_each(|b| aggregate.push(0, b, &mut out).unwrap());
                spent[1] += clock.elapsed() - middle;
            }
            let reached = ((number + 1) * EPOCH_BATCHES * BATCH_ROWS) as i64 * 1_000_000 / ROWS_A_SECOND - 1_000_000;
            watermark.set(0, Some(reached.div_euclid(WINDOW_MICROS) * WINDOW_MICROS));
            step.watermarks = vec![watermark.clone()];
            let start = clock.elapsed();
            aggregate.finish(&step, &mut out).unwrap();
            let middle = clock.elapsed();
            let mut writes = Writes::new();
            aggregate.flush(step.epoch, &mut writes).unwrap();
            spent[2] += middle - start;
            spent[3] += clock.elapsed() - middle;
            assert!(out.late.is_empty() && out.failed.is_empty());
            emitted += out.batches.iter().map(ChangeBatch::len).sum::<usize>();
        }
        let rows = (batches.len() * BATCH_ROWS) as f64;
        let nanos = spent.map(|s| s.as_nanos() as f64 / rows);
        let total: f64 = nanos.iter().sum();
        println!(
            "{keys} keys, on close {on_close}: {:.1} M rows/s; ns a row: window {:.2}, push {:.2}, finish {:.2}, flush {:.2}; {emitted} emitted",
            1_000.0 / total,
            nanos[0],
            nanos[1],
            nanos[2],
            nanos[3]
        );
    }
}
