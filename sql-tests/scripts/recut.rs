//! Cuts the INSERTs of a script into other epochs, which no answer may show.

use crate::slt::ScriptRecord;
use datafusion::sql::sqlparser::ast::{Expr, Insert, Parens, SetExpr, Statement};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;
use sqllogictest::StatementExpect;

use super::event_times::EventTimes;

/// Each INSERT of several rows as one a row.
///
/// Lateness is judged by the watermark before the epoch, so where watermarks move is part of the script's meaning: of an INSERT into a table with a
/// watermark, rows that move none come first, each for itself, and the others stay together.
pub fn split(records: Vec<ScriptRecord>) -> Vec<ScriptRecord> {
    let mut cutter = Cutter::default();
    records.into_iter().flat_map(|record| cutter.split(record)).collect()
}

/// Neighbouring INSERTs into the same columns of the same table as one, unless the first moves a watermark.
pub fn merge(records: Vec<ScriptRecord>) -> Vec<ScriptRecord> {
    let mut cutter = Cutter::default();
    let mut out: Vec<ScriptRecord> = Vec::new();
    let mut is_quiet = false;
    for record in records {
        if matches!(record, ScriptRecord::Newline | ScriptRecord::Comment(_)) {
            continue;
        }
        let insert = cutter.insert(&record);
        let before = out.last().filter(|_| is_quiet).and_then(|last| cutter.insert(last));
        is_quiet = insert.as_ref().is_some_and(|insert| cutter.times.is_quiet(insert));
        match (insert, before) {
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
    times: EventTimes,
    in_block: bool,
}

impl Cutter {
    fn split(&mut self, record: ScriptRecord) -> Vec<ScriptRecord> {
        let pieces = match self.insert(&record).filter(|insert| takes_all(&record, insert)) {
            Some(insert) => self.pieces(&insert).into_iter().map(|rows| piece(&record, &insert, rows)).collect(),
            None => vec![record.clone()],
        };
        self.note(&record);
        pieces
    }

    /// The rows of `insert` as they may come one after the other.
    fn pieces(&self, insert: &Insert) -> Vec<Vec<Row>> {
        let (quiet, moving): (Vec<Row>, Vec<Row>) = rows(insert).into_iter().partition(|row| self.times.is_quiet_row(insert, row));
        let moving = (!moving.is_empty()).then_some(moving);
        quiet.into_iter().map(|row| vec![row]).chain(moving).collect()
    }

    /// The INSERT of VALUES that `record` is, if it may be cut.
    fn insert(&self, record: &ScriptRecord) -> Option<Insert> {
        let ScriptRecord::Statement { sql, expected, conditions, retry: None, .. } = record else { return None };
        if self.in_block || !conditions.is_empty() || matches!(expected, StatementExpect::Error(_)) {
            return None;
        }
        parsed(sql).filter(is_plain)
    }

    fn note(&mut self, record: &ScriptRecord) {
        let sql = match record {
            ScriptRecord::Statement { expected: StatementExpect::Error(_), .. } => return,
            ScriptRecord::Statement { sql, .. } | ScriptRecord::Query { sql, .. } => sql,
            _ => return,
        };
        if let Some(insert) = parsed(sql).filter(|insert| self.times.has(insert)) {
            let plain = is_plain(&insert) && !self.in_block;
            self.times.note_insert(&insert, plain);
        }
        let upper = sql.to_uppercase();
        let words: Vec<&str> = upper.split([' ', '\n', '(']).filter(|w| !w.is_empty()).collect();
        match words.as_slice() {
            ["BEGIN" | "START", ..] => self.in_block = true,
            ["COMMIT" | "ROLLBACK" | "END" | "ABORT", ..] => self.in_block = false,
            ["CREATE", "TABLE", "IF", "NOT", "EXISTS", name, ..] | ["CREATE", "TABLE", name, ..] => self.times.note_create(name, sql),
            _ => {}
        }
    }
}

/// False if the script counts on rows that are refused.
fn takes_all(record: &ScriptRecord, insert: &Insert) -> bool {
    match record {
        ScriptRecord::Statement { expected: StatementExpect::Count(count), .. } => *count == rows(insert).len() as u64,
        _ => true,
    }
}

/// `record` with these rows of its `insert` only.
fn piece(record: &ScriptRecord, insert: &Insert, rows: Vec<Row>) -> ScriptRecord {
    let expected = match record {
        ScriptRecord::Statement { expected: StatementExpect::Count(_), .. } => StatementExpect::Count(rows.len() as u64),
        ScriptRecord::Statement { expected, .. } => expected.clone(),
        _ => StatementExpect::Ok,
    };
    with_sql(record.clone(), with_rows(insert, rows), expected)
}

fn parsed(sql: &str) -> Option<Insert> {
    let statements = Parser::parse_sql(&PostgreSqlDialect {}, sql).ok()?;
    match statements.as_slice() {
        [Statement::Insert(insert)] => Some(insert.clone()),
        _ => None,
    }
}

/// True for an INSERT of VALUES, and nothing more.
fn is_plain(insert: &Insert) -> bool {
    let is_values = insert.source.as_ref().is_some_and(|query| matches!(query.body.as_ref(), SetExpr::Values(_)));
    insert.on.is_none() && insert.returning.is_none() && is_values
}

pub(super) type Row = Parens<Vec<Expr>>;

pub(super) fn rows(insert: &Insert) -> Vec<Row> {
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
        let conflict = ["INSERT INTO t VALUES (1), (2) ON CONFLICT DO NOTHING", "INSERT INTO t SELECT 1"];
        let moving = [
            "CREATE TABLE e (id INT, at TIMESTAMP, WATERMARK FOR at AS at - INTERVAL '1 second') APPEND ONLY",
            "INSERT INTO e VALUES (1, '2025-01-01 00:00:01'), (2, '2025-01-01 00:00:02')",
            "INSERT INTO e VALUES (3, '2025-01-01 00:00:03')",
            "INSERT INTO e VALUES (4, NULL)",
            "INSERT INTO e VALUES (5, '2025-01-01 00:00:01'), (6, '2025-01-01 00:00:01')",
        ];
        for statements in [&block[..], &conflict[..], &moving[..]] {
            assert_eq!(sqls(&split(parse(statements))), statements);
            assert_eq!(sqls(&merge(parse(statements))), statements);
        }
    }

    #[test]
    fn rows_that_move_no_watermark_are_cut() {
        let create = "CREATE TABLE e (id INT, at TIMESTAMP, WATERMARK FOR at AS at) APPEND ONLY";
        let first = "INSERT INTO e VALUES (1, '2025-01-01 00:00:05')";
        let mixed = "INSERT INTO e VALUES (2, '2025-01-01 00:00:09'), (3, '2025-01-01 00:00:05'), (4, '2025-01-01 00:00:04.5')";
        let pieces = [
            create,
            first,
            "INSERT INTO e VALUES (3, '2025-01-01 00:00:05')",
            "INSERT INTO e VALUES (4, '2025-01-01 00:00:04.5')",
            "INSERT INTO e VALUES (2, '2025-01-01 00:00:09')",
        ];
        assert_eq!(sqls(&split(parse(&[create, first, mixed]))), pieces);
        let joined = "INSERT INTO e VALUES (3, '2025-01-01 00:00:05'), (4, '2025-01-01 00:00:04.5'), (2, '2025-01-01 00:00:09')";
        assert_eq!(sqls(&merge(parse(&pieces))), [create, first, joined]);
    }
}
