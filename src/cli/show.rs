//! What the command prints: messages, errors under the SQL they are about, rows as a table.
#![allow(clippy::print_stderr, reason = "printing is what this file is for")]

use std::io::{IsTerminal, Write};

use arrow::datatypes::Schema;
use headwater::{CopyFormat, CopyKind, Error, Notice, Outcome, Result, Rows, Statement, render};
use headwater_pgwire::CopyEncoder;

/// Puts the cursor at the start of an empty line.
pub(crate) const CLEAR: &str = "\r\x1b[2K";

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

/// What a statement of a script did: its notices, its rows on standard output, a line.
pub(crate) async fn outcome(statement: &Statement, outcome: Outcome) -> Result<()> {
    let Outcome { tag, notices, rows, copy } = outcome;
    tell(&notices);
    match (rows, copy) {
        (Some(rows), CopyKind::Out(format)) => lines(rows, &format).await?,
        (Some(rows), _) => table(rows).await?,
        (None, _) => {}
    }
    let first = statement.text().lines().next().unwrap_or_default();
    let name = statement.defined_name().map_or_else(|| first.to_owned(), str::to_owned);
    note(&format!("{tag:<24} {name}"));
    Ok(())
}

fn tell(notices: &[Notice]) {
    for notice in notices {
        note(&format!("{}:  {}", notice.severity, notice.message));
    }
}

/// Rows as COPY … TO STDOUT gives them, as they come.
async fn lines(mut rows: Rows, format: &CopyFormat) -> Result<()> {
    let encoder = CopyEncoder::new(rows.schema.clone(), format)?;
    let mut text = encoder.header().unwrap_or_default();
    while let Some(batch) = rows.next().await? {
        encoder.each_line(&batch, |line| text.extend_from_slice(line))?;
        print(&String::from_utf8_lossy(&text));
        text.clear();
    }
    print(&String::from_utf8_lossy(&text));
    tell(&rows.notices());
    Ok(())
}

async fn table(mut rows: Rows) -> Result<()> {
    let table = Table::read(&mut rows).await?;
    tell(&rows.notices());
    print(&table.text());
    Ok(())
}

/// Rows in PostgreSQL's text forms, shown as psql shows them.
pub(crate) struct Table {
    columns: Vec<String>,
    /// Numbers stand to the right.
    is_number: Vec<bool>,
    /// The rows; None is NULL.
    pub rows: Vec<Vec<Option<String>>>,
    /// There are more rows than these.
    pub more: bool,
}

impl Table {
    /// No rows yet.
    fn new(schema: &Schema) -> Self {
        let columns = schema.fields().iter().map(|f| f.name().clone()).collect();
        Self { columns, is_number: schema.fields().iter().map(|f| f.data_type().is_numeric()).collect(), rows: Vec::new(), more: false }
    }

    /// All of `rows`.
    ///
    /// # Errors
    /// The first error of their stream.
    pub async fn read(rows: &mut Rows) -> Result<Self> {
        let mut table = Self::new(&rows.schema);
        while let Some(batch) = rows.next().await? {
            table.rows.extend(headwater_pgwire::text_rows(&batch)?);
        }
        Ok(table)
    }

    /// The table, with an empty line behind it.
    pub fn text(&self) -> String {
        let width = |at: usize| {
            let values = self.rows.iter().filter_map(|row| row[at].as_deref()).chain([self.columns[at].as_str()]);
            values.map(|value| value.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let header: Vec<String> = self.columns.iter().zip(&widths).map(|(name, &width)| format!(" {name:^width$} ")).collect();
        let mut lines = vec![header.join("|"), widths.iter().map(|w| "-".repeat(w + 2)).collect::<Vec<_>>().join("+")];
        lines.extend(self.rows.iter().map(|row| self.line(row, &widths)));
        let (count, plural) = (self.rows.len(), if self.rows.len() == 1 { "" } else { "s" });
        lines.push(format!("({count} row{plural}{})", if self.more { ", more not shown" } else { "" }));
        lines.iter().map(|line| format!("{}\n", line.trim_end())).collect::<String>() + "\n"
    }

    fn line(&self, row: &[Option<String>], widths: &[usize]) -> String {
        let cell = |((value, &width), &is_number): ((&Option<String>, &usize), &bool)| {
            let value = value.as_deref().unwrap_or_default();
            if is_number { format!(" {value:>width$} ") } else { format!(" {value:<width$} ") }
        };
        row.iter().zip(widths).zip(&self.is_number).map(cell).collect::<Vec<_>>().join("|")
    }
}

/// Puts `text` on standard output.
pub(crate) fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    // Whoever read it may be gone: the script goes on.
    let _unread = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field, Schema};

    use super::Table;

    #[test]
    fn a_table_looks_as_in_psql() {
        let schema = Schema::new(vec![Field::new("name", DataType::Utf8, true), Field::new("n", DataType::Int64, true)]);
        let mut table = Table::new(&schema);
        table.rows = vec![vec![Some("a".into()), Some("100".into())], vec![None, Some("7".into())]];
        assert_eq!(table.text(), " name |  n\n------+-----\n a    | 100\n      |   7\n(2 rows)\n\n");
    }
}
