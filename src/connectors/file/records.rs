//! A file of records, one a line (NDJSON, CSV), read in chunks from any place between two of them.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use headwater_types::{BATCH_ROWS_MAX, Result};

use super::listing::{cut_error, io_error, refuse_compressed_content};
use super::place::{Piece, Place};
use crate::Reject;
use crate::format::{Decoder, IncludeValue};

/// Read at once: large enough that a system call costs nothing, small enough to stay in the second-level cache.
const CHUNK_BYTES: usize = 256 << 10;
/// A record longer than this is rejected; usually it is a quote that nobody closed.
const RECORD_BYTES_MAX: usize = 16 << 20;
/// As many bytes of a record are kept where it is rejected.
const PAYLOAD_BYTES_MAX: usize = 64 << 10;
/// A piece ends early at so many bytes of rejected records.
const REJECTED_BYTES_MAX: usize = 1 << 20;

/// Windows programs write it before the first character of a text in UTF-8; it is none.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";
/// So many bytes tell whether a file begins with that, or is compressed.
const BEGINNING_BYTES: usize = 8;

/// What the connector fills in of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Included {
    /// The file's path.
    File,
    /// Byte offset of the record (in Parquet files: its row).
    Offset,
}

/// An open file and the bytes of it that are not decoded yet.
pub(super) struct RecordFile {
    path: String,
    file: File,
    /// Bytes read; those before `start` are decoded.
    buffer: Vec<u8>,
    start: usize,
    /// Where `start` is in the file.
    place: Place,
    /// Nothing is read from here on.
    upto: Option<Place>,
    /// What follows the last line end counts as a record: nobody will complete it.
    last_line_counts: bool,
}

impl RecordFile {
    /// Opens `path` at `place`. A header is read again, and told to `decoder`, which must read nothing else until this file is dropped.
    ///
    /// # Errors
    /// `External` if the file is gone, as [`cut_error`] if it is shorter than `place`; `Invalid` for a header that does not fit; `Unsupported` if it is compressed.
    pub(super) fn open(path: &str, place: Place, upto: Option<Place>, last_line_counts: bool, decoder: &mut Decoder) -> Result<Self> {
        let file = File::open(path).map_err(|error| io_error(path, &error))?;
        let place = Place { is_end: false, ..place };
        let mut opened =
            Self { path: path.to_owned(), file, buffer: Vec::new(), start: 0, place: Place::default(), upto, last_line_counts };
        if place.offset == 0 || decoder.has_header() {
            opened.read_beginning()?;
        }
        if decoder.has_header() {
            opened.read_header(decoder)?;
        }
        if place.offset > 0 && place != opened.place {
            let length = opened.file.metadata().map_err(|error| io_error(path, &error))?.len();
            if length < place.offset {
                let message =
                    format!("file '{path}' is {length} bytes long, and {} of it have been read: it was cut or replaced", place.offset);
                return Err(cut_error(message, !last_line_counts));
            }
            opened.file.seek(SeekFrom::Start(place.offset)).map_err(|error| io_error(path, &error))?;
            opened.buffer.clear();
            opened.start = 0;
            opened.place = place;
        }
        Ok(opened)
    }

    /// Passes over what stands before the first record.
    fn read_beginning(&mut self) -> Result<()> {
        while self.buffer.len() < BEGINNING_BYTES && self.fill()? > 0 {}
        refuse_compressed_content(&self.path, &self.buffer)?;
        if self.buffer.starts_with(BYTE_ORDER_MARK) {
            self.advance(BYTE_ORDER_MARK.len(), 0);
        }
        Ok(())
    }

    fn read_header(&mut self, decoder: &mut Decoder) -> Result<()> {
        if let Some(length) = self.next_end(decoder)? {
            let header = &self.buffer[self.start..self.start + length];
            decoder.header(header).map_err(|error| error.context(format!("file '{}'", self.path)))?;
            self.advance(length, decoder.lines(header));
        }
        Ok(())
    }

    /// Decodes records until a batch is full, much was rejected or no whole record follows; `None` if none has come since.
    ///
    /// # Errors
    /// `External` if the file cannot be read.
    pub(super) fn next(&mut self, decoder: &mut Decoder, includes: &[Included]) -> Result<Option<Piece>> {
        let before = self.place.offset;
        let (mut rejects, mut rejected_bytes) = (Vec::new(), 0);
        // Looking for one record more than fits tells whether this is the end.
        let mut end = self.next_end(decoder)?;
        while let Some(length) =
            end.filter(|_| decoder.rows() < BATCH_ROWS_MAX && rejected_bytes < REJECTED_BYTES_MAX && !self.is_stopped())
        {
            let record = &self.buffer[self.start..self.start + length];
            if !record.trim_ascii_start().is_empty() {
                let reason = if length > RECORD_BYTES_MAX {
                    Err(format!("a record of more than {RECORD_BYTES_MAX} bytes"))
                } else {
                    decode(decoder, record, includes, &self.path, self.place.offset)
                };
                if let Err(reason) = reason {
                    let payload = crate::format::trim_line_end(record);
                    let payload = payload[..payload.len().min(PAYLOAD_BYTES_MAX)].to_vec();
                    rejected_bytes += payload.len() + 64;
                    let position = format!("line {}, byte {}", self.place.line + 1, self.place.offset);
                    rejects.push(Reject { position, reason, payload });
                }
            }
            let lines = decoder.lines(record);
            self.advance(length, lines);
            end = self.next_end(decoder)?;
        }
        if self.place.offset == before {
            return Ok(None);
        }
        let place = self.upto.filter(|_| self.is_stopped()).unwrap_or(Place { is_end: end.is_none() && self.is_read(), ..self.place });
        Ok(Some(Piece { rows: decoder.finish()?, rejects, place }))
    }

    /// True once it stands where it is to stop.
    pub(super) fn is_stopped(&self) -> bool {
        self.upto.is_some_and(|upto| self.place.offset >= upto.offset)
    }

    /// How far the file has been looked at: up to here there is no whole record that was not decoded.
    pub(super) fn seen(&self) -> u64 {
        self.place.offset + (self.buffer.len() - self.start) as u64
    }

    /// True if no byte has come that is not decoded: at the end of the file there is no half line.
    pub(super) fn is_read(&self) -> bool {
        self.start == self.buffer.len()
    }

    fn advance(&mut self, length: usize, lines: u64) {
        self.start += length;
        self.place.offset += length as u64;
        self.place.line += lines;
    }

    /// The length of the next record, its line end included, once all of it is in the buffer. A record that is too long ends where that is known.
    #[inline]
    fn next_end(&mut self, decoder: &Decoder) -> Result<Option<usize>> {
        if let Some(end) = decoder.record_end(&self.buffer[self.start..]) {
            return Ok(Some(end));
        }
        self.next_end_in_file(decoder)
    }

    fn next_end_in_file(&mut self, decoder: &Decoder) -> Result<Option<usize>> {
        loop {
            let read = self.fill()?;
            let rest = &self.buffer[self.start..];
            if let Some(end) = decoder.record_end(rest) {
                return Ok(Some(end));
            }
            if rest.len() > RECORD_BYTES_MAX {
                // Go on behind the line in which it became too long.
                let line = memchr::memchr(b'\n', &rest[RECORD_BYTES_MAX..]).map(|at| RECORD_BYTES_MAX + at + 1);
                if line.is_some() || read == 0 {
                    return Ok(Some(line.unwrap_or(rest.len())));
                }
            }
            if read == 0 {
                return Ok((self.last_line_counts && !rest.is_empty()).then_some(rest.len()));
            }
        }
    }

    /// Reads the next chunk behind what is not decoded yet: how many bytes came.
    fn fill(&mut self) -> Result<usize> {
        self.buffer.drain(..self.start);
        self.start = 0;
        let kept = self.buffer.len();
        // Doubling keeps the search for the end of a long record from becoming quadratic.
        self.buffer.resize(kept + CHUNK_BYTES.max(kept), 0);
        loop {
            match self.file.read(&mut self.buffer[kept..]) {
                Ok(read) => {
                    self.buffer.truncate(kept + read);
                    return Ok(read);
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.buffer.truncate(kept);
                    return Err(io_error(&self.path, &error));
                }
            }
        }
    }
}

#[inline]
fn decode(decoder: &mut Decoder, record: &[u8], includes: &[Included], path: &str, offset: u64) -> std::result::Result<(), String> {
    if includes.is_empty() {
        return decoder.decode(record, &[]);
    }
    let value = |included: &Included| match included {
        Included::File => IncludeValue::Text(path),
        Included::Offset => IncludeValue::Integer(offset.cast_signed()),
    };
    let values: Vec<IncludeValue<'_>> = includes.iter().map(value).collect();
    decoder.decode(record, &values)
}
