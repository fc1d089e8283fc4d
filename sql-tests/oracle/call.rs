//! Random aggregate calls, each with one right answer whatever the order of the rows.

use rand::Rng;
use rand::rngs::SmallRng;

use super::expression::predicate;
use super::relation::Column;
use super::values::{Type, pick};

/// A call, its type, and whether its last digits depend on the order of the rows, or it may be too large to be computed with further.
type Call = (String, Type, bool);

/// An aggregate call over `columns`. One at most of a query `may_sort`: the batch engine sorts its input for it, and has one order only.
pub fn call(rng: &mut SmallRng, columns: &[Column], append_only: bool, may_sort: bool) -> Call {
    let (call, of, approximate) = if columns.is_empty() || rng.random_ratio(1, 5) {
        ("count(*)".to_string(), Type::Big, false)
    } else {
        let column = pick(rng, columns).clone();
        match rng.random_range(0..10) {
            0..4 if append_only => of_insertions(rng, &column, columns, may_sort),
            4 if column.of.is_number() => of_pairs(rng, &column, columns),
            _ => of_changes(rng, &column),
        }
    };
    if !columns.is_empty() && rng.random_ratio(1, 5) {
        return (format!("{call} FILTER (WHERE {})", predicate(rng, columns, 1)), of, approximate);
    }
    (call, of, approximate)
}

/// What follows deletions.
fn of_changes(rng: &mut SmallRng, column: &Column) -> Call {
    let name = &column.name;
    match rng.random_range(0..8) {
        0 => (format!("count({name})"), Type::Big, false),
        1 => (format!("count(DISTINCT {name})"), Type::Big, false),
        2 if column.of != Type::Bool => (format!("min({name})"), column.of, false),
        3 if column.of != Type::Bool => (format!("max({name})"), column.of, false),
        _ => match column.of {
            Type::Small | Type::Int if rng.random_ratio(1, 4) => {
                (format!("{}({name})", pick(rng, &["bit_and", "bit_or", "bit_xor"])), column.of, false)
            }
            Type::Small | Type::Int if rng.random_bool(0.6) => (format!("sum({name})"), Type::Big, false),
            Type::Big | Type::Numeric if rng.random_bool(0.6) => (format!("sum({name})"), Type::Wide, false),
            // The fuzz calls the average wide too: it is a NUMERIC that nothing computes with.
            Type::Small | Type::Int | Type::Big | Type::Numeric => (format!("avg({name})"), Type::Wide, false),
            Type::Double => {
                // Sums are exact and so the same in any order; the batch's variances are not.
                let (function, approximate) = *pick(rng, &[("sum", false), ("avg", false), ("var_pop", true), ("stddev_samp", true)]);
                (format!("{function}({name})"), Type::Double, approximate)
            }
            Type::Bool => (format!("{}({name})", pick(rng, &["bool_and", "bool_or"])), Type::Bool, false),
            _ => (format!("count({name})"), Type::Big, false),
        },
    }
}

/// Regression, covariance and correlation, which follow deletions too.
fn of_pairs(rng: &mut SmallRng, column: &Column, columns: &[Column]) -> Call {
    let numbers: Vec<&Column> = columns.iter().filter(|c| c.of.is_number()).collect();
    let (y, x) = (&column.name, &pick(rng, &numbers).name);
    let functions = [
        "regr_slope",
        "regr_intercept",
        "regr_count",
        "regr_r2",
        "regr_avgx",
        "regr_avgy",
        "regr_sxx",
        "regr_syy",
        "regr_sxy",
        "covar_pop",
        "covar_samp",
        "corr",
    ];
    let function = *pick(rng, &functions);
    if function == "regr_count" {
        return (format!("{function}({y}, {x})"), Type::Big, false);
    }
    (format!("{function}({y}, {x})"), Type::Double, true)
}

/// What only works where no row is ever deleted. Rows that ORDER BY does not tell apart have the same argument.
fn of_insertions(rng: &mut SmallRng, column: &Column, columns: &[Column], may_sort: bool) -> Call {
    let name = &column.name;
    let mut by = |name: &str| format!("{name}{}{}", pick(rng, &["", " DESC"]), pick(rng, &["", " NULLS FIRST", " NULLS LAST"]));
    let (own, last) = (by(name), by(name));
    let order = format!("ORDER BY {}, {last}", by(&columns[columns.len() / 2].name));
    match rng.random_range(0..9) {
        0 => (format!("array_agg({name} {order})"), Type::List, false),
        1 if column.of != Type::Double => (format!("array_agg(DISTINCT {name} ORDER BY {own})"), Type::List, false),
        2 if may_sort && column.of == Type::Text => (format!("string_agg({name}, ',' {order})"), Type::Text, false),
        2 if may_sort => (format!("string_agg({name}::VARCHAR, ',' ORDER BY {own})"), Type::Text, false),
        3 => (format!("first_value({name} {order})"), column.of, false),
        4 => (format!("last_value({name} {order})"), column.of, false),
        5 if may_sort => (format!("nth_value({name}, {} {order})", pick(rng, &[1, 2, 3, -1, -2])), column.of, false),
        6 if may_sort && column.of.is_number() => {
            let percentile = *pick(rng, &["0", "0.25", "0.5", "0.9", "1"]);
            (format!("percentile_cont({percentile}) WITHIN GROUP (ORDER BY {name}{})", pick(rng, &["", " DESC"])), Type::Double, false)
        }
        7 if column.of == Type::Double => (format!("median({name})"), Type::Double, false),
        _ if matches!(column.of, Type::Int | Type::Text) => (format!("approx_distinct({name})"), Type::Big, false),
        _ => of_changes(rng, column),
    }
}
