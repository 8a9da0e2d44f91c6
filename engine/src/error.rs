//! The error that users see: what failed, why, and what they can do about it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Shorthand for results of the public interface.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Errors sorted by what the reader should do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Correct the pipeline, the option or the command line.
    Configuration,
    /// Correct or skip the input record.
    BadRecord,
    /// The outside world failed; trying again may help.
    Unavailable,
    /// A checkpoint or another kept file is damaged or does not fit; restore from another one.
    CorruptState,
    /// A newer leader or attempt has taken over; this one must stop.
    Fenced,
    /// The outcome of an external call is unknown: it may have taken effect.
    Unknown,
    /// User code failed.
    UserFunction,
    /// The job failed for good.
    JobFailed,
    /// A rule of the engine itself was broken: please report it.
    Bug,
}

/// Whether a failed job may start again (Flink `ThrowableType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Recoverability {
    /// The restart strategy decides.
    Recoverable,
    /// It would fail in the same way: no strategy is asked.
    NonRecoverable,
}

impl ErrorKind {
    /// Whether a restart may help against an error of a task. State that is damaged or lost, and a wrong configuration,
    /// stay what they are.
    pub fn recoverability(self) -> Recoverability {
        match self {
            Self::Configuration | Self::CorruptState => Recoverability::NonRecoverable,
            Self::BadRecord
            | Self::Unavailable
            | Self::Fenced
            | Self::Unknown
            | Self::UserFunction
            | Self::JobFailed
            | Self::Bug => Recoverability::Recoverable,
        }
    }

    /// What every error of this kind is said to be.
    pub(crate) fn headline(self) -> &'static str {
        match self {
            Self::Configuration => "wrong configuration",
            Self::BadRecord => "bad record",
            Self::Unavailable => "unavailable",
            Self::CorruptState => "corrupt state",
            Self::Fenced => "fenced",
            Self::Unknown => "outcome unknown",
            Self::UserFunction => "user function failed",
            Self::JobFailed => "job failed",
            Self::Bug => "defect in tidegate",
        }
    }
}

/// What failed, in words for the user, with its cause and a hint.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    hint: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error with a message: a lower-case fragment that says what, where.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None, source: None }
    }

    /// Adds the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Adds what the user can do.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Ends the calling subtask with this error, out of a function of which the signature knows no failure, as that of a
    /// reduction. Nothing is printed, as it would be for a panic: what is caught at the edge of the subtask is this value.
    #[cold]
    pub(crate) fn end_subtask(self) -> ! {
        std::panic::resume_unwind(Box::new(self))
    }

    /// The same, when it is not known whether the call took effect.
    #[must_use]
    pub fn into_unknown(mut self) -> Self {
        self.kind = ErrorKind::Unknown;
        self
    }

    /// What the reader should do about it.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What the user can do, if we know.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// The message alone, without kind, cause or hint.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.headline(), self.message)?;
        let mut source = std::error::Error::source(self);
        while let Some(cause) = source {
            write!(f, ": {cause}")?;
            source = cause.source();
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
