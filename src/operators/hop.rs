//! Hop: adds the windows that a row belongs to, one output row a window.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray, RecordBatch, UInt32Array};
use arrow::compute::is_not_null;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType};
use headwater_types::{ChangeBatch, Error, Micros, Result, Watermarks};

use crate::window::{Edge, Windows};
use crate::{Finished, Operator, OperatorSpec, Output, StatePlace, Step};

/// Window assignment for any windows, tumbling ones included. Output: the input's columns, then `window_start` and `window_end` of the time column's
/// type, not NULL. A row without a time belongs to no window and is logged as failed.
#[derive(Debug, Clone)]
pub struct Hop {
    time: usize,
    windows: Windows,
    schema: SchemaRef,
}

impl Hop {
    /// Windows of the column `time` of `input`, a `Timestamp(us)` with or without zone.
    ///
    /// # Errors
    /// `Invalid`: the column has another type.
    pub fn new(input: &Schema, time: usize, windows: Windows) -> Result<Self> {
        let field = input.field(time);
        if !matches!(field.data_type(), DataType::Timestamp(TimeUnit::Microsecond, _)) {
            return Err(Error::invalid(format!("column \"{}\" is no timestamp: windows are over TIMESTAMP or TIMESTAMPTZ", field.name())));
        }
        let edge = |name: &str| Arc::new(Field::new(name, field.data_type().clone(), false));
        let fields: Vec<_> = input.fields().iter().cloned().chain([edge("window_start"), edge("window_end")]).collect();
        Ok(Self { time, windows, schema: Arc::new(Schema::new_with_metadata(fields, input.metadata().clone())) })
    }

    /// The output's columns.
    #[must_use]
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The index of `window_start` in the output; `window_end` follows it.
    #[must_use]
    pub fn window_start(&self) -> usize {
        self.schema.fields().len() - 2
    }

    /// The output columns that carry a watermark if the columns `input` do.
    #[must_use]
    pub fn watermarked(&self, input: &[usize]) -> Vec<usize> {
        let mut columns = input.to_vec();
        if input.contains(&self.time) {
            columns.extend([self.window_start(), self.window_start() + 1]);
        }
        columns
    }

    /// The watermarks of the output, given the input's.
    #[must_use]
    pub fn map_watermarks(&self, input: &Watermarks) -> Watermarks {
        let mut mapped = input.clone();
        let at = input.get(self.time);
        mapped.set(self.window_start(), at.and_then(|at| self.windows.watermark(at, Edge::Start)));
        mapped.set(self.window_start() + 1, at.and_then(|at| self.windows.watermark(at, Edge::End)));
        mapped
    }

    /// Per window of each row: the row, the window's start, its end. Rows whose windows are out of range are named in `lost`.
    fn assign(&self, times: &[Micros], lost: &mut Vec<u32>) -> (Vec<u32>, Vec<Micros>, Vec<Micros>) {
        let most = times.len() * usize::try_from(self.windows.windows_per_row_max()).unwrap_or(1).min(64);
        let (mut rows, mut starts, mut ends) = (Vec::with_capacity(most), Vec::with_capacity(most), Vec::with_capacity(most));
        for (row, &at) in (0u32..).zip(times) {
            let before = rows.len();
            let is_complete = self.windows.each(at, |start, end| {
                rows.push(row);
                starts.push(start);
                ends.push(end);
            });
            if !is_complete {
                rows.truncate(before);
                starts.truncate(before);
                ends.truncate(before);
                lost.push(row);
            }
        }
        (rows, starts, ends)
    }
}

impl OperatorSpec for Hop {
    fn name(&self) -> &'static str {
        "Window"
    }

    fn describe(&self) -> String {
        format!("{} of {}", self.windows, self.schema.field(self.time).name())
    }

    fn open(&self, _place: &mut StatePlace) -> Result<Box<dyn Operator>> {
        Ok(Box::new(self.clone()))
    }
}

impl Operator for Hop {
    fn push(&mut self, _input: usize, batch: ChangeBatch, out: &mut Output) -> Result<()> {
        let mut batch = batch;
        if batch.rows().column(self.time).null_count() > 0 {
            let present = is_not_null(batch.rows().column(self.time))?;
            out.failed.push((batch.filter(&arrow::compute::not(&present)?)?, "the time of the window is NULL".into()));
            batch = batch.filter(&present)?;
        }
        let zone = batch.rows().column(self.time).data_type().clone();
        let times = batch.rows().column(self.time).as_primitive::<TimestampMicrosecondType>().clone();
        let mut lost = Vec::new();
        let (rows, starts, ends) = self.assign(times.values(), &mut lost);
        if !lost.is_empty() {
            out.failed.push((batch.take(&UInt32Array::from(lost))?, "the window is out of the range of timestamps".into()));
        }
        let is_identity = rows.len() == batch.len() && self.windows.is_tumbling();
        let taken = if is_identity { batch } else { batch.take(&UInt32Array::from(rows))? };
        let edge = |values: Vec<Micros>| -> ArrayRef {
            Arc::new(PrimitiveArray::<TimestampMicrosecondType>::from(values).with_data_type(zone.clone()))
        };
        let columns = taken.rows().columns().iter().cloned().chain([edge(starts), edge(ends)]).collect();
        let assigned = taken.with_rows(RecordBatch::try_new(self.schema.clone(), columns)?)?;
        out.push(assigned);
        Ok(())
    }

    fn finish(&mut self, step: &Step, _out: &mut Output) -> Result<Finished> {
        let input = step.watermarks.first().cloned().unwrap_or_else(Watermarks::none);
        Ok(Finished { watermarks: self.map_watermarks(&input), due: None })
    }
}
