//! Window edges as functions: `tumble_start`, `tumble_end`, and for hopping windows `hop_starts` and `hop_end`. The window of no time is NULL.

use std::hash::Hash;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListBuilder, PrimitiveArray, TimestampMicrosecondBuilder};
use arrow::datatypes::{DataType, Field, IntervalMonthDayNano, IntervalUnit, TimeUnit, TimestampMicrosecondType};
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use datafusion::physical_expr::ScalarFunctionExpr;
use datafusion::physical_expr::expressions::Literal;
use headwater_types::Micros;

use crate::window::{Edge, Windows};

type Times = PrimitiveArray<TimestampMicrosecondType>;

/// All functions of this file.
pub(crate) fn functions() -> Vec<Arc<ScalarUDF>> {
    use WindowFunction as W;
    [W::Tumble(Edge::Start), W::Tumble(Edge::End), W::HopStarts, W::HopEnd]
        .into_iter()
        .map(|kind| Arc::new(ScalarUDF::new_from_impl(WindowUdf { kind, signature: Signature::user_defined(Volatility::Immutable) })))
        .collect()
}

/// The windows and the edge that `call` computes from a time, if it is `tumble_start` or `tumble_end` with literal sizes; without an edge if it is
/// `hop_end`, which computes the end from the start.
pub(crate) fn window_function(call: &ScalarFunctionExpr) -> Option<(Windows, Option<Edge>)> {
    let kind = call.fun().inner().downcast_ref::<WindowUdf>()?.kind;
    let literal = |arg: &Arc<dyn datafusion::physical_expr::PhysicalExpr>| interval(arg.downcast_ref::<Literal>()?.value());
    let sizes = call.args().iter().skip(1).map(literal).collect::<Option<Vec<_>>>()?;
    match (kind, sizes.as_slice()) {
        (WindowFunction::Tumble(edge), [size, offset @ ..]) => Some((Windows::tumble(*size, offset.first().copied()).ok()?, Some(edge))),
        (WindowFunction::HopEnd, [slide, size, offset @ ..]) => Some((Windows::hop(*slide, *size, offset.first().copied()).ok()?, None)),
        _ => None,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum WindowFunction {
    Tumble(Edge),
    /// The starts of all windows of a time, latest first.
    HopStarts,
    /// The end of the window of a start.
    HopEnd,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct WindowUdf {
    kind: WindowFunction,
    signature: Signature,
}

impl ScalarUDFImpl for WindowUdf {
    fn name(&self) -> &str {
        match self.kind {
            WindowFunction::Tumble(Edge::Start) => "tumble_start",
            WindowFunction::Tumble(Edge::End) => "tumble_end",
            WindowFunction::HopStarts => "hop_starts",
            WindowFunction::HopEnd => "hop_end",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, args: &[DataType]) -> Result<Vec<DataType>> {
        let sizes = if matches!(self.kind, WindowFunction::Tumble(_)) { 1..=2 } else { 2..=3 };
        if args.is_empty() || !sizes.contains(&(args.len() - 1)) {
            let expected = if *sizes.start() == 1 { "time, size [, offset]" } else { "time, slide, size [, offset]" };
            return Err(DataFusionError::Plan(format!("{} takes ({expected})", self.name())));
        }
        let time = match &args[0] {
            DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Microsecond, zone.clone()),
            DataType::Date32 | DataType::Null => DataType::Timestamp(TimeUnit::Microsecond, None),
            other => return Err(DataFusionError::Plan(format!("{} takes a timestamp, not {other}", self.name()))),
        };
        let interval = DataType::Interval(IntervalUnit::MonthDayNano);
        Ok(std::iter::once(time).chain(std::iter::repeat_n(interval, args.len() - 1)).collect())
    }

    fn return_type(&self, args: &[DataType]) -> Result<DataType> {
        Ok(match self.kind {
            WindowFunction::HopStarts => DataType::List(Arc::new(Field::new_list_field(args[0].clone(), true))),
            _ => args[0].clone(),
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let windows = self.windows(&args.args[1..])?;
        let is_scalar = matches!(args.args[0], ColumnarValue::Scalar(_));
        let times = args.args[0].clone().into_array(if is_scalar { 1 } else { args.number_rows })?;
        let times = times.as_primitive::<TimestampMicrosecondType>();
        let result: Option<ArrayRef> = match self.kind {
            WindowFunction::Tumble(edge) => tumble(times, &windows, edge).map(|edges| typed(edges, times)),
            WindowFunction::HopEnd => {
                let end = |start: Option<Micros>| start.map_or(Some(0), |start| windows.end_of(start));
                times.iter().map(end).collect::<Option<Vec<Micros>>>().map(|ends| typed(ends, times))
            }
            WindowFunction::HopStarts => hop_starts(times, &windows),
        };
        let result = result.ok_or_else(|| DataFusionError::Execution("the window is out of the range of timestamps".into()))?;
        if is_scalar {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?));
        }
        Ok(ColumnarValue::Array(result))
    }
}

impl WindowUdf {
    fn windows(&self, sizes: &[ColumnarValue]) -> Result<Windows> {
        let literal = |size: &ColumnarValue| match size {
            ColumnarValue::Scalar(value) => interval(value),
            ColumnarValue::Array(_) => None,
        };
        let sizes: Option<Vec<_>> = sizes.iter().map(literal).collect();
        let sizes = sizes.ok_or_else(|| DataFusionError::Plan(format!("{}: sizes must be interval literals", self.name())))?;
        let windows = match (self.kind, sizes.as_slice()) {
            (WindowFunction::Tumble(_), [size, offset @ ..]) => Windows::tumble(*size, offset.first().copied()),
            (_, [slide, size, offset @ ..]) => Windows::hop(*slide, *size, offset.first().copied()),
            _ => return Err(DataFusionError::Plan(format!("{}: a size is missing", self.name()))),
        };
        windows.map_err(|e| DataFusionError::Plan(e.message().to_string()))
    }
}

fn interval(value: &ScalarValue) -> Option<IntervalMonthDayNano> {
    if let ScalarValue::IntervalMonthDayNano(value) = value { *value } else { None }
}

/// Edges of the windows of `times`, NULL where the time is.
fn typed(edges: Vec<Micros>, times: &Times) -> ArrayRef {
    Arc::new(Times::new(edges.into(), times.nulls().cloned()).with_data_type(times.data_type().clone()))
}

/// The edge of each time's window, anything where there is no time. Neighbours mostly share a window, so the last one is tried before dividing.
fn tumble(times: &Times, windows: &Windows, edge: Edge) -> Option<Vec<Micros>> {
    let Some(first) = times.iter().flatten().next() else { return Some(vec![0; times.len()]) };
    let pick = |(start, end): (Micros, Micros)| if edge == Edge::Start { start } else { end };
    let (mut start, mut end) = windows.last(first)?;
    if times.values().iter().fold(true, |all, &at| all & (at >= start) & (at < end)) {
        return Some(vec![pick((start, end)); times.len()]);
    }
    let mut edges = Vec::with_capacity(times.len());
    for (row, &at) in times.values().iter().enumerate() {
        if (at < start || at >= end) && times.is_valid(row) {
            (start, end) = windows.last(at)?;
        }
        edges.push(pick((start, end)));
    }
    Some(edges)
}

/// The starts of each time's windows; the one NULL where the time is, so that the row is not lost when the list is taken apart.
fn hop_starts(times: &Times, windows: &Windows) -> Option<ArrayRef> {
    let values = TimestampMicrosecondBuilder::new().with_data_type(times.data_type().clone());
    let mut lists = ListBuilder::new(values).with_field(Field::new_list_field(times.data_type().clone(), true));
    for at in times {
        let is_complete = match at {
            Some(at) => windows.each(at, |start, _| lists.values().append_value(start)),
            None => {
                lists.values().append_null();
                true
            }
        };
        if !is_complete {
            return None;
        }
        lists.append(true);
    }
    Some(Arc::new(lists.finish()))
}
