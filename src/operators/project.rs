//! Project: computes the columns of the output from each row.

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use headwater_types::{ChangeBatch, Error, Result, Watermarks};

use crate::expressions::{evaluate_rows, to_array};
use crate::functions::window_function;
use crate::window::{Edge, Windows};
use crate::{Finished, Operator, OperatorSpec, Output, StatePlace, Stateless, Step};

/// Where the watermark of an output column comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WatermarkFrom {
    /// Nowhere: the column has none.
    Nothing,
    /// It is this input column, unchanged.
    Column(usize),
    /// It is an edge of the tumbling window of this input column.
    Window(usize, Windows, Edge),
    /// It is the end of the window that starts at this input column.
    EndOf(usize, Windows),
}

/// One expression an output column. Watermarks pass through plain columns and through `tumble_start` and `tumble_end`.
#[derive(Debug, Clone)]
pub struct Project {
    exprs: Vec<Arc<dyn PhysicalExpr>>,
    schema: SchemaRef,
    watermarks: Vec<WatermarkFrom>,
}

impl Project {
    /// Expressions over the input's columns, one for each field of the output `schema`, in its order and of its types.
    ///
    /// # Errors
    /// `Bug`: not as many expressions as fields.
    pub fn new(exprs: Vec<Arc<dyn PhysicalExpr>>, schema: SchemaRef) -> Result<Self> {
        if exprs.len() != schema.fields().len() {
            return Err(Error::bug(format!("{} expressions for {} columns", exprs.len(), schema.fields().len())));
        }
        let watermarks = exprs.iter().map(watermark_from).collect();
        Ok(Self { exprs, schema, watermarks })
    }

    /// Where each output column's watermark comes from.
    #[must_use]
    pub fn watermarks_from(&self) -> &[WatermarkFrom] {
        &self.watermarks
    }

    /// The output columns that carry a watermark if the columns `input` do.
    #[must_use]
    pub fn watermarked(&self, input: &[usize]) -> Vec<usize> {
        let carries = |from: &WatermarkFrom| match from {
            WatermarkFrom::Nothing => false,
            WatermarkFrom::Column(column) | WatermarkFrom::Window(column, ..) | WatermarkFrom::EndOf(column, _) => input.contains(column),
        };
        (0..self.watermarks.len()).filter(|&c| carries(&self.watermarks[c])).collect()
    }

    /// The watermarks of the output, given the input's.
    #[must_use]
    pub fn map_watermarks(&self, input: &Watermarks) -> Watermarks {
        let mut mapped = Watermarks::none();
        for (column, from) in self.watermarks.iter().enumerate() {
            let at = match from {
                WatermarkFrom::Nothing => None,
                WatermarkFrom::Column(c) => input.get(*c),
                WatermarkFrom::Window(c, windows, edge) => input.get(*c).and_then(|at| windows.watermark(at, *edge)),
                WatermarkFrom::EndOf(c, windows) => input.get(*c).and_then(|at| windows.end_of(at)),
            };
            mapped.set(column, at);
        }
        mapped
    }

    /// For each output column the input column it repeats, if it does: how keys pass.
    #[must_use]
    pub fn repeats(&self) -> Vec<Option<usize>> {
        self.exprs.iter().map(|e| e.downcast_ref::<Column>().map(Column::index)).collect()
    }
}

fn watermark_from(expr: &Arc<dyn PhysicalExpr>) -> WatermarkFrom {
    if let Some(column) = expr.downcast_ref::<Column>() {
        return WatermarkFrom::Column(column.index());
    }
    let windowed = || {
        let call = expr.downcast_ref::<ScalarFunctionExpr>()?;
        let (windows, edge) = window_function(call)?;
        let time = call.args().first()?.downcast_ref::<Column>()?.index();
        Some(match edge {
            Some(edge) => WatermarkFrom::Window(time, windows, edge),
            None => WatermarkFrom::EndOf(time, windows),
        })
    };
    windowed().unwrap_or(WatermarkFrom::Nothing)
}

impl OperatorSpec for Project {
    fn name(&self) -> &'static str {
        "Project"
    }

    fn describe(&self) -> String {
        let one = |(expr, field): (&Arc<dyn PhysicalExpr>, &Arc<_>)| named(expr, arrow::datatypes::Field::name(field));
        self.exprs.iter().zip(self.schema.fields()).map(one).collect::<Vec<_>>().join(", ")
    }

    fn stateless(&self) -> Option<&dyn Stateless> {
        Some(self)
    }

    fn open(&self, _place: &mut StatePlace) -> Result<Box<dyn Operator>> {
        Ok(Box::new(self.clone()))
    }
}

fn named(expr: &Arc<dyn PhysicalExpr>, name: &str) -> String {
    match expr.downcast_ref::<Column>() {
        Some(column) if column.name() == name => name.to_string(),
        _ => format!("{expr} AS {name}"),
    }
}

impl Stateless for Project {
    fn apply(&self, _input: usize, batch: ChangeBatch, out: &mut Output) -> Result<()> {
        let evaluate = |rows: &RecordBatch| self.exprs.iter().map(|e| to_array(e, rows)).collect::<Result<Vec<_>, _>>();
        for (good, columns) in evaluate_rows(&batch, evaluate, out)? {
            let options = RecordBatchOptions::new().with_row_count(Some(good.len()));
            let rows = RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?;
            out.push(good.with_rows(rows)?);
        }
        Ok(())
    }
}

impl Operator for Project {
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
    use arrow::array::{ArrayRef, Int64Array, TimestampMicrosecondArray};
    use arrow::datatypes::{DataType, Field, IntervalMonthDayNano, Schema, TimeUnit};
    use datafusion::common::ScalarValue;
    use datafusion::config::ConfigOptions;
    use datafusion::logical_expr::Operator as Symbol;
    use datafusion::physical_expr::expressions::{binary, col, lit};

    use super::*;
    use crate::testing::{Bench, rows_of};
    use crate::{checked, scalar_functions};

    fn input() -> SchemaRef {
        let time = DataType::Timestamp(TimeUnit::Microsecond, None);
        Arc::new(Schema::new(vec![
            Field::new("at", time, true),
            Field::new("a", DataType::Int64, true),
            Field::new("b", DataType::Int64, true),
        ]))
    }

    fn batch(values: &[(i64, i64, i64)]) -> (usize, ChangeBatch) {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(TimestampMicrosecondArray::from_iter_values(values.iter().map(|v| v.1))),
            Arc::new(Int64Array::from_iter_values(values.iter().map(|v| v.1))),
            Arc::new(Int64Array::from_iter_values(values.iter().map(|v| v.2))),
        ];
        let rows = RecordBatch::try_new(input(), columns).unwrap();
        (0, ChangeBatch::new(rows, values.iter().map(|v| v.0).collect::<Vec<_>>()).unwrap())
    }

    fn project(exprs: Vec<Arc<dyn PhysicalExpr>>) -> Project {
        let field = |(n, e): (usize, &Arc<dyn PhysicalExpr>)| Field::new(format!("c{n}"), e.data_type(&input()).unwrap(), true);
        let schema = Schema::new(exprs.iter().enumerate().map(field).collect::<Vec<_>>());
        Project::new(exprs, Arc::new(schema)).unwrap()
    }

    fn arithmetic(symbol: Symbol) -> Arc<dyn PhysicalExpr> {
        checked(binary(col("a", &input()).unwrap(), symbol, col("b", &input()).unwrap(), &input()).unwrap()).unwrap()
    }

    #[test]
    fn failing_rows_are_set_apart_with_their_weight() {
        let mut bench = Bench::new(project(vec![arithmetic(Symbol::Divide), col("a", &input()).unwrap()]), 1);
        bench.epoch(&[batch(&[(1, 6, 3), (-1, 7, 0), (2, 8, 2), (1, 9, 0)])], &[]);
        let mut expected = rows_of(&[["2", "6"], ["4", "8"]]);
        expected.insert(vec!["4".to_string(), "8".to_string()], 2);
        assert_eq!(bench.view, expected);
        let failed: Vec<(&str, &str, i64)> = bench.failed.iter().map(|(row, w)| (row[1].as_str(), row[3].as_str(), *w)).collect();
        assert_eq!(failed, [("7", "division by zero", -1), ("9", "division by zero", 1)]);
    }

    #[test]
    fn integer_arithmetic_does_not_wrap() {
        let mut bench = Bench::new(project(vec![arithmetic(Symbol::Plus)]), 1);
        bench.epoch(&[batch(&[(1, i64::MAX, 1), (1, 1, 1)])], &[]);
        assert_eq!(bench.view, rows_of(&[["2"]]));
        assert!(bench.failed.keys().all(|row| row[3].starts_with("out of range")), "{:?}", bench.failed);
        assert_eq!(bench.failed.len(), 1);
    }

    #[test]
    fn watermarks_pass_through_columns_and_windows() {
        let start = scalar_functions().into_iter().find(|f| f.name() == "tumble_start").unwrap();
        let size = lit(ScalarValue::IntervalMonthDayNano(Some(IntervalMonthDayNano::new(0, 0, 10_000))));
        let args = vec![col("at", &input()).unwrap(), size];
        let start = ScalarFunctionExpr::try_new(start, args, &input(), Arc::new(ConfigOptions::default())).unwrap();
        let project = project(vec![col("a", &input()).unwrap(), Arc::new(start), col("at", &input()).unwrap(), arithmetic(Symbol::Minus)]);
        assert_eq!(project.watermarked(&[0]), vec![1, 2]);
        assert_eq!(project.repeats(), vec![Some(1), None, Some(0), None]);
        let mut bench = Bench::new(project, 1);
        bench.epoch(&[], &[(0, 0, 27)]);
        let watermarks = [0, 1, 2, 3].map(|column| bench.output_watermarks.get(column));
        assert_eq!(watermarks, [None, Some(20), Some(27), None]);
    }
}
