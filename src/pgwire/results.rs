//! What a statement gives back, on its way to the client: notices, rows, copy data, command tags.

use crate::cancel::Interrupt;
use crate::connection::Connection;
use crate::copy_out::CopyEncoder;
use crate::encode::{EncodedRows, RowEncoder, describe_columns};
use crate::wire::{Step, Stop, Wire};
use bytes::{BufMut, BytesMut};
use futures::StreamExt;
use headwater::{CopyFormat, CopyKind, Error, Notice, Outcome, Rows};
use pgwire::messages::copy::MESSAGE_TYPE_BYTE_COPY_DATA;
use pgwire::messages::response::CommandComplete;

/// Rows are written to the socket's buffer so many at a time, so that it is sent between them.
const ROWS_A_TURN: usize = 1024;

/// Rows that are being sent, perhaps in several portions.
pub struct Sending {
    rows: Rows,
    encoder: RowEncoder,
    current: Option<EncodedRows>,
    is_finished: bool,
    sent: u64,
}

impl Sending {
    /// Nothing sent yet; `formats` are the codes of Bind.
    pub fn new(rows: Rows, formats: &[i16]) -> Step<Self> {
        let encoder = RowEncoder::new(rows.schema.clone(), formats)?;
        Ok(Self { rows, encoder, current: None, is_finished: false, sent: 0 })
    }

    /// Announces the columns.
    pub fn describe(&self, wire: &mut Wire) -> Step {
        wire.put(&describe_columns(self.encoder.schema(), self.encoder.formats())?)
    }

    /// Sends up to `rows_max` rows; true when there are no more.
    pub async fn send(&mut self, wire: &mut Wire, interrupt: &Interrupt, rows_max: usize) -> Step<bool> {
        let mut left = rows_max;
        while left > 0 {
            if self.current.as_ref().is_none_or(EncodedRows::is_finished) && !self.next_batch(wire, interrupt).await? {
                return Ok(true);
            }
            let Some(current) = &mut self.current else { continue };
            let written = current.write(left.min(ROWS_A_TURN), wire.output());
            left -= written;
            self.sent += u64::try_from(written).unwrap_or(0);
            wire.relieve().await?;
        }
        // Whether there are more can only be known by looking.
        while self.current.as_ref().is_none_or(EncodedRows::is_finished) {
            if !self.next_batch(wire, interrupt).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn next_batch(&mut self, wire: &mut Wire, interrupt: &Interrupt) -> Step<bool> {
        if self.is_finished {
            return Ok(false);
        }
        match next(&mut self.rows, wire, interrupt).await? {
            Some(batch) => self.current = Some(self.encoder.encode(&batch)?),
            None => self.is_finished = true,
        }
        Ok(!self.is_finished)
    }

    /// What there is to say once all rows are sent.
    pub fn notices(&self) -> Vec<Notice> {
        self.rows.notices()
    }

    /// How many rows were sent so far.
    pub fn sent(&self) -> u64 {
        self.sent
    }
}

/// The next batch of `rows`, unless the statement is cancelled or the client leaves.
async fn next(rows: &mut Rows, wire: &mut Wire, interrupt: &Interrupt) -> Step<Option<arrow::array::RecordBatch>> {
    let mut cancelled = interrupt.watch();
    tokio::select! {
        biased;
        _ = cancelled.changed() => Err(Stop::Failed(Error::cancelled("canceling statement due to user request"))),
        batch = rows.stream.next() => Ok(batch.transpose().map_err(headwater::query_error)?),
        () = wire.gone() => Err(Stop::Gone),
    }
}

/// `SELECT` with the number of rows, as clients expect; tags that have no number, or have theirs already, as they are.
pub fn complete_tag(tag: &str, rows: Option<u64>) -> String {
    match (tag, rows) {
        ("SELECT" | "FETCH" | "COPY" | "VALUES" | "TABLE", Some(rows)) => {
            let word = if matches!(tag, "VALUES" | "TABLE") { "SELECT" } else { tag };
            format!("{word} {rows}")
        }
        _ => tag.to_owned(),
    }
}

impl Connection {
    /// The answer to a statement of the simple protocol: columns and all rows, or copy data, then the tag.
    pub async fn answer(&mut self, outcome: Outcome) -> Step {
        let Outcome { mut tag, notices, rows, copy } = outcome;
        self.wire.put_notices(&notices)?;
        let sent = match (rows, copy) {
            (Some(rows), CopyKind::Out(format)) => Some(self.copy_out(rows, &format).await?),
            (Some(rows), _) => {
                let mut sending = Sending::new(rows, &[])?;
                sending.describe(&mut self.wire)?;
                sending.send(&mut self.wire, &self.interrupt, usize::MAX).await?;
                self.wire.put_notices(&sending.notices())?;
                Some(sending.sent())
            }
            (None, CopyKind::In(copy)) => {
                tag = self.copy_in(*copy).await?;
                None
            }
            (None, _) => None,
        };
        self.wire.put(&CommandComplete::new(complete_tag(&tag, sent)))
    }

    /// Rows as copy data; returns how many. A subscription has no last row: it ends when the client cancels or leaves.
    pub async fn copy_out(&mut self, mut rows: Rows, format: &CopyFormat) -> Step<u64> {
        let encoder = CopyEncoder::new(rows.schema.clone(), format)?;
        self.wire.put(&encoder.response())?;
        if let Some(header) = encoder.header() {
            put_line(&header, self.wire.output());
        }
        // The client sees that the copy has begun, even if no row comes for long.
        self.wire.flush().await?;
        let mut sent = 0;
        while let Some(batch) = next(&mut rows, &mut self.wire, &self.interrupt).await? {
            let out = self.wire.output();
            encoder.each_line(&batch, |line| put_line(line, out))?;
            sent += u64::try_from(batch.num_rows()).unwrap_or(0);
            self.wire.flush().await?;
        }
        self.wire.put(&pgwire::messages::copy::CopyDone::new())?;
        self.wire.put_notices(&rows.notices())?;
        Ok(sent)
    }
}

/// A line as a `CopyData` message.
fn put_line(line: &[u8], out: &mut BytesMut) {
    out.reserve(line.len() + 5);
    out.put_u8(MESSAGE_TYPE_BYTE_COPY_DATA);
    out.put_i32(i32::try_from(line.len() + 4).unwrap_or(i32::MAX));
    out.put_slice(line);
}
#[cfg(test)]
mod tests {
    use super::complete_tag;

    #[test]
    fn tags_count_what_was_sent() {
        assert_eq!(complete_tag("SELECT", Some(3)), "SELECT 3");
        assert_eq!(complete_tag("INSERT 0 2", Some(2)), "INSERT 0 2");
        assert_eq!(complete_tag("SHOW", Some(1)), "SHOW");
        assert_eq!(complete_tag("CREATE TABLE", None), "CREATE TABLE");
        assert_eq!(complete_tag("COPY", Some(0)), "COPY 0");
    }
}
