//! The batch engine as oracle: every materialized view must equal its own plan run as a batch.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use datafusion::arrow::array::RecordBatch;
use headwater::Session;
use headwater_types::{Error, ErrorKind};

/// Why a view may have no oracle: words of the error, and what they mean.
const REASONS: [(&str, &str); 3] = [
    ("rows in $errors", "it has rows in $errors, on which the batch fails as a whole"),
    ("over this relation", "what it reads is not kept"),
    ("has no end, and its rows are not kept", "its source has no end"),
];

/// What the comparisons of all scripts came to.
#[derive(Default)]
pub struct Comparisons {
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    compared: usize,
    /// Views that had no oracle at some point of their script, by reason.
    skipped: BTreeMap<&'static str, BTreeSet<String>>,
}

impl Comparisons {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn skip(&self, reason: &'static str, view: String) {
        self.counts().skipped.entry(reason).or_default().insert(view);
    }

    /// False if no script was run this way.
    #[must_use]
    pub fn is_any(&self) -> bool {
        let counts = self.counts();
        counts.compared > 0 || !counts.skipped.is_empty()
    }
}

impl fmt::Display for Comparisons {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = self.counts();
        write!(f, "batch: {} comparisons of a view with its query", counts.compared)?;
        for (reason, views) in &counts.skipped {
            let views: Vec<&str> = views.iter().map(String::as_str).collect();
            write!(f, "\nbatch: {} views were not compared at some point: {reason}: {}", views.len(), views.join(", "))?;
        }
        Ok(())
    }
}

/// The views that a script made.
pub struct Views<'a> {
    script: String,
    names: BTreeSet<String>,
    comparisons: &'a Comparisons,
}

impl<'a> Views<'a> {
    /// Those of `script`, counted in `comparisons`.
    pub fn new(script: String, comparisons: &'a Comparisons) -> Self {
        Self { script, names: BTreeSet::new(), comparisons }
    }

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
    /// The first difference, or why a view has no batch if that is not among the known reasons.
    pub async fn compare(&self, session: &mut Session) -> Result<(), String> {
        for name in &self.names {
            let batch = match session.query_oracle(name).await {
                Ok(batch) => lines(&batch).map_err(|e| e.to_string())?,
                Err(error) if is_gone(&error) => continue,
                Err(error) => match REASONS.iter().find(|reason| error.message().contains(reason.0)) {
                    Some((_, reason)) => {
                        self.comparisons.skip(reason, format!("{}::{name}", self.script));
                        continue;
                    }
                    None => return Err(format!("the batch of view {name}: {error}")),
                },
            };
            let view =
                session.query(&format!("SELECT * FROM \"{name}\"")).await.and_then(|rows| lines(&rows)).map_err(|e| e.to_string())?;
            if view != batch {
                return Err(difference(name, &view, &batch));
            }
            self.comparisons.counts().compared += 1;
        }
        Ok(())
    }
}

/// The view was dropped, or never made.
fn is_gone(error: &Error) -> bool {
    error.kind() == ErrorKind::NotFound || error.sqlstate() == "42P01"
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
