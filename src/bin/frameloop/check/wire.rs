//! The grader's own idea of the wire. It shares nothing with the server's, so that a mistake in one is seen by the other.

use std::fmt;
use std::ops::{Range, RangeInclusive};
use std::sync::Arc;

/// Where a frame ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wire {
    text: Arc<str>,
    shape: Shape,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Prefix(Prefix),
    Delimiter(Delimiter),
    /// Each frame has this many bytes.
    Exact(usize),
    /// Whatever arrives comes back.
    Raw,
}

/// A header with the length of the payload, less `adjust`, behind `offset` other bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Prefix {
    field: Field,
    offset: usize,
    adjust: i32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field {
    /// This many bytes, the highest first.
    Big(u32),
    Little(u32),
    /// Seven bits per byte, the lowest first; the highest bit says that another byte follows.
    Varint,
}

/// The bytes at the end of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Delimiter {
    bytes: [u8; DELIMITER_LEN_MAX],
    len: usize,
}

impl Wire {
    /// Reads the text that flags have, in the form in which the library displays it.
    pub(crate) fn of(text: &str) -> Option<Self> {
        let mut parts = text.split(',');
        let name = parts.next()?;
        let shape = match (name, name.split_once(':')) {
            ("raw", _) => Shape::Raw,
            ("lines", _) => Shape::Delimiter(Delimiter::of(b"\n")?),
            ("crlf", _) => Shape::Delimiter(Delimiter::of(b"\r\n")?),
            (_, Some(("exact", len))) => Shape::Exact(len.parse().ok()?),
            (_, Some(("delim", digits))) => Shape::Delimiter(Delimiter::of_hex(digits)?),
            _ => Shape::Prefix(Prefix { field: Field::of(name)?, offset: 0, adjust: 0 }),
        };
        let shape = parts.try_fold(shape, Shape::with)?;
        Some(Self { text: text.into(), shape })
    }

    /// A length of 4 bytes, big-endian.
    pub(crate) fn is_default(&self) -> bool {
        self.shape == Shape::Prefix(Prefix { field: Field::Big(4), offset: 0, adjust: 0 })
    }

    pub(crate) fn shape(&self) -> Shape {
        self.shape
    }

    /// A payload, whose length fits, with its header or delimiter.
    pub(crate) fn frame(&self, payload: &[u8]) -> Vec<u8> {
        let mut frame = self.header(payload.len() as u64).unwrap_or_default();
        frame.extend(payload);
        frame.extend(self.delimiter());
        frame
    }

    /// The header that announces a payload of `len` bytes; none if there is no header, or it cannot.
    pub(crate) fn header(&self, len: u64) -> Option<Vec<u8>> {
        match self.shape {
            Shape::Prefix(prefix) => prefix.header(len),
            Shape::Delimiter(_) | Shape::Exact(_) | Shape::Raw => None,
        }
    }

    /// What ends a frame.
    pub(crate) fn delimiter(&self) -> &[u8] {
        match &self.shape {
            Shape::Delimiter(delimiter) => &delimiter.bytes[..delimiter.len],
            Shape::Prefix(_) | Shape::Exact(_) | Shape::Raw => &[],
        }
    }

    /// How long a payload can be, in bytes; empty if there is none.
    pub(crate) fn payload_lens(&self) -> RangeInclusive<u64> {
        match self.shape {
            Shape::Prefix(prefix) => prefix.payload_lens(),
            Shape::Delimiter(_) => 0..=u64::MAX,
            Shape::Exact(len) => len as u64..=len as u64,
            Shape::Raw => 1..=RAW_LEN_MAX,
        }
    }

    /// The length of a payload that is closest to `wanted` bytes.
    pub(crate) fn payload_len(&self, wanted: usize) -> usize {
        let (shortest, longest) = self.payload_lens().into_inner();
        (wanted as u64).max(shortest).min(longest) as usize
    }

    /// Refuses what cannot be graded, with a line for the user.
    pub(crate) fn check(&self, max_payload: u32) -> Result<(), String> {
        let (shortest, longest) = self.payload_lens().into_inner();
        let most = u64::from(max_payload).min(SHORTEST_MAX);
        if shortest > longest {
            return Err(format!(
                "--framing is {self}, whose field holds the length of no payload: give a larger adjust"
            ));
        }
        if shortest > most {
            return Err(format!(
                "--framing is {self}, whose payloads have {shortest} bytes or more: at most {most} can be graded"
            ));
        }
        Ok(())
    }

    /// Payloads avoid this byte, so that a delimiter is found just where a frame ends: one that began in the payload would
    /// have its own last byte there.
    pub(crate) fn avoided(&self) -> Option<u8> {
        self.delimiter().last().copied()
    }

    /// Replaces the byte that payloads avoid.
    pub(crate) fn avoid(&self, text: &mut [u8]) {
        let Some(avoided) = self.avoided() else { return };
        let other = if avoided == b'x' { b'y' } else { b'x' };
        text.iter_mut().filter(|byte| **byte == avoided).for_each(|byte| *byte = other);
    }

    /// The position in a frame after `part` bytes of its header, or of its delimiter; or why there is none.
    pub(crate) fn after(&self, frame: &[u8], part: usize) -> Result<usize, String> {
        let (name, place) = self.enclosing(frame)?;
        if part == 0 || part >= place.len() {
            return Err(format!("the {name} of {self} has only {}", counted(place.len())));
        }
        Ok(place.start + part)
    }

    /// The position in the middle of a frame's header, or of its delimiter; or why there is none.
    pub(crate) fn half_header(&self, frame: &[u8]) -> Result<usize, String> {
        self.after(frame, self.enclosing(frame)?.1.len() / 2)
    }

    /// The position in the middle of a frame's payload; or why there is none.
    pub(crate) fn half_payload(&self, frame: &[u8]) -> Result<usize, String> {
        let head = self.head_len(frame).unwrap_or(0);
        match (frame.len() - head - self.delimiter().len()) / 2 {
            _ if self.shape == Shape::Raw => Err("with raw, whatever has come is a whole frame".into()),
            0 => Err(format!("a payload of {self} has only {}", counted(frame.len() - head))),
            half => Ok(head + half),
        }
    }

    /// The header or the delimiter of a frame.
    fn enclosing(&self, frame: &[u8]) -> Result<(&'static str, Range<usize>), String> {
        match (self.head_len(frame), self.delimiter().len()) {
            (Some(len), _) => Ok(("header", 0..len)),
            (None, 0) => Err(format!("a frame of {self} has neither a header nor a delimiter")),
            (None, len) => Ok(("delimiter", frame.len() - len..frame.len())),
        }
    }

    /// How long the header is that these bytes begin with.
    pub(crate) fn head_len(&self, bytes: &[u8]) -> Option<usize> {
        let Shape::Prefix(prefix) = self.shape else { return None };
        let field = bytes.get(prefix.offset..)?;
        Some(prefix.offset + prefix.field.len(field)?)
    }

    /// A header in the other byte order; none if it has no order.
    pub(crate) fn swapped(&self, header: &[u8]) -> Option<Vec<u8>> {
        let Shape::Prefix(Prefix { field: Field::Big(_) | Field::Little(_), offset, .. }) = self.shape else {
            return None;
        };
        let (before, field) = header.split_at_checked(offset)?;
        Some(before.iter().chain(field.iter().rev()).copied().collect())
    }
}

impl fmt::Display for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Shape {
    /// The same with an option.
    fn with(self, option: &str) -> Option<Self> {
        match (self, option.split_once('=')) {
            // What a handler sees is the same on the wire.
            (Self::Prefix(_), None) if option == "header" => Some(self),
            (Self::Delimiter(_), None) if option == "keep" => Some(self),
            (Self::Prefix(prefix), Some(("offset", offset))) => {
                Some(Self::Prefix(Prefix { offset: offset.parse().ok()?, ..prefix }))
            }
            (Self::Prefix(prefix), Some(("adjust", adjust))) => {
                Some(Self::Prefix(Prefix { adjust: adjust.parse().ok()?, ..prefix }))
            }
            _ => None,
        }
    }
}

impl Prefix {
    pub(crate) fn field(self) -> Field {
        self.field
    }

    fn header(self, len: u64) -> Option<Vec<u8>> {
        let value = len.checked_add_signed(-i64::from(self.adjust)).filter(|value| *value <= self.field.max())?;
        let byte = |at: u32| (value >> (8 * at)) as u8;
        let mut header: Vec<u8> = (b'A'..=b'Z').cycle().take(self.offset).collect();
        match self.field {
            Field::Big(width) => header.extend((0..width).rev().map(byte)),
            Field::Little(width) => header.extend((0..width).map(byte)),
            Field::Varint => {
                let mut rest = value;
                while rest >= 0x80 {
                    header.push(rest as u8 | 0x80);
                    rest >>= 7;
                }
                header.push(rest as u8);
            }
        }
        Some(header)
    }

    fn payload_lens(self) -> RangeInclusive<u64> {
        let adjust = i64::from(self.adjust);
        let shortest = adjust.max(0) as u64;
        match self.field.max().checked_add_signed(adjust) {
            Some(longest) => shortest..=longest,
            None if adjust > 0 => shortest..=u64::MAX,
            None => RangeInclusive::new(1, 0),
        }
    }
}

impl Field {
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "u8" => Self::Big(1),
            "u16be" => Self::Big(2),
            "u16le" => Self::Little(2),
            "u24be" => Self::Big(3),
            "u24le" => Self::Little(3),
            "u32be" => Self::Big(4),
            "u32le" => Self::Little(4),
            "u64be" => Self::Big(8),
            "u64le" => Self::Little(8),
            "varint" => Self::Varint,
            _ => return None,
        })
    }

    /// The largest number.
    fn max(self) -> u64 {
        match self {
            Self::Big(width) | Self::Little(width) => u64::MAX >> (64 - 8 * width),
            Self::Varint => u64::MAX,
        }
    }

    /// How many bytes the field has that these begin with.
    fn len(self, bytes: &[u8]) -> Option<usize> {
        match self {
            Self::Big(width) | Self::Little(width) => Some(width as usize).filter(|width| bytes.len() >= *width),
            Self::Varint => bytes.iter().position(|byte| *byte < 0x80).map(|last| last + 1),
        }
    }
}

impl Delimiter {
    fn of(delimiter: &[u8]) -> Option<Self> {
        let mut bytes = [0; DELIMITER_LEN_MAX];
        bytes.get_mut(..delimiter.len())?.copy_from_slice(delimiter);
        Some(Self { bytes, len: delimiter.len() })
    }

    fn of_hex(digits: &str) -> Option<Self> {
        let value = |digit: &u8| char::from(*digit).to_digit(16).map(|value| value as u8);
        let byte = |pair: &[u8]| Some(value(pair.first()?)? << 4 | value(pair.get(1)?)?);
        Self::of(&digits.as_bytes().chunks(2).map(byte).collect::<Option<Vec<u8>>>()?)
    }
}

fn counted(bytes: usize) -> String {
    format!("{bytes} byte{}", if bytes == 1 { "" } else { "s" })
}

const DELIMITER_LEN_MAX: usize = 4;
/// How much is sent in one go with `raw`, where all of it may come back before the last byte was sent: what sockets hold.
const RAW_LEN_MAX: u64 = 32 << 10;
/// The longest payload that a thousand clients send each.
const SHORTEST_MAX: u64 = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(text: &str) -> Wire {
        Wire::of(text).unwrap_or_else(|| panic!("{text} is not read"))
    }

    #[test]
    fn frames_have_the_bytes_of_their_framing() {
        let rows: [(&str, &[u8]); 14] = [
            ("u8", b"\x03abc"),
            ("u16be", b"\0\x03abc"),
            ("u16le", b"\x03\0abc"),
            ("u24be", b"\0\0\x03abc"),
            ("u24le", b"\x03\0\0abc"),
            ("u32be", b"\0\0\0\x03abc"),
            ("u64be", b"\0\0\0\0\0\0\0\x03abc"),
            ("varint", b"\x03abc"),
            ("u32be,offset=1,adjust=-4,header", b"A\0\0\0\x07abc"),
            ("lines", b"abc\n"),
            ("crlf", b"abc\r\n"),
            ("delim:0d0a0D0a,keep", b"abc\r\n\r\n"),
            ("exact:3", b"abc"),
            ("raw", b"abc"),
        ];
        for (text, frame) in rows {
            assert_eq!(wire(text).frame(b"abc"), frame, "{text}");
        }
        for text in ["", "u31be", "lines,header", "raw,keep", "exact:x", "delim:0", "delim:0102030405", "u8,offset=x"] {
            assert_eq!(Wire::of(text), None, "{text}");
        }
    }

    #[test]
    fn headers_announce_lengths_up_to_what_their_field_holds() {
        assert_eq!(wire("u32be").header(0x0102_0304), Some(vec![1, 2, 3, 4]));
        assert_eq!(wire("u64le").header(0x0102), Some(vec![2, 1, 0, 0, 0, 0, 0, 0]));
        assert_eq!(wire("varint").header(300), Some(vec![0xac, 2]));
        assert_eq!(wire("varint").header(u64::MAX).map(|header| header.len()), Some(10));
        assert_eq!(wire("u24be").header(1 << 24), None);
        assert_eq!(wire("lines").header(1), None);
        assert_eq!(wire("u16be,adjust=-2").payload_lens(), 0..=65_533);
        assert_eq!(wire("u8,adjust=10").payload_lens(), 10..=265);
        assert_eq!((wire("u8").payload_len(258), wire("exact:64").payload_len(0)), (255, 64));
    }

    #[test]
    fn framing_is_refused_where_its_payloads_are_too_long() {
        let rows = [
            ("exact:513", "--framing is exact:513, whose payloads have 513 bytes or more: at most 512 can be graded"),
            (
                "u8,adjust=-300",
                "--framing is u8,adjust=-300, whose field holds the length of no payload: give a larger adjust",
            ),
        ];
        for (text, message) in rows {
            assert_eq!(wire(text).check(512), Err(message.into()));
        }
        assert!(wire("exact:70000").check(1 << 24).is_err_and(|message| message.contains("at most 65536 can")));
        assert!(["u8,adjust=-255", "exact:512", "raw"].iter().all(|text| wire(text).check(512).is_ok()));
    }

    #[test]
    fn frames_are_cut_in_their_header_delimiter_or_payload() {
        let cut = |text: &str, len| {
            let (wire, payload) = (wire(text), vec![b'a'; len]);
            let frame = wire.frame(&payload);
            (wire.after(&frame, 2).ok(), wire.half_header(&frame).ok(), wire.half_payload(&frame).ok())
        };
        assert_eq!(cut("u32be", 100), (Some(2), Some(2), Some(54)));
        assert_eq!(cut("u16be", 100), (None, Some(1), Some(52)));
        assert_eq!(cut("u8", 100), (None, None, Some(51)));
        assert_eq!(cut("varint", 300), (None, Some(1), Some(152)));
        assert_eq!(cut("u32be,offset=1", 100), (Some(2), Some(2), Some(55)));
        assert_eq!(cut("delim:0d0a0d0a", 100), (Some(102), Some(102), Some(50)));
        assert_eq!(cut("lines", 100), (None, None, Some(50)));
        assert_eq!((cut("exact:64", 64), cut("raw", 64)), ((None, None, Some(32)), (None, None, None)));
        assert_eq!(wire("lines").after(b"abc\n", 1), Err("the delimiter of lines has only 1 byte".into()));
    }

    #[test]
    fn swapped_header_keeps_the_bytes_before_its_field() {
        assert_eq!(wire("u16le,offset=1").swapped(b"A\x03\0"), Some(b"A\0\x03".to_vec()));
        assert_eq!(wire("varint").swapped(b"\x03"), None);
    }
}
