//! The one error type: what failed, whether trying again can help, and what the user can do.
//!
//! An error is *transient* (reconnect or retry and go on), *definite* (this position, table or setting
//! can never work as it is) or *usage* (the command line or job file is wrong; exit code 2).

use std::fmt;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What trying again would bring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The network, a restart, a limit that frees itself: the same call may succeed later.
    Transient,
    /// Repeating the call gives the same answer; somebody has to change something first.
    Definite,
    /// The command line or the job file is wrong.
    Usage,
}

/// A failure with its operation, its cause and a hint. Never holds a password.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    message: String,
    hint: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    pub fn transient(message: impl Into<String>) -> Self {
        Self::new(Kind::Transient, message)
    }

    pub fn definite(message: impl Into<String>) -> Self {
        Self::new(Kind::Definite, message)
    }

    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }

    fn new(kind: Kind, message: impl Into<String>) -> Self {
        Error { kind, message: message.into(), hint: None, source: None }
    }

    /// Says what the user can do about it. A later hint replaces an earlier one.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says what else the user can do: goes on after "Or".
    #[must_use]
    pub(crate) fn or(mut self, other: impl fmt::Display) -> Self {
        self.hint = Some(match self.hint {
            Some(hint) => format!("{hint}. Or {other}"),
            None => other.to_string(),
        });
        self
    }

    /// Keeps the cause; it is shown behind the message.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Puts where it happened before the message: `context("table shop.orders")`.
    #[must_use]
    pub fn context(mut self, context: impl fmt::Display) -> Self {
        self.message = format!("{context}: {}", self.message);
        self
    }

    /// The cause, when it is of this type.
    pub fn cause<T: std::error::Error + 'static>(&self) -> Option<&T> {
        self.source.as_deref()?.downcast_ref()
    }

    /// Trying again will not help after all.
    #[must_use]
    pub(crate) fn into_definite(mut self) -> Self {
        self.kind = Kind::Definite;
        self
    }

    /// Trying again may help after all.
    #[must_use]
    pub(crate) fn into_transient(mut self) -> Self {
        self.kind = Kind::Transient;
        self
    }

    /// What failed, without cause and hint.
    pub fn message(&self) -> &str {
        &self.message
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    pub fn is_transient(&self) -> bool {
        self.kind == Kind::Transient
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        let mut cause = self.source.as_deref().map(|source| source as &dyn std::error::Error);
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        match &self.hint {
            Some(hint) => write!(f, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}
