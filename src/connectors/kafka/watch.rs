//! A thread beside each reader that asks what would make the reader wait: new partitions, ends for a flush, whether a broker answers at all.

use std::collections::BTreeMap;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use headwater_types::{Error, ErrorKind, Result};

use super::asker::Asker;
use super::queue::Waker;

/// How often the topic is looked at: this old a new partition is at most when it is found.
const LOOK_EVERY: Duration = Duration::from_secs(3);
/// How often while no broker answers.
const RETRY_EVERY: Duration = Duration::from_millis(500);

/// What the thread found out.
pub(super) enum Report {
    /// Partitions of this reader that were not there before, with the offset of their oldest record.
    Found(Vec<(i32, i64)>),
    /// Where the reader's partitions ended after `token` was asked.
    Ends(u64, BTreeMap<i32, i64>),
    /// What is wrong; nothing if all is well again.
    State(Option<String>),
    /// The reader cannot go on.
    Failed(Error),
}

/// Which partitions are whose: reader `index` of `count` reads partition p where p % count = index.
#[derive(Debug, Clone, Copy)]
pub(super) struct Share {
    pub(super) index: usize,
    pub(super) count: usize,
}

impl Share {
    pub(super) fn has(self, partition: i32) -> bool {
        usize::try_from(partition).is_ok_and(|p| p % self.count == self.index)
    }
}

/// The thread, from the reader's side.
pub(super) struct Watch {
    /// Taken before the thread is joined: without them it ends.
    channels: Option<(Sender<u64>, Receiver<Report>)>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Starts watching `topic`; `known` are the partitions that the reader has.
    pub(super) fn start(asker: Asker, topic: String, share: Share, known: Vec<i32>, waker: Waker) -> Result<Self> {
        let (asks, asked) = bounded(64);
        let (reports, told) = bounded(64);
        let look = Look { asker, topic, share, known, waker, reports, troubled: false, pending: Vec::new() };
        let thread = std::thread::Builder::new().name(format!("kafka-watch-{}", share.index)).spawn(move || look.run(&asked))?;
        Ok(Self { channels: Some((asks, told)), thread: Some(thread) })
    }

    /// Asks for the ends of all partitions as of now.
    pub(super) fn ask_ends(&self, token: u64) -> Result<()> {
        let asked = self.channels.as_ref().is_some_and(|(asks, _)| asks.try_send(token).is_ok());
        if asked { Ok(()) } else { Err(Error::external("kafka: too many flushes wait for brokers that do not answer")) }
    }

    /// What was found out since the last call.
    pub(super) fn reports(&self) -> impl Iterator<Item = Report> + '_ {
        self.channels.iter().flat_map(|(_, told)| told.try_iter())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.channels = None;
        if let Some(thread) = self.thread.take() {
            // A panic there was printed by the thread itself; the reader is going away.
            let _ended = thread.join();
        }
    }
}

/// The thread's own things.
struct Look {
    asker: Asker,
    topic: String,
    share: Share,
    known: Vec<i32>,
    waker: Waker,
    reports: Sender<Report>,
    troubled: bool,
    /// Flushes whose ends are still to be asked.
    pending: Vec<u64>,
}

/// The reader is gone.
struct Gone;

impl Look {
    fn run(mut self, asked: &Receiver<u64>) {
        loop {
            let wait = if self.troubled { RETRY_EVERY } else { LOOK_EVERY };
            match asked.recv_timeout(wait) {
                Ok(token) => self.pending.push(token),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.pending.extend(asked.try_iter());
            let outcome = self.look();
            if self.tell(outcome).is_err() {
                return;
            }
        }
    }

    /// One look at the topic: reports to send, in order.
    fn look(&mut self) -> Result<Vec<Report>> {
        let mut reports = Vec::new();
        let partitions = self.asker.partitions(&self.topic)?;
        if let Some(lost) = self.known.iter().find(|p| !partitions.contains(p)) {
            return Err(Error::external(format!("topic '{}' has no partition {lost} any more", self.topic)));
        }
        let new: Vec<i32> = partitions.iter().copied().filter(|&p| self.share.has(p) && !self.known.contains(&p)).collect();
        if !new.is_empty() {
            let lows = new.iter().map(|&p| Ok((p, self.asker.ends(&self.topic, p)?.0)));
            reports.push(Report::Found(lows.collect::<Result<_>>()?));
            self.known.extend(new);
        }
        if !self.pending.is_empty() {
            let ends = self.known.iter().map(|&p| Ok((p, self.asker.ends(&self.topic, p)?.1)));
            let ends: BTreeMap<i32, i64> = ends.collect::<Result<_>>()?;
            reports.extend(self.pending.drain(..).map(|token| Report::Ends(token, ends.clone())));
        }
        Ok(reports)
    }

    fn tell(&mut self, outcome: Result<Vec<Report>>) -> Result<(), Gone> {
        let (reports, troubled) = match outcome {
            Ok(reports) => (reports, false),
            Err(error) if error.kind() == ErrorKind::External || error.kind() == ErrorKind::NotFound => {
                let detail = error.detail().map(|d| format!(" ({d})")).unwrap_or_default();
                (vec![Report::State(Some(format!("{}{detail}", error.message())))], true)
            }
            Err(error) => (vec![Report::Failed(error)], true),
        };
        if self.troubled && !troubled {
            self.send(Report::State(None))?;
        }
        self.troubled = troubled;
        reports.into_iter().try_for_each(|report| self.send(report))
    }

    fn send(&self, report: Report) -> Result<(), Gone> {
        self.reports.send(report).map_err(|_| Gone)?;
        self.waker.wake();
        Ok(())
    }
}
