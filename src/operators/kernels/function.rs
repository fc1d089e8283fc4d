//! Which aggregate functions have a kernel of ours, over which types, with which result.

use arrow::datatypes::*;
use headwater_types::{Error, Result};

use super::Kernel;
use super::bits::{self, BitRule, Bits};
use super::counts::{Counts, Flags};
use super::extremes::{Extremes, RowExtremes};
use super::moments::{self, Moment, Moments, Regression};
use super::sums::{self, Answer, ExactSums, FloatTotals, decimal_sums};

/// An aggregate function with a kernel of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Function {
    Count,
    Sum,
    Avg,
    Min,
    Max,
    BoolAnd,
    BoolOr,
    Bit(BitRule),
    Moment(Moment),
}

impl Function {
    /// The function of this name, as DataFusion names it.
    pub(crate) fn of(name: &str) -> Option<Self> {
        Some(match name {
            "count" => Self::Count,
            "sum" => Self::Sum,
            "avg" => Self::Avg,
            "min" => Self::Min,
            "max" => Self::Max,
            "bool_and" => Self::BoolAnd,
            "bool_or" => Self::BoolOr,
            "bit_and" => Self::Bit(BitRule::And),
            "bit_or" => Self::Bit(BitRule::Or),
            "bit_xor" => Self::Bit(BitRule::Xor),
            "var" => Self::Moment(Moment::Variance { sample: true, root: false }),
            "var_pop" => Self::Moment(Moment::Variance { sample: false, root: false }),
            "stddev" => Self::Moment(Moment::Variance { sample: true, root: true }),
            "stddev_pop" => Self::Moment(Moment::Variance { sample: false, root: true }),
            "covar_samp" => Self::Moment(Moment::Covariance { sample: true }),
            "covar_pop" => Self::Moment(Moment::Covariance { sample: false }),
            "corr" => Self::Moment(Moment::Correlation),
            // The pairs in which neither is NULL.
            "regr_count" => Self::Count,
            "regr_slope" => Self::Moment(Moment::Regression(Regression::Slope)),
            "regr_intercept" => Self::Moment(Moment::Regression(Regression::Intercept)),
            "regr_r2" => Self::Moment(Moment::Regression(Regression::R2)),
            "regr_avgx" => Self::Moment(Moment::Regression(Regression::AvgX)),
            "regr_avgy" => Self::Moment(Moment::Regression(Regression::AvgY)),
            "regr_sxx" => Self::Moment(Moment::Regression(Regression::Sxx)),
            "regr_syy" => Self::Moment(Moment::Regression(Regression::Syy)),
            "regr_sxy" => Self::Moment(Moment::Regression(Regression::Sxy)),
            _ => return None,
        })
    }

    /// True if the kernel follows deletions; min and max need the rows behind them.
    pub(crate) fn subtracts(self) -> bool {
        !matches!(self, Self::Min | Self::Max)
    }

    /// True if equal values count once anyway, so that DISTINCT changes nothing.
    pub(crate) fn ignores_repeats(self) -> bool {
        matches!(self, Self::Min | Self::Max | Self::BoolAnd | Self::BoolOr | Self::Bit(BitRule::And | BitRule::Or))
    }

    /// The type of the result over arguments of these types; none if it is not defined over them.
    pub(crate) fn result(self, args: &[DataType]) -> Option<DataType> {
        use DataType::{Boolean, Decimal128, Float32, Float64, Int16, Int32, Int64};
        Some(match (self, args) {
            (Self::Count, _) => Int64,
            (Self::Sum, [Int16 | Int32]) => Int64,
            (Self::Sum, [Int64]) => Decimal128(38, 0),
            (Self::Sum, [Decimal128(_, scale)]) => Decimal128(38, *scale),
            (Self::Sum, [Float32]) => Float32,
            (Self::Sum | Self::Avg, [Float64]) | (Self::Avg, [Float32]) => Float64,
            (Self::Avg, [Int16 | Int32 | Int64]) => Decimal128(38, 16),
            (Self::Avg, [Decimal128(_, scale)]) => Decimal128(38, (*scale).max(16)),
            (Self::Min | Self::Max, [any]) => any.clone(),
            (Self::BoolAnd | Self::BoolOr, [Boolean]) => Boolean,
            (Self::Bit(_), [integer]) if integer.is_signed_integer() => integer.clone(),
            (Self::Moment(Moment::Variance { .. }), [Float64]) => Float64,
            (Self::Moment(_), [Float64, Float64]) => Float64,
            _ => return None,
        })
    }

    /// The columns that the kernel keeps.
    pub(crate) fn state(self, args: &[DataType]) -> Vec<DataType> {
        match self {
            Self::Count => vec![DataType::Int64],
            Self::Sum | Self::Avg if args[0].is_floating() => sums::float_state(),
            Self::Sum | Self::Avg => sums::exact_state(),
            Self::Min | Self::Max => vec![args[0].clone()],
            Self::BoolAnd | Self::BoolOr => vec![DataType::Int64; 2],
            Self::Bit(_) => bits::state(&args[0]),
            Self::Moment(moment) => moments::state(moment),
        }
    }

    /// A kernel over arguments of these types.
    ///
    /// # Errors
    /// `Unsupported`: the function is not defined over them.
    pub(crate) fn kernel(self, args: &[DataType]) -> Result<Box<dyn Kernel>> {
        let unsupported = || {
            let types = args.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            Error::unsupported(format!("{self:?} over ({types}) is not supported in a view"))
        };
        let result = self.result(args).ok_or_else(unsupported)?;
        Ok(match self {
            Self::Count => Box::new(Counts::default()),
            Self::Sum => sums(Answer::Sum, &args[0], result).ok_or_else(unsupported)?,
            Self::Avg => sums(Answer::Average, &args[0], result).ok_or_else(unsupported)?,
            Self::Min => extremes(false, &args[0])?,
            Self::Max => extremes(true, &args[0])?,
            Self::BoolAnd => Box::new(Flags::new(true)),
            Self::BoolOr => Box::new(Flags::new(false)),
            Self::Bit(rule) => bit_counts(rule, &args[0]).ok_or_else(unsupported)?,
            Self::Moment(moment) => Box::new(Moments::new(moment)),
        })
    }
}

fn sums(answer: Answer, argument: &DataType, result: DataType) -> Option<Box<dyn Kernel>> {
    Some(match argument {
        DataType::Int16 => Box::new(ExactSums::<Int16Type>::new(answer, 0, result)),
        DataType::Int32 => Box::new(ExactSums::<Int32Type>::new(answer, 0, result)),
        DataType::Int64 => Box::new(ExactSums::<Int64Type>::new(answer, 0, result)),
        DataType::Decimal128(..) => Box::new(decimal_sums(answer, argument, result)),
        DataType::Float32 => Box::new(FloatTotals::<Float32Type>::new(answer, result)),
        DataType::Float64 => Box::new(FloatTotals::<Float64Type>::new(answer, result)),
        _ => return None,
    })
}

fn bit_counts(rule: BitRule, argument: &DataType) -> Option<Box<dyn Kernel>> {
    Some(match argument {
        DataType::Int8 => Box::new(Bits::<Int8Type>::new(rule)),
        DataType::Int16 => Box::new(Bits::<Int16Type>::new(rule)),
        DataType::Int32 => Box::new(Bits::<Int32Type>::new(rule)),
        DataType::Int64 => Box::new(Bits::<Int64Type>::new(rule)),
        _ => return None,
    })
}

fn extremes(is_max: bool, argument: &DataType) -> Result<Box<dyn Kernel>> {
    macro_rules! typed {
        ($type:ty) => {
            Box::new(Extremes::<$type>::new(is_max, argument.clone()))
        };
    }
    Ok(match argument {
        DataType::Int16 => typed!(Int16Type),
        DataType::Int32 => typed!(Int32Type),
        DataType::Int64 => typed!(Int64Type),
        DataType::Float32 => typed!(Float32Type),
        DataType::Float64 => typed!(Float64Type),
        DataType::Decimal128(..) => typed!(Decimal128Type),
        DataType::Date32 => typed!(Date32Type),
        DataType::Time64(TimeUnit::Microsecond) => typed!(Time64MicrosecondType),
        DataType::Timestamp(TimeUnit::Microsecond, _) => typed!(TimestampMicrosecondType),
        other => Box::new(RowExtremes::new(is_max, other)?),
    })
}
