//! Compares the rows of a view with those of its batch, as bags.

use headwater_types::Result;

use crate::scripts::views::difference;
use datafusion::arrow::array::RecordBatch;

use super::relation::Column;

type Row = Vec<Option<String>>;

/// Says how `view` differs from `batch`, or that they are the same bag of rows; approximate columns may differ in their last digits.
///
/// # Errors
/// The difference.
pub fn same_rows(name: &str, columns: &[Column], view: &[RecordBatch], batch: &[RecordBatch]) -> Result<(), String> {
    let (view, batch) = (sorted(columns, view)?, sorted(columns, batch)?);
    let same = view.len() == batch.len() && view.iter().zip(&batch).all(|(a, b)| same_row(columns, a, b));
    if same { Ok(()) } else { Err(difference(name, &lines(&view), &lines(&batch))) }
}

/// Rows in text forms, sorted by the exact columns first, so that rows that belong together stand at the same place.
fn sorted(columns: &[Column], batches: &[RecordBatch]) -> Result<Vec<Row>, String> {
    let mut rows: Vec<Row> = Vec::new();
    for batch in batches {
        rows.extend(headwater_pgwire::text_rows(batch).map_err(|e| e.to_string())?);
    }
    let exact = |row: &Row| row.iter().zip(columns).filter(|(_, c)| !c.approximate).map(|(cell, _)| cell.clone()).collect::<Row>();
    rows.sort_by_cached_key(|row| (exact(row), row.clone()));
    Ok(rows)
}

fn same_row(columns: &[Column], a: &Row, b: &Row) -> bool {
    a.len() == b.len()
        && a.iter().zip(b).zip(columns).all(|((a, b), column)| a == b || (column.approximate && is_near(a.as_ref(), b.as_ref())))
}

/// True if both are numbers and equal to nine digits, or so large that squares have left the range.
fn is_near(a: Option<&String>, b: Option<&String>) -> bool {
    let number = |text: Option<&String>| text.and_then(|t| t.parse::<f64>().ok());
    match (number(a), number(b)) {
        (Some(a), Some(b)) if a.is_finite() && b.is_finite() && a.abs().max(b.abs()) < 1e100 => {
            (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(1.0)
        }
        (Some(_), Some(_)) => true,
        _ => false,
    }
}

fn lines(rows: &[Row]) -> Vec<String> {
    let line = |row: &Row| row.iter().map(|cell| cell.as_deref().unwrap_or("NULL")).collect::<Vec<_>>().join(" | ");
    let mut lines: Vec<String> = rows.iter().map(line).collect();
    lines.sort_unstable();
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_near_but_null_is_not_a_number() {
        let text = |t: &str| Some(t.to_string());
        assert!(is_near(text("0.1").as_ref(), text("0.10000000000001").as_ref()));
        assert!(!is_near(text("0.1").as_ref(), text("0.11").as_ref()));
        assert!(!is_near(text("0").as_ref(), None));
    }
}
