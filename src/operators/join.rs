//! Join: pairs of rows with equal keys, over changes on both sides.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::physical_expr::PhysicalExpr;
use headwater_types::{Error, Result};

use crate::{Operator, OperatorSpec, StatePlace};

/// Inner join. Input 0 is the left side, 1 the right. Output: the left columns, then the right ones. NULL keys match nothing.
#[derive(Debug, Clone)]
pub struct Join {
    left: SchemaRef,
    right: SchemaRef,
    on: Vec<(usize, usize)>,
    residual: Option<Arc<dyn PhysicalExpr>>,
    schema: SchemaRef,
}

impl Join {
    /// Rows with equal `on` columns (left index, right index; of the same type, at least one pair) that also meet `residual`, a condition over the
    /// output `schema`: left columns, then right columns.
    ///
    /// # Errors
    /// `Unsupported`: no pair of key columns. `Bug`: key columns of different types, or another number of output columns.
    pub fn new(
        left: SchemaRef,
        right: SchemaRef,
        on: Vec<(usize, usize)>,
        residual: Option<Arc<dyn PhysicalExpr>>,
        schema: SchemaRef,
    ) -> Result<Self> {
        if on.is_empty() {
            return Err(Error::unsupported("a join without an equality between both sides is not supported in a view"));
        }
        if schema.fields().len() != left.fields().len() + right.fields().len() {
            return Err(Error::bug("a join's output has the columns of both sides"));
        }
        for &(l, r) in &on {
            if left.field(l).data_type() != right.field(r).data_type() {
                return Err(Error::bug(format!("join keys of different types: {} and {}", left.field(l), right.field(r))));
            }
        }
        Ok(Self { left, right, on, residual, schema })
    }

    /// The output columns that carry a watermark, given those of both sides: key columns that carry one on both.
    #[must_use]
    pub fn watermarked(&self, left: &[usize], right: &[usize]) -> Vec<usize> {
        let both = self.on.iter().filter(|(l, r)| left.contains(l) && right.contains(r));
        both.flat_map(|&(l, r)| [l, self.left.fields().len() + r]).collect()
    }

    /// A key of the output, given one of each side: both together; one side's alone where the other side's key is within the join columns.
    #[must_use]
    pub fn key(&self, left: Option<&[usize]>, right: Option<&[usize]>) -> Option<Vec<usize>> {
        let (left, right) = (left?, right?);
        let shifted = || right.iter().map(|r| r + self.left.fields().len());
        if right.iter().all(|r| self.on.iter().any(|on| on.1 == *r)) {
            return Some(left.to_vec());
        }
        if left.iter().all(|l| self.on.iter().any(|on| on.0 == *l)) {
            return Some(shifted().collect());
        }
        Some(left.iter().copied().chain(shifted()).collect())
    }
}

impl OperatorSpec for Join {
    fn name(&self) -> &'static str {
        "Join"
    }

    fn describe(&self) -> String {
        let pair = |&(l, r): &(usize, usize)| format!("{} = {}", self.left.field(l).name(), self.right.field(r).name());
        let on = self.on.iter().map(pair).collect::<Vec<_>>().join(" AND ");
        self.residual.as_ref().map_or_else(|| on.clone(), |residual| format!("{on} AND {residual}"))
    }

    fn fingerprint(&self) -> String {
        format!("{:?} {} {}", self.on, crate::operator::types_of(&self.left), crate::operator::types_of(&self.right))
    }

    fn open(&self, _place: &mut StatePlace) -> Result<Box<dyn Operator>> {
        Err(Error::unsupported("joins"))
    }
}
