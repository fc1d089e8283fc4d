//! The incremental operators: each takes changes and gives changes, one file an operator.
#![deny(unsafe_code)]

mod operator;
mod plan;

pub use operator::{DueTime, Finished, Operator, OperatorSpec, Output, StatePlace, Step};
pub use plan::{Bound, Input, Plan, PlanNode, Properties};
