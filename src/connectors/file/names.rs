//! The names of written files: they tell which sink, which line of time and which epochs, so that a mark can be read off them.

use headwater_types::Epoch;
use uuid::Uuid;

use crate::Mark;

/// The name of one file of a delivery, `PREFIX-SINK-INCARNATION-AFTER-EPOCH-PART-of-PARTS.EXTENSION`; numbers are padded so that names sort by
/// time. While it is being written a dot stands before and `.tmp` behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FileName {
    pub prefix: String,
    /// The mark that the delivery brings.
    pub mark: Mark,
    /// The delivery has the epochs after this one up to the mark's.
    pub after: Epoch,
    /// From 1 to `parts`.
    pub part: u32,
    pub parts: u32,
    pub extension: &'static str,
}

impl FileName {
    pub(super) fn text(&self) -> String {
        let Mark { sink, incarnation, epoch } = self.mark;
        let (after, epoch) = (self.after.0, epoch.0);
        let Self { prefix, part, parts, extension, .. } = self;
        format!("{prefix}-{}-{incarnation:06}-{after:020}-{epoch:020}-{part:04}-of-{parts:04}.{extension}", sink.simple())
    }

    pub(super) fn temporary(&self) -> String {
        format!(".{}.tmp", self.text())
    }

    /// Reads a name of sink `sink` and `extension`; and whether it is that of a file still being written.
    pub(super) fn read(name: &str, sink: Uuid, extension: &'static str) -> Option<(Self, bool)> {
        let (name, is_temporary) = match name.strip_prefix('.').and_then(|n| n.strip_suffix(".tmp")) {
            Some(name) => (name, true),
            None => (name, false),
        };
        let (prefix, rest) = name.split_once(&format!("-{}-", sink.simple()))?;
        let numbers = rest.strip_suffix(extension)?.strip_suffix('.')?;
        let [incarnation, after, epoch, part, of, parts] = numbers.split('-').collect::<Vec<_>>().try_into().ok()?;
        if of != "of" {
            return None;
        }
        let mark = Mark { sink, incarnation: incarnation.parse().ok()?, epoch: Epoch(epoch.parse().ok()?) };
        let (after, part, parts) = (Epoch(after.parse().ok()?), part.parse().ok()?, parts.parse().ok()?);
        Some((Self { prefix: prefix.to_owned(), mark, after, part, parts, extension }, is_temporary))
    }
}

/// The name of the hidden file that keeps a sink's mark when readers take the written files away.
pub(super) fn mark_file(sink: Uuid) -> String {
    format!(".{}.mark", sink.simple())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_and_sort_by_time() {
        let sink = Uuid::from_u128(7);
        let name = |incarnation, epoch, part| FileName {
            prefix: String::from("my-sink"),
            mark: Mark { sink, incarnation, epoch: Epoch(epoch) },
            after: Epoch(epoch - 1),
            part,
            parts: 12,
            extension: "json",
        };
        let mut all = [name(1, 9, 1), name(1, 9, 2), name(1, 10, 1), name(2, 5, 1)].iter().map(FileName::text).collect::<Vec<_>>();
        assert!(all.is_sorted());
        assert_eq!(FileName::read(&all.remove(1), sink, "json"), Some((name(1, 9, 2), false)));
        assert_eq!(FileName::read(&name(3, 4, 5).temporary(), sink, "json"), Some((name(3, 4, 5), true)));
        assert_eq!(FileName::read(&name(3, 4, 5).text(), Uuid::from_u128(8), "json"), None);
        assert_eq!(FileName::read(&name(3, 4, 5).text(), sink, "parquet"), None);
        assert_eq!(FileName::read("x.json", sink, "json"), None);
    }
}
