//! Why a call of a client failed.

use std::time::Duration;
use std::{error, fmt, io};

use crate::wire::{DecodeError, FrameError, FramingError, LengthError, PAYLOAD_LEN_MAX};

/// Reports why a call of a [`Client`](crate::client::Client) failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum ClientError {
    /// The address cannot be resolved.
    Resolve(io::Error),
    /// No server accepts at the address.
    Connect {
        /// The address that was tried.
        addr: String,
        /// The kernel's error.
        source: io::Error,
    },
    /// The payload is longer than 4 GiB - 1. Its length, in bytes.
    PayloadTooLong(usize),
    /// The length field of the framing cannot hold the length of the payload.
    LengthField(FramingError),
    /// The payload to send could not be read.
    Payload(io::Error),
    /// The server accepted no byte of a frame for this long.
    SendTimeout(Option<Duration>),
    /// An earlier frame was sent only in part, so no other frame can follow.
    InsideSentFrame,
    /// No byte of the reply arrived for this long.
    ReplyTimeout(Option<Duration>),
    /// The reply's header announces more than the limit, or more bytes than that came without a delimiter.
    ReplyTooLong(FrameError),
    /// The length field of the reply is smaller than its adjustment allows.
    InvalidLength(LengthError),
    /// The server closed the connection between two frames, and a reply was expected.
    Closed,
    /// The server closed the connection inside a reply.
    ClosedInsideReply {
        /// Bytes of the reply's frame that had arrived, including its header.
        received: usize,
        /// The payload length that the header announced, in bytes; `None` if the header was incomplete, or a delimiter was
        /// to end the reply.
        announced: Option<u32>,
    },
    /// The connection failed.
    Lost(io::Error),
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resolve(source) => write!(f, "cannot resolve the address: {source}"),
            Self::Connect { addr, source } => write!(f, "cannot connect to {addr}: {source}"),
            Self::PayloadTooLong(len) => {
                write!(f, "a payload of {len} bytes exceeds the limit of {PAYLOAD_LEN_MAX}")
            }
            Self::LengthField(error) => error.fmt(f),
            Self::Payload(source) if source.kind() == io::ErrorKind::UnexpectedEof => {
                f.write_str("the payload ended before its announced length")
            }
            Self::Payload(source) => write!(f, "the payload cannot be read: {source}"),
            Self::SendTimeout(Some(waited)) => write!(f, "the server accepted nothing of a frame within {waited:?}"),
            Self::SendTimeout(None) => f.write_str("the server accepted nothing of a frame in time"),
            Self::InsideSentFrame => f.write_str("an earlier frame was sent only in part, so no frame can follow it"),
            Self::ReplyTimeout(Some(waited)) => write!(f, "no reply within {waited:?}"),
            Self::ReplyTimeout(None) => f.write_str("no reply in time"),
            Self::ReplyTooLong(error) => write!(f, "the reply is too long: {error}"),
            Self::InvalidLength(error) => write!(f, "the reply is invalid: {error}"),
            Self::Closed => f.write_str("the connection was lost: the server closed it"),
            Self::ClosedInsideReply { received, announced } => {
                write!(f, "the connection was lost: the server closed it {received} bytes into a reply")?;
                announced.map_or(Ok(()), |payload_len| write!(f, " with a payload of {payload_len}"))
            }
            Self::Lost(source) => write!(f, "the connection was lost: {source}"),
        }
    }
}

impl error::Error for ClientError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Resolve(source) | Self::Connect { source, .. } | Self::Payload(source) | Self::Lost(source) => {
                Some(source)
            }
            Self::LengthField(source) => Some(source),
            Self::ReplyTooLong(source) => Some(source),
            Self::InvalidLength(source) => Some(source),
            Self::PayloadTooLong(_)
            | Self::SendTimeout(_)
            | Self::InsideSentFrame
            | Self::ReplyTimeout(_)
            | Self::Closed
            | Self::ClosedInsideReply { .. } => None,
        }
    }
}

impl From<DecodeError> for ClientError {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::TooLong(error) => Self::ReplyTooLong(error),
            DecodeError::InvalidLength(error) => Self::InvalidLength(error),
        }
    }
}

impl ClientError {
    /// The error of a read, if the stream has this timeout.
    pub(super) fn with_timeout(self, timeout: Option<Duration>) -> Self {
        match self {
            Self::Lost(error) if is_timeout(&error) => Self::ReplyTimeout(timeout),
            error => error,
        }
    }
}

/// Whether the timeout of the blocking socket ended the call: Unix returns `WouldBlock`, Windows `TimedOut`.
pub(super) fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}
