//! What can go wrong: for the reactor as a whole ([`Error`]), for one connection ([`CloseReason`]), and for one that was
//! dialed and did not come to be ([`DialError`]).

use std::time::Duration;
use std::{fmt, io};

use crate::address::Address;
use crate::config::ConfigError;
use crate::wire::FrameError;

/// Why the reactor cannot start or continue. No peer can cause one.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// A setting cannot work.
    Config(ConfigError),
    /// A listener could not be set up.
    Listen {
        /// The address asked for.
        addr: Address,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The reactor drains or has stopped, and listens nowhere any more.
    Ending {
        /// The address asked for.
        addr: Address,
    },
    /// The readiness queue could not be created or polled, or refused a descriptor.
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

/// Why a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseReason {
    /// The peer sent FIN between two frames, and all pending output was flushed.
    PeerFinished,
    /// The peer sent FIN inside a frame.
    TruncatedFrame {
        /// Bytes of that frame that had come, its header included.
        received: usize,
    },
    /// The peer reset the connection, or closed it with output still pending (`ECONNRESET`, `EPIPE`, ...).
    Reset,
    /// A header announced more than the limit.
    FrameTooLong(FrameError),
    /// Nothing moved in either direction for the idle timeout.
    IdleTimeout,
    /// A frame was not complete within the frame timeout of its first byte.
    FrameTimeout,
    /// Output was pending over a window of the write timeout, and the peer accepted none of it, or less than the least rate.
    WriteTimeout,
    /// All buffers together had reached the memory limit, and this connection held the most pending input and output.
    Evicted {
        /// Bytes received and not delivered, which are lost; `u32::MAX` if there were more.
        input: u32,
        /// Bytes queued and not sent, which are lost; `u32::MAX` if there were more.
        output: u32,
    },
    /// There were as many connections as allowed, or no descriptor left, and this one had been idle longest when a client
    /// waited to be accepted.
    Reclaimed,
    /// The kernel took zero bytes of a write that was not empty.
    WriteZero,
    /// A system call failed in another way.
    Io(io::ErrorKind),
    /// The handler closed it, gracefully.
    ClosedByHandler,
    /// The handler closed it at once; pending output is lost.
    AbortedByHandler,
    /// The handler panicked.
    HandlerPanicked,
    /// A drain ended it, with all pending output flushed.
    Drained,
    /// A drain's deadline, or a stop, ended it before that.
    Cut,
}

/// A [`CloseReason`] without its data, for counting. Each variant means the same as there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[allow(missing_docs)]
pub enum CloseKind {
    PeerFinished,
    TruncatedFrame,
    Reset,
    FrameTooLong,
    IdleTimeout,
    FrameTimeout,
    WriteTimeout,
    Evicted,
    Reclaimed,
    WriteZero,
    Io,
    ClosedByHandler,
    AbortedByHandler,
    HandlerPanicked,
    Drained,
    Cut,
}

impl CloseKind {
    /// All kinds, in the order of their declaration.
    pub const ALL: [Self; 16] = [
        Self::PeerFinished,
        Self::TruncatedFrame,
        Self::Reset,
        Self::FrameTooLong,
        Self::IdleTimeout,
        Self::FrameTimeout,
        Self::WriteTimeout,
        Self::Evicted,
        Self::Reclaimed,
        Self::WriteZero,
        Self::Io,
        Self::ClosedByHandler,
        Self::AbortedByHandler,
        Self::HandlerPanicked,
        Self::Drained,
        Self::Cut,
    ];

    /// A short name, for counters and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PeerFinished => "peer finished",
            Self::TruncatedFrame => "truncated frame",
            Self::Reset => "reset",
            Self::FrameTooLong => "frame too long",
            Self::IdleTimeout => "idle timeout",
            Self::FrameTimeout => "frame timeout",
            Self::WriteTimeout => "write timeout",
            Self::Evicted => "evicted",
            Self::Reclaimed => "reclaimed",
            Self::WriteZero => "write of zero",
            Self::Io => "i/o error",
            Self::ClosedByHandler => "closed by handler",
            Self::AbortedByHandler => "aborted by handler",
            Self::HandlerPanicked => "handler panicked",
            Self::Drained => "drained",
            Self::Cut => "cut",
        }
    }
}

/// Who brought a connection's end about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CausedBy {
    /// The peer, by ending the stream between frames.
    PeerInOrder,
    /// The peer, or the network on the way to it, by breaking the protocol, a deadline or the connection.
    PeerAbruptly,
    /// The handler.
    Handler,
    /// The reactor: a limit, a drain or a stop.
    Reactor,
}

impl CloseReason {
    /// The reason without its data.
    #[must_use]
    pub const fn kind(&self) -> CloseKind {
        match self {
            Self::PeerFinished => CloseKind::PeerFinished,
            Self::TruncatedFrame { .. } => CloseKind::TruncatedFrame,
            Self::Reset => CloseKind::Reset,
            Self::FrameTooLong(_) => CloseKind::FrameTooLong,
            Self::IdleTimeout => CloseKind::IdleTimeout,
            Self::FrameTimeout => CloseKind::FrameTimeout,
            Self::WriteTimeout => CloseKind::WriteTimeout,
            Self::Evicted { .. } => CloseKind::Evicted,
            Self::Reclaimed => CloseKind::Reclaimed,
            Self::WriteZero => CloseKind::WriteZero,
            Self::Io(_) => CloseKind::Io,
            Self::ClosedByHandler => CloseKind::ClosedByHandler,
            Self::AbortedByHandler => CloseKind::AbortedByHandler,
            Self::HandlerPanicked => CloseKind::HandlerPanicked,
            Self::Drained => CloseKind::Drained,
            Self::Cut => CloseKind::Cut,
        }
    }

    /// A short name of the reason, without its data.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.kind().name()
    }

    /// Whether the connection was closed in order, with all pending output sent: by the peer's FIN between frames, by its
    /// handler or by a drain.
    #[must_use]
    pub const fn is_clean(&self) -> bool {
        matches!(self, Self::PeerFinished | Self::ClosedByHandler | Self::Drained)
    }

    /// Who brought the end about.
    #[must_use]
    pub const fn caused_by(&self) -> CausedBy {
        match self {
            Self::PeerFinished => CausedBy::PeerInOrder,
            Self::TruncatedFrame { .. }
            | Self::Reset
            | Self::FrameTooLong(_)
            | Self::IdleTimeout
            | Self::FrameTimeout
            | Self::WriteTimeout
            | Self::WriteZero
            | Self::Io(_) => CausedBy::PeerAbruptly,
            Self::ClosedByHandler | Self::AbortedByHandler | Self::HandlerPanicked => CausedBy::Handler,
            Self::Evicted { .. } | Self::Reclaimed | Self::Drained | Self::Cut => CausedBy::Reactor,
        }
    }
}

impl From<&io::Error> for CloseReason {
    /// The reason that a failed read or write gives.
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
            Self::HandlerPanicked => f.write_str("the handler panicked"),
            Self::Drained => f.write_str("drained"),
            Self::Cut => f.write_str("aborted by reactor shutdown"),
        }
    }
}

/// Why an outbound connection attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DialError {
    /// No socket listens there (`ECONNREFUSED`).
    Refused,
    /// The peer did not answer in time.
    TimedOut {
        /// How long was waited.
        allowed: Duration,
    },
    /// No port is left for this source and this destination (`EADDRNOTAVAIL` of `connect(2)`).
    NoPort,
    /// The source is not an address of this machine (`EADDRNOTAVAIL` of `bind(2)`).
    SourceNotLocal,
    /// The source and the destination are of different address families: one is IPv4 and the other IPv6.
    SourceFamily,
    /// There was no address to dial.
    NoAddress,
    /// The process, or the system, has no descriptor left (`EMFILE`, `ENFILE`).
    NoDescriptor,
    /// The listen queue of a Unix socket is full (`EAGAIN`).
    QueueFull,
    /// There are as many connections as allowed.
    ConnectionsMax {
        /// The limit.
        allowed: usize,
    },
    /// It was aborted, or the reactor drains or stops.
    Cancelled,
    /// It failed in another way.
    Io(io::ErrorKind),
}

impl DialError {
    /// A short name of the error, without its values.
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
            Self::Cancelled => "cancelled",
            Self::Io(_) => "i/o error",
        }
    }

    /// Whether another address may do better.
    pub(crate) const fn is_of_address(&self) -> bool {
        match self {
            Self::Refused
            | Self::TimedOut { .. }
            | Self::NoPort
            | Self::SourceNotLocal
            | Self::SourceFamily
            | Self::QueueFull
            | Self::Io(_) => true,
            Self::NoAddress | Self::NoDescriptor | Self::ConnectionsMax { .. } | Self::Cancelled => false,
        }
    }
}

/// Marks the error of a `bind` to a source address, which has the same number as that of a `connect` without a port.
#[derive(Debug)]
pub(crate) struct NotLocal;

impl fmt::Display for NotLocal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not an address of this machine")
    }
}

impl std::error::Error for NotLocal {}

impl From<&io::Error> for DialError {
    /// What a failed `socket`, `bind` or `connect` says.
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

/// Why a dial was refused at once, without an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DialRefused {
    /// The reactor drains or has stopped.
    Ending,
    /// As many dials wait to be begun as allowed.
    TooMany {
        /// The limit, `dials_max`.
        allowed: usize,
    },
}

impl fmt::Display for DialRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ending => f.write_str("the reactor drains or has stopped"),
            Self::TooMany { allowed } => write!(f, "{allowed} dials wait to be begun, as many as dials_max allows"),
        }
    }
}

impl std::error::Error for DialRefused {}

/// Why a frame was not queued. The connection goes on, unless it is [`Closed`](Self::Closed).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SendError {
    /// The pending output has reached the high-water mark.
    /// [`Handler::on_writable`](crate::Handler::on_writable) is called when there is room again.
    Full,
    /// The connection has ended, or is ending.
    Closed,
    /// The header cannot announce a payload of this length.
    TooLong {
        /// The length of the payload, in bytes.
        len: usize,
        /// The greatest length that the header can announce, in bytes.
        max: usize,
    },
    /// The memory limit has no room for the frame.
    ///
    /// For a reply, connections that hold more than this one would are evicted first. For a message to another connection
    /// none is evicted, and an eighth of the limit is left to what connections need for themselves.
    NoMemory,
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("the pending output has reached the high-water mark"),
            Self::Closed => f.write_str("the connection is closed"),
            Self::TooLong { len, max } => write!(f, "a payload of {len} bytes exceeds the limit of {max}"),
            Self::NoMemory => f.write_str("the memory limit has no room for the frame"),
        }
    }
}

impl std::error::Error for SendError {}

/// Why a timer was not set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TimerRefused {
    /// As many timers are set as allowed.
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

/// Whether a call failed because the process or the system has no descriptor left (`EMFILE`, `ENFILE`), for which there
/// is no [`io::ErrorKind`].
///
/// Rule: an error number is never written as a number; it is libc's, or an [`io::ErrorKind`].
pub(crate) fn is_out_of_descriptors(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
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
            Self::Cancelled => f.write_str("cancelled"),
            Self::Io(kind) => write!(f, "a system call failed: {kind}"),
        }
    }
}

impl std::error::Error for DialError {}

#[cfg(test)]
#[path = "tests/error.rs"]
mod tests;
