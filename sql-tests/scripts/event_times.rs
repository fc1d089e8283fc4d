//! Which rows of a script move no watermark: those no newer than one that came before them. They may come in other epochs.

use std::collections::BTreeMap;

use datafusion::sql::sqlparser::ast::{Expr, Insert, Value};

use super::recut::{Row, rows};

/// Times from here on are left alone: they may lie too far ahead of the held clock, and then move nothing.
const KNOWN_BEFORE: &str = "2026";

/// The tables of a script that have a watermark.
#[derive(Default)]
pub struct EventTimes {
    tables: BTreeMap<String, Table>,
}

struct Table {
    /// The column with the event time, and its place.
    column: String,
    place: usize,
    /// The newest time that was inserted.
    newest: Option<String>,
    /// False once a row came whose time cannot be told from the script.
    is_known: bool,
}

impl EventTimes {
    /// Remembers the table that `sql` makes, if it has a watermark.
    pub fn note_create(&mut self, name: &str, sql: &str) {
        let upper = sql.to_uppercase();
        let column = upper.split("WATERMARK FOR ").nth(1).and_then(|rest| rest.split_whitespace().next());
        let Some(column) = column else {
            self.tables.remove(&name.to_lowercase());
            return;
        };
        let columns = upper.split_once('(').map_or("", |(_, columns)| columns);
        let place = split_outside_parentheses(columns).position(|part| part.split_whitespace().next() == Some(column));
        let table = Table { column: column.to_lowercase(), place: place.unwrap_or(0), newest: None, is_known: place.is_some() };
        self.tables.insert(name.to_lowercase(), table);
    }

    pub fn has(&self, insert: &Insert) -> bool {
        self.tables.contains_key(&name_of(insert))
    }

    /// True if no row of `insert` moves a watermark.
    pub fn is_quiet(&self, insert: &Insert) -> bool {
        rows(insert).iter().all(|row| self.is_quiet_row(insert, row))
    }

    /// True if `row` of `insert` moves no watermark, as long as those before it did not.
    pub fn is_quiet_row(&self, insert: &Insert, row: &Row) -> bool {
        let Some(table) = self.tables.get(&name_of(insert)) else { return true };
        let (time, newest) = (table.time(insert, row), table.newest.as_deref());
        table.is_known && time.is_some() && time <= newest
    }

    /// `insert` was executed; its rows count if they are `plain`.
    pub fn note_insert(&mut self, insert: &Insert, plain: bool) {
        let Some(table) = self.tables.get_mut(&name_of(insert)) else { return };
        for row in rows(insert) {
            let time = table.time(insert, &row).map(str::to_owned);
            table.is_known &= time.is_some();
            table.newest = table.newest.take().max(time);
        }
        table.is_known &= plain;
    }
}

impl Table {
    /// The event time of `row`, if it is a literal in the usual form: then texts are in the order of times.
    fn time<'a>(&self, insert: &Insert, row: &'a Row) -> Option<&'a str> {
        let named = insert.columns.iter().position(|column| column.to_string().to_lowercase() == self.column);
        let place = if insert.columns.is_empty() { Some(self.place) } else { named };
        let Expr::Value(value) = row.content.get(place?)? else { return None };
        let Value::SingleQuotedString(text) = &value.value else { return None };
        let form: String = text.chars().take(19).map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        (form == "0000-00-00 00:00:00" && text.as_str() < KNOWN_BEFORE).then_some(text)
    }
}

fn name_of(insert: &Insert) -> String {
    insert.table.to_string().to_lowercase()
}

/// The parts of a list up to its closing parenthesis.
fn split_outside_parentheses(list: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0;
    let end = list.find(|c| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        depth < 0
    });
    let mut depth = 0;
    list[..end.unwrap_or(list.len())].split(move |c| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        depth == 0 && c == ','
    })
}
