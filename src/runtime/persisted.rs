//! What the runtime itself keeps in the store beside rows: positions, partition clocks, watermarks, epoch and its time, marks, failures.
//!
//! ```text
//! Meta  runtime/epoch                 {"epoch":7,"now":…,"incarnation":1}
//!       runtime/feed/<feed>           {"source":3,"subscribers":[5],"watermark":…,"finished":false}
//!       runtime/part/<feed>/<name>    {"position":"42","clock":{…}}
//!       runtime/start/<source>        {"0":"17"}
//!       runtime/view/<object>         {"watermarks":[[…]],"built_at":7}
//!       runtime/backfill/<object>     null: the view is catching up with tables and views
//!       runtime/failed/<object>       {"message":…}: the view is off the cut
//!       runtime/table/<object>        {"clock":{…},"watermark":…}
//!       runtime/sink/<object>         {"mark":{…}}
//! ```

use headwater_state::{BlockStore, Family, Writes};
use headwater_types::{Epoch, Error, Micros, ObjectId, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The epoch record.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct EpochRecord {
    pub epoch: Epoch,
    pub now: Micros,
    pub incarnation: u64,
}

/// The key of a record: `runtime/<kind>/<name>`; numbers in ten digits, so that keys sort like numbers.
pub(crate) fn key(kind: &str, name: &str) -> Vec<u8> {
    format!("runtime/{kind}/{name}").into_bytes()
}

/// The key of an object's record.
pub(crate) fn object_key(kind: &str, id: ObjectId) -> Vec<u8> {
    key(kind, &format!("{:010}", id.0))
}

/// Puts `record` at `key`.
pub(crate) fn put<T: Serialize>(writes: &mut Writes, key: Vec<u8>, record: &T) -> Result<()> {
    let text = serde_json::to_vec(record).map_err(|e| Error::bug(format!("a record of the runtime does not serialise: {e}")))?;
    writes.put(Family::Meta, key, text);
    Ok(())
}

/// The record at `key`.
pub(crate) fn get<T: DeserializeOwned>(blocks: &dyn BlockStore, key: &[u8]) -> Result<Option<T>> {
    blocks.get(Family::Meta, key)?.map(|text| read(key, &text)).transpose()
}

/// All records whose key starts with `prefix`, with the rest of the key.
pub(crate) fn scan<T: DeserializeOwned>(blocks: &dyn BlockStore, prefix: &[u8]) -> Result<Vec<(String, T)>> {
    let mut records = Vec::new();
    blocks.scan(Family::Meta, prefix, &mut |key, text| {
        records.push((String::from_utf8_lossy(&key[prefix.len()..]).into_owned(), read(key, text)?));
        Ok(())
    })?;
    Ok(records)
}

fn read<T: DeserializeOwned>(key: &[u8], text: &[u8]) -> Result<T> {
    serde_json::from_slice(text).map_err(|e| Error::corrupt(format!("record {} cannot be read: {e}", String::from_utf8_lossy(key))))
}
