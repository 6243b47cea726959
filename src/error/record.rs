//! Why a connection is not recorded.

use std::fmt;

/// Reports why [`Reactor::record`](crate::Reactor::record) records nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RecordRefused {
    /// The connection has closed, or is a dial in progress.
    Closed,
    /// The limit of recordings is reached.
    TooMany {
        /// The limit, 16.
        allowed: usize,
    },
}

impl fmt::Display for RecordRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the connection is closed, or not connected yet"),
            Self::TooMany { allowed } => write!(f, "{allowed} connections are recorded, as many as can be; stop one"),
        }
    }
}

impl std::error::Error for RecordRefused {}
