//! Puts what clients ask of `pg_catalog` into words that the planner has: one small change of the parsed query for each thing it does not know.
//!
//! Everywhere: `pg_catalog.` goes from function, operator and type names; `::regclass` and its like become functions; `COLLATE` goes where it
//! names the one collation we have; `current_setting` and `pg_backend_pid` become their values; `ARRAY(SELECT …)` becomes `array_agg`.
//! In subqueries that read nothing but system relations: a scalar one is aggregated with `max`, since the planner unnests no other, its
//! conditions are put into the form that the planner unnests (see `system_subquery`), and `unnest` and `generate_series` over columns become an
//! empty relation, since the array columns that clients look into so are always NULL here.

use super::relations;
use super::system_subquery::{guard, is_aggregated};
use datafusion::sql::sqlparser::ast::{
    self, ArrayElemTypeDef, BinaryOperator, DataType, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList,
    FunctionArguments, Ident, ObjectName, ObjectNamePart, Query, SelectItem, SetExpr, TableFactor, Value, ValueWithSpan, Visit, VisitMut,
    Visitor, VisitorMut,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;
use headwater_sql::Settings;
use headwater_types::{Error, Result};
use std::ops::ControlFlow;

/// Changes `statement` in place. A query that asks for nothing of PostgreSQL's own stays as it is.
///
/// # Errors
/// `NotFound` (42704) for a setting that does not exist.
pub fn rewrite(statement: &mut ast::Statement, settings: &Settings) -> Result<()> {
    let mut reader = Reader::default();
    let _: ControlFlow<()> = Visit::visit(statement, &mut reader);
    match VisitMut::visit(statement, &mut Rewriter { settings, reads_system: reader.system > 0 }) {
        ControlFlow::Break(error) => Err(*error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

struct Rewriter<'a> {
    settings: &'a Settings,
    /// The statement reads a system relation.
    reads_system: bool,
}

impl VisitorMut for Rewriter<'_> {
    type Break = Box<Error>;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Self::Break> {
        if asks_what_types_are_made_of(query)
            && let Some(plain) = parsed(TYPES_AND_ELEMENTS)
        {
            *query = *plain;
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Self::Break> {
        if self.reads_system {
            rewrite_table_function(factor);
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Self::Break> {
        match expr {
            Expr::Collate { expr: inside, collation } if is_plain_collation(collation) => *expr = take(inside),
            Expr::BinaryOp { left, op, right } => rewrite_operator(left, op, right),
            Expr::Cast { .. } => rewrite_cast(expr),
            Expr::Function(_) => return self.rewrite_function(expr),
            Expr::Subquery(query) if reads_system_only(query) => {
                aggregate_with(query, "max");
                if let Some(guarded) = guard(query) {
                    *expr = guarded;
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

/// What asyncpg asks before it reads a value of a type that it was not born with. It walks through domains, ranges and row types; of those there are
/// none here, and an array's elements are one step away.
const TYPES_AND_ELEMENTS: &str = "
SELECT t.oid AS oid, ns.nspname AS ns, t.typname AS name, t.typtype AS kind, NULL::oid AS basetype, t.typelem AS elemtype, t.typdelim AS elemdelim,
  NULL::oid AS range_subtype, NULL::oid[] AS attrtypoids, NULL::text[] AS attrnames, CASE WHEN t.oid = any($1::oid[]) THEN 0 ELSE 1 END AS depth,
  NULL::text AS basetype_name, CASE WHEN t.typelem <> 0 THEN format_type(t.typelem, NULL) END AS elemtype_name, NULL::text AS range_subtype_name
FROM pg_type t JOIN pg_namespace ns ON ns.oid = t.typnamespace
WHERE t.oid = any($1::oid[]) OR t.oid IN (SELECT a.typelem FROM pg_type a WHERE a.oid = any($1::oid[]))
ORDER BY depth DESC";

fn asks_what_types_are_made_of(query: &Query) -> bool {
    let tree = |with: &ast::With| with.recursive && with.cte_tables.iter().any(|cte| cte.alias.name.value == "typeinfo_tree");
    query.with.as_ref().is_some_and(tree)
}

impl Rewriter<'_> {
    fn rewrite_function(&self, expr: &mut Expr) -> ControlFlow<Box<Error>> {
        let Expr::Function(function) = expr else { return ControlFlow::Continue(()) };
        strip_schema(&mut function.name);
        let name = function.name.to_string().to_lowercase();
        match (name.as_str(), &mut function.args) {
            ("array", FunctionArguments::Subquery(query)) => {
                aggregate_with(query, "array_agg");
                *expr = guard(query).unwrap_or_else(|| Expr::Subquery(std::mem::replace(query, empty_query())));
            }
            ("current_setting", FunctionArguments::List(list)) => match self.setting(list) {
                Ok(Some(value)) => *expr = text(value),
                Ok(None) => {}
                Err(error) => return ControlFlow::Break(Box::new(error)),
            },
            ("pg_backend_pid", FunctionArguments::List(list)) if list.args.is_empty() => {
                let pid = Value::Number(self.settings.pid.to_string(), false);
                *expr = Expr::Value(pid.with_empty_span());
            }
            ("set_config", FunctionArguments::List(list)) => match self.same_setting(list) {
                Ok(value) => *expr = text(Some(value)),
                Err(error) => return ControlFlow::Break(Box::new(error)),
            },
            _ => {}
        }
        ControlFlow::Continue(())
    }

    /// The value of `current_setting('name' [, missing_ok])`; None where the name is no literal.
    fn setting(&self, list: &FunctionArgumentList) -> Result<Option<Option<String>>> {
        let Some(name) = list.args.first().and_then(argument).and_then(literal) else { return Ok(None) };
        if let Some(value) = self.settings.get(&name) {
            return Ok(Some(Some(value.to_owned())));
        }
        let is_optional =
            matches!(list.args.get(1).and_then(argument), Some(Expr::Value(ValueWithSpan { value: Value::Boolean(true), .. })));
        if is_optional {
            return Ok(Some(None));
        }
        Err(Error::not_found(format!("unrecognized configuration parameter \"{name}\"")).with_sqlstate("42704"))
    }
}

impl Rewriter<'_> {
    /// The value of a setting that `set_config('name', 'value', is_local)` leaves as it is, which is what drivers do with settings that do nothing here.
    fn same_setting(&self, list: &FunctionArgumentList) -> Result<String> {
        let literal_at = |at: usize| list.args.get(at).and_then(argument).and_then(literal);
        match (literal_at(0).and_then(|name| self.settings.get(&name)), literal_at(1)) {
            (Some(now), Some(value)) if now == value => Ok(value),
            _ => Err(Error::unsupported("set_config with another value than the setting has is not supported").with_hint("use SET")),
        }
    }
}

/// `COLLATE pg_catalog.default`, `"C"` and `"POSIX"`: text is compared by its bytes, which is what they say.
fn is_plain_collation(collation: &ObjectName) -> bool {
    last_name(collation).is_some_and(|n| matches!(n.as_str(), "default" | "c" | "posix"))
}

/// `OPERATOR(pg_catalog.~)` is `~`; an array literal in quotes beside `=` is an array; names and OIDs of relations are compared as OIDs.
fn rewrite_operator(left: &mut Expr, op: &mut BinaryOperator, right: &mut Expr) {
    if let BinaryOperator::PGCustomBinaryOperator(parts) = op {
        let plain = match parts.last().map(String::as_str) {
            Some("~") => Some(BinaryOperator::PGRegexMatch),
            Some("~*") => Some(BinaryOperator::PGRegexIMatch),
            Some("!~") => Some(BinaryOperator::PGRegexNotMatch),
            Some("!~*") => Some(BinaryOperator::PGRegexNotIMatch),
            Some("~~") => Some(BinaryOperator::PGLikeMatch),
            Some("!~~") => Some(BinaryOperator::PGNotLikeMatch),
            Some("=") => Some(BinaryOperator::Eq),
            Some("<>") => Some(BinaryOperator::NotEq),
            Some("<") => Some(BinaryOperator::Lt),
            Some(">") => Some(BinaryOperator::Gt),
            Some("<=") => Some(BinaryOperator::LtEq),
            Some(">=") => Some(BinaryOperator::GtEq),
            Some("||") => Some(BinaryOperator::StringConcat),
            _ => None,
        };
        if let Some(plain) = plain {
            *op = plain;
        }
    }
    if matches!(op, BinaryOperator::Eq | BinaryOperator::NotEq) {
        for side in [&mut *left, &mut *right] {
            if let Some(items) = literal(side).and_then(|t| number_array(&t)) {
                *side = items;
            }
        }
    }
    for (one, other) in [(&*left, &*right), (&*right, &*left)].map(|(a, b)| (call_name(a), call_name(b))) {
        if one.as_deref() == Some("regclass") && other.as_deref() == Some("regclass_oid") {
            for side in [&mut *left, &mut *right] {
                rename_call(side, "regclass", "regclass_oid");
            }
            break;
        }
    }
}

/// `'{0,1}'` as an array of numbers.
fn number_array(text: &str) -> Option<Expr> {
    let inside = text.strip_prefix('{')?.strip_suffix('}')?;
    let items = inside.split(',').map(|item| item.trim().parse::<i64>().ok()).collect::<Option<Vec<_>>>()?;
    let elem = items.into_iter().map(|n| Expr::value(Value::Number(n.to_string(), false))).collect();
    Some(Expr::Array(ast::Array { elem, named: true }))
}

/// Casts to the types of `pg_catalog` that Arrow does not have.
fn rewrite_cast(expr: &mut Expr) {
    let Expr::Cast { expr: inside, data_type, .. } = expr else { return };
    strip_type(data_type);
    let target = type_word(data_type);
    match target.as_deref() {
        Some("regclass") => *expr = call(if is_given(inside) { "regclass_oid" } else { "regclass" }, take(inside)),
        Some("regtype") => *expr = call(if is_given(inside) { "regtype_oid" } else { "regtype" }, take(inside)),
        Some("regnamespace") => *expr = call(if is_given(inside) { "regnamespace_oid" } else { "regnamespace" }, take(inside)),
        Some("regrole") => *expr = call("regrole", take(inside)),
        Some("regproc" | "regprocedure") => *expr = call("regproc", take(inside)),
        Some("oid" | "xid" | "cid") => {
            for kind in ["regclass", "regtype", "regnamespace"] {
                rename_call(inside, kind, &format!("{kind}_oid"));
            }
            // An OID goes on as a number: whatever it is compared with is one too.
            *data_type = DataType::BigInt(None);
        }
        Some("text" | "name" | "char" | "varchar" | "bpchar" | "cstring" | "pg_node_tree" | "aclitem") => {
            for kind in ["regclass", "regtype", "regnamespace"] {
                rename_call(inside, &format!("{kind}_oid"), kind);
            }
            *data_type = DataType::Text;
        }
        _ => {}
    }
}

/// A literal or a parameter: what the client gives is a name to look up; a column is a number to be shown.
fn is_given(expr: &Expr) -> bool {
    match expr {
        Expr::Value(value) => matches!(value.value, Value::SingleQuotedString(_) | Value::EscapedStringLiteral(_) | Value::Placeholder(_)),
        Expr::Cast { expr, .. } | Expr::Nested(expr) => is_given(expr),
        _ => false,
    }
}

/// The last word of a type that the parser does not know, and of TEXT and REGCLASS, which it does.
fn type_word(data_type: &DataType) -> Option<String> {
    match data_type {
        DataType::Regclass => Some("regclass".to_owned()),
        DataType::Text => Some("text".to_owned()),
        DataType::Custom(name, _) => last_name(name),
        _ => None,
    }
}

/// `pg_catalog.int4` is `int4`, also as the item of an array.
fn strip_type(data_type: &mut DataType) {
    match data_type {
        DataType::Array(ArrayElemTypeDef::SquareBracket(item, _)) => strip_type(item),
        DataType::Custom(name, modifiers) if name.0.len() > 1 || modifiers.is_empty() => {
            let known = match last_name(name).as_deref() {
                Some("bool") => DataType::Boolean,
                Some("int2") => DataType::SmallInt(None),
                Some("int4") => DataType::Int(None),
                Some("int8") => DataType::BigInt(None),
                Some("float4") => DataType::Real,
                Some("float8") => DataType::DoublePrecision,
                Some("timestamptz") => DataType::Timestamp(None, ast::TimezoneInfo::Tz),
                _ => return,
            };
            *data_type = known;
        }
        _ => {}
    }
}

/// `unnest`, `generate_series` and `pg_options_to_table` in FROM over a column of a system relation: an empty relation of the same columns.
fn rewrite_table_function(factor: &mut TableFactor) {
    let (name, alias, over_columns) = match factor {
        TableFactor::Table { name, alias, args: Some(args), .. } => {
            strip_schema(name);
            (name.to_string().to_lowercase(), alias.clone(), args.args.iter().filter_map(argument).any(has_column))
        }
        TableFactor::UNNEST { alias, array_exprs, .. } => ("unnest".to_owned(), alias.clone(), array_exprs.iter().any(has_column)),
        _ => return,
    };
    if !over_columns || !matches!(name.as_str(), "unnest" | "generate_series" | "pg_options_to_table") {
        return;
    }
    let column = alias.as_ref().map_or(name.as_str(), |a| a.columns.first().map_or(a.name.value.as_str(), |c| c.name.value.as_str()));
    let columns = match name.as_str() {
        "pg_options_to_table" => "CAST('' AS TEXT) AS option_name, CAST('' AS TEXT) AS option_value".to_owned(),
        "generate_series" => format!("CAST(0 AS BIGINT) AS \"{column}\""),
        _ => format!("CAST('' AS TEXT) AS \"{column}\""),
    };
    if let Some(query) = parsed(&format!("SELECT {columns} WHERE false")) {
        let alias = alias.map(|a| ast::TableAlias { columns: Vec::new(), ..a });
        *factor = TableFactor::Derived { lateral: false, subquery: query, alias, sample: None };
    }
}

fn has_column(expr: &Expr) -> bool {
    let is_column = |e: &Expr| match e {
        Expr::Identifier(_) | Expr::CompoundIdentifier(_) => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    };
    ast::visit_expressions(expr, is_column).is_break()
}

/// Turns the one result column of `query` into an aggregate of it. An `ORDER BY` goes into it where the aggregate makes an array.
fn aggregate_with(query: &mut Query, aggregate: &str) {
    let order = query.order_by.take();
    let SetExpr::Select(select) = query.body.as_mut() else {
        query.order_by = order;
        return;
    };
    if is_aggregated(select) || query.limit_clause.is_some() {
        query.order_by = order;
        return;
    }
    let [SelectItem::UnnamedExpr(item) | SelectItem::ExprWithAlias { expr: item, .. }] = select.projection.as_mut_slice() else { return };
    let value = take(item);
    let mut made = call(aggregate, value.clone());
    if let (Some(_), Expr::Function(Function { args: FunctionArguments::List(list), .. }), "array_agg") = (order, &mut made, aggregate) {
        let by = ast::OrderByExpr { expr: value, options: ast::OrderByOptions { asc: None, nulls_first: None }, with_fill: None };
        list.clauses.push(ast::FunctionArgumentClause::OrderBy(vec![by]));
    }
    *item = made;
}

/// True if `query` reads at least one relation, and system relations only.
fn reads_system_only(query: &Query) -> bool {
    let mut reader = Reader::default();
    let _: ControlFlow<()> = Visit::visit(query, &mut reader);
    reader.system > 0 && reader.others == 0
}

#[derive(Default)]
struct Reader {
    system: usize,
    others: usize,
}

impl Visitor for Reader {
    type Break = ();

    fn pre_visit_relation(&mut self, name: &ObjectName) -> ControlFlow<()> {
        let bare = last_name(name).unwrap_or_default();
        if relations().any(|r| r.name == bare) {
            self.system += 1;
        } else if !matches!(bare.as_str(), "unnest" | "generate_series" | "pg_options_to_table") {
            self.others += 1;
        }
        ControlFlow::Continue(())
    }
}

fn strip_schema(name: &mut ObjectName) {
    if let [ObjectNamePart::Identifier(schema), _] = name.0.as_slice()
        && schema.value.eq_ignore_ascii_case("pg_catalog")
    {
        name.0.remove(0);
    }
}

fn last_name(name: &ObjectName) -> Option<String> {
    match name.0.last()? {
        ObjectNamePart::Identifier(ident) => Some(ident.value.to_lowercase()),
        ObjectNamePart::Function(_) => None,
    }
}

fn argument(argument: &FunctionArg) -> Option<&Expr> {
    match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) | FunctionArg::Named { arg: FunctionArgExpr::Expr(expr), .. } => Some(expr),
        _ => None,
    }
}

fn literal(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text), .. }) => Some(text.clone()),
        _ => None,
    }
}

fn text(value: Option<String>) -> Expr {
    Expr::value(value.map_or(Value::Null, Value::SingleQuotedString))
}

fn call(name: &str, argument: Expr) -> Expr {
    let list = FunctionArgumentList {
        duplicate_treatment: None,
        args: vec![FunctionArg::Unnamed(FunctionArgExpr::Expr(argument))],
        clauses: Vec::new(),
    };
    Expr::Function(Function {
        name: ObjectName(vec![ObjectNamePart::Identifier(Ident::new(name))]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(list),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

pub(super) fn call_name(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Function(function) => last_name(&function.name),
        _ => None,
    }
}

fn rename_call(expr: &mut Expr, from: &str, to: &str) {
    if call_name(expr).as_deref() == Some(from)
        && let Expr::Function(function) = expr
    {
        function.name = ObjectName(vec![ObjectNamePart::Identifier(Ident::new(to))]);
    }
}

fn take(expr: &mut Expr) -> Expr {
    std::mem::replace(expr, Expr::value(Value::Null))
}

fn parsed(sql: &str) -> Option<Box<Query>> {
    match Parser::parse_sql(&PostgreSqlDialect {}, sql).ok()?.pop()? {
        ast::Statement::Query(query) => Some(query),
        _ => None,
    }
}

fn empty_query() -> Box<Query> {
    parsed("SELECT NULL").expect("a fixed text that parses")
}
