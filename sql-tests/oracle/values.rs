//! Random values as SQL literals: a small domain so that keys meet, with NULLs and extremes among them.

use rand::Rng;
use rand::rngs::SmallRng;

/// The SQL types that the fuzz uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    Small,
    Int,
    Big,
    Numeric,
    /// A sum of BIGINTs or NUMERICs: too wide to be computed with further.
    Wide,
    Double,
    Text,
    Bool,
    Timestamp,
    Date,
    /// What array_agg gives, of any type: compared, and otherwise left alone.
    List,
}

/// The types that a table's column may have.
pub const COLUMN_TYPES: [Type; 10] =
    [Type::Int, Type::Int, Type::Small, Type::Text, Type::Timestamp, Type::Big, Type::Numeric, Type::Double, Type::Bool, Type::Date];

impl Type {
    /// Its name in DDL and casts.
    pub fn sql(self) -> &'static str {
        match self {
            Type::Small => "SMALLINT",
            Type::Int => "INT",
            Type::Big => "BIGINT",
            Type::Numeric => "NUMERIC(10, 2)",
            Type::Wide => "NUMERIC(38, 2)",
            Type::Double => "DOUBLE PRECISION",
            Type::Text => "VARCHAR",
            Type::Bool => "BOOLEAN",
            Type::Timestamp => "TIMESTAMP",
            Type::Date => "DATE",
            Type::List => "VARCHAR[]",
        }
    }

    /// True for what has a percentile.
    pub fn is_number(self) -> bool {
        matches!(self, Type::Small | Type::Int | Type::Big | Type::Numeric | Type::Double)
    }

    /// True for integers that may be computed with in BIGINT without overflow.
    pub fn is_narrow_integer(self) -> bool {
        matches!(self, Type::Small | Type::Int)
    }
}

/// A literal of type `of`; NULL one time in eight.
pub fn literal(rng: &mut SmallRng, of: Type) -> String {
    if rng.random_ratio(1, 8) { format!("NULL::{}", of.sql()) } else { known_literal(rng, of) }
}

/// A literal of type `of` that is not NULL.
pub fn known_literal(rng: &mut SmallRng, of: Type) -> String {
    let text = if rng.random_ratio(1, 12) { extreme(rng, of) } else { ordinary(rng, of) };
    match of {
        Type::Bool => text,
        _ => format!("'{text}'::{}", of.sql()),
    }
}

fn ordinary(rng: &mut SmallRng, of: Type) -> String {
    match of {
        Type::Small | Type::Int | Type::Big => rng.random_range(-3..12).to_string(),
        Type::Numeric | Type::Wide => format!("{}.{:02}", rng.random_range(0..6), rng.random_range(0..3) * 25),
        Type::Double => format!("{}", f64::from(rng.random_range(-8..8)) / 8.0 + 0.1 * f64::from(rng.random_range(0..2))),
        Type::Text => pick(rng, &["a", "b", "c", "", "Zürich", "ab", "it''s"]).to_string(),
        Type::Bool => rng.random_bool(0.5).to_string(),
        Type::Timestamp => {
            let (hour, minute, second) = (rng.random_range(0..4), rng.random_range(0..60), rng.random_range(0..60));
            let micros = pick(rng, &["", ".000001", ".999999", ".5"]);
            format!("2025-01-01 {hour:02}:{minute:02}:{second:02}{micros}")
        }
        Type::Date => format!("2025-0{}-{:02}", rng.random_range(1..4), rng.random_range(1..29)),
        Type::List => "{}".to_string(),
    }
}

fn extreme(rng: &mut SmallRng, of: Type) -> String {
    let choices: &[&str] = match of {
        Type::Small => &["-32768", "32767"],
        Type::Int => &["-2147483648", "2147483647"],
        Type::Big => &["-9223372036854775808", "9223372036854775807"],
        Type::Numeric => &["99999999.99", "-99999999.99", "0.00"],
        Type::Wide => &["99999999999999999999.99", "-0.01"],
        // The greatest double twice is out of range: a view leaves out that group, the batch engine refuses the whole query.
        Type::Double => &["1e300", "-1e300", "5e-324", "1e307", "Infinity", "NaN", "NaN", "-0", "-0", "0"],
        Type::Text => &["a longer text, with a comma and \"quotes\"", "\u{10FFFF}", "Z"],
        Type::Bool => &["true", "false"],
        Type::Timestamp => &["1969-12-31 23:59:59.999999", "0001-01-01 00:00:00", "9999-12-31 23:59:59", "2024-02-29 00:00:00"],
        Type::Date => &["1969-12-31", "0001-01-01", "9999-12-31"],
        Type::List => &["{NULL}"],
    };
    pick(rng, choices).to_string()
}

/// One of `choices`.
pub fn pick<'a, T>(rng: &mut SmallRng, choices: &'a [T]) -> &'a T {
    &choices[rng.random_range(0..choices.len())]
}
