//! The wire format: a frame is a 4-byte big-endian payload length and exactly that many bytes of payload.
//!
//! The functions here do no I/O. Use them to speak the format without a reactor; [`client`](crate::client) does so.
//!
//! ```text
//!   0        1        2        3        4                        4 + payload_len
//!   +--------+--------+--------+--------+------------------------+
//!   | payload_len, big-endian (u32)     | payload                |
//!   +--------+--------+--------+--------+------------------------+
//!   |<------------- header ------------>|
//! ```

use std::fmt;

/// The length of a frame's header, in bytes.
pub const HEADER_LEN: usize = 4;

/// The longest payload that a header can announce, in bytes: 4 GiB - 1.
pub const PAYLOAD_LEN_MAX: u32 = u32::MAX;

/// Returns the header for a payload of `payload_len` bytes.
///
/// ```
/// assert_eq!(frameloop::wire::encode_header(5), [0, 0, 0, 5]);
/// ```
#[must_use]
pub const fn encode_header(payload_len: u32) -> [u8; HEADER_LEN] {
    payload_len.to_be_bytes()
}

/// Returns the payload length that a header announces, in bytes.
///
/// ```
/// assert_eq!(frameloop::wire::decode_header([0, 1, 0, 0]), 65_536);
/// ```
#[must_use]
pub const fn decode_header(header: [u8; HEADER_LEN]) -> u32 {
    u32::from_be_bytes(header)
}

/// Returns the payload length that the header at the front of `bytes` announces, in bytes; `None` if there are fewer than
/// [`HEADER_LEN`] bytes.
///
/// # Errors
///
/// [`FrameError`] if the header announces more than `max_payload` bytes.
///
/// # Examples
///
/// ```
/// use frameloop::wire::announced_len;
///
/// assert_eq!(announced_len(&[0, 0], 1_024), Ok(None));
/// assert_eq!(announced_len(b"\0\0\0\x02hi", 1_024), Ok(Some(2)));
/// let error = announced_len(b"GET / HTTP/1.1", 1_024).unwrap_err();
/// assert_eq!(error.to_string(), "frame of 1195725856 bytes exceeds the limit of 1024 (looks like HTTP)");
/// ```
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

/// The frame at the front of received bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decoded {
    /// A complete frame of `frame_len` bytes, header included.
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

/// Reports a header that announces more than the limit.
///
/// Often the four bytes are the beginning of another protocol; then [`looks_like`](Self::looks_like) names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameError {
    /// The payload length that the header announced, in bytes.
    pub announced: u32,
    /// The limit, in bytes.
    pub allowed: u32,
    /// The protocol that the four bytes look like.
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

#[cfg(test)]
#[path = "tests/wire.rs"]
mod tests;
