//! What clients send: parameters and COPY data, in text and binary, to Arrow columns and values.

mod array_literal;
mod binary;
mod interval;
mod text;

pub use binary::read_binary;
pub use text::read_text_column;

use arrow::array::StringArray;
use arrow::datatypes::{DataType, Field};
use datafusion::common::ScalarValue;
use headwater_types::{Error, Result};

/// The value of a parameter in text form; `None` is NULL.
///
/// # Errors
/// `Invalid` (22P02, 22003, 22007, 22008) as PostgreSQL reports it.
pub fn read_text(text: Option<&str>, data_type: &DataType) -> Result<ScalarValue> {
    let field = Field::new("parameter", data_type.clone(), true);
    let column = read_text_column(&StringArray::from(vec![text]), &field)?;
    ScalarValue::try_from_array(&column, 0).map_err(|e| Error::bug(format!("a parameter of the type {data_type}: {e}")))
}
