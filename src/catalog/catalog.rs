//! The catalog: finds, lists, creates and drops objects, and knows who depends on whom.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, TimeUnit};
use headwater_types::{Error, ObjectId, Result};
use uuid::Uuid;

use crate::{Column, Object, ObjectKind, Part};

/// Everything that has a name. A clone is cheap and independent: a whole script is bound against one before anything of it is applied.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    pub(crate) objects: BTreeMap<ObjectId, Arc<Object>>,
    names: BTreeMap<String, ObjectId>,
    /// The last number given; numbers of dropped objects are not used again.
    pub(crate) last: u32,
}

/// What a name stands for.
#[derive(Debug, Clone)]
pub struct Named {
    /// The object it belongs to.
    pub object: Arc<Object>,
    /// Which of its relations.
    pub part: Part,
    /// The columns of that relation.
    pub columns: Vec<Column>,
}

impl Catalog {
    /// No objects.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The object of this number.
    #[must_use]
    pub fn get(&self, id: ObjectId) -> Option<&Arc<Object>> {
        self.objects.get(&id)
    }

    /// The object called exactly `name`.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Arc<Object>> {
        self.objects.get(self.names.get(name)?)
    }

    /// The relation called `name`, where `base$late` and `base$errors` exist beside their objects.
    #[must_use]
    pub fn resolve(&self, name: &str) -> Option<Named> {
        if let Some(object) = self.find(name) {
            return Some(Named { object: object.clone(), part: Part::Rows, columns: object.columns.clone() });
        }
        let (base, part) = [Part::Late, Part::Errors].into_iter().find_map(|p| Some((name.strip_suffix(p.suffix())?, p)))?;
        let object = self.find(base)?.clone();
        let columns = columns_beside(&object, part)?;
        Some(Named { object, part, columns })
    }

    /// All objects by number, that is in the order they were made.
    pub fn list(&self) -> impl Iterator<Item = &Arc<Object>> {
        self.objects.values()
    }

    /// Adds `object` under a new number, which it then carries.
    ///
    /// # Errors
    /// `Exists` if the name is taken.
    pub fn create(&mut self, object: Object, uuid: Uuid) -> Result<Arc<Object>> {
        if let Some(other) = self.find(&object.name) {
            return Err(Error::exists(format!("{} \"{}\" exists already", other.kind.noun(), other.name)).with_sqlstate("42P07"));
        }
        self.last += 1;
        Ok(self.add(Object { id: ObjectId(self.last), uuid, ..object }))
    }

    /// Puts a changed object (a comment, a redefined view) in the place of the one of its number; the name stays.
    ///
    /// # Errors
    /// `NotFound` if there is no object of that number and name.
    pub fn replace(&mut self, object: Object) -> Result<Arc<Object>> {
        match self.find(&object.name) {
            Some(old) if old.id == object.id => Ok(self.add(object)),
            _ => Err(Error::not_found(format!("\"{}\" does not exist", object.name))),
        }
    }

    pub(crate) fn add(&mut self, object: Object) -> Arc<Object> {
        let object = Arc::new(object);
        self.names.insert(object.name.clone(), object.id);
        self.objects.insert(object.id, object.clone());
        object
    }

    /// Takes away the object of this number.
    ///
    /// # Errors
    /// `InUse`, naming those that read it; `NotFound`.
    pub fn drop(&mut self, id: ObjectId) -> Result<Arc<Object>> {
        let object = self.get(id).ok_or_else(|| Error::not_found(format!("object {id} does not exist")))?.clone();
        let readers = self.dependents(id);
        if !readers.is_empty() {
            let names: Vec<String> = readers.iter().map(|r| format!("{} \"{}\"", r.kind.noun(), r.name)).collect();
            let error =
                Error::in_use(format!("cannot drop {} \"{}\": it is read by {}", object.kind.noun(), object.name, names.join(", ")));
            return Err(error.with_hint("drop those first, or say CASCADE"));
        }
        self.objects.remove(&id);
        self.names.remove(&object.name);
        Ok(object)
    }

    /// Those that read `id` directly, by number.
    #[must_use]
    pub fn dependents(&self, id: ObjectId) -> Vec<Arc<Object>> {
        self.list().filter(|o| o.depends_on.contains(&id)).cloned().collect()
    }

    /// `id` and all that read it, directly or through others: readers before what they read, the order in which they can be dropped.
    #[must_use]
    pub fn with_dependents(&self, id: ObjectId) -> Vec<Arc<Object>> {
        let mut found = vec![id];
        let mut at = 0;
        while at < found.len() {
            let more: Vec<ObjectId> = self.dependents(found[at]).iter().map(|o| o.id).filter(|o| !found.contains(o)).collect();
            found.extend(more);
            at += 1;
        }
        // An object is made after everything it reads, so that its number is greater.
        found.sort_unstable_by(|a, b| b.cmp(a));
        found.iter().filter_map(|o| self.get(*o)).cloned().collect()
    }

    /// All names, for proposals.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.keys().map(String::as_str)
    }
}

/// The columns of `name$late` or `name$errors`; none where the object has no such relation.
fn columns_beside(object: &Object, part: Part) -> Option<Vec<Column>> {
    let at = || Column::new("at", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())));
    let text = |name: &str| Column::new(name, DataType::Utf8);
    let weight = Column::new("weight", DataType::Int64);
    match (&object.kind, part) {
        (ObjectKind::MaterializedView(view), Part::Late) => view.late.clone(),
        (ObjectKind::MaterializedView(_), Part::Errors) => Some(vec![at(), text("operator"), text("reason"), weight, text("row")]),
        (ObjectKind::Source(_), Part::Errors) => {
            Some(vec![at(), text("partition"), text("position"), text("reason"), Column::new("payload", DataType::Binary)])
        }
        (ObjectKind::Table(table), Part::Errors) if table.watermark.is_some() => Some(vec![at(), text("reason"), text("row")]),
        (ObjectKind::Source(_), Part::Late) => {
            let time = |name: &str| Column::new(name, DataType::Timestamp(TimeUnit::Microsecond, None));
            Some(vec![text("view"), time("window_start"), time("window_end"), time("watermark"), weight, text("row")])
        }
        _ => None,
    }
}
