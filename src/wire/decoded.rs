//! What decoding and encoding a frame return.

use std::fmt;
use std::ops::Range;

/// The frame at the front of received bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Decoded {
    /// A whole frame.
    #[non_exhaustive]
    Frame {
        /// The length of the frame with its header or delimiter, in bytes.
        frame_len: usize,
        /// The place of the payload among these.
        payload: Range<usize>,
    },
    /// A part of a frame.
    #[non_exhaustive]
    Partial {
        /// The length of the whole frame, in bytes, once it is known.
        frame_len: Option<usize>,
        /// Where the payload begins, once that is known; otherwise 0.
        payload_start: usize,
        /// How many bytes need not be searched for a delimiter again.
        searched: usize,
    },
}

impl Decoded {
    /// Returns the length of a whole frame, and the place of the payload in it.
    #[must_use]
    pub fn frame(self) -> Option<(usize, Range<usize>)> {
        match self {
            Self::Frame { frame_len, payload } => Some((frame_len, payload)),
            Self::Partial { .. } => None,
        }
    }

    /// A frame with a header of `head` bytes, of which `received` bytes have come.
    #[inline]
    pub(super) fn of_len(received: usize, frame_len: usize, head: usize) -> Self {
        if frame_len <= received {
            return Self::Frame { frame_len, payload: head..frame_len };
        }
        Self::Partial { frame_len: Some(frame_len), payload_start: head, searched: 0 }
    }

    pub(crate) const UNKNOWN: Self = Self::Partial { frame_len: None, payload_start: 0, searched: 0 };
}

/// The bytes before and after the payload of a reply.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Enclosure {
    bytes: [u8; Self::LEN_MAX],
    head_len: u8,
    tail_len: u8,
}

impl Enclosure {
    /// The most bytes that any framing puts around a payload.
    pub(crate) const LEN_MAX: usize = 10;

    #[inline]
    pub(crate) fn of_head(head: &[u8]) -> Self {
        let mut bytes = [0; 10];
        bytes[..head.len()].copy_from_slice(head);
        Self { bytes, head_len: head.len() as u8, tail_len: 0 }
    }

    pub(crate) fn of_tail(tail: &[u8]) -> Self {
        Self { head_len: 0, tail_len: tail.len() as u8, ..Self::of_head(tail) }
    }

    /// Returns the header.
    #[must_use]
    #[inline]
    pub fn head(&self) -> &[u8] {
        &self.bytes[..self.head_len.into()]
    }

    /// Returns the delimiter.
    #[must_use]
    #[inline]
    pub fn tail(&self) -> &[u8] {
        &self.bytes[..self.tail_len.into()]
    }

    /// Returns the length of both, in bytes.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        usize::from(self.head_len) + usize::from(self.tail_len)
    }

    /// Returns whether nothing is written but the payload.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Reports that a text or a value is not a [`Framing`](crate::wire::Framing), or that a length field cannot hold a length. It displays the observed
/// value and what is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FramingError(pub(super) String);

impl fmt::Display for FramingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for FramingError {}
