//! Why an outbound connection attempt failed, or was not begun.

use std::time::Duration;
use std::{fmt, io};

use crate::config::ConfigError;

/// Reports why an outbound connection attempt failed. [`Handler::on_dial_failed`](crate::Handler::on_dial_failed) gets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DialError {
    /// No socket listens there (`ECONNREFUSED`).
    Refused,
    /// The peer did not answer in time.
    TimedOut {
        /// The limit, `connect_timeout`.
        allowed: Duration,
    },
    /// No port is left for this source and this destination (`EADDRNOTAVAIL` of `connect(2)`).
    NoPort,
    /// The source is not an address of this machine (`EADDRNOTAVAIL` of `bind(2)`).
    SourceNotLocal,
    /// The source and the destination have different address families: one is IPv4, the other IPv6.
    SourceFamily,
    /// The list of [`Dial::any_of`](crate::Dial::any_of) was empty.
    NoAddress,
    /// The process, or the system, has no descriptor left (`EMFILE`, `ENFILE`).
    NoDescriptor,
    /// The listen queue of a Unix socket is full (`EAGAIN`).
    QueueFull,
    /// The limit of connections is reached.
    ConnectionsMax {
        /// The limit, `max_connections`.
        allowed: usize,
    },
    /// The handler gave it up, or the reactor drains or stops.
    Canceled,
    /// A system call failed with another error.
    Io(io::ErrorKind),
}

impl DialError {
    /// Returns a short name of the error, without its values, in lower case.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::TimedOut { .. } => "timed out",
            Self::NoPort => "no port",
            Self::SourceNotLocal => "source not local",
            Self::SourceFamily => "source of another family",
            Self::NoAddress => "no address",
            Self::NoDescriptor => "no descriptor",
            Self::QueueFull => "listen queue full",
            Self::ConnectionsMax { .. } => "connections max",
            Self::Canceled => "canceled",
            Self::Io(_) => "i/o error",
        }
    }

    /// Whether another address of the same name may succeed.
    pub(crate) const fn is_of_address(&self) -> bool {
        match self {
            Self::Refused
            | Self::TimedOut { .. }
            | Self::NoPort
            | Self::SourceNotLocal
            | Self::SourceFamily
            | Self::QueueFull
            | Self::Io(_) => true,
            Self::NoAddress | Self::NoDescriptor | Self::ConnectionsMax { .. } | Self::Canceled => false,
        }
    }
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.write_str("refused: no socket listens there"),
            Self::TimedOut { allowed } => write!(f, "no answer within {allowed:?}"),
            Self::NoPort => f.write_str("no port is left for this source and destination"),
            Self::SourceNotLocal => f.write_str("the source is not an address of this machine"),
            Self::SourceFamily => f.write_str("the source and the destination are not both IPv4 or both IPv6"),
            Self::NoAddress => f.write_str("there is no address to dial"),
            Self::NoDescriptor => f.write_str("no descriptor is left"),
            Self::QueueFull => f.write_str("the listen queue is full"),
            Self::ConnectionsMax { allowed } => write!(f, "the limit of {allowed} connections is reached"),
            Self::Canceled => f.write_str("canceled"),
            Self::Io(kind) => write!(f, "a system call failed: {kind}"),
        }
    }
}

impl std::error::Error for DialError {}

/// Marks an error of `bind`, which has the same number as that of a `connect` without a free port.
#[derive(Debug)]
pub(crate) struct NotLocal;

impl fmt::Display for NotLocal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not an address of this machine")
    }
}

impl std::error::Error for NotLocal {}

impl From<&io::Error> for DialError {
    /// Converts the error of `socket`, `bind` or `connect`.
    fn from(error: &io::Error) -> Self {
        if is_out_of_descriptors(error) {
            return Self::NoDescriptor;
        }
        if error.get_ref().is_some_and(|inner| inner.is::<NotLocal>()) {
            return Self::SourceNotLocal;
        }
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::AddrNotAvailable => Self::NoPort,
            io::ErrorKind::WouldBlock => Self::QueueFull,
            kind => Self::Io(kind),
        }
    }
}

/// Reports why [`Context::dial`](crate::Context::dial) returned no id.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DialRefused {
    /// A limit or the framing of the dial is out of its range.
    Config(ConfigError),
    /// The reactor drains or has stopped.
    Ending,
    /// The limit of dials that wait for their first attempt is reached.
    TooMany {
        /// The limit, `dials_max`.
        allowed: usize,
    },
}

impl fmt::Display for DialRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::Ending => f.write_str("the reactor drains or has stopped"),
            Self::TooMany { allowed } => write!(f, "{allowed} dials wait to be begun, as many as dials_max allows"),
        }
    }
}

impl std::error::Error for DialRefused {}

/// Whether the process or the system has no descriptor left (`EMFILE`, `ENFILE`); there is no [`io::ErrorKind`] for that.
///
/// Rule: an error number is never written as a number; it is a constant of libc or an [`io::ErrorKind`].
pub(crate) fn is_out_of_descriptors(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}
