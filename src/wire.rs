//! The wire format: a frame is a 4-byte big-endian payload length and exactly that many bytes of payload.
//!
//! That is the default; a [`Framing`] describes others: prefixes of another width or byte order, delimiters, frames of one
//! length, and raw bytes. The functions here do no I/O. Use them to speak a format without a reactor;
//! [`client`](crate::client) does so.
//!
//! ```text
//!   0        1        2        3        4                        4 + payload_len
//!   +--------+--------+--------+--------+------------------------+
//!   | payload_len, big-endian (u32)     | payload                |
//!   +--------+--------+--------+--------+------------------------+
//!   |<------------- header ------------>|
//! ```

mod decoded;
mod delimiter;
mod error;
mod framing;
mod header;
mod prefix;

pub use crate::wire::decoded::{Decoded, Enclosure, FramingError};
pub use crate::wire::delimiter::Delimiter;
pub(crate) use crate::wire::delimiter::LEN_MAX as DELIMITER_LEN_MAX;
pub use crate::wire::error::{DecodeError, FrameError, LengthError, Protocol};
pub use crate::wire::framing::Framing;
pub(crate) use crate::wire::framing::{Decode, U32Be};
pub use crate::wire::header::{HEADER_LEN, PAYLOAD_LEN_MAX, decode_header, encode_header};
pub use crate::wire::prefix::LengthPrefix;

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
        return Err(FrameError::of_header(*header, max_payload));
    }
    Ok(Some(announced))
}

#[cfg(test)]
#[path = "tests/wire.rs"]
mod tests;
