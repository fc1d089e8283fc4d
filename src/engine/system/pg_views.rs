//! `pg_catalog`: the views over `pg_class` that people read: tables, views, materialized views, indexes, roles, settings, sessions.

use super::headwater::describe_setting;
use super::objects::{DATABASE_OID, ROOT_OID, keys, listed};
use super::relation::{NULL, Relation, row};
use super::relations;
use super::view_definition::query_of;

pub const PG_TABLES: Relation = Relation {
    schema: "pg_catalog",
    name: "pg_tables",
    columns: "schemaname name, tablename name, tableowner name, tablespace name, hasindexes bool, hasrules bool, hastriggers bool, \
        rowsecurity bool",
    rows: |facts| {
        let user = listed(&facts.catalog).filter(|(_, kind)| *kind == "r");
        let has_key = |o: &headwater_catalog::Object| o.key().is_some_and(|k| !k.is_empty());
        let user = user.map(|(o, _)| row!["public", o.name.as_str(), "root", NULL, has_key(o), false, false, false]);
        let system = relations().filter(|r| r.schema == "pg_catalog");
        user.chain(system.map(|r| row![r.schema, r.name, "root", NULL, false, false, false, false])).collect()
    },
};

pub const PG_VIEWS: Relation = Relation {
    schema: "pg_catalog",
    name: "pg_views",
    columns: "schemaname name, viewname name, viewowner name, definition text",
    rows: |facts| {
        let views = listed(&facts.catalog).filter(|(_, kind)| *kind == "v");
        views.map(|(o, _)| row!["public", o.name.as_str(), "root", query_of(&o.sql)]).collect()
    },
};

pub const PG_MATVIEWS: Relation = Relation {
    schema: "pg_catalog",
    name: "pg_matviews",
    columns: "schemaname name, matviewname name, matviewowner name, tablespace name, hasindexes bool, ispopulated bool, definition text",
    rows: |facts| {
        let views = listed(&facts.catalog).filter(|(_, kind)| *kind == "m");
        let has_key = |o: &headwater_catalog::Object| o.key().is_some_and(|k| !k.is_empty());
        views.map(|(o, _)| row!["public", o.name.as_str(), "root", NULL, has_key(o), true, query_of(&o.sql)]).collect()
    },
};

pub const PG_INDEXES: Relation = Relation {
    schema: "pg_catalog",
    name: "pg_indexes",
    columns: "schemaname name, tablename name, indexname name, tablespace name, indexdef text",
    rows: |facts| keys(&facts.catalog).map(|k| row!["public", k.object.name.as_str(), k.name(), NULL, k.definition()]).collect(),
};

pub const PG_ROLES: Relation = Relation {
    schema: "pg_catalog",
    name: "pg_roles",
    columns: "oid oid, rolname name, rolsuper bool, rolinherit bool, rolcreaterole bool, rolcreatedb bool, rolcanlogin bool, \
        rolreplication bool, rolconnlimit int4, rolpassword text, rolvaliduntil timestamptz, rolbypassrls bool, rolconfig texts",
    rows: |_| vec![row![ROOT_OID, "root", true, true, true, true, true, false, -1, "********", NULL, true, NULL]],
};

pub const PG_AUTHID: Relation = Relation {
    schema: "pg_catalog",
    name: "pg_authid",
    columns: "oid oid, rolname name, rolsuper bool, rolinherit bool, rolcreaterole bool, rolcreatedb bool, rolcanlogin bool, \
        rolreplication bool, rolbypassrls bool, rolconnlimit int4, rolpassword text, rolvaliduntil timestamptz",
    rows: |_| vec![row![ROOT_OID, "root", true, true, true, true, true, false, true, -1, NULL, NULL]],
};

pub const PG_USER: Relation = Relation {
    schema: "pg_catalog",
    name: "pg_user",
    columns: "usename name, usesysid oid, usecreatedb bool, usesuper bool, userepl bool, usebypassrls bool, passwd text, \
        valuntil timestamptz, useconfig texts",
    rows: |_| vec![row!["root", ROOT_OID, true, true, false, true, "********", NULL, NULL]],
};

pub const PG_SETTINGS: Relation = Relation {
    schema: "pg_catalog",
    name: "pg_settings",
    columns: "name text, setting text, unit text, category text, short_desc text, extra_desc text, context text, vartype text, \
        source text, min_val text, max_val text, enumvals texts, boot_val text, reset_val text, sourcefile text, sourceline int4, \
        pending_restart bool",
    rows: |facts| {
        let setting = |(name, value): (&str, &str)| {
            let (category, description) = ("Client Connection Defaults", describe_setting(name));
            row![
                name,
                value,
                NULL,
                category,
                description,
                NULL,
                "user",
                "string",
                "session",
                NULL,
                NULL,
                NULL,
                value,
                value,
                NULL,
                NULL,
                false,
            ]
        };
        facts.settings.all().map(setting).collect()
    },
};

pub const PG_STAT_ACTIVITY: Relation = Relation {
    schema: "pg_catalog",
    name: "pg_stat_activity",
    columns: "datid oid, datname name, pid int4, leader_pid int4, usesysid oid, usename name, application_name text, client_addr text, \
        client_hostname text, client_port int4, backend_start timestamptz, xact_start timestamptz, query_start timestamptz, \
        state_change timestamptz, wait_event_type text, wait_event text, state text, backend_xid oid, backend_xmin oid, query_id int8, \
        query text, backend_type text",
    rows: |facts| {
        let session = |s: &super::headwater::SessionStatus| {
            let (address, port) = s.client.as_deref().and_then(|c| c.rsplit_once(':')).unzip();
            let port = port.and_then(|p| p.parse::<i64>().ok());
            row![
                DATABASE_OID,
                "dev",
                s.pid,
                NULL,
                ROOT_OID,
                s.user.as_str(),
                s.application.as_str(),
                address,
                NULL,
                port,
                s.connected_at_us,
                NULL,
                s.statement_at_us,
                s.statement_at_us,
                NULL,
                NULL,
                s.state,
                NULL,
                NULL,
                NULL,
                s.statement.as_str(),
                "client backend",
            ]
        };
        facts.status.sessions.iter().map(session).collect()
    },
};
