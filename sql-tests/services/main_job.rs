//! Kafka, a window with a watermark, a view, two sinks, checkpoints; killed again and again; compared with the batch answer.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::AsArray;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use headwater::{Clock, Database, Options, Session, SystemClock};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::events::{Counts, Event, FIRST_EVENTS, Key, Row, answer, events, garbage, late};
use crate::outside::{Outside, services};
use crate::{child, number, skip};

/// How long the sinks may take to catch up at the end.
const SETTLE: Duration = Duration::from_secs(60);

/// After this long another directory gets the lease of a process that died.
const LEASE: Duration = Duration::from_secs(18);

fn script(outside: &Outside) -> String {
    let (brokers, postgres, run) = (&outside.brokers, &outside.postgres, &outside.run);
    let (from, to) = (outside.topic_in(), outside.topic_out());
    format!(
        "CREATE SOURCE email_opened (
           email_id BIGINT NOT NULL, subscriber_id BIGINT, opened_at TIMESTAMP NOT NULL,
           WATERMARK FOR opened_at AS opened_at - INTERVAL '1 minute'
         ) WITH (connector = 'kafka', topic = '{from}', properties.bootstrap.server = '{brokers}', scan.startup.mode = 'earliest')
         FORMAT PLAIN ENCODE JSON;
         CREATE MATERIALIZED VIEW opens AS
         SELECT window_start, email_id, count(*) AS opens, count(DISTINCT subscriber_id) AS readers, sum(subscriber_id) AS total,
                min(subscriber_id) AS least, max(subscriber_id) AS greatest
         FROM TUMBLE(email_opened, opened_at, INTERVAL '1 minute') GROUP BY window_start, email_id;
         CREATE SINK opens_pg FROM opens WITH (connector = 'postgres', url = '{postgres}', schema = '{run}', table = 'opens',
           type = 'upsert', primary_key = 'window_start,email_id');
         CREATE SINK opens_topic FROM opens WITH (connector = 'kafka', properties.bootstrap.server = '{brokers}', topic = '{to}',
           primary_key = 'window_start,email_id') FORMAT UPSERT ENCODE JSON;"
    )
}

/// Runs the job, or says why not.
pub fn run() {
    let variables = ["HEADWATER_KAFKA", "HEADWATER_POSTGRES", "HEADWATER_S3"].map(std::env::var);
    let [Ok(brokers), Ok(postgres), Ok(_)] = variables else {
        return skip("HEADWATER_KAFKA, HEADWATER_POSTGRES or HEADWATER_S3 is not set; script/services up kafka postgres s3");
    };
    let now_ms = SystemClock::default().now() / 1000;
    let seed = number("HEADWATER_SEED", u64::try_from(now_ms).expect("after 1970"));
    let count = number("HEADWATER_EVENTS", 100_000);
    println!("seed {seed}, {count} events");
    let outside = Outside { brokers, postgres, run: format!("run_{now_ms}"), producer: Arc::default() };
    let events = events(count, now_ms, seed);
    let tokio = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads");
    tokio.block_on(job(&outside, &events, seed));
}

async fn job(outside: &Outside, events: &[Event], seed: u64) {
    outside.create().await;
    let home = tempfile::tempdir().expect("a folder");
    let (directory, checkpoint) = (home.path().join("db"), format!("s3://headwater/{}", outside.run));
    let script = script(outside);
    let (first, rest) = events.split_at(FIRST_EVENTS.min(events.len()));
    keep_first(outside, first, child::options(&directory, &checkpoint), &script).await;
    std::thread::scope(|scope| {
        let kills = number("HEADWATER_KILLS", 3);
        let seconds = (kills * 6 + kills.div_ceil(3) * LEASE.as_secs()).max(number("HEADWATER_SECONDS", 24));
        let producing = scope.spawn(move || outside.produce(rest, seconds));
        kill_again_and_again(outside, (&directory, &checkpoint), &script, seed, kills);
        producing.join().expect("every event is written");
    });
    let database = Database::open(child::options(&directory, &checkpoint)).await.expect("it opens after the last kill");
    let mut session = database.session();
    session.run_script(&script, async |_, _| Ok(())).await.expect("the same script");
    session.execute("FLUSH").await.expect("everything is read");
    compare(outside, events, &mut session).await;
    database.close().await.expect("it closes");
}

/// Reads the `first` events and takes a checkpoint: from now on there is a watermark, even if the directory is lost.
async fn keep_first(outside: &Outside, first: &[Event], options: Options, script: &str) {
    outside.produce(first, 1);
    let database = Database::open(options).await.expect("a new database");
    let mut session = database.session();
    session.run_script(script, async |_, _| Ok(())).await.expect("the script");
    session.execute("FLUSH").await.expect("everything is read");
    same("the view of the first events", &view(&mut session).await, &answer(first));
    session.execute("CHECKPOINT").await.expect("a checkpoint");
    database.close().await.expect("it closes");
}

/// Kills the database `kills` times at random moments: every third time its directory is lost too, every tenth time and at the last one the
/// broker and PostgreSQL die first.
fn kill_again_and_again(outside: &Outside, (directory, checkpoint): (&Path, &str), script: &str, seed: u64, kills: u64) {
    let mut random = SmallRng::seed_from_u64(seed ^ 1);
    let mut running = child::start(directory, checkpoint, script);
    for kill in 0..kills {
        std::thread::park_timeout(Duration::from_millis(random.random_range(3000..9000)));
        if kill == kills - 1 || kill % 10 == 9 {
            kill_services(outside);
        }
        let ended = running.try_wait().expect("the child can be asked");
        running.kill().expect("it is ours");
        running.wait().expect("it ends");
        if let Some(status) = ended {
            let log = std::fs::read_to_string(directory.with_extension("log")).unwrap_or_default();
            println!("the child had ended by itself: {status}\n{log}");
        }
        if kill % 3 == 1 {
            println!("kill {kill}, and its directory is lost");
            // It is not there if the child was killed while it waited for the lease.
            let _gone = std::fs::remove_dir_all(directory);
            running = child::start(directory, checkpoint, script);
            std::thread::park_timeout(LEASE);
        } else {
            println!("kill {kill}");
            running = child::start(directory, checkpoint, script);
        }
    }
    std::thread::park_timeout(Duration::from_millis(random.random_range(2000..5000)));
    running.kill().expect("it is ours");
    running.wait().expect("it ends");
}

fn kill_services(outside: &Outside) {
    if std::env::var("HEADWATER_SERVICES").is_err() {
        return skip("HEADWATER_SERVICES is not set: broker and PostgreSQL are not killed");
    }
    for name in ["kafka", "postgres"] {
        println!("kill {name}");
        outside.without_producer(|| {
            services("kill", name);
            std::thread::park_timeout(Duration::from_millis(500));
            services("up", name);
        });
        std::thread::park_timeout(Duration::from_millis(1500));
    }
}

async fn compare(outside: &Outside, events: &[Event], session: &mut Session) {
    let (expected, late) = (answer(events), late(events));
    let rejected = whole(session, "SELECT count(*) FROM \"email_opened$errors\"").await;
    println!("{} rows of the view, {} late, {rejected} unreadable", expected.len(), late.values().sum::<i64>());
    assert_eq!(rejected, garbage(events), "unreadable records");
    same("the late rows", &refused(session).await, &late);
    same("the view", &view(session).await, &expected);
    let settled = tokio::time::timeout(SETTLE, async {
        while outside.table().await != expected || topic(outside).0 != expected {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    });
    if settled.await.is_err() {
        let sinks = session.query("SELECT * FROM headwater.sinks").await.map(|rows| format!("{rows:?}"));
        println!("{sinks:?}");
        same("the table", &outside.table().await, &expected);
        same("the topic", &topic(outside).0, &expected);
    }
    println!("the topic holds {} records of {} keys", topic(outside).1, expected.len());
}

/// Fails with the first few differences.
fn same<K: Ord + Debug, V: PartialEq + Debug>(what: &str, found: &BTreeMap<K, V>, expected: &BTreeMap<K, V>) {
    let missing: Vec<_> = expected.iter().filter(|(k, v)| found.get(k) != Some(v)).map(|(k, v)| (k, v, found.get(k))).collect();
    let extra: Vec<_> = found.iter().filter(|(k, _)| !expected.contains_key(k)).collect();
    let shown = (&missing[..missing.len().min(5)], &extra[..extra.len().min(5)]);
    assert!(missing.is_empty() && extra.is_empty(), "{what}: {} wrong, {} too many: {shown:?}", missing.len(), extra.len());
}

/// All columns of all rows as whole numbers; timestamps in microseconds.
async fn numbers(session: &mut Session, sql: &str) -> Vec<Vec<i64>> {
    let mut rows = Vec::new();
    for batch in session.query(sql).await.expect(sql) {
        let columns: Vec<_> = batch.columns().iter().map(|column| cast(column, &DataType::Int64).expect("a number")).collect();
        rows.extend((0..batch.num_rows()).map(|row| columns.iter().map(|c| c.as_primitive::<Int64Type>().value(row)).collect()));
    }
    rows
}

async fn whole(session: &mut Session, sql: &str) -> i64 {
    numbers(session, sql).await[0][0]
}

async fn view(session: &mut Session) -> BTreeMap<Key, Counts> {
    let rows = numbers(session, "SELECT window_start, email_id, opens, readers, total, least, greatest FROM opens").await;
    let count = rows.len();
    let view: BTreeMap<Key, Counts> = rows.iter().map(|r| ((r[0], r[1]), (r[2], r[3], r[4], r[5], r[6]))).collect();
    assert_eq!(view.len(), count, "a key is in the view twice");
    view
}

/// Rows that the view refused, and how often.
async fn refused(session: &mut Session) -> BTreeMap<Row, i64> {
    let mut refused = BTreeMap::new();
    for row in numbers(session, "SELECT window_start, email_id, subscriber_id, weight FROM \"opens$late\"").await {
        *refused.entry((row[0], row[1], row[2])).or_default() += row[3];
    }
    refused
}

fn topic(outside: &Outside) -> (BTreeMap<Key, Counts>, usize) {
    let (live, records) = outside.compacted();
    let row = |value: &serde_json::Value| {
        let whole = |name: &str| {
            let field = &value[name];
            field.as_i64().or_else(|| field.as_str()?.parse().ok()).unwrap_or_else(|| panic!("{name} of {value}"))
        };
        let start = value["window_start"].as_str().expect("a timestamp");
        let start = arrow::compute::kernels::cast_utils::string_to_timestamp_nanos(start).expect("ISO 8601") / 1000;
        ((start, whole("email_id")), (whole("opens"), whole("readers"), whole("total"), whole("least"), whole("greatest")))
    };
    (live.values().map(row).collect(), records)
}
