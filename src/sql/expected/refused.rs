//! What is refused or wrong, with its SQLSTATE, words, and the text that is underlined.

use super::World;

/// The statement, SQLSTATE, a part of the message or hint, and the underlined text.
type Case = (&'static str, &'static str, &'static str, &'static str);

fn underlined(sql: &str, place: Option<(usize, usize)>) -> String {
    place.map_or_else(String::new, |(offset, length)| sql.chars().skip(offset - 1).take(length).collect())
}

fn check(cases: &[Case]) {
    let mut world = World::new();
    world.bind(super::RELATIONS).expect("relations");
    let mut wrong = Vec::new();
    for (sql, state, words, text) in cases {
        let error = world.error(sql);
        let said = format!("{error}");
        let found = (error.sqlstate(), underlined(sql, error.place()));
        if found != (*state, (*text).to_owned()) || !said.to_lowercase().contains(&words.to_lowercase()) {
            wrong.push(format!("{sql}\n   expected {state} {words:?} at {text:?}\n   found    {} {said:?} at {:?}", found.0, found.1));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn syntax() {
    check(&[
        ("SELEC 1", "42601", "syntax error at or near \"SELEC\"", "SELEC"),
        ("SELECT FROM WHERE", "42601", "syntax error", "WHERE"),
        ("CREATE TABLE", "42601", "end of input", ""),
        ("SELECT 1;\nSELECT (2;\nSELECT 3", "42601", "end of input", ";"),
        ("SELECT 'abc", "42601", "unterminated", "'"),
        ("CREATE TABLE x (a INT, a INT)", "42701", "specified more than once", "a"),
        ("CREATE TABLE x (a INT) WITH (nonsense = 1)", "42000", "no option 'nonsense'", "nonsense"),
        ("CREATE TABLE x (a NONSENSE)", "42704", "type \"NONSENSE\" does not exist", "NONSENSE"),
        ("CREATE TABLE x (a INT PRIMARY KEY, PRIMARY KEY (a))", "42P16", "multiple primary keys", "a"),
        ("CREATE SOURCE x (a INT) FORMAT PLAIN ENCODE NOISE", "0A000", "ENCODE NOISE", "NOISE"),
        ("CREATE SOURCE x (a INT)", "42000", "needs WITH (connector", "x"),
        ("CREATE SOURCE x (a INT) INCLUDE keey WITH (connector = 'x')", "42000", "did you mean key?", "keey"),
        ("CREATE DATABASE other", "0A000", "data directory", "DATABASE"),
        ("CREATE INDEX i ON t (a)", "0A000", "CREATE INDEX", "INDEX"),
        ("ALTER TABLE t ADD COLUMN x INT", "0A000", "ALTER", "ALTER"),
    ]);
}

#[test]
fn names() {
    check(&[
        ("SELECT * FROM nowhere", "42P01", "relation \"nowhere\" does not exist", "nowhere"),
        ("SELECT * FROM event", "42P01", "did you mean \"events\"?", "event"),
        ("SELECT ammount FROM t", "42703", "column \"ammount\" does not exist", "ammount"),
        ("SELECT t.idd FROM t", "42703", "did you mean \"id\"?", "t.idd"),
        ("SELECT no_such_function(1)", "42883", "function no_such_function does not exist", "no_such_function"),
        ("SELECT id FROM t, u", "42702", "ambiguous", "id"),
        ("INSERT INTO nowhere VALUES (1)", "42P01", "nowhere", "nowhere"),
        ("INSERT INTO t (id, nothing) VALUES (1, 2)", "42703", "nothing", "nothing"),
        ("INSERT INTO t (id, id) VALUES (1, 2)", "42701", "more than once", "id"),
        ("INSERT INTO t (id) VALUES (1, 2)", "42601", "more expressions than target columns", "2"),
        ("INSERT INTO t (id, a) VALUES (1)", "42601", "more target columns than expressions", "a"),
        ("UPDATE t SET nothing = 1", "42703", "nothing", "nothing"),
        ("UPDATE events SET k = 1", "42809", "APPEND ONLY", "events"),
        ("DELETE FROM events", "42809", "APPEND ONLY", "events"),
        ("INSERT INTO opened VALUES (1, 2, now())", "42809", "is a source", "opened"),
        ("DROP TABLE nowhere", "42P01", "nowhere", "nowhere"),
        ("DROP VIEW t", "42809", "\"t\" is a table, not a view", "t"),
        ("CREATE TABLE t (a INT)", "42P07", "already exists", "t"),
        ("CREATE TABLE x$late (a INT)", "42939", "$late", "x$late"),
        ("SET nonsense_setting = 1", "42704", "nonsense_setting", "nonsense_setting"),
        ("SHOW nonsense_setting", "42704", "nonsense_setting", "nonsense_setting"),
        ("CREATE TABLE other.x (a INT)", "3F000", "schema \"other\" does not exist", "other"),
    ]);
}

#[test]
fn types() {
    check(&[
        ("SELECT a, b, count(*) FROM t GROUP BY a", "42803", "GROUP BY", "b"),
        ("SELECT a FROM t WHERE a = s", "42883", "operator does not exist: integer = character varying", ""),
        ("INSERT INTO t (id) VALUES (DATE '2025-01-01')", "42804", "of type integer but expression is of type date", "id"),
        ("INSERT INTO t (id, s) SELECT s, s FROM t", "42804", "column \"id\"", "id"),
        ("CREATE TABLE x (a INT, WATERMARK FOR a AS a) APPEND ONLY", "42804", "timestamp", "a"),
        ("CREATE TABLE x (at TIMESTAMP, WATERMARK FOR at AS at)", "42000", "APPEND ONLY", "WATERMARK"),
        (
            "CREATE TABLE x (at TIMESTAMP, WATERMARK FOR at AS at + INTERVAL '1 hour') APPEND ONLY",
            "42601",
            "column - INTERVAL",
            "WATERMARK",
        ),
        ("CREATE TABLE x (at TIMESTAMP, WATERMARK FOR other AS other) APPEND ONLY", "42703", "other", "other"),
        ("SELECT * FROM TUMBLE(plain, k, INTERVAL '1 hour')", "42804", "TUMBLE", "TUMBLE"),
        ("SELECT * FROM TUMBLE(plain, at)", "42883", "TUMBLE(relation, time, size", "TUMBLE"),
        ("SELECT * FROM TUMBLE(plain, at, INTERVAL '0 seconds')", "22023", "positive", "TUMBLE"),
        ("SELECT * FROM HOP(plain, at, INTERVAL '1 hour')", "42883", "HOP(relation, time, slide", "HOP"),
        ("SELECT * FROM TUMBLE(nowhere, at, INTERVAL '1 hour')", "42P01", "nowhere", "nowhere"),
    ]);
}

#[test]
fn views() {
    check(&[
        ("CREATE MATERIALIZED VIEW v AS SELECT a FROM t ORDER BY b LIMIT 3", "0A000", "LIMIT", "LIMIT"),
        ("CREATE MATERIALIZED VIEW v AS SELECT a, row_number() OVER (ORDER BY b) AS r FROM t", "0A000", "window function (OVER)", "OVER"),
        ("CREATE MATERIALIZED VIEW v AS SELECT t.id FROM t LEFT JOIN u ON t.id = u.t_id", "0A000", "LEFT JOIN", "LEFT"),
        ("CREATE MATERIALIZED VIEW v AS SELECT t.id FROM t RIGHT JOIN u ON t.id = u.t_id", "0A000", "RIGHT JOIN", "RIGHT"),
        ("CREATE MATERIALIZED VIEW v AS SELECT t.id FROM t FULL JOIN u ON t.id = u.t_id", "0A000", "FULL JOIN", "FULL"),
        ("CREATE MATERIALIZED VIEW v AS SELECT t.id FROM t, u", "0A000", "without an equality", "FROM"),
        ("CREATE MATERIALIZED VIEW v AS SELECT t.id FROM t JOIN u ON t.id < u.t_id", "0A000", "without an equality", "JOIN"),
        ("CREATE MATERIALIZED VIEW v AS SELECT a FROM t WHERE EXISTS (SELECT 1 FROM u WHERE u.t_id = t.id)", "0A000", "EXISTS", "EXISTS"),
        ("CREATE MATERIALIZED VIEW v AS SELECT a FROM t WHERE a IN (SELECT t_id FROM u)", "0A000", "IN (subquery)", "IN"),
        ("CREATE MATERIALIZED VIEW v AS SELECT a FROM t WHERE a = (SELECT max(t_id) FROM u)", "0A000", "scalar subquery", "SELECT"),
        ("CREATE MATERIALIZED VIEW v AS SELECT a FROM t INTERSECT SELECT id FROM u", "0A000", "INTERSECT", "INTERSECT"),
        ("CREATE MATERIALIZED VIEW v AS SELECT a FROM t EXCEPT SELECT id FROM u", "0A000", "EXCEPT", "EXCEPT"),
        ("CREATE MATERIALIZED VIEW v AS SELECT DISTINCT ON (a) a, b FROM t", "0A000", "DISTINCT ON", "DISTINCT ON"),
        ("CREATE MATERIALIZED VIEW v AS SELECT a, random() AS r FROM t", "0A000", "random", "random"),
        ("CREATE MATERIALIZED VIEW v AS SELECT a, now() AS n FROM t", "0A000", "now", "now"),
        ("CREATE MATERIALIZED VIEW v AS SELECT * FROM events WHERE at > now() - INTERVAL '1 hour'", "0A000", "now", "now"),
        ("CREATE MATERIALIZED VIEW v AS SELECT a, count(*) FROM t GROUP BY ROLLUP (a)", "0A000", "ROLLUP", "ROLLUP"),
        ("CREATE MATERIALIZED VIEW v AS SELECT * FROM generate_series(1, 3)", "0A000", "generate_series", "generate_series"),
        (
            "CREATE MATERIALIZED VIEW v AS WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r) SELECT n FROM r",
            "0A000",
            "RECURSIVE",
            "RECURSIVE",
        ),
        ("CREATE MATERIALIZED VIEW v AS SELECT window_start FROM SESSION(plain, at, INTERVAL '1 minute')", "0A000", "SESSION", "SESSION"),
        ("CREATE MATERIALIZED VIEW v AS SELECT a, b AS a FROM t", "42701", "\"a\"", "v"),
        (
            "CREATE MATERIALIZED VIEW v AS SELECT a FROM t EMIT ON WINDOW CLOSE",
            "42000",
            "EMIT ON WINDOW CLOSE needs a GROUP BY",
            "EMIT ON WINDOW CLOSE",
        ),
        (
            "CREATE MATERIALIZED VIEW v AS SELECT count(*) FROM TUMBLE(plain, at, INTERVAL '1 hour') GROUP BY window_start EMIT ON WINDOW CLOSE",
            "42000",
            "watermark",
            "EMIT ON WINDOW CLOSE",
        ),
        (
            "CREATE MATERIALIZED VIEW v AS SELECT k, count(*) FROM events GROUP BY k EMIT ON WINDOW CLOSE",
            "42000",
            "watermark",
            "EMIT ON WINDOW CLOSE",
        ),
        (
            "CREATE MATERIALIZED VIEW v AS SELECT array_agg(a ORDER BY b) FROM t",
            "0A000",
            "array_agg() over rows that may be deleted",
            "array_agg",
        ),
        ("CREATE MATERIALIZED VIEW v AS SELECT corr(DISTINCT a, b) FROM t", "0A000", "DISTINCT over several arguments", "corr"),
        ("CREATE MATERIALIZED VIEW v AS SELECT nth_value(k, 0 ORDER BY k) FROM events", "0A000", "nth_value()", "nth_value"),
        (
            "CREATE MATERIALIZED VIEW v AS SELECT percentile_cont(1.5) WITHIN GROUP (ORDER BY k) FROM events",
            "42000",
            "between 0",
            "percentile_cont",
        ),
        ("CREATE VIEW v AS SELECT a FROM t EMIT ON WINDOW CLOSE", "42601", "materialized view", "EMIT ON WINDOW CLOSE"),
        ("CREATE MATERIALIZED VIEW v (x, y, z) AS SELECT a, b FROM t", "42601", "more column names", "z"),
        (
            "CREATE MATERIALIZED VIEW v AS SELECT n FROM u, LATERAL (SELECT a FROM t WHERE t.id = u.t_id) AS l",
            "0A000",
            "LATERAL",
            "LATERAL",
        ),
    ]);
}

#[test]
fn places_of_what_is_not_postgresql() {
    check(&[
        ("SELECT 1, x'1F'", "0A000", "bit string", "x'1F'"),
        ("SELECT 0b12", "42601", "trailing junk", "0b12"),
        ("SELECT 'a' 'b'", "42601", "'b'", "'b'"),
        ("SELECT a 'x' FROM t", "42601", "'x'", "'x'"),
        ("SELECT * FROM generate_series(1, 3) WITH ORDINALITY", "0A000", "WITH ORDINALITY", "generate_series"),
        ("SELECT a, generate_series(1, 3) FROM t", "0A000", "FROM generate_series", "generate_series(1, 3"),
        ("SELECT @ a FROM t", "0A000", "operator @", "@"),
        ("SELECT a FROM t FOR SYSTEM_TIME AS OF now()", "0A000", "FOR SYSTEM_TIME", "FOR SYSTEM_TIME"),
        ("SELECT * FROM t ASOF JOIN u ON t.id = u.t_id", "0A000", "ASOF JOIN", "ASOF JOIN"),
        ("CREATE TABLE x (a STRUCT<b INT>)", "0A000", "type STRUCT", "STRUCT"),
        ("CREATE TABLE x (a SERIAL)", "0A000", "no sequences", "SERIAL"),
        ("WITH x AS (SELECT 1) INSERT INTO t SELECT * FROM x", "0A000", "WITH … INSERT", "INSERT INTO t SELECT * FROM x"),
        ("SELECT upper(1)", "42883", "function upper(bigint) does not exist", "upper"),
        ("VALUES (EXISTS (SELECT 1))", "0A000", "EXISTS", "EXISTS"),
        ("CREATE MATERIALIZED VIEW v AS SELECT a FROM t OFFSET 2", "0A000", "OFFSET", "OFFSET"),
        ("CREATE MATERIALIZED VIEW v AS SELECT string_agg(s, ',') AS x FROM t", "0A000", "may be deleted", "string_agg"),
    ]);
}

#[test]
fn sinks() {
    check(&[
        ("CREATE SINK s FROM opened WITH (connector = 'x')", "42809", "is a source", "opened"),
        ("CREATE SINK s FROM t WITH (connector = 'x', type = 'append')", "42000", "takes rows back", "type"),
        ("CREATE SINK s FROM plain WITH (connector = 'x', type = 'upsert')", "42000", "no unique key", "s"),
        ("CREATE SINK s FROM t WITH (connector = 'x', primary_key = 'a')", "42000", "not unique", "primary_key"),
        ("CREATE SINK s FROM t WITH (connector = 'x', primary_key = 'x')", "42703", "\"x\"", "primary_key"),
        ("CREATE SINK s FROM t WITH (type = 'upsert')", "42000", "connector", "s"),
        ("CREATE SINK s INTO t AS SELECT 1", "0A000", "INTO", "INTO"),
    ]);
}

#[test]
fn two_refusing_operators() {
    let window =
        |name: &str| format!("SELECT window_start, count(*) AS n FROM TUMBLE({name}, at, INTERVAL '1 hour') GROUP BY window_start");
    let mut world = World::new();
    world.bind(super::RELATIONS).expect("relations");
    let both = format!(
        "CREATE MATERIALIZED VIEW v AS SELECT a.n, b.n AS m FROM ({}) AS a JOIN ({}) AS b ON a.window_start = b.window_start",
        window("events"),
        window("opened")
    );
    let error = world.error(&both);
    assert!(error.message().contains("two operators refuse late rows"), "{error}");
    let place = error.place().expect("the last GROUP BY");
    assert_eq!(
        (underlined(&both, Some(place)), both.chars().take(place.0).collect::<String>().matches("GROUP").count()),
        ("GROUP BY".to_owned(), 1)
    );
    let one_above_the_other =
        format!("CREATE MATERIALIZED VIEW v AS SELECT window_start, max(n) AS m FROM ({}) AS a GROUP BY window_start", window("events"));
    world.bind(&one_above_the_other).expect("the lower one has refused what is late");
}
