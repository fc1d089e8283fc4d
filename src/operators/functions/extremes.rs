//! min and max as DataFusion has them, but over REAL and DOUBLE PRECISION by our kernels: its own answer the greatest finite number for infinity.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{Result, ScalarValue};
use datafusion::functions_aggregate::min_max::{max_udaf, min_udaf};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, GroupsAccumulator, ReversedUDAF, SetMonotonicity, Signature};

use super::aggregates::{kernel_accumulator, kernel_groups};
use crate::kernels::Function;

/// `min` and `max`.
pub(crate) fn functions() -> Vec<Arc<AggregateUDF>> {
    let one = |function, stock| Arc::new(AggregateUDF::new_from_impl(Extreme { function, stock }));
    vec![one(Function::Min, min_udaf()), one(Function::Max, max_udaf())]
}

#[derive(Debug)]
struct Extreme {
    function: Function,
    stock: Arc<AggregateUDF>,
}

impl PartialEq for Extreme {
    fn eq(&self, other: &Self) -> bool {
        self.function == other.function
    }
}

impl Eq for Extreme {}

impl Hash for Extreme {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.function.hash(state);
    }
}

fn is_ours(args: &AccumulatorArgs) -> bool {
    args.expr_fields.iter().all(|f| matches!(f.data_type(), DataType::Float32 | DataType::Float64))
}

impl AggregateUDFImpl for Extreme {
    fn name(&self) -> &str {
        self.stock.name()
    }

    fn signature(&self) -> &Signature {
        self.stock.signature()
    }

    fn coerce_types(&self, args: &[DataType]) -> Result<Vec<DataType>> {
        self.stock.coerce_types(args)
    }

    fn return_type(&self, args: &[DataType]) -> Result<DataType> {
        self.stock.return_type(args)
    }

    fn return_field(&self, args: &[FieldRef]) -> Result<FieldRef> {
        self.stock.return_field(args)
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        self.stock.state_fields(args)
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        if is_ours(&args) { kernel_accumulator(self.function, args.expr_fields, false) } else { self.stock.accumulator(args) }
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        self.stock.create_sliding_accumulator(args)
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        is_ours(&args) || self.stock.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        if is_ours(&args) { kernel_groups(self.function, args.expr_fields) } else { self.stock.create_groups_accumulator(args) }
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        self.stock.order_sensitivity()
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        self.stock.reverse_udf()
    }

    fn is_descending(&self) -> Option<bool> {
        self.stock.is_descending()
    }

    fn default_value(&self, data_type: &DataType) -> Result<ScalarValue> {
        self.stock.default_value(data_type)
    }

    fn set_monotonicity(&self, data_type: &DataType) -> SetMonotonicity {
        self.stock.inner().set_monotonicity(data_type)
    }
}
