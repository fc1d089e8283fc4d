//! Random changes of tables: INSERT, UPDATE and DELETE.

use rand::Rng;
use rand::rngs::SmallRng;

use super::expression::predicate;
use super::relation::Table;
use super::values::{literal, pick};

/// A statement that changes one of `tables`.
pub fn statement(rng: &mut SmallRng, tables: &mut [Table]) -> String {
    let at = rng.random_range(0..tables.len());
    let table = &mut tables[at];
    if table.relation.append_only || rng.random_bool(0.55) {
        return insert(rng, table);
    }
    if rng.random_bool(0.5) { delete(rng, table) } else { update(rng, table) }
}

fn insert(rng: &mut SmallRng, table: &mut Table) -> String {
    let most = if rng.random_ratio(1, 10) { 60 } else { 8 };
    let rows: Vec<String> = (0..rng.random_range(1..most)).map(|_| table.row(rng)).collect();
    format!("INSERT INTO {} VALUES {}", table.relation.name, rows.join(", "))
}

fn delete(rng: &mut SmallRng, table: &Table) -> String {
    if rng.random_ratio(1, 12) {
        return format!("DELETE FROM {}", table.relation.name);
    }
    format!("DELETE FROM {} WHERE {}", table.relation.name, condition(rng, table))
}

fn update(rng: &mut SmallRng, table: &Table) -> String {
    let column = pick(rng, &table.relation.columns[1..]);
    let same_type: Vec<_> = table.relation.columns[1..].iter().filter(|other| other.of == column.of).collect();
    let value = if rng.random_ratio(1, 4) { pick(rng, &same_type).name.clone() } else { literal(rng, column.of) };
    format!("UPDATE {} SET {} = {value} WHERE {}", table.relation.name, column.name, condition(rng, table))
}

/// Either a few ids or any condition over the columns.
fn condition(rng: &mut SmallRng, table: &Table) -> String {
    if rng.random_bool(0.5) {
        let top = table.next_id.max(20);
        let ids: Vec<String> = (0..rng.random_range(1..6)).map(|_| rng.random_range(0..top).to_string()).collect();
        return format!("id IN ({})", ids.join(", "));
    }
    predicate(rng, &table.relation.columns, 2)
}
