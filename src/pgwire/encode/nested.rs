//! Arrays and records: their items are encoded as a column of their own, then put together row by row.

use super::cells::Cells;
use super::column::{Format, encode_column};
use arrow::array::{Array, ArrayRef, AsArray, ListArray};
use headwater::system::{element_type, wire_type};
use headwater_types::{Error, Result};

/// A list as `{1,2,NULL}`, or as dimensions and items in binary. Lists of lists are arrays of several dimensions.
pub fn encode_list(array: &ArrayRef, format: Format) -> Result<Cells> {
    let lists = array.as_list::<i32>();
    if format == Format::Binary {
        return encode_list_binary(lists);
    }
    let arrow::datatypes::DataType::List(item) = lists.data_type() else {
        return Err(Error::bug("a list array without the type list"));
    };
    let has_dimensions = matches!(item.data_type(), arrow::datatypes::DataType::List(_));
    let items = encode_column(lists.values(), item, Format::Text)?;
    let offsets = lists.value_offsets();
    Ok(Cells::build(array, 16, |row, out| {
        out.push(b'{');
        for (i, at) in (position(offsets[row])..position(offsets[row + 1])).enumerate() {
            if i > 0 {
                out.push(b',');
            }
            match items.get(at) {
                None => out.extend_from_slice(b"NULL"),
                Some(item) if has_dimensions || !item_needs_quotes(item) => out.extend_from_slice(item),
                Some(item) => write_quoted(item, b"\\\"", b"\\\\", out),
            }
        }
        out.push(b'}');
    }))
}

/// `dimensions, has_null, item OID`, then length and lower bound (1) of the dimension, then the items, each with its length.
fn encode_list_binary(lists: &ListArray) -> Result<Cells> {
    let arrow::datatypes::DataType::List(item) = lists.data_type() else {
        return Err(Error::bug("a list array without the type list"));
    };
    if matches!(item.data_type(), arrow::datatypes::DataType::List(_)) {
        return Err(Error::unsupported("an array of several dimensions in binary form").with_hint("Ask for it in text form."));
    }
    let oid = element_type(item).ok_or_else(|| Error::unsupported(format!("an array of {}", item.data_type())))?.oid;
    let items = encode_column(lists.values(), item, Format::Binary)?;
    let offsets = lists.value_offsets();
    Ok(Cells::build(lists, 32, |row, out| {
        let range = position(offsets[row])..position(offsets[row + 1]);
        let has_null = range.clone().any(|at| items.get(at).is_none());
        out.extend_from_slice(&i32::from(!range.is_empty()).to_be_bytes());
        out.extend_from_slice(&i32::from(has_null).to_be_bytes());
        out.extend_from_slice(&oid.to_be_bytes());
        if range.is_empty() {
            return;
        }
        out.extend_from_slice(&(offsets[row + 1] - offsets[row]).to_be_bytes());
        out.extend_from_slice(&1_i32.to_be_bytes());
        for at in range {
            write_sized(items.get(at), out);
        }
    }))
}

/// A struct as PostgreSQL's record: `(1,"a b",)`.
pub fn encode_struct(array: &ArrayRef, format: Format) -> Result<Cells> {
    let structs = array.as_struct();
    let mut columns = Vec::with_capacity(structs.num_columns());
    let mut oids = Vec::with_capacity(structs.num_columns());
    for (field, column) in structs.fields().iter().zip(structs.columns()) {
        oids.push(wire_type(field).ok_or_else(|| Error::unsupported(format!("a record with {}", field.data_type())))?.oid);
        columns.push(encode_column(column, field, format)?);
    }
    Ok(Cells::build(array, 32, |row, out| match format {
        Format::Text => write_record(&columns, row, out),
        Format::Binary => {
            out.extend_from_slice(&i32::try_from(columns.len()).unwrap_or(i32::MAX).to_be_bytes());
            for (cells, oid) in columns.iter().zip(&oids) {
                out.extend_from_slice(&oid.to_be_bytes());
                write_sized(cells.get(row), out);
            }
        }
    }))
}

fn write_record(columns: &[Cells], row: usize, out: &mut Vec<u8>) {
    out.push(b'(');
    for (i, cells) in columns.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        match cells.get(row) {
            None => {}
            Some(value) if record_needs_quotes(value) => write_quoted(value, b"\"\"", b"\\\\", out),
            Some(value) => out.extend_from_slice(value),
        }
    }
    out.push(b')');
}

/// Appends `value` behind its length as a 32-bit number; -1 is NULL.
pub fn write_sized(value: Option<&[u8]>, out: &mut Vec<u8>) {
    match value {
        None => out.extend_from_slice(&(-1_i32).to_be_bytes()),
        Some(value) => {
            out.extend_from_slice(&i32::try_from(value.len()).unwrap_or(i32::MAX).to_be_bytes());
            out.extend_from_slice(value);
        }
    }
}

fn write_quoted(value: &[u8], quote: &[u8], backslash: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for byte in value {
        match byte {
            b'"' => out.extend_from_slice(quote),
            b'\\' => out.extend_from_slice(backslash),
            other => out.push(*other),
        }
    }
    out.push(b'"');
}

fn item_needs_quotes(item: &[u8]) -> bool {
    item.is_empty()
        || item.eq_ignore_ascii_case(b"NULL")
        || item.iter().any(|b| matches!(b, b'{' | b'}' | b'"' | b',' | b'\\') || is_space(*b))
}

fn record_needs_quotes(value: &[u8]) -> bool {
    value.is_empty() || value.iter().any(|b| matches!(b, b'"' | b'\\' | b'(' | b')' | b',') || is_space(*b))
}

/// What C's `isspace` says.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | 9..=13)
}

fn position(offset: i32) -> usize {
    usize::try_from(offset).expect("Arrow's offsets are never negative")
}
