//! What expressions come to where PostgreSQL and DataFusion differ.

use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use headwater_types::Error;

use super::World;
use crate::{Bound, from_datafusion};

impl World {
    /// The one row of a query over no relations, values between bars.
    fn row(&mut self, sql: &str) -> Result<String, Error> {
        let bound = self.bind(sql)?;
        let Bound::Query(plan) = bound else { panic!("{sql} is no query") };
        let state = self.planner.session_state().clone();
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let batches = runtime.block_on(async {
            let physical = state.create_physical_plan(&plan).await.map_err(from_datafusion)?;
            datafusion::physical_plan::collect(physical, state.task_ctx()).await.map_err(from_datafusion)
        })?;
        let batch = batches.iter().find(|b| b.num_rows() > 0).expect("a row");
        let options = FormatOptions::default().with_null("NULL");
        let value = |c: usize| ArrayFormatter::try_new(batch.column(c), &options).expect("a format").value(0).to_string();
        Ok((0..batch.num_columns()).map(value).collect::<Vec<_>>().join(" | "))
    }

    fn columns(&mut self, sql: &str) -> Vec<String> {
        let columns = self.bind(sql).expect("a query").columns().expect("columns");
        columns.fields().iter().map(|f| f.name().clone()).collect()
    }

    fn types(&mut self, sql: &str) -> Vec<String> {
        let columns = self.bind(sql).expect("a query").columns().expect("columns");
        columns.fields().iter().map(|f| crate::type_names::sql_name(f)).collect()
    }
}

#[test]
fn values() {
    let mut world = World::new();
    let mut wrong = Vec::new();
    for (sql, expected) in [
        ("SELECT 7 / 2, -7 / 2, 7 % 3, -7 % 3", "3 | -3 | 1 | -1"),
        ("SELECT 2 + 3 * 4, abs(-5), 'a' || 'b', coalesce(NULL, 'c')", "14 | 5 | ab | c"),
        ("SELECT '42'::INT, CAST(2.5 AS INT), 42::VARCHAR, CAST(-2.5 AS BIGINT)", "42 | 3 | 42 | -3"),
        (
            "SELECT true::VARCHAR, DATE '2025-01-02'::VARCHAR, TIMESTAMP '2025-01-02 03:04:05'::VARCHAR",
            "true | 2025-01-02 | 2025-01-02 03:04:05",
        ),
        ("SELECT 100000::DOUBLE PRECISION::VARCHAR, 1e20::DOUBLE PRECISION::TEXT, (0.1::REAL)::TEXT", "100000 | 1e+20 | 0.1"),
        ("SELECT 0.1 + 0.2, 1e300, 1e2", "0.3 | 1e300 | 100"),
        ("SELECT DATE '2024-02-29' + INTERVAL '1 day', DATE '2024-03-01' - DATE '2024-02-01'", "2024-03-01T00:00:00 | 29"),
        ("SELECT 'NaN'::DOUBLE PRECISION::TEXT, 'Infinity'::DOUBLE PRECISION::TEXT, '-Infinity'::REAL::TEXT", "NaN | Infinity | -Infinity"),
        ("SELECT (INTERVAL '14 months')::TEXT, (INTERVAL '90 minutes')::TEXT", "1 year 2 mons | 01:30:00"),
        (
            "SELECT '\\x00ff10'::BYTEA::TEXT, 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'::UUID::TEXT",
            "\\x00ff10 | a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        ),
        ("SELECT 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::UUID = 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'", "true"),
        ("SELECT 5 = '5', '2' IN (1, 2), 3 BETWEEN '1' AND '4'", "true | true | true"),
        ("SELECT NULL::BOOLEAN IS NULL, NOT NULL::BOOLEAN", "true | NULL"),
        ("SELECT CASE WHEN 1 > 2 THEN 'more' ELSE 'less' END, nullif('a', 'a')", "less | NULL"),
        ("SELECT length('Zürich'), substring('headwater' FROM 1 FOR 4), trim('  x  ')", "6 | head | x"),
        ("SELECT TIMESTAMP '2025-01-31 10:00:00' + INTERVAL '1 month'", "2025-02-28T10:00:00"),
        ("SELECT '2025-01-31 10:00:00+02'::TIMESTAMPTZ", "2025-01-31T08:00:00Z"),
        ("SELECT current_user, current_database(), current_schema", "root | dev | public"),
        ("SELECT 1, 1, 1 + 1", "1 | 1 | 2"),
        ("SELECT count(*) FROM generate_series(1, 10)", "10"),
        ("SELECT x.a, x.b FROM (VALUES (1, 'one')) AS x (a, b)", "1 | one"),
        ("SELECT a FROM (VALUES (3), (1), (2)) AS x (a) ORDER BY 1 LIMIT 1 OFFSET 1", "2"),
        (
            "SELECT window_start, window_end FROM TUMBLE((SELECT TIMESTAMP '2025-01-01 00:59:59' AS at), at, INTERVAL '1 hour')",
            "2025-01-01T00:00:00 | 2025-01-01T01:00:00",
        ),
        (
            "SELECT count(*), min(window_start), max(window_end) FROM HOP((SELECT TIMESTAMP '2025-01-01 00:59:59' AS at), at, INTERVAL '1 hour', INTERVAL '3 hours')",
            "3 | 2024-12-31T22:00:00 | 2025-01-01T03:00:00",
        ),
        (
            "SELECT sum(a), avg(a), sum(b) FROM (VALUES (1, 2::BIGINT), (2, 9223372036854775807)) AS x (a, b)",
            "3 | 1.5000000000000000 | 9223372036854775809",
        ),
    ] {
        match world.row(sql) {
            Ok(found) if found == expected => {}
            Ok(found) => wrong.push(format!("{sql}\n   expected {expected}\n   found    {found}")),
            Err(error) => wrong.push(format!("{sql}\n   {} {error}", error.sqlstate())),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn failures() {
    let mut world = World::new();
    let mut wrong = Vec::new();
    for (sql, state) in [
        ("SELECT 1 / 0", "22012"),
        ("SELECT 2147483647 + 1", "22003"),
        ("SELECT 9223372036854775807 + 1", "22003"),
        ("SELECT 32767::SMALLINT * 2::SMALLINT", "22003"),
        ("SELECT 40000::SMALLINT", "22003"),
        ("SELECT 'x'::INT", "22P02"),
        ("SELECT 1 = 'x'", "22P02"),
        ("SELECT 'no time'::TIMESTAMP", "22007"),
        ("SELECT 'no uuid'::UUID", "22P02"),
        ("SELECT 'x'::BOOLEAN", "22P02"),
        ("SELECT 100000000::NUMERIC(10, 2)", "22003"),
    ] {
        match world.row(sql) {
            Ok(found) => wrong.push(format!("{sql}\n   expected {state}\n   found    {found}")),
            Err(error) if error.sqlstate() == state => {}
            Err(error) => wrong.push(format!("{sql}\n   expected {state}\n   found    {} {error}", error.sqlstate())),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn names_and_types_of_results() {
    let mut world = World::new();
    world.bind(super::RELATIONS).expect("relations");
    let names =
        world.columns("SELECT 1, 2, count(*), sum(a), a, t.b, a::BIGINT, 'x'::TEXT, CASE WHEN true THEN 1 END FROM t GROUP BY a, b");
    assert_eq!(names, ["?column?", "?column?", "count", "sum", "a", "b", "a", "varchar", "case"]);
    let types = world.types("SELECT 1, 3000000000, 1.5, 'x', a + 1, b + 1, now(), a / 2, count(*), sum(a), sum(b), avg(a), length(s), NULL FROM t GROUP BY a, b, s");
    let expected = [
        "integer",
        "bigint",
        "numeric(2,1)",
        "character varying",
        "integer",
        "bigint",
        "timestamp with time zone",
        "integer",
        "bigint",
        "bigint",
        "numeric(38,0)",
        "numeric(38,16)",
        "integer",
        "character varying",
    ];
    assert_eq!(types, expected);
}

#[test]
fn parameters_take_the_types_of_what_they_stand_beside() {
    use datafusion::arrow::datatypes::DataType;
    let mut world = World::new();
    world.bind(super::RELATIONS).expect("relations");
    let mut of = |sql: &str| world.bind(sql).expect("bound").parameters().expect("numbered");
    assert_eq!(of("SELECT * FROM t WHERE id = $1 AND s = $2"), [DataType::Int32, DataType::Utf8]);
    assert_eq!(of("INSERT INTO t (id, b, s) VALUES ($1, $3, $2)"), [DataType::Int32, DataType::Utf8, DataType::Int64]);
    assert_eq!(of("DELETE FROM t WHERE b > $1"), [DataType::Int64]);
    assert_eq!(of("SELECT 1"), []);
    let bound = world.bind("SELECT * FROM t WHERE id = $1").expect("bound");
    let replaced = bound.with_parameters(&[datafusion::scalar::ScalarValue::Utf8(Some("7".into()))]).expect("castable");
    assert_eq!(replaced.parameters().expect("none left"), []);
}
