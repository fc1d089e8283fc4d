//! The operators that views are planned to, as EXPLAIN prints them.

use super::World;

/// Plans the query as a materialized view and compares what EXPLAIN prints.
fn check(cases: &[(&str, &str)]) {
    let mut world = World::new();
    world.bind(super::RELATIONS).expect("relations");
    world.bind("CREATE VIEW named (key, twice) AS SELECT id, a * 2 FROM t WHERE a > 1").expect("a view");
    let hourly = "SELECT window_start, k, count(*) AS n FROM TUMBLE(events, at, INTERVAL '1 hour') GROUP BY window_start, k";
    world
        .bind(&format!("CREATE MATERIALIZED VIEW hourly AS {hourly}; CREATE MATERIALIZED VIEW closed AS {hourly} EMIT ON WINDOW CLOSE"))
        .expect("views");
    let mut wrong = String::new();
    for (query, expected) in cases {
        let found = world.rows(&format!("EXPLAIN CREATE MATERIALIZED VIEW v AS {query}"));
        if found != expected.trim() {
            wrong.push_str(&format!("{query}\n{found}\n\n"));
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn rows() {
    check(&[
        (r"SELECT id, a + 1 AS b FROM t WHERE a > 5", r""),
        (r"SELECT * FROM t", r""),
        (r"SELECT s, upper(s) AS loud, CASE WHEN a > 5 THEN 'big' ELSE 'small' END AS size FROM t", r""),
        (r"SELECT * FROM events WHERE at > TIMESTAMP '2025-01-01' AND k IN (1, 2)", r""),
        (r"SELECT key FROM named WHERE twice > 4", r""),
        (r"SELECT 1 AS one", r""),
        (r"VALUES (1, 'x'), (2, 'y')", r""),
        (r"SELECT a FROM t WHERE false", r""),
        (r"SELECT a FROM t ORDER BY a", r""),
        (r"WITH x AS (SELECT a AS y FROM t) SELECT y FROM x WHERE y = 3", r""),
        (r"SELECT at, k FROM events UNION ALL SELECT at, k FROM plain", r""),
        (r"SELECT at FROM events UNION ALL SELECT at FROM opened", r""),
    ]);
}

#[test]
fn groups() {
    check(&[
        (r"SELECT count(*) FROM t", r""),
        (r"SELECT a, sum(b) AS s, avg(b), min(b), max(b) FROM t GROUP BY a", r""),
        (r"SELECT a % 10 AS bucket, max(b) AS m FROM t GROUP BY a % 10 HAVING count(*) > 1", r""),
        (r"SELECT a, count(DISTINCT s) FILTER (WHERE b > 3) AS n FROM t GROUP BY a", r""),
        (r"SELECT DISTINCT a FROM t", r""),
        (r"SELECT a FROM t UNION SELECT id FROM u", r""),
        (r"SELECT k, max(at) AS latest FROM events GROUP BY k", r""),
        (r"SELECT at, count(*) AS n FROM events GROUP BY at", r""),
        (r"SELECT s, a FROM t GROUP BY 1, 2", r""),
    ]);
}

#[test]
fn windows() {
    check(&[
        (
            r"SELECT window_start, email, count(*) AS opens, count(DISTINCT reader) AS readers FROM TUMBLE(opened, at, INTERVAL '1 hour') GROUP BY window_start, email EMIT ON WINDOW CLOSE",
            r"",
        ),
        (
            r"SELECT window_start, window_end, k, sum(v) AS s FROM TUMBLE(events, at, INTERVAL '1 hour') GROUP BY window_start, window_end, k",
            r"",
        ),
        (
            r"SELECT window_end, count(*) AS n FROM TUMBLE(events, at, INTERVAL '1 month') WHERE v > 3 GROUP BY window_end EMIT ON WINDOW CLOSE",
            r"",
        ),
        (
            r"SELECT window_start, window_end, sum(v) AS s FROM HOP(events, at, INTERVAL '1 minute', INTERVAL '1 hour') GROUP BY 1, 2 EMIT ON WINDOW CLOSE",
            r"",
        ),
        (r"SELECT window_start, count(*) AS n FROM HOP(events, at, INTERVAL '1 minute', INTERVAL '1 hour') GROUP BY 1", r""),
        (r"SELECT * FROM TUMBLE(events, at, INTERVAL '1 hour')", r""),
        (r"SELECT * FROM HOP(plain, at, INTERVAL '30 minutes', INTERVAL '1 hour')", r""),
        (r"SELECT window_start, count(*) AS n FROM TUMBLE(plain, at, INTERVAL '1 hour') GROUP BY window_start", r""),
        (r"SELECT DISTINCT window_start, k FROM TUMBLE(events, at, INTERVAL '1 hour') EMIT ON WINDOW CLOSE", r""),
        (
            r"SELECT window_start + INTERVAL '1 hour' AS until, n * 2 AS twice FROM (SELECT window_start, count(*) AS n FROM TUMBLE(events, at, INTERVAL '1 hour') GROUP BY window_start) AS x WHERE n > 3 EMIT ON WINDOW CLOSE",
            r"",
        ),
    ]);
}

#[test]
fn views_over_views() {
    check(&[
        (r"SELECT k, max(n) AS most FROM hourly GROUP BY k", r""),
        (r"SELECT window_start, sum(n) AS n FROM hourly GROUP BY window_start EMIT ON WINDOW CLOSE", r""),
        (r"SELECT window_start, n FROM closed WHERE k = 1", r""),
        (r"SELECT window_start AS hour, sum(n) AS n FROM closed GROUP BY window_start", r""),
    ]);
}

#[test]
fn joins() {
    check(&[
        (r"SELECT t.id, u.n FROM t JOIN u ON t.id = u.t_id", r""),
        (r"SELECT t.s, sum(u.n) AS n FROM t, u WHERE t.id = u.t_id AND u.n > 3 AND t.a < u.n GROUP BY t.s", r""),
        (r"SELECT a.id, b.id AS other FROM t AS a JOIN t AS b ON a.a + 1 = b.a AND a.id <> b.id", r""),
        (r"SELECT t.id, u.id AS u_id, e.v FROM t JOIN u ON t.id = u.t_id JOIN events AS e ON e.k = t.a", r""),
        (r"SELECT x.window_start, x.n, y.n AS m FROM hourly AS x JOIN closed AS y ON x.window_start = y.window_start AND x.k = y.k", r""),
    ]);
}
