//! A database with a checkpoint URL: restored elsewhere, opened again after a crash, refused to a second process.

use std::path::Path;
use std::time::Duration;

use headwater_types::ErrorKind;

use crate::{Database, Options};

fn options(data: &Path, store: &Path) -> Options {
    Options { checkpoint: Some(format!("file://{}", store.display())), ..Options::at(data) }
}

async fn count(database: &Database) -> String {
    let batches = database.session().query("SELECT count(*), max(n) FROM t").await.unwrap();
    let text = |column: usize| arrow::util::display::array_value_to_string(batches[0].column(column), 0).unwrap();
    format!("{} {}", text(0), text(1))
}

async fn insert(database: &Database, n: i32) {
    database.session().execute(&format!("INSERT INTO t VALUES ({n})")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_database_is_restored_elsewhere_and_the_old_directory_refused() {
    let (first, second, store) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let database = Database::open(options(first.path(), store.path())).await.unwrap();
    database.session().execute("CREATE TABLE t (n INT); CREATE MATERIALIZED VIEW v AS SELECT n + 1 AS m FROM t WHERE n > 1").await.unwrap();
    insert(&database, 1).await;
    database.session().execute("CHECKPOINT").await.unwrap();
    let shown = database.session().query("SELECT number, bytes FROM headwater.checkpoints WHERE bytes > 0").await.unwrap();
    assert_eq!(shown.iter().map(|batch| batch.num_rows()).sum::<usize>(), 1, "it is listed");
    insert(&database, 2).await;
    database.close().await.unwrap();
    drop(database);

    let elsewhere = second.path().join("data");
    let restored = Database::open(options(&elsewhere, store.path())).await.unwrap();
    assert_eq!(count(&restored).await, "2 2", "closing takes a last checkpoint");
    assert_eq!(restored.session().query("SELECT m FROM v").await.unwrap()[0].num_rows(), 1);
    insert(&restored, 3).await;
    restored.close().await.unwrap();
    drop(restored);

    let error = Database::open(options(first.path(), store.path())).await.map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced);
    assert!(error.message().contains("restored elsewhere"), "{error}");
    let again = Database::open(options(&elsewhere, store.path())).await.unwrap();
    assert_eq!(count(&again).await, "3 3");
    again.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_crash_the_directory_wins_over_its_checkpoint_at_once() {
    let (data, store) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let database = Database::open(options(data.path(), store.path())).await.unwrap();
    database.session().execute("CREATE TABLE t (n INT)").await.unwrap();
    insert(&database, 1).await;
    database.session().execute("CHECKPOINT").await.unwrap();
    insert(&database, 2).await;
    database.abandon().await;
    drop(database);
    let began = tokio::time::Instant::now();
    let again = Database::open(options(data.path(), store.path())).await.unwrap();
    assert!(began.elapsed() < std::time::Duration::from_secs(8), "the same directory need not wait");
    assert_eq!(count(&again).await, "2 2", "what was inserted after the checkpoint is in the directory");
    again.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_the_loss_of_a_machine_the_last_checkpoint_is_there() {
    let (first, second, store) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let database = Database::open(options(first.path(), store.path())).await.unwrap();
    database.session().execute("CREATE TABLE t (n INT)").await.unwrap();
    insert(&database, 1).await;
    database.session().execute("CHECKPOINT").await.unwrap();
    let elsewhere = second.path().join("data");

    let error = Database::open(options(&elsewhere, store.path())).await.map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced);
    assert!(error.message().contains(&first.path().display().to_string()), "names the holder: {error}");
    insert(&database, 2).await;
    database.abandon().await;
    drop(database);

    let restored = Database::open(options(&elsewhere, store.path())).await.unwrap();
    assert_eq!(count(&restored).await, "1 1", "up to the last checkpoint");
    restored.close().await.unwrap();
}

/// The lines of all files in `out`, once one of them says `n`.
async fn lines_with(out: &Path, n: i32) -> Vec<String> {
    let last = format!("{{\"n\":{n}}}");
    for _ in 0..100 {
        let visible = std::fs::read_dir(out).unwrap().map(|file| file.unwrap().path());
        let visible = visible.filter(|path| !path.file_name().unwrap().to_string_lossy().starts_with('.'));
        let mut lines: Vec<String> =
            visible.flat_map(|path| std::fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect::<Vec<_>>()).collect();
        if lines.contains(&last) {
            lines.sort();
            return lines;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{last} is not delivered");
}

/// What was delivered after the checkpoint is not known any more; an append sink that may repeat rows goes on nevertheless.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_that_may_repeat_goes_on_after_the_loss_of_a_machine() {
    let [first, second, store, out] = std::array::from_fn(|_| tempfile::tempdir().unwrap());
    let options = |data: &Path| Options { checkpoint_interval: Duration::from_secs(3_600), ..options(data, store.path()) };
    let database = Database::open(options(first.path())).await.unwrap();
    let path = out.path().display();
    let sink = format!(
        "CREATE SINK s FROM t WITH (connector = 'file', path = '{path}', type = 'append-only', delivery = 'at_least_once') FORMAT PLAIN ENCODE JSON"
    );
    database.session().execute(&format!("CREATE TABLE t (n INT) APPEND ONLY; {sink}")).await.unwrap();
    insert(&database, 1).await;
    lines_with(out.path(), 1).await;
    database.session().execute("CHECKPOINT").await.unwrap();
    insert(&database, 2).await;
    lines_with(out.path(), 2).await;
    database.abandon().await;
    drop(database);

    let restored = Database::open(options(&second.path().join("data"))).await.unwrap();
    assert_eq!(count(&restored).await, "1 1");
    insert(&restored, 3).await;
    let mut lines = lines_with(out.path(), 3).await;
    lines.dedup();
    assert_eq!(lines, ["{\"n\":1}", "{\"n\":2}", "{\"n\":3}"]);
    restored.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_that_fails_is_told() {
    let (data, store) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let database = Database::open(options(data.path(), store.path())).await.unwrap();
    let mut troubles = database.troubles();
    assert_eq!(troubles.next().await.unwrap(), []);
    database.session().execute("CREATE TABLE t (n INT)").await.unwrap();
    let in_the_way = data.path().join(super::FOLDER);
    std::fs::write(&in_the_way, "").unwrap();
    database.session().execute("CHECKPOINT").await.map(drop).unwrap_err();
    let told = troubles.next().await.unwrap();
    assert_eq!((told.len(), told[0].noun), (1, "checkpoint"));
    assert!(told[0].message.contains(super::FOLDER), "{told:?}");
    std::fs::remove_file(&in_the_way).unwrap();
    database.session().execute("CHECKPOINT").await.unwrap();
    assert_eq!(troubles.next().await.unwrap(), []);
    database.close().await.unwrap();
}
