//! The sign of life of a lease's holder, and how another process judges it without sharing a clock.

use std::time::Duration;

use headwater_types::{Error, Result};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::Holder;
use crate::remote::Timing;

/// What the holder writes to `beat/<fence>.json` again and again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Beat {
    /// The holding that it belongs to.
    pub lease: Uuid,
    /// Who writes it, as of now: a restored directory has a place that the manifest did not know yet.
    pub holder: Holder,
    /// Grows with each beat.
    pub count: u64,
    /// True once the holder has stopped writing for good: nobody needs to wait.
    pub released: bool,
}

impl Beat {
    pub fn encode(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|e| Error::bug(format!("a beat cannot be written as JSON: {e}")))
    }

    /// The beat of the holding `lease`. One that is damaged or belongs to another holding is only a sign that changes or does not.
    pub fn decode(bytes: Option<&[u8]>, lease: Uuid) -> Option<Beat> {
        serde_json::from_slice::<Beat>(bytes?).ok().filter(|beat| beat.lease == lease)
    }
}

pub(crate) fn beat_name(fence: u64) -> String {
    format!("beat/{fence:020}.json")
}

/// All that changes while a holder lives: the newest manifest's number and its beat.
pub(crate) type Sign = (u64, Option<bytes::Bytes>);

/// What is known of a holder so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Not watched long enough.
    Unknown,
    /// Its sign has changed while we watched.
    Live,
    /// Its sign stood still for longer than a holder may write without renewing.
    Dead,
}

/// Watches one holder's sign by our own clock.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    first: Option<(Sign, Duration)>,
}

impl Watch {
    /// Judges a `sign` whose reading began at `began` and ended at `ended`.
    ///
    /// The holder's last renewal that we have seen began before the end of the first reading, so `Timing::good` after that it writes no
    /// more, unless it renewed, which the last reading would show.
    pub fn observe(&mut self, sign: Sign, began: Duration, ended: Duration, timing: &Timing) -> Verdict {
        match &self.first {
            None => {
                self.first = Some((sign, ended));
                Verdict::Unknown
            }
            Some((first, _)) if *first != sign => Verdict::Live,
            Some((_, since)) if began.saturating_sub(*since) >= timing.live => Verdict::Dead,
            Some(_) => Verdict::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_sign_that_stands_still_for_long_enough_is_dead() {
        let (timing, at) = (Timing::default(), Duration::from_secs);
        let sign = |n: u8| (4, Some(bytes::Bytes::from(vec![n])));
        let mut watch = Watch::default();
        assert_eq!(watch.observe(sign(1), at(0), at(2), &timing), Verdict::Unknown);
        // 16 s after the first reading began, but only 14 s after it ended.
        assert_eq!(watch.observe(sign(1), at(16), at(20), &timing), Verdict::Unknown);
        assert_eq!(watch.observe(sign(1), at(17), at(17), &timing), Verdict::Dead);
        assert_eq!(watch.observe(sign(2), at(17), at(17), &timing), Verdict::Live);
        assert_eq!(watch.observe((5, sign(1).1), at(17), at(17), &timing), Verdict::Live);
        assert_eq!(watch.observe((4, None), at(17), at(17), &timing), Verdict::Live);
    }
}
