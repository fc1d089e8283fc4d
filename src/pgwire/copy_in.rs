//! COPY … FROM STDIN over the wire: asks for the rows, reads them, hands them to the session.

use crate::connection::{Connection, attended};
use crate::copy_text::CopyText;
use crate::wire::{Step, Stop};
use headwater::{CopyIn, Error};
use pgwire::messages::PgWireFrontendMessage;
use pgwire::messages::copy::CopyInResponse;

impl Connection {
    /// Takes all rows of a COPY; returns the command tag.
    pub async fn copy_in(&mut self, mut copy: CopyIn) -> Step<String> {
        let mut text = CopyText::new(&copy)?;
        let columns = copy.fields().len();
        self.wire.put(&CopyInResponse::new(0, i16::try_from(columns).unwrap_or(i16::MAX), vec![0; columns]))?;
        self.wire.flush().await?;
        match self.copy_all(&mut copy, &mut text).await {
            Err(Stop::Failed(error)) => Err(Stop::Failed(copy.explain(error))),
            other => other,
        }
    }

    async fn copy_all(&mut self, copy: &mut CopyIn, text: &mut CopyText) -> Step<String> {
        use PgWireFrontendMessage as M;
        let mut cancelled = self.interrupt.watch();
        loop {
            let message = tokio::select! {
                biased;
                _ = cancelled.changed() => return Err(Error::cancelled("canceling statement due to user request").into()),
                message = self.wire.receive() => message?,
            };
            match message {
                Some(M::CopyData(data)) => text.feed(&data.data)?,
                Some(M::CopyDone(_)) => {
                    text.end()?;
                    self.copy_ready(copy, text, 1).await?;
                    return attended(&mut self.wire, &self.interrupt, self.session.copy_end(copy)).await;
                }
                Some(M::CopyFail(fail)) => {
                    let message = format!("COPY from stdin failed: {}", fail.message);
                    return Err(Error::cancelled(message).into());
                }
                Some(M::Flush(_) | M::Sync(_)) => {}
                Some(other) => return Err(Stop::Fatal(Error::invalid(format!("{other:?} during COPY from stdin")).with_sqlstate("08P01"))),
                None => return Err(Stop::Gone),
            }
            self.copy_ready(copy, text, CopyText::BATCH_ROWS).await?;
        }
    }

    /// Hands over what has been read, if it is at least `rows_min` rows.
    async fn copy_ready(&mut self, copy: &mut CopyIn, text: &mut CopyText, rows_min: usize) -> Step {
        if text.rows() < rows_min {
            return Ok(());
        }
        let rows = text.take()?;
        attended(&mut self.wire, &self.interrupt, self.session.copy_rows(copy, rows)).await
    }
}
