//! Floats that are equal in SQL are one key: -0 and 0, and every NaN. Arrow and its hash tables compare them by their bits, so what is compared or
//! grouped goes through a function first, in views and ad-hoc queries alike.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, JoinConstraint, Result, ScalarValue};
use datafusion::config::ConfigOptions;
use datafusion::logical_expr::expr::{InSubquery, WindowFunction};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    Aggregate, ColumnarValue, Distinct, Expr, ExprSchemable, Join, LogicalPlan, LogicalPlanBuilder, ReturnFieldArgs, ScalarFunctionArgs,
    ScalarUDF, ScalarUDFImpl, Signature, Subquery, Volatility,
};
use datafusion::optimizer::AnalyzerRule;
use headwater_types::equal_floats;

/// Puts `equal_float` around the floats of comparisons, of GROUP BY, DISTINCT and PARTITION BY, and of the keys of joins and set operations.
#[derive(Debug)]
pub(crate) struct EqualFloats {
    function: Arc<ScalarUDF>,
}

impl EqualFloats {
    pub(crate) fn new() -> Self {
        Self { function: Arc::new(ScalarUDF::new_from_impl(EqualFloat::new())) }
    }

    /// `expr` through the function, if it is a float and has not been.
    fn key(&self, expr: Expr, schema: &DFSchema) -> Result<Expr> {
        if !matches!(expr.get_type(schema)?, DataType::Float32 | DataType::Float64) || self.is_key(&expr) {
            return Ok(expr);
        }
        if let Expr::Literal(value, metadata) = &expr {
            let array = equal_floats(&value.to_array()?);
            return Ok(Expr::Literal(ScalarValue::try_from_array(&array, 0)?, metadata.clone()));
        }
        Ok(self.function.call(vec![expr]))
    }

    fn is_key(&self, expr: &Expr) -> bool {
        match expr {
            Expr::Alias(alias) => self.is_key(&alias.expr),
            Expr::ScalarFunction(call) => call.func.name() == self.function.name(),
            _ => false,
        }
    }

    fn keys(&self, exprs: Vec<Expr>, schema: &DFSchema) -> Result<Vec<Expr>> {
        exprs.into_iter().map(|expr| self.key(expr, schema)).collect()
    }

    /// The same, each under the name that it had.
    fn named_keys(&self, exprs: Vec<Expr>, schema: &DFSchema) -> Result<Vec<Expr>> {
        let names = NamePreserver::new_for_projection();
        let named = |expr: Expr| {
            let name = names.save(&expr);
            Ok(name.restore(self.key(expr, schema)?))
        };
        exprs.into_iter().map(named).collect()
    }

    /// What an expression compares.
    fn expression(&self, expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
        Ok(Transformed::yes(match expr {
            // The planner unnests a subquery only where it compares columns with the outer query's as they are.
            Expr::BinaryExpr(binary) if binary.op.supports_propagation() && !has_outer(&binary.left) && !has_outer(&binary.right) => {
                let mut binary = binary;
                *binary.left = self.key(*binary.left, schema)?;
                *binary.right = self.key(*binary.right, schema)?;
                Expr::BinaryExpr(binary)
            }
            Expr::InList(mut list) => {
                *list.expr = self.key(*list.expr, schema)?;
                list.list = self.keys(list.list, schema)?;
                Expr::InList(list)
            }
            Expr::Between(mut between) => {
                *between.expr = self.key(*between.expr, schema)?;
                *between.low = self.key(*between.low, schema)?;
                *between.high = self.key(*between.high, schema)?;
                Expr::Between(between)
            }
            Expr::Case(mut case) if case.expr.is_some() => {
                case.expr = case.expr.map(|e| self.key(*e, schema).map(Box::new)).transpose()?;
                for (when, _) in &mut case.when_then_expr {
                    **when = self.key(std::mem::take(when), schema)?;
                }
                Expr::Case(case)
            }
            Expr::AggregateFunction(mut call) if call.params.distinct => {
                call.params.args = self.keys(call.params.args, schema)?;
                // ORDER BY must name an argument, so it stays one.
                for by in &mut call.params.order_by {
                    by.expr = self.key(std::mem::take(&mut by.expr), schema)?;
                }
                Expr::AggregateFunction(call)
            }
            Expr::WindowFunction(call) => self.window(*call, schema)?,
            Expr::InSubquery(within) => self.within(within, schema)?,
            other => return Ok(Transformed::no(other)),
        }))
    }

    fn window(&self, mut call: WindowFunction, schema: &DFSchema) -> Result<Expr> {
        call.params.partition_by = self.keys(call.params.partition_by, schema)?;
        Ok(Expr::WindowFunction(Box::new(call)))
    }

    fn within(&self, within: InSubquery, schema: &DFSchema) -> Result<Expr> {
        let InSubquery { expr, subquery, negated } = within;
        let rows = Arc::new(self.rows(subquery.subquery)?);
        let subquery = Subquery { subquery: rows, ..subquery };
        Ok(Expr::InSubquery(InSubquery { expr: Box::new(self.key(*expr, schema)?), subquery, negated }))
    }

    /// The rows of `input`, floats as keys; as they are where none is.
    fn rows(&self, input: Arc<LogicalPlan>) -> Result<LogicalPlan> {
        let is_float = |t: &DataType| matches!(t, DataType::Float32 | DataType::Float64);
        if !input.schema().fields().iter().any(|f| is_float(f.data_type())) {
            return Ok(Arc::unwrap_or_clone(input));
        }
        let columns = input.schema().columns().into_iter().map(Expr::Column).collect();
        let keys = self.named_keys(columns, input.schema())?;
        LogicalPlanBuilder::from(input).project(keys)?.build()
    }

    fn node(&self, plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
        let schema = merge_schema(&plan.inputs());
        let names = NamePreserver::new(&plan);
        let plan = plan.map_expressions(|expr| {
            let name = names.save(&expr);
            let expr = expr.transform_up(|expr| self.expression(expr, &schema))?;
            Ok(expr.update_data(|expr| name.restore(expr)))
        })?;
        plan.map_data(|plan| match plan {
            LogicalPlan::Aggregate(node) if !node.group_expr.iter().any(|e| matches!(e, Expr::GroupingSet(_))) => {
                let groups = self.named_keys(node.group_expr, node.input.schema())?;
                Ok(LogicalPlan::Aggregate(Aggregate::try_new(node.input, groups, node.aggr_expr)?))
            }
            LogicalPlan::Distinct(Distinct::All(input)) => Ok(LogicalPlan::Distinct(Distinct::All(Arc::new(self.rows(input)?)))),
            LogicalPlan::Join(join) => self.join(join).map(LogicalPlan::Join),
            other => Ok(other),
        })
    }

    fn join(&self, mut join: Join) -> Result<Join> {
        for (left, right) in &mut join.on {
            *left = self.key(std::mem::take(left), join.left.schema())?;
            *right = self.key(std::mem::take(right), join.right.schema())?;
            // USING stands for columns only.
            if self.is_key(left) || self.is_key(right) {
                join.join_constraint = JoinConstraint::On;
            }
        }
        Ok(join)
    }
}

impl AnalyzerRule for EqualFloats {
    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(|plan| self.node(plan)).map(|transformed| transformed.data)
    }

    fn name(&self) -> &str {
        "equal_floats"
    }
}

fn has_outer(expr: &Expr) -> bool {
    let mut found = false;
    let looked = expr.apply(|expr| {
        found |= matches!(expr, Expr::OuterReferenceColumn(..));
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    found || looked.is_err()
}

/// `equal_float(x)`: 0 for -0, one NaN for all.
#[derive(Debug, PartialEq, Eq, Hash)]
struct EqualFloat {
    signature: Signature,
}

impl EqualFloat {
    fn new() -> Self {
        Self { signature: Signature::uniform(1, vec![DataType::Float64, DataType::Float32], Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for EqualFloat {
    fn name(&self) -> &str {
        "equal_float"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, args: &[DataType]) -> Result<DataType> {
        Ok(args[0].clone())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        Ok(Arc::new(args.arg_fields[0].as_ref().clone().with_name(self.name())))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Ok(match &args.args[0] {
            ColumnarValue::Array(array) => ColumnarValue::Array(equal_floats(array)),
            ColumnarValue::Scalar(value) => ColumnarValue::Scalar(ScalarValue::try_from_array(&equal_floats(&value.to_array()?), 0)?),
        })
    }
}
