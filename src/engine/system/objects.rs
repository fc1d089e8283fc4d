//! The catalog's objects as PostgreSQL numbers and names them.

use super::relation::Facts;
use headwater_catalog::{Catalog, Object, ObjectKind};
use headwater_types::ObjectId;
use std::sync::Arc;

/// OIDs of declared objects begin here, as in PostgreSQL.
pub const FIRST_USER_OID: u32 = 16_384;
/// The key of object n is the index `FIRST_KEY_OID + n`.
pub const FIRST_KEY_OID: u32 = 1 << 30;
/// The constraint of the primary key of object n is `FIRST_CONSTRAINT_OID + n`.
pub const FIRST_CONSTRAINT_OID: u32 = 1 << 31;

/// The one role that owns everything.
pub const ROOT_OID: u32 = 10;
/// The one database.
pub const DATABASE_OID: u32 = 5;
/// The schemas and their OIDs, the well-known ones as in PostgreSQL.
pub const SCHEMAS: &[(&str, u32)] = &[("pg_catalog", 11), ("public", 2_200), ("information_schema", 13_000), ("headwater", 13_001)];
/// OID of schema `public`, in which every declared object is.
pub const PUBLIC_OID: u32 = 2_200;

/// The OID of an object, the same for ever.
#[must_use]
pub fn oid_of(id: ObjectId) -> u32 {
    FIRST_USER_OID.saturating_add(id.0)
}

/// The relations that clients list: all objects but sinks, with `pg_class.relkind`.
pub fn listed(catalog: &Catalog) -> impl Iterator<Item = (&Arc<Object>, &'static str)> {
    catalog.list().filter_map(|o| relkind(o).map(|kind| (o, kind)))
}

/// `r` table, `v` view, `m` materialized view, `f` foreign table (a source); None for a sink, which has no rows.
#[must_use]
pub fn relkind(object: &Object) -> Option<&'static str> {
    match object.kind {
        ObjectKind::Table(_) => Some("r"),
        ObjectKind::View => Some("v"),
        ObjectKind::MaterializedView(_) => Some("m"),
        ObjectKind::Source(_) => Some("f"),
        ObjectKind::Sink(_) => None,
    }
}

/// The unique index that a key amounts to.
#[derive(Debug)]
pub struct Key<'a> {
    /// The table or materialized view.
    pub object: &'a Arc<Object>,
    /// Indices of the columns.
    pub columns: &'a [usize],
    /// Declared as PRIMARY KEY; otherwise derived from a view's query.
    pub is_primary: bool,
}

impl Key<'_> {
    /// `name_pkey`, or `name_key`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}_{}", self.object.name, if self.is_primary { "pkey" } else { "key" })
    }

    /// OID of the index.
    #[must_use]
    pub fn oid(&self) -> u32 {
        FIRST_KEY_OID + self.object.id.0
    }

    /// The columns' names, quoted where they must be, between commas.
    #[must_use]
    pub fn column_list(&self) -> String {
        let names = self.columns.iter().filter_map(|c| self.object.columns.get(*c)).map(|c| quote_ident(&c.name));
        names.collect::<Vec<_>>().join(", ")
    }

    /// `CREATE UNIQUE INDEX … ON … USING btree (…)`.
    #[must_use]
    pub fn definition(&self) -> String {
        let (name, table) = (quote_ident(&self.name()), quote_ident(&self.object.name));
        format!("CREATE UNIQUE INDEX {name} ON public.{table} USING btree ({})", self.column_list())
    }
}

/// All keys, by object.
pub fn keys(catalog: &Catalog) -> impl Iterator<Item = Key<'_>> {
    catalog.list().filter_map(|object| {
        let columns = object.key().filter(|k| !k.is_empty())?;
        Some(Key { object, columns, is_primary: matches!(object.kind, ObjectKind::Table(_)) })
    })
}

/// The rows of an object, where it keeps any and that is known.
#[must_use]
pub fn row_count(facts: &Facts, id: ObjectId) -> Option<u64> {
    facts.status.runtime.views.iter().find(|v| v.id == id).map(|v| v.rows)
}

/// `name`, in double quotes where SQL would not read it back otherwise.
#[must_use]
pub fn quote_ident(name: &str) -> String {
    const RESERVED: &[&str] = &[
        "all",
        "and",
        "any",
        "array",
        "as",
        "asc",
        "both",
        "case",
        "cast",
        "check",
        "collate",
        "column",
        "constraint",
        "create",
        "current_date",
        "current_time",
        "current_timestamp",
        "current_user",
        "default",
        "desc",
        "distinct",
        "do",
        "else",
        "end",
        "except",
        "false",
        "fetch",
        "for",
        "foreign",
        "from",
        "grant",
        "group",
        "having",
        "in",
        "intersect",
        "into",
        "lateral",
        "leading",
        "limit",
        "localtime",
        "not",
        "null",
        "offset",
        "on",
        "only",
        "or",
        "order",
        "primary",
        "references",
        "returning",
        "select",
        "some",
        "table",
        "then",
        "to",
        "trailing",
        "true",
        "union",
        "unique",
        "user",
        "using",
        "when",
        "where",
        "window",
        "with",
    ];
    let mut characters = name.chars();
    let starts_plainly = characters.next().is_some_and(|c| c.is_ascii_lowercase() || c == '_');
    let is_plain = starts_plainly && characters.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '$');
    if is_plain && !RESERVED.contains(&name) { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_quoted_where_sql_needs_it() {
        for (name, quoted) in [
            ("plain_1", "plain_1"),
            ("Upper", "\"Upper\""),
            ("select", "\"select\""),
            ("a\"b", "\"a\"\"b\""),
            ("v$late", "v$late"),
            ("1a", "\"1a\""),
        ] {
            assert_eq!(quote_ident(name), quoted);
        }
    }
}
