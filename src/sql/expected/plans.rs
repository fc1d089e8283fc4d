//! The operators that views are planned to, as EXPLAIN prints them.

use super::World;

const RELATIONS: &str = "
CREATE SOURCE opened (email BIGINT, reader BIGINT, at TIMESTAMP, WATERMARK FOR at AS at - INTERVAL '24 hours') WITH (connector = 'x');
CREATE TABLE t (id INT PRIMARY KEY, a INT, b BIGINT, s VARCHAR);
CREATE TABLE u (id INT PRIMARY KEY, t_id INT, n NUMERIC(10, 2));
CREATE TABLE events (k INT, v INT, at TIMESTAMP, WATERMARK FOR at AS at - INTERVAL '5 seconds') APPEND ONLY;
CREATE TABLE plain (k INT, at TIMESTAMP);
";

#[test]
fn smoke() {
    let mut world = World::new();
    world.bind(RELATIONS).expect("relations");
    for query in [
        "SELECT id, a + 1 AS b FROM t WHERE a > 5",
        "SELECT window_start, email, count(*) AS opens, count(DISTINCT reader) AS readers FROM TUMBLE(opened, at, INTERVAL '1 hour') GROUP BY window_start, email EMIT ON WINDOW CLOSE",
        "SELECT window_start, window_end, k, sum(v) AS s FROM TUMBLE(events, at, INTERVAL '1 hour') GROUP BY window_start, window_end, k",
        "SELECT window_start, window_end, sum(v) AS s FROM HOP(events, at, INTERVAL '1 minute', INTERVAL '1 hour') GROUP BY 1, 2 EMIT ON WINDOW CLOSE",
        "SELECT t.id, u.n FROM t JOIN u ON t.id = u.t_id",
        "SELECT a % 10 AS bucket, max(b) AS m, avg(a) FROM t GROUP BY a % 10 HAVING count(*) > 1",
        "SELECT DISTINCT a FROM t UNION ALL SELECT id FROM u",
        "SELECT a FROM t UNION SELECT id FROM u",
        "SELECT count(*) FROM t",
        "SELECT 1 AS one",
    ] {
        println!(
            "---- {query}\n{}",
            match world.bind(&format!("EXPLAIN CREATE MATERIALIZED VIEW v AS {query}")) {
                Ok(_) => world.rows(&format!("EXPLAIN CREATE MATERIALIZED VIEW v AS {query}")),
                Err(e) => format!("{e:?}"),
            }
        );
    }
}
