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
        (
            r"SELECT id, a + 1 AS b FROM t WHERE a > 5",
            r"
Project: id, integer_add(a, 1) AS b  [changes; key: id]
  Filter: a > 5  [changes; key: id]
    Project: id, a  [changes; key: id]
      table t  [changes; key: id]",
        ),
        (
            r"SELECT * FROM t",
            r"
Project: id, a, b, s  [changes; key: id]
  table t  [changes; key: id]",
        ),
        (
            r"SELECT s, upper(s) AS loud, CASE WHEN a > 5 THEN 'big' ELSE 'small' END AS size FROM t",
            r"
Project: s, upper(s) AS loud, CASE WHEN a > 5 THEN big ELSE small END AS size  [changes]
  table t  [changes; key: id]",
        ),
        (
            r"SELECT * FROM events WHERE at > TIMESTAMP '2025-01-01' AND k IN (1, 2)",
            r"
Filter: at > 1735689600000000 AND (k = 1 OR k = 2)  [append-only; watermark: at]
  table events  [append-only; watermark: at]",
        ),
        (
            r"SELECT key FROM named WHERE twice > 4",
            r"
Project: id AS key  [changes; key: key]
  Filter: a > 1 AND integer_multiply(a, 2) > 4  [changes; key: id]
    Project: id, a  [changes; key: id]
      table t  [changes; key: id]",
        ),
        (
            r"SELECT 1 AS one",
            r"
Project: 1 AS one  [append-only]
  Constant: 1 rows  [append-only]",
        ),
        (
            r"VALUES (1, 'x'), (2, 'y')",
            r"
Constant: 2 rows  [append-only]",
        ),
        (
            r"SELECT a FROM t WHERE false",
            r"
Constant: 0 rows  [append-only]",
        ),
        (
            r"SELECT a FROM t ORDER BY a",
            r"
Project: a  [changes]
  table t  [changes; key: id]",
        ),
        (
            r"WITH x AS (SELECT a AS y FROM t) SELECT y FROM x WHERE y = 3",
            r"
Project: a AS y  [changes]
  Filter: a = 3  [changes]
    Project: a  [changes]
      table t  [changes; key: id]",
        ),
        (
            r"SELECT at, k FROM events UNION ALL SELECT at, k FROM plain",
            r"
Union: 2 inputs  [changes]
  Project: at, k  [append-only; watermark: at]
    table events  [append-only; watermark: at]
  Project: at, k  [changes]
    table plain  [changes]",
        ),
        (
            r"SELECT at FROM events UNION ALL SELECT at FROM opened",
            r"
Union: 2 inputs  [append-only; watermark: at]
  Project: at  [append-only; watermark: at]
    table events  [append-only; watermark: at]
  Project: at  [append-only; watermark: at]
    source opened  [append-only; watermark: at]",
        ),
    ]);
}

#[test]
fn groups() {
    check(&[
        (
            r"SELECT count(*) FROM t",
            r"
Project: count(Int64(1)) AS count  [changes; one row]
  Aggregate: count(1) by ()  [changes; one row; state: unbounded]
    Project  [changes]
      table t  [changes; key: id]",
        ),
        (
            r"SELECT a, sum(b) AS s, avg(b), min(b), max(b) FROM t GROUP BY a",
            r"
Project: a, sum(t.b) AS s, avg(t.b) AS avg, min(t.b) AS min, max(t.b) AS max  [changes; key: a]
  Aggregate: sum(b), avg(b), min(b), max(b) by (a)  [changes; key: a; state: unbounded]
    Project: a, b  [changes]
      table t  [changes; key: id]",
        ),
        (
            r"SELECT a % 10 AS bucket, max(b) AS m FROM t GROUP BY a % 10 HAVING count(*) > 1",
            r"
Project: t.a % Int32(10) AS bucket, max(t.b) AS m  [changes; key: bucket]
  Filter: count(Int64(1)) > 1  [changes; key: t.a % Int32(10)]
    Aggregate: max(b), count(1) by (group$0)  [changes; key: t.a % Int32(10); state: unbounded]
      Project: a, b, a % 10 AS group$0  [changes]
        table t  [changes; key: id]",
        ),
        (
            r"SELECT a, count(DISTINCT s) FILTER (WHERE b > 3) AS n FROM t GROUP BY a",
            r"
Project: a, count(DISTINCT t.s) FILTER (WHERE t.b > Int32(3)) AS n  [changes; key: a]
  Aggregate: count(DISTINCT s) FILTER (WHERE b > 3) by (a)  [changes; key: a; state: unbounded]
    Project: a, b, s  [changes]
      table t  [changes; key: id]",
        ),
        (
            r"SELECT DISTINCT a FROM t",
            r"
Aggregate:  by (a)  [changes; key: a; state: unbounded]
  Project: a  [changes]
    table t  [changes; key: id]",
        ),
        (
            r"SELECT a FROM t UNION SELECT id FROM u",
            r"
Aggregate:  by (a)  [changes; key: a; state: unbounded]
  Union: 2 inputs  [changes]
    Project: a  [changes]
      table t  [changes; key: id]
    Project: a  [changes; key: a]
      Project: id AS a  [changes; key: a]
        table u  [changes; key: id]",
        ),
        (
            r"SELECT k, max(at) AS latest FROM events GROUP BY k",
            r"
Project: k, max(events.at) AS latest  [changes; key: k]
  Aggregate: max(at) by (k)  [changes; key: k; state: unbounded]
    Project: k, at  [append-only; watermark: at]
      table events  [append-only; watermark: at]",
        ),
        (
            r"SELECT at, count(*) AS n FROM events GROUP BY at",
            r"
Project: at, count(Int64(1)) AS n  [changes; key: at; watermark: at]
  Aggregate: count(1) by (at), closed by at  [changes; key: at; watermark: at; state: until at closes; refuses late rows]
    Project: at  [append-only; watermark: at]
      table events  [append-only; watermark: at]",
        ),
        (
            r"SELECT s, a FROM t GROUP BY 1, 2",
            r"
Aggregate:  by (s, a)  [changes; key: s, a; state: unbounded]
  Project: a, s  [changes]
    table t  [changes; key: id]",
        ),
    ]);
}

#[test]
fn windows() {
    check(&[
        (
            r"SELECT window_start, email, count(*) AS opens, count(DISTINCT reader) AS readers FROM TUMBLE(opened, at, INTERVAL '1 hour') GROUP BY window_start, email EMIT ON WINDOW CLOSE",
            r"
Project: window_start, email, count(Int64(1)) AS opens, count(DISTINCT opened.reader) AS readers  [append-only; key: window_start, email; watermark: window_start]
  Aggregate: count(1), count(DISTINCT reader) by (window_start, email), closed by window_start, emitted on close  [append-only; key: window_start, email; watermark: window_start; state: until window_start closes; refuses late rows]
    Project: email, reader, tumble_start(at, 1 hour) AS window_start  [append-only; watermark: window_start]
      source opened  [append-only; watermark: at]",
        ),
        (
            r"SELECT window_start, window_end, k, sum(v) AS s FROM TUMBLE(events, at, INTERVAL '1 hour') GROUP BY window_start, window_end, k",
            r"
Project: window_start, window_end, k, sum(events.v) AS s  [changes; key: window_start, k; watermark: window_start, window_end]
  Aggregate: sum(v) by (window_start, window_end, k), closed by window_start  [changes; key: window_start, k; watermark: window_start, window_end; state: until window_start closes; refuses late rows]
    Project: k, v, tumble_start(at, 1 hour) AS window_start, tumble_end(at, 1 hour) AS window_end  [append-only; watermark: window_start, window_end]
      table events  [append-only; watermark: at]",
        ),
        (
            r"SELECT window_end, count(*) AS n FROM TUMBLE(events, at, INTERVAL '1 month') WHERE v > 3 GROUP BY window_end EMIT ON WINDOW CLOSE",
            r"
Project: window_end, count(Int64(1)) AS n  [append-only; key: window_end; watermark: window_end]
  Aggregate: count(1) by (window_end), closed by window_end, emitted on close  [append-only; key: window_end; watermark: window_end; state: until window_end closes; refuses late rows]
    Project: tumble_end(at, 1 month) AS window_end  [append-only; watermark: window_end]
      Filter: v > 3  [append-only; watermark: at]
        Project: v, at  [append-only; watermark: at]
          table events  [append-only; watermark: at]",
        ),
        (
            r"SELECT window_start, window_end, sum(v) AS s FROM HOP(events, at, INTERVAL '1 minute', INTERVAL '1 hour') GROUP BY 1, 2 EMIT ON WINDOW CLOSE",
            r"
Project: window_start, window_end, sum(events.v) AS s  [append-only; key: window_start; watermark: window_start, window_end]
  Aggregate: sum(v) by (window_start, window_end), closed by window_start, emitted on close  [append-only; key: window_start; watermark: window_start, window_end; state: until window_start closes; refuses late rows]
    Project: v, window_start, hop_end(window_start, 1 minute, 1 hour) AS window_end  [append-only; watermark: window_start, window_end]
      Window: windows of 3600000000 us every 60000000 of time  [append-only; watermark: time, window_start, window_end]
        Project: v, at AS time  [append-only; watermark: time]
          table events  [append-only; watermark: at]",
        ),
        (
            r"SELECT window_start, count(*) AS n FROM HOP(events, at, INTERVAL '1 minute', INTERVAL '1 hour') GROUP BY 1",
            r"
Project: window_start, count(Int64(1)) AS n  [changes; key: window_start; watermark: window_start]
  Aggregate: count(1) by (window_start), closed by window_start  [changes; key: window_start; watermark: window_start; state: until window_start closes; refuses late rows]
    Project: window_start  [append-only; watermark: window_start]
      Window: windows of 3600000000 us every 60000000 of time  [append-only; watermark: time, window_start, window_end]
        Project: at AS time  [append-only; watermark: time]
          table events  [append-only; watermark: at]",
        ),
        (
            r"SELECT * FROM TUMBLE(events, at, INTERVAL '1 hour')",
            r"
Project: k, v, at, tumble_start(at, 1 hour) AS window_start, tumble_end(at, 1 hour) AS window_end  [append-only; watermark: at, window_start, window_end]
  table events  [append-only; watermark: at]",
        ),
        (
            r"SELECT * FROM HOP(plain, at, INTERVAL '30 minutes', INTERVAL '1 hour')",
            r"
Project: k, at, window_start, hop_end(window_start, 30 minutes, 1 hour) AS window_end  [changes]
  Window: windows of 3600000000 us every 1800000000 of time  [changes]
    Project: k, at, at AS time  [changes]
      table plain  [changes]",
        ),
        (
            r"SELECT window_start, count(*) AS n FROM TUMBLE(plain, at, INTERVAL '1 hour') GROUP BY window_start",
            r"
Project: window_start, count(Int64(1)) AS n  [changes; key: window_start]
  Aggregate: count(1) by (window_start)  [changes; key: window_start; state: unbounded]
    Project: tumble_start(at, 1 hour) AS window_start  [changes]
      table plain  [changes]",
        ),
        (
            r"SELECT DISTINCT window_start, k FROM TUMBLE(events, at, INTERVAL '1 hour') EMIT ON WINDOW CLOSE",
            r"
Aggregate:  by (window_start, k), closed by window_start, emitted on close  [append-only; key: window_start, k; watermark: window_start; state: until window_start closes; refuses late rows]
  Project: tumble_start(at, 1 hour) AS window_start, k  [append-only; watermark: window_start]
    table events  [append-only; watermark: at]",
        ),
        (
            r"SELECT window_start + INTERVAL '1 hour' AS until, n * 2 AS twice FROM (SELECT window_start, count(*) AS n FROM TUMBLE(events, at, INTERVAL '1 hour') GROUP BY window_start) AS x WHERE n > 3 EMIT ON WINDOW CLOSE",
            r"
Project: window_start + 1 hour AS until, integer_multiply(n, 2) AS twice  [append-only]
  Project: window_start, count(Int64(1)) AS n  [append-only; key: window_start; watermark: window_start]
    Filter: count(Int64(1)) > 3  [append-only; key: window_start; watermark: window_start]
      Aggregate: count(1) by (window_start), closed by window_start, emitted on close  [append-only; key: window_start; watermark: window_start; state: until window_start closes; refuses late rows]
        Project: tumble_start(at, 1 hour) AS window_start  [append-only; watermark: window_start]
          table events  [append-only; watermark: at]",
        ),
    ]);
}

#[test]
fn views_over_views() {
    check(&[
        (
            r"SELECT k, max(n) AS most FROM hourly GROUP BY k",
            r"
Project: k, max(hourly.n) AS most  [changes; key: k]
  Aggregate: max(n) by (k)  [changes; key: k; state: unbounded]
    Project: k, n  [changes]
      materialized view hourly  [changes; key: window_start, k; watermark: window_start]",
        ),
        (
            r"SELECT window_start, sum(n) AS n FROM hourly GROUP BY window_start EMIT ON WINDOW CLOSE",
            r"
Project: window_start, sum(hourly.n) AS n  [append-only; key: window_start; watermark: window_start]
  Aggregate: sum(n) by (window_start), closed by window_start, emitted on close  [append-only; key: window_start; watermark: window_start; state: until window_start closes]
    Project: window_start, n  [changes; watermark: window_start]
      materialized view hourly  [changes; key: window_start, k; watermark: window_start]",
        ),
        (
            r"SELECT window_start, n FROM closed WHERE k = 1",
            r"
Project: window_start, n  [append-only; watermark: window_start]
  Filter: k = 1  [append-only; key: window_start, k; watermark: window_start]
    materialized view closed  [append-only; key: window_start, k; watermark: window_start]",
        ),
        (
            r"SELECT window_start AS hour, sum(n) AS n FROM closed GROUP BY window_start",
            r"
Project: window_start AS hour, sum(closed.n) AS n  [changes; key: hour; watermark: hour]
  Aggregate: sum(n) by (window_start), closed by window_start  [changes; key: window_start; watermark: window_start; state: until window_start closes]
    Project: window_start, n  [append-only; watermark: window_start]
      materialized view closed  [append-only; key: window_start, k; watermark: window_start]",
        ),
    ]);
}

#[test]
fn joins() {
    check(&[
        (
            r"SELECT t.id, u.n FROM t JOIN u ON t.id = u.t_id",
            r"
Project: id, n  [changes]
  Join: id = t_id  [changes; state: unbounded]
    Project: id  [changes; key: id]
      table t  [changes; key: id]
    Filter: t_id IS NOT NULL  [changes]
      Project: t_id, n  [changes]
        table u  [changes; key: id]",
        ),
        (
            r"SELECT t.s, sum(u.n) AS n FROM t, u WHERE t.id = u.t_id AND u.n > 3 AND t.a < u.n GROUP BY t.s",
            r"
Project: s, sum(u.n) AS n  [changes; key: s]
  Aggregate: sum(n) by (s)  [changes; key: s; state: unbounded]
    Project: s, n  [changes]
      Join: id = t_id AND CAST(a AS Decimal128(12, 2)) < CAST(n AS Decimal128(12, 2))  [changes; state: unbounded]
        Project: id, a, s  [changes; key: id]
          table t  [changes; key: id]
        Filter: t_id IS NOT NULL AND n > 3.00  [changes]
          Project: t_id, n  [changes]
            table u  [changes; key: id]",
        ),
        (
            r"SELECT a.id, b.id AS other FROM t AS a JOIN t AS b ON a.a + 1 = b.a AND a.id <> b.id",
            r"
Project: id, id AS other  [changes; key: id, other]
  Join: key$2 = a AND id != id  [changes; key: id, id; state: unbounded]
    Project: id, a, integer_add(a, 1) AS key$2  [changes; key: id]
      Filter: integer_add(a, 1) IS NOT NULL  [changes; key: id]
        Project: id, a  [changes; key: id]
          table t  [changes; key: id]
    Filter: a IS NOT NULL  [changes; key: id]
      Project: id, a  [changes; key: id]
        table t  [changes; key: id]",
        ),
        (
            r"SELECT t.id, u.id AS u_id, e.v FROM t JOIN u ON t.id = u.t_id JOIN events AS e ON e.k = t.a",
            r"
Project: id, id AS u_id, v  [changes]
  Join: a = k  [changes; state: unbounded]
    Project: id, a, id  [changes; key: id]
      Join: id = t_id  [changes; key: id; state: unbounded]
        Filter: a IS NOT NULL  [changes; key: id]
          Project: id, a  [changes; key: id]
            table t  [changes; key: id]
        Filter: t_id IS NOT NULL  [changes; key: id]
          Project: id, t_id  [changes; key: id]
            table u  [changes; key: id]
    Filter: k IS NOT NULL  [append-only]
      Project: k, v  [append-only]
        table events  [append-only; watermark: at]",
        ),
        (
            r"SELECT x.window_start, x.n, y.n AS m FROM hourly AS x JOIN closed AS y ON x.window_start = y.window_start AND x.k = y.k",
            r"
Project: window_start, n, n AS m  [changes; watermark: window_start]
  Join: window_start = window_start AND k = k  [changes; key: window_start, k; watermark: window_start, window_start; state: unbounded]
    Filter: window_start IS NOT NULL AND k IS NOT NULL  [changes; key: window_start, k; watermark: window_start]
      materialized view hourly  [changes; key: window_start, k; watermark: window_start]
    Filter: window_start IS NOT NULL AND k IS NOT NULL  [append-only; key: window_start, k; watermark: window_start]
      materialized view closed  [append-only; key: window_start, k; watermark: window_start]",
        ),
    ]);
}
