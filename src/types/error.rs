//! The one error of the house, its kinds split by what whoever sees it must do.

use std::fmt;

/// `Result` with the house's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What the caller must do about an [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The statement is wrong: correct the SQL or the value.
    Invalid,
    /// A named thing does not exist.
    NotFound,
    /// A thing of that name exists already.
    Exists,
    /// Right SQL that this version does not do; the message names the construct.
    Unsupported,
    /// Others depend on it, or it is in use.
    InUse,
    /// A budget is reached: raise it or ask for less.
    Limit,
    /// Something outside (broker, database, object store) failed: retried with back-off.
    External,
    /// The disk failed or is full.
    Storage,
    /// Stored data is not what was written, or of a newer version: stop, guess nothing.
    Corrupt,
    /// Cancelled by the user or by shutdown.
    Cancelled,
    /// Another process owns the data directory or the checkpoint URL.
    Fenced,
    /// Ours: report it.
    Bug,
}

impl ErrorKind {
    /// The SQLSTATE that a Postgres client gets when the error does not carry a closer one.
    #[must_use]
    pub fn sqlstate(self) -> &'static str {
        match self {
            ErrorKind::Invalid => "42000",
            ErrorKind::NotFound => "42704",
            ErrorKind::Exists => "42710",
            ErrorKind::Unsupported => "0A000",
            ErrorKind::InUse => "2BP01",
            ErrorKind::Limit => "53000",
            ErrorKind::External => "58000",
            ErrorKind::Storage => "58030",
            ErrorKind::Corrupt => "XX001",
            ErrorKind::Cancelled => "57014",
            ErrorKind::Fenced => "55006",
            ErrorKind::Bug => "XX000",
        }
    }

    /// True where trying again later can help.
    #[must_use]
    pub fn is_retryable(self) -> bool {
        matches!(self, ErrorKind::External)
    }
}

/// What went wrong, in words for the person who must act: message, and where there are any detail, hint and the place in the SQL.
#[derive(Clone)]
pub struct Error {
    inside: Box<Inside>,
}

#[derive(Clone)]
struct Inside {
    kind: ErrorKind,
    message: String,
    detail: Option<String>,
    hint: Option<String>,
    sqlstate: Option<&'static str>,
    /// 1-based character offset and length of the offending text in the statement.
    place: Option<(usize, usize)>,
}

macro_rules! constructors {
    ($($(#[$doc:meta])* $name:ident => $kind:ident;)*) => {
        $($(#[$doc])* pub fn $name(message: impl Into<String>) -> Self { Self::new(ErrorKind::$kind, message) })*
    };
}

impl Error {
    /// SQLSTATE of a disk without room: everything is as before, and goes on by itself once there is room.
    pub const DISK_FULL: &str = "53100";

    /// True for a write that failed only because the disk has no room: it was not applied, and the same write may be tried again.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        self.sqlstate() == Self::DISK_FULL
    }

    /// An error of `kind` that says `message`.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let inside = Inside { kind, message: message.into(), detail: None, hint: None, sqlstate: None, place: None };
        Self { inside: Box::new(inside) }
    }

    constructors! {
        /// The SQL or a value in it is wrong.
        invalid => Invalid;
        /// A named thing does not exist.
        not_found => NotFound;
        /// The name is taken.
        exists => Exists;
        /// Not there yet; `message` names the construct.
        unsupported => Unsupported;
        /// Others depend on it, or it is in use.
        in_use => InUse;
        /// A budget is reached.
        limit => Limit;
        /// The outside world failed.
        external => External;
        /// The disk failed.
        storage => Storage;
        /// Stored data is damaged or newer than this program.
        corrupt => Corrupt;
        /// Cancelled.
        cancelled => Cancelled;
        /// Somebody else owns it.
        fenced => Fenced;
        /// Our own mistake.
        bug => Bug;
    }

    /// Adds what is known beyond the message.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.inside.detail = Some(detail.into());
        self
    }

    /// Adds what the user can do.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.inside.hint = Some(hint.into());
        self
    }

    /// Sets a closer SQLSTATE than that of the kind.
    #[must_use]
    pub fn with_sqlstate(mut self, sqlstate: &'static str) -> Self {
        self.inside.sqlstate = Some(sqlstate);
        self
    }

    /// Points at the offending text: 1-based character offset in the statement, and its length in characters.
    #[must_use]
    pub fn at(mut self, offset: usize, length: usize) -> Self {
        self.inside.place = Some((offset, length));
        self
    }

    /// Puts `context: ` before the message.
    #[must_use]
    pub fn context(mut self, context: impl fmt::Display) -> Self {
        self.inside.message = format!("{context}: {}", self.inside.message);
        self
    }

    /// What the caller must do.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.inside.kind
    }

    /// One sentence, no final stop.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.inside.message
    }

    /// More facts, if any.
    #[must_use]
    pub fn detail(&self) -> Option<&str> {
        self.inside.detail.as_deref()
    }

    /// What to do, if we know.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.inside.hint.as_deref()
    }

    /// The five letters a Postgres client sees.
    #[must_use]
    pub fn sqlstate(&self) -> &'static str {
        self.inside.sqlstate.unwrap_or_else(|| self.inside.kind.sqlstate())
    }

    /// 1-based character offset and length of the offending text.
    #[must_use]
    pub fn place(&self) -> Option<(usize, usize)> {
        self.inside.place
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.inside.message)?;
        if let Some(detail) = &self.inside.detail {
            write!(f, "\nDETAIL: {detail}")?;
        }
        if let Some(hint) = &self.inside.hint {
            write!(f, "\nHINT: {hint}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.inside.kind)
    }
}

impl std::error::Error for Error {}

impl From<arrow::error::ArrowError> for Error {
    fn from(error: arrow::error::ArrowError) -> Self {
        use arrow::error::ArrowError as A;
        let kind = match error {
            A::DivideByZero | A::ArithmeticOverflow(_) | A::CastError(_) | A::ParseError(_) => ErrorKind::Invalid,
            _ => ErrorKind::Bug,
        };
        Error::new(kind, error.to_string())
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Error::storage(error.to_string())
    }
}
