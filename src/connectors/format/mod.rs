//! Bytes to columns and columns to bytes: the formats that records come in and go out in.

mod decoder;
mod json_encoder;

pub(crate) use decoder::{Decoder, IncludeValue};
pub(crate) use json_encoder::JsonEncoder;
