//! The PostgreSQL sink: keys, marks, lost replies, killed servers, targets that do not fit.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use headwater_types::{ChangeBatch, Epoch, ErrorKind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::services::{Service, may_kill, service, services, skip};
use crate::{Delivery, Encoding, Format, Mark, Sink, SinkDefinition, all};

/// A schema of the test's own, and a client to look at it.
pub(super) struct Target {
    pub(super) client: tokio_postgres::Client,
    pub(super) schema: String,
    _driver: JoinSet<()>,
}

pub(super) async fn target(service: &Service, create: &str) -> Target {
    let schema = format!("test_{}", Uuid::new_v4().simple());
    let (client, connection) = tokio_postgres::connect(&service.address, tokio_postgres::NoTls).await.expect("the server answers");
    let mut driver = JoinSet::new();
    driver.spawn(async move {
        let _ended = connection.await;
    });
    let setup = format!("CREATE SCHEMA {schema}; SET search_path = {schema}; SET TimeZone = 'UTC'; {create}");
    client.batch_execute(&setup).await.expect("the test's tables");
    Target { client, schema, _driver: driver }
}

impl Target {
    /// All rows of `table` as text, sorted.
    pub(super) async fn rows(&self, table: &str) -> Vec<String> {
        let sql = format!("SELECT t::text FROM {}.{table} t ORDER BY 1", self.schema);
        self.client.query(&sql, &[]).await.expect("the table is there").iter().map(|r| r.get(0)).collect()
    }
}

pub(super) fn sink_of(service: &Service, target: &Target, schema: &SchemaRef, key: &[usize]) -> (Box<dyn Sink>, Uuid) {
    let uuid = Uuid::new_v4();
    (open(&definition(&service.address, &target.schema, schema, key, uuid)), uuid)
}

fn definition(url: &str, schema_name: &str, schema: &SchemaRef, key: &[usize], uuid: Uuid) -> SinkDefinition {
    let options = [("url", url), ("schema", schema_name), ("table", "t")];
    SinkDefinition {
        name: "s".into(),
        uuid,
        schema: schema.clone(),
        key: key.to_vec(),
        upsert: !key.is_empty(),
        options: options.map(|(n, v)| (n.to_owned(), v.to_owned())).into(),
        format: Format::Plain,
        encoding: Encoding::Native,
        encoding_options: crate::Options::new(),
    }
}

fn open(definition: &SinkDefinition) -> Box<dyn Sink> {
    let registry = all();
    let connector = registry.get("postgres").expect("registered");
    connector.check_sink(definition).expect("the options are right");
    connector.open_sink(definition).expect("the options are right")
}

pub(super) fn delivery(sink: Uuid, before: Option<u64>, epoch: u64, changes: Vec<ChangeBatch>) -> Delivery {
    let mark = |epoch| Mark { sink, incarnation: 1, epoch: Epoch(epoch) };
    Delivery { before: before.map(mark), mark: mark(epoch), changes }
}

/// Rows (k, v), with weights.
fn pairs() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("k", DataType::Utf8, true), Field::new("v", DataType::Int64, true)]))
}

fn changes(rows: &[(Option<&str>, i64, i64)]) -> Vec<ChangeBatch> {
    let keys = StringArray::from_iter(rows.iter().map(|r| r.0));
    let values = Int64Array::from_iter_values(rows.iter().map(|r| r.1));
    let batch = RecordBatch::try_new(pairs(), vec![Arc::new(keys), Arc::new(values)]).expect("two columns");
    vec![ChangeBatch::new(batch, rows.iter().map(|r| r.2).collect::<Vec<_>>()).expect("as many weights")]
}

const TABLE: &str = "CREATE TABLE t (k text, v bigint, UNIQUE (k))";

#[tokio::test(flavor = "multi_thread")]
async fn rows_follow_their_keys() {
    let Some(service) = service("HEADWATER_POSTGRES", "rows_follow_their_keys").await else { return };
    let db = target(&service, TABLE).await;
    let (mut sink, id) = sink_of(&service, &db, &pairs(), &[0]);
    assert_eq!(sink.mark().await.expect("the target fits"), None);
    sink.deliver(&delivery(id, None, 1, changes(&[(Some("a"), 1, 1), (Some("b"), 2, 1), (None, 3, 1)]))).await.expect("first");
    assert_eq!(db.rows("t").await, ["(,3)", "(a,1)", "(b,2)"]);
    let second = changes(&[(Some("a"), 1, -1), (Some("b"), 2, -1), (None, 3, -1), (Some("b"), 20, 1), (None, 30, 1)]);
    sink.deliver(&delivery(id, Some(1), 4, second)).await.expect("second");
    assert_eq!(db.rows("t").await, ["(,30)", "(b,20)"]);
    sink.deliver(&delivery(id, Some(4), 5, changes(&[(None, 30, -1)]))).await.expect("third");
    assert_eq!(db.rows("t").await, ["(b,20)"]);
    assert_eq!(sink.mark().await.expect("a mark"), Some(Mark { sink: id, incarnation: 1, epoch: Epoch(5) }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_goes_on_from_its_mark_or_not_at_all() {
    let Some(service) = service("HEADWATER_POSTGRES", "a_delivery_goes_on_from_its_mark_or_not_at_all").await else { return };
    let db = target(&service, "CREATE TABLE t (k text, v bigint)").await;
    let (mut sink, id) = sink_of(&service, &db, &pairs(), &[]);
    let row = || changes(&[(Some("a"), 1, 2)]);
    sink.deliver(&delivery(id, None, 1, row())).await.expect("first");
    for before in [None, Some(7)] {
        let error = sink.deliver(&delivery(id, before, 2, row())).await.expect_err("the mark is 1");
        assert_eq!(error.kind(), ErrorKind::External, "{error}");
    }
    assert_eq!(db.rows("t").await, ["(a,1)", "(a,1)"]);
    let mut later = delivery(id, Some(1), 2, row());
    (later.mark.incarnation, later.before) = (2, Some(Mark { incarnation: 2, ..later.mark }));
    db.client.execute(&format!("UPDATE {}.headwater_marks SET incarnation = 3", db.schema), &[]).await.expect("moved");
    let error = sink.deliver(&later).await.expect_err("a later incarnation has the table");
    assert_eq!(error.kind(), ErrorKind::Fenced, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rewrite_leaves_the_view_and_nothing_else() {
    let Some(service) = service("HEADWATER_POSTGRES", "a_rewrite_leaves_the_view_and_nothing_else").await else { return };
    let stale = "INSERT INTO t SELECT 'old' || n, n FROM generate_series(1, 20000) n; INSERT INTO t VALUES ('a', 7), (NULL, 8), (NULL, 9)";
    let db = target(&service, &format!("{TABLE}; {stale}")).await;
    let (mut sink, id) = sink_of(&service, &db, &pairs(), &[0]);
    let mark = |epoch| Mark { sink: id, incarnation: 2, epoch: Epoch(epoch) };
    sink.rewrite(changes(&[(Some("a"), 1, 1), (Some("b"), 2, 1)]), mark(9)).await.expect("rewritten");
    assert_eq!(db.rows("t").await, ["(a,1)", "(b,2)"]);
    sink.rewrite(changes(&[(Some("b"), 3, 1), (None, 4, 1)]), mark(3)).await.expect("rewritten again");
    assert_eq!(db.rows("t").await, ["(,4)", "(b,3)"]);
    assert_eq!(sink.mark().await.expect("a mark"), Some(mark(3)));
    sink.rewrite(Vec::new(), mark(4)).await.expect("an empty view");
    assert_eq!(db.rows("t").await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_does_not_fit_is_refused_by_name() {
    let Some(service) = service("HEADWATER_POSTGRES", "a_target_that_does_not_fit_is_refused_by_name").await else { return };
    for (create, named) in [
        ("SELECT 1", "no table"),
        ("CREATE TABLE t (k text PRIMARY KEY)", "no column \"v\""),
        ("CREATE TABLE t (k text PRIMARY KEY, v int)", "column \"v\""),
        ("CREATE TABLE t (k uuid PRIMARY KEY, v bigint)", "column \"k\""),
        ("CREATE TABLE t (k text, v bigint)", "no unique index on (k)"),
        ("CREATE TABLE t (k text, v bigint, UNIQUE (k, v))", "no unique index on (k)"),
        ("CREATE TABLE t (k text PRIMARY KEY, v bigint GENERATED ALWAYS AS (1) STORED)", "column \"v\""),
        ("CREATE TABLE t (k text PRIMARY KEY, v bigint, w int NOT NULL)", "column \"w\""),
    ] {
        let db = target(&service, create).await;
        let error = sink_of(&service, &db, &pairs(), &[0]).0.mark().await.expect_err(create);
        assert_eq!(error.kind(), ErrorKind::Invalid, "{create}: {error}");
        assert!(error.message().contains(named), "{create}: {error}");
    }
    let db = target(&service, "CREATE DOMAIN name_text AS text; CREATE TABLE t (k name_text PRIMARY KEY, v bigint, w int DEFAULT 1)").await;
    sink_of(&service, &db, &pairs(), &[0]).0.mark().await.expect("a domain is what it is made of");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_waits_for_a_commit_that_is_under_way() {
    let Some(service) = service("HEADWATER_POSTGRES", "a_delivery_waits_for_a_commit_that_is_under_way").await else { return };
    let db = target(&service, TABLE).await;
    let (mut sink, id) = sink_of(&service, &db, &pairs(), &[0]);
    sink.deliver(&delivery(id, None, 1, changes(&[(Some("a"), 1, 1)]))).await.expect("first");
    let open = format!("BEGIN; UPDATE {0}.headwater_marks SET epoch = 2; INSERT INTO {0}.t VALUES ('b', 2)", db.schema);
    db.client.batch_execute(&open).await.expect("an earlier attempt, not yet decided");
    let second = delivery(id, Some(1), 2, changes(&[(Some("b"), 2, 1)]));
    let mut waiting = Box::pin(sink.deliver(&second));
    assert!(tokio::time::timeout(Duration::from_millis(300), &mut waiting).await.is_err(), "it must wait");
    db.client.batch_execute("COMMIT").await.expect("decided");
    let error = waiting.await.expect_err("the mark has moved");
    assert_eq!(error.kind(), ErrorKind::External, "{error}");
    assert_eq!(sink.mark().await.expect("a mark").map(|m| m.epoch), Some(Epoch(2)));
    assert_eq!(db.rows("t").await, ["(a,1)", "(b,2)"]);
}

/// Forwards to the server until the client sends COMMIT: that still arrives, its reply never comes back.
async fn swallow_commits(listener: TcpListener, server: String) {
    while let Ok((mut client, _)) = listener.accept().await {
        let mut upstream = TcpStream::connect(&server).await.expect("the server answers");
        let (mut to_server, mut to_client) = (vec![0; 65_536], vec![0; 65_536]);
        loop {
            tokio::select! {
                n = client.read(&mut to_server) => {
                    let n = n.unwrap_or(0);
                    if n == 0 || upstream.write_all(&to_server[..n]).await.is_err() { break }
                    if to_server[..n].windows(6).any(|w| w == b"COMMIT") {
                        // The server's answer shows that it is done; then the connection breaks.
                        let _answered = upstream.read(&mut to_client).await;
                        break;
                    }
                }
                n = upstream.read(&mut to_client) => {
                    let n = n.unwrap_or(0);
                    if n == 0 || client.write_all(&to_client[..n]).await.is_err() { break }
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_reply_to_commit_is_told_by_the_mark() {
    let Some(service) = service("HEADWATER_POSTGRES", "a_lost_reply_to_commit_is_told_by_the_mark").await else { return };
    let db = target(&service, "CREATE TABLE t (k text, v bigint)").await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let server = service.address.split('@').nth(1).and_then(|rest| rest.split('/').next()).expect("host:port").to_owned();
    let mut proxy = JoinSet::new();
    proxy.spawn(swallow_commits(listener, server));
    let id = Uuid::new_v4();
    let lossy = definition(&format!("postgres://postgres@127.0.0.1:{port}/postgres?sslmode=disable"), &db.schema, &pairs(), &[], id);
    let mut sink = open(&lossy);
    assert_eq!(sink.mark().await.expect("no COMMIT so far"), None);
    let error = sink.deliver(&delivery(id, None, 1, changes(&[(Some("a"), 1, 1)]))).await.expect_err("the reply is lost");
    assert_eq!(error.kind(), ErrorKind::External, "{error}");
    assert_eq!(open(&lossy).mark().await.expect("the mark tells").map(|m| m.epoch), Some(Epoch(1)));
    assert_eq!(db.rows("t").await, ["(a,1)"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_loses_and_repeats_nothing() {
    let test = "a_killed_server_loses_and_repeats_nothing";
    let Some(service) = service("HEADWATER_POSTGRES", test).await else { return };
    if !may_kill(test) {
        return;
    }
    let db = target(&service, "CREATE TABLE t (k text, v bigint)").await;
    let id = Uuid::new_v4();
    let definition = definition(&service.address, &db.schema, &pairs(), &[], id);
    let mut sink = open(&definition);
    let mut killer = JoinSet::new();
    killer.spawn_blocking(|| {
        for _ in 0..3 {
            std::thread::park_timeout(Duration::from_millis(400));
            services("kill", "postgres");
            services("up", "postgres");
        }
    });
    let (mut delivered, mut failures) = (0, 0);
    while delivered < 400 || !killer.is_empty() {
        let outcome = sink.deliver(&delivery(id, (delivered > 0).then_some(delivered), delivered + 1, changes(&[(None, 1, 1)]))).await;
        match outcome {
            Ok(()) => delivered += 1,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::External, "{error}");
                failures += 1;
                sink = open(&definition);
                match sink.mark().await {
                    Ok(mark) => delivered = mark.map_or(0, |m| m.epoch.0),
                    Err(error) => assert_eq!(error.kind(), ErrorKind::External, "{error}"),
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        while let Some(done) = killer.try_join_next() {
            done.expect("the killer ends well");
        }
    }
    assert!(failures > 0, "the server was killed and nobody noticed");
    let (again, connection) = tokio_postgres::connect(&service.address, tokio_postgres::NoTls).await.expect("it is back");
    let mut driver = JoinSet::new();
    driver.spawn(async move {
        let _ended = connection.await;
    });
    let count: i64 = again.query_one(&format!("SELECT count(*) FROM {}.t", db.schema), &[]).await.expect("a count").get(0);
    assert_eq!(u64::try_from(count), Ok(delivered));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_proves_who_it_is_where_that_is_asked() {
    let test = "a_server_proves_who_it_is_where_that_is_asked";
    let Some(service) = service("HEADWATER_POSTGRES", test).await else { return };
    let Ok(certificate) = std::env::var("HEADWATER_POSTGRES_CERT") else { return skip(test, "HEADWATER_POSTGRES_CERT is not set") };
    let db = target(&service, TABLE).await;
    let attempt = async |mode: &str, root: Option<&str>| {
        let url = format!("{}?sslmode={mode}", service.address);
        let mut definition = definition(&url, &db.schema, &pairs(), &[0], Uuid::new_v4());
        definition.options.extend(root.map(|file| ("ssl.root.cert".to_owned(), file.to_owned())));
        open(&definition).mark().await.map_err(|e| e.to_string())
    };
    assert_eq!(attempt("prefer", None).await, Ok(None));
    assert_eq!(attempt("require", Some(&certificate)).await, Ok(None));
    let error = attempt("require", None).await.expect_err("no authority that browsers trust vouches for it");
    assert!(error.contains("certificate"), "{error}");
    let error = attempt("require", Some("/no/such/file")).await.expect_err("there is no such file");
    assert!(error.contains("/no/such/file"), "{error}");
    let sql = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE ssl AND application_name = 'headwater'";
    let mut open_sink = open(&definition(&format!("{}?sslmode=prefer", service.address), &db.schema, &pairs(), &[0], Uuid::new_v4()));
    open_sink.mark().await.expect("connected");
    let encrypted: i64 = db.client.query_one(sql, &[]).await.expect("a count").get(0);
    assert!(encrypted > 0, "prefer takes encryption where it is offered");
}
