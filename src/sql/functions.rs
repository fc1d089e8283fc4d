//! Functions that stand in for operators and casts where PostgreSQL's results differ from DataFusion's.

mod arithmetic;
mod convert;
mod render;

pub(crate) use arithmetic::{Arithmetic, IntegerOperator};
pub(crate) use convert::{Conversion, Convert, varchar};
