//! `interval * number` and `interval / number`: what is left of a month goes to days, what is left of a day to its time, as in PostgreSQL.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, IntervalMonthDayNanoArray};
use datafusion::arrow::datatypes::{DataType, Float64Type, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit};
use datafusion::arrow::error::ArrowError;
use datafusion::common::{DataFusionError, Result};
use datafusion::logical_expr::{ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

use super::{any_scalar, over_rows};

const MICROS_OF_A_DAY: f64 = 86_400e6;

/// `interval_times(x, n)`, or `interval_over(x, n)`.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct IntervalScale {
    divides: bool,
    signature: Signature,
}

impl IntervalScale {
    /// `interval` times the double `number`, or divided by it.
    pub(crate) fn call(interval: Expr, number: Expr, divides: bool) -> Expr {
        let double = DataType::Float64;
        let signature = Signature::exact(vec![DataType::Interval(IntervalUnit::MonthDayNano), double], Volatility::Immutable);
        ScalarUDF::new_from_impl(Self { divides, signature }).call(vec![interval, number])
    }
}

impl ScalarUDFImpl for IntervalScale {
    fn name(&self) -> &str {
        if self.divides { "interval_over" } else { "interval_times" }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _args: &[DataType]) -> Result<DataType> {
        Ok(DataType::Interval(IntervalUnit::MonthDayNano))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let scalar = any_scalar(&args.args);
        over_rows(&args.args, args.number_rows, scalar, |arrays| {
            let intervals = arrays[0].as_primitive::<IntervalMonthDayNanoType>();
            let numbers = arrays[1].as_primitive::<Float64Type>();
            let pairs = intervals.iter().zip(numbers);
            let scaled = pairs.map(|(interval, number)| interval.zip(number).map(|(i, n)| self.scaled(i, n)).transpose());
            Ok(Arc::new(scaled.collect::<Result<IntervalMonthDayNanoArray>>()?) as ArrayRef)
        })
    }
}

impl IntervalScale {
    fn scaled(&self, interval: IntervalMonthDayNano, number: f64) -> Result<IntervalMonthDayNano> {
        if self.divides && number == 0.0 {
            return Err(DataFusionError::ArrowError(Box::new(ArrowError::DivideByZero), None));
        }
        let by = |value: f64| if self.divides { value / number } else { value * number };
        let (months, days) = (by(f64::from(interval.months)), by(f64::from(interval.days)));
        // Fractions are cut to a millionth of a second, lest a day's worth of rounding show.
        let days_of_month = cut(months.fract() * 30.0);
        let time_of_days = cut((days.fract() + days_of_month.fract()) * MICROS_OF_A_DAY / 1e6);
        let carried = if time_of_days.abs() >= MICROS_OF_A_DAY / 1e6 { time_of_days.signum() } else { 0.0 };
        let time_of_days = time_of_days - carried * MICROS_OF_A_DAY / 1e6;
        let micros = (by(interval.nanoseconds as f64 / 1e3) + time_of_days * 1e6).round_ties_even();
        let days = days.trunc() + days_of_month.trunc() + carried;
        let fits = |value: f64, most: f64| value.abs() <= most;
        if !fits(months, f64::from(i32::MAX)) || !fits(days, f64::from(i32::MAX)) || !fits(micros * 1e3, 9.2e18) {
            return Err(DataFusionError::Execution("interval out of range".to_owned()));
        }
        Ok(IntervalMonthDayNano::new(months as i32, days as i32, micros as i64 * 1_000))
    }
}

/// Rounded to six digits behind the point.
fn cut(value: f64) -> f64 {
    (value * 1e6).round_ties_even() / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_go_down_to_smaller_units() {
        let scale = |divides, (months, days, micros): (i32, i32, i64), number| {
            let signature = Signature::any(2, Volatility::Immutable);
            let scaled = IntervalScale { divides, signature }.scaled(IntervalMonthDayNano::new(months, days, micros * 1_000), number);
            scaled.map(|i| (i.months, i.days, i.nanoseconds / 1_000)).ok()
        };
        assert_eq!(scale(false, (0, 1, 0), 2.0), Some((0, 2, 0)));
        assert_eq!(scale(false, (1, 0, 0), 1.5), Some((1, 15, 0)));
        assert_eq!(scale(true, (0, 1, 0), 2.0), Some((0, 0, 43_200_000_000)));
        assert_eq!(scale(true, (1, 1, 0), 2.0), Some((0, 15, 43_200_000_000)));
        assert_eq!(scale(false, (0, 0, 3_600_000_000), -0.5), Some((0, 0, -1_800_000_000)));
        assert_eq!(scale(true, (0, 0, 1), 0.0), None);
        assert_eq!(scale(false, (i32::MAX, 0, 0), 2.0), None);
    }
}
