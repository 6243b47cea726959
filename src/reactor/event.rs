//! What happens on a connection: each event is a line of the trace log, and may be recorded.
//!
//! Rule: the text of an event is written here and nowhere else, so that the log and a recording show the same.

use std::time::Duration;
use std::{fmt, io};

use crate::conn::io::Readiness;
use crate::error::CloseReason;
use crate::reactor::deadline_kind::DeadlineKind;

/// Describes one event of a connection, as a [recording](crate::Reactor::record) has it.
///
/// [`Display`](fmt::Display) writes the line that the log has at the level `trace`, without the connection's id; of the end of a
/// connection, also without its peer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectionEvent {
    /// The kernel has reported the socket's readiness.
    Ready(Readiness),
    /// The connection has read: one call of [`read`](std::io::Read::read), on a plain socket `recv`.
    Read {
        /// How many bytes were asked for.
        asked: usize,
        /// How many bytes were read; 0 is the end of the stream.
        outcome: Result<usize, CallError>,
        /// Whether a short read drains the socket, as
        /// [`short_read_drains`](crate::net::Transport::short_read_drains) has it.
        drains: bool,
    },
    /// The connection has written: one call of [`write`](std::io::Write::write) or
    /// [`write_pieces`](crate::net::Transport::write_pieces), on a plain socket `send` or `sendmsg`.
    Write {
        /// How many bytes were to be written.
        len: usize,
        /// How many pieces they were in; `None` for `write`.
        pieces: Option<usize>,
        /// How many bytes were written.
        outcome: Result<usize, CallError>,
    },
    /// The connection has sent FIN, or has tried to.
    ShutDown(Result<(), CallError>),
    /// A whole frame is delivered: a call of [`on_frame`](crate::Handler::on_frame) follows.
    Frame {
        /// The length of its payload, in bytes.
        payload_len: usize,
    },
    /// A part of a frame is delivered: a call of [`on_frame_part`](crate::Handler::on_frame_part) follows.
    FramePart {
        /// How many bytes of the payload came before.
        offset: u64,
        /// How many bytes of the payload the part has.
        len: usize,
    },
    /// Another callback about the connection is called.
    Callback {
        /// The method of [`Handler`](crate::Handler): `on_half_close`, `on_wake`, `on_writable` or `on_drain`.
        name: &'static str,
    },
    /// A deadline has expired. The connection runs once more, and is closed unless that run shows that the peer is in time.
    Deadline {
        /// What it was for.
        kind: DeadlineKind,
        /// The timeout.
        timeout: Duration,
    },
    /// The connection has run.
    ///
    /// The log has it for each run, a recording only if the state or the pending bytes have changed.
    State {
        /// Its state before the run; of an open connection, with the reason why it is paused.
        before: &'static str,
        /// Its state after the run.
        after: &'static str,
        /// Received and not delivered, in bytes.
        pending_input: usize,
        /// Queued and not written, in bytes.
        pending_output: usize,
    },
    /// The connection has closed, for the reason that [`on_close`](crate::Handler::on_close) gets. It is the last event.
    Closed(CloseReason),
}

/// Reports why a call on the socket of a connection has moved nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CallError {
    /// The kind of the error. `WouldBlock` and `Interrupted` do not end the connection.
    pub kind: io::ErrorKind,
    /// The message of the error.
    pub message: String,
}

impl ConnectionEvent {
    /// Returns the kind of the event: `ready`, `read`, `write`, `shutdown`, `frame` (also for a part), `callback`, `deadline`,
    /// `state` or `close`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Ready(_) => "ready",
            Self::Read { .. } => "read",
            Self::Write { .. } => "write",
            Self::ShutDown(_) => "shutdown",
            Self::Frame { .. } | Self::FramePart { .. } => "frame",
            Self::Callback { .. } => "callback",
            Self::Deadline { .. } => "deadline",
            Self::State { .. } => "state",
            Self::Closed(_) => "close",
        }
    }
}

impl fmt::Display for ConnectionEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready(readiness) => write!(f, "event: {readiness}"),
            Self::Read { asked, outcome, drains } => {
                write!(f, "recv({asked}) = ")?;
                write_read(f, outcome, *asked, *drains)
            }
            Self::Write { len, pieces, outcome } => {
                match pieces {
                    None => write!(f, "send({len}) = ")?,
                    Some(pieces) => write!(f, "sendmsg({len} in {pieces} pieces) = ")?,
                }
                match outcome {
                    Ok(sent) if sent < len => write!(f, "{sent}: short write, the rest waits for a writable event"),
                    Ok(sent) => write!(f, "{sent}: all sent"),
                    Err(error) => error.fmt(f),
                }
            }
            Self::ShutDown(Ok(())) => f.write_str("shutdown(SHUT_WR): FIN follows the output"),
            Self::ShutDown(Err(error)) if error.kind == io::ErrorKind::WouldBlock => {
                f.write_str("shutdown(SHUT_WR): the transport has something to send before FIN")
            }
            Self::ShutDown(Err(error)) => write!(f, "shutdown(SHUT_WR) = {}", error.message),
            Self::Frame { payload_len } => write!(f, "frame: {payload_len} bytes of payload, delivered"),
            Self::FramePart { offset, len } => {
                write!(f, "frame part: {len} bytes of payload at {offset}, delivered")
            }
            Self::Callback { name } => write!(f, "callback: {name}"),
            Self::Deadline { kind, timeout } => {
                write!(f, "deadline: {} timeout of {timeout:?} expired", kind.name())
            }
            Self::State { before, after, pending_input, pending_output } => write!(
                f,
                "{before} -> {after}: pending: {pending_input} bytes of input, {pending_output} bytes of output"
            ),
            Self::Closed(reason) => write!(f, "closed: {reason}"),
        }
    }
}

fn write_read(
    f: &mut fmt::Formatter<'_>,
    outcome: &Result<usize, CallError>,
    asked: usize,
    drains: bool,
) -> fmt::Result {
    match outcome {
        Ok(0) => f.write_str("0: end of stream"),
        Ok(len) if *len < asked && drains => write!(f, "{len}: short read, the socket is drained"),
        Ok(len) if *len < asked => write!(f, "{len}: short read, there may be more"),
        Ok(len) => write!(f, "{len}: the buffer is full, there may be more"),
        Err(error) => write!(f, "{error}"),
    }
}

impl From<&io::Error> for CallError {
    fn from(error: &io::Error) -> Self {
        Self { kind: error.kind(), message: error.to_string() }
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            io::ErrorKind::WouldBlock => f.write_str("EAGAIN: wait for the next event"),
            io::ErrorKind::Interrupted => f.write_str("EINTR: the call is repeated"),
            _ => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for CallError {}
