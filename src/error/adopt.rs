//! Why a socket from elsewhere was not adopted.

use std::{fmt, io};

use crate::config::ConfigError;

/// Reports why [`Reactor::adopt_listener`](crate::Reactor::adopt_listener) or
/// [`Reactor::adopt_stream`](crate::Reactor::adopt_stream) did not adopt a descriptor. The descriptor is closed.
#[derive(Debug)]
#[non_exhaustive]
pub enum AdoptError {
    /// The reactor drains or has stopped.
    Ending,
    /// The descriptor is something else than what is to be adopted.
    Unfit {
        /// What the descriptor is, such as `a listening socket`.
        observed: String,
        /// What it must be.
        expected: &'static str,
    },
    /// More bytes were read before than one connection reads at once.
    UnreadTooLong {
        /// The length of the bytes.
        len: usize,
        /// The limit, in bytes.
        max: usize,
    },
    /// The limit of connections is reached, and none is idle for `reclaim_idle`.
    ConnectionsMax {
        /// The limit, `max_connections`.
        allowed: usize,
    },
    /// The limit of connections from the peer's network is reached.
    PerIpMax {
        /// The limit, `max_per_ip`.
        allowed: usize,
    },
    /// [`Handler::on_open`](crate::Handler::on_open) panicked.
    HandlerPanicked,
    /// An option is out of its range.
    Config(ConfigError),
    /// A system call failed, or the readiness queue refused the descriptor.
    Io(io::Error),
}

impl fmt::Display for AdoptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ending => f.write_str("the reactor drains or has stopped"),
            Self::Unfit { observed, expected } => write!(f, "the descriptor is {observed} and must be {expected}"),
            Self::UnreadTooLong { len, max } => write!(f, "{len} unread bytes exceed the limit of {max}"),
            Self::ConnectionsMax { allowed } => write!(f, "the limit of {allowed} connections is reached"),
            Self::PerIpMax { allowed } => {
                write!(f, "the limit of {allowed} connections from the peer's network is reached")
            }
            Self::HandlerPanicked => f.write_str("the handler panicked in on_open"),
            Self::Config(error) => error.fmt(f),
            Self::Io(error) => write!(f, "the descriptor cannot be adopted: {error}"),
        }
    }
}

impl std::error::Error for AdoptError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::Config(error) => Some(error),
            Self::Ending
            | Self::Unfit { .. }
            | Self::UnreadTooLong { .. }
            | Self::ConnectionsMax { .. }
            | Self::PerIpMax { .. }
            | Self::HandlerPanicked => None,
        }
    }
}

impl From<io::Error> for AdoptError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}
