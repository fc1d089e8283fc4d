//! JSON records to columns in one pass: bytes to typed values, nothing built in between.

use super::column::{Column, Values};
use super::number::Number;
use super::scan::{Cursor, begins_with};

/// So many fields of a record have their order remembered.
const SLOTS_MAX: usize = 1_024;

/// Decodes JSON objects. Records of one stream mostly have the same fields in the same order, so each field's name is first compared with that of
/// the last record at the same place; only when they differ is it looked up.
pub(crate) struct JsonRecords {
    /// Columns by name, in the order of the names.
    names: Vec<(Vec<u8>, usize)>,
    slots: Vec<Slot>,
    /// Unescaped text of the value at hand.
    unescaped: Vec<u8>,
}

/// A field of the last record.
#[derive(Default)]
struct Slot {
    /// Its name as it stood there, quotes included.
    quoted: Vec<u8>,
    /// The column of that name, if there is one.
    column: Option<usize>,
}

impl JsonRecords {
    /// Objects whose fields go to the columns of these names, by index.
    pub(crate) fn new<'a>(columns: impl Iterator<Item = (usize, &'a str)>) -> Self {
        let mut names: Vec<_> = columns.map(|(column, name)| (name.as_bytes().to_vec(), column)).collect();
        names.sort();
        Self { names, slots: Vec::new(), unescaped: Vec::new() }
    }

    /// Appends the fields of one record to `columns`, which have `row` values each; gives how many columns it named. The others are left as
    /// they are.
    ///
    /// # Errors
    /// Why it is no row; columns may then be longer than `row`.
    pub(crate) fn decode(&mut self, record: &[u8], columns: &mut [Column], row: usize) -> Result<usize, String> {
        let mut cursor = Cursor { bytes: record, at: 0 };
        cursor.skip_space();
        if !cursor.take(b'{') {
            return Err(cursor.expected("'{'"));
        }
        cursor.skip_space();
        let mut filled = 0;
        if !cursor.take(b'}') {
            filled = self.fields(&mut cursor, columns, row)?;
        }
        cursor.skip_space();
        if cursor.at < record.len() {
            return Err(cursor.expected("nothing after the object"));
        }
        Ok(filled)
    }

    fn fields(&mut self, cursor: &mut Cursor<'_>, columns: &mut [Column], row: usize) -> Result<usize, String> {
        let (mut place, mut filled) = (0, 0);
        loop {
            let column = match self.slots.get(place) {
                Some(slot) if begins_with(cursor.rest(), &slot.quoted) => {
                    cursor.at += slot.quoted.len();
                    slot.column
                }
                _ => self.look_up(cursor, place)?,
            };
            cursor.colon()?;
            match column.map(|c| &mut columns[c]) {
                Some(column) => {
                    if column.len() > row {
                        column.truncate(row);
                    } else {
                        filled += 1;
                    }
                    self.value(cursor, column)?;
                }
                None => {
                    cursor.skip_value()?;
                }
            }
            cursor.skip_space();
            match cursor.peek() {
                Some(b',') => cursor.at += 1,
                Some(b'}') => {
                    cursor.at += 1;
                    return Ok(filled);
                }
                _ => return Err(cursor.expected("',' or '}'")),
            }
            cursor.skip_space();
            place += 1;
        }
    }

    /// Reads a name and finds its column; remembers both for `place`.
    fn look_up(&mut self, cursor: &mut Cursor<'_>, place: usize) -> Result<Option<usize>, String> {
        let start = cursor.at;
        if !cursor.take(b'"') {
            return Err(cursor.expected("a name in quotes"));
        }
        let (raw, is_plain) = cursor.string()?;
        let name = if is_plain {
            raw
        } else {
            unescape(raw, &mut self.unescaped)?;
            &self.unescaped
        };
        let found = self.names.binary_search_by(|(n, _)| n.as_slice().cmp(name));
        let column = found.ok().map(|at| self.names[at].1);
        if place < SLOTS_MAX {
            if self.slots.len() <= place {
                self.slots.resize_with(place + 1, Slot::default);
            }
            let slot = &mut self.slots[place];
            slot.quoted.clear();
            slot.quoted.extend_from_slice(&cursor.bytes[start..cursor.at]);
            slot.column = column;
        }
        Ok(column)
    }

    #[inline]
    fn value(&mut self, cursor: &mut Cursor<'_>, column: &mut Column) -> Result<(), String> {
        match cursor.peek() {
            Some(b'n') => {
                cursor.word(b"null")?;
                column.push_null()
            }
            _ if matches!(column.values, Values::Json(_)) => column.push_json(cursor.skip_value()?),
            Some(b'"') => {
                cursor.at += 1;
                match cursor.string()? {
                    (raw, true) => column.push_text(raw),
                    (raw, false) => {
                        unescape(raw, &mut self.unescaped)?;
                        column.push_text(&self.unescaped)
                    }
                }
            }
            Some(b'-' | b'0'..=b'9') => match Number::json(cursor.rest()) {
                Some(number) => {
                    cursor.at += number.text.len();
                    column.push_number(&number)
                }
                None => Err(cursor.expected("a number")),
            },
            Some(b't') => {
                cursor.word(b"true")?;
                column.push_bool(true)
            }
            Some(b'f') => {
                cursor.word(b"false")?;
                column.push_bool(false)
            }
            Some(b'[') if matches!(column.values, Values::List { .. }) => self.list(cursor, column),
            _ => Err(column.refuse(cursor.skip_value()?)),
        }
    }

    /// Reads an array into a list column. The recursion is as deep as the column's type.
    fn list(&mut self, cursor: &mut Cursor<'_>, column: &mut Column) -> Result<(), String> {
        cursor.at += 1;
        cursor.skip_space();
        if cursor.take(b']') {
            return column.close_list();
        }
        let Values::List { items, .. } = &mut column.values else {
            return Err(cursor.expected("no array"));
        };
        loop {
            self.value(cursor, items)?;
            cursor.skip_space();
            if cursor.take(b']') {
                return column.close_list();
            }
            if !cursor.take(b',') {
                return Err(cursor.expected("',' or ']'"));
            }
            cursor.skip_space();
        }
    }
}

/// Writes to `out` what the escapes in `raw` stand for; they have been checked to be well-formed.
fn unescape(raw: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
    out.clear();
    let mut rest = raw;
    while let Some(plain) = rest.iter().position(|b| *b == b'\\') {
        out.extend_from_slice(&rest[..plain]);
        let (letter, after) = rest[plain + 1..].split_first().ok_or("not JSON: a string ends in an escape")?;
        rest = after;
        out.push(match letter {
            b'b' => 0x08,
            b'f' => 0x0c,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let (character, after) = unicode(rest)?;
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                rest = after;
                continue;
            }
            same => *same,
        });
    }
    out.extend_from_slice(rest);
    Ok(())
}

/// The character of a `\u` escape from its digits on, the second half of a surrogate pair included; and what follows.
fn unicode(digits: &[u8]) -> Result<(char, &[u8]), String> {
    let unit = |at: usize| {
        let digits = std::str::from_utf8(digits.get(at..at + 4)?).ok()?;
        u32::from_str_radix(digits, 16).ok()
    };
    let first = unit(0).ok_or("not JSON: a \\u escape is cut short")?;
    if first == 0 {
        return Err(String::from("a text cannot hold the character U+0000"));
    }
    if let Some(character) = char::from_u32(first) {
        return Ok((character, &digits[4..]));
    }
    let second = if digits[4..].starts_with(b"\\u") { unit(6) } else { None };
    let both = second.filter(|low| first < 0xdc00 && (0xdc00..0xe000).contains(low));
    let character = both.and_then(|low| char::from_u32(0x1_0000 + ((first - 0xd800) << 10) + (low - 0xdc00)));
    character.map(|c| (c, &digits[10..])).ok_or_else(|| format!("half a surrogate pair: \\u{first:04x}"))
}
