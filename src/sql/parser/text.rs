//! The text that was parsed, and where in it a line and column stand.

use datafusion::sql::sqlparser::tokenizer::{Location, Span};

/// A text with the start of each of its lines.
#[derive(Debug, Clone)]
pub(crate) struct SourceText {
    text: String,
    /// For each line: bytes and characters before it.
    lines: Vec<(usize, usize)>,
}

impl SourceText {
    pub(crate) fn new(text: &str) -> Self {
        let mut lines = vec![(0, 0)];
        let mut characters = 0;
        for (byte, character) in text.char_indices() {
            characters += 1;
            if character == '\n' {
                lines.push((byte + 1, characters));
            }
        }
        Self { text: text.to_owned(), lines }
    }

    /// Bytes and characters before `location`; the end of the text for one that lies behind it.
    fn before(&self, location: Location) -> (usize, usize) {
        let line = (location.line.max(1) - 1) as usize;
        let Some(&(bytes, characters)) = self.lines.get(line) else {
            return (self.text.len(), self.text.chars().count());
        };
        let columns = (location.column.max(1) - 1) as usize;
        let passed = self.text[bytes..].char_indices().nth(columns).map_or(self.text.len() - bytes, |(byte, _)| byte);
        (bytes + passed, characters + columns)
    }

    /// The characters between two locations.
    pub(crate) fn between(&self, start: Location, end: Location) -> &str {
        let (from, to) = (self.before(start).0, self.before(end).0);
        self.text.get(from..to.max(from)).unwrap_or_default()
    }

    /// How many characters stand before `location`.
    pub(crate) fn characters_before(&self, location: Location) -> usize {
        self.before(location).1
    }

    /// 1-based character offset and length of the first `written` that stands behind `from`.
    pub(crate) fn find(&self, from: Location, written: &str) -> Option<(usize, usize)> {
        let (bytes, characters) = self.before(from);
        let passed = self.text.get(bytes..)?.split_once(written)?.0;
        Some((characters + passed.chars().count() + 1, written.chars().count()))
    }

    /// The same for the last one before `to`.
    pub(crate) fn find_before(&self, to: Location, written: &str) -> Option<(usize, usize)> {
        let before = self.text.get(..self.before(to).0)?.rsplit_once(written)?.0;
        Some((before.chars().count() + 1, written.chars().count()))
    }

    /// 1-based character offset and length of `span`; none for the empty span of made-up nodes.
    pub(crate) fn place(&self, span: Span) -> Option<(usize, usize)> {
        if span.start.line == 0 {
            return None;
        }
        let start = self.characters_before(span.start);
        let length = self.between(span.start, span.end).chars().count();
        Some((start + 1, length.max(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_characters_over_lines() {
        let text = SourceText::new("sélect\n  ü, b");
        let at = |line, column| Location { line, column };
        assert_eq!(text.place(Span { start: at(2, 3), end: at(2, 4) }), Some((10, 1)));
        assert_eq!(text.between(at(1, 1), at(2, 4)), "sélect\n  ü");
        assert_eq!(text.place(Span::empty()), None);
        assert_eq!(text.characters_before(at(9, 1)), 13);
    }
}
