//! Reading a fixed set of files to their ends, several readers taking them from one queue.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arrow::array::RecordBatch;
use headwater_types::Result;

use super::parquet::ParquetFile;
use super::place::{Piece, Place};
use super::records::{Included, RecordFile};
use crate::format::Decoder;
use crate::pause::pause;
use crate::{Encoding, Partition, Position, Positions, Source, SourceBatch, SourceDefinition, SourceEvent};

/// Reads one file at a time.
pub(super) struct FileReader {
    definition: SourceDefinition,
    includes: Vec<Included>,
    last_line_counts: bool,
    /// Shared by the files that are read one after the other; `None` for Parquet.
    decoder: Option<Decoder>,
}

/// A file being read.
pub(super) enum OpenFile {
    Records(RecordFile),
    Parquet(ParquetFile),
}

impl FileReader {
    pub(super) fn new(definition: &SourceDefinition, includes: &[Included], last_line_counts: bool) -> Result<Self> {
        let decoder = (definition.encoding != Encoding::Parquet).then(|| Decoder::new(definition)).transpose()?;
        Ok(Self { definition: definition.clone(), includes: includes.to_vec(), last_line_counts, decoder })
    }

    pub(super) fn encoding(&self) -> Encoding {
        self.definition.encoding
    }

    /// Opens `path` at `place`, to be read up to `upto`; the file opened before is not read again.
    pub(super) fn open(&mut self, path: &str, place: Place, upto: Option<Place>) -> Result<OpenFile> {
        Ok(match &mut self.decoder {
            Some(decoder) => OpenFile::Records(RecordFile::open(path, place, upto, self.last_line_counts, decoder)?),
            None => {
                let is_whole = self.last_line_counts;
                OpenFile::Parquet(ParquetFile::open(&self.definition, &self.includes, path, place, upto, is_whole)?)
            }
        })
    }

    /// The next rows of `file`; `None` if nothing has come since the last ones.
    pub(super) fn next(&mut self, file: &mut OpenFile) -> Result<Option<Piece>> {
        match (file, &mut self.decoder) {
            (OpenFile::Records(file), Some(decoder)) => file.next(decoder, &self.includes),
            (OpenFile::Parquet(file), _) => file.next(),
            (OpenFile::Records(_), None) => Ok(None),
        }
    }
}

impl OpenFile {
    /// True once it stands where it is to stop.
    pub(super) fn is_stopped(&self) -> bool {
        match self {
            OpenFile::Records(file) => file.is_stopped(),
            OpenFile::Parquet(file) => file.is_stopped(),
        }
    }

    /// True if at the end nothing is left that may become a record.
    pub(super) fn is_read(&self) -> bool {
        match self {
            OpenFile::Records(file) => file.is_read(),
            OpenFile::Parquet(_) => true,
        }
    }

    /// The bytes up to which there is no whole record that was not read, if that is known.
    pub(super) fn bytes_seen(&self) -> Option<u64> {
        match self {
            OpenFile::Records(file) => Some(file.seen()),
            OpenFile::Parquet(_) => None,
        }
    }
}

/// Where each file is to stop, for a reader that must not pass others.
#[derive(Default)]
pub(super) struct Limits(Option<BTreeMap<Partition, Place>>);

impl Limits {
    pub(super) fn read(upto: &Positions) -> Result<Self> {
        Ok(Self(Some(upto.iter().map(|(p, position)| Ok((p.clone(), Place::read(position)?))).collect::<Result<_>>()?)))
    }

    pub(super) fn are_set(&self) -> bool {
        self.0.is_some()
    }

    /// Where `partition`, which stands at `place`, is to stop; none if nothing limits it. False if there is nothing to read before that.
    pub(super) fn of(&self, partition: &Partition, place: Place) -> (Option<Place>, bool) {
        let Some(limits) = &self.0 else { return (None, true) };
        let upto = limits.get(partition).copied().unwrap_or(place);
        (Some(upto), place.offset < upto.offset)
    }
}

/// The rows of `piece` as an event of `partition`.
pub(super) fn event(partition: &Partition, piece: Piece) -> SourceEvent {
    let Piece { rows, rejects, place } = piece;
    let lag = place.is_end.then_some(0);
    SourceEvent::Rows(SourceBatch { partition: partition.clone(), rows, rejects, next: place.position(), lag })
}

/// What a bounded source still has to read.
pub(super) struct Queue {
    /// In the order of their names.
    pub files: VecDeque<(Partition, Place)>,
    /// Files that are to be announced.
    pub news: Vec<(Partition, Position)>,
    /// Files that were read to their ends and are no more.
    pub gone: Vec<Partition>,
}

/// One reader of a bounded source.
pub(super) struct BoundedReader {
    files: FileReader,
    queue: Arc<Mutex<Queue>>,
    /// The file being read, and the place that was told last.
    open: Option<(Partition, Place, OpenFile)>,
    limits: Limits,
    flushes: Vec<u64>,
    is_finished: bool,
}

impl BoundedReader {
    pub(super) fn new(files: FileReader, queue: Arc<Mutex<Queue>>) -> Self {
        Self { files, queue, open: None, limits: Limits::default(), flushes: Vec::new(), is_finished: false }
    }

    /// Tells of new files and takes the next one; false if there is none.
    fn take_file(&mut self, events: &mut Vec<SourceEvent>) -> Result<bool> {
        let next = {
            let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
            events.extend(queue.news.drain(..).map(|(partition, position)| SourceEvent::Found(partition, position)));
            events.extend(queue.gone.drain(..).map(SourceEvent::Closed));
            queue.files.pop_front()
        };
        let Some((partition, place)) = next else { return Ok(false) };
        let (upto, is_open) = self.limits.of(&partition, place);
        if is_open {
            let file = self.files.open(&partition, place, upto)?;
            self.open = Some((partition, place, file));
        } else if let Some(upto) = upto.filter(|upto| upto.is_end && !place.is_end && upto.offset == place.offset) {
            events.push(self.end_of_nothing(&partition, upto));
        }
        Ok(true)
    }

    /// Tells that a file without records was read to its end, `place`: it may go.
    fn end_of_nothing(&self, partition: &Partition, place: Place) -> SourceEvent {
        let rows = RecordBatch::new_empty(self.files.definition.schema.clone());
        event(partition, Piece { rows, rejects: Vec::new(), place: Place { is_end: true, ..place } })
    }
}

impl Source for BoundedReader {
    fn poll(&mut self, wait: Duration, events: &mut Vec<SourceEvent>) -> Result<()> {
        if self.is_finished {
            events.extend(self.flushes.drain(..).map(SourceEvent::Flushed));
            pause(wait);
            return Ok(());
        }
        if self.open.is_none() && !self.take_file(events)? {
            if self.limits.are_set() {
                pause(wait);
                return Ok(());
            }
            self.is_finished = true;
            events.extend(self.flushes.drain(..).map(SourceEvent::Flushed));
            events.push(SourceEvent::Finished);
            return Ok(());
        }
        let Some((partition, mut place, mut file)) = self.open.take() else { return Ok(()) };
        let piece = self.files.next(&mut file)?;
        let is_end = piece.as_ref().is_none_or(|p| p.place.is_end);
        match piece {
            Some(piece) => {
                place = piece.place;
                events.push(event(&partition, piece));
            }
            None if !place.is_end => events.push(self.end_of_nothing(&partition, place)),
            None => {}
        }
        if file.is_stopped() {
            return Ok(());
        }
        if is_end {
            events.push(SourceEvent::AtEnd(partition.clone()));
            events.push(SourceEvent::Closed(partition));
        } else {
            self.open = Some((partition, place, file));
        }
        Ok(())
    }

    /// What exists is all that will be read: it is told when the last file is.
    fn flush(&mut self, token: u64) -> Result<()> {
        self.flushes.push(token);
        Ok(())
    }

    fn stop_at(&mut self, upto: &Positions) -> Result<()> {
        self.limits = Limits::read(upto)?;
        Ok(())
    }
}
