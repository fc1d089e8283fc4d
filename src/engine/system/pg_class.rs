//! `pg_catalog`: relations, their columns, keys, constraints and comments.

use super::objects::{DATABASE_OID, FIRST_CONSTRAINT_OID, PUBLIC_OID, ROOT_OID, SCHEMAS, keys, listed, oid_of, row_count};
use super::pg_type::{self, WireType, wire_type};
use super::relation::{Cell, Facts, NULL, Relation, row};
use super::relations;
use headwater_catalog::{Column, ObjectKind};

/// OID of the access method `heap`, which PostgreSQL gives to everything that keeps rows.
const HEAP_OID: u32 = 2;
/// OID of the access method `btree`.
const BTREE_OID: u32 = 403;
/// OID of the collation `default`.
pub const DEFAULT_COLLATION_OID: u32 = 100;
/// OIDs of system relations that PostgreSQL does not number begin here.
const FIRST_SYSTEM_OID: u32 = 12_000;

/// The OID of the system relation at `position` of [`relations`]; those that clients know by number have PostgreSQL's.
pub fn system_oid(position: usize, name: &str) -> u32 {
    match name {
        "pg_type" => 1_247,
        "pg_attribute" => 1_249,
        "pg_proc" => 1_255,
        "pg_class" => 1_259,
        "pg_database" => 1_262,
        "pg_namespace" => 2_615,
        "pg_constraint" => 2_606,
        "pg_index" => 2_610,
        "pg_description" => 2_609,
        "pg_extension" => 3_079,
        _ => FIRST_SYSTEM_OID + u32::try_from(position).unwrap_or(0),
    }
}

pub const PG_CLASS: Relation = Relation {
    schema: "pg_catalog",
    name: "pg_class",
    columns: "oid oid, relname name, relnamespace oid, reltype oid, reloftype oid, relowner oid, relam oid, relfilenode oid, \
        reltablespace oid, relpages int4, reltuples float4, relallvisible int4, reltoastrelid oid, relhasindex bool, \
        relisshared bool, relpersistence char, relkind char, relnatts int2, relchecks int2, relhasrules bool, \
        relhastriggers bool, relhassubclass bool, relrowsecurity bool, relforcerowsecurity bool, relispopulated bool, \
        relreplident char, relispartition bool, relrewrite oid, relfrozenxid oid, relminmxid oid, relacl texts, \
        reloptions texts, relpartbound text",
    rows: |facts| {
        let mut rows = Vec::new();
        for (object, kind) in listed(&facts.catalog) {
            let access = if matches!(kind, "r" | "m") { HEAP_OID } else { 0 };
            let estimate = row_count(facts, object.id).and_then(|n| i64::try_from(n).ok()).unwrap_or(-1);
            let has_key = object.key().is_some_and(|k| !k.is_empty());
            rows.push(class_row(oid_of(object.id), &object.name, PUBLIC_OID, access, kind, (estimate, has_key, object.columns.len())));
        }
        for key in keys(&facts.catalog) {
            rows.push(class_row(key.oid(), &key.name(), PUBLIC_OID, BTREE_OID, "i", (0, false, key.columns.len())));
        }
        for (position, relation) in relations().enumerate() {
            let schema = SCHEMAS.iter().find(|s| s.0 == relation.schema).map_or(PUBLIC_OID, |s| s.1);
            let kind = if relation.schema == "pg_catalog" { "r" } else { "v" };
            rows.push(class_row(
                system_oid(position, relation.name),
                relation.name,
                schema,
                0,
                kind,
                (-1, false, relation.schema().fields().len()),
            ));
        }
        rows
    },
};

fn class_row(oid: u32, name: &str, schema: u32, access: u32, kind: &str, (rows, has_index, columns): (i64, bool, usize)) -> Vec<Cell> {
    row![
        oid,
        name,
        schema,
        0,
        0,
        ROOT_OID,
        access,
        oid,
        0,
        0,
        rows,
        0,
        0,
        has_index,
        false,
        "p",
        kind,
        columns,
        0,
        false,
        false,
        false,
        false,
        false,
        true,
        if kind == "r" { "d" } else { "n" },
        false,
        0,
        0,
        0,
        NULL,
        NULL,
        NULL,
    ]
}

pub const PG_ATTRIBUTE: Relation = Relation {
    schema: "pg_catalog",
    name: "pg_attribute",
    columns: "attrelid oid, attname name, atttypid oid, attlen int2, attnum int2, attcacheoff int4, atttypmod int4, attndims int2, \
        attbyval bool, attalign char, attstorage char, attcompression char, attnotnull bool, atthasdef bool, \
        atthasmissing bool, attidentity char, attgenerated char, attisdropped bool, attislocal bool, attinhcount int2, \
        attstattarget int2, attcollation oid, attacl texts, attoptions texts, attfdwoptions texts, attmissingval text",
    rows: |facts| {
        let mut rows = Vec::new();
        for (object, _) in listed(&facts.catalog) {
            for (at, column) in object.columns.iter().enumerate() {
                rows.push(attribute_row(oid_of(object.id), at, column));
            }
        }
        for key in keys(&facts.catalog) {
            for (at, column) in key.columns.iter().filter_map(|c| key.object.columns.get(*c)).enumerate() {
                rows.push(attribute_row(key.oid(), at, column));
            }
        }
        for (position, relation) in relations().enumerate() {
            let oid = system_oid(position, relation.name);
            for (at, field) in relation.schema().fields().iter().enumerate() {
                rows.push(attribute_row(oid, at, &Column::of(field)));
            }
        }
        rows
    },
};

fn attribute_row(relation: u32, at: usize, column: &Column) -> Vec<Cell> {
    let field = column.field();
    let wire = wire_type(&field).unwrap_or(WireType { oid: pg_type::TEXT.oid, length: -1, modifier: -1 });
    let dimensions = i32::from(matches!(field.data_type(), arrow::datatypes::DataType::List(_)));
    let storage = if wire.length >= 0 {
        "p"
    } else if wire.oid == pg_type::NUMERIC.oid {
        "m"
    } else {
        "x"
    };
    row![
        relation,
        column.name.as_str(),
        wire.oid,
        wire.length,
        at + 1,
        -1,
        wire.modifier,
        dimensions,
        (1..=8).contains(&wire.length),
        alignment(wire.length),
        storage,
        "",
        !column.nullable,
        column.default.is_some(),
        false,
        "",
        "",
        false,
        true,
        0,
        -1,
        collation_of(wire.oid),
        NULL,
        NULL,
        NULL,
        NULL,
    ]
}

pub const PG_ATTRDEF: Relation = Relation {
    schema: "pg_catalog",
    name: "pg_attrdef",
    columns: "oid oid, adrelid oid, adnum int2, adbin text",
    rows: |facts| {
        let mut rows = Vec::new();
        for (object, _) in listed(&facts.catalog) {
            let columns = object.columns.iter().enumerate();
            for (at, default) in columns.filter_map(|(at, column)| Some((at, column.default.as_deref()?))) {
                // Nobody asks for a default by its own number; the rows differ in relation and column.
                rows.push(row![oid_of(object.id), oid_of(object.id), at + 1, default]);
            }
        }
        rows
    },
};

/// `typalign` of a type of `length` bytes.
pub fn alignment(length: i16) -> &'static str {
    match length {
        1 | 64 => "c",
        2 => "s",
        8 | 16 => "d",
        _ => "i",
    }
}

/// `default` for text, none for the others.
pub fn collation_of(oid: u32) -> u32 {
    match pg_type::type_of_oid(oid) {
        Some((scalar, _)) if scalar.category == "S" => DEFAULT_COLLATION_OID,
        _ => 0,
    }
}

pub const PG_INDEX: Relation = Relation {
    schema: "pg_catalog",
    name: "pg_index",
    columns: "indexrelid oid, indrelid oid, indnatts int2, indnkeyatts int2, indisunique bool, indnullsnotdistinct bool, \
        indisprimary bool, indisexclusion bool, indimmediate bool, indisclustered bool, indisvalid bool, indcheckxmin bool, \
        indisready bool, indislive bool, indisreplident bool, indkey int2s, indcollation oids, indclass oids, indoption int2s, \
        indexprs text, indpred text",
    rows: |facts| {
        let index_row = |key: super::objects::Key<'_>| {
            let numbers: Vec<i64> = key.columns.iter().filter_map(|c| i64::try_from(c + 1).ok()).collect();
            let zeros = vec![0_i64; numbers.len()];
            row![
                key.oid(),
                oid_of(key.object.id),
                key.columns.len(),
                key.columns.len(),
                true,
                false,
                key.is_primary,
                false,
                true,
                false,
                true,
                false,
                true,
                true,
                false,
                numbers,
                zeros.clone(),
                zeros.clone(),
                zeros,
                NULL,
                NULL,
            ]
        };
        keys(&facts.catalog).map(index_row).collect()
    },
};

pub const PG_CONSTRAINT: Relation = Relation {
    schema: "pg_catalog",
    name: "pg_constraint",
    columns: "oid oid, conname name, connamespace oid, contype char, condeferrable bool, condeferred bool, convalidated bool, \
        conrelid oid, contypid oid, conindid oid, conparentid oid, confrelid oid, confupdtype char, confdeltype char, \
        confmatchtype char, conislocal bool, coninhcount int2, connoinherit bool, conkey int2s, confkey int2s, conpfeqop oids, \
        conppeqop oids, conffeqop oids, confdelsetcols int2s, conexclop oids, conbin text",
    rows: |facts| {
        let constraint_row = |key: super::objects::Key<'_>| {
            let numbers: Vec<i64> = key.columns.iter().filter_map(|c| i64::try_from(c + 1).ok()).collect();
            row![
                FIRST_CONSTRAINT_OID + key.object.id.0,
                key.name(),
                PUBLIC_OID,
                "p",
                false,
                false,
                true,
                oid_of(key.object.id),
                0,
                key.oid(),
                0,
                0,
                " ",
                " ",
                " ",
                true,
                0,
                true,
                numbers,
                NULL,
                NULL,
                NULL,
                NULL,
                NULL,
                NULL,
                NULL,
            ]
        };
        keys(&facts.catalog).filter(|k| k.is_primary).map(constraint_row).collect()
    },
};

pub const PG_DESCRIPTION: Relation = Relation {
    schema: "pg_catalog",
    name: "pg_description",
    columns: "objoid oid, classoid oid, objsubid int4, description text",
    rows: |facts| {
        let mut rows = Vec::new();
        for (object, _) in listed(&facts.catalog) {
            if let Some(comment) = &object.comment {
                rows.push(row![oid_of(object.id), 1_259, 0, comment.as_str()]);
            }
            for (at, column) in object.columns.iter().enumerate() {
                if let Some(comment) = &column.comment {
                    rows.push(row![oid_of(object.id), 1_259, at + 1, comment.as_str()]);
                }
            }
        }
        rows
    },
};

/// Sources are foreign tables; the server of each is its connector.
pub const PG_FOREIGN_TABLE: Relation = Relation {
    schema: "pg_catalog",
    name: "pg_foreign_table",
    columns: "ftrelid oid, ftserver oid, ftoptions texts",
    rows: |facts| {
        let mut rows = Vec::new();
        for object in facts.catalog.list() {
            if let ObjectKind::Source(source) = &object.kind {
                let server = connectors(facts).iter().position(|c| *c == source.connector).unwrap_or(0);
                rows.push(row![oid_of(object.id), FIRST_SYSTEM_OID + 900 + u32::try_from(server).unwrap_or(0), NULL]);
            }
        }
        rows
    },
};

pub const PG_FOREIGN_SERVER: Relation = Relation {
    schema: "pg_catalog",
    name: "pg_foreign_server",
    columns: "oid oid, srvname name, srvowner oid, srvfdw oid, srvtype text, srvversion text, srvacl texts, srvoptions texts",
    rows: |facts| {
        let server = |(at, name): (usize, &String)| {
            row![FIRST_SYSTEM_OID + 900 + u32::try_from(at).unwrap_or(0), name.as_str(), ROOT_OID, 0, NULL, NULL, NULL, NULL]
        };
        connectors(facts).iter().enumerate().map(server).collect()
    },
};

/// The connectors in use, each once, by name.
fn connectors(facts: &Facts) -> Vec<String> {
    let names = facts.catalog.list().filter_map(|o| match &o.kind {
        ObjectKind::Source(source) => Some(source.connector.clone()),
        _ => None,
    });
    let mut names: Vec<String> = names.collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Who reads whom, as far as clients look: views on relations.
pub const PG_DEPEND: Relation = Relation {
    schema: "pg_catalog",
    name: "pg_depend",
    columns: "classid oid, objid oid, objsubid int4, refclassid oid, refobjid oid, refobjsubid int4, deptype char",
    rows: |facts| {
        let pairs = facts.catalog.list().flat_map(|o| o.depends_on.iter().map(move |d| (o.id, *d)));
        pairs.map(|(object, on)| row![1_259, oid_of(object), 0, 1_259, oid_of(on), 0, "n"]).collect()
    },
};

/// The one database.
pub const PG_DATABASE: Relation = Relation {
    schema: "pg_catalog",
    name: "pg_database",
    columns: "oid oid, datname name, datdba oid, encoding int4, datlocprovider char, datistemplate bool, datallowconn bool, \
        datconnlimit int4, datfrozenxid oid, datminmxid oid, dattablespace oid, datcollate text, datctype text, \
        daticulocale text, daticurules text, datcollversion text, datacl texts",
    // Encoding 6 is UTF8; text is compared by its bytes, which PostgreSQL calls C.
    rows: |_| vec![row![DATABASE_OID, "dev", ROOT_OID, 6, "c", false, true, -1, 0, 0, 1_663, "C", "C", NULL, NULL, NULL, NULL]],
};
