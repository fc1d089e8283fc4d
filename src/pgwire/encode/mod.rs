//! Arrow columns to PostgreSQL values, in text and binary, a column at a time.

#[cfg(test)]
mod against_postgres;
mod cells;
mod column;
mod float;
mod nested;
mod numeric;
mod row;

pub use column::{Format, POSTGRES_ZERO_DAYS, POSTGRES_ZERO_US, encode_column};
pub use numeric::{read_binary as read_numeric_binary, read_text as read_numeric_text};
pub use row::{EncodedRows, RowEncoder, describe_columns, format_of_code};
