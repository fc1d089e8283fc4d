//! Bytes to columns and columns to bytes: the formats that records come in and go out in.

mod column;
mod csv;
mod decoder;
mod interval;
mod json;
mod json_encoder;
mod number;
mod scan;
mod text;
mod time;

pub(crate) use csv::trim_line_end;
pub(crate) use decoder::{Decoder, IncludeValue};
pub(crate) use interval::duration_micros;
pub(crate) use json_encoder::JsonEncoder;
pub(crate) use text::type_name;
pub(crate) use time::timestamp;

#[cfg(test)]
mod tests;
