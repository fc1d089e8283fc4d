//! Which conversion makes a value of one type one of another: ours where Arrow's cast differs from PostgreSQL's.

use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::expr::Cast;
use datafusion::logical_expr::{Expr, ExprSchemable};

use crate::functions::{Arithmetic, Conversion, Convert};

/// The type of `expr`; of a chain of integer operators without typing it again.
pub(crate) fn type_of(expr: &Expr, schema: &DFSchema) -> Result<DataType> {
    Arithmetic::result_type(expr).map_or_else(|| expr.get_type(schema), Ok)
}

pub(crate) fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

/// The conversion to use instead of Arrow's cast, where that differs.
pub(crate) fn conversion(from: &DataType, to: &DataType) -> Option<Conversion> {
    let differs = match to {
        _ if from == to || from.is_null() => false,
        DataType::Utf8 => matches!(
            from,
            DataType::Timestamp(..)
                | DataType::Float32
                | DataType::Float64
                | DataType::Interval(_)
                | DataType::Binary
                | DataType::FixedSizeBinary(16)
                | DataType::Time64(_)
                | DataType::List(_)
        ),
        DataType::Int16 | DataType::Int32 | DataType::Int64 => is_text(from) || (from.is_numeric() && !holds_integers(to, from)),
        DataType::Decimal128(..) => is_text(from) || (from.is_numeric() && !holds_decimals(to, from)),
        DataType::Float32 | DataType::Float64 => is_text(from) || from.is_decimal(),
        DataType::Boolean | DataType::Date32 | DataType::Binary => is_text(from),
        DataType::Time64(TimeUnit::Microsecond) | DataType::Timestamp(TimeUnit::Microsecond, _) | DataType::Interval(_) => is_text(from),
        DataType::FixedSizeBinary(16) | DataType::List(_) => is_text(from),
        _ => false,
    };
    differs.then(|| Conversion::To(to.clone()))
}

/// True if every value of the integer type `from` is one of `to`.
fn holds_integers(to: &DataType, from: &DataType) -> bool {
    from.is_signed_integer() && from.primitive_width() <= to.primitive_width()
}

/// True if every value of `from` is one of the numeric type `to`.
fn holds_decimals(to: &DataType, from: &DataType) -> bool {
    let DataType::Decimal128(precision, scale) = to else { return false };
    let whole = i16::from(*precision) - i16::from(*scale);
    match from {
        DataType::Decimal128(p, s) => s <= scale && i16::from(*p) - i16::from(*s) <= whole,
        DataType::Int16 => whole >= 5,
        DataType::Int32 => whole >= 10,
        DataType::Int64 => whole >= 19,
        _ => false,
    }
}

/// `expr`, of type `from`, as one of type `to`.
pub(crate) fn converted(expr: Expr, from: &DataType, to: &DataType) -> Expr {
    match conversion(from, to) {
        Some(conversion) => Convert::call(conversion, expr),
        None if from == to => expr,
        None => Expr::Cast(Cast::new(Box::new(expr), to.clone())),
    }
}
