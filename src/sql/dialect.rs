//! Puts what PostgreSQL means by some expressions into words that mean the same to DataFusion, and refuses those that it would take otherwise.

pub(crate) mod row_values;

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CastKind, DataType, DateTimeField, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList,
    FunctionArguments, Ident, Interval, JoinConstraint, JoinOperator, LimitClause, ObjectName, Query, Select, SetExpr, SetOperator,
    SetQuantifier, TableAlias, TableAliasColumnDef, TableFactor, TimezoneInfo, UnaryOperator, Value, ValueWithSpan, visit_expressions,
};
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Span;
use headwater_types::{Error, Result};

use crate::functions::parse_interval;
use crate::marks::{CAST_TO, INTEGER};
use crate::parser::DIALECT;

/// # Errors
/// `Unsupported`: a set operation, join or table function of `query` that DataFusion takes for something else.
pub(crate) fn check(query: &Query) -> Result<()> {
    check_body(&query.body)
}

fn check_body(body: &SetExpr) -> Result<()> {
    match body {
        SetExpr::Select(select) => check_from(select),
        SetExpr::SetOperation { op: op @ (SetOperator::Intersect | SetOperator::Except), set_quantifier: SetQuantifier::All, .. } => {
            Err(Error::unsupported(format!("{op} ALL is not supported")).with_hint(format!("{op}, which gives each row once")))
        }
        SetExpr::SetOperation { left, right, .. } => check_body(left).and_then(|()| check_body(right)),
        _ => Ok(()),
    }
}

fn check_from(select: &Select) -> Result<()> {
    for from in &select.from {
        check_factor(&from.relation)?;
        for join in &from.joins {
            check_factor(&join.relation)?;
            check_join(&join.join_operator)?;
        }
    }
    Ok(())
}

/// DataFusion takes a column of USING from the left side, which has NULL there for rows of the right one alone.
fn check_join(operator: &JoinOperator) -> Result<()> {
    use JoinConstraint::{Natural, Using};
    let (join, hint) = match operator {
        JoinOperator::FullOuter(Using(_) | Natural) => ("FULL", "FULL JOIN b ON a.x = b.x, and coalesce(a.x, b.x)"),
        JoinOperator::Right(Using(_) | Natural) | JoinOperator::RightOuter(Using(_) | Natural) => ("RIGHT", "RIGHT JOIN b ON a.x = b.x"),
        _ => return Ok(()),
    };
    Err(Error::unsupported(format!("{join} JOIN with USING or NATURAL is not supported")).with_hint(hint))
}

fn check_factor(factor: &TableFactor) -> Result<()> {
    match factor {
        TableFactor::UNNEST { array_exprs, .. } if !array_exprs.iter().all(is_constant) => {
            Err(Error::unsupported("UNNEST of a column in FROM is not supported").with_hint("SELECT unnest(column) FROM …"))
        }
        _ => Ok(()),
    }
}

/// `FETCH FIRST 3 ROWS ONLY` is `LIMIT 3`.
///
/// # Errors
/// `Unsupported`: WITH TIES, PERCENT; `Invalid` (42601): both words.
pub(crate) fn fetch_as_limit(query: &mut Query) -> Result<()> {
    let Some(fetch) = query.fetch.take() else { return Ok(()) };
    if fetch.with_ties || fetch.percent {
        let option = if fetch.with_ties { "WITH TIES" } else { "PERCENT" };
        return Err(Error::unsupported(format!("FETCH FIRST … {option} is not supported")).with_hint("FETCH FIRST … ROWS ONLY"));
    }
    let wanted = Some(fetch.quantity.unwrap_or_else(|| number("1")));
    match &mut query.limit_clause {
        Some(LimitClause::LimitOffset { limit: limit @ None, .. }) => *limit = wanted,
        None => query.limit_clause = Some(LimitClause::LimitOffset { limit: wanted, offset: None, limit_by: Vec::new() }),
        Some(_) => return Err(Error::invalid("LIMIT and FETCH FIRST cannot stand together").with_sqlstate("42601")),
    }
    Ok(())
}

/// Names the column of `generate_series(…) AS n` and `unnest(…) AS n` as PostgreSQL does: by the alias, or by the function.
pub(crate) fn name_column(factor: &mut TableFactor) {
    let (name, alias) = match factor {
        TableFactor::Table { name, args: Some(_), alias, .. } => (name.to_string().to_lowercase(), alias),
        TableFactor::UNNEST { array_exprs, alias, .. } if array_exprs.len() == 1 => ("unnest".to_owned(), alias),
        _ => return,
    };
    if !matches!(name.as_str(), "generate_series" | "unnest") {
        return;
    }
    let alias = alias.get_or_insert_with(|| TableAlias { explicit: true, name: Ident::new(name), columns: Vec::new(), at: None });
    if alias.columns.is_empty() {
        alias.columns.push(TableAliasColumnDef { name: alias.name.clone(), data_type: None });
    }
}

/// True for an expression without columns and queries.
fn is_constant(expr: &Expr) -> bool {
    let found = visit_expressions(expr, |inside| match inside {
        Expr::Identifier(_) | Expr::CompoundIdentifier(_) | Expr::Subquery(_) | Expr::Exists { .. } | Expr::InSubquery { .. } => {
            ControlFlow::Break(())
        }
        _ => ControlFlow::Continue(()),
    });
    found.is_continue()
}

/// Rewrites `expr` before what is inside it.
///
/// # Errors
/// `Invalid`: an interval that is none; `Unsupported`: a pattern that is not known yet.
pub(crate) fn before(expr: &mut Expr) -> Result<()> {
    match expr {
        Expr::Interval(interval) => interval_in_plain_units(interval)?,
        Expr::AtTimeZone { timestamp, time_zone } => *expr = call("timezone", vec![taken(time_zone), taken(timestamp)]),
        Expr::UnaryOp { op: UnaryOperator::Minus, expr: inside } => {
            // A sign belongs to the number that is raised to a power.
            if let Expr::BinaryOp { op: BinaryOperator::PGExp, .. } = inside.as_ref() {
                let mut power = taken(inside);
                let base = leftmost(&mut power);
                *base = Expr::UnaryOp { op: UnaryOperator::Minus, expr: Box::new(std::mem::replace(base, null())) };
                *expr = power;
            }
        }
        Expr::SimilarTo { negated, expr: text, pattern, escape_char } => {
            let regex = match (pattern.as_ref(), escape_char) {
                (Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(pattern), .. }), None) => similar(pattern),
                (_, None) => return Err(Error::unsupported("SIMILAR TO with a pattern that is no literal is not supported")),
                (_, Some(_)) => return Err(Error::unsupported("SIMILAR TO with ESCAPE is not supported")),
            };
            let op = if *negated { BinaryOperator::PGRegexNotMatch } else { BinaryOperator::PGRegexMatch };
            let matches = Expr::BinaryOp { left: Box::new(taken(text)), op, right: Box::new(string(regex)) };
            *expr = Expr::Nested(Box::new(matches));
        }
        Expr::UnaryOp { op: UnaryOperator::BitwiseNot, expr: inside } => {
            let ones = Expr::UnaryOp { op: UnaryOperator::Minus, expr: Box::new(number("1")) };
            *expr = Expr::BinaryOp { left: Box::new(taken(inside)), op: BinaryOperator::PGBitwiseXor, right: Box::new(ones) };
        }
        Expr::Value(ValueWithSpan { value, .. }) => plain_text(value),
        Expr::Function(_) => known_function(expr),
        Expr::AnyOp { right, .. } | Expr::AllOp { right, .. } => rename_inside(right),
        Expr::InSubquery { expr: value, subquery, negated: true } if is_constant(value) => {
            let mut right = Box::new(Expr::Subquery(subquery.clone()));
            rename_inside(&mut right);
            *expr = Expr::AllOp { left: Box::new(taken(value)), compare_op: BinaryOperator::NotEq, right };
        }
        _ => row_values::take_apart(expr)?,
    }
    Ok(())
}

/// `U&'\0041'` and `N'a'` are texts once they are read.
fn plain_text(value: &mut Value) {
    if let Value::UnicodeStringLiteral(text) | Value::NationalStringLiteral(text) = value {
        *value = Value::SingleQuotedString(std::mem::take(text));
    }
}

/// PostgreSQL's functions that DataFusion knows under another name.
fn known_function(expr: &mut Expr) {
    let Expr::Function(function) = expr else { return };
    let [name] = function.name.0.as_slice() else { return };
    let Some(name) = name.as_ident().filter(|ident| ident.quote_style.is_none()).map(|ident| ident.value.to_lowercase()) else { return };
    match (name.as_str(), &mut function.args) {
        ("every", _) => function.name = ObjectName::from(vec![Ident::new("bool_and")]),
        ("localtime", FunctionArguments::None) => *expr = call("current_time", Vec::new()),
        ("localtimestamp", FunctionArguments::None) => {
            let (now, data_type) = (Box::new(call("now", Vec::new())), DataType::Timestamp(None, TimezoneInfo::None));
            *expr = Expr::Cast { kind: CastKind::Cast, expr: now, data_type, array: false, format: None };
        }
        ("mod", FunctionArguments::List(list)) => {
            if let [FunctionArg::Unnamed(FunctionArgExpr::Expr(left)), FunctionArg::Unnamed(FunctionArgExpr::Expr(right))] =
                list.args.as_mut_slice()
            {
                *expr = Expr::BinaryOp { left: Box::new(taken(left)), op: BinaryOperator::Modulo, right: Box::new(taken(right)) };
            }
        }
        _ => {}
    }
}

/// Rewrites `expr` after what is inside it.
pub(crate) fn after(expr: &mut Expr) {
    if let Expr::Tuple(parts) = expr {
        *expr = call("row", std::mem::take(parts));
        return;
    }
    let Expr::Cast { kind: CastKind::Cast | CastKind::DoubleColon, expr: value, data_type, array: false, format: None } = expr else {
        return;
    };
    if is_literal(value) || crate::types::field(data_type).is_err() {
        return;
    }
    let name = format!("{CAST_TO}{}", plain_type(data_type));
    *expr = call(&name, vec![taken(value)]);
}

/// Literals and parameters take the type of a cast; whatever else is cast gets a name of its own.
fn is_literal(expr: &Expr) -> bool {
    match expr {
        Expr::Value(_) | Expr::TypedString(_) | Expr::Interval(_) => true,
        Expr::Extract { field: DateTimeField::Custom(name), .. } => name.value == INTEGER,
        Expr::Nested(inside) | Expr::Cast { expr: inside, .. } | Expr::UnaryOp { expr: inside, .. } => is_literal(inside),
        _ => false,
    }
}

fn plain_type(data_type: &DataType) -> String {
    data_type.to_string().to_lowercase()
}

fn null() -> Expr {
    Expr::Value(ValueWithSpan { value: Value::Null, span: Span::empty() })
}

fn string(text: String) -> Expr {
    Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(text), span: Span::empty() })
}

fn number(digits: &str) -> Expr {
    Expr::Value(ValueWithSpan { value: Value::Number(digits.to_owned(), false), span: Span::empty() })
}

fn taken(expr: &mut Expr) -> Expr {
    std::mem::replace(expr, null())
}

fn call(name: &str, args: Vec<Expr>) -> Expr {
    let args = args.into_iter().map(|arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg))).collect();
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::with_quote('"', name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList { duplicate_treatment: None, args, clauses: Vec::new() }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

/// The base of `a ^ b ^ c`, which is read from the left.
fn leftmost(expr: &mut Expr) -> &mut Expr {
    if matches!(expr, Expr::BinaryOp { op: BinaryOperator::PGExp, .. })
        && let Expr::BinaryOp { left, .. } = expr
    {
        return leftmost(left);
    }
    expr
}

/// `INTERVAL '1 day 02:00'` as so many months, days and microseconds.
fn interval_in_plain_units(interval: &mut Interval) -> Result<()> {
    let text = match interval.value.as_ref() {
        Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(text) | Value::Number(text, _), .. }) => text.clone(),
        _ => return Ok(()),
    };
    if interval.last_field.is_some() || interval.leading_precision.is_some() || interval.fractional_seconds_precision.is_some() {
        return Err(Error::unsupported("INTERVAL with fields or precision is not supported").with_hint("INTERVAL '1 day 02:00:00'"));
    }
    let written = match &interval.leading_field {
        None => text.clone(),
        Some(_) if text.trim().parse::<f64>().is_err() => {
            return Err(Error::unsupported("INTERVAL with a unit both inside and behind the text is not supported"));
        }
        Some(unit) => format!("{text} {unit}"),
    };
    let Some(value) = parse_interval(&written) else {
        return Err(Error::invalid(format!("invalid input syntax for type interval: \"{text}\"")).with_sqlstate("22007"));
    };
    let plain = format!("{} months {} days {} microseconds", value.months, value.days, value.nanoseconds / 1_000);
    *interval = Interval {
        value: Box::new(string(plain)),
        leading_field: None,
        leading_precision: None,
        last_field: None,
        fractional_seconds_precision: None,
    };
    Ok(())
}

/// The pattern of SIMILAR TO, which is about the whole text, as a regular expression.
fn similar(pattern: &str) -> String {
    let mut regex = "(?s)^(?:".to_owned();
    let mut chars = pattern.chars();
    let mut in_class = false;
    while let Some(c) = chars.next() {
        match c {
            '\\' => {
                regex.push('\\');
                regex.extend(chars.next());
            }
            ']' => {
                in_class = false;
                regex.push(c);
            }
            c if in_class => regex.push(c),
            '[' => {
                in_class = true;
                regex.push(c);
            }
            '%' => regex.push_str(".*"),
            '_' => regex.push('.'),
            '.' | '^' | '$' => {
                regex.push('\\');
                regex.push(c);
            }
            c => regex.push(c),
        }
    }
    regex.push_str(")$");
    regex
}

/// Wraps a subquery that is compared with in another one: DataFusion takes its columns for those of the query around it where both read the same
/// relation.
fn rename_inside(right: &mut Expr) {
    let Expr::Subquery(subquery) = right else { return };
    let wrapped =
        Parser::new(&DIALECT).try_with_sql("SELECT * FROM (SELECT 1) AS \"compared$\"").and_then(|mut parser| parser.parse_query());
    let Ok(mut outer) = wrapped else { return };
    if let SetExpr::Select(select) = outer.body.as_mut()
        && let Some(TableFactor::Derived { subquery: inside, .. }) = select.from.first_mut().map(|from| &mut from.relation)
    {
        std::mem::swap(inside, subquery);
        *subquery = outer;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_about_the_whole_text() {
        assert_eq!(similar("a%_.b"), "(?s)^(?:a.*.\\.b)$");
        assert_eq!(similar("[%_]|x\\%"), "(?s)^(?:[%_]|x\\%)$");
    }
}
