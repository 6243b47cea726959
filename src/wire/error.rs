//! Why a frame is refused.

use std::fmt;

use crate::wire::header::{HEADER_LEN, decode_header};

/// Reports why the bytes of a peer are no frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// The frame is longer than the limit.
    TooLong(FrameError),
    /// The length field is smaller than its adjustment allows.
    InvalidLength(LengthError),
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong(error) => error.fmt(f),
            Self::InvalidLength(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for DecodeError {}

/// Reports a length field whose value, with the adjustment of its [`LengthPrefix`](crate::wire::LengthPrefix), is negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct LengthError {
    announced: Halves,
    /// What is added to the length field, in bytes.
    pub adjustment: i32,
}

impl LengthError {
    pub(super) fn new(announced: u64, adjustment: i32) -> Self {
        Self { announced: Halves::of(announced), adjustment }
    }

    /// Returns the value of the length field.
    #[must_use]
    pub const fn announced(&self) -> u64 {
        self.announced.number()
    }
}

impl fmt::Display for LengthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let min = self.adjustment.unsigned_abs();
        write!(
            f,
            "length field of {} is invalid: with an adjustment of {} it is at least {min}",
            self.announced(),
            self.adjustment
        )
    }
}

impl std::error::Error for LengthError {}

/// Reports a header that announces more than the limit.
///
/// Often the four bytes are the beginning of another protocol; then [`looks_like`](Self::looks_like) names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct FrameError {
    announced: Halves,
    /// The limit, in bytes.
    pub allowed: u32,
    /// The protocol that the first four bytes of a frame look like.
    pub looks_like: Option<Protocol>,
}

/// A number of 64 bits in two halves, which needs no padding inside a close reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Halves([u32; 2]);

impl Halves {
    const fn of(number: u64) -> Self {
        Self([(number >> 32) as u32, number as u32])
    }

    const fn number(self) -> u64 {
        let Self([high, low]) = self;
        ((high as u64) << 32) | low as u64
    }
}

impl FrameError {
    pub(super) fn new(announced: u64, allowed: u32) -> Self {
        Self { announced: Halves::of(announced), allowed, looks_like: None }
    }

    /// The error of a frame with the default header.
    pub(super) fn of_header(header: [u8; HEADER_LEN], allowed: u32) -> Self {
        let looks_like = Protocol::of_header(header, allowed);
        Self { looks_like, ..Self::new(decode_header(header).into(), allowed) }
    }

    /// Returns the payload length that the header announced, in bytes.
    ///
    /// Of a frame that ends with a delimiter, it is one more than the limit: so many bytes came without one. Of a varint that
    /// does not fit 64 bits, it is [`u64::MAX`].
    #[must_use]
    pub const fn announced(&self) -> u64 {
        self.announced.number()
    }
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "frame of {} bytes exceeds the limit of {}", self.announced(), self.allowed)?;
        match self.looks_like {
            Some(Protocol::LittleEndian) => {
                write!(f, " (looks like a little-endian length of {})", (self.announced() as u32).swap_bytes())
            }
            Some(protocol) => write!(f, " (looks like {protocol})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for FrameError {}

/// Names another protocol, recognized by its first four bytes.
///
/// Only headers above the limit are examined: with a limit above 1,195,725,856 bytes (1.1 GiB), `GET ` is a valid header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Protocol {
    /// An HTTP request or response line (RFC 9112, section 2.1), or HTTP/2's preface (RFC 9113, section 3.4).
    Http,
    /// A TLS handshake record (RFC 8446, section 5.1): content type 22, legacy version 3.x.
    Tls,
    /// An SSH identification string (RFC 4253, section 4.2).
    Ssh,
    /// A payload length in little-endian order, which is within the limit once its bytes are swapped.
    LittleEndian,
}

impl Protocol {
    /// Lists every protocol that is recognized.
    pub const ALL: [Self; 4] = [Self::Http, Self::Tls, Self::Ssh, Self::LittleEndian];

    fn of_header(header: [u8; HEADER_LEN], max_payload: u32) -> Option<Self> {
        match &header {
            b"GET " | b"POST" | b"HEAD" | b"PUT " | b"DELE" | b"OPTI" | b"PATC" | b"CONN" | b"TRAC" | b"PRI "
            | b"HTTP" => Some(Self::Http),
            [0x16, 0x03, 0x00..=0x04, _] => Some(Self::Tls),
            b"SSH-" => Some(Self::Ssh),
            _ if u32::from_le_bytes(header) <= max_payload => Some(Self::LittleEndian),
            _ => None,
        }
    }

    /// Returns a short name for logs and counters.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http => "HTTP",
            Self::Tls => "TLS",
            Self::Ssh => "SSH",
            Self::LittleEndian => "a little-endian length",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
