//! The query of a view, cut out of the statement that made it.

use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

/// What follows the first `AS` of `CREATE [MATERIALIZED] VIEW … AS …`; the whole text where there is none.
#[must_use]
pub fn query_of(sql: &str) -> String {
    let Ok(tokens) = Tokenizer::new(&PostgreSqlDialect {}, sql).tokenize_with_location() else {
        return sql.to_owned();
    };
    let after = tokens.iter().position(|t| matches!(&t.token, Token::Word(w) if w.keyword == Keyword::AS));
    let Some(end) = after.map(|at| tokens[at].span.end) else {
        return sql.to_owned();
    };
    // Tokens count lines and columns from 1, in characters.
    let mut line = 1;
    let mut column = 1;
    for (offset, character) in sql.char_indices() {
        if (line, column) == (end.line, end.column) {
            return sql[offset..].trim().to_owned();
        }
        if character == '\n' {
            line += 1;
            column = 1;
        } else {
            column += 1;
        }
    }
    sql.to_owned()
}

#[cfg(test)]
mod tests {
    use super::query_of;

    #[test]
    fn the_query_is_what_follows_as() {
        assert_eq!(query_of("CREATE VIEW v AS SELECT 1 AS a"), "SELECT 1 AS a");
        assert_eq!(query_of("create materialized view \"x AS y\"\n  (a) as\n select 'é' as a\n from t"), "select 'é' as a\n from t");
        assert_eq!(query_of("nothing of the kind"), "nothing of the kind");
    }
}
