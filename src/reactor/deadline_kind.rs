//! The kinds of deadline, and how their instants are stored.

use std::time::{Duration, Instant};

use crate::error::CloseReason;

/// Names what a deadline of a connection is for: [`Deadline`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DeadlineKind {
    /// From the last byte in either direction to the next.
    Idle,
    /// From a frame's first byte to its last.
    Frame,
    /// A window over which pending output is measured, whether it is queued or in the kernel; or from the peer's FIN until the
    /// handler has accepted the input before it.
    Write,
    /// From our FIN to the peer's; and before, for the transport to send FIN.
    Linger,
    /// From a dial to the established connection.
    Connect,
}

/// Describes a running deadline of a connection or of a dial: [`Reactor::deadlines_of`](crate::Reactor::deadlines_of).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Deadline {
    /// What it is for.
    pub kind: DeadlineKind,
    /// When it expires. It has passed if the connection still has to run for the last time before it is judged.
    pub at: Instant,
    /// The timeout: how long before `at` it began.
    pub timeout: Duration,
}

impl DeadlineKind {
    /// Returns its name in lower case: `idle`, `frame`, `write`, `linger` or `connect`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Frame => "frame",
            Self::Write => "write",
            Self::Linger => "linger",
            Self::Connect => "connect",
        }
    }

    pub(crate) const ALL: [Self; 5] = [Self::Idle, Self::Frame, Self::Write, Self::Linger, Self::Connect];

    /// The reason of a connection that is closed at this deadline. A lingering connection keeps the reason that it has; a
    /// dial is no connection yet.
    pub(crate) fn reason(self) -> CloseReason {
        match self {
            Self::Idle => CloseReason::IdleTimeout,
            Self::Frame => CloseReason::FrameTimeout,
            Self::Write => CloseReason::WriteTimeout,
            Self::Linger | Self::Connect => CloseReason::Cut,
        }
    }
}

/// A set of kinds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Kinds(u8);

impl Kinds {
    pub(crate) fn insert(&mut self, kind: DeadlineKind) {
        self.0 |= 1 << kind as u8;
    }

    pub(crate) fn contains(self, kind: DeadlineKind) -> bool {
        self.0 & (1 << kind as u8) != 0
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// A deadline that is not set, or too far away to be counted, in nanoseconds.
pub(crate) const NOT_SET: u64 = u64::MAX;

/// The number of nanoseconds, which is exact up to 584 years.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(NOT_SET - 1)
}
