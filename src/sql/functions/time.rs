//! Differences of times, lengths of intervals, and time zones, as in PostgreSQL.

use std::sync::Arc;

use datafusion::arrow::array::timezone::Tz;
use datafusion::arrow::array::{ArrayRef, AsArray, Int64Array, IntervalMonthDayNanoArray, StringArray, TimestampMicrosecondArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{
    DataType, Int64Type, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit, TimeUnit, TimestampMicrosecondType,
};
use datafusion::common::{DataFusionError, Result, plan_err};
use datafusion::logical_expr::{ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

use super::parse_time::{DAY_US, naive, time_zone, to_local, to_utc};
use super::{any_scalar, over_rows};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Function {
    /// `difference(a, b)`: from the timestamp or time `b` to `a`, in days and time.
    Difference,
    /// `span(interval)`: its microseconds, with months of 30 days and days of 24 hours, by which PostgreSQL compares intervals.
    Span,
    /// `timezone(zone, at)`: a timestamp with time zone as clocks show it there, or back.
    Timezone,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Time {
    function: Function,
    signature: Signature,
}

fn udf(function: Function) -> ScalarUDF {
    let signature = match function {
        Function::Difference => Signature::any(2, Volatility::Immutable),
        Function::Span => Signature::any(1, Volatility::Immutable),
        Function::Timezone => Signature::user_defined(Volatility::Immutable),
    };
    ScalarUDF::new_from_impl(Time { function, signature })
}

/// What may be called by name.
pub(super) fn functions() -> Vec<Arc<ScalarUDF>> {
    vec![Arc::new(udf(Function::Timezone))]
}

/// `left - right`, both timestamps or both times.
pub(crate) fn difference(left: Expr, right: Expr) -> Expr {
    udf(Function::Difference).call(vec![left, right])
}

/// What an interval is compared by.
pub(crate) fn span(interval: Expr) -> Expr {
    udf(Function::Span).call(vec![interval])
}

const TIMESTAMP: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

fn utc() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

impl ScalarUDFImpl for Time {
    fn name(&self) -> &str {
        match self.function {
            Function::Difference => "difference",
            Function::Span => "span",
            Function::Timezone => "timezone",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, args: &[DataType]) -> Result<Vec<DataType>> {
        let [zone, at] = args else { return plan_err!("Function 'timezone' takes a time zone and a timestamp") };
        let zone = match zone {
            DataType::Interval(_) => DataType::Interval(IntervalUnit::MonthDayNano),
            _ => DataType::Utf8,
        };
        Ok(vec![zone, if matches!(at, DataType::Timestamp(_, None)) { TIMESTAMP } else { utc() }])
    }

    fn return_type(&self, args: &[DataType]) -> Result<DataType> {
        Ok(match self.function {
            Function::Difference => DataType::Interval(IntervalUnit::MonthDayNano),
            Function::Span => DataType::Int64,
            Function::Timezone if matches!(args[1], DataType::Timestamp(_, None)) => utc(),
            Function::Timezone => TIMESTAMP,
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let scalar = any_scalar(&args.args);
        over_rows(&args.args, args.number_rows, scalar, |arrays| match self.function {
            Function::Difference => differences(&micros(&arrays[0])?, &micros(&arrays[1])?),
            Function::Span => Ok(spans(arrays[0].as_primitive())),
            Function::Timezone => at_zones(&arrays[0], &arrays[1]),
        })
    }
}

fn out_of_range(what: &str) -> DataFusionError {
    DataFusionError::Execution(format!("{what} out of range"))
}

/// Timestamps and times as microseconds.
fn micros(array: &ArrayRef) -> Result<Int64Array> {
    let unified = match array.data_type() {
        DataType::Timestamp(..) => cast(array, &TIMESTAMP)?,
        DataType::Date32 => cast(array, &TIMESTAMP)?,
        DataType::Time32(_) | DataType::Time64(_) => cast(array, &DataType::Time64(TimeUnit::Microsecond))?,
        _ => array.clone(),
    };
    Ok(cast(&unified, &DataType::Int64)?.as_primitive::<Int64Type>().clone())
}

fn differences(left: &Int64Array, right: &Int64Array) -> Result<ArrayRef> {
    let one = |(l, r): (Option<i64>, Option<i64>)| match l.zip(r) {
        None => Ok(None),
        Some((l, r)) => {
            let micros = l.checked_sub(r).ok_or_else(|| out_of_range("interval"))?;
            let days = i32::try_from(micros / DAY_US).map_err(|_| out_of_range("interval"))?;
            Ok(Some(IntervalMonthDayNano::new(0, days, micros % DAY_US * 1_000)))
        }
    };
    Ok(Arc::new(left.iter().zip(right.iter()).map(one).collect::<Result<IntervalMonthDayNanoArray>>()?))
}

fn spans(intervals: &IntervalMonthDayNanoArray) -> ArrayRef {
    let span = |value: IntervalMonthDayNano| {
        let days = i64::from(value.months) * 30 + i64::from(value.days);
        days.saturating_mul(DAY_US).saturating_add(value.nanoseconds / 1_000)
    };
    Arc::new(intervals.unary::<_, Int64Type>(span))
}

fn at_zones(zones: &ArrayRef, at: &ArrayRef) -> Result<ArrayRef> {
    let to_instant = matches!(at.data_type(), DataType::Timestamp(_, None));
    let at: &TimestampMicrosecondArray = at.as_primitive::<TimestampMicrosecondType>();
    let moved = match zones.data_type() {
        DataType::Interval(_) => by_intervals(zones.as_primitive::<IntervalMonthDayNanoType>(), at, to_instant)?,
        _ => by_names(zones.as_string(), at, to_instant)?,
    };
    Ok(Arc::new(moved.with_timezone_opt(to_instant.then_some("UTC"))))
}

/// Offsets to the east of UTC.
fn by_intervals(
    offsets: &IntervalMonthDayNanoArray,
    at: &TimestampMicrosecondArray,
    to_instant: bool,
) -> Result<TimestampMicrosecondArray> {
    let one = |(offset, at): (Option<IntervalMonthDayNano>, Option<i64>)| match offset.zip(at) {
        None => Ok(None),
        Some((offset, _)) if offset.months != 0 || offset.days != 0 => {
            Err(DataFusionError::Execution("interval time zone must not include months or days: invalid value".to_owned()))
        }
        Some((offset, at)) => {
            let east = offset.nanoseconds / 1_000;
            at.checked_add(if to_instant { -east } else { east }).map(Some).ok_or_else(|| out_of_range("timestamp"))
        }
    };
    offsets.iter().zip(at.iter()).map(one).collect()
}

fn by_names(zones: &StringArray, at: &TimestampMicrosecondArray, to_instant: bool) -> Result<TimestampMicrosecondArray> {
    let mut last: Option<(String, Tz)> = None;
    let mut one = |(name, at): (Option<&str>, Option<i64>)| {
        let Some((name, at)) = name.zip(at) else { return Ok(None) };
        let zone = match &last {
            Some((known, zone)) if known == name => *zone,
            _ => {
                let zone = named_zone(name)?;
                last = Some((name.to_owned(), zone));
                zone
            }
        };
        let moved = if to_instant { to_utc(at, zone) } else { to_local(at, zone) };
        moved.filter(|at| naive(*at).is_some()).map(Some).ok_or_else(|| out_of_range("timestamp"))
    };
    zones.iter().zip(at.iter()).map(&mut one).collect()
}

/// A zone by its name. An offset such as `+02` means two hours to the west of UTC in PostgreSQL here, and to the east elsewhere: it is refused.
fn named_zone(name: &str) -> Result<Tz> {
    if name.contains(['+', '-']) && name.contains(|c: char| c.is_ascii_digit()) && !name.contains('/') {
        let message = format!("time zone \"{name}\" is not supported: write INTERVAL '2 hours' or a zone's name");
        return Err(DataFusionError::Execution(message));
    }
    time_zone(name).ok_or_else(|| DataFusionError::Execution(format!("time zone \"{name}\" not recognized: invalid value")))
}
