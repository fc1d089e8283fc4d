//! The incremental operators: each takes changes and gives changes, one file an operator.
#![deny(unsafe_code)]

mod aggregate;
mod constant;
mod distinct;
mod expressions;
mod filter;
mod functions;
mod hop;
mod join;
mod kernels;
mod operator;
mod plan;
mod project;
#[cfg(test)]
mod testing;
mod union;
mod window;

pub use aggregate::{Aggregate, AggregateCall};
pub use constant::Constant;
pub use distinct::Distinct;
pub use expressions::checked;
pub use filter::Filter;
pub use functions::{aggregate_functions, register, scalar_functions};
pub use hop::Hop;
pub use join::Join;
pub use operator::{DueTime, Finished, Operator, OperatorSpec, Output, StatePlace, Stateless, Step};
pub use plan::{Bound, Input, Plan, PlanNode, Properties};
pub use project::{Project, WatermarkFrom};
pub use union::Union;
pub use window::{Edge, Windows};
