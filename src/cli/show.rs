//! What the command prints: messages, errors under the SQL they are about, rows as a table.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "printing is what this file is for")]

use std::io::IsTerminal;

use arrow::array::RecordBatch;
use headwater::{Error, Outcome, Statement, render};

use crate::progress::CLEAR;

/// One line that is no result. On a terminal it takes the place of the live line.
pub(crate) fn note(text: &str) {
    let clear = if std::io::stderr().is_terminal() { CLEAR } else { "" };
    eprintln!("{clear}{text}");
}

/// An error about `sql`, underlined there.
pub(crate) fn error(error: &Error, sql: Option<&str>) {
    match sql {
        Some(sql) => eprintln!("{}", render(error, sql)),
        None => eprintln!("ERROR:  {error}"),
    }
}

/// What a statement of a script did, in a line.
pub(crate) fn outcome(statement: &Statement, outcome: &Outcome) {
    for notice in &outcome.notices {
        note(&format!("{}:  {}", notice.severity, notice.message));
    }
    let first = statement.text().lines().next().unwrap_or_default();
    let name = statement.defined_name().map_or_else(|| first.to_owned(), str::to_owned);
    note(&format!("{:<24} {name}", outcome.tag));
}

/// Rows as a table, in PostgreSQL's text forms.
pub(crate) fn rows(title: &str, columns: &[String], rows: &[Vec<Option<String>>], more: bool) {
    let mut widths: Vec<usize> = columns.iter().map(|c| c.chars().count()).collect();
    for row in rows {
        for (width, value) in widths.iter_mut().zip(row) {
            *width = (*width).max(value.as_ref().map_or(0, |v| v.chars().count()));
        }
    }
    let print = |values: Vec<&str>| {
        let cells: Vec<String> = values.iter().zip(&widths).map(|(value, width)| format!(" {value:<width$} ")).collect();
        println!("{}", cells.join("|").trim_end());
    };
    println!("\n{title}");
    print(columns.iter().map(String::as_str).collect());
    println!("{}", widths.iter().map(|w| "-".repeat(w + 2)).collect::<Vec<_>>().join("+"));
    for row in rows {
        print(row.iter().map(|v| v.as_deref().unwrap_or("")).collect());
    }
    println!("({} row{}{})", rows.len(), if rows.len() == 1 { "" } else { "s" }, if more { ", more not shown" } else { "" });
}

/// The names of a batch's columns.
pub(crate) fn columns(batch: &RecordBatch) -> Vec<String> {
    batch.schema().fields().iter().map(|f| f.name().clone()).collect()
}
