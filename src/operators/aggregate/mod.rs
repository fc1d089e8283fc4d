//! Aggregate: one row a group, kept right as the input changes; over windows, groups are forgotten as time passes.

mod aggregation;
#[cfg(test)]
mod batch_tests;
mod call;
mod difference;
mod groups;
mod intake;
mod layout;
mod multiset;
mod partial;
mod places;
mod routing;
#[cfg(test)]
mod tests;
mod worker;

use arrow::datatypes::SchemaRef;
use headwater_types::{Error, Result};

use crate::window::Windows;
use crate::{Operator, OperatorSpec, StatePlace};

use aggregation::Aggregation;
use groups::Kept;

pub use call::AggregateCall;

/// Groups by columns of the input. Output: the group columns in their order, then one column an aggregate call.
///
/// With a window key, a group is closed once the watermark of that column passes it: later changes are refused as late, and its state is forgotten.
/// Without group columns there is always exactly one row.
#[derive(Debug, Clone)]
pub struct Aggregate {
    input: SchemaRef,
    groups: Vec<usize>,
    calls: Vec<AggregateCall>,
    schema: SchemaRef,
    input_append_only: bool,
    window_key: Option<usize>,
    window_end: Option<(usize, Windows)>,
    emit_on_close: bool,
}

impl Aggregate {
    /// `groups` are column indices of `input`, `calls` were made for it; `schema` has the group columns and the calls' results.
    /// `input_append_only` says that no row of the input is ever deleted: more aggregates are possible, with less state.
    ///
    /// # Errors
    /// `Unsupported`: an aggregate that cannot be kept over changes (named). `Bug`: another number of output columns.
    pub fn new(
        input: SchemaRef,
        groups: Vec<usize>,
        calls: Vec<AggregateCall>,
        schema: SchemaRef,
        input_append_only: bool,
    ) -> Result<Self> {
        if schema.fields().len() != groups.len() + calls.len() {
            return Err(Error::bug("an aggregate's output has its groups and its calls"));
        }
        let aggregate = Self { input, groups, calls, schema, input_append_only, window_key: None, window_end: None, emit_on_close: false };
        aggregate.kept()?;
        Ok(aggregate)
    }

    /// Each call with how it is kept.
    fn kept(&self) -> Result<Vec<Kept>> {
        let keep = |call: &AggregateCall| {
            let method = call.method(&self.input, self.input_append_only)?;
            Ok(Kept { call: call.clone(), method, types: call.argument_types(&self.input)? })
        };
        self.calls.iter().map(keep).collect()
    }

    /// Groups close as the watermark of group column `group` (an index into the groups; `Timestamp(us)`) passes.
    #[must_use]
    pub fn with_window_key(mut self, group: usize) -> Self {
        self.window_key = Some(group);
        self
    }

    /// Group column `group` is the end of the `windows` that start at the window key: it is computed instead of kept, and carries a watermark too.
    #[must_use]
    pub fn with_window_end(mut self, group: usize, windows: Windows) -> Self {
        self.window_end = Some((group, windows));
        self
    }

    /// Emits each group once, when it closes, instead of correcting it as data arrives. Needs a window key.
    #[must_use]
    pub fn with_emit_on_close(mut self) -> Self {
        self.emit_on_close = true;
        self
    }

    /// The output columns that carry a watermark: the window key, and the window's end if it is computed from it.
    #[must_use]
    pub fn watermarked(&self) -> Vec<usize> {
        self.window_key.iter().copied().chain(self.window_end.iter().map(|e| e.0)).collect()
    }

    /// True if no row of the output is ever deleted.
    #[must_use]
    pub fn is_append_only(&self) -> bool {
        self.emit_on_close
    }

    /// The output columns that no two rows share.
    #[must_use]
    pub fn key(&self) -> Vec<usize> {
        (0..self.groups.len()).filter(|g| self.window_end.as_ref().is_none_or(|e| e.0 != *g)).collect()
    }
}

impl OperatorSpec for Aggregate {
    fn name(&self) -> &'static str {
        "Aggregate"
    }

    fn closing_column(&self) -> Option<usize> {
        self.window_key.map(|key| self.groups[key])
    }

    fn describe(&self) -> String {
        let names: Vec<&str> = self.groups.iter().map(|&g| self.input.field(g).name().as_str()).collect();
        let calls: Vec<String> = self.calls.iter().map(ToString::to_string).collect();
        let close = if self.emit_on_close { ", emitted on close" } else { "" };
        let key = self.window_key.map_or_else(String::new, |k| format!(", closed by {}", names[k]));
        format!("{} by ({}){key}{close}", calls.join(", "), names.join(", "))
    }

    fn fingerprint(&self) -> String {
        let types = crate::operator::types_of(&self.schema);
        format!("{} {:?} {} ({types})", self.describe(), self.window_end, self.input_append_only)
    }

    fn open(&self, place: &mut StatePlace) -> Result<Box<dyn Operator>> {
        Ok(Box::new(Aggregation::open(self, place)?))
    }
}
