//! Random queries over exactly what views do: filter, projection, UNION ALL, windows, aggregates, HAVING and inner equi-joins.

use rand::Rng;
use rand::rngs::SmallRng;

use super::call::call;
use super::expression::{expression, predicate};
use super::relation::{Column, Relation};
use super::values::{COLUMN_TYPES, Type, pick};

/// A query with what it gives.
#[derive(Debug, Clone)]
pub struct Query {
    pub sql: String,
    pub columns: Vec<Column>,
    pub append_only: bool,
}

/// A random query over `relations`; `depth` bounds how far it is nested.
pub fn query(rng: &mut SmallRng, relations: &[Relation], depth: usize) -> Query {
    match rng.random_range(0..10) {
        0..=1 => project(rng, relations, depth),
        2 => union(rng, relations, depth),
        3..=4 => join(rng, relations, depth),
        _ => aggregate(rng, relations, depth),
    }
}

/// Something that stands in FROM: its text with the alias `alias`.
fn source(rng: &mut SmallRng, relations: &[Relation], depth: usize, alias: &str) -> Query {
    if depth > 0 && rng.random_ratio(1, 4) {
        let nested = query(rng, relations, depth - 1);
        return Query { sql: format!("({}) AS {alias}", nested.sql), ..nested };
    }
    let relation = pick(rng, relations);
    let times: Vec<&Column> = relation.columns.iter().filter(|c| c.of == Type::Timestamp).collect();
    let plain =
        Query { sql: format!("{} AS {alias}", relation.name), columns: relation.columns.clone(), append_only: relation.append_only };
    let has_window = relation.columns.iter().any(|c| c.name.starts_with("window_"));
    if times.is_empty() || has_window || rng.random_bool(0.4) {
        return plain;
    }
    let time = pick(rng, &times).name.clone();
    windowed(rng, relation, &time, alias)
}

fn windowed(rng: &mut SmallRng, relation: &Relation, time: &str, alias: &str) -> Query {
    let name =
        if rng.random_bool(0.5) { relation.name.clone() } else { format!("(SELECT * FROM {} WHERE {time} IS NOT NULL)", relation.name) };
    let call = match rng.random_range(0..5) {
        0 => format!("TUMBLE({name}, {time}, INTERVAL '1 hour')"),
        1 => format!("TUMBLE({name}, {time}, INTERVAL '7 minutes', INTERVAL '2 minutes')"),
        2 => format!("TUMBLE({name}, {time}, INTERVAL '1 month')"),
        3 => format!("HOP({name}, {time}, INTERVAL '20 minutes', INTERVAL '1 hour')"),
        _ => format!("HOP({name}, {time}, INTERVAL '1 hour', INTERVAL '2 hours')"),
    };
    let window = |name: &str| Column { name: name.to_string(), of: Type::Timestamp, approximate: false };
    let columns = [relation.columns.clone(), vec![window("window_start"), window("window_end")]].concat();
    Query { sql: format!("{call} AS {alias}"), columns, append_only: relation.append_only }
}

/// ` WHERE …` or nothing.
fn filter(rng: &mut SmallRng, columns: &[Column]) -> String {
    if rng.random_bool(0.5) { format!(" WHERE {}", predicate(rng, columns, 2)) } else { String::new() }
}

fn project(rng: &mut SmallRng, relations: &[Relation], depth: usize) -> Query {
    let types: Vec<Type> = (0..rng.random_range(1..5)).map(|_| *pick(rng, &COLUMN_TYPES)).collect();
    project_to(rng, relations, depth, &types)
}

/// A projection with columns of the given types.
fn project_to(rng: &mut SmallRng, relations: &[Relation], depth: usize, types: &[Type]) -> Query {
    let from = source(rng, relations, depth, "s");
    let exact: Vec<Column> = from.columns.iter().filter(|c| !c.approximate).cloned().collect();
    let items: Vec<String> = types.iter().enumerate().map(|(at, of)| format!("{} AS o{at}", expression(rng, &exact, *of, 2))).collect();
    let columns = types.iter().enumerate().map(|(at, of)| Column { name: format!("o{at}"), of: *of, approximate: false }).collect();
    let sql = format!("SELECT {} FROM {}{}", items.join(", "), from.sql, filter(rng, &from.columns));
    Query { sql, columns, append_only: from.append_only }
}

fn union(rng: &mut SmallRng, relations: &[Relation], depth: usize) -> Query {
    let types: Vec<Type> = (0..rng.random_range(1..4)).map(|_| *pick(rng, &COLUMN_TYPES)).collect();
    let inputs: Vec<Query> = (0..rng.random_range(2..4)).map(|_| project_to(rng, relations, depth, &types)).collect();
    let sql = inputs.iter().map(|q| q.sql.as_str()).collect::<Vec<_>>().join(" UNION ALL ");
    Query { sql, columns: inputs[0].columns.clone(), append_only: inputs.iter().all(|q| q.append_only) }
}

fn join(rng: &mut SmallRng, relations: &[Relation], depth: usize) -> Query {
    let (left, right) = (source(rng, relations, depth, "l"), source(rng, relations, depth, "r"));
    let keys: Vec<String> = shared_keys(rng, &left, &right);
    if keys.is_empty() {
        return aggregate(rng, relations, depth);
    }
    let mut items = Vec::new();
    let mut columns = Vec::new();
    for (side, query) in [("l", &left), ("r", &right)] {
        for column in query.columns.iter().filter(|_| rng.random_bool(0.6)) {
            let name = format!("o{}", columns.len());
            items.push(format!("{side}.{} AS {name}", column.name));
            columns.push(Column { name, ..column.clone() });
        }
    }
    if items.is_empty() {
        items.push(format!("l.{} AS o0", left.columns[0].name));
        columns.push(Column { name: "o0".to_string(), ..left.columns[0].clone() });
    }
    let filter = if rng.random_ratio(1, 3) {
        let qualified: Vec<Column> = left.columns.iter().map(|c| Column { name: format!("l.{}", c.name), ..c.clone() }).collect();
        format!(" WHERE {}", predicate(rng, &qualified, 1))
    } else {
        String::new()
    };
    let sql = format!("SELECT {} FROM {} JOIN {} ON {}{filter}", items.join(", "), left.sql, right.sql, keys.join(" AND "));
    Query { sql, columns, append_only: left.append_only && right.append_only }
}

/// One or two equalities between columns of the same type.
fn shared_keys(rng: &mut SmallRng, left: &Query, right: &Query) -> Vec<String> {
    let mut pairs = Vec::new();
    for l in left.columns.iter().filter(|c| !c.approximate && !matches!(c.of, Type::Double | Type::List)) {
        for r in right.columns.iter().filter(|r| r.of == l.of && !r.approximate) {
            pairs.push(format!("l.{} = r.{}", l.name, r.name));
        }
    }
    let wanted = if rng.random_ratio(1, 3) { 2 } else { 1 };
    (0..wanted.min(pairs.len())).map(|_| pick(rng, &pairs).clone()).collect()
}

fn aggregate(rng: &mut SmallRng, relations: &[Relation], depth: usize) -> Query {
    let from = source(rng, relations, depth, "s");
    let usable: Vec<Column> = from.columns.iter().filter(|c| !c.approximate && c.of != Type::List).cloned().collect();
    let mut items = Vec::new();
    let mut columns = Vec::new();
    let mut keys = Vec::new();
    let keys_wanted = if usable.is_empty() { 0 } else { *pick(rng, &[0, 1, 1, 1, 2, 3]) };
    for _ in 0..keys_wanted {
        let of = pick(rng, &usable).of;
        let depth = usize::from(rng.random_ratio(1, 4));
        let key = expression(rng, &usable, of, depth);
        if key.starts_with('\'') || key.starts_with("NULL") || key == "true" || key == "false" || keys.contains(&key) {
            continue;
        }
        items.push(format!("{key} AS o{}", columns.len()));
        columns.push(Column { name: format!("o{}", columns.len()), of, approximate: false });
        keys.push(key);
    }
    for number in 0..rng.random_range(1..5) {
        let (call, of, approximate) = call(rng, &usable, from.append_only, number == 0);
        items.push(format!("{call} AS o{}", columns.len()));
        columns.push(Column { name: format!("o{}", columns.len()), of, approximate });
    }
    let group = if keys.is_empty() { String::new() } else { format!(" GROUP BY {}", keys.join(", ")) };
    let having = if rng.random_ratio(1, 4) { format!(" HAVING count(*) > {}", rng.random_range(0..4)) } else { String::new() };
    let sql = format!("SELECT {} FROM {}{}{group}{having}", items.join(", "), from.sql, filter(rng, &from.columns));
    Query { sql, columns, append_only: false }
}
