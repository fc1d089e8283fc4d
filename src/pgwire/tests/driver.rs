//! A driver that speaks the extended protocol in binary: parameters, types, paging, cancelling, leaving.
#![allow(clippy::disallowed_methods, reason = "a test may wait and run tasks of its own")]

use futures::TryStreamExt;
use headwater::{Database, Options};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio_postgres::types::Type;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

async fn start() -> (Database, u16) {
    let database = Database::open(Options::in_memory()).await.expect("a database in memory");
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_of_every_type_go_both_ways_in_binary() {
    let (_database, port) = start().await;
    let client = connect(port).await;
    let statement = client
        .prepare_typed(
            "SELECT $1::boolean AS a, $2::smallint AS b, $3::int AS c, $4::bigint AS d, $5::real AS e, $6::double precision AS f, $7::varchar AS g, \
             $8::bytea AS h, $9::timestamp AS i, $10::timestamptz AS j, $11::uuid AS k, $12::text[] AS l",
            &[],
        )
        .await
        .expect("a prepared statement");
    let expected = [
        Type::BOOL,
        Type::INT2,
        Type::INT4,
        Type::INT8,
        Type::FLOAT4,
        Type::FLOAT8,
        Type::TEXT,
        Type::BYTEA,
        Type::TIMESTAMP,
        Type::TIMESTAMPTZ,
        Type::UUID,
        Type::TEXT_ARRAY,
    ];
    assert_eq!(statement.params(), expected);
    let moment = UNIX_EPOCH + Duration::from_micros(1_700_000_000_123_456);
    let id = uuid::Uuid::from_u128(0xa0ee_bc99_9c0b_4ef8_bb6d_6bb9_bd38_0a11);
    let words = vec![Some("a b".to_owned()), None, Some(String::new())];
    let row = client
        .query_one(
            &statement,
            &[&true, &-2_i16, &3_i32, &i64::MIN, &1.5_f32, &f64::NAN, &"ünï", &[0_u8, 255].as_slice(), &moment, &moment, &id, &words],
        )
        .await
        .expect("a row");
    assert!(row.get::<_, bool>("a"));
    assert_eq!(row.get::<_, i16>("b"), -2);
    assert_eq!(row.get::<_, i32>("c"), 3);
    assert_eq!(row.get::<_, i64>("d"), i64::MIN);
    assert!((row.get::<_, f32>("e") - 1.5).abs() < f32::EPSILON);
    assert!(row.get::<_, f64>("f").is_nan());
    assert_eq!(row.get::<_, String>("g"), "ünï");
    assert_eq!(row.get::<_, Vec<u8>>("h"), vec![0, 255]);
    assert_eq!(row.get::<_, SystemTime>("i"), moment);
    assert_eq!(row.get::<_, SystemTime>("j"), moment);
    assert_eq!(row.get::<_, uuid::Uuid>("k"), id);
    assert_eq!(row.get::<_, Vec<Option<String>>>("l"), words);
    let nulls = client.query_one("SELECT $1::int AS a, $2::varchar AS b", &[&None::<i32>, &None::<String>]).await.expect("a row");
    assert_eq!((nulls.get::<_, Option<i32>>(0), nulls.get::<_, Option<String>>(1)), (None, None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_are_inserted_and_found_by_parameters() {
    let (_database, port) = start().await;
    let client = connect(port).await;
    client.batch_execute("CREATE TABLE t (id BIGINT PRIMARY KEY, name VARCHAR); INSERT INTO t VALUES (0, 'zero')").await.expect("a table");
    let insert = client.prepare("INSERT INTO t VALUES ($1, $2)").await.expect("an insert");
    assert_eq!(insert.params(), [Type::INT8, Type::TEXT]);
    for id in 1..=5_i64 {
        assert_eq!(client.execute(&insert, &[&id, &format!("n{id}")]).await.expect("a row"), 1);
    }
    let rows = client.query("SELECT name FROM t WHERE id > $1 ORDER BY id", &[&3_i64]).await.expect("rows");
    assert_eq!(rows.iter().map(|r| r.get::<_, String>(0)).collect::<Vec<_>>(), ["n4", "n5"]);
    let again = client.execute(&insert, &[&1_i64, &"again"]).await.expect_err("the key is there");
    assert_eq!(again.code().map(tokio_postgres::error::SqlState::code), Some("23505"));
    // The connection goes on after an error.
    let count = client.query_one("SELECT count(*) FROM t", &[]).await.expect("a row");
    assert_eq!(count.get::<_, i64>(0), 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_portal_gives_its_rows_in_portions() {
    let (_database, port) = start().await;
    let mut client = connect(port).await;
    let block = client.transaction().await.expect("a block");
    let portal = block.bind("SELECT value FROM generate_series(1, 10) AS t(value) ORDER BY value", &[]).await.expect("a portal");
    let mut seen = Vec::new();
    for expected in [4, 4, 2, 0] {
        let rows = block.query_portal(&portal, 4).await.expect("rows");
        assert_eq!(rows.len(), expected);
        seen.extend(rows.iter().map(|r| r.get::<_, i64>(0)));
    }
    assert_eq!(seen, (1..=10).collect::<Vec<i64>>());
    block.commit().await.expect("the end of the block");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_tell_code_and_position_and_end_at_sync() {
    let (_database, port) = start().await;
    let client = connect(port).await;
    let error = client.query("SELECT 1 FROM nosuch", &[]).await.expect_err("no such relation");
    let error = error.as_db_error().expect("of the database");
    assert_eq!((error.code().code(), error.severity()), ("42P01", "ERROR"));
    assert_eq!(error.position(), Some(&tokio_postgres::error::ErrorPosition::Original(15)));
    let two = client.query("SELECT 1; SELECT 2", &[]).await.expect_err("two statements");
    assert_eq!(two.code().map(tokio_postgres::error::SqlState::code), Some("42601"));
    let messages = client.simple_query("SELECT 1 AS a; SELECT 2 AS a").await.expect("two results");
    let rows: Vec<_> = messages.iter().filter_map(|m| if let SimpleQueryMessage::Row(r) = m { r.get(0) } else { None }).collect();
    assert_eq!(rows, ["1", "2"]);
    assert!(client.simple_query("").await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_connection_cancels_a_query() {
    let (_database, port) = start().await;
    let client = connect(port).await;
    let cancel = client.cancel_token();
    let ends = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        cancel.cancel_query(NoTls).await.expect("a request to cancel");
    };
    let query = client.query("SELECT count(*) FROM generate_series(1, 1000000000000)", &[]);
    let (outcome, ()) = tokio::time::timeout(Duration::from_secs(20), async { tokio::join!(query, ends) }).await.expect("an end");
    assert_eq!(outcome.expect_err("cancelled").code().map(tokio_postgres::error::SqlState::code), Some("57014"));
    assert_eq!(client.query_one("SELECT 1 AS one", &[]).await.expect("a row").get::<_, i32>(0), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copy_out_and_subscriptions_stream() {
    let (_database, port) = start().await;
    let client = connect(port).await;
    client
        .batch_execute("CREATE TABLE t (id INT PRIMARY KEY, name VARCHAR); INSERT INTO t VALUES (1, 'a'), (2, NULL)")
        .await
        .expect("a table");
    let stream = client.copy_out("COPY (SELECT * FROM t ORDER BY id) TO STDOUT").await.expect("copy data");
    let chunks: Vec<bytes::Bytes> = stream.try_collect().await.expect("to its end");
    assert_eq!(chunks.concat(), b"1\ta\n2\t\\N\n");
    assert_eq!(client.query_one("SELECT count(*) FROM t", &[]).await.expect("a row").get::<_, i64>(0), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn addresses_that_others_can_reach_are_refused() {
    let error = headwater_pgwire::bind("0.0.0.0:0".parse().expect("an address")).await.expect_err("no authentication");
    assert!(error.message().contains("no authentication"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn places_tell_the_types_of_parameters() {
    let (_database, port) = start().await;
    let client = connect(port).await;
    let page = "SELECT g FROM generate_series(1, 9) AS s(g) WHERE CASE WHEN $3 THEN $4 || $5 = 'ab' ELSE true END LIMIT $1 OFFSET $2";
    let statement = client.prepare(page).await.expect("a prepared statement");
    assert_eq!(statement.params(), [Type::INT8, Type::INT8, Type::BOOL, Type::TEXT, Type::TEXT]);
    let rows = client.query(&statement, &[&1_i64, &2_i64, &true, &"a", &"b"]).await.expect("rows");
    assert_eq!(rows.iter().map(|row| row.get::<_, i64>(0)).collect::<Vec<_>>(), [3]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn columns_that_were_described_stay() {
    let (_database, port) = start().await;
    let client = connect(port).await;
    client.batch_execute("CREATE TABLE t (a INT)").await.expect("a table");
    let statement = client.prepare("SELECT * FROM t").await.expect("a prepared statement");
    client.batch_execute("PREPARE p AS SELECT * FROM t").await.expect("one of SQL's");
    client.batch_execute("DROP TABLE t; CREATE TABLE t (a INT); INSERT INTO t VALUES (7)").await.expect("another of that name");
    assert_eq!(client.query_one(&statement, &[]).await.expect("a row").get::<_, i32>(0), 7);
    client.batch_execute("EXECUTE p").await.expect("the same columns");
    client.batch_execute("DROP TABLE t; CREATE TABLE t (a TEXT)").await.expect("one with other columns");
    let by_protocol = client.query(&statement, &[]).await.expect_err("other columns");
    let by_sql = client.batch_execute("EXECUTE p").await.expect_err("other columns");
    for error in [by_protocol, by_sql] {
        assert_eq!(error.code().map(tokio_postgres::error::SqlState::code), Some("0A000"));
    }
}

/// A broker that is down: the client is told what its statement waits for, and may still cancel it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_statement_waits_for_is_told_while_it_waits() {
    let (_database, port) = start().await;
    let config = format!("host=127.0.0.1 port={port} user=root dbname=dev");
    let (client, mut connection) = tokio_postgres::connect(&config, NoTls).await.expect("a session");
    let (told, mut notices) = tokio::sync::mpsc::channel(16);
    tokio::task::spawn(async move {
        while let Some(Ok(message)) = std::future::poll_fn(|context| connection.poll_message(context)).await {
            if let tokio_postgres::AsyncMessage::Notice(notice) = message {
                told.send(notice.message().to_owned()).await.expect("the test listens");
            }
        }
    });
    let source = "CREATE SOURCE s (id BIGINT) WITH (connector = 'kafka', topic = 't', properties.bootstrap.server = '127.0.0.1:1') FORMAT PLAIN ENCODE JSON";
    client.batch_execute(source).await.expect("a source needs no broker");
    let cancel = client.cancel_token();
    let created = client.batch_execute("CREATE MATERIALIZED VIEW v AS SELECT count(*) AS n FROM s");
    let heard = async {
        let notice = tokio::time::timeout(Duration::from_secs(30), notices.recv()).await.expect("told in time").expect("a notice");
        assert!(notice.starts_with("source \"s\": kafka at 127.0.0.1:1") && notice.ends_with("; waiting"), "{notice}");
        cancel.cancel_query(NoTls).await.expect("asked to cancel");
    };
    let (created, ()) = tokio::join!(created, heard);
    let error = created.expect_err("it was cancelled");
    assert_eq!(error.code().map(tokio_postgres::error::SqlState::code), Some("57014"));
}
