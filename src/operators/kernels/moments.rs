//! Variance, covariance, correlation and regression from exact sums of values and products, so that deletions leave no trace.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array};
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use headwater_state::StateColumns;
use headwater_types::Result;

use super::exact::Pair;
use super::floats::FloatSums;
use super::{Failures, Kernel, each, pick};

/// Which number is made of the sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Moment {
    /// Variance; `sample` divides by n - 1, `root` gives the standard deviation.
    Variance { sample: bool, root: bool },
    /// Covariance of two arguments.
    Covariance { sample: bool },
    /// Pearson's correlation of two arguments.
    Correlation,
    /// Something of the line y = slope × x + intercept of least squares. The arguments are y, then x.
    Regression(Regression),
}

/// What is asked of a line of least squares, or of the pairs that it runs through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Regression {
    Slope,
    Intercept,
    /// The square of the correlation.
    R2,
    AvgX,
    AvgY,
    /// Sum of squares of x less its average.
    Sxx,
    /// The same of y.
    Syy,
    /// Sum of products of both.
    Sxy,
}

/// Sums of x, xx and, with a second argument, y, xy, yy. State: two columns a sum as in [`FloatSums`]; Int64, the number of rows.
#[derive(Debug)]
pub(crate) struct Moments {
    moment: Moment,
    sums: Vec<FloatSums>,
    counts: Vec<i64>,
}

const X: usize = 0;
const XX: usize = 1;
const Y: usize = 2;
const XY: usize = 3;
const YY: usize = 4;

/// A spread is known to about this part of its products.
const ROUNDING: f64 = f64::EPSILON * f64::EPSILON * 16.0;

impl Moments {
    pub(crate) fn new(moment: Moment) -> Self {
        Self { moment, sums: (0..sums_of(moment)).map(|_| FloatSums::default()).collect(), counts: Vec::new() }
    }

    /// n Σab − Σa Σb. What is left of equal values is the rounding of their products, about 2^-104 of them: it counts as nothing, so that values
    /// that are all the same have no spread.
    fn spread(&self, slot: u32, product: usize, a: usize, b: usize) -> f64 {
        let count = Pair(self.counts[slot as usize] as f64, 0.0);
        let of = |sum: usize| self.sums[sum].pair(slot);
        let products = count.times(of(product));
        let spread = products.minus(of(a).times(of(b)));
        let spread = spread.0 + spread.1;
        if spread.abs() <= products.0.abs() * ROUNDING { 0.0 } else { spread }
    }

    fn result(&self, slot: u32) -> Option<f64> {
        let count = self.counts[slot as usize];
        let divisor = |sample: bool| {
            let n = count as f64;
            (count > i64::from(sample)).then_some(if sample { n * (n - 1.0) } else { n * n })
        };
        match self.moment {
            Moment::Variance { sample, root } => {
                let spread = self.spread(slot, XX, X, X);
                let variance = if spread < 0.0 { 0.0 } else { spread } / divisor(sample)?;
                Some(if root { variance.sqrt() } else { variance })
            }
            Moment::Covariance { sample } => Some(self.spread(slot, XY, X, Y) / divisor(sample)?),
            Moment::Correlation => {
                let (x, y) = (self.spread(slot, XX, X, X), self.spread(slot, YY, Y, Y));
                if count == 0 || x <= 0.0 || y <= 0.0 {
                    return None;
                }
                let correlation = self.spread(slot, XY, X, Y) / (x.sqrt() * y.sqrt());
                Some(if correlation.is_nan() { correlation } else { correlation.clamp(-1.0, 1.0) })
            }
            Moment::Regression(asked) => {
                if count == 0 {
                    None
                } else {
                    self.regression(asked, slot, count as f64)
                }
            }
        }
    }

    /// As PostgreSQL has it: no line through points above each other; a level line explains everything.
    fn regression(&self, asked: Regression, slot: u32, count: f64) -> Option<f64> {
        let total = |sum: usize| self.sums[sum].total(slot);
        let sxx = || self.spread(slot, XX, X, X);
        let syy = || self.spread(slot, YY, Y, Y);
        let sxy = || self.spread(slot, XY, X, Y);
        let slope = || Some(sxx()).filter(|sxx| *sxx != 0.0).map(|sxx| sxy() / sxx);
        match asked {
            Regression::Slope => slope(),
            Regression::Intercept => slope().map(|slope| (total(Y) - slope * total(X)) / count),
            Regression::R2 => slope().map(|slope| if syy() == 0.0 { 1.0 } else { slope * (sxy() / syy()) }),
            Regression::AvgX => Some(total(X) / count),
            Regression::AvgY => Some(total(Y) / count),
            Regression::Sxx => Some(sxx() / count),
            Regression::Syy => Some(syy() / count),
            Regression::Sxy => Some(sxy() / count),
        }
    }
}

fn sums_of(moment: Moment) -> usize {
    match moment {
        Moment::Variance { .. } => 2,
        Moment::Covariance { .. } => 4,
        Moment::Correlation | Moment::Regression(_) => 5,
    }
}

/// The columns that [`Moments`] keeps.
pub(crate) fn state(moment: Moment) -> Vec<DataType> {
    let sums = std::iter::repeat_n(FloatSums::STATE, sums_of(moment)).flatten();
    sums.chain([DataType::Int64]).collect()
}

impl StateColumns for Moments {
    fn resize(&mut self, slots: usize) {
        self.sums.iter_mut().for_each(|s| s.resize(slots));
        self.counts.resize(slots, 0);
    }

    fn reset(&mut self, slots: &[u32]) {
        self.sums.iter_mut().for_each(|s| s.reset(slots));
        slots.iter().for_each(|&s| self.counts[s as usize] = 0);
    }

    fn gather(&self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        let mut columns = Vec::new();
        for sums in &self.sums {
            columns.extend(sums.gather(slots)?);
        }
        columns.push(Arc::new(Int64Array::from(pick(&self.counts, slots))));
        Ok(columns)
    }

    fn scatter(&mut self, slots: &[u32], columns: &[ArrayRef]) -> Result<()> {
        self.reset(slots);
        self.merge(slots, columns)
    }

    fn bytes(&self) -> usize {
        self.sums.iter().map(FloatSums::bytes).sum::<usize>() + self.counts.capacity() * size_of::<i64>()
    }
}

/// Adds `value` times `weight` to `sums`; a product is two doubles that together are exact.
fn add_product(sums: &mut FloatSums, slot: usize, product: Pair, weight: i64) {
    sums.add(slot, product.0, weight);
    if product.0.is_finite() {
        sums.add(slot, product.1, weight);
    }
}

impl Kernel for Moments {
    fn update(&mut self, slots: &[u32], args: &[ArrayRef], weights: Option<&[i64]>) -> Result<()> {
        let (sums, counts) = (&mut self.sums, &mut self.counts);
        if let [x] = args {
            each(slots, x.as_primitive::<Float64Type>(), weights, |slot, x, weight| {
                sums[X].add(slot, x, weight);
                add_product(&mut sums[XX], slot, Pair::product(x, x), weight);
                counts[slot] += weight;
            });
            return Ok(());
        }
        let (x, y) = (args[0].as_primitive::<Float64Type>(), args[1].as_primitive::<Float64Type>());
        let (x, y) = if matches!(self.moment, Moment::Regression(_)) { (y, x) } else { (x, y) };
        let has_squares = sums.len() > YY;
        for (row, &slot) in slots.iter().enumerate() {
            if x.is_null(row) || y.is_null(row) {
                continue;
            }
            let (slot, x, y, weight) = (slot as usize, x.value(row), y.value(row), weights.map_or(1, |w| w[row]));
            sums[X].add(slot, x, weight);
            sums[Y].add(slot, y, weight);
            add_product(&mut sums[XY], slot, Pair::product(x, y), weight);
            if has_squares {
                add_product(&mut sums[XX], slot, Pair::product(x, x), weight);
                add_product(&mut sums[YY], slot, Pair::product(y, y), weight);
            }
            counts[slot] += weight;
        }
        Ok(())
    }

    fn merge(&mut self, slots: &[u32], columns: &[ArrayRef]) -> Result<()> {
        let (sums, counts) = columns.split_at(columns.len() - 1);
        for (mine, theirs) in self.sums.iter_mut().zip(sums.chunks(2)) {
            mine.merge(slots, theirs)?;
        }
        each(slots, counts[0].as_primitive::<Int64Type>(), None, |slot, count, _| self.counts[slot] += count);
        Ok(())
    }

    fn evaluate(&self, slots: &[u32], _failures: &mut Failures) -> Result<ArrayRef> {
        Ok(Arc::new(slots.iter().map(|&s| self.result(s)).collect::<Float64Array>()))
    }
}
