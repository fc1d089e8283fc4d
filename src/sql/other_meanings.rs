//! What the batch engine reads otherwise than PostgreSQL, or passes over: refused by name, so that nobody gets another result unasked.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr, Query, Spanned, Statement as Sql, TableFactor, Visit, Visitor};
use datafusion::sql::sqlparser::tokenizer::Span;
use headwater_types::{Error, Result};

use crate::parser::{SourceText, at};

/// DataFusion's second name of `to_char`, whose patterns are other ones than PostgreSQL's.
const DATE_FORMAT: &str = "date_format";

/// # Errors
/// `Unsupported`, naming the construct, with its place in `text`.
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
    fn no(&self, construct: &str, span: Span) -> ControlFlow<Box<Error>> {
        ControlFlow::Break(Box::new(at(Error::unsupported(format!("{construct} is not supported")), self.text.place(span))))
    }
}

impl Visitor for Refuser<'_> {
    type Break = Box<Error>;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Self::Break> {
        if query.locks.is_empty() {
            return ControlFlow::Continue(());
        }
        self.no("locking rows with FOR UPDATE or FOR SHARE", query.span())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<Self::Break> {
        match factor {
            TableFactor::Table { sample: Some(_), .. } | TableFactor::Derived { sample: Some(_), .. } => {
                self.no("TABLESAMPLE", factor.span())
            }
            _ => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Self::Break> {
        match expr {
            Expr::Function(function) if function.name.to_string().eq_ignore_ascii_case(DATE_FORMAT) => {
                self.no(&format!("function {}", function.name), expr.span())
            }
            Expr::BinaryOp { op, .. } => match json_operator(op) {
                Some(operator) => self.no(&format!("operator {operator}"), expr.span()),
                None => ControlFlow::Continue(()),
            },
            _ => ControlFlow::Continue(()),
        }
    }
}

/// The operators that look into JSON.
fn json_operator(op: &BinaryOperator) -> Option<&BinaryOperator> {
    use BinaryOperator as B;
    let looks_into = matches!(op, B::Arrow | B::LongArrow | B::HashArrow | B::HashLongArrow | B::HashMinus | B::AtQuestion | B::AtAt);
    looks_into.then_some(op)
}
