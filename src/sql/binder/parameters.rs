//! Prepared statements: the types of `$1` …, values in their place, and the columns that come back.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::ParamValues;
use datafusion::logical_expr::LogicalPlan;
use datafusion::scalar::ScalarValue;
use headwater_types::{Error, Result};

use crate::bound::{Bound, CopyOut, CursorQuery};
use crate::errors::from_datafusion;
use crate::functions::convert_value;
use crate::literals::AGAIN;

impl Bound {
    /// Its plan, if it has one that may hold parameters.
    fn plan(&self) -> Option<&LogicalPlan> {
        match self {
            Bound::Query(plan) | Bound::Declare(_, CursorQuery::Query(plan)) | Bound::CopyOut(CopyOut::Query(plan, _)) => Some(plan),
            Bound::Insert(insert) => Some(&insert.input),
            Bound::Delete(changed) | Bound::Update(changed) => Some(&changed.rows),
            _ => None,
        }
    }

    /// The types of `$1` … in order; text where nothing says otherwise.
    ///
    /// # Errors
    /// `Invalid` if a number is left out.
    pub fn parameters(&self) -> Result<Vec<DataType>> {
        Ok(self.known_parameters()?.into_iter().map(|known| known.unwrap_or(DataType::Utf8)).collect())
    }

    /// The same, none where nothing says otherwise.
    ///
    /// # Errors
    /// `Invalid` if a number is left out.
    pub fn known_parameters(&self) -> Result<Vec<Option<DataType>>> {
        let Some(plan) = self.plan() else { return Ok(Vec::new()) };
        let types = plan.get_parameter_types().map_err(from_datafusion)?;
        let number = |name: &String| name.strip_prefix('$').and_then(|n| n.parse::<usize>().ok()).filter(|n| *n > 0);
        let mut ordered = vec![None; types.keys().filter_map(number).max().unwrap_or(0)];
        for (name, data_type) in &types {
            let number = number(name).ok_or_else(|| Error::invalid(format!("there is no parameter {name}")).with_sqlstate("42P02"))?;
            ordered[number - 1].clone_from(data_type);
        }
        Ok(ordered)
    }

    /// The same with values in place of `$1` ….
    ///
    /// # Errors
    /// `Invalid` if there are too few, or one cannot be cast.
    pub fn with_parameters(mut self, values: &[ScalarValue]) -> Result<Bound> {
        let types = self.parameters()?;
        if values.len() < types.len() {
            let message = format!("{} parameters are given, {} are needed", values.len(), types.len());
            return Err(Error::invalid(message).with_sqlstate("08P01"));
        }
        if types.is_empty() {
            return Ok(self);
        }
        let cast = values.iter().zip(&types).map(|(value, data_type)| convert_value(value, data_type)).collect::<Result<Vec<_>, _>>();
        let values = ParamValues::from(cast.map_err(from_datafusion)?);
        let replace = |plan: &mut LogicalPlan| {
            *plan = plan.clone().replace_params_with_values(&values).map_err(from_datafusion)?;
            Ok::<(), Error>(())
        };
        crate::room::with_room(|| match &mut self {
            Bound::Query(plan) | Bound::Declare(_, CursorQuery::Query(plan)) | Bound::CopyOut(CopyOut::Query(plan, _)) => replace(plan),
            Bound::Insert(insert) => replace(&mut insert.input),
            Bound::Delete(changed) | Bound::Update(changed) => replace(&mut changed.rows),
            _ => Ok(()),
        })?;
        Ok(self)
    }

    /// The columns it returns, named as the client sees them (names may repeat); none if it returns no rows, or rows that only running it tells.
    #[must_use]
    pub fn columns(&self) -> Option<SchemaRef> {
        match self {
            Bound::Query(plan) => Some(shown(plan)),
            Bound::Rows(_, batch) => Some(batch.schema()),
            Bound::Insert(insert) => insert.returning.as_ref().map(|r| r.schema.clone()),
            Bound::Delete(changed) | Bound::Update(changed) => changed.returning.as_ref().map(|r| r.schema.clone()),
            _ => None,
        }
    }
}

/// The plan's columns; those that had to get another name, so that names are unique in the plan, under their own.
fn shown(plan: &LogicalPlan) -> SchemaRef {
    let field = |field: &Arc<Field>| match field.name().split_once(AGAIN) {
        Some((name, _)) => Arc::new(Field::clone(field).with_name(name)),
        None => field.clone(),
    };
    Arc::new(Schema::new(plan.schema().fields().iter().map(field).collect::<Vec<_>>()))
}
