//! Arrow batches in, changes out: `Database::inserter`, `Database::subscribe`, and a subscription cursor over the same view.

use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch, StringArray};
use headwater::{Database, EpochChanges};
use libtest_mimic::Trial;

use super::{on_one_store, open, rows, run, same, trial};

/// One test each.
pub fn trials() -> Vec<Trial> {
    vec![
        trial("batches_go_in_and_changes_come_out", || async { batches_and_changes().await }),
        trial("an_inserter_refuses_what_does_not_fit", || async { refusals().await }),
        trial("a_subscription_cursor_waits_for_changes", || async { cursor().await }),
    ]
}

async fn with_view() -> Result<Database, String> {
    let database = open(&on_one_store().1).await?;
    let mut session = database.session();
    run(&mut session, "CREATE TABLE t (k BIGINT PRIMARY KEY, word VARCHAR)").await?;
    run(&mut session, "CREATE MATERIALIZED VIEW v AS SELECT word, count(*) AS n FROM t GROUP BY word").await?;
    Ok(database)
}

async fn insert(database: &Database, keys: Vec<i64>, words: Vec<&str>) -> Result<u64, String> {
    let inserter = database.inserter("t").map_err(|e| e.to_string())?;
    let columns = vec![Arc::new(Int64Array::from(keys)) as _, Arc::new(StringArray::from(words)) as _];
    let batch = RecordBatch::try_new(inserter.schema(), columns).map_err(|e| e.to_string())?;
    Ok(inserter.insert(batch).await.map_err(|e| e.to_string())?.inserted)
}

/// The changes as `weight word n`, in order of text.
fn shown(changes: &EpochChanges) -> Vec<String> {
    let mut lines = Vec::new();
    for batch in &changes.changes {
        for row in 0..batch.len() {
            let value = |column: usize| arrow::util::display::array_value_to_string(batch.rows().column(column), row).unwrap_or_default();
            lines.push(format!("{:+} {} {}", batch.weight(row), value(0), value(1)));
        }
    }
    lines.sort();
    lines
}

async fn batches_and_changes() -> Result<(), String> {
    let database = with_view().await?;
    same("inserted", insert(&database, vec![1, 2, 3], vec!["a", "a", "b"]).await?, 3)?;
    let mut changes = database.subscribe("v").await.map_err(|e| e.to_string())?;
    let first = changes.next().await.ok_or("the subscription ended")?;
    same("the rows as they were", shown(&first), vec!["+1 a 2".to_owned(), "+1 b 1".to_owned()])?;
    insert(&database, vec![4], vec!["b"]).await?;
    let next = loop {
        let next = changes.next().await.ok_or("the subscription ended")?;
        if !shown(&next).is_empty() {
            break next;
        }
    };
    same("one epoch's change", shown(&next), vec!["+1 b 2".to_owned(), "-1 b 1".to_owned()])?;
    same("epochs go up", next.epoch > first.epoch, true)?;
    same("the view", rows(&database, "SELECT word, n FROM v ORDER BY word").await?.len(), 2)?;
    database.close().await.map_err(|e| e.to_string())?;
    while let Some(last) = changes.next().await {
        same("nothing else changed", shown(&last), Vec::new())?;
    }
    Ok(())
}

async fn refusals() -> Result<(), String> {
    let database = with_view().await?;
    insert(&database, vec![1], vec!["a"]).await?;
    let again = insert(&database, vec![1], vec!["b"]).await.err().ok_or("the key was taken twice")?;
    same("the key is named", again.contains("t_pkey"), true)?;
    same("no inserter into a view", database.inserter("v").is_err(), true)?;
    same("no subscription to nothing", database.subscribe("nothing").await.is_err(), true)?;
    let inserter = database.inserter("t").map_err(|e| e.to_string())?;
    let narrow = RecordBatch::try_from_iter([("k", Arc::new(Int64Array::from(vec![7])) as _)]).map_err(|e| e.to_string())?;
    let error = inserter.insert(narrow).await.err().ok_or("a column is missing")?;
    same("the error's kind", error.sqlstate(), "42804")?;
    database.close().await.map_err(|e| e.to_string())
}

async fn cursor() -> Result<(), String> {
    let database = with_view().await?;
    insert(&database, vec![1], vec!["a"]).await?;
    let mut session = database.session();
    run(&mut session, "DECLARE c SUBSCRIPTION CURSOR FOR v").await?;
    let fetch = "FETCH 10 FROM c WITH (timeout = '20s')";
    let fetched = |batches: Vec<RecordBatch>| batches.iter().map(RecordBatch::num_rows).sum::<usize>();
    same("the rows as they were", fetched(session.query(fetch).await.map_err(|e| e.to_string())?), 1)?;
    let nothing = session.query("FETCH 10 FROM c WITH (timeout = '50ms')").await.map_err(|e| e.to_string())?;
    same("nothing has changed", fetched(nothing), 0)?;
    let inserted = async { insert(&database, vec![2], vec!["a"]).await };
    let (batches, inserted) = tokio::join!(session.query(fetch), inserted);
    same("inserted", inserted?, 1)?;
    let batches = batches.map_err(|e| e.to_string())?;
    let names: Vec<String> = batches[0].schema().fields().iter().map(|f| f.name().clone()).collect();
    same("columns", names, ["word", "n", "headwater_weight", "headwater_epoch"].map(str::to_owned).to_vec())?;
    same("one row goes, one comes", fetched(batches), 2)?;
    run(&mut session, "CLOSE c").await?;
    database.close().await.map_err(|e| e.to_string())
}
