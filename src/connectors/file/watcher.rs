//! Watching files: new ones are found, what is appended to them is read line by line.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use headwater_types::{Clock, Error, Result};

use super::listing::{io_error, list};
use super::place::Place;
use super::reader::{FileReader, Limits, OpenFile, event};
use crate::pause::pause;
use crate::{Encoding, Partition, Positions, Source, SourceEvent};

/// Directories are listed this often, files looked at for new bytes more often.
const LIST_EVERY: Duration = Duration::from_millis(500);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// … but not so often that looking at many files costs more than this each.
const LOOK_EACH: Duration = Duration::from_micros(100);

/// A file that is being watched.
struct Watched {
    place: Place,
    /// The length in bytes up to which nothing was left to read; `None` before the first look.
    looked: Option<u64>,
}

impl Watched {
    fn at(place: Place) -> Self {
        Self { place, looked: None }
    }
}

/// A flush that is waited for, and the length of each file at the time of the call, once that has been looked up.
struct Flush {
    token: u64,
    lengths: Option<BTreeMap<Partition, u64>>,
}

/// One reader of a watching source: the files whose names hash to its share.
pub(super) struct Watcher {
    files: FileReader,
    is_parquet: bool,
    pattern: String,
    share: (usize, usize),
    clock: Arc<dyn Clock>,
    listed: Option<Duration>,
    watched: BTreeMap<Partition, Watched>,
    /// The file being read, and its length when it was opened.
    open: Option<(Partition, u64, OpenFile)>,
    limits: Limits,
    flushes: Vec<Flush>,
    /// What was last said about waiting for files.
    is_waiting: bool,
}

fn is_mine(path: &str, (share, of): (usize, usize)) -> bool {
    let mut hasher = DefaultHasher::new();
    path.hash(&mut hasher);
    hasher.finish() % of as u64 == share as u64
}

impl Watcher {
    pub(super) fn new(
        files: FileReader,
        pattern: &str,
        positions: &Positions,
        share: (usize, usize),
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        let mut watched = BTreeMap::new();
        for (partition, position) in positions.iter().filter(|(p, _)| is_mine(p, share)) {
            watched.insert(partition.clone(), Watched::at(Place::read(position)?));
        }
        let is_parquet = files.encoding() == Encoding::Parquet;
        let pattern = pattern.to_owned();
        Ok(Self {
            files,
            is_parquet,
            pattern,
            share,
            clock,
            listed: None,
            watched,
            open: None,
            limits: Limits::default(),
            flushes: Vec::new(),
            is_waiting: false,
        })
    }

    /// Looks for files that have come, if it is time or somebody waits.
    fn list(&mut self, events: &mut Vec<SourceEvent>) -> Result<()> {
        let now = self.clock.elapsed();
        let is_asked = self.flushes.iter().any(|f| f.lengths.is_none());
        if self.listed.is_some_and(|at| now - at < LIST_EVERY) && !is_asked {
            return Ok(());
        }
        self.listed = Some(now);
        let found = list(&self.pattern)?;
        // One reader speaks for all of them.
        let is_waiting = found.is_empty() && self.share.0 == 0;
        for path in found.into_iter().filter(|p| is_mine(p, self.share)) {
            let partition = Partition::from(path);
            self.watched.entry(partition.clone()).or_insert_with(|| {
                events.push(SourceEvent::Found(partition, Place::default().position()));
                Watched::at(Place::default())
            });
        }
        if is_waiting != self.is_waiting {
            self.is_waiting = is_waiting;
            events.push(SourceEvent::State(is_waiting.then(|| format!("waiting for a file that matches '{}'", self.pattern))));
        }
        Ok(())
    }

    /// Length of the file now; `None` if it was removed after it had been read to its end.
    fn length(path: &str, watched: &Watched) -> Result<Option<u64>> {
        match std::fs::metadata(path) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && watched.place.is_end => Ok(None),
            Err(error) => Err(io_error(path, &error)),
        }
    }

    /// Opens the first file that has grown since it was last looked at; files read to their ends and removed are closed.
    fn open_next(&mut self, events: &mut Vec<SourceEvent>) -> Result<()> {
        let mut gone = Vec::new();
        let mut grown = None;
        for (partition, watched) in &self.watched {
            let read = watched.looked.unwrap_or(if self.is_parquet { 0 } else { watched.place.offset });
            match Self::length(partition, watched)? {
                None => gone.push(partition.clone()),
                Some(length) if length < read => {
                    let message =
                        format!("file '{partition}' is {length} bytes long, and {read} of it have been read: it was cut or replaced");
                    return Err(Error::external(message));
                }
                Some(length) if watched.looked == Some(length) || !self.limits.of(partition, watched.place).1 => {}
                Some(length) => {
                    grown = Some((partition.clone(), length, watched.place));
                    break;
                }
            }
        }
        for partition in gone {
            self.watched.remove(&partition);
            events.push(SourceEvent::Closed(partition));
        }
        if let Some((partition, length, place)) = grown {
            let file = self.files.open(&partition, place, self.limits.of(&partition, place).0)?;
            self.open = Some((partition, length, file));
        }
        Ok(())
    }

    /// Reads on in the open file.
    fn read(&mut self, events: &mut Vec<SourceEvent>) -> Result<()> {
        let Some((partition, length, mut file)) = self.open.take() else { return Ok(()) };
        let piece = self.files.next(&mut file)?;
        let Some(watched) = self.watched.get_mut(&partition) else { return Ok(()) };
        let is_end = piece.as_ref().is_none_or(|p| p.place.is_end);
        if let Some(piece) = piece {
            watched.place = piece.place;
            events.push(event(&partition, piece));
        }
        if file.is_stopped() {
            return Ok(());
        }
        if is_end {
            // A file with half a line that is removed now has not been read to its end.
            watched.place.is_end = file.is_read();
            watched.looked = Some(file.bytes_seen().unwrap_or(length));
            events.push(SourceEvent::AtEnd(partition));
        } else {
            self.open = Some((partition, length, file));
        }
        Ok(())
    }

    /// Notes the lengths for flushes that just came; answers those that all is read for.
    fn answer_flushes(&mut self, events: &mut Vec<SourceEvent>) -> Result<()> {
        for flush in self.flushes.iter_mut().filter(|f| f.lengths.is_none()) {
            let mut lengths = BTreeMap::new();
            for (partition, watched) in &self.watched {
                if let Some(length) = Self::length(partition, watched)? {
                    lengths.insert(partition.clone(), length);
                }
            }
            flush.lengths = Some(lengths);
        }
        if self.limits.are_set() {
            return Ok(());
        }
        let watched = &self.watched;
        let is_read = |(partition, length): (&Partition, &u64)| {
            let file = watched.get(partition);
            file.is_none_or(|w| w.looked.is_some_and(|looked| looked >= *length))
        };
        self.flushes.retain(|flush| {
            let is_told = flush.lengths.as_ref().is_some_and(|lengths| lengths.iter().all(is_read));
            if is_told {
                events.push(SourceEvent::Flushed(flush.token));
            }
            !is_told
        });
        Ok(())
    }
}

impl Source for Watcher {
    fn poll(&mut self, wait: Duration, events: &mut Vec<SourceEvent>) -> Result<()> {
        let before = events.len();
        self.list(events)?;
        if !self.flushes.is_empty() {
            self.answer_flushes(events)?;
        }
        if self.open.is_none() {
            self.open_next(events)?;
        }
        self.read(events)?;
        if !self.flushes.is_empty() {
            self.answer_flushes(events)?;
        }
        if events.len() == before {
            let look = LOOK_EVERY.max(LOOK_EACH * u32::try_from(self.watched.len()).unwrap_or(u32::MAX));
            pause(wait.min(look));
        }
        Ok(())
    }

    fn flush(&mut self, token: u64) -> Result<()> {
        self.flushes.push(Flush { token, lengths: None });
        Ok(())
    }

    fn stop_at(&mut self, upto: &Positions) -> Result<()> {
        self.limits = Limits::read(upto)?;
        Ok(())
    }
}
