//! What DataFusion says of a statement that it cannot plan or run, as a refusal by name: the one place that knows its words.

use datafusion::arrow::datatypes::DataType;
use headwater_types::Error;

use crate::type_names::type_name;

const CORRELATED: &str = "a LATERAL or correlated SELECT of this form";
const EQUATE: &str = "compare its columns with those of the query around it by = in WHERE, without LIMIT; or write a join";
const MOVE: &str = "put it into the select list of a subquery in FROM";

/// A part of the message, what it is about, and what to write instead. Words in capitals are looked for in the statement, to be underlined.
const KNOWN: [(&str, &str, &str); 15] = [
    ("logical expression Exists", "a correlated EXISTS of this form", EQUATE),
    ("logical expression InSubquery", "IN of a correlated SELECT", EQUATE),
    ("logical expression SetComparison", "ANY or ALL of a correlated SELECT", EQUATE),
    ("logical expression ScalarSubquery", CORRELATED, EQUATE),
    ("OuterReferenceColumn", CORRELATED, EQUATE),
    ("Correlated scalar subquery", CORRELATED, EQUATE),
    ("Correlated column is not allowed", CORRELATED, EQUATE),
    ("Exist/SetComparison subquery can only be used", "EXISTS, IN, ANY or ALL of a SELECT in this place", MOVE),
    ("array_has does not support type Utf8", "= ANY of a text without a type", "ANY('{1,2}'::INT[])"),
    ("null_aware anti join only supports", "NOT IN of a correlated SELECT", "NOT EXISTS (SELECT … WHERE x = …), and a condition for NULL"),
    ("Unsupported binary operator: PGOverlap", "operator && of arrays", "array_has_any(a, b)"),
    ("Cannot get result type for temporal operation", "this arithmetic with a time or an interval", "INTERVAL '2 days', date_bin, extract"),
    (
        "must be an INTEGER or NULL, got",
        "generate_series with bounds that are no integers in the text",
        "a join with a series that is long enough",
    ),
    ("supported in tuples", "a row of values (a, b) in this place", "compare and select its parts"),
    ("Unsupported LIMIT expression", "LIMIT with a value that is no number", "LIMIT 10, or a parameter: LIMIT $1"),
];

/// The refusal of a known construct.
pub(crate) fn known(message: &str) -> Option<Error> {
    let (_, construct, hint) = KNOWN.iter().find(|(words, ..)| message.contains(words))?;
    Some(Error::unsupported(format!("{construct} is not supported")).with_hint(*hint))
}

/// What is not implemented, by name where that is known; never the inside of the planner.
pub(crate) fn not_implemented(message: &str) -> Error {
    if let Some(error) = known(message) {
        return error;
    }
    let words = message.split(['(', '{', '[', '\n']).next().unwrap_or_default().trim();
    if words == message {
        return Error::unsupported(message);
    }
    Error::unsupported("this form of the statement is not supported").with_detail(words)
}

/// A function that does not take arguments of these types, as PostgreSQL says it.
pub(crate) fn no_such_function(message: &str) -> Option<Error> {
    let called = match message.split("name and argument types '").nth(1) {
        Some(call) => with_our_types(call.split("'.").next()?)?,
        None if message.contains("failed to match any signature") => {
            let name = message.split("Function '").nth(1)?.split('\'').next()?;
            return Some(mismatch(&format!("{name} does not take arguments of these types")));
        }
        None => return None,
    };
    Some(mismatch(&format!("{called} does not exist")))
}

fn mismatch(what: &str) -> Error {
    let error = Error::invalid(format!("function {what}")).with_sqlstate("42883");
    error.with_hint("no function matches the given name and argument types; you might need to add explicit type casts")
}

/// `upper(Int64)` as `upper(bigint)`.
fn with_our_types(call: &str) -> Option<String> {
    let (name, args) = call.strip_suffix(')')?.split_once('(')?;
    let mut depth = 0;
    let split = args.split(|c| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        depth == 0 && c == ','
    });
    let shown = split.map(|arg| arg.trim().parse::<DataType>().map_or_else(|_| arg.trim().to_lowercase(), |t| type_name(&t)));
    Some(format!("{name}({})", shown.collect::<Vec<_>>().join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_inside_of_the_planner_stays_inside() {
        let said =
            not_implemented("Physical plan does not support logical expression Exists(Exists { subquery: <subquery>, negated: false })");
        assert_eq!(said.message(), "a correlated EXISTS of this form is not supported");
        let said = not_implemented("Unsupported JOIN operator AsOf { match_condition: BinaryOp }");
        assert_eq!(
            (said.message(), said.detail()),
            ("this form of the statement is not supported", Some("Unsupported JOIN operator AsOf"))
        );
    }

    #[test]
    fn functions_are_named_with_our_types() {
        let said =
            "Function 'upper' requires String. No function matches the given name and argument types 'upper(Int64, Utf8)'. You might";
        let error = no_such_function(said).expect("an error");
        assert_eq!((error.message(), error.sqlstate()), ("function upper(bigint, character varying) does not exist", "42883"));
    }
}
