//! What a random query may read: the tables and views of a run, with the types of their columns.

use rand::Rng;
use rand::rngs::SmallRng;

use super::values::{COLUMN_TYPES, Type, literal, pick};

/// A column: its name, its type, and whether its values are floating point results that may differ in the last digits.
#[derive(Debug, Clone)]
pub struct Column {
    pub name: String,
    pub of: Type,
    pub approximate: bool,
}

/// A table or view.
#[derive(Debug, Clone)]
pub struct Relation {
    pub name: String,
    pub columns: Vec<Column>,
    /// No row of it is ever deleted.
    pub append_only: bool,
}

/// A table, with what is needed to write to it.
#[derive(Debug, Clone)]
pub struct Table {
    pub relation: Relation,
    /// True if its first column, `id`, is the primary key.
    pub keyed: bool,
    /// The next id that is free.
    pub next_id: i64,
}

impl Table {
    /// A random table called `name`.
    pub fn random(rng: &mut SmallRng, name: String) -> Self {
        let mut columns = vec![Column { name: "id".to_string(), of: Type::Int, approximate: false }];
        for at in 0..rng.random_range(2..6) {
            columns.push(Column { name: format!("c{at}"), of: *pick(rng, &COLUMN_TYPES), approximate: false });
        }
        let append_only = rng.random_ratio(1, 4);
        let keyed = !append_only && rng.random_bool(0.6);
        Self { relation: Relation { name, columns, append_only }, keyed, next_id: 0 }
    }

    /// Its CREATE statement.
    pub fn create(&self) -> String {
        let columns = self.relation.columns.iter().enumerate().map(|(at, column)| {
            let key = if at == 0 && self.keyed { " PRIMARY KEY" } else { "" };
            format!("{} {}{key}", column.name, column.of.sql())
        });
        let columns = columns.collect::<Vec<_>>().join(", ");
        format!("CREATE TABLE {} ({columns}){}", self.relation.name, if self.relation.append_only { " APPEND ONLY" } else { "" })
    }

    /// A row of literals.
    pub fn row(&mut self, rng: &mut SmallRng) -> String {
        let id = if self.keyed { self.fresh_id(rng) } else { rng.random_range(0..20) };
        let others = self.relation.columns[1..].iter().map(|column| literal(rng, column.of));
        let cells: Vec<String> = std::iter::once(id.to_string()).chain(others).collect();
        format!("({})", cells.join(", "))
    }

    /// Mostly an id that is free, now and then one that is taken, so that refused writes are tried too.
    fn fresh_id(&mut self, rng: &mut SmallRng) -> i64 {
        if self.next_id > 0 && rng.random_ratio(1, 60) {
            return rng.random_range(0..self.next_id);
        }
        self.next_id += 1;
        self.next_id - 1
    }
}
