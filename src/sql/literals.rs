//! Rewrites a parsed statement where PostgreSQL and DataFusion read the same words differently: literal types, column names, session functions.

use std::collections::HashSet;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    AccessExpr, CastKind, DataType, DateTimeField, Distinct, Expr, ExtractSyntax, FunctionArg, FunctionArgExpr, FunctionArguments,
    GroupByExpr, Ident, LimitClause, NamedWindowDefinition, NamedWindowExpr, ObjectNamePart, OrderByKind, Query, Select, SelectItem,
    SetExpr, Statement as Sql, Subscript, TableFactor, UnaryOperator, Value, ValueWithSpan, VisitMut, VisitorMut, WindowFrameBound,
    WindowSpec, WindowType,
};
use datafusion::sql::sqlparser::tokenizer::Span;
use headwater_types::{Error, Result};

use crate::dialect::row_values;
use crate::marks::INTEGER;
use crate::parser::folded;
use crate::{Settings, dialect};

/// Rewrites every query inside `statement`.
///
/// # Errors
/// `Unsupported`, naming a construct that would mean something else here; `Invalid`: an interval that is none.
pub(crate) fn rewrite(statement: &mut Sql, settings: &Settings) -> Result<()> {
    let mut rewriter = Rewriter { settings };
    finished(VisitMut::visit(statement, &mut rewriter))
}

/// The same for a lone expression.
///
/// # Errors
/// As [`rewrite`].
pub(crate) fn rewrite_expr(expr: &mut Expr, settings: &Settings) -> Result<()> {
    let mut rewriter = Rewriter { settings };
    finished(VisitMut::visit(expr, &mut rewriter))
}

fn finished(walked: ControlFlow<Error>) -> Result<()> {
    match walked {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

/// Stands between a column's name and a number where a name comes twice: plans need unique names, clients see what stands before it.
pub(crate) const AGAIN: char = '\u{1}';

struct Rewriter<'a> {
    settings: &'a Settings,
}

impl VisitorMut for Rewriter<'_> {
    type Break = Error;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
        if let Err(error) = dialect::check(query).and_then(|()| dialect::fetch_as_limit(query)) {
            return ControlFlow::Break(error);
        }
        name_columns(&mut query.body);
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Error> {
        dialect::name_column(factor);
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
        plain_positions(query);
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        match dialect::before(expr) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        if let Some(integer) = as_integer(expr) {
            *expr = integer;
        } else if let Some(value) = session_value(expr, self.settings) {
            *expr = value;
        } else if let Expr::Function(function) = expr {
            plain_arguments(&function.name.to_string().to_lowercase(), &mut function.args);
            if let Some(WindowType::WindowSpec(window)) = &mut function.over {
                plain_frame(window);
            }
        } else if let Expr::CompoundFieldAccess { access_chain, .. } = expr {
            access_chain.iter_mut().for_each(plain_subscript);
        } else {
            dialect::after(expr);
        }
        ControlFlow::Continue(())
    }
}

/// A number that PostgreSQL reads as `integer`, which DataFusion would read as bigint; with its sign.
fn as_integer(expr: &Expr) -> Option<Expr> {
    let text = match expr {
        Expr::Value(ValueWithSpan { value: Value::Number(text, _), .. }) => text.clone(),
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => format!("-{}", integer_text(expr)?),
        _ => return None,
    };
    if text.parse::<i32>().is_err() {
        return as_double(&text);
    }
    let number = Expr::Value(ValueWithSpan { value: Value::Number(text, false), span: Span::empty() });
    let field = DateTimeField::Custom(Ident::new(INTEGER));
    Some(Expr::Extract { field, syntax: ExtractSyntax::From, expr: Box::new(number) })
}

/// The digits of what [`as_integer`] made, if they have no sign yet.
fn integer_text(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Extract { field: DateTimeField::Custom(name), expr, .. } if name.value == INTEGER => match expr.as_ref() {
            Expr::Value(ValueWithSpan { value: Value::Number(text, _), .. }) if !text.starts_with('-') => Some(text),
            _ => None,
        },
        _ => None,
    }
}

/// A number with so great an exponent that no numeric of ours holds it, as double precision.
fn as_double(text: &str) -> Option<Expr> {
    let (digits, exponent) = text.split_once(['e', 'E'])?;
    let digits = digits.bytes().filter(u8::is_ascii_digit).count();
    let exponent = exponent.parse::<i64>().ok()?.unsigned_abs();
    if digits as u64 + exponent <= 38 {
        return None;
    }
    let value = Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(text.to_owned()), span: Span::empty() });
    Some(Expr::Cast { kind: CastKind::Cast, expr: Box::new(value), data_type: DataType::DoublePrecision, array: false, format: None })
}

/// Takes back what [`as_integer`] did.
fn plain_number(expr: &mut Expr) {
    if let Expr::Extract { field: DateTimeField::Custom(name), expr: number, .. } = expr
        && name.value == INTEGER
    {
        *expr = (**number).clone();
    }
}

/// Numbers of rows in a window's frame are plain.
fn plain_frame(window: &mut WindowSpec) {
    let Some(frame) = &mut window.window_frame else { return };
    for bound in std::iter::once(&mut frame.start_bound).chain(&mut frame.end_bound) {
        if let WindowFrameBound::Preceding(Some(offset)) | WindowFrameBound::Following(Some(offset)) = bound {
            plain_number(offset);
        }
    }
}

/// The places of elements in arrays are plain.
fn plain_subscript(access: &mut AccessExpr) {
    match access {
        AccessExpr::Subscript(Subscript::Index { index }) => plain_number(index),
        AccessExpr::Subscript(Subscript::Slice { lower_bound, upper_bound, stride }) => {
            [lower_bound, upper_bound, stride].into_iter().flatten().for_each(plain_number);
        }
        AccessExpr::Dot(_) => {}
    }
}

/// Functions whose result has the type of its arguments. Others may need their arguments to be literals, and take any integer type.
const TYPED_BY_ARGUMENTS: [&str; 16] = [
    "coalesce",
    "nullif",
    "greatest",
    "least",
    "min",
    "max",
    "sum",
    "avg",
    "array_agg",
    "first_value",
    "last_value",
    "abs",
    "make_array",
    "pg_typeof",
    "row",
    "sign",
];

fn plain_arguments(name: &str, args: &mut FunctionArguments) {
    let FunctionArguments::List(list) = args else { return };
    if TYPED_BY_ARGUMENTS.contains(&name) {
        return;
    }
    for arg in &mut list.args {
        if let FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) | FunctionArg::Named { arg: FunctionArgExpr::Expr(expr), .. } = arg {
            plain_number(expr);
        }
    }
}

/// Numbers that stand for positions and counts stay plain: LIMIT, OFFSET, ORDER BY 1, GROUP BY 1, DISTINCT ON (1).
fn plain_positions(query: &mut Query) {
    if let Some(order) = &mut query.order_by
        && let OrderByKind::Expressions(exprs) = &mut order.kind
    {
        exprs.iter_mut().for_each(|o| plain_number(&mut o.expr));
    }
    if let Some(LimitClause::LimitOffset { limit, offset, .. }) = &mut query.limit_clause {
        limit.iter_mut().for_each(plain_number);
        offset.iter_mut().for_each(|o| plain_number(&mut o.value));
    }
    each_select(&mut query.body, &mut |select| {
        if let GroupByExpr::Expressions(exprs, _) = &mut select.group_by {
            exprs.iter_mut().for_each(plain_number);
        }
        if let Some(Distinct::On(exprs)) = &mut select.distinct {
            exprs.iter_mut().for_each(plain_number);
        }
        for NamedWindowDefinition(_, window) in &mut select.named_window {
            if let NamedWindowExpr::WindowSpec(window) = window {
                plain_frame(window);
            }
        }
    });
}

fn each_select(body: &mut SetExpr, visit: &mut impl FnMut(&mut Select)) {
    match body {
        SetExpr::Select(select) => visit(select),
        SetExpr::SetOperation { left, right, .. } => {
            each_select(left, visit);
            each_select(right, visit);
        }
        _ => {}
    }
}

/// Gives unnamed columns the names they have in PostgreSQL; a name that comes again gets a number, since plans need unique ones.
fn name_columns(body: &mut SetExpr) {
    each_select(body, &mut |select| {
        if let GroupByExpr::Expressions(exprs, _) = &mut select.group_by {
            row_values::flatten(exprs);
        }
        let mut taken = HashSet::new();
        for item in &mut select.projection {
            let (expr, name) = match item {
                SelectItem::ExprWithAlias { expr, alias } => (expr, folded(alias)),
                // Where a name stands for a column, the plan's own name (with its relation) stays as long as it is unique.
                SelectItem::UnnamedExpr(Expr::Identifier(ident)) if !is_session_word(ident) && taken.insert(folded(ident)) => continue,
                SelectItem::UnnamedExpr(Expr::CompoundIdentifier(idents))
                    if idents.last().is_some_and(|last| taken.insert(folded(last))) =>
                {
                    continue;
                }
                SelectItem::UnnamedExpr(expr) => {
                    let name = column_name(expr);
                    (expr, name)
                }
                _ => continue,
            };
            let name = unique(name, &mut taken);
            *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias: Ident::with_quote('"', name) };
        }
    });
}

fn unique(name: String, taken: &mut HashSet<String>) -> String {
    let mut unique = name.clone();
    let mut number = 1;
    while !taken.insert(unique.clone()) {
        unique = format!("{name}{AGAIN}{number}");
        number += 1;
    }
    unique
}

/// The name PostgreSQL gives to the result of `expr` (its `FigureColname`).
fn column_name(expr: &Expr) -> String {
    match expr {
        Expr::Identifier(ident) => folded(ident),
        Expr::CompoundIdentifier(idents) => idents.last().map_or_else(unknown, folded),
        Expr::Nested(inside) | Expr::Collate { expr: inside, .. } => column_name(inside),
        Expr::Function(function) => match function.name.0.last() {
            Some(ObjectNamePart::Identifier(ident)) => folded(ident),
            _ => unknown(),
        },
        Expr::Cast { expr: inside, data_type, .. } => match column_name(inside) {
            name if name != unknown() => name,
            _ => short_type(data_type),
        },
        Expr::Case { .. } => "case".to_owned(),
        Expr::Exists { .. } => "exists".to_owned(),
        Expr::Extract { .. } => "extract".to_owned(),
        Expr::Substring { .. } => "substring".to_owned(),
        Expr::Trim { .. } => "btrim".to_owned(),
        Expr::Position { .. } => "position".to_owned(),
        Expr::Ceil { .. } => "ceil".to_owned(),
        Expr::Floor { .. } => "floor".to_owned(),
        Expr::Array(_) => "array".to_owned(),
        Expr::Tuple(_) => "row".to_owned(),
        Expr::Interval(_) => "interval".to_owned(),
        Expr::TypedString(typed) => short_type(&typed.data_type),
        _ => unknown(),
    }
}

fn unknown() -> String {
    "?column?".to_owned()
}

fn short_type(data_type: &DataType) -> String {
    match crate::types::field(data_type).map(|f| crate::type_names::type_name(f.data_type())) {
        Ok(name) => match name.as_str() {
            "smallint" => "int2".to_owned(),
            "integer" => "int4".to_owned(),
            "bigint" => "int8".to_owned(),
            "real" => "float4".to_owned(),
            "double precision" => "float8".to_owned(),
            "boolean" => "bool".to_owned(),
            "character varying" => "varchar".to_owned(),
            "timestamp without time zone" => "timestamp".to_owned(),
            "timestamp with time zone" => "timestamptz".to_owned(),
            "time without time zone" => "time".to_owned(),
            other => other.split('(').next().unwrap_or(other).to_owned(),
        },
        Err(_) => unknown(),
    }
}

/// True for what sqlparser takes for a column.
fn is_session_word(ident: &Ident) -> bool {
    ident.quote_style.is_none() && ["current_schema", "current_catalog", "current_role"].contains(&folded(ident).as_str())
}

/// The value of a function that asks who and where the session is.
fn session_value(expr: &Expr, settings: &Settings) -> Option<Expr> {
    let (ident, has_args) = match expr {
        Expr::Identifier(ident) if is_session_word(ident) => (ident, false),
        Expr::Function(function) => match (&function.args, function.name.0.last()?.as_ident()?) {
            (FunctionArguments::None, ident) => (ident, false),
            (FunctionArguments::List(list), ident) => (ident, !list.args.is_empty()),
            (FunctionArguments::Subquery(_), _) => return None,
        },
        _ => return None,
    };
    let value = match (folded(ident).as_str(), has_args) {
        ("current_user" | "session_user" | "user" | "current_role", false) => settings.user.clone(),
        ("current_database" | "current_catalog", false) => settings.database.clone(),
        ("current_schema", false) => "public".to_owned(),
        _ => return None,
    };
    Some(Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(value), span: Span::empty() }))
}
