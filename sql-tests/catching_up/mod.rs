//! Views that come late or have failed: they meet the others under load, stay off the cut until they have, and begin anew where they must.

mod files;
mod held_store;

use std::sync::Arc;
use std::time::Duration;

use headwater::{Database, ErrorKind, MemoryStore, Options, Session};
use libtest_mimic::Trial;
use tokio::task::JoinSet;

use held_store::HeldStore;

use crate::scripts::views::lines;
use crate::simulation::connector::WorldConnector;
use crate::simulation::world::{Event, World};

/// What hangs is ended.
const TIME_MAX: Duration = Duration::from_secs(60);
const SOURCE: &str = "CREATE SOURCE events (id BIGINT, k INT, n BIGINT, at TIMESTAMP, WATERMARK FOR at AS at - INTERVAL '10 seconds') WITH (connector = 'world')";

/// One test each.
pub fn trials() -> Vec<Trial> {
    vec![
        trial("meets_a_source_under_load", || async { meets_a_source_under_load().await }),
        trial("others_move_while_a_view_is_filled", || async { others_move_while_a_view_is_filled().await }),
        trial("a_kill_in_the_middle_begins_anew", || async { a_kill_in_the_middle_begins_anew().await }),
        trial("a_failed_view_over_a_table_is_built_anew", || async { a_failed_view_over_a_table_is_built_anew().await }),
        trial("a_failed_view_over_a_source_goes_on", || async { a_failed_view_over_a_source_goes_on().await }),
        trial("a_view_that_fails_before_the_epoch_before_is_written", || async {
            a_view_that_fails_before_the_epoch_before_is_written().await
        }),
        trial("a_definition_that_is_given_up_is_carried_out", || async { a_definition_that_is_given_up_is_carried_out().await }),
        trial("files_that_have_grown_are_read_when_opened_again", files::files_that_have_grown_are_read_when_opened_again),
        trial("windows_that_have_closed_stay_closed", files::windows_that_have_closed_stay_closed),
        trial("generators_stay_at_their_end", files::generators_stay_at_their_end),
    ]
}

fn trial<F: Future<Output = Result<(), String>>>(name: &str, test: impl Fn() -> F + Send + 'static) -> Trial {
    Trial::test(format!("catching_up::{name}"), move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().map_err(|e| e.to_string())?;
        let ended = runtime.block_on(async { tokio::time::timeout(TIME_MAX, test()).await });
        ended.unwrap_or_else(|_| Err(format!("no end after {TIME_MAX:?}"))).map_err(Into::into)
    })
}

/// A world, and options of databases that read it and live on one store.
fn world_and_options(partitions: usize) -> (Arc<World>, Options) {
    let world = World::new(partitions);
    let mut options = Options { blocks: Some(Arc::new(MemoryStore::new())), ..Options::in_memory() };
    options.registry.register(Arc::new(WorldConnector(world.clone())));
    (world, options)
}

fn send(world: &World, partition: usize, id: i64) {
    let event = Event::Row { id, key: i32::try_from(id % 5).unwrap_or(0), n: id, at: 1_735_689_600_000_000 + id * 1_000 };
    world.send(partition, event);
}

async fn run(session: &mut Session, sql: &str) -> Result<(), String> {
    session.execute(sql).await.map(drop).map_err(|e| format!("{sql}: {e}"))
}

async fn rows(session: &mut Session, sql: &str) -> Result<Vec<String>, String> {
    let rows = session.query(sql).await.map_err(|e| format!("{sql}: {e}"))?;
    lines(&rows).map_err(|e| e.to_string())
}

async fn same(session: &mut Session, sql: &str, expected: &str) -> Result<(), String> {
    let one = rows(session, sql).await?;
    let other = rows(session, expected).await?;
    if one == other { Ok(()) } else { Err(format!("{sql} gives {one:?}\n{expected} gives {other:?}")) }
}

/// Three partitions that never stand still: each view that is created must meet the shared feed, and then move with the first one.
async fn meets_a_source_under_load() -> Result<(), String> {
    let (world, options) = world_and_options(3);
    let database = Database::open(options).await.map_err(|e| e.to_string())?;
    let mut session = database.session();
    run(&mut session, SOURCE).await?;
    run(&mut session, "CREATE MATERIALIZED VIEW first AS SELECT count(*) AS c, sum(n) AS s FROM events").await?;
    (0..20_000).for_each(|id| send(&world, (id % 3) as usize, id));
    let mut sender = JoinSet::new();
    sender.spawn({
        let world = world.clone();
        async move {
            for id in (20_000..).step_by(22) {
                (id..id + 22).for_each(|id| send(&world, (id % 3) as usize, id));
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    });
    let mut met = Ok(());
    for late in 0..5 {
        let create = format!("CREATE MATERIALIZED VIEW late_{late} AS SELECT count(*) AS c, sum(n) AS s FROM events");
        met = met.and(run(&mut session, &create).await);
        // One cut: while rows keep coming, both have the same ones.
        met = match met {
            Ok(()) => same(&mut session, &format!("SELECT l.c = f.c AND l.s = f.s FROM late_{late} l, first f"), "SELECT true").await,
            failed => failed,
        };
    }
    sender.shutdown().await;
    met?;
    same(&mut session, "SELECT count(*) FROM headwater.sources", "SELECT 3").await?;
    run(&mut session, "FLUSH").await?;
    same(&mut session, "SELECT * FROM late_3", "SELECT * FROM first").await?;
    database.close().await.map_err(|e| e.to_string())
}

/// A view over a large table is filled in hundreds of steps; meanwhile the others take rows, and it says what it is doing.
async fn others_move_while_a_view_is_filled() -> Result<(), String> {
    let options = Options { backfill_rows: 100, ..Options::in_memory() };
    let database = Database::open(options).await.map_err(|e| e.to_string())?;
    let mut session = database.session();
    for sql in [
        "CREATE TABLE big (id BIGINT)",
        "CREATE TABLE small (id BIGINT)",
        "CREATE MATERIALIZED VIEW others AS SELECT count(*) AS c FROM small",
        "INSERT INTO big SELECT * FROM generate_series(1, 400000)",
        "SET background_ddl = on",
        "CREATE MATERIALIZED VIEW filled AS SELECT id % 10 AS k, count(*) AS c, sum(id) AS s FROM big GROUP BY id % 10",
        "CREATE MATERIALIZED VIEW above AS SELECT sum(c) AS c FROM filled",
    ] {
        run(&mut session, sql).await?;
    }
    let mut moved = 0;
    loop {
        run(&mut session, &format!("INSERT INTO small VALUES ({moved})")).await?;
        run(&mut session, "DELETE FROM big WHERE id = 399999").await?;
        run(&mut session, &format!("INSERT INTO big VALUES (399999), ({})", 1_000_000 + moved)).await?;
        let job = "SELECT object, kind, state, rows > 0, rows_total >= 400000 FROM headwater.jobs ORDER BY object";
        let jobs = rows(&mut session, job).await?;
        if jobs.is_empty() {
            break;
        }
        moved += 1;
        same(&mut session, "SELECT c FROM others", &format!("SELECT {moved}::bigint")).await?;
        if jobs != ["above | backfill | waiting | f | f", "filled | backfill | running | t | t"] {
            return Err(format!("the jobs are {jobs:?}"));
        }
        for view in ["filled", "above"] {
            let error = session.query(&format!("SELECT * FROM {view}")).await.err();
            if error.as_ref().is_none_or(|e| e.sqlstate() != "55000" || !e.message().contains("off the cut")) {
                let left = rows(&mut session, job).await?;
                if !left.is_empty() {
                    return Err(format!("a view that is catching up could be read, or says: {error:?}"));
                }
            }
        }
    }
    if moved == 0 {
        return Err("the view was filled at once: the test proves nothing".to_string());
    }
    run(&mut session, "FLUSH").await?;
    same(&mut session, "SELECT * FROM filled", "SELECT id % 10 AS k, count(*) AS c, sum(id) AS s FROM big GROUP BY id % 10").await?;
    same(&mut session, "SELECT c::bigint FROM above", "SELECT count(*) FROM big").await?;
    database.close().await.map_err(|e| e.to_string())
}

async fn a_kill_in_the_middle_begins_anew() -> Result<(), String> {
    let options = Options { backfill_rows: 50, blocks: Some(Arc::new(MemoryStore::new())), ..Options::in_memory() };
    let database = Database::open(options.clone()).await.map_err(|e| e.to_string())?;
    let mut session = database.session();
    for sql in [
        "CREATE TABLE big (id BIGINT)",
        "INSERT INTO big SELECT * FROM generate_series(1, 200000)",
        "SET background_ddl = on",
        "CREATE MATERIALIZED VIEW filled AS SELECT id % 1000 AS k, count(*) AS c, max(id) AS m FROM big GROUP BY id % 1000",
        "INSERT INTO big SELECT * FROM generate_series(200001, 200100)",
    ] {
        run(&mut session, sql).await?;
    }
    same(&mut session, "SELECT state FROM headwater.views", "SELECT 'catching up'").await?;
    database.abandon().await;
    drop(session);
    let database = Database::open(options).await.map_err(|e| e.to_string())?;
    let mut session = database.session();
    run(&mut session, "DELETE FROM big WHERE id > 200050").await?;
    run(&mut session, "FLUSH").await?;
    let batch = "SELECT id % 1000 AS k, count(*) AS c, max(id) AS m FROM big GROUP BY id % 1000";
    same(&mut session, "SELECT * FROM filled", batch).await?;
    same(&mut session, "SELECT count(*) FROM headwater.jobs", "SELECT 0::bigint").await?;
    database.close().await.map_err(|e| e.to_string())
}

/// With too little memory a view is set aside, and all above it; opened with more they are built anew, and an upsert sink rewrites its target.
async fn a_failed_view_over_a_table_is_built_anew() -> Result<(), String> {
    let (world, mut options) = world_and_options(1);
    options.memory_limit_bytes = 4 << 20;
    let database = Database::open(options.clone()).await.map_err(|e| e.to_string())?;
    let mut session = database.session();
    for sql in [
        "CREATE TABLE t (id BIGINT)",
        "CREATE MATERIALIZED VIEW v AS SELECT id, count(*) AS c FROM t GROUP BY id",
        "CREATE MATERIALIZED VIEW above AS SELECT count(*) AS c FROM v",
        "CREATE SINK out FROM above WITH (connector = 'world', type = 'upsert', target = 'above')",
        "INSERT INTO t SELECT * FROM generate_series(1, 10)",
        "INSERT INTO t SELECT * FROM generate_series(1, 300000)",
        "INSERT INTO t VALUES (-1)",
    ] {
        run(&mut session, sql).await?;
    }
    for view in ["v", "above"] {
        match session.query(&format!("SELECT * FROM {view}")).await {
            Err(error) if error.kind() == ErrorKind::Limit => {}
            other => return Err(format!("{view} is not off the cut: {:?}", other.map(|_| ()))),
        }
    }
    run(&mut session, "FLUSH").await?;
    database.close().await.map_err(|e| e.to_string())?;
    drop(session);
    let database = Database::open(Options { memory_limit_bytes: 1 << 30, ..options }).await.map_err(|e| e.to_string())?;
    let mut session = database.session();
    run(&mut session, "FLUSH").await?;
    same(&mut session, "SELECT * FROM v", "SELECT id, count(*) AS c FROM t GROUP BY id").await?;
    same(&mut session, "SELECT c FROM above", "SELECT 300001::bigint").await?;
    delivered(&world, "above", "300001").await?;
    database.close().await.map_err(|e| e.to_string())
}

/// A view over a source goes on from the position of its stored state, apart from the others until it has met them.
async fn a_failed_view_over_a_source_goes_on() -> Result<(), String> {
    let (world, mut options) = world_and_options(2);
    options.memory_limit_bytes = 4 << 20;
    let database = Database::open(options.clone()).await.map_err(|e| e.to_string())?;
    let mut session = database.session();
    run(&mut session, SOURCE).await?;
    run(&mut session, "CREATE MATERIALIZED VIEW v AS SELECT id, count(*) AS c FROM events GROUP BY id").await?;
    run(&mut session, "CREATE MATERIALIZED VIEW total AS SELECT count(*) AS c FROM events").await?;
    world.send(0, Event::Garbage);
    (0..100).for_each(|id| send(&world, (id % 2) as usize, id));
    run(&mut session, "FLUSH").await?;
    (100..200_000).for_each(|id| send(&world, (id % 2) as usize, id));
    run(&mut session, "FLUSH").await?;
    same(&mut session, "SELECT state FROM headwater.views WHERE name = 'v'", "SELECT 'failed'").await?;
    same(&mut session, "SELECT c FROM total", "SELECT 200000::bigint").await?;
    database.close().await.map_err(|e| e.to_string())?;
    drop(session);
    let database = Database::open(Options { memory_limit_bytes: 1 << 30, ..options }).await.map_err(|e| e.to_string())?;
    let mut session = database.session();
    run(&mut session, "FLUSH").await?;
    same(&mut session, "SELECT count(*), sum(c)::bigint, max(c) FROM v", "SELECT 200000::bigint, 200000::bigint, 1::bigint").await?;
    same(&mut session, "SELECT count(*) FROM events$errors", "SELECT 1::bigint").await?;
    same(&mut session, "SELECT count(*) FROM headwater.sources", "SELECT 2::bigint").await?;
    database.close().await.map_err(|e| e.to_string())
}

/// Holds the commit thread's writes, and sends rows of a hundred ids until one is held: rows must wait at the end of an epoch for its write to be handed
/// over. Gives how many were sent.
fn send_until_held(world: &World, store: &HeldStore) -> i64 {
    const FEW: i64 = 100;
    store.hold(true);
    let mut sent = 0;
    while !store.holds_within(Duration::from_micros(50)) {
        (0..FEW).for_each(|id| send(world, 0, id));
        sent += FEW;
    }
    sent
}

/// A view fails while the epoch before, which has its state and its positions, is still on its way to the store: both are written before its place is
/// kept, so it counts nothing twice.
async fn a_view_that_fails_before_the_epoch_before_is_written() -> Result<(), String> {
    const MANY: i64 = 60_000;
    let (world, mut options) = world_and_options(1);
    let store = Arc::new(HeldStore::default());
    options.blocks = Some(store.clone());
    options.memory_limit_bytes = 256 << 10;
    let database = Database::open(options.clone()).await.map_err(|e| e.to_string())?;
    let mut session = database.session();
    run(&mut session, SOURCE).await?;
    run(&mut session, "CREATE MATERIALIZED VIEW v AS SELECT id, count(*) AS c, sum(n), min(n), max(n) FROM events GROUP BY id").await?;
    let sent = MANY + send_until_held(&world, &store);
    // The epoch that is gathered at this moment gets these.
    (0..MANY).for_each(|id| send(&world, 0, id));
    tokio::time::sleep(Duration::from_millis(500)).await;
    store.hold(false);
    run(&mut session, "FLUSH").await?;
    same(&mut session, "SELECT state FROM headwater.views WHERE name = 'v'", "SELECT 'failed'").await?;
    database.close().await.map_err(|e| e.to_string())?;
    drop(session);
    let database = Database::open(Options { memory_limit_bytes: 1 << 30, ..options }).await.map_err(|e| e.to_string())?;
    let mut session = database.session();
    run(&mut session, "FLUSH").await?;
    let all = format!("SELECT {MANY}::bigint, {sent}::bigint");
    same(&mut session, "SELECT count(*), sum(c)::bigint FROM v", &all).await?;
    database.close().await.map_err(|e| e.to_string())
}

/// Whoever waits for a CREATE goes away before the loop has come to it. It is carried out all the same, and known: the same name is taken, and the next
/// view is another one.
async fn a_definition_that_is_given_up_is_carried_out() -> Result<(), String> {
    let (world, mut options) = world_and_options(1);
    let store = Arc::new(HeldStore::default());
    options.blocks = Some(store.clone());
    let database = Database::open(options).await.map_err(|e| e.to_string())?;
    let mut session = database.session();
    run(&mut session, SOURCE).await?;
    run(&mut session, "CREATE MATERIALIZED VIEW v AS SELECT count(*) AS c FROM events").await?;
    let sent = send_until_held(&world, &store);
    let create = "CREATE MATERIALIZED VIEW w AS SELECT count(*) AS c FROM events";
    let given_up = tokio::time::timeout(Duration::from_millis(100), session.execute(create)).await;
    if given_up.is_ok() {
        return Err("the loop was to be held".into());
    }
    store.hold(false);
    match session.execute(create).await {
        Err(error) if error.kind() == ErrorKind::Exists => {}
        other => return Err(format!("the name was to be taken: {:?}", other.err())),
    }
    run(&mut session, "CREATE MATERIALIZED VIEW x AS SELECT max(id) AS m FROM events").await?;
    run(&mut session, "FLUSH").await?;
    let all = format!("SELECT {sent}::bigint, {sent}::bigint, 99::bigint");
    same(&mut session, "SELECT v.c, w.c, x.m FROM v, w, x", &all).await?;
    database.close().await.map_err(|e| e.to_string())
}

async fn delivered(world: &World, target: &str, row: &str) -> Result<(), String> {
    loop {
        let held = world.state().targets.get(target).map(|t| t.rows.clone()).unwrap_or_default();
        if held.len() == 1 && held.get(row) == Some(&1) {
            return Ok(());
        }
        if let Some(violation) = world.state().violations.first() {
            return Err(violation.clone());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
