//! `pg_catalog`: what is the same in every database: schemas, types, access methods, collations, and the relations that are always empty.

use super::objects::{ROOT_OID, SCHEMAS};
use super::pg_class::{DEFAULT_COLLATION_OID, alignment, collation_of};
use super::pg_type::{CHAR, NUMERIC, PgType, TYPES};
use super::relation::{Cell, NULL, Relation, row};

pub const PG_NAMESPACE: Relation = Relation {
    schema: "pg_catalog",
    name: "pg_namespace",
    columns: "oid oid, nspname name, nspowner oid, nspacl texts",
    rows: |_| SCHEMAS.iter().map(|(name, oid)| row![*oid, *name, ROOT_OID, NULL]).collect(),
};

pub const PG_AM: Relation = Relation {
    schema: "pg_catalog",
    name: "pg_am",
    columns: "oid oid, amname name, amhandler oid, amtype char",
    rows: |_| vec![row![2, "heap", 3, "t"], row![403, "btree", 330, "i"]],
};

pub const PG_COLLATION: Relation = Relation {
    schema: "pg_catalog",
    name: "pg_collation",
    columns: "oid oid, collname name, collnamespace oid, collowner oid, collprovider char, collisdeterministic bool, collencoding int4, \
        collcollate text, collctype text, colliculocale text, collicurules text, collversion text",
    rows: |_| {
        let collation =
            |oid: u32, name: &str, provider: &str| row![oid, name, 11, ROOT_OID, provider, true, -1, "C", "C", NULL, NULL, NULL];
        vec![collation(DEFAULT_COLLATION_OID, "default", "d"), collation(950, "C", "c")]
    },
};

pub const PG_TABLESPACE: Relation = Relation {
    schema: "pg_catalog",
    name: "pg_tablespace",
    columns: "oid oid, spcname name, spcowner oid, spcacl texts, spcoptions texts",
    rows: |_| vec![row![1_663, "pg_default", ROOT_OID, NULL, NULL]],
};

pub const PG_TYPE: Relation = Relation {
    schema: "pg_catalog",
    name: "pg_type",
    columns: "oid oid, typname name, typnamespace oid, typowner oid, typlen int2, typbyval bool, typtype char, typcategory char, \
        typispreferred bool, typisdefined bool, typdelim char, typrelid oid, typsubscript text, typelem oid, typarray oid, typinput text, \
        typoutput text, typreceive oid, typsend oid, typmodin text, typmodout text, typanalyze text, typalign char, typstorage char, \
        typnotnull bool, typbasetype oid, typtypmod int4, typndims int4, typcollation oid, typdefaultbin text, typdefault text, typacl texts",
    rows: |_| TYPES.iter().flat_map(|t| [Some(type_row(t)), (t.array_oid != 0).then(|| array_row(t))]).flatten().collect(),
};

fn type_row(t: &PgType) -> Vec<Cell> {
    let kind = if t.category == "P" || t.category == "X" { "p" } else { "b" };
    let storage = match t.length {
        0.. => "p",
        _ if t.oid == NUMERIC.oid => "m",
        _ => "x",
    };
    let is_preferred = matches!(t.name, "bool" | "text" | "float8" | "oid" | "timestamptz" | "interval");
    row![
        t.oid,
        t.name,
        11,
        ROOT_OID,
        t.length,
        (1..=8).contains(&t.length),
        kind,
        t.category,
        is_preferred,
        true,
        ",",
        0,
        "-",
        0,
        t.array_oid,
        function_name(t, "in"),
        function_name(t, "out"),
        receive_oid(t),
        receive_oid(t) + 1,
        "-",
        "-",
        "-",
        alignment(t.length),
        storage,
        false,
        0,
        -1,
        0,
        collation_of(t.oid),
        NULL,
        NULL,
        NULL,
    ]
}

fn array_row(t: &PgType) -> Vec<Cell> {
    row![
        t.array_oid,
        t.array_name,
        11,
        ROOT_OID,
        -1,
        false,
        "b",
        "A",
        false,
        true,
        ",",
        0,
        "array_subscript_handler",
        t.oid,
        0,
        "array_in",
        "array_out",
        ARRAY_RECEIVE_OID,
        ARRAY_RECEIVE_OID + 1,
        "-",
        "-",
        "array_typanalyze",
        "i",
        "x",
        false,
        0,
        -1,
        0,
        collation_of(t.oid),
        NULL,
        NULL,
        NULL,
    ]
}

/// OID of `array_recv`, as in PostgreSQL.
const ARRAY_RECEIVE_OID: u32 = 2_400;
/// OIDs of the functions that read and write the other types begin here: two for each.
const FIRST_TYPE_FUNCTION_OID: u32 = 11_000;

/// The function that reads the binary form; the one that writes it has the next OID.
fn receive_oid(t: &PgType) -> u32 {
    let at = TYPES.iter().position(|o| o.oid == t.oid).unwrap_or(0);
    FIRST_TYPE_FUNCTION_OID + 2 * u32::try_from(at).unwrap_or(0)
}

fn function_name(t: &PgType, suffix: &str) -> String {
    // PostgreSQL sets these words apart where the type's name ends in a letter of its own accord.
    let separator = if matches!(
        t.name,
        "date" | "time" | "timestamp" | "timestamptz" | "interval" | "numeric" | "uuid" | "json" | "jsonb" | "array" | "record" | "void"
    ) {
        "_"
    } else {
        ""
    };
    format!("{}{separator}{suffix}", t.name)
}

/// The functions that clients look up by OID: those that read and write the types.
pub const PG_PROC: Relation = Relation {
    schema: "pg_catalog",
    name: "pg_proc",
    columns: "oid oid, proname name, pronamespace oid, proowner oid, prolang oid, procost float4, prorows float4, provariadic oid, \
        prosupport text, prokind char, prosecdef bool, proleakproof bool, proisstrict bool, proretset bool, provolatile char, \
        proparallel char, pronargs int2, pronargdefaults int2, prorettype oid, proargtypes oids, proallargtypes oids, proargmodes texts, \
        proargnames texts, proargdefaults text, protrftypes oids, prosrc text, probin text, prosqlbody text, proconfig texts, proacl texts",
    rows: |_| {
        let pair = |oid: u32, t: &PgType, receive: String, send: String| {
            [function_row(oid, receive, t.oid), function_row(oid + 1, send, super::pg_type::BYTEA.oid)]
        };
        let of_types = TYPES.iter().flat_map(|t| pair(receive_oid(t), t, function_name(t, "recv"), function_name(t, "send")));
        of_types.chain(pair(ARRAY_RECEIVE_OID, CHAR, "array_recv".to_owned(), "array_send".to_owned())).collect()
    },
};

fn function_row(oid: u32, name: String, returns: u32) -> Vec<Cell> {
    row![
        oid,
        name.clone(),
        11,
        ROOT_OID,
        12,
        1,
        0,
        0,
        "-",
        "f",
        false,
        false,
        true,
        false,
        "i",
        "s",
        1,
        0,
        returns,
        vec![0_i64],
        NULL,
        NULL,
        NULL,
        NULL,
        NULL,
        name,
        NULL,
        NULL,
        NULL,
        NULL,
    ]
}

/// Relations of `pg_catalog` that have no rows here, because we have no such things.
pub const EMPTY: &[Relation] = &[
    empty(
        "pg_policy",
        "oid oid, polname name, polrelid oid, polcmd char, polpermissive bool, polroles oids, polqual text, polwithcheck text",
    ),
    empty(
        "pg_statistic_ext",
        "oid oid, stxrelid oid, stxname name, stxnamespace oid, stxowner oid, stxstattarget int4, stxkeys int2s, stxkind texts, stxexprs text",
    ),
    empty(
        "pg_publication",
        "oid oid, pubname name, pubowner oid, puballtables bool, pubinsert bool, pubupdate bool, pubdelete bool, pubtruncate bool, pubviaroot bool",
    ),
    empty("pg_publication_rel", "oid oid, prpubid oid, prrelid oid, prqual text, prattrs int2s"),
    empty("pg_publication_namespace", "oid oid, pnpubid oid, pnnspid oid"),
    empty("pg_inherits", "inhrelid oid, inhparent oid, inhseqno int4, inhdetachpending bool"),
    empty(
        "pg_extension",
        "oid oid, extname name, extowner oid, extnamespace oid, extrelocatable bool, extversion text, extconfig oids, extcondition texts",
    ),
    empty("pg_enum", "oid oid, enumtypid oid, enumsortorder float4, enumlabel name"),
    empty(
        "pg_range",
        "rngtypid oid, rngsubtype oid, rngmultitypid oid, rngcollation oid, rngsubopc oid, rngcanonical text, rngsubdiff text",
    ),
    empty(
        "pg_locks",
        "locktype text, database oid, relation oid, page int4, tuple int2, virtualxid text, transactionid oid, classid oid, objid oid, objsubid int2, \
         virtualtransaction text, pid int4, mode text, granted bool, fastpath bool, waitstart timestamptz",
    ),
    empty("pg_auth_members", "oid oid, roleid oid, member oid, grantor oid, admin_option bool, inherit_option bool, set_option bool"),
    empty(
        "pg_trigger",
        "oid oid, tgrelid oid, tgparentid oid, tgname name, tgfoid oid, tgtype int2, tgenabled char, tgisinternal bool, tgconstrrelid oid, \
         tgconstrindid oid, tgconstraint oid, tgdeferrable bool, tginitdeferred bool, tgnargs int2, tgattr int2s, tgargs text, tgqual text, \
         tgoldtable name, tgnewtable name",
    ),
    empty(
        "pg_rewrite",
        "oid oid, rulename name, ev_class oid, ev_type char, ev_enabled char, is_instead bool, ev_qual text, ev_action text",
    ),
    empty("pg_event_trigger", "oid oid, evtname name, evtevent name, evtowner oid, evtfoid oid, evtenabled char, evttags texts"),
    empty(
        "pg_sequence",
        "seqrelid oid, seqtypid oid, seqstart int8, seqincrement int8, seqmax int8, seqmin int8, seqcache int8, seqcycle bool",
    ),
    empty(
        "pg_sequences",
        "schemaname name, sequencename name, sequenceowner name, data_type text, start_value int8, min_value int8, max_value int8",
    ),
    empty(
        "pg_language",
        "oid oid, lanname name, lanowner oid, lanispl bool, lanpltrusted bool, lanplcallfoid oid, laninline oid, lanvalidator oid, lanacl texts",
    ),
    empty(
        "pg_foreign_data_wrapper",
        "oid oid, fdwname name, fdwowner oid, fdwhandler oid, fdwvalidator oid, fdwacl texts, fdwoptions texts",
    ),
    empty(
        "pg_operator",
        "oid oid, oprname name, oprnamespace oid, oprowner oid, oprkind char, oprleft oid, oprright oid, oprresult oid, oprcode oid",
    ),
    empty(
        "pg_opclass",
        "oid oid, opcmethod oid, opcname name, opcnamespace oid, opcowner oid, opcfamily oid, opcintype oid, opcdefault bool, opckeytype oid",
    ),
    empty("pg_opfamily", "oid oid, opfmethod oid, opfname name, opfnamespace oid, opfowner oid"),
    empty("pg_cast", "oid oid, castsource oid, casttarget oid, castfunc oid, castcontext char, castmethod char"),
    empty("pg_aggregate", "aggfnoid oid, aggkind char, aggnumdirectargs int2"),
    empty("pg_partitioned_table", "partrelid oid, partstrat char, partnatts int2, partdefid oid, partattrs int2s"),
    empty("pg_shdescription", "objoid oid, classoid oid, description text"),
    empty("pg_default_acl", "oid oid, defaclrole oid, defaclnamespace oid, defaclobjtype char, defaclacl texts"),
    empty("pg_db_role_setting", "setdatabase oid, setrole oid, setconfig texts"),
    empty("pg_subscription", "oid oid, subdbid oid, subname name, subowner oid, subenabled bool, subpublications texts"),
    empty("pg_prepared_xacts", "transaction oid, gid text, prepared timestamptz, owner name, database name"),
    empty("pg_prepared_statements", "name text, statement text, prepare_time timestamptz, from_sql bool"),
    empty("pg_cursors", "name text, statement text, is_holdable bool, is_binary bool, is_scrollable bool, creation_time timestamptz"),
    empty("pg_available_extensions", "name name, default_version text, installed_version text, comment text"),
    empty("pg_ts_config", "oid oid, cfgname name, cfgnamespace oid, cfgowner oid, cfgparser oid"),
    empty("pg_ts_dict", "oid oid, dictname name, dictnamespace oid, dictowner oid, dicttemplate oid, dictinitoption text"),
    empty("pg_user_mappings", "umid oid, srvid oid, srvname name, umuser oid, usename name, umoptions texts"),
    empty("pg_largeobject_metadata", "oid oid, lomowner oid, lomacl texts"),
    empty("pg_timezone_names", "name text, abbrev text, is_dst bool"),
    empty("pg_rules", "schemaname name, tablename name, rulename name, definition text"),
    empty(
        "pg_policies",
        "schemaname name, tablename name, policyname name, permissive text, roles texts, cmd text, qual text, with_check text",
    ),
    empty("pg_stats", "schemaname name, tablename name, attname name, inherited bool, null_frac float4, avg_width int4, n_distinct float4"),
];

const fn empty(name: &'static str, columns: &'static str) -> Relation {
    Relation { schema: "pg_catalog", name, columns, rows: |_| Vec::new() }
}
