//! Wrong responses.

use std::fmt;

/// Describes a wrong response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fault {
    /// The connection's number.
    pub connection: u32,
    /// The frame's number on its connection.
    pub frame: u32,
    /// What is wrong.
    pub kind: FaultKind,
    /// The beginning of the response.
    pub excerpt: Excerpt,
}

/// Holds the first bytes of a payload. It is shown with escapes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Excerpt {
    bytes: [u8; Self::LEN_MAX],
    len: u8,
    is_all: bool,
}

impl Excerpt {
    const LEN_MAX: usize = 48;

    pub(crate) fn of<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut excerpt = Self { bytes: [0; Self::LEN_MAX], len: 0, is_all: true };
        for byte in pieces.flatten() {
            match excerpt.bytes.get_mut(usize::from(excerpt.len)) {
                Some(place) => (*place, excerpt.len) = (*byte, excerpt.len + 1),
                None => {
                    excerpt.is_all = false;
                    break;
                }
            }
        }
        excerpt
    }
}

impl fmt::Display for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let more = if self.is_all { "" } else { "..." };
        write!(f, "\"{}\"{more}", self.bytes[..usize::from(self.len)].escape_ascii())
    }
}

/// Describes what is wrong with a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FaultKind {
    /// The first byte that differs.
    Byte {
        /// The offset in the payload, in bytes.
        offset: usize,
        /// The byte that was expected.
        expected: u8,
        /// The byte that was received.
        got: u8,
    },
    /// The payload has another length than the one that was expected.
    Length {
        /// The length that was expected, in bytes.
        expected: usize,
        /// The length that was received, in bytes.
        got: usize,
    },
    /// It does not begin with the prefix of [`Check::Prefix`](crate::load::Check::Prefix).
    Prefix,
    /// The pattern of [`Check::Regex`](crate::load::Check::Regex) is not in it.
    Pattern,
    /// A response without a request.
    Unasked,
}

impl FaultKind {
    /// Returns the name of the kind, in lower case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Byte { .. } => "byte",
            Self::Length { .. } => "length",
            Self::Prefix => "prefix",
            Self::Pattern => "pattern",
            Self::Unasked => "unasked",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { connection, frame, kind, excerpt } = self;
        write!(f, "connection {connection}, frame {frame}: ")?;
        match kind {
            FaultKind::Byte { offset, expected, got } => {
                write!(f, "byte {offset} of the payload is 0x{got:02x}, and 0x{expected:02x} was expected")
            }
            FaultKind::Length { expected, got } => write!(f, "{got} bytes of payload, and {expected} were expected"),
            FaultKind::Prefix => f.write_str("it does not begin with the expected bytes"),
            FaultKind::Pattern => f.write_str("the expected pattern is not in it"),
            FaultKind::Unasked => f.write_str("no request was in flight"),
        }?;
        write!(f, ": {excerpt}")
    }
}
