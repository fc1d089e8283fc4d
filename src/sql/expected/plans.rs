//! The operators that views are planned to, as EXPLAIN prints them.

use super::World;

/// Plans the query as a materialized view and compares what EXPLAIN prints.
fn check(cases: &[(&str, &str)]) {
    let mut world = World::new();
    world.bind(super::RELATIONS).expect("relations");
    world.bind("CREATE VIEW named (key, twice) AS SELECT id, a * 2 FROM t WHERE a > 1").expect("a view");
    let hourly = "SELECT window_start, k, count(*) AS n FROM TUMBLE(events, at, INTERVAL '1 hour') GROUP BY window_start, k";
    world.bind(&format!("CREATE MATERIALIZED VIEW hourly AS {hourly}; CREATE MATERIALIZED VIEW closed AS {hourly} EMIT ON WINDOW CLOSE")).expect("views");
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
        ("SELECT id, a + 1 AS b FROM t WHERE a > 5", ""),
        ("SELECT * FROM t", ""),
        ("SELECT s, upper(s) AS loud, CASE WHEN a > 5 THEN 'big' ELSE 'small' END AS size FROM t", ""),
        ("SELECT * FROM events WHERE at > TIMESTAMP '2025-01-01' AND k IN (1, 2)", ""),
        ("SELECT key FROM named WHERE twice > 4", ""),
        ("SELECT 1 AS one", ""),
        ("VALUES (1, 'x'), (2, 'y')", ""),
        ("SELECT a FROM t WHERE false", ""),
        ("SELECT a FROM t ORDER BY a", ""),
        ("WITH x AS (SELECT a AS y FROM t) SELECT y FROM x WHERE y = 3", ""),
        ("SELECT at, k FROM events UNION ALL SELECT at, k FROM plain", ""),
        ("SELECT at FROM events UNION ALL SELECT at FROM opened", ""),
    ]);
}
