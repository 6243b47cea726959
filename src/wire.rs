//! The wire: a frame is a 4-byte big-endian payload length, then exactly that many bytes of payload.
//!
//! This is the only file that knows the format. Everything here is pure: bytes in, values out.
//!
//! ```text
//!   0        1        2        3        4                        4 + payload_len
//!   +--------+--------+--------+--------+------------------------+
//!   | payload_len, big-endian (u32)     | payload                |
//!   +--------+--------+--------+--------+------------------------+
//!   |<------------- header ------------>|
//! ```

use std::fmt;

/// Length of a frame's header, in bytes.
pub const HEADER_LEN: usize = 4;

/// The largest payload that a header can announce, in bytes: 4 GiB - 1.
pub const PAYLOAD_LEN_MAX: u32 = u32::MAX;

/// The header that announces a payload of `payload_len` bytes.
///
/// ```
/// assert_eq!(frameloop::wire::encode_header(5), [0, 0, 0, 5]);
/// ```
#[must_use]
pub const fn encode_header(payload_len: u32) -> [u8; HEADER_LEN] {
    payload_len.to_be_bytes()
}

/// The payload length, in bytes, that a header announces.
///
/// ```
/// assert_eq!(frameloop::wire::decode_header([0, 1, 0, 0]), 65_536);
/// ```
#[must_use]
pub const fn decode_header(header: [u8; HEADER_LEN]) -> u32 {
    u32::from_be_bytes(header)
}

/// The payload length announced at the front of `bytes`, once a whole header is there and it is within the limit.
///
/// `Ok(None)` asks for more bytes: fewer than [`HEADER_LEN`] are there.
///
/// # Errors
///
/// [`FrameError`] if the header announces more than `max_payload` bytes.
#[inline]
pub fn announced_len(bytes: &[u8], max_payload: u32) -> Result<Option<u32>, FrameError> {
    let Some(header) = bytes.first_chunk::<HEADER_LEN>() else {
        return Ok(None);
    };
    let announced = decode_header(*header);
    if announced > max_payload {
        return Err(FrameError::new(*header, max_payload));
    }
    Ok(Some(announced))
}

/// What is at the front of received bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decoded {
    /// A whole frame of `frame_len` bytes, header included.
    Frame { frame_len: usize },
    /// A part of a frame of `frame_len` bytes, which is 0 until the header is complete.
    Partial { frame_len: usize },
}

/// Finds the end of the frame at the front of `bytes`.
///
/// # Errors
///
/// [`FrameError`] as soon as the header is complete, if it announces more than `max_payload` bytes.
#[inline]
pub(crate) fn decode(bytes: &[u8], max_payload: u32) -> Result<Decoded, FrameError> {
    let Some(payload_len) = announced_len(bytes, max_payload)? else {
        return Ok(Decoded::Partial { frame_len: 0 });
    };
    let Some(frame_len) = HEADER_LEN.checked_add(payload_len as usize) else {
        // On a 32-bit target, a frame that cannot be addressed is above the limit.
        return Err(FrameError::new(encode_header(payload_len), max_payload));
    };
    Ok(if frame_len <= bytes.len() { Decoded::Frame { frame_len } } else { Decoded::Partial { frame_len } })
}

/// A header announced more than the limit.
///
/// Very often such a header is no header at all, but the first bytes of another protocol; then
/// [`looks_like`](Self::looks_like) names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameError {
    /// The payload length that the header announced, in bytes.
    pub announced: u32,
    /// The largest payload length allowed, in bytes.
    pub allowed: u32,
    /// What the four bytes would be if they were not a header.
    pub looks_like: Option<Protocol>,
}

impl FrameError {
    fn new(header: [u8; HEADER_LEN], allowed: u32) -> Self {
        Self { announced: decode_header(header), allowed, looks_like: Protocol::of_header(header, allowed) }
    }
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "frame of {} bytes exceeds the limit of {}", self.announced, self.allowed)?;
        match self.looks_like {
            Some(Protocol::LittleEndian) => {
                write!(f, " (looks like a little-endian length of {})", self.announced.swap_bytes())
            }
            Some(protocol) => write!(f, " (looks like {protocol})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for FrameError {}

/// Another protocol, recognised by its first four bytes.
///
/// Only bytes that announce more than the limit are looked at: with a limit above 1,195,725,856 bytes (1.1 GiB),
/// `GET ` is a valid header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Protocol {
    /// An HTTP request or response line (RFC 9112, section 2.1), or HTTP/2's preface (RFC 9113, section 3.4).
    Http,
    /// A TLS handshake record (RFC 8446, section 5.1): content type 22, legacy version 3.x.
    Tls,
    /// An SSH identification string (RFC 4253, section 4.2).
    Ssh,
    /// A payload length in little-endian order: within the limit once its bytes are swapped.
    LittleEndian,
}

impl Protocol {
    /// Every protocol that is recognised.
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

    /// A short name for logs and counters.
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

#[cfg(test)]
#[path = "tests/wire.rs"]
mod tests;
