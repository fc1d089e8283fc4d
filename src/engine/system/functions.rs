//! The functions of `pg_catalog` that clients call on system relations. They look at what there is when they run, a value at a time.

use super::objects::{self, FIRST_CONSTRAINT_OID, FIRST_USER_OID, SCHEMAS, listed, oid_of, quote_ident};
use super::pg_class::system_oid;
use super::pg_type::{TYPES, format_type, type_of_oid};
use super::relations;
use super::sizes::size_pretty;
use super::view_definition::query_of;
use arrow::datatypes::DataType;
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility};
use headwater_catalog::{Catalog, Object};
use headwater_runtime::Published;
use headwater_state::{Snapshot, TableId};
use headwater_types::{Error, ObjectId};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

/// What the functions look at.
#[derive(Clone)]
pub struct Seen {
    /// What exists now.
    pub catalog: Arc<Catalog>,
    /// What is kept of it.
    pub cut: Arc<Published>,
}

impl Deref for Seen {
    type Target = Catalog;

    fn deref(&self) -> &Catalog {
        &self.catalog
    }
}

/// Gives what there is now.
pub type SeenNow = Arc<dyn Fn() -> Seen + Send + Sync>;

type Evaluate = fn(&Seen, &[ScalarValue]) -> Result<ScalarValue>;

/// A function of `pg_catalog`, by its bare name.
struct SystemFunction {
    name: &'static str,
    signature: Signature,
    returns: DataType,
    evaluate: Evaluate,
    seen: SeenNow,
}

/// All functions, over what `seen` gives.
#[must_use]
pub fn functions(seen: &SeenNow) -> Vec<Arc<ScalarUDF>> {
    let signature = Signature::one_of(vec![TypeSignature::Nullary, TypeSignature::VariadicAny], Volatility::Stable);
    let make = |(name, returns, evaluate): (&'static str, DataType, Evaluate)| {
        let function = SystemFunction { name, signature: signature.clone(), returns, evaluate, seen: Arc::clone(seen) };
        Arc::new(ScalarUDF::new_from_impl(function))
    };
    let mut list = names();
    list.extend(definitions());
    list.extend(sizes());
    list.extend(constants());
    list.into_iter().map(make).collect()
}

/// Names of things by their OIDs, and back.
fn names() -> Vec<(&'static str, DataType, Evaluate)> {
    vec![
        ("regclass", DataType::Utf8, |c, a| Ok(text(relation_name(c, a.first())))),
        ("regclass_oid", DataType::UInt32, regclass_oid),
        ("to_regclass", DataType::Utf8, |c, a| {
            Ok(text(string(a.first()).and_then(|n| relation_oid(c, &n)).and_then(|o| name_of_oid(c, o))))
        }),
        ("regtype", DataType::Utf8, |_, a| Ok(text(type_name(a.first())))),
        ("regtype_oid", DataType::UInt32, regtype_oid),
        ("to_regtype", DataType::Utf8, |_, a| Ok(text(string(a.first()).and_then(|n| type_oid(&n)).map(|o| format_type(o, -1))))),
        ("regnamespace", DataType::Utf8, |_, a| Ok(text(schema_name(a.first())))),
        ("regnamespace_oid", DataType::UInt32, |_, a| Ok(ScalarValue::UInt32(string(a.first()).and_then(|n| schema_oid(&n))))),
        ("regrole", DataType::Utf8, |_, a| Ok(text(number(a.first()).map(|_| "root".to_owned())))),
        ("regproc", DataType::Utf8, |_, a| Ok(text(string(a.first())))),
        ("pg_get_userbyid", DataType::Utf8, |_, a| Ok(text(number(a.first()).map(|_| "root".to_owned())))),
        ("format_type", DataType::Utf8, |_, a| {
            let modifier = number(a.get(1)).and_then(|m| i32::try_from(m).ok()).unwrap_or(-1);
            Ok(text(number(a.first()).map(|oid| format_type(u32::try_from(oid).unwrap_or(u32::MAX), modifier))))
        }),
        ("pg_encoding_to_char", DataType::Utf8, |_, a| Ok(text(number(a.first()).map(|e| if e == 6 { "UTF8" } else { "" }.to_owned())))),
        ("pg_char_to_encoding", DataType::Int32, |_, a| {
            Ok(ScalarValue::Int32(
                string(a.first()).map(|n| if matches!(n.to_ascii_uppercase().as_str(), "UTF8" | "UTF-8") { 6 } else { -1 }),
            ))
        }),
        ("quote_ident", DataType::Utf8, |_, a| Ok(text(string(a.first()).map(|t| quote_ident(&t))))),
        ("quote_literal", DataType::Utf8, |_, a| Ok(text(string(a.first()).map(|t| quote_literal(&t))))),
        ("quote_nullable", DataType::Utf8, |_, a| {
            Ok(text(Some(string(a.first()).map_or_else(|| "NULL".to_owned(), |t| quote_literal(&t)))))
        }),
        ("pg_size_pretty", DataType::Utf8, |_, a| Ok(text(number(a.first()).map(size_pretty)))),
        ("array_upper", DataType::Int32, |_, a| Ok(ScalarValue::Int32(list_length(a).filter(|n| *n > 0)))),
        ("array_lower", DataType::Int32, |_, a| Ok(ScalarValue::Int32(list_length(a).filter(|n| *n > 0).map(|_| 1)))),
    ]
}

/// How things were defined, and what was said about them.
fn definitions() -> Vec<(&'static str, DataType, Evaluate)> {
    vec![
        ("pg_get_viewdef", DataType::Utf8, |c, a| {
            let object = relation_of(c, a.first()).filter(|o| matches!(objects::relkind(o), Some("v" | "m")));
            // PostgreSQL's own text ends in a semicolon, which psql cuts off where it does not want it.
            Ok(text(object.map(|o| format!(" {};", query_of(&o.sql)))))
        }),
        ("pg_get_indexdef", DataType::Utf8, |c, a| {
            let key = number(a.first()).and_then(|oid| objects::keys(c).find(|k| i64::from(k.oid()) == oid));
            let column = number(a.get(1)).unwrap_or(0);
            Ok(text(key.and_then(|k| match usize::try_from(column) {
                Ok(0) | Err(_) => Some(k.definition()),
                Ok(n) => k.columns.get(n - 1).and_then(|c| k.object.columns.get(*c)).map(|c| quote_ident(&c.name)),
            })))
        }),
        ("pg_get_constraintdef", DataType::Utf8, |c, a| {
            let of = |k: &objects::Key<'_>| k.is_primary && number(a.first()) == Some(i64::from(FIRST_CONSTRAINT_OID + k.object.id.0));
            Ok(text(objects::keys(c).find(of).map(|k| format!("PRIMARY KEY ({})", k.column_list()))))
        }),
        ("obj_description", DataType::Utf8, |c, a| Ok(text(relation_of(c, a.first()).and_then(|o| o.comment.clone())))),
        ("col_description", DataType::Utf8, |c, a| {
            let at = number(a.get(1)).and_then(|n| usize::try_from(n).ok()).and_then(|n| n.checked_sub(1));
            let column = relation_of(c, a.first()).and_then(|o| o.columns.get(at?).cloned());
            Ok(text(column.and_then(|c| c.comment)))
        }),
        ("pg_get_expr", DataType::Utf8, |_, a| Ok(text(string(a.first())))),
        ("pg_table_is_visible", DataType::Boolean, |c, a| Ok(ScalarValue::Boolean(number(a.first()).and_then(|oid| is_visible(c, oid))))),
    ]
}

/// Stored bytes of what is kept; NULL for what is not.
fn sizes() -> Vec<(&'static str, DataType, Evaluate)> {
    const ROWS: Evaluate = |s, a| Ok(ScalarValue::Int64(relation_of(s, a.first()).and_then(|o| bytes(s, o, &[TableId::ROWS]))));
    const ALL: Evaluate = |s, a| {
        let all = |o| bytes(s, o, &[TableId::ROWS, TableId::LATE, TableId::ERRORS]);
        Ok(ScalarValue::Int64(relation_of(s, a.first()).and_then(all)))
    };
    vec![
        ("pg_relation_size", DataType::Int64, ROWS),
        ("pg_table_size", DataType::Int64, ALL),
        ("pg_total_relation_size", DataType::Int64, ALL),
        // A key is the order in which the rows are kept: it takes nothing beside them.
        ("pg_indexes_size", DataType::Int64, |s, a| Ok(ScalarValue::Int64(relation_of(s, a.first()).map(|_| 0)))),
    ]
}

/// The bytes of those of the tables of `object` that are kept, if any is.
fn bytes(seen: &Seen, object: &Arc<Object>, tables: &[u16]) -> Option<i64> {
    let kept = tables.iter().filter_map(|table| seen.cut.relation(TableId::new(object.id, *table)).ok());
    let bytes: u64 = kept.map(Snapshot::bytes).reduce(|a, b| a + b)?;
    i64::try_from(bytes).ok()
}

/// What is the same whatever there is: we have no such things, or everybody may do everything.
fn constants() -> Vec<(&'static str, DataType, Evaluate)> {
    const NO_TEXT: Evaluate = |_, _| Ok(ScalarValue::Utf8(None));
    const NO_SIZE: Evaluate = |_, _| Ok(ScalarValue::Int64(None));
    const YES: Evaluate = |_, _| Ok(ScalarValue::Boolean(Some(true)));
    const NO: Evaluate = |_, _| Ok(ScalarValue::Boolean(Some(false)));
    let mut list: Vec<(&'static str, DataType, Evaluate)> = vec![
        ("version", DataType::Utf8, |_, _| Ok(text(Some(format!("PostgreSQL 16.4 (Headwater {})", env!("CARGO_PKG_VERSION")))))),
        ("pg_my_temp_schema", DataType::UInt32, |_, _| Ok(ScalarValue::UInt32(Some(0)))),
        ("getdatabaseencoding", DataType::Utf8, |_, _| Ok(text(Some("UTF8".to_owned())))),
        // No lock of this kind can be taken; connection pools give them back unasked.
        ("pg_advisory_unlock_all", DataType::Utf8, |_, _| Ok(text(Some(String::new())))),
        ("pg_tablespace_location", DataType::Utf8, |_, _| Ok(text(Some(String::new())))),
        ("current_schemas", DataType::new_list(DataType::Utf8, true), |_, a| {
            let with_system = matches!(a.first(), Some(ScalarValue::Boolean(Some(true))));
            let names = if with_system { ["pg_catalog", "public"].as_slice() } else { &["public"] };
            let names: Vec<ScalarValue> = names.iter().map(|n| ScalarValue::from(*n)).collect();
            Ok(ScalarValue::List(ScalarValue::new_list(&names, &DataType::Utf8, true)))
        }),
    ];
    let no_text = [
        "pg_get_ruledef",
        "pg_get_function_result",
        "pg_get_function_arguments",
        "pg_get_function_identity_arguments",
        "pg_get_functiondef",
        "pg_get_triggerdef",
        "pg_get_partkeydef",
        "pg_get_statisticsobjdef_columns",
        "pg_get_statisticsobjdef",
        "pg_get_serial_sequence",
        "shobj_description",
        "pg_get_function_sqlbody",
    ];
    let no_size = ["pg_database_size", "pg_tablespace_size"];
    let yes = [
        "has_table_privilege",
        "has_database_privilege",
        "has_schema_privilege",
        "has_column_privilege",
        "has_any_column_privilege",
        "has_function_privilege",
        "has_sequence_privilege",
        "has_type_privilege",
        "has_tablespace_privilege",
        "has_language_privilege",
        "has_foreign_data_wrapper_privilege",
        "has_server_privilege",
        "pg_has_role",
        "pg_type_is_visible",
        "pg_function_is_visible",
        "pg_operator_is_visible",
        "pg_collation_is_visible",
        "pg_opclass_is_visible",
        "pg_conversion_is_visible",
        "pg_ts_config_is_visible",
        "pg_ts_dict_is_visible",
        "pg_statistics_obj_is_visible",
    ];
    let no =
        ["pg_is_in_recovery", "pg_relation_is_publishable", "pg_is_other_temp_schema", "row_security_active", "pg_relation_is_updatable"];
    list.extend(no_text.map(|n| (n, DataType::Utf8, NO_TEXT)));
    list.extend(no_size.map(|n| (n, DataType::Int64, NO_SIZE)));
    list.extend(yes.map(|n| (n, DataType::Boolean, YES)));
    list.extend(no.map(|n| (n, DataType::Boolean, NO)));
    list
}

fn regclass_oid(catalog: &Seen, arguments: &[ScalarValue]) -> Result<ScalarValue> {
    let Some(name) = string(arguments.first()) else { return Ok(ScalarValue::UInt32(None)) };
    match relation_oid(catalog, &name) {
        Some(oid) => Ok(ScalarValue::UInt32(Some(oid))),
        None => Err(refused(Error::not_found(format!("relation \"{name}\" does not exist")).with_sqlstate("42P01"))),
    }
}

fn regtype_oid(_: &Seen, arguments: &[ScalarValue]) -> Result<ScalarValue> {
    let Some(name) = string(arguments.first()) else { return Ok(ScalarValue::UInt32(None)) };
    match type_oid(&name) {
        Some(oid) => Ok(ScalarValue::UInt32(Some(oid))),
        None => Err(refused(Error::not_found(format!("type \"{name}\" does not exist")).with_sqlstate("42704"))),
    }
}

fn refused(error: Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// The OID that a name (`t`, `public.t`, `"T"`) or number in a text stands for.
fn relation_oid(catalog: &Catalog, name: &str) -> Option<u32> {
    if let Ok(oid) = name.parse() {
        return Some(oid);
    }
    let parts = split_name(name);
    let (schema, bare) = match parts.as_slice() {
        [bare] => (None, bare),
        [.., schema, bare] => (Some(schema.as_str()), bare),
        [] => return None,
    };
    let system = relations().enumerate().find(|(_, r)| r.name == bare && schema.map_or(r.schema == "pg_catalog", |s| s == r.schema));
    if let Some((position, relation)) = system {
        return Some(system_oid(position, relation.name));
    }
    if schema.is_some_and(|s| s != "public") {
        return None;
    }
    let object = listed(catalog).find(|(o, _)| o.name == *bare).map(|(o, _)| oid_of(o.id));
    object.or_else(|| objects::keys(catalog).find(|k| k.name() == *bare).map(|k| k.oid()))
}

/// The parts of a possibly qualified and quoted name, folded to lower case where unquoted.
fn split_name(name: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut is_quoted = false;
    let mut characters = name.trim().chars().peekable();
    while let Some(character) = characters.next() {
        let last = parts.last_mut().expect("there is always a part");
        match character {
            '"' if is_quoted && characters.peek() == Some(&'"') => {
                characters.next();
                last.push('"');
            }
            '"' => is_quoted = !is_quoted,
            '.' if !is_quoted => parts.push(String::new()),
            other if is_quoted => last.push(other),
            other => last.extend(other.to_lowercase()),
        }
    }
    parts
}

/// What `regclass` shows: the name, with its schema where that is not on the search path; the number itself where nothing has it.
fn relation_name(catalog: &Catalog, argument: Option<&ScalarValue>) -> Option<String> {
    let oid = number(argument)?;
    if oid == 0 {
        return Some("-".to_owned());
    }
    Some(u32::try_from(oid).ok().and_then(|oid| name_of_oid(catalog, oid)).unwrap_or_else(|| oid.to_string()))
}

fn name_of_oid(catalog: &Catalog, oid: u32) -> Option<String> {
    if let Some(object) = oid.checked_sub(FIRST_USER_OID).and_then(|n| catalog.get(ObjectId(n))) {
        return Some(quote_ident(&object.name));
    }
    if let Some(key) = objects::keys(catalog).find(|k| k.oid() == oid) {
        return Some(quote_ident(&key.name()));
    }
    let (_, relation) = relations().enumerate().find(|(at, r)| system_oid(*at, r.name) == oid)?;
    Some(if relation.schema == "pg_catalog" { relation.name.to_owned() } else { format!("{}.{}", relation.schema, relation.name) })
}

fn relation_of<'a>(catalog: &'a Catalog, argument: Option<&ScalarValue>) -> Option<&'a Arc<Object>> {
    let oid = match number(argument) {
        Some(oid) => u32::try_from(oid).ok()?,
        None => relation_oid(catalog, &string(argument)?)?,
    };
    catalog.get(ObjectId(oid.checked_sub(FIRST_USER_OID)?))
}

/// True for what an unqualified name finds: declared objects, their keys, and `pg_catalog`. None where nothing has that OID.
fn is_visible(catalog: &Catalog, oid: i64) -> Option<bool> {
    let oid = u32::try_from(oid).ok()?;
    name_of_oid(catalog, oid).map(|name| !name.starts_with("information_schema.") && !name.starts_with("headwater."))
}

fn type_name(argument: Option<&ScalarValue>) -> Option<String> {
    match number(argument) {
        Some(oid) => Some(format_type(u32::try_from(oid).ok()?, -1)),
        None => string(argument),
    }
}

fn type_oid(name: &str) -> Option<u32> {
    if let Ok(oid) = name.parse() {
        return type_of_oid(oid).map(|_| oid);
    }
    let name = split_name(name).pop()?;
    let (bare, is_array) = name.strip_suffix("[]").map_or((name.as_str(), false), |b| (b, true));
    let bare = match bare {
        "int" => "int4",
        "timestamp" => "timestamp",
        "decimal" => "numeric",
        other => other,
    };
    let found = TYPES.iter().find(|t| t.name == bare || t.sql_name == bare)?;
    Some(if is_array { found.array_oid } else { found.oid })
}

fn schema_name(argument: Option<&ScalarValue>) -> Option<String> {
    let oid = number(argument)?;
    SCHEMAS.iter().find(|s| i64::from(s.1) == oid).map(|s| s.0.to_owned()).or_else(|| Some(oid.to_string()))
}

fn schema_oid(name: &str) -> Option<u32> {
    SCHEMAS.iter().find(|s| s.0 == name).map(|s| s.1)
}

fn quote_literal(value: &str) -> String {
    let quoted = value.replace('\'', "''");
    if value.contains('\\') { format!("E'{}'", quoted.replace('\\', "\\\\")) } else { format!("'{quoted}'") }
}

fn text(value: Option<String>) -> ScalarValue {
    ScalarValue::Utf8(value)
}

fn string(argument: Option<&ScalarValue>) -> Option<String> {
    match argument? {
        ScalarValue::Utf8(v) | ScalarValue::LargeUtf8(v) | ScalarValue::Utf8View(v) => v.clone(),
        value if value.is_null() => None,
        value => Some(value.to_string()),
    }
}

/// An integer, also one in a text, as clients send OIDs.
fn number(argument: Option<&ScalarValue>) -> Option<i64> {
    match argument? {
        ScalarValue::UInt32(v) => v.map(i64::from),
        ScalarValue::Int64(v) => *v,
        ScalarValue::Int32(v) => v.map(i64::from),
        ScalarValue::Int16(v) => v.map(i64::from),
        ScalarValue::UInt64(v) => v.and_then(|v| i64::try_from(v).ok()),
        other => string(Some(other))?.parse().ok(),
    }
}

fn list_length(arguments: &[ScalarValue]) -> Option<i32> {
    match arguments.first()? {
        ScalarValue::List(list) if !arguments[0].is_null() => Some(list.value_length(0)),
        _ => None,
    }
}

impl ScalarUDFImpl for SystemFunction {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.returns.clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let seen = (self.seen)();
        if args.args.iter().all(|a| matches!(a, ColumnarValue::Scalar(_))) {
            let values: Vec<ScalarValue> =
                args.args.into_iter().filter_map(|a| if let ColumnarValue::Scalar(v) = a { Some(v) } else { None }).collect();
            return Ok(ColumnarValue::Scalar((self.evaluate)(&seen, &values)?));
        }
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let mut results = Vec::with_capacity(args.number_rows);
        for row in 0..args.number_rows {
            let values = arrays.iter().map(|a| ScalarValue::try_from_array(a, row)).collect::<Result<Vec<_>>>()?;
            results.push((self.evaluate)(&seen, &values)?);
        }
        if results.is_empty() {
            return Ok(ColumnarValue::Array(arrow::array::new_empty_array(&self.returns)));
        }
        Ok(ColumnarValue::Array(ScalarValue::iter_to_array(results)?))
    }
}

impl fmt::Debug for SystemFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SystemFunction").field("name", &self.name).finish_non_exhaustive()
    }
}

impl PartialEq for SystemFunction {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for SystemFunction {}

impl Hash for SystemFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}
