//! The types of `$1` … that their casts tell: PostgreSQL reads `$1::int` as a parameter of the type integer.

use std::ops::ControlFlow;

use datafusion::arrow::datatypes::DataType;
use datafusion::sql::sqlparser::ast::{self, Expr, Query, Value, ValueWithSpan};

use crate::types::field;

/// Fills those of `types` (`$1` first) that are missing and stand in a cast in `query`; the first cast of each decides.
pub(crate) fn typed_by_casts(query: &Query, types: &mut Vec<Option<DataType>>) {
    let look = |expr: &Expr| {
        if let Expr::Cast { expr: inside, data_type, .. } = expr
            && let (Some(number), Ok(field)) = (placeholder(inside), field(data_type))
        {
            if types.len() < number {
                types.resize(number, None);
            }
            types[number - 1].get_or_insert_with(|| field.data_type().clone());
        }
        ControlFlow::<()>::Continue(())
    };
    let _: ControlFlow<()> = ast::visit_expressions(query, look);
}

/// The number of a parameter, from 1; as many as the protocol can count.
fn placeholder(expr: &Expr) -> Option<usize> {
    let Expr::Value(ValueWithSpan { value: Value::Placeholder(name), .. }) = expr else { return None };
    name.strip_prefix('$')?.parse().ok().filter(|n| (1..=usize::from(u16::MAX)).contains(n))
}
