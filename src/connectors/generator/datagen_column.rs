//! One column of datagen: what its options say, and its values for given row numbers.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, FixedSizeBinaryArray, Float32Array, Float64Array, Int16Array,
    Int32Array, Int64Array, StringArray, StringBuilder, Time64MicrosecondArray, TimestampMicrosecondArray,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, TimeUnit};
use headwater_types::{Error, Micros, Result};

use super::chance::{Chance, write_letters};
use crate::Options;
use crate::format::{duration_micros, timestamp, type_name};
use crate::options::{fraction, number};

/// The options of a column, after `fields.COLUMN.`.
pub(super) const COLUMN_OPTIONS: &[&str] = &[
    "kind",
    "min",
    "max",
    "start",
    "end",
    "step",
    "length",
    "seed",
    "null.fraction",
    "basetime",
    "max_past",
    "max_past_mode",
    "late.fraction",
    "late.by",
];

const DAY: Micros = 86_400_000_000;

/// Makes the values of one column.
pub(super) struct Maker {
    data_type: DataType,
    chance: Chance,
    nulls: f64,
    values: Values,
}

/// How values follow from row number and chance.
enum Values {
    Boolean,
    /// Whole numbers (of decimals: of the last place) from `min` up to `max`.
    Integers {
        min: i64,
        max: i64,
    },
    /// `start`, `start + step`, …
    Sequence {
        start: i64,
        step: i64,
        rows: Option<u64>,
    },
    Doubles {
        min: f64,
        max: f64,
    },
    /// Lower-case letters, or bytes, so many.
    Letters {
        length: usize,
    },
    /// The digits of a sequence.
    Digits {
        start: i64,
    },
    Uuid,
    Times(Times),
}

/// Points in time with disorder.
struct Times {
    /// Absolute time of row 0; `None`: the source's base.
    base: Option<Micros>,
    /// How far each row is after the last, in nanoseconds.
    step_nanos: i64,
    /// Each row lies up to this far back.
    max_past: Micros,
    /// This share of the rows lies another `late_by` back, at least.
    late: f64,
    late_by: Micros,
}

/// The options of one column.
struct ColumnOptions<'a> {
    prefix: String,
    options: &'a Options,
    field: &'a Field,
}

impl ColumnOptions<'_> {
    fn name(&self, option: &str) -> String {
        format!("{}{option}", self.prefix)
    }

    fn number<T: std::str::FromStr>(&self, option: &str) -> Result<Option<T>> {
        number(self.options, &self.name(option))
    }

    fn text(&self, option: &str) -> Option<&str> {
        self.options.get(&self.name(option)).map(String::as_str)
    }

    fn duration(&self, option: &str) -> Result<Option<Micros>> {
        let parse = |text| match duration_micros(text) {
            Some(micros) if micros >= 0 => Ok(micros),
            _ => Err(Error::invalid(format!("{} = '{text}' is no length of time such as '30 minutes'", self.name(option)))),
        };
        self.text(option).map(parse).transpose()
    }

    fn time(&self, option: &str) -> Result<Option<Micros>> {
        let parse = |text: &str| {
            timestamp(text.as_bytes()).ok_or_else(|| Error::invalid(format!("{} = '{text}' is no timestamp", self.name(option))))
        };
        self.text(option).map(parse).transpose()
    }

    fn is_sequence(&self) -> Result<bool> {
        match self.text("kind") {
            None | Some("random") => Ok(false),
            Some("sequence") => Ok(true),
            Some(other) => Err(Error::invalid(format!("{} = '{other}' is neither 'random' nor 'sequence'", self.name("kind")))),
        }
    }

    /// As [`Self::only`], for types that have no sequences.
    fn only_random(&self, allowed: &[&str]) -> Result<()> {
        if self.is_sequence()? {
            return Err(Error::unsupported(format!("{} = 'sequence' of type {}", self.name("kind"), type_name(self.field))));
        }
        self.only(allowed)
    }

    /// Refuses options that the column's type or kind does not have.
    fn only(&self, allowed: &[&str]) -> Result<()> {
        let general = ["kind", "seed", "null.fraction"];
        let given = COLUMN_OPTIONS.iter().filter(|o| self.text(o).is_some());
        match given.into_iter().find(|o| !allowed.contains(o) && !general.contains(o)) {
            None => Ok(()),
            Some(option) => {
                let kind = if self.is_sequence()? { "a sequence" } else { "random values" };
                Err(Error::invalid(format!("'{}' says nothing about {kind} of type {}", self.name(option), type_name(self.field))))
            }
        }
    }
}

impl Maker {
    /// The maker of `field`; `rate` is how many rows there are a second, by which timestamps go on unless a step is given.
    pub(super) fn new(field: &Field, options: &Options, seed: u64, rate: Option<f64>) -> Result<Self> {
        let options = ColumnOptions { prefix: format!("fields.{}.", field.name().to_lowercase()), options, field };
        let seed = options.number::<u64>("seed")?.unwrap_or(seed);
        let nulls = fraction(options.options, &options.name("null.fraction"))?;
        if nulls > 0.0 && !field.is_nullable() {
            return Err(Error::invalid(format!("{} is given, but the column is NOT NULL", options.name("null.fraction"))));
        }
        let values = Values::new(&options, rate)?;
        Ok(Self { data_type: field.data_type().clone(), chance: Chance::new(seed, field.name()), nulls, values })
    }

    /// After how many rows the column has no more values, if it ends.
    pub(super) fn rows(&self) -> Option<u64> {
        match self.values {
            Values::Sequence { rows, .. } => rows,
            _ => None,
        }
    }

    /// The values of the rows `numbers` of a source that began at `base`.
    pub(super) fn make(&self, numbers: &[u64], base: Micros) -> Result<ArrayRef> {
        let array = self.values.make(&self.data_type, self.chance, numbers, base)?;
        if self.nulls == 0.0 {
            return Ok(array);
        }
        let chance = self.chance.stream(9);
        let valid = BooleanBuffer::collect_bool(numbers.len(), |at| !chance.happens(numbers[at], self.nulls));
        let data = array.to_data().into_builder().nulls(Some(NullBuffer::new(valid))).build()?;
        Ok(arrow::array::make_array(data))
    }
}

impl Values {
    fn new(options: &ColumnOptions<'_>, rate: Option<f64>) -> Result<Self> {
        match options.field.data_type() {
            DataType::Boolean => options.only_random(&[]).map(|()| Values::Boolean),
            DataType::Int16 => Self::integers(options, i64::from(i16::MIN), i64::from(i16::MAX)),
            DataType::Int32 => Self::integers(options, i64::from(i32::MIN), i64::from(i32::MAX)),
            DataType::Int64 => Self::integers(options, i64::MIN, i64::MAX),
            DataType::Decimal128(precision, scale) if (0..=9).contains(scale) => {
                Self::decimals(options, u32::from(*precision), u32::from(scale.unsigned_abs()))
            }
            DataType::Float32 | DataType::Float64 => {
                options.only_random(&["min", "max"])?;
                let (min, max) = (options.number::<f64>("min")?.unwrap_or(0.0), options.number::<f64>("max")?.unwrap_or(1.0));
                match min <= max && (max - min).is_finite() {
                    true => Ok(Values::Doubles { min, max }),
                    false => Err(Error::invalid(format!("{} is above {}", options.name("min"), options.name("max")))),
                }
            }
            DataType::Utf8 if options.field.metadata().is_empty() && options.is_sequence()? => {
                options.only(&["start"])?;
                Ok(Values::Digits { start: options.number("start")?.unwrap_or(0) })
            }
            DataType::Utf8 if options.field.metadata().is_empty() => Self::letters(options),
            DataType::Binary => Self::letters(options),
            DataType::FixedSizeBinary(16) => options.only_random(&[]).map(|()| Values::Uuid),
            DataType::Time64(TimeUnit::Microsecond) => options.only_random(&[]).map(|()| Values::Integers { min: 0, max: DAY - 1 }),
            DataType::Date32 | DataType::Timestamp(TimeUnit::Microsecond, _) => Times::new(options, rate).map(Values::Times),
            _ => {
                let message = format!("column \"{}\": connector 'datagen' makes no {}", options.field.name(), type_name(options.field));
                Err(Error::unsupported(message))
            }
        }
    }

    fn integers(options: &ColumnOptions<'_>, least: i64, most: i64) -> Result<Self> {
        let within = |name: &str, default: i64| match options.number::<i64>(name)?.unwrap_or(default) {
            value if (least..=most).contains(&value) => Ok(value),
            value => Err(Error::invalid(format!("{} = '{value}' is out of the column's range", options.name(name)))),
        };
        if !options.is_sequence()? {
            options.only(&["min", "max"])?;
            return ordered(options, within("min", 0)?, within("max", 1_000)?).map(|(min, max)| Values::Integers { min, max });
        }
        options.only(&["start", "end", "step"])?;
        let (start, step) = (within("start", 0)?, options.number::<i64>("step")?.unwrap_or(1));
        let end = within("end", most)?;
        if step <= 0 || end < start {
            return Err(Error::invalid(format!(
                "the sequence {}.. goes nowhere: steps are above 0, the end not below the start",
                options.prefix
            )));
        }
        let rows = end.abs_diff(start) / step.unsigned_abs() + 1;
        Ok(Values::Sequence { start, step, rows: options.text("end").is_some().then_some(rows) })
    }

    /// Decimals count their last place; `min` and `max` are whole numbers.
    fn decimals(options: &ColumnOptions<'_>, precision: u32, scale: u32) -> Result<Self> {
        options.only_random(&["min", "max"])?;
        let (one, most) = (10i64.pow(scale), 10i64.checked_pow(precision).map_or(i64::MAX, |above| above - 1));
        let within = |name: &str, default: i64| match options.number::<i64>(name)?.map(|n| n.checked_mul(one)) {
            None => Ok(default.min(most)),
            Some(Some(value)) if (-most..=most).contains(&value) => Ok(value),
            Some(_) => Err(Error::invalid(format!("{} is out of the column's range", options.name(name)))),
        };
        ordered(options, within("min", 0)?, within("max", 1_000 * one)?).map(|(min, max)| Values::Integers { min, max })
    }

    fn letters(options: &ColumnOptions<'_>) -> Result<Self> {
        options.only_random(&["length"])?;
        match options.number::<usize>("length")?.unwrap_or(10) {
            length @ 0..=65_536 => Ok(Values::Letters { length }),
            length => Err(Error::invalid(format!("{} = '{length}' is above 65536", options.name("length")))),
        }
    }

    fn make(&self, data_type: &DataType, chance: Chance, numbers: &[u64], base: Micros) -> Result<ArrayRef> {
        Ok(match self {
            Values::Boolean => Arc::new(BooleanArray::from_iter(numbers.iter().map(|n| Some(chance.bits(*n) & 1 == 1)))),
            Values::Integers { min, max } => {
                // All 2^64 values is a span that does not fit: then the bits themselves are the value.
                let span = max.abs_diff(*min).checked_add(1);
                let value = |n: &u64| min.wrapping_add_unsigned(span.map_or_else(|| chance.bits(*n), |span| chance.below(*n, span)));
                integers(data_type, numbers.iter().map(value))?
            }
            Values::Sequence { start, step, .. } => {
                let value = |n: &u64| start.wrapping_add(step.wrapping_mul(n.cast_signed()));
                integers(data_type, numbers.iter().map(value))?
            }
            Values::Doubles { min, max } => doubles(data_type, numbers.iter().map(|n| min + chance.unit(*n) * (max - min))),
            Values::Letters { length } => letters(data_type, *length, chance, numbers)?,
            Values::Digits { start } => {
                let mut builder = StringBuilder::with_capacity(numbers.len(), numbers.len() * 8);
                numbers.iter().for_each(|n| builder.append_value(start.wrapping_add_unsigned(*n).to_string()));
                Arc::new(builder.finish())
            }
            Values::Uuid => {
                let id = |n: &u64| uuid::Builder::from_random_bytes(two(chance, *n)).into_uuid().into_bytes();
                let bytes: Vec<u8> = numbers.iter().flat_map(id).collect();
                Arc::new(FixedSizeBinaryArray::try_new(16, Buffer::from_vec(bytes), None)?)
            }
            Values::Times(times) => times.make(data_type, chance, numbers, base),
        })
    }
}

fn two(chance: Chance, row: u64) -> [u8; 16] {
    (u128::from(chance.bits(row)) << 64 | u128::from(chance.stream(1).bits(row))).to_le_bytes()
}

fn ordered(options: &ColumnOptions<'_>, min: i64, max: i64) -> Result<(i64, i64)> {
    match min <= max {
        true => Ok((min, max)),
        false => Err(Error::invalid(format!("{} is above {}", options.name("min"), options.name("max")))),
    }
}

/// `values` as a column of whole numbers, decimals (counting their last place) or times of day; they were checked to fit.
#[allow(clippy::cast_possible_truncation, reason = "the options' range was checked against the type's")]
fn integers(data_type: &DataType, values: impl Iterator<Item = i64>) -> Result<ArrayRef> {
    Ok(match data_type {
        DataType::Int16 => Arc::new(Int16Array::from_iter_values(values.map(|v| v as i16))),
        DataType::Int32 => Arc::new(Int32Array::from_iter_values(values.map(|v| v as i32))),
        DataType::Decimal128(..) => Arc::new(Decimal128Array::from_iter_values(values.map(i128::from)).with_data_type(data_type.clone())),
        DataType::Time64(_) => Arc::new(Time64MicrosecondArray::from_iter_values(values)),
        _ => Arc::new(Int64Array::from_iter_values(values)),
    })
}

#[allow(clippy::cast_possible_truncation, reason = "REAL has fewer digits")]
fn doubles(data_type: &DataType, values: impl Iterator<Item = f64>) -> ArrayRef {
    match data_type {
        DataType::Float32 => Arc::new(Float32Array::from_iter_values(values.map(|v| v as f32))),
        _ => Arc::new(Float64Array::from_iter_values(values)),
    }
}

/// Texts or byte strings of `length` letters each.
fn letters(data_type: &DataType, length: usize, chance: Chance, numbers: &[u64]) -> Result<ArrayRef> {
    let mut text = Vec::with_capacity(numbers.len() * (length + 8));
    numbers.iter().for_each(|n| write_letters(chance.bits(*n), length, &mut text));
    let offsets = OffsetBuffer::<i32>::from_lengths(numbers.iter().map(|_| length));
    let text = Buffer::from_vec(text);
    Ok(match data_type {
        DataType::Binary => Arc::new(BinaryArray::try_new(offsets, text, None)?),
        _ => Arc::new(StringArray::try_new(offsets, text, None)?),
    })
}

impl Times {
    fn new(options: &ColumnOptions<'_>, rate: Option<f64>) -> Result<Self> {
        let is_sequence = options.is_sequence()?;
        let shared = ["basetime", "max_past", "max_past_mode", "late.fraction", "late.by"];
        let sequence = ["start", "step", "max_past", "late.fraction", "late.by"];
        options.only(if is_sequence { &sequence } else { &shared })?;
        let moves = match options.text("max_past_mode") {
            None | Some("absolute") => is_sequence,
            Some("relative") => true,
            Some(other) => {
                return Err(Error::invalid(format!("{} = '{other}' is neither 'absolute' nor 'relative'", options.name("max_past_mode"))));
            }
        };
        #[allow(clippy::cast_possible_truncation, reason = "saturates")]
        let by_rate = (1e9 / rate.unwrap_or(1e3)) as i64;
        let step_nanos = match options.duration("step")? {
            Some(micros) => micros.saturating_mul(1_000),
            None if moves => by_rate,
            None => 0,
        };
        let late = fraction(options.options, &options.name("late.fraction"))?;
        let late_by = options.duration("late.by")?;
        if (late > 0.0) != late_by.is_some() {
            return Err(Error::invalid(format!("{0}late.fraction and {0}late.by go together", options.prefix)));
        }
        let past = if is_sequence { 0 } else { DAY };
        Ok(Self {
            base: options.time(if is_sequence { "start" } else { "basetime" })?,
            step_nanos,
            max_past: options.duration("max_past")?.unwrap_or(past),
            late,
            late_by: late_by.unwrap_or(0),
        })
    }

    fn make(&self, data_type: &DataType, chance: Chance, numbers: &[u64], base: Micros) -> ArrayRef {
        let base = self.base.unwrap_or(base);
        let (is_late, how_late) = (chance.stream(1), chance.stream(2));
        let at = |n: &u64| {
            let ahead = i128::from(*n) * i128::from(self.step_nanos) / 1_000;
            let mut past = chance.below(*n, self.max_past.unsigned_abs() + 1);
            if is_late.happens(*n, self.late) {
                past += self.late_by.unsigned_abs() + how_late.below(*n, self.late_by.unsigned_abs() / 10 + 1);
            }
            base.saturating_add(i64::try_from(ahead).unwrap_or(i64::MAX)).saturating_sub_unsigned(past)
        };
        let times = numbers.iter().map(at);
        match data_type {
            DataType::Date32 => {
                Arc::new(Date32Array::from_iter_values(times.map(|t| i32::try_from(t.div_euclid(DAY)).unwrap_or(i32::MAX))))
            }
            _ => Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_data_type(data_type.clone())),
        }
    }
}
