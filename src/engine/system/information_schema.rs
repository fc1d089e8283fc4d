//! `information_schema`: tables, columns, schemata and views as the SQL standard names them.

use super::objects::{SCHEMAS, keys, listed};
use super::pg_type::{self, type_of_oid, wire_type};
use super::relation::{Cell, NULL, Relation, row};
use super::relations;
use super::view_definition::query_of;
use headwater_catalog::Column;

/// The name of the database, the "catalog" of the standard.
const CATALOG: &str = "dev";

pub const SCHEMATA: Relation = Relation {
    schema: "information_schema",
    name: "schemata",
    columns: "catalog_name text, schema_name text, schema_owner text, default_character_set_catalog text, \
        default_character_set_schema text, default_character_set_name text, sql_path text",
    rows: |_| SCHEMAS.iter().map(|(name, _)| row![CATALOG, *name, "root", NULL, NULL, NULL, NULL]).collect(),
};

pub const TABLES: Relation = Relation {
    schema: "information_schema",
    name: "tables",
    columns: "table_catalog text, table_schema text, table_name text, table_type text, self_referencing_column_name text, \
        reference_generation text, user_defined_type_catalog text, user_defined_type_schema text, user_defined_type_name text, \
        is_insertable_into text, is_typed text, commit_action text",
    rows: |facts| {
        let mut rows = Vec::new();
        for (object, kind) in listed(&facts.catalog) {
            let table_type = match kind {
                "r" => "BASE TABLE",
                "f" => "FOREIGN",
                "m" => "MATERIALIZED VIEW",
                _ => "VIEW",
            };
            rows.push(table_row("public", &object.name, table_type, kind == "r"));
        }
        for relation in relations() {
            let table_type = if relation.schema == "pg_catalog" { "BASE TABLE" } else { "VIEW" };
            rows.push(table_row(relation.schema, relation.name, table_type, false));
        }
        rows
    },
};

fn table_row(schema: &str, name: &str, table_type: &str, is_insertable: bool) -> Vec<Cell> {
    row![CATALOG, schema, name, table_type, NULL, NULL, NULL, NULL, NULL, yes_no(is_insertable), "NO", NULL]
}

pub const COLUMNS: Relation = Relation {
    schema: "information_schema",
    name: "columns",
    columns: "table_catalog text, table_schema text, table_name text, column_name text, ordinal_position int4, column_default text, \
        is_nullable text, data_type text, character_maximum_length int4, character_octet_length int4, numeric_precision int4, \
        numeric_precision_radix int4, numeric_scale int4, datetime_precision int4, interval_type text, collation_name text, \
        domain_name text, udt_catalog text, udt_schema text, udt_name text, is_identity text, is_generated text, is_updatable text",
    rows: |facts| {
        let mut rows = Vec::new();
        for (object, kind) in listed(&facts.catalog) {
            for (at, column) in object.columns.iter().enumerate() {
                rows.push(column_row(("public", &object.name), at, column, kind == "r"));
            }
        }
        for relation in relations() {
            for (at, field) in relation.schema().fields().iter().enumerate() {
                rows.push(column_row((relation.schema, relation.name), at, &Column::of(field), false));
            }
        }
        rows
    },
};

fn column_row((schema, table): (&str, &str), at: usize, column: &Column, is_updatable: bool) -> Vec<Cell> {
    let wire = wire_type(&column.field());
    let scalar = wire.and_then(|w| type_of_oid(w.oid));
    let (data_type, name) = match scalar {
        Some((t, true)) => ("ARRAY", t.array_name),
        Some((t, false)) => (t.sql_name, t.name),
        None => ("USER-DEFINED", ""),
    };
    let scalar = scalar.filter(|s| !s.1).map(|s| s.0);
    let packed = wire.map_or(-1, |w| w.modifier) - 4;
    let (precision, radix, scale) = match scalar {
        Some(t) if t == pg_type::INT2 => (Some(16), Some(2), Some(0)),
        Some(t) if t == pg_type::INT4 => (Some(32), Some(2), Some(0)),
        Some(t) if t == pg_type::INT8 => (Some(64), Some(2), Some(0)),
        Some(t) if t == pg_type::FLOAT4 => (Some(24), Some(2), None),
        Some(t) if t == pg_type::FLOAT8 => (Some(53), Some(2), None),
        Some(t) if t == pg_type::NUMERIC && packed >= 0 => (Some(packed >> 16), Some(10), Some(packed & 0xFFFF)),
        Some(t) if t == pg_type::NUMERIC => (None, Some(10), None),
        _ => (None, None, None),
    };
    let datetime = scalar.and_then(|t| match t.category {
        "D" if t == pg_type::DATE => Some(0),
        "D" | "T" => Some(6),
        _ => None,
    });
    row![
        CATALOG,
        schema,
        table,
        column.name.as_str(),
        at + 1,
        column.default.as_deref(),
        yes_no(column.nullable),
        data_type,
        NULL,
        NULL,
        precision,
        radix,
        scale,
        datetime,
        NULL,
        NULL,
        NULL,
        CATALOG,
        "pg_catalog",
        name,
        "NO",
        "NEVER",
        yes_no(is_updatable),
    ]
}

pub const VIEWS: Relation = Relation {
    schema: "information_schema",
    name: "views",
    columns: "table_catalog text, table_schema text, table_name text, view_definition text, check_option text, is_updatable text, \
        is_insertable_into text, is_trigger_updatable text, is_trigger_deletable text, is_trigger_insertable_into text",
    rows: |facts| {
        let views = listed(&facts.catalog).filter(|(_, kind)| *kind == "v");
        let row = |name: &str, sql: &str| row![CATALOG, "public", name, query_of(sql), "NONE", "NO", "NO", "NO", "NO", "NO"];
        views.map(|(o, _)| row(&o.name, &o.sql)).collect()
    },
};

pub const TABLE_CONSTRAINTS: Relation = Relation {
    schema: "information_schema",
    name: "table_constraints",
    columns: "constraint_catalog text, constraint_schema text, constraint_name text, table_catalog text, table_schema text, \
        table_name text, constraint_type text, is_deferrable text, initially_deferred text, enforced text, nulls_distinct text",
    rows: |facts| {
        let primary = keys(&facts.catalog).filter(|k| k.is_primary);
        let row = |k: super::objects::Key<'_>| {
            let table = k.object.name.as_str();
            row![CATALOG, "public", k.name(), CATALOG, "public", table, "PRIMARY KEY", "NO", "NO", "YES", NULL]
        };
        primary.map(row).collect()
    },
};

pub const KEY_COLUMN_USAGE: Relation = Relation {
    schema: "information_schema",
    name: "key_column_usage",
    columns: "constraint_catalog text, constraint_schema text, constraint_name text, table_catalog text, table_schema text, \
        table_name text, column_name text, ordinal_position int4, position_in_unique_constraint int4",
    rows: |facts| {
        let mut rows = Vec::new();
        for key in keys(&facts.catalog).filter(|k| k.is_primary) {
            for (at, column) in key.columns.iter().filter_map(|c| key.object.columns.get(*c)).enumerate() {
                let (table, name) = (key.object.name.as_str(), column.name.as_str());
                rows.push(row![CATALOG, "public", key.name(), CATALOG, "public", table, name, at + 1, NULL]);
            }
        }
        rows
    },
};

fn yes_no(value: bool) -> &'static str {
    if value { "YES" } else { "NO" }
}
