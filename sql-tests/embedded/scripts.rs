//! Scripts that run again on the data that they made: what is there stays, what was written is not written twice.

use headwater::{Database, Error};
use libtest_mimic::Trial;

use super::{on_one_store, open, rows, same, trial};

/// One test each.
pub fn trials() -> Vec<Trial> {
    vec![
        trial("a_script_is_bound_whole_before_anything_is_applied", || async { bound_whole().await }),
        trial("a_definition_that_is_there_is_a_notice_another_one_an_error", || async { definitions().await }),
        trial("writes_happen_once", || async { writes_happen_once().await }),
        trial("writes_are_known_by_script_text_and_occurrence", || async { writes_are_known().await }),
        trial("a_block_happens_once_or_not_at_all", || async { blocks().await }),
        trial("a_write_that_finds_nothing_happens_once", || async { finds_nothing().await }),
        trial("rows_of_a_script_are_shown", || async { rows_are_shown().await }),
    ]
}

/// Runs `text` as script `name`; gives the tags and the notices.
async fn script(database: &Database, name: &str, text: &str) -> Result<Vec<String>, Error> {
    let mut told = Vec::new();
    let show = async |_: &headwater::Statement, outcome: headwater::Outcome| {
        told.push(outcome.tag);
        told.extend(outcome.notices.into_iter().map(|notice| notice.message));
        Ok(())
    };
    database.session().run_script_named(name, text, show).await?;
    Ok(told)
}

async fn runs(database: &Database, name: &str, text: &str) -> Result<Vec<String>, String> {
    script(database, name, text).await.map_err(|e| format!("{text}: {e}"))
}

async fn bound_whole() -> Result<(), String> {
    let (_, options) = on_one_store();
    let database = open(&options).await?;
    for wrong in ["SELEC 1", "SELECT nothing FROM t", "COPY t FROM STDIN"] {
        let text = format!("CREATE TABLE t (a INT); INSERT INTO t VALUES (1); {wrong}");
        let error = script(&database, "", &text).await.err().ok_or(format!("{wrong} was taken"))?;
        let place = text.find(wrong).unwrap_or(0);
        same("the error's place", error.place().is_some_and(|(at, _)| at > place), true)?;
        same("what was made", database.relations(), Vec::new())?;
    }
    database.close().await.map_err(|e| e.to_string())
}

async fn definitions() -> Result<(), String> {
    let (_, options) = on_one_store();
    let database = open(&options).await?;
    runs(&database, "", "CREATE TABLE t (a INT)").await?;
    let told = runs(&database, "", "CREATE TABLE  t\n (a INT);").await?;
    same("the second time", told, vec!["CREATE".to_owned(), "\"t\" is there already, as defined".to_owned()])?;
    let error = script(&database, "", "CREATE TABLE u (a INT); CREATE TABLE t (a INT, b INT)").await.err().ok_or("another t was taken")?;
    same("the error names it", error.message().contains("table \"t\" is there already with another definition"), true)?;
    same("nothing of the script is applied", database.relations(), vec!["t".to_owned()])?;
    database.close().await.map_err(|e| e.to_string())
}

async fn writes_happen_once() -> Result<(), String> {
    let (_, options) = on_one_store();
    let text = "CREATE TABLE t (a INT); INSERT INTO t VALUES (1); UPDATE t SET a = a + 1;";
    for _ in 0..3 {
        let database = open(&options).await?;
        runs(&database, "one.sql", text).await?;
        same("after each run", rows(&database, "SELECT a FROM t").await?, vec!["2".to_owned()])?;
        database.abandon().await;
    }
    Ok(())
}

async fn writes_are_known() -> Result<(), String> {
    let (_, options) = on_one_store();
    let database = open(&options).await?;
    runs(&database, "one.sql", "CREATE TABLE t (a INT); INSERT INTO t VALUES (1);").await?;
    // A CREATE put above it changes nothing about the INSERT.
    runs(&database, "one.sql", "CREATE TABLE above (a INT); CREATE TABLE t (a INT); INSERT INTO t VALUES (1);").await?;
    same("a CREATE put above", rows(&database, "SELECT a FROM t").await?, vec!["1".to_owned()])?;
    // The same text once more in the same script is another statement.
    runs(&database, "one.sql", "CREATE TABLE t (a INT); INSERT INTO t VALUES (1); INSERT INTO t VALUES (1);").await?;
    same("the same text twice", rows(&database, "SELECT count(*) FROM t").await?, vec!["2".to_owned()])?;
    // Another script with the same text is another script.
    let told = runs(&database, "two.sql", "INSERT INTO t VALUES (1);").await?;
    same("another script", told, vec!["INSERT 0 1".to_owned()])?;
    let told = runs(&database, "two.sql", "INSERT INTO t VALUES (1);").await?;
    same("the other script again", told.first().map(String::as_str), Some("SKIPPED"))?;
    same("in all", rows(&database, "SELECT count(*) FROM t").await?, vec!["3".to_owned()])?;
    database.close().await.map_err(|e| e.to_string())
}

async fn blocks() -> Result<(), String> {
    let (_, options) = on_one_store();
    let database = open(&options).await?;
    runs(&database, "", "CREATE TABLE t (a INT); BEGIN; INSERT INTO t VALUES (1); ROLLBACK;").await?;
    let block = "BEGIN; INSERT INTO t VALUES (1); INSERT INTO t VALUES (2); COMMIT;";
    runs(&database, "", block).await?;
    runs(&database, "", block).await?;
    same("a block", rows(&database, "SELECT a FROM t ORDER BY a").await?, vec!["1".to_owned(), "2".to_owned()])?;
    database.close().await.map_err(|e| e.to_string())
}

async fn finds_nothing() -> Result<(), String> {
    let (_, options) = on_one_store();
    let database = open(&options).await?;
    runs(&database, "", "CREATE TABLE t (a INT); DELETE FROM t WHERE a = 1;").await?;
    let mut session = database.session();
    super::run(&mut session, "INSERT INTO t VALUES (1)").await?;
    runs(&database, "", "CREATE TABLE t (a INT); DELETE FROM t WHERE a = 1;").await?;
    same("what came later", rows(&database, "SELECT a FROM t").await?, vec!["1".to_owned()])?;
    database.close().await.map_err(|e| e.to_string())
}

async fn rows_are_shown() -> Result<(), String> {
    let (_, options) = on_one_store();
    let database = open(&options).await?;
    let mut shown = Vec::new();
    let show = async |_: &headwater::Statement, outcome: headwater::Outcome| {
        if let Some(rows) = outcome.rows {
            shown.extend(rows.collect().await?.iter().map(|batch| batch.num_rows()));
        }
        Ok(())
    };
    let text = "CREATE TABLE t (a INT); INSERT INTO t VALUES (1), (2) RETURNING a; SELECT a FROM t; SHOW TABLES; DESCRIBE t;";
    database.session().run_script(text, show).await.map_err(|e| e.to_string())?;
    same("rows of each statement", shown, vec![2, 2, 1, 1])?;
    database.close().await.map_err(|e| e.to_string())
}
