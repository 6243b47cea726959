//! Errors: of the reactor as a whole ([`Error`]), of a connection ([`CloseReason`]), of a dial ([`DialError`]), and of a call
//! ([`SendError`], [`DialRefused`], [`TimerRefused`], [`AdoptError`], [`RecordRefused`]).

mod adopt;
mod dial;
mod record;

use std::{fmt, io};

pub use crate::error::adopt::AdoptError;
pub use crate::error::dial::{DialError, DialRefused};
pub(crate) use crate::error::dial::{NotLocal, is_out_of_descriptors};
pub use crate::error::record::RecordRefused;

use crate::address::Address;
use crate::config::ConfigError;
use crate::wire::{DecodeError, FrameError, LengthError};

/// Reports why the reactor cannot start or continue. No peer can cause one.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// A setting is out of its range.
    Config(ConfigError),
    /// A listener could not be set up.
    Listen {
        /// The address to listen on.
        addr: Address,
        /// The kernel's error.
        source: io::Error,
    },
    /// The reactor drains or has stopped, so it does not listen any more.
    Ending {
        /// The address to listen on.
        addr: Address,
    },
    /// The readiness queue (epoll, kqueue) could not be created or polled, or it refused a descriptor.
    Poll(io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::Listen { addr, source } => write!(f, "cannot listen on {addr}: {source}"),
            Self::Ending { addr } => write!(f, "cannot listen on {addr}: the reactor drains or has stopped"),
            Self::Poll(source) => write!(f, "the readiness queue failed: {source}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Config(error) => Some(error),
            Self::Ending { .. } => None,
            Self::Listen { source, .. } | Self::Poll(source) => Some(source),
        }
    }
}

impl From<ConfigError> for Error {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

/// Reports why a connection ended. [`Handler::on_close`](crate::Handler::on_close) gets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseReason {
    /// The peer sent FIN between two frames, and all pending output was sent.
    PeerFinished,
    /// The peer sent FIN inside a frame.
    TruncatedFrame {
        /// Bytes of that frame that had arrived, including its header.
        received: usize,
    },
    /// The peer reset the connection, or closed it while output was pending (`ECONNRESET`, `EPIPE`).
    Reset,
    /// A header announced more than `max_payload` bytes, or as many came without a delimiter.
    FrameTooLong(FrameError),
    /// The length field of a frame was smaller than its adjustment allows.
    InvalidLength(LengthError),
    /// No byte moved in either direction for `idle_timeout`.
    IdleTimeout,
    /// A frame was not complete within `frame_timeout` of its first byte.
    FrameTimeout,
    /// In a window of `write_timeout` the peer accepted none of its pending output, or less than `write_rate_min`.
    WriteTimeout,
    /// All buffers together had reached the limit `memory`, and this connection held the most pending input and output.
    Evicted {
        /// Bytes that were received and not delivered, at most `u32::MAX`. They are lost.
        input: u32,
        /// Bytes that were queued and not sent, at most `u32::MAX`. They are lost.
        output: u32,
    },
    /// A client waited to be accepted while the server was full or out of descriptors, and this connection had been idle
    /// longest.
    Reclaimed,
    /// A write of some bytes returned 0.
    WriteZero,
    /// A system call failed with another error.
    Io(io::ErrorKind),
    /// The handler closed the connection, and all pending output was sent.
    ClosedByHandler,
    /// The handler aborted the connection, with a reset. Pending output was lost.
    AbortedByHandler,
    /// The handler detached the connection: other code has its socket now.
    Detached,
    /// A callback panicked.
    HandlerPanicked,
    /// A drain closed the connection, and all pending output was sent.
    Drained,
    /// The deadline of a drain passed, or the reactor was stopped or dropped. Pending output was lost.
    Cut,
}

/// Names a [`CloseReason`] without its data, for counters. Each variant means the same as there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[allow(missing_docs)]
pub enum CloseKind {
    PeerFinished,
    TruncatedFrame,
    Reset,
    FrameTooLong,
    InvalidLength,
    IdleTimeout,
    FrameTimeout,
    WriteTimeout,
    Evicted,
    Reclaimed,
    WriteZero,
    Io,
    ClosedByHandler,
    AbortedByHandler,
    Detached,
    HandlerPanicked,
    Drained,
    Cut,
}

impl CloseKind {
    /// Lists all kinds, in the order of their declaration.
    pub const ALL: [Self; 18] = [
        Self::PeerFinished,
        Self::TruncatedFrame,
        Self::Reset,
        Self::FrameTooLong,
        Self::InvalidLength,
        Self::IdleTimeout,
        Self::FrameTimeout,
        Self::WriteTimeout,
        Self::Evicted,
        Self::Reclaimed,
        Self::WriteZero,
        Self::Io,
        Self::ClosedByHandler,
        Self::AbortedByHandler,
        Self::Detached,
        Self::HandlerPanicked,
        Self::Drained,
        Self::Cut,
    ];

    /// Returns a short name for counters and logs, in lower case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PeerFinished => "peer finished",
            Self::TruncatedFrame => "truncated frame",
            Self::Reset => "reset",
            Self::FrameTooLong => "frame too long",
            Self::InvalidLength => "invalid length",
            Self::IdleTimeout => "idle timeout",
            Self::FrameTimeout => "frame timeout",
            Self::WriteTimeout => "write timeout",
            Self::Evicted => "evicted",
            Self::Reclaimed => "reclaimed",
            Self::WriteZero => "write of zero",
            Self::Io => "i/o error",
            Self::ClosedByHandler => "closed by handler",
            Self::AbortedByHandler => "aborted by handler",
            Self::Detached => "detached",
            Self::HandlerPanicked => "handler panicked",
            Self::Drained => "drained",
            Self::Cut => "cut",
        }
    }
}

/// Names the side that caused a connection's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CausedBy {
    /// The peer, with FIN between two frames.
    PeerInOrder,
    /// The peer, or the network on the way to it: it violated the protocol or a deadline, or the connection failed.
    PeerAbruptly,
    /// The handler: it closed, aborted or detached the connection, or panicked.
    Handler,
    /// The reactor: a limit, a drain or a stop.
    Reactor,
}

impl CloseReason {
    /// Returns the reason without its data.
    #[must_use]
    pub const fn kind(&self) -> CloseKind {
        match self {
            Self::PeerFinished => CloseKind::PeerFinished,
            Self::TruncatedFrame { .. } => CloseKind::TruncatedFrame,
            Self::Reset => CloseKind::Reset,
            Self::FrameTooLong(_) => CloseKind::FrameTooLong,
            Self::InvalidLength(_) => CloseKind::InvalidLength,
            Self::IdleTimeout => CloseKind::IdleTimeout,
            Self::FrameTimeout => CloseKind::FrameTimeout,
            Self::WriteTimeout => CloseKind::WriteTimeout,
            Self::Evicted { .. } => CloseKind::Evicted,
            Self::Reclaimed => CloseKind::Reclaimed,
            Self::WriteZero => CloseKind::WriteZero,
            Self::Io(_) => CloseKind::Io,
            Self::ClosedByHandler => CloseKind::ClosedByHandler,
            Self::AbortedByHandler => CloseKind::AbortedByHandler,
            Self::Detached => CloseKind::Detached,
            Self::HandlerPanicked => CloseKind::HandlerPanicked,
            Self::Drained => CloseKind::Drained,
            Self::Cut => CloseKind::Cut,
        }
    }

    /// Returns a short name of the reason, as [`CloseKind::name`] does.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.kind().name()
    }

    /// Returns whether it was a clean close, with all pending output sent or handed over: [`PeerFinished`](Self::PeerFinished),
    /// [`ClosedByHandler`](Self::ClosedByHandler), [`Detached`](Self::Detached) or [`Drained`](Self::Drained).
    #[must_use]
    pub const fn is_clean(&self) -> bool {
        matches!(self, Self::PeerFinished | Self::ClosedByHandler | Self::Detached | Self::Drained)
    }

    /// Returns which side caused the end.
    #[must_use]
    pub const fn caused_by(&self) -> CausedBy {
        match self {
            Self::PeerFinished => CausedBy::PeerInOrder,
            Self::TruncatedFrame { .. }
            | Self::Reset
            | Self::FrameTooLong(_)
            | Self::InvalidLength(_)
            | Self::IdleTimeout
            | Self::FrameTimeout
            | Self::WriteTimeout
            | Self::WriteZero
            | Self::Io(_) => CausedBy::PeerAbruptly,
            Self::ClosedByHandler | Self::AbortedByHandler | Self::Detached | Self::HandlerPanicked => {
                CausedBy::Handler
            }
            Self::Evicted { .. } | Self::Reclaimed | Self::Drained | Self::Cut => CausedBy::Reactor,
        }
    }
}

impl From<DecodeError> for CloseReason {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::TooLong(error) => Self::FrameTooLong(error),
            DecodeError::InvalidLength(error) => Self::InvalidLength(error),
        }
    }
}

impl From<&io::Error> for CloseReason {
    /// Converts the error of a read or write.
    fn from(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::NotConnected => Self::Reset,
            kind => Self::Io(kind),
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PeerFinished => f.write_str("end of stream"),
            Self::TruncatedFrame { received } => {
                write!(f, "end of stream {received} bytes into a frame")
            }
            Self::Reset => f.write_str("the peer reset the connection"),
            Self::FrameTooLong(error) => error.fmt(f),
            Self::InvalidLength(error) => error.fmt(f),
            Self::IdleTimeout => f.write_str("idle timeout: no bytes in either direction"),
            Self::FrameTimeout => f.write_str("frame timeout: the frame is incomplete"),
            Self::WriteTimeout => f.write_str("write timeout: the peer accepted too little of its pending output"),
            Self::Evicted { input, output } => {
                write!(
                    f,
                    "evicted at the memory limit: {input} bytes of input and {output} bytes of output were pending"
                )
            }
            Self::Reclaimed => f.write_str("reclaimed: idle longest while the server was full and a client waited"),
            Self::WriteZero => f.write_str("a write returned 0"),
            Self::Io(kind) => write!(f, "a system call failed: {kind}"),
            Self::ClosedByHandler => f.write_str("the handler closed it"),
            Self::AbortedByHandler => f.write_str("the handler aborted it"),
            Self::Detached => f.write_str("detached: other code has its socket now"),
            Self::HandlerPanicked => f.write_str("the handler panicked"),
            Self::Drained => f.write_str("drained"),
            Self::Cut => f.write_str("aborted by reactor shutdown"),
        }
    }
}

/// Reports why a frame was not queued. The connection continues, unless it is [`Closed`](Self::Closed).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SendError {
    /// The pending output has reached the high-water mark.
    /// [`Handler::on_writable`](crate::Handler::on_writable) is called when there is room again.
    Full,
    /// The connection has ended or is closing, or the id is stale.
    Closed,
    /// A reply in parts ([`Connection::begin_reply`](crate::Connection::begin_reply)) is not complete, so no other frame can follow.
    ReplyUnfinished,
    /// The payload is longer than the length field can announce, or a part is longer than what is missing of the reply.
    TooLong {
        /// The length of the payload, in bytes.
        len: usize,
        /// The limit, in bytes.
        max: usize,
    },
    /// The payload is shorter than the bytes that the length field does not count, because of the
    /// [adjustment](crate::wire::LengthPrefix::adjustment) of the framing.
    TooShort {
        /// The length of the payload, in bytes.
        len: usize,
        /// The limit, in bytes.
        min: usize,
    },
    /// The memory limit has no room for the frame.
    ///
    /// For a reply, connections that would hold more than this one are evicted first. For a frame to another connection none
    /// is evicted, and an eighth of the limit stays reserved for the connections' own input and replies.
    NoMemory,
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("the pending output has reached the high-water mark"),
            Self::Closed => f.write_str("the connection is closed"),
            Self::ReplyUnfinished => f.write_str("a reply in parts is not complete"),
            Self::TooLong { len, max } => write!(f, "a payload of {len} bytes exceeds the limit of {max}"),
            Self::TooShort { len, min } => write!(f, "a payload of {len} bytes is below the minimum of {min}"),
            Self::NoMemory => f.write_str("the memory limit has no room for the frame"),
        }
    }
}

impl std::error::Error for SendError {}

/// Reports why [`Context::set_timer`](crate::Context::set_timer) set no timer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TimerRefused {
    /// The limit of timers is reached.
    TooMany {
        /// The limit, `timers_max`.
        allowed: usize,
    },
}

impl fmt::Display for TimerRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooMany { allowed } => write!(f, "{allowed} timers are set, as many as timers_max allows"),
        }
    }
}

impl std::error::Error for TimerRefused {}

#[cfg(test)]
#[path = "tests/error.rs"]
mod tests;
