//! sum and avg: exact in every type, checked when a result is asked for, so that a group may pass out of range and come back.

use std::marker::PhantomData;
use std::sync::Arc;

use arrow::array::{ArrayRef, ArrowPrimitiveType, AsArray, Decimal128Array, Float32Array, Float64Array, Int64Array};
use arrow::datatypes::{DataType, Decimal128Type, Int64Type, i256};
use headwater_state::StateColumns;
use headwater_types::Result;

use super::exact::Wide;
use super::floats::FloatSums;
use super::{Failures, Kernel, each, pick};

/// What is asked of a sum and a count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The sum.
    Sum,
    /// The sum divided by the count.
    Average,
}

const OUT_OF_RANGE: &str = "sum out of range";
const AVERAGE_OUT_OF_RANGE: &str = "average out of range";

/// sum and avg of integers and decimals. State: three Int64, the words of the sum, least first (the
/// others are mostly sign, which costs nothing compressed); Int64, the number of values.
#[derive(Debug)]
pub(crate) struct ExactSums<T> {
    answer: Answer,
    /// Decimal places of the argument; 0 for integers.
    scale: i8,
    result: DataType,
    totals: Vec<Total>,
    argument: PhantomData<fn() -> T>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Total {
    sum: Wide,
    count: i64,
}

impl<T: ArrowPrimitiveType> ExactSums<T> {
    /// `scale` is the argument's; `result` Int64 or a decimal.
    pub(crate) fn new(answer: Answer, scale: i8, result: DataType) -> Self {
        Self { answer, scale, result, totals: Vec::new(), argument: PhantomData }
    }

    fn result(&self, total: &Total, scale: i8, limit: i128) -> Option<i128> {
        let sum = match self.answer {
            Answer::Sum => total.sum.to_i128()?,
            Answer::Average => divide(total.sum.to_i256(), total.count, u32::try_from(scale - self.scale).ok()?)?,
        };
        (-limit < sum && sum < limit).then_some(sum)
    }
}

/// `sum` with `places` more decimal places over `count`, rounded half away from zero as PostgreSQL does.
fn divide(sum: i256, count: i64, places: u32) -> Option<i128> {
    let scaled = sum.checked_mul(i256::from_i128(10_i128.checked_pow(places)?))?;
    let count = i256::from_i128(i128::from(count));
    let quotient = scaled.checked_div(count)?;
    let rest = scaled.wrapping_sub(quotient.wrapping_mul(count)).wrapping_abs();
    let up = rest.wrapping_add(rest) >= count.wrapping_abs();
    let away = if scaled.is_negative() != count.is_negative() { -1 } else { 1 };
    quotient.wrapping_add(i256::from_i128(if up { away } else { 0 })).to_i128()
}

impl<T: ArrowPrimitiveType> StateColumns for ExactSums<T>
where
    T::Native: Into<i128>,
{
    fn resize(&mut self, slots: usize) {
        self.totals.resize(slots, Total::default());
    }

    fn reset(&mut self, slots: &[u32]) {
        slots.iter().for_each(|&s| self.totals[s as usize] = Total::default());
    }

    fn gather(&self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        let column = |word: fn(&Total) -> i64| -> ArrayRef {
            Arc::new(Int64Array::from_iter_values(slots.iter().map(|&slot| word(&self.totals[slot as usize]))))
        };
        Ok(vec![column(|t| t.sum.low.cast_signed()), column(|t| t.sum.middle.cast_signed()), column(|t| t.sum.high), column(|t| t.count)])
    }

    fn scatter(&mut self, slots: &[u32], columns: &[ArrayRef]) -> Result<()> {
        self.reset(slots);
        self.merge(slots, columns)
    }

    fn bytes(&self) -> usize {
        self.totals.capacity() * size_of::<Total>()
    }
}

impl<T: ArrowPrimitiveType> Kernel for ExactSums<T>
where
    T::Native: Into<i128>,
{
    fn update(&mut self, slots: &[u32], args: &[ArrayRef], weights: Option<&[i64]>) -> Result<()> {
        let totals = &mut self.totals;
        let values = args[0].as_primitive::<T>();
        if weights.is_none() {
            each(slots, values, None, |slot, value, _| {
                let total = &mut totals[slot];
                total.sum.add(value.into());
                total.count += 1;
            });
        } else {
            each(slots, values, weights, |slot, value, weight| {
                let total = &mut totals[slot];
                total.sum.add_times(value.into(), weight);
                total.count += weight;
            });
        }
        Ok(())
    }

    fn merge(&mut self, slots: &[u32], columns: &[ArrayRef]) -> Result<()> {
        let words = |column: usize| columns[column].as_primitive::<Int64Type>().values();
        let (low, middle, high, counts) = (words(0), words(1), words(2), words(3));
        for (row, &slot) in slots.iter().enumerate() {
            let total = &mut self.totals[slot as usize];
            total.sum.merge(Wide { low: low[row].cast_unsigned(), middle: middle[row].cast_unsigned(), high: high[row] });
            total.count += counts[row];
        }
        Ok(())
    }

    fn evaluate(&self, slots: &[u32], failures: &mut Failures) -> Result<ArrayRef> {
        let (scale, limit) = match self.result {
            DataType::Decimal128(precision, scale) => (scale, 10_i128.pow(u32::from(precision))),
            // The least Int64 itself is left out of the range by this; it is put back below.
            _ => (0, i128::from(i64::MAX) + 2),
        };
        let reason = if self.answer == Answer::Sum { OUT_OF_RANGE } else { AVERAGE_OUT_OF_RANGE };
        let mut one = |(at, &slot): (usize, &u32)| {
            let total = &self.totals[slot as usize];
            if total.count == 0 {
                return None;
            }
            let result = self.result(total, scale, limit);
            failures.extend(result.is_none().then_some((at, reason)));
            result
        };
        if self.result == DataType::Int64 {
            let mut overflows = Vec::new();
            let results: Int64Array = slots
                .iter()
                .enumerate()
                .map(|(at, slot)| {
                    let wide = one((at, slot))?;
                    let narrow = i64::try_from(wide).ok();
                    overflows.extend(narrow.is_none().then_some((at, reason)));
                    narrow
                })
                .collect();
            failures.extend(overflows);
            return Ok(Arc::new(results));
        }
        let results: Decimal128Array = slots.iter().enumerate().map(one).collect();
        Ok(Arc::new(results.with_data_type(self.result.clone())))
    }
}

/// sum and avg of REAL and DOUBLE PRECISION. State: that of [`FloatSums`]; Int64, the number of values.
#[derive(Debug)]
pub(crate) struct FloatTotals<T> {
    answer: Answer,
    result: DataType,
    sums: FloatSums,
    counts: Vec<i64>,
    argument: PhantomData<fn() -> T>,
}

impl<T> FloatTotals<T> {
    /// `result` is Float32 or Float64.
    pub(crate) fn new(answer: Answer, result: DataType) -> Self {
        Self { answer, result, sums: FloatSums::default(), counts: Vec::new(), argument: PhantomData }
    }
}

impl<T: ArrowPrimitiveType> StateColumns for FloatTotals<T>
where
    T::Native: Into<f64>,
{
    fn resize(&mut self, slots: usize) {
        self.sums.resize(slots);
        self.counts.resize(slots, 0);
    }

    fn reset(&mut self, slots: &[u32]) {
        self.sums.reset(slots);
        slots.iter().for_each(|&s| self.counts[s as usize] = 0);
    }

    fn gather(&self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        let [short, far] = self.sums.gather(slots)?;
        Ok(vec![short, far, Arc::new(Int64Array::from(pick(&self.counts, slots)))])
    }

    fn scatter(&mut self, slots: &[u32], columns: &[ArrayRef]) -> Result<()> {
        self.sums.scatter(slots, &columns[..2])?;
        each(slots, columns[2].as_primitive::<Int64Type>(), None, |slot, count, _| self.counts[slot] = count);
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.sums.bytes() + self.counts.capacity() * size_of::<i64>()
    }
}

impl<T: ArrowPrimitiveType> Kernel for FloatTotals<T>
where
    T::Native: Into<f64>,
{
    fn update(&mut self, slots: &[u32], args: &[ArrayRef], weights: Option<&[i64]>) -> Result<()> {
        let (sums, counts) = (&mut self.sums, &mut self.counts);
        each(slots, args[0].as_primitive::<T>(), weights, |slot, value, weight| {
            sums.add(slot, value.into(), weight);
            counts[slot] += weight;
        });
        Ok(())
    }

    fn merge(&mut self, slots: &[u32], columns: &[ArrayRef]) -> Result<()> {
        self.sums.merge(slots, &columns[..2])?;
        each(slots, columns[2].as_primitive::<Int64Type>(), None, |slot, count, _| self.counts[slot] += count);
        Ok(())
    }

    fn evaluate(&self, slots: &[u32], failures: &mut Failures) -> Result<ArrayRef> {
        let is_narrow = self.result == DataType::Float32;
        let mut one = |(at, &slot): (usize, &u32)| {
            let count = self.counts[slot as usize];
            if count == 0 {
                return None;
            }
            let total = self.sums.total(slot);
            let is_overflow = if is_narrow { (total as f32).is_infinite() } else { total.is_infinite() };
            if is_overflow && !self.sums.has_special(slot) {
                failures.push((at, OUT_OF_RANGE));
                return None;
            }
            Some(if self.answer == Answer::Sum { total } else { total / count as f64 })
        };
        let results = slots.iter().enumerate().map(&mut one);
        if is_narrow {
            return Ok(Arc::new(results.map(|r| r.map(|r| r as f32)).collect::<Float32Array>()));
        }
        Ok(Arc::new(results.collect::<Float64Array>()))
    }
}

/// The columns that [`ExactSums`] keeps.
pub(crate) fn exact_state() -> Vec<DataType> {
    vec![DataType::Int64; 4]
}

/// The columns that [`FloatTotals`] keeps.
pub(crate) fn float_state() -> Vec<DataType> {
    FloatSums::STATE.into_iter().chain([DataType::Int64]).collect()
}

/// The decimal places of `argument`; 0 for integers.
pub(crate) fn scale_of(argument: &DataType) -> i8 {
    if let DataType::Decimal128(_, scale) = argument { *scale } else { 0 }
}

/// The kernel of sum or avg over decimals.
pub(crate) fn decimal_sums(answer: Answer, argument: &DataType, result: DataType) -> ExactSums<Decimal128Type> {
    ExactSums::new(answer, scale_of(argument), result)
}
