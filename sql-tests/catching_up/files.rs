//! Bounded sources that are opened again: files that have grown meanwhile are read on, by all views alike; generators stay at their end.

use std::path::Path;
use std::sync::Arc;

use headwater::{Database, MemoryStore, Options, Session};

use super::{run, same};

const SOURCE: &str = "CREATE SOURCE s (n BIGINT) WITH (connector = 'file', path = '$/*.json') FORMAT PLAIN ENCODE JSON";
const TIMED: &str = "CREATE SOURCE timed (n BIGINT, at TIMESTAMP, WATERMARK FOR at AS at) WITH (connector = 'file', path = '$/*.json') FORMAT PLAIN ENCODE JSON";
const WINDOWS: &str = "CREATE MATERIALIZED VIEW hours AS SELECT window_start, count(*) AS c \
    FROM TUMBLE(timed, at, INTERVAL '1 hour') GROUP BY window_start EMIT ON WINDOW CLOSE";

fn append(directory: &Path, file: &str, numbers: std::ops::Range<i64>) -> Result<(), String> {
    let path = directory.join(file);
    let mut text = std::fs::read_to_string(&path).unwrap_or_default();
    text.extend(numbers.map(|n| format!("{{\"n\": {n}, \"at\": \"2025-01-01 {:02}:00:00\"}}\n", n % 24)));
    std::fs::write(path, text).map_err(|e| e.to_string())
}

async fn open(options: &Options) -> Result<(Database, Session), String> {
    let database = Database::open(options.clone()).await.map_err(|e| e.to_string())?;
    let session = database.session();
    Ok((database, session))
}

/// Every view of `views` holds the numbers below `end`, each once.
async fn hold(session: &mut Session, views: &[&str], end: i64) -> Result<(), String> {
    for view in views {
        let counted = format!("SELECT c, s::bigint FROM {view}");
        same(session, &counted, &format!("SELECT {end}::bigint, {}::bigint", end * (end - 1) / 2)).await?;
    }
    Ok(())
}

fn view(name: &str) -> String {
    format!("CREATE MATERIALIZED VIEW {name} AS SELECT count(*) AS c, sum(n) AS s FROM s")
}

/// The nightly job: what comes in the evening is read when the database is opened, nothing twice, whether it was closed or killed.
pub async fn files_that_have_grown_are_read_when_opened_again() -> Result<(), String> {
    let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
    let options = Options { blocks: Some(Arc::new(MemoryStore::new())), ..Options::in_memory() };
    append(folder.path(), "a.json", 0..10)?;
    append(folder.path(), "empty.json", 0..0)?;
    let (database, mut session) = open(&options).await?;
    run(&mut session, &SOURCE.replace('$', &folder.path().display().to_string())).await?;
    run(&mut session, &view("first")).await?;
    run(&mut session, "FLUSH").await?;
    hold(&mut session, &["first"], 10).await?;
    append(folder.path(), "a.json", 10..12)?;
    append(folder.path(), "b.json", 12..20)?;
    // One that is made before the source looks again has what the others have.
    run(&mut session, &view("meanwhile")).await?;
    hold(&mut session, &["first", "meanwhile"], 10).await?;
    same(&mut session, "SELECT DISTINCT state FROM headwater.sources", "SELECT 'finished'").await?;
    database.close().await.map_err(|e| e.to_string())?;
    let (database, mut session) = open(&options).await?;
    run(&mut session, &view("second")).await?;
    run(&mut session, "FLUSH").await?;
    hold(&mut session, &["first", "meanwhile", "second"], 20).await?;
    append(folder.path(), "c.json", 20..30_000)?;
    database.abandon().await;
    // Killed at any point of the reading; what was read to its end may be gone.
    for _ in 0..3 {
        let (database, session) = open(&options).await?;
        tokio::time::sleep(std::time::Duration::from_millis(4)).await;
        database.abandon().await;
        drop(session);
    }
    std::fs::remove_file(folder.path().join("empty.json")).map_err(|e| e.to_string())?;
    let (database, mut session) = open(&options).await?;
    run(&mut session, "FLUSH").await?;
    hold(&mut session, &["first", "meanwhile", "second"], 30_000).await?;
    database.close().await.map_err(|e| e.to_string())
}

/// Event time that has ended does not begin again: what comes later is late, and a view that is made now ends with the others.
pub async fn windows_that_have_closed_stay_closed() -> Result<(), String> {
    let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
    let options = Options { blocks: Some(Arc::new(MemoryStore::new())), ..Options::in_memory() };
    append(folder.path(), "a.json", 0..10)?;
    let (database, mut session) = open(&options).await?;
    run(&mut session, &TIMED.replace('$', &folder.path().display().to_string())).await?;
    run(&mut session, WINDOWS).await?;
    run(&mut session, "FLUSH").await?;
    run(&mut session, &WINDOWS.replace("VIEW hours", "VIEW hours_too")).await?;
    same(&mut session, "SELECT count(*) FROM hours", "SELECT 10::bigint").await?;
    same(&mut session, "SELECT * FROM hours_too", "SELECT * FROM hours").await?;
    database.close().await.map_err(|e| e.to_string())?;
    append(folder.path(), "a.json", 5..15)?;
    let (database, mut session) = open(&options).await?;
    run(&mut session, "FLUSH").await?;
    same(&mut session, "SELECT count(*), max(c) FROM hours", "SELECT 10::bigint, 1::bigint").await?;
    same(&mut session, "SELECT count(*) FROM hours$late", "SELECT 10::bigint").await?;
    database.close().await.map_err(|e| e.to_string())
}

/// A generator with a number of rows gives them once, also to a view that is made after its end.
pub async fn generators_stay_at_their_end() -> Result<(), String> {
    let options = Options { blocks: Some(Arc::new(MemoryStore::new())), ..Options::in_memory() };
    let (database, mut session) = open(&options).await?;
    let source = "CREATE SOURCE s (n BIGINT) WITH (connector = 'datagen', datagen.rows.per.second = '0', rows.total = '50000', \
        datagen.split.num = '3', fields.n.kind = 'sequence')";
    run(&mut session, source).await?;
    run(&mut session, &view("first")).await?;
    run(&mut session, "FLUSH").await?;
    run(&mut session, &view("second")).await?;
    same(&mut session, "SELECT c FROM first", "SELECT 50000::bigint").await?;
    same(&mut session, "SELECT * FROM second", "SELECT * FROM first").await?;
    database.close().await.map_err(|e| e.to_string())?;
    let (database, mut session) = open(&options).await?;
    same(&mut session, "SELECT DISTINCT state FROM headwater.sources", "SELECT 'finished'").await?;
    run(&mut session, &view("third")).await?;
    same(&mut session, "SELECT * FROM third", "SELECT * FROM first").await?;
    database.close().await.map_err(|e| e.to_string())
}
