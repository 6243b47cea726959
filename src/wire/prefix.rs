//! Frames that begin with their length.

use std::fmt;
use std::ops::RangeInclusive;

use crate::wire::decoded::{Decoded, Enclosure, FramingError};
use crate::wire::error::{DecodeError, FrameError, LengthError};

/// Describes a length prefix: the width and byte order of the field, what is before it, and what it counts.
///
/// ```text
///   +----------------+--------------+---------------------------------+
///   | offset bytes   | length field | length + adjustment bytes       |
///   +----------------+--------------+---------------------------------+
///   |<---------- header ----------->|<----------- payload ----------->|
/// ```
///
/// The meaning of offset and adjustment is that of Netty's `LengthFieldBasedFrameDecoder` and of `LengthDelimitedCodec` in
/// tokio-util. The limit `max_payload` applies to the payload: the length after the adjustment.
///
/// # Examples
///
/// ```
/// use frameloop::wire::{Framing, LengthPrefix};
///
/// // MQTT: a type, then a varint.
/// let mqtt = Framing::from(LengthPrefix::varint().offset(1));
/// assert_eq!(mqtt.to_string(), "varint,offset=1");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LengthPrefix {
    field: Field,
    offset: u8,
    includes_header: bool,
    adjustment: i32,
}

/// The length field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Field {
    /// This many bytes, the most significant first.
    Big(u8),
    Little(u8),
    /// Seven bits per byte, the least significant first; the highest bit says that another byte follows.
    Varint,
}

/// A varint of 64 bits has at most this many bytes.
const VARINT_LEN_MAX: usize = 10;

/// The fields that have a fixed width, with their text.
const FIELDS: [(&str, Field); 10] = [
    ("u8", Field::Big(1)),
    ("u16be", Field::Big(2)),
    ("u16le", Field::Little(2)),
    ("u24be", Field::Big(3)),
    ("u24le", Field::Little(3)),
    ("u32be", Field::Big(4)),
    ("u32le", Field::Little(4)),
    ("u64be", Field::Big(8)),
    ("u64le", Field::Little(8)),
    ("varint", Field::Varint),
];

/// A constructor for each field.
macro_rules! constructors {
    ($($(#[$doc:meta])* $name:ident: $field:expr),* $(,)?) => {
        $(
            $(#[$doc])*
            #[must_use]
            pub const fn $name() -> Self {
                Self { field: $field, offset: 0, includes_header: false, adjustment: 0 }
            }
        )*
    };
}

impl LengthPrefix {
    constructors! {
        /// Returns a length of 1 byte.
        u8: Field::Big(1),
        /// Returns a big-endian length of 2 bytes.
        u16_be: Field::Big(2),
        /// Returns a little-endian length of 2 bytes.
        u16_le: Field::Little(2),
        /// Returns a big-endian length of 3 bytes.
        u24_be: Field::Big(3),
        /// Returns a little-endian length of 3 bytes.
        u24_le: Field::Little(3),
        /// Returns a big-endian length of 4 bytes: the default.
        u32_be: Field::Big(4),
        /// Returns a little-endian length of 4 bytes.
        u32_le: Field::Little(4),
        /// Returns a big-endian length of 8 bytes.
        u64_be: Field::Big(8),
        /// Returns a little-endian length of 8 bytes.
        u64_le: Field::Little(8),
        /// Returns a length in LEB128 of at most 10 bytes, as MQTT and Protocol Buffers have it.
        varint: Field::Varint,
    }

    /// Sets how many bytes come before the length field, such as a type. Default 0.
    ///
    /// [`Frame::header`](crate::Frame::header) returns them, together with the field. A reply cannot know them, so replies are
    /// written unchanged: they begin with their header.
    #[must_use]
    pub const fn offset(mut self, bytes: u8) -> Self {
        self.offset = bytes;
        self
    }

    /// Sets what is added to the value of the length field to get the length of the rest, in bytes. Default 0.
    ///
    /// It is negative where the length counts the header too: -4 for a field of 4 bytes that counts itself. It is positive where
    /// a trailer is not counted.
    #[must_use]
    pub const fn adjustment(mut self, bytes: i32) -> Self {
        self.adjustment = bytes;
        self
    }

    /// Sets whether the payload includes the header. Then replies are written unchanged. Default `false`.
    #[must_use]
    pub const fn include_header(mut self, includes: bool) -> Self {
        self.includes_header = includes;
        self
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        let (_, field) = FIELDS.into_iter().find(|(text, _)| *text == name)?;
        Some(Self { field, ..Self::u32_be() })
    }

    pub(super) fn with_option(self, option: &str) -> Option<Self> {
        match option.split_once('=') {
            None if option == "header" => Some(self.include_header(true)),
            Some(("offset", bytes)) => bytes.parse().ok().map(|bytes| self.offset(bytes)),
            Some(("adjust", bytes)) => bytes.parse().ok().map(|bytes| self.adjustment(bytes)),
            Some(_) | None => None,
        }
    }

    pub(super) fn decode(&self, bytes: &[u8], max_payload: u32) -> Result<Decoded, DecodeError> {
        let too_long = |announced| DecodeError::TooLong(FrameError::new(announced, max_payload));
        let offset = usize::from(self.offset);
        let Some(field) = bytes.get(offset..) else { return Ok(Decoded::UNKNOWN) };
        let Some((announced, field_len)) = self.field.decode(field).map_err(|()| too_long(u64::MAX))? else {
            return Ok(Decoded::UNKNOWN);
        };
        let adjustment = i64::from(self.adjustment);
        if adjustment < 0 && announced < adjustment.unsigned_abs() {
            return Err(DecodeError::InvalidLength(LengthError::new(announced, self.adjustment)));
        }
        let payload_len = announced.saturating_add_signed(adjustment);
        let head = offset + field_len;
        // On a 32-bit target, a frame that cannot be addressed is above the limit.
        let frame_len = usize::try_from(payload_len).ok().and_then(|len| len.checked_add(head));
        let frame_len = frame_len.filter(|_| payload_len <= max_payload.into());
        let frame_len = frame_len.ok_or_else(|| too_long(payload_len))?;
        Ok(Decoded::of_len(bytes.len(), frame_len, if self.includes_header { 0 } else { head }))
    }

    pub(super) fn enclose(&self, payload_len: usize) -> Result<Enclosure, FramingError> {
        if self.is_unchanged() {
            return Ok(Enclosure::default());
        }
        let announced = (payload_len as u64).checked_add_signed(-i64::from(self.adjustment));
        announced.and_then(|announced| self.field.encode(announced)).ok_or_else(|| {
            FramingError(format!("a payload of {payload_len} bytes does not fit the length field of {self}"))
        })
    }

    /// The payload lengths for which there is a whole frame.
    #[cfg(feature = "load")]
    pub(super) fn whole_payload_lens(&self) -> RangeInclusive<u64> {
        Self { offset: 0, includes_header: false, ..*self }.payload_lens()
    }

    /// Appends a header and `payload`. Returns the place of the payload as it is decoded.
    #[cfg(feature = "load")]
    pub(super) fn write_whole(
        &self,
        payload: &[u8],
        bytes: &mut Vec<u8>,
    ) -> Result<std::ops::Range<usize>, FramingError> {
        let field = Self { offset: 0, includes_header: false, ..*self }.enclose(payload.len())?;
        bytes.resize(bytes.len() + usize::from(self.offset), 0);
        bytes.extend_from_slice(field.head());
        let begin = if self.includes_header { 0 } else { bytes.len() };
        bytes.extend_from_slice(payload);
        Ok(begin..bytes.len())
    }

    /// The payload lengths of replies that can be written.
    pub(super) fn payload_lens(&self) -> RangeInclusive<u64> {
        if self.is_unchanged() {
            return 0..=u64::MAX;
        }
        let adjustment = i64::from(self.adjustment);
        adjustment.max(0) as u64..=self.field.value_max().saturating_add_signed(adjustment)
    }

    pub(super) fn enclosure_len_max(&self) -> usize {
        match self.field {
            _ if self.is_unchanged() => 0,
            Field::Big(width) | Field::Little(width) => width.into(),
            Field::Varint => VARINT_LEN_MAX,
        }
    }

    /// Whether replies are written unchanged.
    pub(super) fn is_unchanged(&self) -> bool {
        self.includes_header || self.offset > 0
    }
}

impl Field {
    /// Returns the value and the length of the field at the front of `bytes`, if all of it is there. Fails if it is no number of
    /// 64 bits.
    fn decode(self, bytes: &[u8]) -> Result<Option<(u64, usize)>, ()> {
        match self {
            Self::Big(width) => {
                let field = bytes.get(..width.into());
                Ok(field.map(|field| (field.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)), field.len())))
            }
            Self::Little(width) => {
                let field = bytes.get(..width.into());
                Ok(field
                    .map(|field| (field.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte)), field.len())))
            }
            Self::Varint => {
                let mut value = 0;
                for (at, byte) in bytes.iter().enumerate().take(VARINT_LEN_MAX) {
                    let bits = u64::from(byte & 0x7f);
                    // Of the tenth byte, one bit is left.
                    if at == VARINT_LEN_MAX - 1 && *byte > 1 {
                        return Err(());
                    }
                    value |= bits << (7 * at);
                    if byte & 0x80 == 0 {
                        return Ok(Some((value, at + 1)));
                    }
                }
                Ok(None)
            }
        }
    }

    fn encode(self, value: u64) -> Option<Enclosure> {
        if value > self.value_max() {
            return None;
        }
        let (big, little) = (value.to_be_bytes(), value.to_le_bytes());
        Some(match self {
            Self::Big(width) => Enclosure::of_head(&big[big.len() - usize::from(width)..]),
            Self::Little(width) => Enclosure::of_head(&little[..width.into()]),
            Self::Varint => {
                let (mut bytes, mut len, mut rest) = ([0; VARINT_LEN_MAX], 1, value);
                while rest > 0x7f {
                    bytes[len - 1] = rest as u8 | 0x80;
                    rest >>= 7;
                    len += 1;
                }
                bytes[len - 1] = rest as u8;
                Enclosure::of_head(&bytes[..len])
            }
        })
    }

    fn value_max(self) -> u64 {
        match self {
            Self::Big(width) | Self::Little(width) => u64::MAX >> (64 - 8 * u32::from(width)),
            Self::Varint => u64::MAX,
        }
    }
}

impl fmt::Display for LengthPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = FIELDS.iter().find(|(_, field)| *field == self.field).map_or("", |(name, _)| name);
        f.write_str(name)?;
        if self.offset != 0 {
            write!(f, ",offset={}", self.offset)?;
        }
        if self.adjustment != 0 {
            write!(f, ",adjust={}", self.adjustment)?;
        }
        f.write_str(if self.includes_header { ",header" } else { "" })
    }
}
