//! DataFusion's errors as ours: the right kind, SQLSTATE and place.

mod refusals;

use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::error::ArrowError;
use datafusion::common::{Diagnostic, SchemaError};
use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::tokenizer::{Location, Span};
use headwater_types::{Error, ErrorKind};

use crate::parser::{SourceText, at, syntax};

impl From<ErrorInPlan> for Error {
    fn from(error: ErrorInPlan) -> Self {
        error.0
    }
}

/// Carries an [`Error`] of ours through a function that gives DataFusion's.
#[derive(Debug)]
pub(crate) struct ErrorInPlan(pub Error);

impl std::fmt::Display for ErrorInPlan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for ErrorInPlan {}

/// One of ours, as DataFusion's.
pub(crate) fn into_datafusion(error: Error) -> DataFusionError {
    DataFusionError::External(Box::new(ErrorInPlan(error)))
}

/// What DataFusion says while it plans or runs a statement, as an [`Error`] with PostgreSQL's SQLSTATE.
#[must_use]
pub fn from_datafusion(error: DataFusionError) -> Error {
    convert(error, None)
}

/// The same while planning `text`, with the place where it is known.
pub(crate) fn in_text(error: DataFusionError, text: &SourceText) -> Error {
    convert(error, Some(text))
}

fn convert(error: DataFusionError, text: Option<&SourceText>) -> Error {
    match error {
        DataFusionError::Context(_, inside) => convert(*inside, text),
        DataFusionError::Diagnostic(diagnostic, inside) => {
            let place = text.and_then(|t| place(&diagnostic, t));
            at(diagnosed(&diagnostic, convert(*inside, text)), place)
        }
        DataFusionError::Collection(errors) => match errors.into_iter().next() {
            Some(first) => convert(first, text),
            None => Error::bug("an error without content"),
        },
        DataFusionError::Shared(shared) => match shared.as_ref() {
            DataFusionError::ArrowError(arrow, _) => from_arrow(arrow),
            DataFusionError::External(inside) => from_external(inside.as_ref()),
            DataFusionError::ResourcesExhausted(message) => exhausted(said(message)),
            other => from_message(&other.strip_backtrace()),
        },
        DataFusionError::External(inside) => from_external(inside.as_ref()),
        DataFusionError::ArrowError(inside, _) => from_arrow(&inside),
        DataFusionError::SchemaError(inside, _) => from_schema(&inside, text),
        DataFusionError::NotImplemented(message) => refusals::not_implemented(said(&message)),
        DataFusionError::ResourcesExhausted(message) => exhausted(said(&message)),
        DataFusionError::SQL(inside, _) => syntax(inside.to_string()),
        DataFusionError::Plan(message) | DataFusionError::Configuration(message) => from_plan(said(&message)),
        DataFusionError::Execution(message) => from_message(said(&message)),
        DataFusionError::Internal(message) => from_internal(said(&message)),
        other => Error::bug(other.strip_backtrace()),
    }
}

/// DataFusion also calls its own what a statement did.
fn from_internal(message: &str) -> Error {
    refusals::known(message).or_else(|| refusals::no_such_function(message)).unwrap_or_else(|| Error::bug(message))
}

/// A query wants more memory than all queries together may have.
fn exhausted(message: &str) -> Error {
    let error = Error::limit("out of memory for queries").with_sqlstate("53200").with_detail(message.lines().next().unwrap_or(message));
    error.with_hint(
        "read less at once: filter earlier, join on equal keys, LIMIT; or keep the result in a materialized view; or give more memory",
    )
}

fn from_external(inside: &(dyn std::error::Error + Send + Sync + 'static)) -> Error {
    if let Some(ErrorInPlan(error)) = inside.downcast_ref() {
        return error.clone();
    }
    if let Some(error) = inside.downcast_ref::<Error>() {
        return error.clone();
    }
    match inside.downcast_ref::<ArrowError>() {
        Some(error) => from_arrow(error),
        None => from_message(&inside.to_string()),
    }
}

/// The first paragraph, without a back-trace.
fn said(message: &str) -> &str {
    message.split("\n\nbacktrace:").next().unwrap_or(message)
}

fn place(diagnostic: &Diagnostic, text: &SourceText) -> Option<(usize, usize)> {
    let span = diagnostic.span?;
    let location = |l: datafusion::common::Location| Location { line: l.line, column: l.column };
    text.place(Span { start: location(span.start), end: location(span.end) })
}

/// DataFusion's diagnostics are better worded than the errors they come with, except where we have words of our own.
fn diagnosed(diagnostic: &Diagnostic, error: Error) -> Error {
    if error.sqlstate() != "42000" {
        return error;
    }
    let closer = match diagnostic.message.as_str() {
        message if message.contains("GROUP BY") => Error::invalid(message).with_sqlstate("42803"),
        message => Error::invalid(message),
    };
    match diagnostic.helps.first() {
        Some(help) => closer.with_hint(help.message.clone()),
        None => closer,
    }
}

fn from_schema(error: &SchemaError, text: Option<&SourceText>) -> Error {
    match error {
        SchemaError::FieldNotFound { field, valid_fields } => {
            let name = field.relation.as_ref().map_or_else(|| field.name.clone(), |r| format!("{}.{}", r.table(), field.name));
            let error = Error::not_found(format!("column \"{name}\" does not exist")).with_sqlstate("42703");
            let known: Vec<&str> = valid_fields.iter().map(|f| f.name.as_str()).collect();
            let error = match nearest(&field.name, known.iter().copied()) {
                Some(near) => error.with_hint(format!("did you mean \"{near}\"?")),
                None if known.is_empty() => error,
                None => error.with_hint(format!("there are: {}", known.join(", "))),
            };
            let span = field.spans.first().map(|s| Span {
                start: Location { line: s.start.line, column: s.start.column },
                end: Location { line: s.end.line, column: s.end.column },
            });
            at(error, span.zip(text).and_then(|(span, text)| text.place(span)))
        }
        SchemaError::AmbiguousReference { field } => {
            Error::invalid(format!("column reference \"{}\" is ambiguous", field.name)).with_sqlstate("42702")
        }
        SchemaError::DuplicateQualifiedField { name, .. } | SchemaError::DuplicateUnqualifiedField { name } => duplicate_column(name),
    }
}

pub(crate) fn duplicate_column(name: &str) -> Error {
    Error::invalid(format!("column \"{name}\" specified more than once")).with_sqlstate("42701")
}

/// The one of `names` that `name` was probably meant to be.
pub(crate) fn nearest<'a>(name: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let scored = names.into_iter().filter(|n| *n != name).map(|n| (strsim::jaro_winkler(name, n), n));
    scored.filter(|(score, _)| *score > 0.8).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, n)| n)
}

/// Few enough letters apart for a slip of the hand.
fn is_near(name: &str, other: &str) -> bool {
    let slips = if name.len() < 6 { 1 } else { 2 };
    strsim::damerau_levenshtein(name, other) <= slips
}

/// An aggregate whose argument is of a type that it does not take.
fn no_aggregate(message: &str) -> Option<Error> {
    let (_, call) = message.split_once("user-defined coercion failed with: Error during planning: ")?;
    let (name, rest) = call.split_once('(')?;
    let data_type: DataType = rest.split(") does not exist").next()?.parse().ok()?;
    if matches!(data_type, DataType::Interval(_)) {
        let error = Error::unsupported(format!("{name} of intervals is not supported"));
        return Some(error.with_hint(format!("{name}(extract(epoch FROM x)) * INTERVAL '1 second'")));
    }
    let name = format!("function {name}({}) does not exist", crate::type_names::type_name(&data_type));
    Some(Error::not_found(name).with_sqlstate("42883"))
}

fn from_plan(message: &str) -> Error {
    if let Some(error) = no_aggregate(message) {
        return error;
    }
    if let Some(rest) = message.strip_prefix("Invalid function '") {
        let name = rest.split('\'').next().unwrap_or_default();
        let error = Error::not_found(format!("function {name} does not exist")).with_sqlstate("42883");
        return match rest.split("Did you mean '").nth(1).and_then(|n| n.split('\'').next()).filter(|near| is_near(name, near)) {
            Some(near) => error.with_hint(format!("did you mean {near}?")),
            None => error,
        };
    }
    if let Some(error) = refusals::known(message).or_else(|| refusals::no_such_function(message)) {
        return error;
    }
    if message.starts_with("Cannot create filter with non-boolean predicate") {
        return Error::invalid("argument of WHERE, HAVING or ON must be type boolean").with_sqlstate("42804");
    }
    let types = [
        "Cannot coerce",
        "cannot coerce",
        "Cannot infer common argument type",
        "No function matches",
        "failed to coerce",
        "can't cast",
        "is not a valid",
    ];
    if message.contains("No function matches")
        || message.contains("Failed to coerce arguments")
        || message.contains("Error during planning: Function")
    {
        return Error::invalid(message.lines().next().unwrap_or(message)).with_sqlstate("42883");
    }
    if types.iter().any(|t| message.contains(t)) {
        return Error::invalid(message).with_sqlstate("42804");
    }
    if message.contains("must appear in the GROUP BY clause") || message.contains("could not be resolved from available columns") {
        return Error::invalid(message.lines().next().unwrap_or(message)).with_sqlstate("42803");
    }
    if let Some(name) = message.split("duplicate expression name \"").nth(1).and_then(|n| n.split('"').next()) {
        return duplicate_column(name);
    }
    Error::invalid(message)
}

fn from_arrow(error: &ArrowError) -> Error {
    match error {
        ArrowError::DivideByZero => Error::invalid("division by zero").with_sqlstate("22012"),
        ArrowError::ArithmeticOverflow(message) => Error::invalid(format!("value out of range: {message}")).with_sqlstate("22003"),
        ArrowError::CastError(message)
        | ArrowError::ParseError(message)
        | ArrowError::InvalidArgumentError(message)
        | ArrowError::ComputeError(message) => from_message(message),
        ArrowError::ExternalError(inside) => from_external(inside.as_ref()),
        other => Error::new(ErrorKind::Bug, other.to_string()),
    }
}

/// An error of execution, known by its words.
fn from_message(message: &str) -> Error {
    let message = message.strip_prefix("Cast error: ").or_else(|| message.strip_prefix("Parser error: ")).unwrap_or(message);
    let message = in_our_words(message);
    let lower = message.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|w| lower.contains(w));
    if has(&["divide by zero", "division by zero"]) {
        return Error::invalid("division by zero").with_sqlstate("22012");
    }
    let state = SQLSTATES.iter().find(|(_, words)| has(words)).map_or("42000", |(state, _)| state);
    Error::invalid(message).with_sqlstate(state)
}

/// The first SQLSTATE of whose words one stands in the message.
const SQLSTATES: [(&str, &[&str]); 11] = [
    ("2201E", &["logarithm"]),
    ("2201F", &["square root", "zero raised to", "complex result"]),
    ("22021", &["invalid byte sequence"]),
    ("22023", &[": invalid value", "must not include", "unrecognized encoding", "base64 sequence", "hexadecimal data", "escape sequence"]),
    ("22008", &["field value out of range", "timestamp out of range", "interval out of range"]),
    (
        "22003",
        &[
            "overflow",
            "out of range",
            "can't cast value",
            "is too large",
            "too small",
            "cannot be represented",
            "is greater than max",
            "is larger than max",
        ],
    ),
    ("22001", &["value too long"]),
    (
        "22007",
        &[
            "syntax for type timestamp",
            "syntax for type date",
            "syntax for type time",
            "syntax for type interval",
            "error parsing timestamp",
            "error parsing date",
            "parse interval",
            "invalid interval",
            "parsing interval",
        ],
    ),
    (
        "22P02",
        &[
            "malformed array literal",
            "cannot cast",
            "cannot parse",
            "error parsing",
            "invalid input syntax",
            "failed to parse",
            "invalid value",
        ],
    ),
    ("0A000", &["is not supported"]),
    ("22007", &["timestamp", "date32", "time64"]),
];

/// Arrow's `Cannot cast string 'x' to value of Int32 type` as PostgreSQL says it; other messages as they are.
fn in_our_words(message: &str) -> String {
    let parts = || {
        let (text, rest) = message.strip_prefix("Cannot cast string '")?.split_once("' to value of ")?;
        let data_type: DataType = rest.split(" type").next()?.parse().ok()?;
        Some(format!("invalid input syntax for type {}: \"{text}\"", crate::type_names::type_name(&data_type)))
    };
    parts().unwrap_or_else(|| message.to_owned())
}
