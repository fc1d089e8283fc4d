//! What one statement may not do to the server: overflow its stack, go on after a cancel, take all memory.
#![allow(clippy::disallowed_methods, reason = "a test may wait and run tasks of its own")]

use headwater::{Database, Options};
use std::time::{Duration, Instant};
use tokio_postgres::{Client, NoTls};

async fn start(memory_limit_bytes: usize) -> (Database, u16) {
    let database = Database::open(Options { memory_limit_bytes, ..Options::in_memory() }).await.expect("a database in memory");
    let listener = headwater_pgwire::bind("127.0.0.1:0".parse().expect("an address")).await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let served = database.clone();
    tokio::task::spawn(async move { headwater_pgwire::serve(served, listener).await });
    (database, port)
}

async fn connect(port: u16) -> Client {
    let (client, connection) =
        tokio_postgres::connect(&format!("host=127.0.0.1 port={port} user=root dbname=dev"), NoTls).await.expect("a session");
    tokio::task::spawn(connection);
    client
}

fn code<T>(outcome: &Result<T, tokio_postgres::Error>) -> Option<&str> {
    outcome.as_ref().err().and_then(|e| e.code()).map(tokio_postgres::error::SqlState::code)
}

/// Expressions and queries whose trees are `depth` deep, over a relation `t` with a column `a`.
fn deep(depth: usize) -> Vec<String> {
    let chain = |operand: &str, operator: &str| vec![operand; depth].join(operator);
    vec![
        format!("SELECT {} AS x FROM t", chain("1", " + ")),
        format!("SELECT {} AS x FROM t", chain("a", " + ")),
        format!("SELECT a FROM t WHERE {}", chain("a = 7", " OR ")),
        format!("SELECT {} AS x FROM t", chain("'x'", " || ")),
        format!("SELECT a{} AS x FROM t", "::bigint::int".repeat(depth / 2)),
        chain("SELECT a FROM t", " UNION ALL "),
        format!("SELECT {}a{} AS x FROM t", "(".repeat(depth), ")".repeat(depth)),
        format!("SELECT {}a{} AS x FROM t", "CASE WHEN a = 1 THEN 1 ELSE ".repeat(depth), " END".repeat(depth)),
        format!("SELECT {}a{} AS x FROM t", "abs(".repeat(depth), ")".repeat(depth)),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deep_statements_are_refused_or_run_and_never_end_the_server() {
    let (_database, port) = start(1 << 30).await;
    let client = connect(port).await;
    client.batch_execute("CREATE TABLE t (a INT PRIMARY KEY); INSERT INTO t VALUES (7)").await.expect("a table");
    for sql in deep(3_000).into_iter().chain(deep(100_000)) {
        let outcome = client.query(&sql, &[]).await;
        assert_eq!(code(&outcome), Some("54001"), "{:.60}: {outcome:?}", sql);
    }
    let sum = deep(3_000).swap_remove(1);
    let others = ["CREATE VIEW v AS", "CREATE MATERIALIZED VIEW v AS", "EXPLAIN", "PREPARE p AS", "INSERT INTO t", "DECLARE c CURSOR FOR"];
    for outer in others {
        assert_eq!(code(&client.simple_query(&format!("{outer} {sum}")).await), Some("54001"), "{outer}");
    }
    assert_eq!(code(&client.simple_query(&format!("COPY ({sum}) TO STDOUT")).await), Some("54001"));
    assert_eq!(code(&client.simple_query(&format!("DELETE FROM t WHERE {} = 1", vec!["a"; 3_000].join(" + "))).await), Some("54001"));
    // What is deep and not too deep runs, in a view too.
    for sql in deep(500).into_iter().skip(2).take(4) {
        let rows = client.query(&sql, &[]).await.unwrap_or_else(|e| panic!("{sql:.60}: {e:?}"));
        assert!(!rows.is_empty());
    }
    client.batch_execute(&format!("CREATE MATERIALIZED VIEW v AS {}", deep(500).swap_remove(2))).await.expect("a view");
    assert_eq!(client.query_one("SELECT a FROM v", &[]).await.expect("a row").get::<_, i32>(0), 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plans_that_grow_through_views_are_refused() {
    let (_database, port) = start(1 << 30).await;
    let client = connect(port).await;
    client.batch_execute("CREATE TABLE t (a VARCHAR PRIMARY KEY); CREATE VIEW v0 AS SELECT a FROM t").await.expect("a table");
    let chain = vec!["a"; 500].join(" || ");
    let mut last = None;
    for at in 1..12 {
        let made = client.simple_query(&format!("CREATE VIEW v{at} AS SELECT {chain} AS a FROM v{}", at - 1)).await;
        last = code(&made).map(str::to_owned);
        if last.is_some() {
            break;
        }
    }
    assert_eq!(last.as_deref(), Some("54001"));
    let steps: Vec<String> = (1..3_000).map(|n| format!("c{n} AS (SELECT a FROM c{})", n - 1)).collect();
    let outcome = client.query(&format!("WITH c0 AS (SELECT a FROM t), {} SELECT * FROM c2999", steps.join(", ")), &[]).await;
    assert_eq!(code(&outcome), Some("54001"), "{outcome:?}");
}

/// Queries that compute for minutes.
const LONG: [&str; 4] = [
    "SELECT count(*) FROM generate_series(1, 300000) a(x), generate_series(1, 300000) b(y) WHERE x < y",
    "SELECT count(*) FROM generate_series(1, 300000) a(x), generate_series(1, 300000) b(y)",
    "SELECT count(*) FROM generate_series(1, 1000000000000)",
    "SELECT max(x + y) FROM generate_series(1, 300000) a(x) FULL JOIN generate_series(1, 300000) b(y) ON x < y",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_timeout_ends_what_computes() {
    let (_database, port) = start(1 << 30).await;
    let client = connect(port).await;
    client.batch_execute("SET statement_timeout = '300ms'").await.expect("set");
    for sql in LONG {
        let began = Instant::now();
        let outcome = client.query(sql, &[]).await;
        assert_eq!(code(&outcome), Some("57014"), "{sql}");
        assert!(began.elapsed() < Duration::from_secs(3), "{sql}: {:?}", began.elapsed());
    }
    // Those that are cancelled do not stand in the way of others.
    let other = connect(port).await;
    let began = Instant::now();
    assert_eq!(other.query_one("SELECT count(*) FROM generate_series(1, 10)", &[]).await.expect("a row").get::<_, i64>(0), 10);
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_that_wants_too_much_memory_says_so() {
    let (_database, port) = start(32 << 20).await;
    let client = connect(port).await;
    let outcome = client.query("SELECT count(*) FROM (SELECT x FROM generate_series(1, 3000000) a(x) GROUP BY x)", &[]).await;
    let spilled_or_refused = outcome.is_ok() || code(&outcome) == Some("53200");
    assert!(spilled_or_refused, "{outcome:?}");
    // The table of a hash join has no other place than memory.
    let join = "SELECT count(*) FROM generate_series(1, 5000000) a(x) JOIN generate_series(1, 5000000) b(y) ON x = y";
    let outcome = client.query(join, &[]).await;
    assert_eq!(code(&outcome), Some("53200"), "{outcome:?}");
    let error = outcome.expect_err("too much").as_db_error().and_then(|e| e.hint()).unwrap_or_default().to_owned();
    assert!(error.contains("filter earlier"), "{error}");
    assert_eq!(client.query_one("SELECT 1 AS one", &[]).await.expect("a row").get::<_, i32>(0), 1);
}
