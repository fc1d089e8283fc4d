//! The batch engine as oracle: every materialized view must equal its own plan run as a batch.

use std::collections::BTreeSet;

use datafusion::arrow::array::RecordBatch;
use headwater::Session;
use headwater_types::{Error, ErrorKind};

/// The names of the views that a script made.
#[derive(Default)]
pub struct Views {
    names: BTreeSet<String>,
}

impl Views {
    /// Remembers the view that `sql` makes, if it makes one.
    pub fn note(&mut self, sql: &str) {
        let words: Vec<&str> = sql.split([' ', '\n', '\t', '(']).filter(|w| !w.is_empty()).collect();
        let upper: Vec<String> = words.iter().take(7).map(|w| w.to_ascii_uppercase()).collect();
        let at = match upper.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            ["CREATE", "MATERIALIZED", "VIEW", "IF", "NOT", "EXISTS", ..] => 6,
            ["CREATE", "MATERIALIZED", "VIEW", ..] => 3,
            _ => return,
        };
        if let Some(name) = words.get(at) {
            self.names.insert(name.trim_matches('"').to_string());
        }
    }

    /// Compares each view that exists with its batch.
    ///
    /// # Errors
    /// The first difference.
    pub async fn compare(&self, session: &mut Session) -> Result<(), String> {
        for name in &self.names {
            let batch = match session.query_oracle(name).await {
                Ok(batch) => lines(&batch).map_err(|e| e.to_string())?,
                Err(error) if is_no_oracle(&error) => continue,
                Err(error) => return Err(format!("the batch of view {name}: {error}")),
            };
            let view =
                session.query(&format!("SELECT * FROM \"{name}\"")).await.and_then(|rows| lines(&rows)).map_err(|e| e.to_string())?;
            if view != batch {
                return Err(difference(name, &view, &batch));
            }
        }
        Ok(())
    }
}

/// The view was never made or is gone, or its inputs are not kept.
fn is_no_oracle(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Unsupported) || error.sqlstate() == "42P01"
}

/// Rows as sorted lines of PostgreSQL's text forms.
///
/// # Errors
/// A type without a text form.
pub fn lines(batches: &[RecordBatch]) -> Result<Vec<String>, Error> {
    let mut lines = Vec::new();
    for batch in batches {
        for row in headwater_pgwire::text_rows(batch)? {
            let cells: Vec<String> = row.into_iter().map(|cell| cell.unwrap_or_else(|| "NULL".to_string())).collect();
            lines.push(cells.join(" | "));
        }
    }
    lines.sort_unstable();
    Ok(lines)
}

/// The rows that only one side has, for a person.
#[must_use]
pub fn difference(name: &str, view: &[String], batch: &[String]) -> String {
    let only = |these: &[String], those: &[String]| {
        let mut rest = those.to_vec();
        let mut only = Vec::new();
        for line in these {
            match rest.binary_search(line) {
                Ok(at) => drop(rest.remove(at)),
                Err(_) => only.push(line.clone()),
            }
        }
        only.truncate(20);
        only.join("\n    ")
    };
    format!("view {name} is not its query\n  only in the view:\n    {}\n  only in the batch:\n    {}", only(view, batch), only(batch, view))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_rows_are_told_apart_by_their_number() {
        let text = difference("v", &["a".into(), "a".into()], &["a".into(), "b".into()]);
        assert!(text.contains("only in the view:\n    a\n") && text.ends_with("only in the batch:\n    b"), "{text}");
    }
}
