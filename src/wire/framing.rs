//! Where a frame ends: [`Framing`], its text form, and the interface of the decoders.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use crate::wire::decoded::{Decoded, Enclosure, FramingError};
use crate::wire::delimiter::Delimiter;
use crate::wire::error::{DecodeError, FrameError};
use crate::wire::header::{HEADER_LEN, decode_header};
use crate::wire::prefix::LengthPrefix;

/// Describes how the end of a frame is found. It is a value of a listener or an outbound connection, and can change between two
/// frames of a connection.
///
/// A framing applies in both directions. [`Connection::reply`](crate::Connection::reply) writes the header or the delimiter
/// together with the payload. Where the payload contains all bytes of a frame, replies are written unchanged: with
/// [`Exact`](Self::Exact), [`Raw`](Self::Raw), a [kept](Delimiter::keep) delimiter, an [included](LengthPrefix::include_header)
/// header, and a prefix with an [offset](LengthPrefix::offset).
///
/// # Text form
///
/// Flags and documents write a framing as one word, which [`FromStr`] reads and [`Display`](fmt::Display) writes:
///
/// | text | framing |
/// |---|---|
/// | `u32be` | a 4-byte big-endian length; the default |
/// | `u8`, `u16be`, `u16le`, `u24be`, `u24le`, `u32le`, `u64be`, `u64le` | a length of 1, 2, 3, 4 or 8 bytes |
/// | `varint` | a length in LEB128, as in MQTT and Protocol Buffers |
/// | `u32be,offset=1,adjust=-4,header` | with 1 byte before the field, a length that counts its own 4 bytes, and payloads that include the header |
/// | `lines` | ends with `\n`, or `\r\n`; stripped |
/// | `crlf` | ends with `\r\n`; stripped |
/// | `delim:0d0a0d0a` | ends with 1 to 4 bytes, in hexadecimal; stripped |
/// | `delim:00,keep` | the same, and the payload includes the delimiter |
/// | `exact:512` | each frame has this many bytes |
/// | `raw` | whatever has arrived |
///
/// # Examples
///
/// ```
/// use frameloop::wire::Framing;
///
/// let postgres: Framing = "u32be,offset=1,adjust=-4".parse()?;
/// let mut bytes = b"Q\0\0\0\x0cSELECT 1".to_vec();
/// let decoded = postgres.decode(&bytes, 0, 1_024)?;
/// let (frame_len, payload) = decoded.frame().ok_or("incomplete")?;
/// assert_eq!((frame_len, &bytes[payload]), (13, &b"SELECT 1"[..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Framing {
    /// A length, and that many bytes.
    LengthPrefix(LengthPrefix),
    /// A delimiter at the end.
    Delimiter(Delimiter),
    /// The next so many bytes are a frame, and so are those after it, until the framing changes. At least 1.
    Exact(u64),
    /// Whatever has arrived is a frame: at least 1 byte, and at most 68 KiB or the longest payload. For relays, and for handlers
    /// that decode themselves.
    Raw,
}

impl Default for Framing {
    /// Returns the prefix of 4 bytes in big-endian order.
    fn default() -> Self {
        Self::LengthPrefix(LengthPrefix::u32_be())
    }
}

impl From<LengthPrefix> for Framing {
    fn from(prefix: LengthPrefix) -> Self {
        Self::LengthPrefix(prefix)
    }
}

impl From<Delimiter> for Framing {
    fn from(delimiter: Delimiter) -> Self {
        Self::Delimiter(delimiter)
    }
}

/// Finds frames in received bytes.
pub(crate) trait Decode: Copy {
    /// Finds the end of the frame at the front of `bytes`, of which `searched` have no delimiter.
    fn decode(self, bytes: &[u8], searched: usize, max_payload: u32) -> Result<Decoded, DecodeError>;
}

/// The default framing, for a loop over frames that does not match the framing for each.
#[derive(Debug, Clone, Copy)]
pub(crate) struct U32Be;

impl Decode for U32Be {
    #[inline]
    fn decode(self, bytes: &[u8], _searched: usize, max_payload: u32) -> Result<Decoded, DecodeError> {
        let Some(header) = bytes.first_chunk::<HEADER_LEN>() else { return Ok(Decoded::UNKNOWN) };
        let announced = decode_header(*header);
        // On a 32-bit target, a frame that cannot be addressed is above the limit.
        let frame_len = HEADER_LEN.checked_add(announced as usize).filter(|_| announced <= max_payload);
        match frame_len {
            Some(frame_len) => Ok(Decoded::of_len(bytes.len(), frame_len, HEADER_LEN)),
            None => Err(DecodeError::TooLong(FrameError::of_header(*header, max_payload))),
        }
    }
}

impl Decode for Framing {
    fn decode(self, bytes: &[u8], searched: usize, max_payload: u32) -> Result<Decoded, DecodeError> {
        match self {
            Self::LengthPrefix(prefix) if prefix == LengthPrefix::u32_be() => U32Be.decode(bytes, 0, max_payload),
            Self::LengthPrefix(prefix) => prefix.decode(bytes, max_payload),
            Self::Delimiter(delimiter) => delimiter.decode(bytes, searched, max_payload),
            Self::Exact(_) | Self::Raw if bytes.is_empty() => Ok(Decoded::UNKNOWN),
            Self::Exact(len) => match usize::try_from(len) {
                Ok(frame_len) if len <= max_payload.into() => Ok(Decoded::of_len(bytes.len(), frame_len, 0)),
                Ok(_) | Err(_) => Err(DecodeError::TooLong(FrameError::new(len, max_payload))),
            },
            Self::Raw => {
                let frame_len = bytes.len().min((max_payload as usize).max(1));
                Ok(Decoded::of_len(bytes.len(), frame_len, 0))
            }
        }
    }
}

impl Framing {
    /// Returns the framing of lines: `\n` ends a frame, and so does `\r\n`; neither is part of the payload. Replies end with `\n`.
    #[must_use]
    pub fn lines() -> Self {
        Self::Delimiter(Delimiter::lines())
    }

    /// Returns the framing of lines that end with `\r\n`, which is not part of the payload.
    #[must_use]
    pub fn crlf() -> Self {
        Self::Delimiter(Delimiter::crlf())
    }

    /// Finds the end of the frame at the front of `bytes`. Pass the `searched` of the last call for the same frame, so that
    /// bytes are not searched twice; otherwise 0.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] as soon as the length is known, if the payload is longer than `max_payload` bytes or the length is
    /// negative; for a delimiter, once `max_payload` bytes and the length of the delimiter have come without one.
    pub fn decode(&self, bytes: &[u8], searched: usize, max_payload: u32) -> Result<Decoded, DecodeError> {
        Decode::decode(*self, bytes, searched, max_payload)
    }

    /// Returns the bytes that are written before a reply of `payload_len` bytes, and after it.
    ///
    /// # Errors
    ///
    /// [`FramingError`] if the length field cannot hold the length.
    pub fn enclose(&self, payload_len: usize) -> Result<Enclosure, FramingError> {
        match self {
            Self::LengthPrefix(prefix) => prefix.enclose(payload_len),
            Self::Delimiter(delimiter) => Ok(delimiter.enclose()),
            Self::Exact(_) | Self::Raw => Ok(Enclosure::default()),
        }
    }

    /// Appends a frame with `payload` to `bytes`.
    ///
    /// # Errors
    ///
    /// As for [`enclose`](Self::enclose).
    pub fn encode(&self, payload: &[u8], bytes: &mut Vec<u8>) -> Result<(), FramingError> {
        let enclosure = self.enclose(payload.len())?;
        bytes.extend_from_slice(enclosure.head());
        bytes.extend_from_slice(payload);
        bytes.extend_from_slice(enclosure.tail());
        Ok(())
    }

    /// Whether payloads are sent unchanged because they contain their header or their delimiter.
    #[cfg(feature = "load")]
    pub(crate) fn sends_whole_frames(&self) -> bool {
        match self {
            Self::LengthPrefix(prefix) => prefix.is_unchanged(),
            Self::Delimiter(delimiter) => delimiter.enclose().is_empty(),
            Self::Exact(_) | Self::Raw => false,
        }
    }

    /// The payload lengths for which [`write_whole`](Self::write_whole) has a frame.
    #[cfg(feature = "load")]
    pub(crate) fn whole_payload_lens(&self) -> RangeInclusive<u64> {
        match self {
            Self::LengthPrefix(prefix) => prefix.whole_payload_lens(),
            Self::Delimiter(_) | Self::Exact(_) | Self::Raw => self.payload_lens(),
        }
    }

    /// Appends a whole frame around `payload`, also where payloads are sent unchanged. What is before a length field is zero.
    /// Returns the place among its bytes of what a decoder takes for the payload.
    #[cfg(feature = "load")]
    pub(crate) fn write_whole(
        &self,
        payload: &[u8],
        bytes: &mut Vec<u8>,
    ) -> Result<std::ops::Range<usize>, FramingError> {
        match self {
            Self::LengthPrefix(prefix) if prefix.is_unchanged() => prefix.write_whole(payload, bytes),
            Self::Delimiter(delimiter) if self.sends_whole_frames() => {
                bytes.extend_from_slice(payload);
                bytes.extend_from_slice(delimiter.bytes());
                Ok(0..bytes.len())
            }
            Self::LengthPrefix(_) | Self::Delimiter(_) | Self::Exact(_) | Self::Raw => {
                self.encode(payload, bytes)?;
                Ok(0..payload.len())
            }
        }
    }

    /// The payload lengths of replies that can be written.
    pub(crate) fn payload_lens(&self) -> RangeInclusive<u64> {
        match self {
            Self::LengthPrefix(prefix) => prefix.payload_lens(),
            Self::Delimiter(_) | Self::Exact(_) | Self::Raw => 0..=u64::MAX,
        }
    }

    /// The most bytes that are written around a payload.
    pub(crate) fn enclosure_len_max(&self) -> usize {
        match self {
            Self::LengthPrefix(prefix) => prefix.enclosure_len_max(),
            Self::Delimiter(delimiter) => delimiter.enclose().len(),
            Self::Exact(_) | Self::Raw => 0,
        }
    }

    /// Checks the values that a type does not limit.
    ///
    /// # Errors
    ///
    /// [`FramingError`] for [`Exact(0)`](Self::Exact), which would be an endless sequence of empty frames.
    pub fn check(&self) -> Result<(), FramingError> {
        if *self == Self::Exact(0) {
            return Err(FramingError("exact:0 has no bytes; frames have at least 1".into()));
        }
        Ok(())
    }
}

impl fmt::Display for Framing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LengthPrefix(prefix) => prefix.fmt(f),
            Self::Delimiter(delimiter) => delimiter.fmt(f),
            Self::Exact(len) => write!(f, "exact:{len}"),
            Self::Raw => f.write_str("raw"),
        }
    }
}

/// What to write, for an error.
const ALLOWED: &str = "write u8, u16be, u16le, u24be, u24le, u32be, u32le, u64be, u64le or varint (with ,offset=N,adjust=N,header), \
                       lines, crlf, delim:HEX (with ,keep), exact:N, or raw";

impl FromStr for Framing {
    type Err = FramingError;

    fn from_str(text: &str) -> Result<Self, FramingError> {
        let problem = |what: &str| FramingError(format!("{text:?} is not a framing: {what}"));
        let (name, options) = text.split_once(',').map_or((text, None), |(name, options)| (name, Some(options)));
        let framing = match (name.split_once(':'), name) {
            (_, "raw") => Self::Raw,
            (_, "lines") => Self::lines(),
            (_, "crlf") => Self::crlf(),
            (Some(("exact", len)), _) => {
                Self::Exact(len.parse().map_err(|_| problem("after exact: comes a number of bytes"))?)
            }
            (Some(("delim", digits)), _) => {
                Self::Delimiter(Delimiter::from_hex(digits).map_err(|error| problem(&error.0))?)
            }
            _ => Self::LengthPrefix(LengthPrefix::named(name).ok_or_else(|| problem(ALLOWED))?),
        };
        let options = options.into_iter().flat_map(|options| options.split(','));
        let framing = options.into_iter().try_fold(framing, |framing, option| {
            let with = match framing {
                Self::LengthPrefix(prefix) => prefix.with_option(option).map(Self::LengthPrefix),
                Self::Delimiter(delimiter) if option == "keep" => Some(Self::Delimiter(delimiter.keep(true))),
                Self::Delimiter(_) | Self::Exact(_) | Self::Raw => None,
            };
            with.ok_or_else(|| problem(&format!("{option:?} is no option of it; {ALLOWED}")))
        })?;
        framing.check().map_err(|error| problem(&error.0))?;
        Ok(framing)
    }
}
