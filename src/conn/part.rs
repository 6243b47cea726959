//! A frame that is delivered in parts. It is never collected, so it may be longer than the memory.

use crate::conn::input::Stopped;
use crate::wire::{Decode, Decoded, Framing};

/// Gives a handler access to a part of a frame that is longer than a chunk.
///
/// The parts of a frame come in order, without gaps. It borrows the read buffer, so copy what you need after the callback.
#[derive(Debug, Clone, Copy)]
pub struct FramePart<'a> {
    pub(crate) header: &'a [u8],
    pub(crate) bytes: &'a [u8],
    pub(crate) offset: u64,
    pub(crate) payload_len: Option<u64>,
    pub(crate) is_first: bool,
    pub(crate) is_last: bool,
}

impl<'a> FramePart<'a> {
    /// Returns the bytes of the payload in this part: at most 68 KiB.
    ///
    /// It is empty in the first part if only the header has come, and in the last part if only the delimiter was missing.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Returns how many bytes of the payload came before this part.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Returns whether this is the first part. It may be empty, and then another with the offset 0 follows.
    #[must_use]
    pub fn is_first(&self) -> bool {
        self.is_first
    }

    /// Returns whether the payload ends with this part.
    #[must_use]
    pub fn is_last(&self) -> bool {
        self.is_last
    }

    /// Returns the length of the whole payload, in bytes; `None` if a delimiter ends it, which has not come yet.
    #[must_use]
    pub fn payload_len(&self) -> Option<u64> {
        self.payload_len
    }

    /// Returns the bytes before the payload, as [`Frame::header`](crate::Frame::header) does. They come with the first part; in
    /// others it is empty.
    #[must_use]
    pub fn header(&self) -> &'a [u8] {
        self.header
    }
}

/// A frame of which some parts were delivered.
#[derive(Debug)]
pub(crate) struct PartedFrame {
    /// The framing and the longest payload with which it began.
    framing: Framing,
    max_payload: u32,
    /// Bytes of the frame that are not in the read buffer any more, with its header.
    taken: usize,
    /// Bytes of the payload that were delivered.
    offset: u64,
    /// `None` while its delimiter is searched for.
    payload_len: Option<u64>,
}

/// What of the received bytes is the next part.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NextPart {
    /// How many bytes of payload are at the front.
    pub(crate) payload_len: usize,
    /// The same with the delimiter.
    pub(crate) len: usize,
    pub(crate) is_last: bool,
}

impl NextPart {
    /// The first part, if nothing of the payload has come.
    pub(crate) const EMPTY: Self = Self { payload_len: 0, len: 0, is_last: false };
}

impl PartedFrame {
    pub(crate) fn new(framing: Framing, max_payload: u32, payload_len: Option<u64>, header_len: usize) -> Self {
        Self { framing, max_payload, taken: header_len, offset: 0, payload_len }
    }

    /// Bytes of the frame that are not in the read buffer any more, with its header.
    pub(crate) fn taken(&self) -> usize {
        self.taken
    }

    /// What of `bytes` is the next part; `searched` of them contain no delimiter.
    ///
    /// Rule: a part ends before bytes that may be the beginning of the delimiter, so no byte of one is delivered.
    pub(crate) fn next(&self, bytes: &[u8], searched: usize) -> Result<NextPart, Stopped> {
        if let Some(payload_len) = self.payload_len {
            let missing = usize::try_from(payload_len - self.offset).unwrap_or(usize::MAX);
            return match missing.min(bytes.len()) {
                0 => Err(Stopped::INCOMPLETE),
                len => Ok(NextPart { payload_len: len, len, is_last: len == missing }),
            };
        }
        let Framing::Delimiter(delimiter) = self.framing else { return Err(Stopped::INCOMPLETE) };
        let allowed = u64::from(self.max_payload).saturating_sub(self.offset) as u32;
        match Decode::decode(self.framing, bytes, searched, allowed) {
            Ok(Decoded::Frame { frame_len, payload }) => {
                Ok(NextPart { payload_len: payload.len(), len: frame_len, is_last: true })
            }
            Ok(Decoded::Partial { searched, .. }) => match bytes.len().saturating_sub(delimiter.begun_len_max()) {
                0 => Err(Stopped::Incomplete { searched }),
                len => Ok(NextPart { payload_len: len, len, is_last: false }),
            },
            Err(_) => Err(Stopped::Invalid(delimiter.too_long(self.max_payload))),
        }
    }

    /// Notes that a part is delivered. Returns its offset, and the length of the whole payload if that is known.
    pub(crate) fn deliver(&mut self, next: NextPart) -> (u64, Option<u64>) {
        let offset = self.offset;
        self.offset += next.payload_len as u64;
        self.taken += next.len;
        (offset, if next.is_last { Some(self.offset) } else { self.payload_len })
    }
}
