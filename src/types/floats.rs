//! One value for floats that are equal in SQL: zero has two signs and NaN many bit patterns, and what is compared by its bits would tell them apart.

use std::sync::Arc;

use arrow::array::types::{ArrowPrimitiveType, Float32Type, Float64Type};
use arrow::array::{ArrayRef, ArrowNativeTypeOp, AsArray, PrimitiveArray};
use arrow::datatypes::DataType;

/// `array` with 0 for -0 and one NaN for all; an array of another type, or without such values, as it is.
#[must_use]
pub fn equal_floats(array: &ArrayRef) -> ArrayRef {
    match array.data_type() {
        DataType::Float32 => changed::<Float32Type>(array, |v| if v.is_nan() { f32::NAN } else { v + 0.0 }),
        DataType::Float64 => changed::<Float64Type>(array, |v| if v.is_nan() { f64::NAN } else { v + 0.0 }),
        _ => array.clone(),
    }
}

fn changed<T: ArrowPrimitiveType>(array: &ArrayRef, one: fn(T::Native) -> T::Native) -> ArrayRef {
    let values: &PrimitiveArray<T> = array.as_primitive();
    // Arrow compares floats by their bits.
    if values.values().iter().all(|&v| one(v).is_eq(v)) {
        return array.clone();
    }
    Arc::new(values.unary::<_, T>(one))
}

#[cfg(test)]
mod tests {
    use super::equal_floats;
    use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int32Array, types::Float64Type};
    use std::sync::Arc;

    #[test]
    fn zeros_and_nans_become_one() {
        let odd_nan = f64::from_bits(f64::NAN.to_bits() | 1 << 63);
        let values: ArrayRef = Arc::new(Float64Array::from(vec![Some(-0.0), None, Some(odd_nan), Some(1.5), Some(-1.5)]));
        let equal = equal_floats(&values);
        let bits: Vec<u64> = equal.as_primitive::<Float64Type>().values().iter().map(|v| v.to_bits()).collect();
        assert_eq!((bits[0], bits[2]), (0, f64::NAN.to_bits()));
        assert_eq!((bits[3], bits[4]), (1.5_f64.to_bits(), (-1.5_f64).to_bits()));
        assert!(equal.is_null(1));
        for same in [Arc::new(Float64Array::from(vec![0.0, 1.0])) as ArrayRef, Arc::new(Int32Array::from(vec![1]))] {
            assert!(Arc::ptr_eq(&same, &equal_floats(&same)));
        }
    }
}
