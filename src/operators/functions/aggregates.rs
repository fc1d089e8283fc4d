//! Aggregate functions of the batch engine made of our kernels, so that a query and a view give the same values and types.

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray};
use arrow::compute::{filter, prep_null_mask_filter};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::{AggregateOrderSensitivity, format_state_name};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, ReversedUDAF, Signature, Volatility,
};

use crate::kernels::{Failures, Function, Kernel};

/// sum, avg, variances, covariances, corr and regressions, in place of DataFusion's of the same names.
pub(crate) fn functions() -> Vec<Arc<AggregateUDF>> {
    let names: [(&str, &[&str]); 18] = [
        ("sum", &[]),
        ("avg", &["mean"]),
        ("var", &["var_sample", "var_samp", "variance"]),
        ("var_pop", &["var_population"]),
        ("stddev", &["stddev_samp"]),
        ("stddev_pop", &[]),
        ("covar_samp", &["covar"]),
        ("covar_pop", &[]),
        ("corr", &[]),
        ("regr_slope", &[]),
        ("regr_intercept", &[]),
        ("regr_count", &[]),
        ("regr_r2", &[]),
        ("regr_avgx", &[]),
        ("regr_avgy", &[]),
        ("regr_sxx", &[]),
        ("regr_syy", &[]),
        ("regr_sxy", &[]),
    ];
    let one = |(name, aliases): (&'static str, &[&str])| {
        let function = Function::of(name)?;
        let aliases = aliases.iter().map(ToString::to_string).collect();
        let signature = Signature::user_defined(Volatility::Immutable);
        Some(Arc::new(AggregateUDF::new_from_impl(KernelFunction { name, aliases, function, signature })))
    };
    names.into_iter().filter_map(one).collect()
}

/// A function with a kernel, as DataFusion knows it.
#[derive(Debug, PartialEq, Eq, Hash)]
struct KernelFunction {
    name: &'static str,
    aliases: Vec<String>,
    function: Function,
    signature: Signature,
}

impl KernelFunction {
    fn takes_pairs(&self) -> bool {
        matches!(self.name, "covar_samp" | "covar_pop" | "corr") || self.name.starts_with("regr_")
    }

    /// The type that an argument is cast to; none if the function is not defined over it.
    fn coerced(&self, argument: &DataType) -> Option<DataType> {
        use DataType as T;
        if matches!(self.function, Function::Moment(_)) || self.takes_pairs() {
            return (argument.is_numeric() || argument.is_null()).then_some(T::Float64);
        }
        Some(match argument {
            T::Int8 | T::Int16 | T::UInt8 => T::Int16,
            T::Int32 | T::UInt16 => T::Int32,
            T::Int64 | T::UInt32 => T::Int64,
            T::UInt64 => T::Decimal128(20, 0),
            T::Decimal32(precision, scale) | T::Decimal64(precision, scale) | T::Decimal128(precision, scale) => {
                T::Decimal128(*precision, *scale)
            }
            T::Float16 | T::Float32 => T::Float32,
            T::Float64 | T::Null => T::Float64,
            _ => return None,
        })
    }
}

impl AggregateUDFImpl for KernelFunction {
    fn name(&self) -> &str {
        self.name
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, args: &[DataType]) -> Result<Vec<DataType>> {
        let wanted = if self.takes_pairs() { 2 } else { 1 };
        if args.len() != wanted {
            return Err(DataFusionError::Plan(format!("{}() takes {wanted} arguments, not {}", self.name, args.len())));
        }
        let refuse = |argument: &DataType| DataFusionError::Plan(format!("{}({argument}) does not exist", self.name));
        args.iter().map(|a| self.coerced(a).ok_or_else(|| refuse(a))).collect()
    }

    fn return_type(&self, args: &[DataType]) -> Result<DataType> {
        self.function.result(args).ok_or_else(|| DataFusionError::Plan(format!("{}({args:?}) does not exist", self.name)))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let types = types_of(args.input_fields);
        let field = |(at, data_type): (usize, DataType)| {
            Arc::new(Field::new(format_state_name(args.name, &format!("state_{at}")), data_type, true))
        };
        if args.is_distinct {
            let list = DataType::List(Arc::new(Field::new_list_field(types[0].clone(), true)));
            return Ok(vec![field((0, list))]);
        }
        Ok(self.function.state(&types).into_iter().enumerate().map(field).collect())
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        if !args.is_distinct {
            return kernel_accumulator(self.function, args.expr_fields, true);
        }
        let [data_type] = types_of(args.expr_fields)
            .try_into()
            .map_err(|_| DataFusionError::NotImplemented(format!("{}(DISTINCT …) of several arguments", self.name)))?;
        let mut kernel = self.function.kernel(std::slice::from_ref(&data_type)).map_err(external)?;
        kernel.resize(1);
        Ok(Box::new(DistinctAccumulator { seen: HashSet::new(), data_type, kernel }))
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        !args.is_distinct
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        kernel_groups(self.function, args.expr_fields)
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }
}

fn types_of(fields: &[FieldRef]) -> Vec<DataType> {
    fields.iter().map(|f| f.data_type().clone()).collect()
}

/// The accumulator of one group of `function` over arguments of `fields`; `can_retract` if rows may be taken out of it.
pub(crate) fn kernel_accumulator(function: Function, fields: &[FieldRef], can_retract: bool) -> Result<Box<dyn Accumulator>> {
    let mut kernel = function.kernel(&types_of(fields)).map_err(external)?;
    kernel.resize(1);
    Ok(Box::new(KernelAccumulator { kernel, can_retract }))
}

/// The accumulator of many groups.
pub(crate) fn kernel_groups(function: Function, fields: &[FieldRef]) -> Result<Box<dyn GroupsAccumulator>> {
    let types = types_of(fields);
    let kernel = function.kernel(&types).map_err(external)?;
    Ok(Box::new(KernelGroups { function, types, kernel, groups: 0 }))
}

fn external(error: headwater_types::Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// The results of `slots`; a failure of one fails the query.
fn evaluate(kernel: &dyn Kernel, slots: &[u32]) -> Result<ArrayRef> {
    let mut failures = Failures::new();
    let results = kernel.evaluate(slots, &mut failures).map_err(external)?;
    match failures.first() {
        Some((_, reason)) => Err(DataFusionError::Execution((*reason).to_string())),
        None => Ok(results),
    }
}

/// One group.
#[derive(Debug)]
struct KernelAccumulator {
    kernel: Box<dyn Kernel>,
    can_retract: bool,
}

impl KernelAccumulator {
    fn add(&mut self, values: &[ArrayRef], weight: i64) -> Result<()> {
        let rows = values.first().map_or(0, |v| v.len());
        let weights = (weight != 1).then(|| vec![weight; rows]);
        self.kernel.update(&vec![0; rows], values, weights.as_deref()).map_err(external)
    }
}

impl Accumulator for KernelAccumulator {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.add(values, 1)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.add(values, -1)
    }

    fn supports_retract_batch(&self) -> bool {
        self.can_retract
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        ScalarValue::try_from_array(&evaluate(self.kernel.as_ref(), &[0])?, 0)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let columns = self.kernel.gather(&[0]).map_err(external)?;
        columns.iter().map(|c| ScalarValue::try_from_array(c, 0)).collect()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let rows = states.first().map_or(0, |s| s.len());
        self.kernel.merge(&vec![0; rows], states).map_err(external)
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.kernel.bytes()
    }
}

/// One group with DISTINCT: each value goes into the kernel once.
#[derive(Debug)]
struct DistinctAccumulator {
    seen: HashSet<ScalarValue>,
    data_type: DataType,
    kernel: Box<dyn Kernel>,
}

impl Accumulator for DistinctAccumulator {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for row in 0..values[0].len() {
            if values[0].is_valid(row) {
                self.seen.insert(ScalarValue::try_from_array(&values[0], row)?);
            }
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.kernel.reset(&[0]);
        if !self.seen.is_empty() {
            let values = ScalarValue::iter_to_array(self.seen.iter().cloned())?;
            self.kernel.update(&vec![0; values.len()], &[values], None).map_err(external)?;
        }
        ScalarValue::try_from_array(&evaluate(self.kernel.as_ref(), &[0])?, 0)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let values: Vec<ScalarValue> = self.seen.iter().cloned().collect();
        Ok(vec![ScalarValue::List(ScalarValue::new_list(&values, &self.data_type, true))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for list in states[0].as_list::<i32>().iter().flatten() {
            self.update_batch(&[list])?;
        }
        Ok(())
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.seen.iter().map(ScalarValue::size).sum::<usize>() + self.kernel.bytes()
    }
}

/// Many groups.
#[derive(Debug)]
struct KernelGroups {
    function: Function,
    types: Vec<DataType>,
    kernel: Box<dyn Kernel>,
    groups: usize,
}

impl KernelGroups {
    fn grow(&mut self, groups: usize) {
        if groups > self.groups {
            self.kernel.resize(groups);
            self.groups = groups;
        }
    }

    /// Row numbers as slots, and the rows where `filter` is true.
    fn select(columns: &[ArrayRef], groups: &[usize], keep: Option<&BooleanArray>) -> Result<(Vec<u32>, Vec<ArrayRef>)> {
        let slots: Vec<u32> = groups.iter().map(|&g| g as u32).collect();
        let Some(keep) = keep else { return Ok((slots, columns.to_vec())) };
        // Arrow's function expects a mask with NULLs.
        let keep = if keep.null_count() > 0 { prep_null_mask_filter(keep) } else { keep.clone() };
        let slots = slots.into_iter().zip(keep.values().iter()).filter(|(_, kept)| *kept).map(|(slot, _)| slot).collect();
        let columns = columns.iter().map(|c| filter(c, &keep)).collect::<Result<_, _>>()?;
        Ok((slots, columns))
    }

    /// The groups to emit; they leave, and the others move to the front.
    fn emit<T>(&mut self, emit_to: EmitTo, take_out: impl Fn(&dyn Kernel, &[u32]) -> Result<T>) -> Result<T> {
        let count = match emit_to {
            EmitTo::All => self.groups,
            EmitTo::First(count) => count,
        };
        let slots = |from: usize, to: usize| (from as u32..to as u32).collect::<Vec<u32>>();
        let out = take_out(self.kernel.as_ref(), &slots(0, count))?;
        let rest = self.kernel.gather(&slots(count, self.groups)).map_err(external)?;
        self.groups -= count;
        self.kernel = self.function.kernel(&self.types).map_err(external)?;
        self.kernel.resize(self.groups);
        if self.groups > 0 {
            self.kernel.scatter(&slots(0, self.groups), &rest).map_err(external)?;
        }
        Ok(out)
    }
}

impl GroupsAccumulator for KernelGroups {
    fn update_batch(&mut self, values: &[ArrayRef], groups: &[usize], keep: Option<&BooleanArray>, total: usize) -> Result<()> {
        self.grow(total);
        let (slots, values) = Self::select(values, groups, keep)?;
        self.kernel.update(&slots, &values, None).map_err(external)
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.grow(total);
        let (slots, states) = Self::select(states, groups, None)?;
        self.kernel.merge(&slots, &states).map_err(external)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        self.emit(emit_to, evaluate)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        self.emit(emit_to, |kernel, slots| kernel.gather(slots).map_err(external))
    }

    fn convert_to_state(&self, values: &[ArrayRef], keep: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let rows = values.first().map_or(0, |v| v.len());
        let mut kernel = self.function.kernel(&self.types).map_err(external)?;
        kernel.resize(rows);
        let groups: Vec<usize> = (0..rows).collect();
        let (slots, values) = Self::select(values, &groups, keep)?;
        kernel.update(&slots, &values, None).map_err(external)?;
        kernel.gather(&(0..rows as u32).collect::<Vec<_>>()).map_err(external)
    }

    fn size(&self) -> usize {
        self.kernel.bytes()
    }
}
