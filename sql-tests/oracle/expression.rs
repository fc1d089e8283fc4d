//! Random expressions that have a value on every row: what can fail is tested by scripts, since a batch fails as a whole.

use rand::Rng;
use rand::rngs::SmallRng;

use super::relation::Column;
use super::values::{Type, known_literal, literal, pick};

/// An expression of type `of` over `columns`.
pub fn expression(rng: &mut SmallRng, columns: &[Column], of: Type, depth: usize) -> String {
    let fitting: Vec<&Column> = columns.iter().filter(|c| c.of == of).collect();
    if !fitting.is_empty() && (depth == 0 || of == Type::Wide || rng.random_bool(0.6)) {
        return pick(rng, &fitting).name.clone();
    }
    if depth == 0 {
        return literal(rng, of);
    }
    match rng.random_range(0..4) {
        0 => format!("coalesce({}, {})", expression(rng, columns, of, depth - 1), known_literal(rng, of)),
        1 => {
            let (when, then, otherwise) =
                (predicate(rng, columns, depth - 1), expression(rng, columns, of, depth - 1), expression(rng, columns, of, depth - 1));
            format!("CASE WHEN {when} THEN {then} ELSE {otherwise} END")
        }
        2 => computed(rng, columns, of, depth - 1),
        _ => literal(rng, of),
    }
}

/// Something made by an operator or function of the type.
fn computed(rng: &mut SmallRng, columns: &[Column], of: Type, depth: usize) -> String {
    let narrow: Vec<&Column> = columns.iter().filter(|c| c.of.is_narrow_integer()).collect();
    let texts: Vec<&Column> = columns.iter().filter(|c| c.of == Type::Text).collect();
    match of {
        Type::Big if !narrow.is_empty() => {
            let (a, b) = (&pick(rng, &narrow).name, &pick(rng, &narrow).name);
            let operator = pick(rng, &["+", "-", "*"]);
            format!("({a}::BIGINT {operator} {b}::BIGINT)")
        }
        Type::Int if !narrow.is_empty() => format!("({}::INT % {})", pick(rng, &narrow).name, rng.random_range(2..5)),
        Type::Text if !texts.is_empty() => {
            let text = &pick(rng, &texts).name;
            pick(rng, &["upper({})", "({} || 'x')", "lower({})"]).replace("{}", text)
        }
        Type::Bool => predicate(rng, columns, depth),
        _ => expression(rng, columns, of, depth),
    }
}

/// A condition over `columns`.
pub fn predicate(rng: &mut SmallRng, columns: &[Column], depth: usize) -> String {
    if columns.is_empty() {
        return "true".to_string();
    }
    if depth > 0 && rng.random_ratio(1, 3) {
        let (a, b) = (predicate(rng, columns, depth - 1), predicate(rng, columns, depth - 1));
        return match rng.random_range(0..3) {
            0 => format!("({a} AND {b})"),
            1 => format!("({a} OR {b})"),
            _ => format!("(NOT {a})"),
        };
    }
    let column = pick(rng, columns);
    if column.approximate || column.of == Type::List || rng.random_ratio(1, 6) {
        return format!("({} IS {}NULL)", column.name, if rng.random_bool(0.5) { "NOT " } else { "" });
    }
    let value = known_literal(rng, column.of);
    match rng.random_range(0..4) {
        0 if column.of == Type::Text => format!("({} LIKE '%a%')", column.name),
        1 => format!("({} IN ({value}, {}))", column.name, known_literal(rng, column.of)),
        2 => format!("({} BETWEEN {value} AND {})", column.name, known_literal(rng, column.of)),
        _ => format!("({} {} {value})", column.name, pick(rng, &["=", "<>", "<", "<=", ">", ">="])),
    }
}
