//! What sources and sinks wait for, told to whoever listens when it changes.

use std::collections::BTreeMap;

use headwater_types::ObjectId;

use crate::epoch_loop::EpochLoop;
use crate::feed::Feed;
use crate::sinks::RunningSink;

/// Why a source or a sink does not get on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// The reason, in one line.
    pub message: String,
    /// Trying again does not help; otherwise it is tried again.
    pub stopped: bool,
}

/// Every source and sink that does not get on.
pub type Troubles = BTreeMap<ObjectId, Trouble>;

impl EpochLoop {
    /// Tells whoever listens, if anything is different from the last call.
    pub(crate) fn tell_troubles(&self) {
        let feeds = self.feeds.values().filter_map(of_feed);
        let now: Troubles = feeds.chain(self.sinks.values().filter_map(of_sink)).collect();
        self.troubles.send_if_modified(|told| {
            let changed = *told != now;
            *told = now;
            changed
        });
    }
}

fn of_feed(feed: &Feed) -> Option<(ObjectId, Trouble)> {
    let stopped = feed.stopped.as_ref().map(ToString::to_string);
    let is_stopped = stopped.is_some();
    let message = stopped.or_else(|| feed.waiting.clone())?;
    Some((feed.record.source, Trouble { message: one_line(&message), stopped: is_stopped }))
}

fn of_sink(sink: &RunningSink) -> Option<(ObjectId, Trouble)> {
    let message = sink.state.message.as_ref()?;
    Some((sink.def.id, Trouble { message: one_line(message), stopped: sink.state.stopped }))
}

/// An error's message with its detail in parentheses, without the hint.
pub(crate) fn one_line(text: &str) -> String {
    let detail = text.lines().find_map(|line| line.strip_prefix("DETAIL: "));
    let message = text.lines().next().unwrap_or_default();
    detail.map_or_else(|| message.to_owned(), |detail| format!("{message} ({detail})"))
}

#[cfg(test)]
mod tests {
    use super::one_line;
    use headwater_types::Error;

    #[test]
    fn an_error_is_one_line() {
        let error = Error::external("no broker answers").with_detail("Connection refused").with_hint("start it");
        assert_eq!(one_line(&error.to_string()), "no broker answers (Connection refused)");
        assert_eq!(one_line("it waits"), "it waits");
    }
}
