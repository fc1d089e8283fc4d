//! Walking over JSON text without building anything: strings, and whole values that nobody asked for.

/// How deep arrays and objects may nest.
const DEPTH_MAX: u32 = 128;

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// A place in a JSON text. Strings are checked to be UTF-8 as they are stepped over; everywhere else JSON has ASCII only.
pub(super) struct Cursor<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
}

impl<'a> Cursor<'a> {
    #[inline]
    pub(super) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    #[inline]
    pub(super) fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    #[inline]
    pub(super) fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    /// Steps over `byte` if it comes next.
    #[inline]
    pub(super) fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    /// What is wrong here.
    #[cold]
    pub(super) fn expected(&self, what: &str) -> String {
        let rest = self.rest();
        match String::from_utf8_lossy(&rest[..rest.len().min(4)]).chars().next() {
            Some(found) => format!("not JSON: expected {what} at byte {}, found {found:?}", self.at),
            None => format!("not JSON: expected {what} at byte {}, found its end", self.at),
        }
    }

    /// Steps over a string whose opening quote is behind: its raw text, which is UTF-8, and whether that has no escapes in it.
    #[inline]
    pub(super) fn string(&mut self) -> Result<(&'a [u8], bool), String> {
        let start = self.at;
        let (mut is_plain, mut seen) = (true, 0);
        loop {
            self.at += plain_length(self.rest(), &mut seen);
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => {
                    is_plain = false;
                    self.escape()?;
                }
                _ => return Err(self.expected("the rest of a string")),
            }
        }
        let raw = &self.bytes[start..self.at];
        self.at += 1;
        if seen & HIGHS != 0 {
            check_utf8(raw, start)?;
        }
        Ok((raw, is_plain))
    }

    fn escape(&mut self) -> Result<(), String> {
        let length = match self.rest() {
            [_, b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => 2,
            [_, b'u', a, b, c, d, ..] if [a, b, c, d].iter().all(|h| h.is_ascii_hexdigit()) => 6,
            _ => return Err(self.expected("an escape that JSON has")),
        };
        self.at += length;
        Ok(())
    }

    /// Steps over `word`, of which the first letter has been seen.
    #[inline]
    pub(super) fn word(&mut self, word: &[u8]) -> Result<(), String> {
        if !self.rest().starts_with(word) {
            return Err(self.expected("a value"));
        }
        self.at += word.len();
        Ok(())
    }

    /// Steps over a value of any kind: its text.
    pub(super) fn skip_value(&mut self) -> Result<&'a [u8], String> {
        let start = self.at;
        match self.peek() {
            Some(b'{' | b'[') => self.skip_nested()?,
            _ => self.skip_scalar()?,
        }
        Ok(&self.bytes[start..self.at])
    }

    fn skip_scalar(&mut self) -> Result<(), String> {
        match self.peek() {
            Some(b'"') => {
                self.at += 1;
                self.string().map(|_| ())
            }
            Some(b't') => self.word(b"true"),
            Some(b'f') => self.word(b"false"),
            Some(b'n') => self.word(b"null"),
            _ => match super::number::Number::json(self.rest()) {
                Some(number) => {
                    self.at += number.text.len();
                    Ok(())
                }
                None => Err(self.expected("a value")),
            },
        }
    }

    /// Steps over an array or object without recursion: a bit for each open one says which it is.
    fn skip_nested(&mut self) -> Result<(), String> {
        let (mut depth, mut objects) = (0u32, 0u128);
        loop {
            // Here a value begins.
            match self.peek() {
                Some(open @ (b'{' | b'[')) => {
                    if depth == DEPTH_MAX {
                        return Err(format!("not JSON: nested deeper than {DEPTH_MAX} at byte {}", self.at));
                    }
                    depth += 1;
                    objects = objects << 1 | u128::from(open == b'{');
                    self.at += 1;
                    self.skip_space();
                    if !self.take(open + 2) {
                        self.member(objects & 1 == 1)?;
                        continue;
                    }
                    (depth, objects) = (depth - 1, objects >> 1);
                }
                _ => self.skip_scalar()?,
            }
            // Here a value has ended.
            loop {
                if depth == 0 {
                    return Ok(());
                }
                self.skip_space();
                if self.take(b',') {
                    self.skip_space();
                    self.member(objects & 1 == 1)?;
                    break;
                }
                if !self.take(if objects & 1 == 1 { b'}' } else { b']' }) {
                    return Err(self.expected("',' or the end of an array or object"));
                }
                (depth, objects) = (depth - 1, objects >> 1);
            }
        }
    }

    /// In an object, steps over a name and its colon, up to the value.
    fn member(&mut self, is_object: bool) -> Result<(), String> {
        if is_object {
            if !self.take(b'"') {
                return Err(self.expected("a name in quotes"));
            }
            self.string()?;
            self.colon()?;
        }
        Ok(())
    }

    /// Steps over a colon and the space around it.
    #[inline]
    pub(super) fn colon(&mut self) -> Result<(), String> {
        self.skip_space();
        if !self.take(b':') {
            return Err(self.expected("':'"));
        }
        self.skip_space();
        Ok(())
    }
}

/// True if `text` is one JSON value with nothing around it.
pub(crate) fn is_json(text: &[u8]) -> bool {
    let mut cursor = Cursor { bytes: text, at: 0 };
    cursor.skip_value().is_ok() && cursor.at == text.len()
}

/// Says where text that starts at byte `start` is not UTF-8.
#[cold]
fn check_utf8(text: &[u8], start: usize) -> Result<(), String> {
    let checked = std::str::from_utf8(text);
    checked.map(|_| ()).map_err(|error| format!("not UTF-8 at byte {}", start + error.valid_up_to()))
}

/// How many bytes come before the first quote, backslash or control character (or the end): eight at a time. A byte of a word that is zero after
/// an exclusive or shows in its high bit; borrows spoil only bytes above the lowest hit. All bytes looked at are added to the bits of `seen`.
#[inline]
fn plain_length(bytes: &[u8], seen: &mut u64) -> usize {
    let (words, rest) = bytes.as_chunks::<8>();
    for (at, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        *seen |= word;
        let zero_in = |w: u64| w.wrapping_sub(ONES) & !w;
        let quotes = zero_in(word ^ (ONES * 0x22));
        let backslashes = zero_in(word ^ (ONES * 0x5c));
        let controls = word.wrapping_sub(ONES * 0x20) & !word;
        let hits = (quotes | backslashes | controls) & HIGHS;
        if hits != 0 {
            return at * 8 + (hits.trailing_zeros() / 8) as usize;
        }
    }
    let mut length = words.len() * 8;
    for byte in rest {
        if matches!(byte, b'"' | b'\\' | 0..0x20) {
            break;
        }
        *seen |= u64::from(*byte);
        length += 1;
    }
    length
}

/// True if `text` begins with `expected`: eight bytes at a time, since a call costs more than the comparison of a short name.
#[inline]
pub(super) fn begins_with(text: &[u8], expected: &[u8]) -> bool {
    let Some(text) = text.get(..expected.len()) else { return false };
    let ((words, rest), (wanted, wanted_rest)) = (text.as_chunks::<8>(), expected.as_chunks::<8>());
    words.iter().zip(wanted).all(|(a, b)| u64::from_le_bytes(*a) == u64::from_le_bytes(*b))
        && rest.iter().zip(wanted_rest).all(|(a, b)| a == b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_ends_or_continues_a_plain_run_at_every_place() {
        for byte in 0..=255u8 {
            for at in 0..20 {
                let mut text = vec![b'a'; 24];
                text[at] = byte;
                let ends = byte < 0x20 || byte == b'"' || byte == b'\\';
                let mut seen = 0;
                assert_eq!(plain_length(&text, &mut seen), if ends { at } else { 24 }, "{byte} at {at}");
                assert_eq!(seen & HIGHS != 0, byte >= 0x80, "{byte} at {at}");
            }
        }
    }

    #[test]
    fn skips_what_serde_json_accepts_and_nothing_else() {
        for text in [
            "{}",
            "[]",
            "[[],{}]",
            r#"{"a":[1,{"b":null}],"c":"x\u00e4\n"}"#,
            " [ 1 , 2 ] ",
            "[1,]",
            "{,}",
            r#"{"a"}"#,
            r#"{"a":}"#,
            "[1 2]",
            "{]",
            "[}",
            r#"{"a":1,}"#,
            "tru",
            "[tru]",
            "nul",
            "01",
            "\"\\x\"",
            "\"\\u12\"",
            "\"a\nb\"",
            "[",
            "{\"a\"",
            "",
            "-",
            "[1]]",
            "\"",
            "\"\\",
        ] {
            let mut cursor = Cursor { bytes: text.as_bytes(), at: 0 };
            cursor.skip_space();
            let skipped = cursor.skip_value().is_ok();
            cursor.skip_space();
            let ours = skipped && cursor.at == text.len();
            assert_eq!(ours, serde_json::from_str::<serde_json::Value>(text).is_ok(), "{text}");
        }
        let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let skips = |text: &str| Cursor { bytes: text.as_bytes(), at: 0 }.skip_value().is_ok();
        assert!(skips(&deep(128)) && !skips(&deep(129)));
    }
}
