//! Cuts the INSERTs of a script into other epochs, which no answer may show.

use std::collections::BTreeSet;

use crate::slt::ScriptRecord;
use datafusion::sql::sqlparser::ast::{Expr, Insert, Parens, SetExpr, Statement};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;
use sqllogictest::StatementExpect;

/// Each INSERT of several rows as one a row.
///
/// Tables with a watermark stay as they are: lateness is judged by the epoch, so its cuts are part of the script's meaning.
pub fn split(records: Vec<ScriptRecord>) -> Vec<ScriptRecord> {
    let mut cutter = Cutter::default();
    records.into_iter().flat_map(|record| cutter.split(record)).collect()
}

/// Neighbouring INSERTs into the same columns of the same table as one.
pub fn merge(records: Vec<ScriptRecord>) -> Vec<ScriptRecord> {
    let mut cutter = Cutter::default();
    let mut out: Vec<ScriptRecord> = Vec::new();
    for record in records {
        if matches!(record, ScriptRecord::Newline | ScriptRecord::Comment(_)) {
            continue;
        }
        match (cutter.insert(&record), out.last().and_then(|last| cutter.insert(last))) {
            (Some(insert), Some(before)) if same_target(&insert, &before) => {
                let merged = with_rows(&before, [rows(&before), rows(&insert)].concat());
                let last = out.pop().expect("there is one before");
                out.push(with_sql(last, merged, StatementExpect::Ok));
            }
            _ => out.push(record.clone()),
        }
        cutter.note(&record);
    }
    out
}

/// What was seen of the script so far.
#[derive(Default)]
struct Cutter {
    watermarked: BTreeSet<String>,
    in_block: bool,
}

impl Cutter {
    fn split(&mut self, record: ScriptRecord) -> Vec<ScriptRecord> {
        let pieces = match (self.insert(&record), &record) {
            (Some(insert), ScriptRecord::Statement { expected, .. }) => {
                let expected = match expected {
                    StatementExpect::Count(_) => StatementExpect::Count(1),
                    other => other.clone(),
                };
                let one = |row| with_sql(record.clone(), with_rows(&insert, vec![row]), expected.clone());
                rows(&insert).into_iter().map(one).collect()
            }
            _ => vec![record.clone()],
        };
        self.note(&record);
        pieces
    }

    /// The INSERT of VALUES that `record` is, if it may be cut.
    fn insert(&self, record: &ScriptRecord) -> Option<Insert> {
        let ScriptRecord::Statement { sql, expected, conditions, retry: None, .. } = record else { return None };
        if self.in_block || !conditions.is_empty() || matches!(expected, StatementExpect::Error(_)) {
            return None;
        }
        let statements = Parser::parse_sql(&PostgreSqlDialect {}, sql).ok()?;
        let [Statement::Insert(insert)] = statements.as_slice() else { return None };
        let plain =
            insert.on.is_none() && insert.returning.is_none() && !self.watermarked.contains(&insert.table.to_string().to_lowercase());
        let values = matches!(insert.source.as_ref()?.body.as_ref(), SetExpr::Values(_));
        (plain && values).then(|| insert.clone())
    }

    fn note(&mut self, record: &ScriptRecord) {
        let ScriptRecord::Statement { sql, .. } = record else { return };
        let upper = sql.to_uppercase();
        let words: Vec<&str> = upper.split([' ', '\n', '(']).filter(|w| !w.is_empty()).collect();
        match words.as_slice() {
            ["BEGIN" | "START", ..] => self.in_block = true,
            ["COMMIT" | "ROLLBACK" | "END" | "ABORT", ..] => self.in_block = false,
            ["CREATE", "TABLE", "IF", "NOT", "EXISTS", name, ..] | ["CREATE", "TABLE", name, ..] if upper.contains("WATERMARK FOR") => {
                self.watermarked.insert(name.to_lowercase());
            }
            _ => {}
        }
    }
}

type Row = Parens<Vec<Expr>>;

fn rows(insert: &Insert) -> Vec<Row> {
    match insert.source.as_ref().map(|query| query.body.as_ref()) {
        Some(SetExpr::Values(values)) => values.rows.clone(),
        _ => Vec::new(),
    }
}

fn with_rows(insert: &Insert, rows: Vec<Row>) -> String {
    let mut insert = insert.clone();
    if let Some(SetExpr::Values(values)) = insert.source.as_mut().map(|query| query.body.as_mut()) {
        values.rows = rows;
    }
    insert.to_string()
}

fn same_target(one: &Insert, other: &Insert) -> bool {
    one.table == other.table && one.columns == other.columns
}

fn with_sql(record: ScriptRecord, new_sql: String, new_expected: StatementExpect) -> ScriptRecord {
    match record {
        ScriptRecord::Statement { loc, conditions, connection, retry, .. } => {
            ScriptRecord::Statement { loc, conditions, connection, sql: new_sql, expected: new_expected, retry }
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sqls(records: &[ScriptRecord]) -> Vec<&str> {
        let mut sqls = Vec::new();
        for record in records {
            if let ScriptRecord::Statement { sql, .. } = record {
                sqls.push(sql.as_str());
            }
        }
        sqls
    }

    fn parse(statements: &[&str]) -> Vec<ScriptRecord> {
        let text: String = statements.iter().map(|s| format!("statement ok\n{s}\n\n")).collect();
        sqllogictest::parse(&text).unwrap()
    }

    #[test]
    fn inserts_are_split_and_merged() {
        let records = parse(&["INSERT INTO t VALUES (1, 'a'), (2, 'b')", "INSERT INTO t VALUES (3, 'c')", "INSERT INTO u VALUES (1)"]);
        let split = split(records.clone());
        assert_eq!(sqls(&split)[..2], ["INSERT INTO t VALUES (1, 'a')", "INSERT INTO t VALUES (2, 'b')"]);
        assert_eq!(split.iter().filter(|r| matches!(r, ScriptRecord::Statement { .. })).count(), 4);
        assert_eq!(sqls(&merge(records)), ["INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'c')", "INSERT INTO u VALUES (1)"]);
    }

    #[test]
    fn what_a_cut_could_change_is_left_alone() {
        let block = ["BEGIN", "INSERT INTO t VALUES (1), (2)", "COMMIT"];
        let watermark = [
            "CREATE TABLE e (at TIMESTAMP, WATERMARK FOR at AS at) APPEND ONLY",
            "INSERT INTO e VALUES ('a'), ('b')",
            "INSERT INTO e VALUES ('c')",
        ];
        let conflict = ["INSERT INTO t VALUES (1), (2) ON CONFLICT DO NOTHING", "INSERT INTO t SELECT 1"];
        for statements in [&block[..], &watermark[..], &conflict[..]] {
            assert_eq!(sqls(&split(parse(statements))), statements);
            assert_eq!(sqls(&merge(parse(statements))), statements);
        }
    }
}
