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
use crate::{Finished, Operator, OperatorSpec, Output, StatePlace, Step};

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

impl Operator for Project {
    fn push(&mut self, _input: usize, batch: ChangeBatch, out: &mut Output) -> Result<()> {
        let evaluate = |rows: &RecordBatch| self.exprs.iter().map(|e| to_array(e, rows)).collect::<Result<Vec<_>, _>>();
        if let Some((good, columns)) = evaluate_rows(&batch, evaluate, out)? {
            let options = RecordBatchOptions::new().with_row_count(Some(good.len()));
            let rows = RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?;
            out.push(good.with_rows(rows)?);
        }
        Ok(())
    }

    fn finish(&mut self, step: &Step, _out: &mut Output) -> Result<Finished> {
        let input = step.watermarks.first().cloned().unwrap_or_else(Watermarks::none);
        Ok(Finished { watermarks: self.map_watermarks(&input), due: None })
    }
}
