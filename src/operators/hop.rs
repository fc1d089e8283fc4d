//! Hop: adds the windows that a row belongs to, one output row a window.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray, RecordBatch, UInt32Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType};
use headwater_types::{ChangeBatch, Error, Micros, Result, Watermarks};

use crate::window::{Edge, Windows};
use crate::{Finished, Operator, OperatorSpec, Output, StatePlace, Stateless, Step};

type Times = PrimitiveArray<TimestampMicrosecondType>;

/// Window assignment for any windows, tumbling ones included. Output: the input's columns, then `window_start` and `window_end` of the time column's
/// type, NULL for a row without a time.
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
        let edge = |name: &str| Arc::new(Field::new(name, field.data_type().clone(), field.is_nullable()));
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

    /// Per window of each row: the row, the window's start, its end, which mean nothing where there is no time. Rows whose windows are out of range
    /// are named in `lost`.
    fn assign(&self, times: &Times, lost: &mut Vec<u32>) -> (Vec<u32>, Vec<Micros>, Vec<Micros>) {
        let most = times.len() * self.rows_per_row_max().min(64);
        let (mut rows, mut starts, mut ends) = (Vec::with_capacity(most), Vec::with_capacity(most), Vec::with_capacity(most));
        for (row, at) in (0u32..).zip(times) {
            let Some(at) = at else {
                rows.push(row);
                starts.push(0);
                ends.push(0);
                continue;
            };
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

    fn stateless(&self) -> Option<&dyn Stateless> {
        Some(self)
    }

    fn open(&self, _place: &mut StatePlace) -> Result<Box<dyn Operator>> {
        Ok(Box::new(self.clone()))
    }
}

impl Stateless for Hop {
    fn apply(&self, _input: usize, batch: ChangeBatch, out: &mut Output) -> Result<()> {
        let zone = batch.rows().column(self.time).data_type().clone();
        let times = batch.rows().column(self.time).as_primitive::<TimestampMicrosecondType>().clone();
        let mut lost = Vec::new();
        let (rows, starts, ends) = self.assign(&times, &mut lost);
        if !lost.is_empty() {
            out.failed.push((batch.take(&UInt32Array::from(lost))?, "the window is out of the range of timestamps".into()));
        }
        let is_identity = rows.len() == batch.len() && self.windows.is_tumbling();
        let taken = if is_identity { batch } else { batch.take(&UInt32Array::from(rows))? };
        let nulls = taken.rows().column(self.time).nulls().cloned();
        let edge = |values: Vec<Micros>| -> ArrayRef { Arc::new(Times::new(values.into(), nulls.clone()).with_data_type(zone.clone())) };
        let columns = taken.rows().columns().iter().cloned().chain([edge(starts), edge(ends)]).collect();
        let assigned = taken.with_rows(RecordBatch::try_new(self.schema.clone(), columns)?)?;
        out.push(assigned);
        Ok(())
    }

    fn rows_per_row_max(&self) -> usize {
        usize::try_from(self.windows.windows_per_row_max()).unwrap_or(1)
    }
}

impl Operator for Hop {
    fn push(&mut self, input: usize, batch: ChangeBatch, out: &mut Output) -> Result<()> {
        self.apply(input, batch, out)
    }

    fn finish(&mut self, step: &Step, _out: &mut Output) -> Result<Finished> {
        let input = step.watermarks.first().cloned().unwrap_or_else(Watermarks::none);
        Ok(Finished { watermarks: self.map_watermarks(&input), due: None })
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, TimestampMicrosecondArray};
    use arrow::datatypes::IntervalMonthDayNano;

    use super::*;
    use crate::testing::{Bench, rows_of};

    fn input(zone: Option<&str>) -> SchemaRef {
        let time = DataType::Timestamp(TimeUnit::Microsecond, zone.map(Into::into));
        Arc::new(Schema::new(vec![Field::new("at", time, true), Field::new("id", DataType::Int64, true)]))
    }

    fn windows(slide: i64, size: i64) -> Windows {
        let span = |micros: i64| IntervalMonthDayNano::new(0, 0, micros * 1_000);
        Windows::hop(span(slide), span(size), None).unwrap()
    }

    fn batch(schema: &SchemaRef, times: &[Option<i64>]) -> (usize, ChangeBatch) {
        let times = TimestampMicrosecondArray::from(times.to_vec()).with_data_type(schema.field(0).data_type().clone());
        let ids = Int64Array::from_iter_values(0..times.len() as i64);
        let weights: Vec<i64> = (0..times.len()).map(|row| if row == 1 { -1 } else { 1 }).collect();
        (0, ChangeBatch::new(RecordBatch::try_new(schema.clone(), vec![Arc::new(times), Arc::new(ids)]).unwrap(), weights).unwrap())
    }

    #[test]
    fn a_row_comes_once_for_each_window_with_its_weight() {
        let schema = input(Some("UTC"));
        let hop = Hop::new(&schema, 0, windows(5_000_000, 10_000_000)).unwrap();
        assert_eq!(hop.schema().field(3).data_type(), schema.field(0).data_type());
        let mut bench = Bench::new(hop, 1);
        bench.epoch(&[batch(&schema, &[Some(7_000_000), Some(4_000_000), None, Some(i64::MAX)])], &[]);
        let (at, before) = ("1970-01-01T00:00:07Z", "1970-01-01T00:00:04Z");
        let (zero, five, ten, fifteen, minus) =
            ("1970-01-01T00:00:00Z", "1970-01-01T00:00:05Z", "1970-01-01T00:00:10Z", "1970-01-01T00:00:15Z", "1969-12-31T23:59:55Z");
        let mut expected = rows_of(&[[at, "0", five, fifteen], [at, "0", zero, ten]]);
        expected.extend(rows_of(&[["NULL", "2", "NULL", "NULL"]]));
        expected.extend(rows_of(&[[before, "1", zero, ten], [before, "1", minus, five]]).into_keys().map(|row| (row, -1)));
        assert_eq!(bench.view, expected);
        let reasons: Vec<String> = bench.failed.keys().map(|row| format!("{}: {}", row[1], row[2])).collect();
        assert_eq!(reasons, ["3: the window is out of the range of timestamps"]);
    }

    #[test]
    fn tumbling_windows_leave_rows_where_they_are() {
        let schema = input(None);
        let mut bench = Bench::new(Hop::new(&schema, 0, windows(10, 10)).unwrap(), 1);
        bench.epoch(&[batch(&schema, &[Some(-1), Some(20), Some(9)])], &[(0, 0, 25)]);
        let starts: Vec<(&str, &str)> = bench.view.keys().map(|row| (row[1].as_str(), row[2].as_str())).collect();
        let expected = [("0", "1969-12-31T23:59:59.999990"), ("2", "1970-01-01T00:00:00"), ("1", "1970-01-01T00:00:00.000020")];
        assert_eq!(starts, expected);
        assert_eq!((bench.output_watermarks.get(2), bench.output_watermarks.get(3)), (Some(20), Some(30)));
    }

    #[test]
    fn only_timestamps_have_windows() {
        let error = Hop::new(&input(None), 1, windows(10, 10)).unwrap_err();
        assert!(error.message().contains("\"id\""));
    }
}
