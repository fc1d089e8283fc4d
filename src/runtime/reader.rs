//! The threads that read one feed's source: opened, read, and dropped as a group; the loop opens a new group after a failure.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use headwater_connectors::{Positions, Source, SourceEvent};
use headwater_types::{Clock, Error, Result};

use crate::{SourceDef, spawn_thread};

/// Messages that may wait for the loop, per feed: two epochs of full batches.
const QUEUE_MESSAGES_MAX: usize = 64;
/// How long a reader blocks in one poll, hence how late it notices a stop or a flush.
const POLL: Duration = Duration::from_millis(50);

/// What a reader group tells the loop, in order per reader.
pub(crate) enum Message {
    /// The start of the source was resolved: kept for ever.
    Started(Positions),
    /// That many readers run now.
    Opened(usize),
    /// A reader has looked at its source for the first time: it has told the partitions that are there.
    Looked,
    /// What a reader said.
    Events(Vec<SourceEvent>),
    /// A reader ended; so must the group.
    Failed(Error),
}

/// What a group reads.
pub(crate) struct Span {
    /// From here on; none: from the source's start, which is not known yet.
    pub from: Option<Positions>,
    /// To here exactly; none: for ever.
    pub upto: Option<Positions>,
}

/// A running group. Dropping it stops the threads within one poll.
pub(crate) struct ReaderGroup {
    /// What the readers say.
    pub messages: Receiver<Message>,
    flushes: Vec<Sender<u64>>,
    stop: Arc<AtomicBool>,
}

impl ReaderGroup {
    /// Opens `source` at `positions` (or at its start, if it has never been resolved) and reads on threads of its own, no further than `upto`.
    ///
    /// # Errors
    /// No thread to give. What fails later comes as [`Message::Failed`].
    pub fn open(source: &SourceDef, span: Span, readers_max: usize, clock: Arc<dyn Clock>) -> Result<Self> {
        let (sender, messages) = bounded(QUEUE_MESSAGES_MAX);
        let stop = Arc::new(AtomicBool::new(false));
        let (flushes, flush_ends): (Vec<_>, Vec<_>) = (0..readers_max).map(|_| bounded(64)).unzip();
        let group = Self { messages, flushes, stop: stop.clone() };
        let source = source.clone();
        let failed = sender.clone();
        let name = format!("source {}", source.definition.name);
        let open = move || {
            if let Err(error) = open_readers(&source, span, flush_ends, clock, &sender, &stop) {
                tell(&sender, Message::Failed(error), &stop);
            }
        };
        spawn_thread(&name, open, move |panic| drop(failed.send(Message::Failed(panic))))?;
        Ok(group)
    }

    /// Asks every reader to note its end.
    pub fn flush(&self, token: u64, readers: usize) {
        for flush in &self.flushes[..readers] {
            // A full queue or an ended reader: the group is being reopened, and the token is asked for again then.
            let _asked_again_on_reopen = flush.try_send(token);
        }
    }
}

impl Drop for ReaderGroup {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

fn open_readers(
    source: &SourceDef,
    span: Span,
    flushes: Vec<Receiver<u64>>,
    clock: Arc<dyn Clock>,
    sender: &Sender<Message>,
    stop: &Arc<AtomicBool>,
) -> Result<()> {
    let positions = match span.from {
        Some(positions) => positions,
        None => {
            let start = source.connector.start(&source.definition)?;
            tell(sender, Message::Started(start.clone()), stop);
            start
        }
    };
    let readers = source.connector.open_source(&source.definition, &positions, flushes.len(), clock)?;
    tell(sender, Message::Opened(readers.len()), stop);
    for (number, (mut reader, flushes)) in readers.into_iter().zip(flushes).enumerate() {
        if let Some(upto) = &span.upto {
            reader.stop_at(upto)?;
        }
        let (sender, stop) = (sender.clone(), stop.clone());
        let failed = sender.clone();
        let name = format!("source {} {number}", source.definition.name);
        spawn_thread(
            &name,
            move || {
                if let Err(error) = read(reader, &flushes, &sender, &stop) {
                    tell(&sender, Message::Failed(error), &stop);
                }
            },
            move |panic| drop(failed.send(Message::Failed(panic))),
        )?;
    }
    Ok(())
}

fn read(mut reader: Box<dyn Source>, flushes: &Receiver<u64>, sender: &Sender<Message>, stop: &AtomicBool) -> Result<()> {
    let mut looked = false;
    while !stop.load(Ordering::SeqCst) {
        for token in flushes.try_iter() {
            reader.flush(token)?;
        }
        let mut events = Vec::new();
        reader.poll(POLL, &mut events)?;
        let finished = events.iter().any(|e| matches!(e, SourceEvent::Finished));
        if !events.is_empty() && !tell(sender, Message::Events(events), stop) {
            return Ok(());
        }
        if !std::mem::replace(&mut looked, true) && !tell(sender, Message::Looked, stop) {
            return Ok(());
        }
        if finished {
            return answer_flushes(flushes, sender, stop);
        }
    }
    Ok(())
}

/// A reader that has nothing more to tell has told everything that anybody may ask for.
fn answer_flushes(flushes: &Receiver<u64>, sender: &Sender<Message>, stop: &AtomicBool) -> Result<()> {
    while !stop.load(Ordering::SeqCst) {
        match flushes.recv_timeout(POLL) {
            Ok(token) => drop(tell(sender, Message::Events(vec![SourceEvent::Flushed(token)]), stop)),
            Err(crossbeam_channel::RecvTimeoutError::Timeout) => {}
            Err(crossbeam_channel::RecvTimeoutError::Disconnected) => return Ok(()),
        }
    }
    Ok(())
}

/// Hands `message` to the loop, waiting for room as long as the group lives; false once it does not.
fn tell(sender: &Sender<Message>, mut message: Message, stop: &AtomicBool) -> bool {
    while !stop.load(Ordering::SeqCst) {
        match sender.send_timeout(message, POLL) {
            Ok(()) => return true,
            Err(crossbeam_channel::SendTimeoutError::Timeout(back)) => message = back,
            Err(crossbeam_channel::SendTimeoutError::Disconnected(_)) => return false,
        }
    }
    false
}
