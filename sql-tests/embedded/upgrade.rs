//! Data of another version: a view that is planned otherwise is refused by the name of the version that can read it.

use headwater::{BlockStore, Database};
use headwater_state::{Family, Writes};
use libtest_mimic::Trial;

use super::{on_one_store, open, run, same, trial};

/// One test each.
pub fn trials() -> Vec<Trial> {
    vec![trial("a_view_of_another_version_names_it", || async { another_version().await })]
}

/// Replaces `from` by `to` in the catalog's entries that have it.
fn rewrite(store: &dyn BlockStore, from: &str, to: &str) -> Result<usize, String> {
    let mut writes = Writes::new();
    let mut visit = |key: &[u8], value: &[u8]| {
        let text = String::from_utf8_lossy(value);
        if text.contains(from) {
            writes.put(Family::Meta, key.to_vec(), text.replace(from, to).into_bytes());
        }
        Ok(())
    };
    store.scan(Family::Meta, b"catalog/object/", &mut visit).map_err(|e| e.to_string())?;
    let changed = writes.entries().len();
    store.write(&writes).map_err(|e| e.to_string())?;
    Ok(changed)
}

async fn another_version() -> Result<(), String> {
    let (store, options) = on_one_store();
    let database = open(&options).await?;
    let mut session = database.session();
    run(&mut session, "CREATE TABLE t (a INT); CREATE MATERIALIZED VIEW v AS SELECT a FROM t").await?;
    drop(session);
    database.close().await.map_err(|e| e.to_string())?;
    let this = format!("\"version\":\"{}\"", env!("CARGO_PKG_VERSION"));
    let other = "\"version\":\"0.0.7\"";
    // The same plan: whoever opens it last is noted.
    same("entries with a version", rewrite(store.as_ref(), &this, other)?, 1)?;
    open(&options).await?.close().await.map_err(|e| e.to_string())?;
    same("this version is noted again", rewrite(store.as_ref(), &this, other)?, 1)?;
    // Another plan.
    same("entries with a plan", rewrite(store.as_ref(), "\"fingerprint\":\"", "\"fingerprint\":\"other ")?, 1)?;
    let error = Database::open(options.clone()).await.err().ok_or("a plan of another version was read")?;
    let names = |text: &str| text.contains("Headwater 0.0.7");
    same("the message names view and version", error.message().contains("view \"v\"") && names(error.message()), true)?;
    same("so does the hint", error.hint().is_some_and(names), true)?;
    same("nothing was changed", rewrite(store.as_ref(), other, other)?, 1)
}
