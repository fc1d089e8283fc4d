//! Names under which our own readings of the SQL pass through DataFusion's planner.

/// The field of an EXTRACT that stands for a literal of type `integer`: the one form that DataFusion lets us plan as we like. A cast would hide
/// from functions and frames that there is a literal.
pub(crate) const INTEGER: &str = "\u{1}integer";

/// What stands before the type in the name of a function that casts.
pub(crate) const CAST_TO: &str = "cast to ";
