//! A thread beside each reader that asks what would make the reader wait: new partitions, ends for a flush, whether a broker answers at all.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use headwater_types::{Error, ErrorKind, Result};

use super::asker::Asker;
use super::hunger::{Hunger, Progress};
use super::queue::Waker;

/// How often the topic is looked at: this old a new partition is at most when it is found.
const LOOK_EVERY: Duration = Duration::from_secs(3);
/// How often while no broker answers.
const RETRY_EVERY: Duration = Duration::from_millis(500);

/// Looks in a row without an answer before the clients are replaced: they may have lost their brokers for good.
const TROUBLED_LOOKS_MAX: u32 = 6;

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
    /// Where the reader tells how far it is.
    pub(super) progress: Arc<Progress>,
}

impl Watch {
    /// Starts watching `topic`; `known` are the partitions that the reader has.
    pub(super) fn start(asker: Asker, topic: String, share: Share, known: Vec<i32>, waker: Waker) -> Result<Self> {
        let (asks, asked) = bounded(64);
        let (reports, told) = bounded(64);
        let progress = Arc::new(Progress::default());
        let (of, hunger) = (progress.clone(), Hunger::default());
        let look = Look { asker, topic, share, known, waker, reports, troubled_looks: 0, pending: Vec::new(), progress: of, hunger };
        let thread = std::thread::Builder::new().name(format!("kafka-watch-{}", share.index)).spawn(move || look.run(&asked))?;
        Ok(Self { channels: Some((asks, told)), thread: Some(thread), progress })
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
    /// Looks in a row that failed.
    troubled_looks: u32,
    /// Flushes whose ends are still to be asked.
    pending: Vec<u64>,
    progress: Arc<Progress>,
    hunger: Hunger,
}

/// The reader is gone.
struct Gone;

impl Look {
    fn run(mut self, asked: &Receiver<u64>) {
        loop {
            let wait = if self.troubled_looks > 0 { RETRY_EVERY } else { LOOK_EVERY };
            match asked.recv_timeout(wait) {
                Ok(token) => self.pending.push(token),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.pending.extend(asked.try_iter());
            let mut reports = Vec::new();
            let outcome = self.look(&mut reports);
            if self.tell(reports, outcome).is_err() {
                return;
            }
        }
    }

    /// One look at the topic: reports to send, in order, those before an error too. What was reported is not looked for again.
    fn look(&mut self, reports: &mut Vec<Report>) -> Result<()> {
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
        reports.extend(self.check_hunger()?);
        Ok(())
    }

    /// What to report if the reader's client misses records that are there.
    fn check_hunger(&mut self) -> Result<Option<Report>> {
        let Some(next) = self.hunger.look(&self.progress) else { return Ok(None) };
        let mut behind = None;
        for (&partition, &next) in next {
            let end = self.asker.ends(&self.topic, partition)?.1;
            if end > next {
                behind = Some((partition, next, end));
                break;
            }
        }
        let starving = self.hunger.is_starving(behind.is_some());
        Ok(behind.filter(|_| starving).map(|(partition, next, end)| {
            let what = format!("topic '{}', partition {partition}: the broker has offsets {next} to {}", self.topic, end - 1);
            Report::Failed(Error::external(format!("{what}, but none of them comes; connecting anew")))
        }))
    }

    fn tell(&mut self, reports: Vec<Report>, outcome: Result<()>) -> Result<(), Gone> {
        let state = match outcome {
            Ok(()) => (std::mem::take(&mut self.troubled_looks) > 0).then_some(Report::State(None)),
            Err(error) if error.kind() == ErrorKind::External || error.kind() == ErrorKind::NotFound => {
                self.troubled_looks += 1;
                self.hunger.trouble();
                let detail = error.detail().map(|d| format!(" ({d})")).unwrap_or_default();
                let message = format!("{}{detail}", error.message());
                let is_lost = self.troubled_looks >= TROUBLED_LOOKS_MAX;
                Some(if is_lost { Report::Failed(Error::external(message)) } else { Report::State(Some(message)) })
            }
            Err(error) => Some(Report::Failed(error)),
        };
        reports.into_iter().chain(state).try_for_each(|report| self.send(report))
    }

    fn send(&self, report: Report) -> Result<(), Gone> {
        self.reports.send(report).map_err(|_| Gone)?;
        self.waker.wake();
        Ok(())
    }
}
