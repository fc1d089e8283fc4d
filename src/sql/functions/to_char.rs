//! `to_char(time, format)` with PostgreSQL's patterns; those that are not written are refused by name.

use std::fmt::Write;
use std::sync::Arc;

use chrono::{Datelike, NaiveDateTime, Timelike};
use datafusion::arrow::array::{Array, ArrayRef, AsArray, StringArray, StringBuilder};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, TimeUnit, TimestampMicrosecondType};
use datafusion::common::{DataFusionError, Result, ScalarValue, plan_err};
use datafusion::logical_expr::{ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

use super::parse_time::naive;
use super::{any_scalar, over_rows};

#[derive(Debug, PartialEq, Eq, Hash)]
struct ToChar {
    signature: Signature,
}

pub(super) fn functions() -> Vec<Arc<ScalarUDF>> {
    vec![Arc::new(ScalarUDF::new_from_impl(ToChar { signature: Signature::user_defined(Volatility::Immutable) }))]
}

impl ScalarUDFImpl for ToChar {
    fn name(&self) -> &str {
        "to_char"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, args: &[DataType]) -> Result<Vec<DataType>> {
        match args {
            [DataType::Timestamp(_, zone), _] => Ok(vec![DataType::Timestamp(TimeUnit::Microsecond, zone.clone()), DataType::Utf8]),
            [DataType::Date32 | DataType::Date64 | DataType::Null, _] => {
                Ok(vec![DataType::Timestamp(TimeUnit::Microsecond, None), DataType::Utf8])
            }
            [other, _] => Ok(vec![other.clone(), DataType::Utf8]),
            _ => plan_err!("Function 'to_char' takes a time and a format"),
        }
    }

    fn return_type(&self, _args: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let time = args.arg_fields[0].data_type();
        if !matches!(time, DataType::Timestamp(..)) {
            return Err(DataFusionError::NotImplemented(format!("to_char of {} is not supported", crate::type_names::type_name(time))));
        }
        // A format that is a literal is refused when the statement is planned, others row by row.
        if let Some(Some(ScalarValue::Utf8(Some(format)))) = args.scalar_arguments.get(1) {
            pieces(format).map_err(|e| DataFusionError::NotImplemented(e.message().into_owned()))?;
        }
        Ok(Arc::new(Field::new(self.name(), DataType::Utf8, args.arg_fields.iter().any(|f| f.is_nullable()))))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let scalar = any_scalar(&args.args);
        over_rows(&args.args, args.number_rows, scalar, |arrays| shown(&arrays[0], arrays[1].as_string()))
    }
}

fn shown(times: &ArrayRef, formats: &StringArray) -> Result<ArrayRef> {
    let zoned = matches!(times.data_type(), DataType::Timestamp(_, Some(_)));
    let times = cast(times, &DataType::Timestamp(TimeUnit::Microsecond, None))?;
    let times = times.as_primitive::<TimestampMicrosecondType>();
    let mut builder = StringBuilder::with_capacity(times.len(), times.len() * 16);
    let mut known: Option<(&str, Vec<Piece>)> = None;
    let mut text = String::new();
    for (at, format) in times.iter().zip(formats.iter()) {
        let Some((at, format)) = at.zip(format) else {
            builder.append_null();
            continue;
        };
        if known.as_ref().is_none_or(|(last, _)| *last != format) {
            known = Some((format, pieces(format)?));
        }
        let time = naive(at).ok_or_else(|| DataFusionError::Execution("timestamp out of range".to_owned()))?;
        text.clear();
        for piece in known.iter().flat_map(|(_, pieces)| pieces) {
            piece.write(time, zoned, &mut text).map_err(|e| DataFusionError::Internal(e.to_string()))?;
        }
        builder.append_value(&text);
    }
    Ok(Arc::new(builder.finish()))
}

/// A part of a format.
#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    /// The name of a pattern, with `FM` before it (no blanks or zeros), `TH` or `th` behind it.
    Field {
        name: &'static str,
        as_written: String,
        bare: bool,
        ordinal: Option<bool>,
    },
}

/// Longer ones before their beginnings. Those with `None` mean something in PostgreSQL that is not written here.
const PATTERNS: [(&str, bool); 55] = [
    ("Y,YYY", false),
    ("YYYY", true),
    ("IYYY", true),
    ("IYY", true),
    ("YYY", true),
    ("IY", true),
    ("YY", true),
    ("Y", true),
    ("HH24", true),
    ("HH12", true),
    ("HH", true),
    ("MI", true),
    ("SSSSS", true),
    ("SSSS", true),
    ("SS", true),
    ("MS", true),
    ("US", true),
    ("FF1", true),
    ("FF2", true),
    ("FF3", true),
    ("FF4", true),
    ("FF5", true),
    ("FF6", true),
    ("A.M.", true),
    ("P.M.", true),
    ("AM", true),
    ("PM", true),
    ("A.D.", false),
    ("B.C.", false),
    ("AD", false),
    ("BC", false),
    ("MONTH", true),
    ("MON", true),
    ("MM", true),
    ("DAY", true),
    ("DY", true),
    ("DDD", true),
    ("DD", true),
    ("IDDD", true),
    ("ID", true),
    ("D", true),
    ("IW", true),
    ("WW", true),
    ("W", true),
    ("CC", true),
    ("Q", true),
    ("J", false),
    ("RM", false),
    ("I", true),
    ("TZH", false),
    ("TZM", false),
    ("TZ", true),
    ("OF", true),
    ("TM", false),
    ("FX", false),
];

/// The pieces of `format`.
///
/// # Errors
/// `Execution`, naming a pattern that is not written.
fn pieces(format: &str) -> Result<Vec<Piece>> {
    let mut pieces: Vec<Piece> = Vec::new();
    let mut rest = format;
    let mut bare = false;
    while let Some(first) = rest.chars().next() {
        if first == '"' {
            let (quoted, after) = rest[1..].split_once('"').unwrap_or((&rest[1..], ""));
            push_text(&mut pieces, quoted);
            rest = after;
            continue;
        }
        if let Some(after) = strip(rest, "FM") {
            (bare, rest) = (true, after);
            continue;
        }
        let Some((name, supported)) = PATTERNS.iter().find(|(name, _)| strip(rest, name).is_some()) else {
            push_text(&mut pieces, &rest[..first.len_utf8()]);
            rest = &rest[first.len_utf8()..];
            continue;
        };
        let (written, after) = rest.split_at(name.len());
        if !supported {
            return Err(DataFusionError::Execution(format!("the pattern {name} of to_char is not supported")));
        }
        let ordinal = strip(after, "TH").map(|_| after.starts_with('T'));
        if strip(after, "SP").is_some() {
            return Err(DataFusionError::Execution("the pattern SP of to_char is not supported".to_owned()));
        }
        pieces.push(Piece::Field { name, as_written: written.to_owned(), bare, ordinal });
        bare = false;
        rest = if ordinal.is_some() { &after[2..] } else { after };
    }
    Ok(pieces)
}

/// What follows `prefix`, in capitals or not.
fn strip<'t>(text: &'t str, prefix: &str) -> Option<&'t str> {
    let (begin, after) = text.split_at_checked(prefix.len())?;
    begin.eq_ignore_ascii_case(prefix).then_some(after)
}

fn push_text(pieces: &mut Vec<Piece>, text: &str) {
    match pieces.last_mut() {
        Some(Piece::Text(last)) => last.push_str(text),
        _ => pieces.push(Piece::Text(text.to_owned())),
    }
}

const MONTHS: [&str; 12] =
    ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"];
const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

impl Piece {
    fn write(&self, at: NaiveDateTime, zoned: bool, out: &mut String) -> std::fmt::Result {
        match self {
            Piece::Text(text) => out.write_str(text),
            Piece::Field { name, as_written, bare, ordinal } => {
                if let Some((word, width)) = word(name, at, zoned) {
                    let word = cased(&word, as_written);
                    return if *bare { write!(out, "{word}") } else { write!(out, "{word:width$}") };
                }
                let (number, width) = number(name, at);
                if *bare {
                    write!(out, "{number}")?
                } else {
                    write!(out, "{number:0width$}")?
                }
                match ordinal {
                    Some(upper) => out.write_str(&if *upper { suffix(number).to_uppercase() } else { suffix(number).to_owned() }),
                    None => Ok(()),
                }
            }
        }
    }
}

/// Patterns that give words, and how wide they are without `FM`.
fn word(name: &str, at: NaiveDateTime, zoned: bool) -> Option<(String, usize)> {
    let month = MONTHS.get(at.month0() as usize).copied().unwrap_or_default();
    let day = DAYS.get(at.weekday().num_days_from_sunday() as usize).copied().unwrap_or_default();
    let micros = at.nanosecond() / 1_000;
    Some(match name {
        "MONTH" => (month.to_owned(), 9),
        "MON" => (month[..3].to_owned(), 0),
        "DAY" => (day.to_owned(), 9),
        "DY" => (day[..3].to_owned(), 0),
        "AM" | "PM" => ((if at.hour() < 12 { "AM" } else { "PM" }).to_owned(), 0),
        "A.M." | "P.M." => ((if at.hour() < 12 { "A.M." } else { "P.M." }).to_owned(), 0),
        "TZ" => ((if zoned { "UTC" } else { "" }).to_owned(), 0),
        "OF" => ("+00".to_owned(), 0),
        "FF1" | "FF2" | "FF3" | "FF4" | "FF5" | "FF6" => {
            let digits = usize::from(name.as_bytes()[2] - b'0');
            (format!("{micros:06}")[..digits].to_owned(), 0)
        }
        _ => return None,
    })
}

/// `word` in the letters of the pattern: `MON`, `Mon` or `mon`.
fn cased(word: &str, pattern: &str) -> String {
    let mut letters = pattern.chars().filter(|c| c.is_ascii_alphabetic());
    let first = letters.next().is_some_and(|c| c.is_ascii_uppercase());
    let second = letters.next().is_none_or(|c| c.is_ascii_uppercase());
    match (first, second) {
        (true, true) => word.to_uppercase(),
        (true, false) => word.to_owned(),
        _ => word.to_lowercase(),
    }
}

/// Patterns that give numbers, and how many digits they have without `FM`.
fn number(name: &str, at: NaiveDateTime) -> (i64, usize) {
    let (year, iso_year) = (i64::from(at.year()), i64::from(at.iso_week().year()));
    let twelve = |hour: u32| if hour.is_multiple_of(12) { 12 } else { hour % 12 };
    let micros = at.nanosecond() / 1_000;
    let (number, width) = match name {
        "YYYY" => return (year, 4),
        "YYY" => return (year % 1_000, 3),
        "YY" => return (year % 100, 2),
        "Y" => return (year % 10, 1),
        "IYYY" => return (iso_year, 4),
        "IYY" => return (iso_year % 1_000, 3),
        "IY" => return (iso_year % 100, 2),
        "I" => return (iso_year % 10, 1),
        "CC" => return ((year + 99) / 100, 2),
        "HH24" => (at.hour(), 2),
        "HH12" | "HH" => (twelve(at.hour()), 2),
        "MI" => (at.minute(), 2),
        "SS" => (at.second(), 2),
        "SSSS" | "SSSSS" => (at.num_seconds_from_midnight(), 1),
        "MS" => (micros / 1_000, 3),
        "US" => (micros, 6),
        "MM" => (at.month(), 2),
        "DDD" => (at.ordinal(), 3),
        "DD" => (at.day(), 2),
        "IDDD" => ((at.iso_week().week() - 1) * 7 + at.weekday().number_from_monday(), 3),
        "ID" => (at.weekday().number_from_monday(), 1),
        "D" => (at.weekday().num_days_from_sunday() + 1, 1),
        "IW" => (at.iso_week().week(), 2),
        "WW" => (at.ordinal0() / 7 + 1, 2),
        "W" => (at.day0() / 7 + 1, 1),
        _ => (at.month0() / 3 + 1, 1),
    };
    (i64::from(number), width)
}

fn suffix(number: i64) -> &'static str {
    match (number % 10, number % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to_char(micros: i64, format: &str) -> String {
        let mut out = String::new();
        match pieces(format) {
            Ok(pieces) => {
                pieces.iter().for_each(|p| p.write(naive(micros).expect("in range"), false, &mut out).expect("written"));
                out
            }
            Err(error) => error.strip_backtrace(),
        }
    }

    #[test]
    fn formats() {
        // Sunday, 2020-03-01 15:04:05.25.
        let at = 1_583_075_045_250_000;
        for (format, expected) in [
            ("YYYY-MM-DD", "2020-03-01"),
            ("HH24:MI:SS.MS", "15:04:05.250"),
            ("HH12:MI AM", "03:04 PM"),
            ("Mon FMDDth, YYYY", "Mar 1st, 2020"),
            ("[Month] [FMMONTH]", "[March    ] [MARCH]"),
            ("Dy DDD Q IYYY-IW-ID", "Sun 061 1 2020-09-7"),
            ("\"YYYY\" YY", "YYYY 20"),
            ("YYYYMMDDHH24MISSUS", "20200301150405250000"),
        ] {
            assert_eq!(to_char(at, format), expected, "{format}");
        }
        assert!(to_char(at, "J").contains("pattern J of to_char is not supported"));
    }
}
