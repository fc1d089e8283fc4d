//! Every kernel against a reference that keeps all rows and works them out anew.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::*;
use arrow::datatypes::DataType;
use proptest::prelude::*;

use super::bits::BitRule;
use super::moments::{Moment, Regression};
use super::*;

const SLOTS: u32 = 3;
const ALL_SLOTS: [u32; 3] = [0, 1, 2];

/// One row: slot, value, weight.
type Row = (u32, Option<i32>, i64);

fn apply(kernel: &mut dyn Kernel, rows: &[Row], column: &dyn Fn(&[Option<i32>]) -> ArrayRef, is_weighted: bool) {
    let slots: Vec<u32> = rows.iter().map(|r| r.0).collect();
    let values: Vec<Option<i32>> = rows.iter().map(|r| r.1).collect();
    let weights: Vec<i64> = rows.iter().map(|r| r.2).collect();
    kernel.update(&slots, &[column(&values)], is_weighted.then_some(&weights)).unwrap();
}

/// The net rows by slot: values with weights, NULLs left out.
fn net(rows: &[Row]) -> Vec<BTreeMap<i32, i64>> {
    let mut slots = vec![BTreeMap::new(); SLOTS as usize];
    for (slot, value, weight) in rows {
        if let Some(value) = value {
            *slots[*slot as usize].entry(*value).or_insert(0) += weight;
        }
    }
    slots.iter_mut().for_each(|s| s.retain(|_, w| *w != 0));
    slots
}

/// Through the kernel with a restart and a merge in the middle.
fn result(function: Function, rows: &[Row], column: &dyn Fn(&[Option<i32>]) -> ArrayRef, is_weighted: bool) -> ArrayRef {
    let data_type = column(&[]).data_type().clone();
    let make = || {
        let mut kernel = function.kernel(std::slice::from_ref(&data_type)).unwrap();
        kernel.resize(SLOTS as usize);
        kernel
    };
    let (first, rest) = rows.split_at(rows.len() / 3);
    let (second, third) = rest.split_at(rest.len() / 2);
    let mut kernel = make();
    apply(kernel.as_mut(), first, column, is_weighted);
    let saved = kernel.gather(&ALL_SLOTS).unwrap();
    assert_eq!(saved.iter().map(|c| c.data_type().clone()).collect::<Vec<_>>(), function.state(std::slice::from_ref(&data_type)));
    let mut restarted = make();
    restarted.scatter(&ALL_SLOTS, &saved).unwrap();
    apply(restarted.as_mut(), second, column, is_weighted);
    let mut other = make();
    apply(other.as_mut(), third, column, is_weighted);
    restarted.merge(&ALL_SLOTS, &other.gather(&ALL_SLOTS).unwrap()).unwrap();
    let mut failures = Vec::new();
    let result = restarted.evaluate(&ALL_SLOTS, &mut failures).unwrap();
    assert_eq!(failures, vec![]);
    assert_eq!(Some(result.data_type().clone()), function.result(&[data_type]));
    result
}

fn int64(values: &[Option<i32>]) -> ArrayRef {
    Arc::new(values.iter().map(|v| v.map(i64::from)).collect::<Int64Array>())
}

fn int16(values: &[Option<i32>]) -> ArrayRef {
    Arc::new(values.iter().map(|v| v.map(|v| v as i16)).collect::<Int16Array>())
}

fn float64(values: &[Option<i32>]) -> ArrayRef {
    Arc::new(values.iter().map(|v| v.map(|v| f64::from(v) / 8.0)).collect::<Float64Array>())
}

fn decimal(values: &[Option<i32>]) -> ArrayRef {
    let column: Decimal128Array = values.iter().map(|v| v.map(i128::from)).collect();
    Arc::new(column.with_data_type(DataType::Decimal128(12, 2)))
}

fn text(values: &[Option<i32>]) -> ArrayRef {
    Arc::new(values.iter().map(|v| v.map(|v| format!("{:05}", v + 50_000))).collect::<StringArray>())
}

fn flag(values: &[Option<i32>]) -> ArrayRef {
    Arc::new(values.iter().map(|v| v.map(|v| v > 0)).collect::<BooleanArray>())
}

fn shared(array: impl Array + 'static) -> ArrayRef {
    Arc::new(array)
}

fn same(actual: &ArrayRef, expected: &ArrayRef) {
    assert_eq!(actual.as_ref(), expected.as_ref());
}

fn changes() -> impl Strategy<Value = Vec<Row>> {
    prop::collection::vec((0..SLOTS, prop::option::weighted(0.8, -300..300_i32), prop_oneof![Just(-1_i64), Just(1), Just(2)]), 0..60)
}

fn insertions() -> impl Strategy<Value = Vec<Row>> {
    changes().prop_map(|rows| rows.into_iter().map(|(slot, value, _)| (slot, value, 1)).collect())
}

fn totals(rows: &[Row]) -> Vec<Option<(i64, i64)>> {
    let total = |net: &BTreeMap<i32, i64>| (net.values().sum(), net.iter().map(|(v, w)| i64::from(*v) * w).sum());
    net(rows).iter().map(total).map(|(count, sum)| (count != 0).then_some((count, sum))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn counts_and_sums_follow_changes(rows in changes()) {
        let totals = totals(&rows);
        let counts: Int64Array = totals.iter().map(|t| Some(t.map_or(0, |t| t.0))).collect();
        same(&result(Function::Count, &rows, &int64, true), &shared(counts));
        let sums: Decimal128Array = totals.iter().map(|t| t.map(|t| i128::from(t.1))).collect();
        let big = sums.clone().with_data_type(DataType::Decimal128(38, 0));
        same(&result(Function::Sum, &rows, &int64, true), &shared(big));
        let places = sums.with_data_type(DataType::Decimal128(38, 2));
        same(&result(Function::Sum, &rows, &decimal, true), &shared(places));
        let small: Int64Array = totals.iter().map(|t| t.map(|t| t.1)).collect();
        same(&result(Function::Sum, &rows, &int16, true), &shared(small));
        let floats: Float64Array = totals.iter().map(|t| t.map(|t| t.1 as f64 / 8.0)).collect();
        same(&result(Function::Sum, &rows, &float64, true), &shared(floats));
    }

    #[test]
    fn averages_round_half_away_from_zero(rows in changes()) {
        let round = |(count, sum): (i64, i64), places: u32| {
            let (count, scaled) = (i128::from(count), i128::from(sum) * 10_i128.pow(places));
            let sign = if (scaled < 0) != (count < 0) { -1 } else { 1 };
            let (count, scaled) = (count.abs(), scaled.abs());
            sign * ((2 * scaled + count) / (2 * count))
        };
        let expected: Decimal128Array = totals(&rows).into_iter().map(|t| t.map(|t| round(t, 16))).collect();
        same(&result(Function::Avg, &rows, &int64, true), &shared(expected.with_data_type(DataType::Decimal128(38, 16))));
        let expected: Decimal128Array = totals(&rows).into_iter().map(|t| t.map(|t| round(t, 14))).collect();
        same(&result(Function::Avg, &rows, &decimal, true), &shared(expected.with_data_type(DataType::Decimal128(38, 16))));
    }

    #[test]
    fn extremes_follow_insertions(rows in insertions()) {
        let net = net(&rows);
        let least: Int64Array = net.iter().map(|n| n.keys().next().map(|v| i64::from(*v))).collect();
        same(&result(Function::Min, &rows, &int64, false), &shared(least));
        let greatest: Vec<_> = net.iter().map(|n| n.keys().last().copied()).collect();
        same(&result(Function::Max, &rows, &float64, false), &float64(&greatest));
        same(&result(Function::Max, &rows, &text, false), &text(&greatest));
        same(&result(Function::Max, &rows, &decimal, false), &decimal(&greatest));
    }

    #[test]
    fn flags_and_bits_follow_changes(rows in insertions()) {
        // Each row twice, then once taken back, in another order.
        let mut twice = rows.clone();
        twice.extend(rows.iter().rev().map(|r| (r.0, r.1, 2)));
        twice.extend(rows.iter().map(|r| (r.0, r.1, -2)));
        let net = net(&rows);
        let values = |n: &BTreeMap<i32, i64>| n.iter().flat_map(|(v, w)| vec![*v as i16; *w as usize]).collect::<Vec<_>>();
        let expected = |fold: &dyn Fn(i16, i16) -> i16| -> Int16Array { net.iter().map(|n| values(n).into_iter().reduce(fold)).collect() };
        for (rule, reference) in [(BitRule::And, expected(&|a, b| a & b)), (BitRule::Or, expected(&|a, b| a | b)), (BitRule::Xor, expected(&|a, b| a ^ b))] {
            same(&result(Function::Bit(rule), &twice, &int16, true), &shared(reference.clone()));
        }
        let all: BooleanArray = net.iter().map(|n| (!n.is_empty()).then(|| n.keys().all(|v| *v > 0))).collect();
        same(&result(Function::BoolAnd, &twice, &flag, true), &shared(all));
        let any: BooleanArray = net.iter().map(|n| (!n.is_empty()).then(|| n.keys().any(|v| *v > 0))).collect();
        same(&result(Function::BoolOr, &twice, &flag, true), &shared(any));
    }

    #[test]
    fn variance_is_that_of_the_values(rows in insertions()) {
        let far = |values: &[Option<i32>]| -> ArrayRef { Arc::new(values.iter().map(|v| v.map(|v| 1e9 + f64::from(v))).collect::<Float64Array>()) };
        let result = result(Function::Moment(Moment::Variance { sample: true, root: false }), &rows, &far, false);
        let result = result.as_primitive::<arrow::datatypes::Float64Type>();
        for (slot, net) in net(&rows).iter().enumerate() {
            let values: Vec<f64> = net.iter().flat_map(|(v, w)| vec![f64::from(*v); *w as usize]).collect();
            if values.len() < 2 {
                prop_assert!(result.is_null(slot));
                continue;
            }
            let (n, sum): (f64, f64) = (values.len() as f64, values.iter().sum());
            let squares: f64 = values.iter().map(|v| v * v).sum();
            let expected = (n * squares - sum * sum) / (n * (n - 1.0));
            prop_assert!((result.value(slot) - expected).abs() <= 1e-9 * expected, "{} is not {expected}", result.value(slot));
        }
    }
}

#[test]
fn a_sum_out_of_range_fails_and_comes_back() {
    let mut kernel = Function::Sum.kernel(&[DataType::Decimal128(38, 0)]).unwrap();
    kernel.resize(2);
    let most = 10_i128.pow(38) - 1;
    let column: ArrayRef = Arc::new(Decimal128Array::from(vec![most, 1, 7]).with_data_type(DataType::Decimal128(38, 0)));
    kernel.update(&[0, 0, 1], std::slice::from_ref(&column), None).unwrap();
    let mut failures = Vec::new();
    let result = kernel.evaluate(&[1, 0], &mut failures).unwrap();
    assert_eq!(failures, vec![(1, "sum out of range")]);
    assert!(result.is_null(1) && result.is_valid(0));
    kernel.update(&[0], &[column.slice(1, 1)], Some(&[-1])).unwrap();
    failures.clear();
    let result = kernel.evaluate(&[0], &mut failures).unwrap();
    assert_eq!((failures.len(), result.as_primitive::<arrow::datatypes::Decimal128Type>().value(0)), (0, most));
}

#[test]
fn integer_sums_reach_both_ends_of_bigint() {
    let mut kernel = Function::Sum.kernel(&[DataType::Int32]).unwrap();
    kernel.resize(3);
    let column: ArrayRef = Arc::new(Int32Array::from(vec![i32::MIN, i32::MIN, i32::MAX]));
    kernel.update(&[0, 1, 2], &[column], Some(&[1 << 32, (1 << 32) + 1, 1 << 33])).unwrap();
    let mut failures = Vec::new();
    let result = kernel.evaluate(&ALL_SLOTS, &mut failures).unwrap();
    assert_eq!(result.as_primitive::<arrow::datatypes::Int64Type>().value(0), i64::MIN);
    assert_eq!(failures, vec![(1, "sum out of range"), (2, "sum out of range")]);
}

#[test]
fn correlation_and_covariance_of_a_line() {
    let column = |slope: f64| -> ArrayRef { Arc::new(Float64Array::from_iter_values((0..10).map(|x| slope * f64::from(x) + 3.0))) };
    let value = |moment, slope| {
        let mut kernel = Function::Moment(moment).kernel(&[DataType::Float64, DataType::Float64]).unwrap();
        kernel.resize(1);
        kernel.update(&[0; 10], &[column(1.0), column(slope)], None).unwrap();
        kernel.evaluate(&[0], &mut Vec::new()).unwrap().as_primitive::<arrow::datatypes::Float64Type>().iter().next().unwrap()
    };
    assert_eq!(value(Moment::Correlation, -2.0), Some(-1.0));
    assert_eq!(value(Moment::Correlation, 0.0), None);
    assert_eq!(value(Moment::Covariance { sample: false }, 2.0), Some(16.5));
    assert_eq!(value(Moment::Covariance { sample: true }, 2.0), Some(16.5 * 10.0 / 9.0));
}

#[test]
fn regression_of_pairs() {
    let value = |asked, pairs: &[(f64, f64)]| {
        let mut kernel = Function::Moment(Moment::Regression(asked)).kernel(&[DataType::Float64, DataType::Float64]).unwrap();
        kernel.resize(1);
        let column = |of: &dyn Fn(&(f64, f64)) -> f64| -> ArrayRef { Arc::new(Float64Array::from_iter_values(pairs.iter().map(of))) };
        kernel.update(&vec![0; pairs.len()], &[column(&|pair| pair.1), column(&|pair| pair.0)], None).unwrap();
        kernel.evaluate(&[0], &mut Vec::new()).unwrap().as_primitive::<arrow::datatypes::Float64Type>().iter().next().unwrap()
    };
    let line = [(1.0, 5.0), (2.0, 7.0), (4.0, 11.0)];
    let of_line = [Regression::Slope, Regression::Intercept, Regression::R2, Regression::AvgY].map(|asked| value(asked, &line));
    assert_eq!(of_line, [Some(2.0), Some(3.0), Some(1.0), Some(23.0 / 3.0)]);
    let square = [(0.0, 0.0), (0.0, 1.0), (2.0, 0.0), (2.0, 3.0)];
    let of_square =
        [Regression::AvgX, Regression::Sxx, Regression::Syy, Regression::Sxy, Regression::R2].map(|asked| value(asked, &square));
    assert_eq!(of_square, [Some(1.0), Some(4.0), Some(6.0), Some(2.0), Some(1.0 / 6.0)]);
    // Sums of 0.1 are no round numbers, yet three of them have no spread.
    let upright = [(0.1, 1.0), (0.1, 2.0), (0.1, 4.0)];
    assert_eq!(
        (value(Regression::Slope, &upright), value(Regression::R2, &upright), value(Regression::Sxx, &upright)),
        (None, None, Some(0.0))
    );
    let level = upright.map(|(x, y)| (y, x));
    assert_eq!((value(Regression::Slope, &level), value(Regression::R2, &level)), (Some(0.0), Some(1.0)));
    assert_eq!((value(Regression::AvgX, &[]), value(Regression::Sxx, &[]), value(Regression::Slope, &line[..1])), (None, None, None));
}

#[test]
fn an_overflowing_float_sum_fails_but_an_infinite_value_does_not() {
    let mut kernel = Function::Sum.kernel(&[DataType::Float64]).unwrap();
    kernel.resize(2);
    kernel.update(&[0, 0, 1], &[Arc::new(Float64Array::from(vec![f64::MAX, f64::MAX, f64::INFINITY]))], None).unwrap();
    let mut failures = Vec::new();
    let result = kernel.evaluate(&[0, 1], &mut failures).unwrap();
    assert_eq!(failures, vec![(0, "sum out of range")]);
    assert_eq!(result.as_primitive::<arrow::datatypes::Float64Type>().value(1), f64::INFINITY);
}
