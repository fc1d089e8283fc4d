//! `extract` and `date_part`: fields of dates, times, timestamps and intervals.

use std::sync::Arc;

use chrono::{Datelike, NaiveDateTime, Timelike};
use datafusion::arrow::array::{Array, ArrayRef, AsArray, Decimal128Array};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{
    DataType, Field, FieldRef, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit, Time64MicrosecondType, TimeUnit,
    TimestampMicrosecondType,
};
use datafusion::common::{DataFusionError, Result, ScalarValue, plan_err};
use datafusion::logical_expr::{ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

use super::parse_time::{DAY_US, naive};
use super::{any_scalar, over_rows};

/// `extract(field, from)`, a numeric, or `date_part(field, from)`, a double.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Parts {
    exact: bool,
    signature: Signature,
    aliases: Vec<String>,
}

fn udf(exact: bool) -> ScalarUDF {
    let aliases = if exact { Vec::new() } else { vec!["datepart".to_owned()] };
    ScalarUDF::new_from_impl(Parts { exact, signature: Signature::user_defined(Volatility::Immutable), aliases })
}

pub(super) fn functions() -> Vec<Arc<ScalarUDF>> {
    vec![Arc::new(udf(true)), Arc::new(udf(false))]
}

/// `EXTRACT(field FROM value)`, whose arguments these are.
pub(crate) fn extract(args: Vec<Expr>) -> Expr {
    udf(true).call(args)
}

/// How many digits behind the point a field has as a numeric.
fn scale(field: &str, from: &DataType) -> i8 {
    match field {
        "epoch" if *from == DataType::Date32 => 0,
        "second" | "seconds" | "epoch" => 6,
        "millisecond" | "milliseconds" => 3,
        _ => 0,
    }
}

fn literal_field(args: &ReturnFieldArgs<'_>) -> Result<String> {
    match args.scalar_arguments.first() {
        Some(Some(ScalarValue::Utf8(Some(field)))) => Ok(field.to_lowercase()),
        _ => plan_err!("the field to extract is a text literal"),
    }
}

impl ScalarUDFImpl for Parts {
    fn name(&self) -> &str {
        if self.exact { "extract" } else { "date_part" }
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, args: &[DataType]) -> Result<Vec<DataType>> {
        let [_, from] = args else { return plan_err!("Function '{}' takes a field and a value", self.name()) };
        let from = match from {
            DataType::Date32 | DataType::Date64 => DataType::Date32,
            DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Microsecond, zone.clone()),
            DataType::Time32(_) | DataType::Time64(_) => DataType::Time64(TimeUnit::Microsecond),
            DataType::Interval(_) | DataType::Duration(_) => DataType::Interval(IntervalUnit::MonthDayNano),
            DataType::Utf8 | DataType::Null => DataType::Timestamp(TimeUnit::Microsecond, None),
            other => return plan_err!("Function '{}' does not take {}", self.name(), crate::type_names::type_name(other)),
        };
        Ok(vec![DataType::Utf8, from])
    }

    fn return_type(&self, _args: &[DataType]) -> Result<DataType> {
        Err(DataFusionError::Internal("the type depends on the arguments".to_owned()))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let field = literal_field(&args)?;
        let from = args.arg_fields[1].data_type();
        if !applies(&field, from) {
            let name = crate::type_names::type_name(from);
            return Err(DataFusionError::NotImplemented(format!("unit \"{field}\" is not supported for type {name}")));
        }
        let data_type = if self.exact { DataType::Decimal128(24, scale(&field, from)) } else { DataType::Float64 };
        Ok(Arc::new(Field::new(self.name(), data_type, args.arg_fields.iter().any(|f| f.is_nullable()))))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let ColumnarValue::Scalar(ScalarValue::Utf8(Some(field))) = &args.args[0] else {
            return Err(DataFusionError::Internal("the field to extract is a literal".to_owned()));
        };
        let field = field.to_lowercase();
        let values = &args.args[1..];
        over_rows(values, args.number_rows, any_scalar(values), |arrays| {
            let parts = parts(&field, &arrays[0])?.with_precision_and_scale(24, scale(&field, arrays[0].data_type()))?;
            let parts: ArrayRef = Arc::new(parts);
            if self.exact { Ok(parts) } else { Ok(cast(&parts, &DataType::Float64)?) }
        })
    }
}

const OF_DAYS: [&str; 13] =
    ["millennium", "century", "decade", "year", "isoyear", "quarter", "month", "week", "day", "dow", "isodow", "doy", "epoch"];
const OF_CLOCKS: [&str; 8] = ["hour", "minute", "second", "millisecond", "milliseconds", "microsecond", "microseconds", "epoch"];

fn applies(field: &str, from: &DataType) -> bool {
    let singular = field.strip_suffix('s').unwrap_or(field);
    let day = OF_DAYS.contains(&field) || OF_DAYS.contains(&singular);
    let clock = OF_CLOCKS.contains(&field) || OF_CLOCKS.contains(&singular);
    match from {
        DataType::Date32 => day,
        DataType::Time64(_) => clock,
        DataType::Interval(_) => clock || (day && !matches!(singular, "isoyear" | "week" | "dow" | "isodow" | "doy")),
        DataType::Timestamp(_, Some(_)) => day || clock || matches!(field, "timezone" | "timezone_hour" | "timezone_minute"),
        _ => day || clock,
    }
}

/// The field of each value, times 10 to the power of its scale.
fn parts(field: &str, array: &ArrayRef) -> Result<Decimal128Array> {
    let field = field.strip_suffix('s').unwrap_or(field);
    let wrong = || DataFusionError::Execution("timestamp out of range".to_owned());
    let unit = if *array.data_type() == DataType::Date32 && field == "epoch" { 1_000_000 } else { 1 };
    let of_micros = |at: i64| naive(at).map(|date| i128::from(part(field, at, date) / unit)).ok_or_else(wrong);
    match array.data_type() {
        DataType::Interval(_) => {
            let values = array.as_primitive::<IntervalMonthDayNanoType>();
            Ok(values.iter().map(|v| v.map(|v| i128::from(of_interval(field, v)))).collect())
        }
        DataType::Time64(_) => {
            array.as_primitive::<Time64MicrosecondType>().iter().map(|v| v.map(of_micros).transpose()).collect::<Result<_>>()
        }
        _ => {
            let timestamps = cast(array, &DataType::Timestamp(TimeUnit::Microsecond, None))?;
            timestamps.as_primitive::<TimestampMicrosecondType>().iter().map(|v| v.map(of_micros).transpose()).collect::<Result<_>>()
        }
    }
}

/// Microseconds since midnight as `hour`, `minute` …; with the unit that the field's scale asks for.
fn of_clock(field: &str, micros: i64) -> Option<i64> {
    Some(match field {
        "hour" => micros / 3_600_000_000,
        "minute" => micros / 60_000_000 % 60,
        "second" | "millisecond" | "microsecond" => micros % 60_000_000,
        _ => return None,
    })
}

fn part(field: &str, at: i64, date: NaiveDateTime) -> i64 {
    let year = i64::from(date.year());
    match field {
        "epoch" => at,
        "millennium" => (year + 999).div_euclid(1_000),
        "century" => (year + 99).div_euclid(100),
        "decade" => year.div_euclid(10),
        "year" => year,
        "isoyear" => i64::from(date.iso_week().year()),
        "quarter" => i64::from(date.month0() / 3 + 1),
        "month" => i64::from(date.month()),
        "week" => i64::from(date.iso_week().week()),
        "day" => i64::from(date.day()),
        "dow" => i64::from(date.weekday().num_days_from_sunday()),
        "isodow" => i64::from(date.weekday().number_from_monday()),
        "doy" => i64::from(date.ordinal()),
        _ => of_clock(field, i64::from(date.num_seconds_from_midnight()) * 1_000_000 + at.rem_euclid(1_000_000)).unwrap_or(0),
    }
}

fn of_interval(field: &str, value: IntervalMonthDayNano) -> i64 {
    let (years, months, micros) = (i64::from(value.months / 12), i64::from(value.months % 12), value.nanoseconds / 1_000);
    match field {
        // A year of 365.25 days, a month of 30.
        "epoch" => {
            let days = months * 30 + i64::from(value.days);
            (years * 31_557_600).saturating_mul(1_000_000).saturating_add(days.saturating_mul(DAY_US)).saturating_add(micros)
        }
        "millennium" => years / 1_000,
        "century" => years / 100,
        "decade" => years / 10,
        "year" => years,
        "quarter" => months / 3 + 1,
        "month" => months,
        "day" => i64::from(value.days),
        _ => of_clock(field, micros).unwrap_or(0),
    }
}
