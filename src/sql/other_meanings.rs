//! What the batch engine reads otherwise than PostgreSQL, or passes over: refused by name, so that nobody gets another result unasked.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Function, Ident, Query, Select, SelectItem, SetExpr, Spanned, Statement as Sql, TableAlias, TableFactor,
    UnaryOperator, Value, ValueWithSpan, Visit, Visitor,
};
use datafusion::sql::sqlparser::tokenizer::Span;
use headwater_types::{Error, Result};

use crate::dialect::row_values;
use crate::parser::{SourceText, at, syntax};

type Walked = ControlFlow<Box<Error>>;

/// # Errors
/// `Unsupported`, naming the construct, with its place in `text`; `Invalid` (42601) for what is none of PostgreSQL's syntax.
pub(crate) fn refuse(statement: &Sql, text: &SourceText) -> Result<()> {
    match Visit::visit(statement, &mut Refuser { text }) {
        ControlFlow::Break(error) => Err(*error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

struct Refuser<'a> {
    text: &'a SourceText,
}

impl Refuser<'_> {
    fn no(&self, construct: &str, span: Span) -> Walked {
        self.not(Error::unsupported(format!("{construct} is not supported")), span)
    }

    fn not(&self, error: Error, span: Span) -> Walked {
        ControlFlow::Break(Box::new(at(error, self.text.place(span))))
    }

    /// sqlparser takes a text behind an expression or relation for its name.
    fn check_name(&self, name: &Ident, named: Span) -> Walked {
        if name.quote_style != Some('\'') {
            return ControlFlow::Continue(());
        }
        let written = format!("'{}'", name.value.replace('\'', "''"));
        let place = self.text.find(named.end, &written);
        let error = syntax(format!("syntax error at or near \"{written}\"")).with_hint("names are written in double quotes");
        ControlFlow::Break(Box::new(at(error, place)))
    }

    fn check_alias(&self, alias: Option<&TableAlias>, factor: &TableFactor) -> Walked {
        alias.map_or(ControlFlow::Continue(()), |alias| self.check_name(&alias.name, factor.span()))
    }

    fn check_function(&self, function: &Function, span: Span) -> Walked {
        match function.name.to_string().to_lowercase().as_str() {
            // DataFusion's second name of `to_char`, whose patterns are other ones than PostgreSQL's.
            "date_format" => self.no(&format!("function {}", function.name), span),
            "generate_series" => {
                let error = Error::unsupported("generate_series outside of FROM is not supported");
                self.not(error.with_hint("SELECT n FROM generate_series(1, 3) AS n"), span)
            }
            _ => ControlFlow::Continue(()),
        }
    }
}

impl Visitor for Refuser<'_> {
    type Break = Box<Error>;

    fn pre_visit_query(&mut self, query: &Query) -> Walked {
        if !query.locks.is_empty() {
            return self.no("locking rows with FOR UPDATE or FOR SHARE", query.span());
        }
        let (word, statement) = match query.body.as_ref() {
            SetExpr::Insert(statement) => ("INSERT", statement),
            SetExpr::Update(statement) => ("UPDATE", statement),
            SetExpr::Delete(statement) => ("DELETE", statement),
            SetExpr::Merge(statement) => ("MERGE", statement),
            _ => return ControlFlow::Continue(()),
        };
        let (construct, hint) = match (&query.with, word) {
            (Some(_), "INSERT") => (format!("WITH … {word}"), "INSERT INTO t WITH x AS (…) SELECT … FROM x"),
            (Some(_), _) => (format!("WITH … {word}"), "put the query into WHERE column IN (SELECT …)"),
            (None, _) => (format!("{word} inside a query"), "two statements in one block: BEGIN; …; COMMIT"),
        };
        self.not(Error::unsupported(format!("{construct} is not supported")).with_hint(hint), statement.span())
    }

    fn pre_visit_select(&mut self, select: &Select) -> Walked {
        if select.top.is_some() {
            let error = Error::unsupported("SELECT TOP is not supported").with_hint("SELECT … LIMIT 1");
            return self.not(error, select.select_token.0.span);
        }
        if let Some(into) = &select.into {
            let error = Error::unsupported("SELECT … INTO is not supported");
            return self.not(error.with_hint("CREATE TABLE t (…), then INSERT INTO t SELECT …"), into.name.span());
        }
        let mut named = select.projection.iter().filter_map(|item| match item {
            SelectItem::ExprWithAlias { expr, alias } => Some((expr, alias)),
            _ => None,
        });
        named.try_for_each(|(expr, alias)| self.check_name(alias, expr.span()))
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> Walked {
        match factor {
            TableFactor::Table { sample: Some(_), .. } | TableFactor::Derived { sample: Some(_), .. } => {
                self.no("TABLESAMPLE", factor.span())
            }
            TableFactor::Table { with_ordinality: true, .. }
            | TableFactor::Function { with_ordinality: true, .. }
            | TableFactor::UNNEST { with_ordinality: true, .. } => self.no("WITH ORDINALITY", factor.span()),
            TableFactor::Table { alias, .. } | TableFactor::Derived { alias, .. } => self.check_alias(alias.as_ref(), factor),
            _ => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> Walked {
        match expr {
            Expr::Function(function) => self.check_function(function, expr.span()),
            Expr::BinaryOp { op, .. } => match json_operator(op) {
                Some(operator) => self.no(&format!("operator {operator}"), expr.span()),
                None => ControlFlow::Continue(()),
            },
            Expr::UnaryOp { op, expr: operand } if !is_known(op) => {
                let error = Error::unsupported(format!("operator {op} is not supported"));
                let place = self.text.find_before(operand.span().start, &op.to_string());
                ControlFlow::Break(Box::new(at(error, place)))
            }
            Expr::Substring { substring_from: Some(from), shorthand: false, .. } if is_text(from) => {
                self.no("substring with a regular expression", expr.span())
            }
            Expr::Collate { collation, .. } => self.no(&format!("COLLATE {collation}"), collation.span()),
            Expr::RLike { .. } => self.no("RLIKE", expr.span()),
            Expr::Like { escape_char: Some(escape), .. } | Expr::ILike { escape_char: Some(escape), .. }
                if !is_backslash(&escape.value) =>
            {
                self.no("LIKE with another ESCAPE than a backslash", escape.span)
            }
            Expr::Like { any: true, .. } | Expr::ILike { any: true, .. } => self.no("LIKE ANY", expr.span()),
            Expr::InSubquery { expr: value, .. } | Expr::AnyOp { left: value, .. } | Expr::AllOp { left: value, .. }
                if row_values::parts(value).is_some() =>
            {
                let error = Error::unsupported("comparing a row (a, b) with the rows of a query is not supported");
                self.not(error.with_hint("EXISTS (SELECT … WHERE x = a AND y = b)"), expr.span())
            }
            _ => ControlFlow::Continue(()),
        }
    }
}

fn is_known(op: &UnaryOperator) -> bool {
    matches!(op, UnaryOperator::Plus | UnaryOperator::Minus | UnaryOperator::Not | UnaryOperator::BitwiseNot)
}

/// The one character that escapes in a pattern here.
fn is_backslash(value: &Value) -> bool {
    matches!(value, Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text) if text == "\\")
}

fn is_text(expr: &Expr) -> bool {
    matches!(expr, Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(_) | Value::EscapedStringLiteral(_), .. }))
}

/// The operators that look into JSON.
fn json_operator(op: &BinaryOperator) -> Option<&BinaryOperator> {
    use BinaryOperator as B;
    let looks_into = matches!(op, B::Arrow | B::LongArrow | B::HashArrow | B::HashLongArrow | B::HashMinus | B::AtQuestion | B::AtAt);
    looks_into.then_some(op)
}
