//! The socket of one client: whole messages in, encoded messages out.

use bytes::BytesMut;
use headwater::{Error, Notice};
use pgwire::messages::response::{ErrorResponse, NoticeResponse};
use pgwire::messages::{DecodeContext, Message, PgWireFrontendMessage};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;

/// Messages are sent when so many bytes have gathered, or when the client must see them.
const SEND_BYTES: usize = 64 * 1024;
/// While a statement runs, no more than this is read ahead of it; then the client waits.
const READ_AHEAD_BYTES_MAX: usize = 1024 * 1024;
/// Notices of a running statement that may wait to be sent; more are left out.
const NOTICES_MAX: usize = 16;

/// Why a message was not dealt with.
#[derive(Debug)]
pub enum Stop {
    /// The client must be told; the connection goes on.
    Failed(Error),
    /// The client must be told, and then the connection ends.
    Fatal(Error),
    /// The client is gone: there is nobody to tell.
    Gone,
}

/// What handling a message comes to.
pub type Step<T = ()> = Result<T, Stop>;

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Stop::Failed(error)
    }
}

/// Both directions of a connection, with what was read and not yet handled, and what was written and not yet sent.
#[derive(Debug)]
pub struct Wire {
    reader: OwnedReadHalf,
    writer: OwnedWriteHalf,
    input: BytesMut,
    output: BytesMut,
    context: DecodeContext,
    /// What a running statement has to say.
    notices: mpsc::Receiver<Notice>,
}

impl Wire {
    /// Over `socket`.
    #[must_use]
    pub fn new(socket: TcpStream) -> Self {
        let (reader, writer) = socket.into_split();
        let mut context = DecodeContext::default();
        context.awaiting_frontend_ssl = true;
        let (input, output) = (BytesMut::with_capacity(8 * 1024), BytesMut::with_capacity(8 * 1024));
        // Nobody says anything before there is a session.
        let (_, notices) = mpsc::channel(1);
        Self { reader, writer, input, output, context, notices }
    }

    /// Where the session puts what a running statement has to say: [`Wire::meanwhile`] gives it.
    pub fn notices(&mut self) -> mpsc::Sender<Notice> {
        let (told, notices) = mpsc::channel(NOTICES_MAX);
        self.notices = notices;
        told
    }

    /// The client's address and port, while it is there.
    #[must_use]
    pub fn peer(&self) -> Option<String> {
        self.reader.peer_addr().ok().map(|address| address.to_string())
    }

    /// What the next message may be: a request for encryption, a start, or anything that comes after the start.
    pub fn expect(&mut self, encryption: bool, startup: bool) {
        self.context.awaiting_frontend_ssl = encryption;
        self.context.awaiting_frontend_startup = startup;
    }

    /// The next message; None when the client has closed its side.
    ///
    /// # Errors
    /// `Fatal` (08P01) for what is no message; `Gone`.
    pub async fn receive(&mut self) -> Step<Option<PgWireFrontendMessage>> {
        loop {
            let message = PgWireFrontendMessage::decode(&mut self.input, &self.context);
            match message.map_err(|e| Stop::Fatal(Error::invalid(e.to_string()).with_sqlstate("08P01")))? {
                Some(message) => return Ok(Some(message)),
                None if self.read().await? == 0 => return Ok(None),
                None => {}
            }
        }
    }

    async fn read(&mut self) -> Step<usize> {
        self.reader.read_buf(&mut self.input).await.map_err(|_| Stop::Gone)
    }

    /// Returns when the client has gone away; what it sends meanwhile is kept. Nothing is lost if this is dropped before.
    pub async fn gone(&mut self) {
        until_gone(&mut self.reader, &mut self.input).await;
    }

    /// What comes while a statement runs: something that it has to say, or `None` when the client has gone away, as [`Wire::gone`].
    pub async fn meanwhile(&mut self) -> Option<Notice> {
        tokio::select! {
            Some(notice) = self.notices.recv() => Some(notice),
            () = until_gone(&mut self.reader, &mut self.input) => None,
        }
    }

    /// Sends one notice now.
    ///
    /// # Errors
    /// `Gone`; as [`Wire::put`].
    pub async fn say(&mut self, notice: &Notice) -> Step {
        self.put_notice(notice)?;
        self.flush().await
    }

    /// Puts `message` behind what is to be sent.
    ///
    /// # Errors
    /// `Failed` where the message is too large for the protocol.
    pub fn put(&mut self, message: &impl Message) -> Step {
        let start = self.output.len();
        message.encode(&mut self.output).map_err(|e| {
            self.output.truncate(start);
            Stop::Failed(Error::limit(format!("a message to the client: {e}")))
        })
    }

    /// Where encoded rows are appended.
    pub fn output(&mut self) -> &mut BytesMut {
        &mut self.output
    }

    /// Sends what has gathered, if it is enough to be worth it.
    ///
    /// # Errors
    /// `Gone`.
    pub async fn relieve(&mut self) -> Step {
        if self.output.len() >= SEND_BYTES { self.flush().await } else { Ok(()) }
    }

    /// Sends everything.
    ///
    /// # Errors
    /// `Gone`.
    pub async fn flush(&mut self) -> Step {
        self.writer.write_all(&self.output).await.map_err(|_| Stop::Gone)?;
        self.output.clear();
        Ok(())
    }

    /// An `ErrorResponse` with all that is known of `error`.
    ///
    /// # Errors
    /// As [`Wire::put`].
    pub fn put_error(&mut self, severity: &str, error: &Error) -> Step {
        let mut fields = vec![(b'S', severity.to_owned()), (b'V', severity.to_owned()), (b'C', error.sqlstate().to_owned())];
        fields.push((b'M', clean(error.message())));
        fields.extend(error.detail().map(|d| (b'D', clean(d))));
        fields.extend(error.hint().map(|h| (b'H', clean(h))));
        fields.extend(error.place().map(|(offset, _)| (b'P', offset.to_string())));
        self.put(&ErrorResponse::new(fields))
    }

    /// A `NoticeResponse` each.
    ///
    /// # Errors
    /// As [`Wire::put`].
    pub fn put_notices(&mut self, notices: &[Notice]) -> Step {
        notices.iter().try_for_each(|notice| self.put_notice(notice))
    }

    fn put_notice(&mut self, notice: &Notice) -> Step {
        let sqlstate = if notice.severity == "WARNING" { "01000" } else { "00000" };
        let fields = vec![
            (b'S', notice.severity.to_owned()),
            (b'V', notice.severity.to_owned()),
            (b'C', sqlstate.to_owned()),
            (b'M', clean(&notice.message)),
        ];
        self.put(&NoticeResponse::new(fields))
    }
}

async fn until_gone(reader: &mut OwnedReadHalf, input: &mut BytesMut) {
    while input.len() < READ_AHEAD_BYTES_MAX {
        match reader.read_buf(input).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
    std::future::pending().await
}

/// The protocol ends texts with a zero byte.
fn clean(text: &str) -> String {
    text.replace('\0', "")
}
