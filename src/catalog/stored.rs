//! The catalog at rest: one JSON document an object, in the store's small family.
//!
//! ```text
//! catalog/last                    the last number given, decimal
//! catalog/object/<id, 10 digits>  Object as JSON
//! ```

use headwater_state::{BlockStore, Family, Writes};
use headwater_types::{Error, Result};

use crate::{Catalog, Object};

const LAST: &[u8] = b"catalog/last";
const OBJECTS: &str = "catalog/object/";

fn key(object: &Object) -> Vec<u8> {
    format!("{OBJECTS}{:010}", object.id.0).into_bytes()
}

impl Catalog {
    /// The catalog that `store` holds.
    ///
    /// # Errors
    /// `Storage`; `Corrupt` naming the entry that cannot be read.
    pub fn load(store: &dyn BlockStore) -> Result<Catalog> {
        let mut catalog = Catalog::new();
        if let Some(value) = store.get(Family::Meta, LAST)? {
            let last = std::str::from_utf8(&value).ok().and_then(|text| text.parse().ok());
            catalog.last = last.ok_or_else(|| Error::corrupt("the catalog's last number is not a number"))?;
        }
        store.scan(Family::Meta, OBJECTS.as_bytes(), &mut |key, value| {
            let unreadable = |e| Error::corrupt(format!("catalog entry '{}' cannot be read: {e}", String::from_utf8_lossy(key)));
            let object: Object = serde_json::from_slice(value).map_err(unreadable)?;
            catalog.last = catalog.last.max(object.id.0);
            catalog.add(object);
            Ok(())
        })?;
        Ok(catalog)
    }

    /// Writes `object`, and the last number given.
    ///
    /// # Errors
    /// `Bug` if it is no JSON.
    pub fn put(&self, object: &Object, writes: &mut Writes) -> Result<()> {
        let value = serde_json::to_vec(object).map_err(|e| Error::bug(format!("\"{}\" cannot be written down: {e}", object.name)))?;
        writes.put(Family::Meta, key(object), value);
        writes.put(Family::Meta, LAST.to_vec(), self.last.to_string().into_bytes());
        Ok(())
    }

    /// Deletes what [`Catalog::put`] wrote of `object`.
    pub fn remove(object: &Object, writes: &mut Writes) {
        writes.delete(Family::Meta, key(object));
    }
}
