//! The read buffer, and the frames in it.
//!
//! All connections read into one buffer and frames are delivered from there, each in one piece. What is left between turns
//! is in `pending.rs`. A frame that is longer than a chunk is collected in `large.rs`.

use std::ops::Range;

use crate::conn::chunk::{CHUNK_LEN, Chunk, ChunkPool};
use crate::conn::frame::{Body, Frame};
use crate::conn::io::{Budget, Readiness, Transport};
use crate::conn::profile::Rules;
use crate::conn::reply_buffer::ReplyBuffer;
use crate::error::CloseReason;
use crate::wire::{Decode, DecodeError, Decoded};

/// The buffer that every connection reads into. Between turns it is empty.
///
/// ```text
///   0           echo           next           end                capacity
///   +-----------+==============+--------------+------------------+
///   | delivered | to be echoed | undelivered  | read into        |
///   +-----------+==============+--------------+------------------+
/// ```
#[derive(Debug)]
pub(crate) struct ReadBuffer {
    bytes: Box<[u8]>,
    /// Frames to be sent back as they are, one after the other: they are written from here.
    pub(crate) echo: Range<usize>,
    /// Short replies, which are written from there. Only while there is nothing to echo.
    pub(crate) replies: ReplyBuffer,
    /// Where the next frame begins.
    next: usize,
    /// How many undelivered bytes were searched for a delimiter.
    searched: usize,
    /// Where the received bytes end.
    end: usize,
}

impl ReadBuffer {
    pub(crate) fn new() -> Self {
        let bytes = vec![0; CHUNK_LEN].into_boxed_slice();
        Self { bytes, echo: 0..0, replies: ReplyBuffer::new(), next: 0, searched: 0, end: 0 }
    }

    /// Whether no bytes are undelivered.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.next == self.end
    }

    /// Undelivered bytes.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.end - self.next
    }

    /// The undelivered bytes.
    pub(crate) fn undelivered(&self) -> &[u8] {
        &self.bytes[self.next..self.end]
    }

    /// Whether nothing waits to be written.
    #[inline]
    pub(crate) fn is_sent(&self) -> bool {
        self.echo.is_empty() && self.replies.is_empty()
    }

    /// What waits to be written: frames to be echoed, or replies.
    pub(crate) fn unsent(&self) -> &[u8] {
        if self.echo.is_empty() { self.replies.unsent() } else { &self.bytes[self.echo.clone()] }
    }

    /// Restores the input that was saved after the last turn, of which some was searched for a delimiter.
    pub(crate) fn restore(&mut self, saved: Chunk, searched: usize, pool: &mut ChunkPool) {
        Range { start: self.next, end: self.end } = pool.restore(saved, &mut self.bytes);
        self.searched = searched;
        self.echo = self.next..self.next;
    }

    /// Moves the undelivered bytes to a chunk for the connection, for which the pool has room.
    pub(crate) fn save(&mut self, pool: &mut ChunkPool) -> Chunk {
        let saved = pool.save(&mut self.bytes, self.next..self.end);
        self.clear();
        saved
    }

    /// Reads at most `len_max` bytes after the undelivered ones. Returns `Ok(None)` on `EAGAIN`, and `Ok(Some(0))` on the
    /// peer's FIN.
    pub(crate) fn read(
        &mut self,
        len_max: usize,
        io: &mut impl Transport,
        readiness: &mut Readiness,
        budget: &mut Budget,
    ) -> Result<Option<usize>, CloseReason> {
        debug_assert!(self.is_sent());
        if self.bytes.len() - self.end < len_max {
            self.compact();
        }
        let spare = &mut self.bytes[self.end..];
        let len = spare.len().min(len_max);
        let read = readiness.read(io, &mut spare[..len], budget)?;
        self.end += read.unwrap_or(0);
        Ok(read)
    }

    /// Whether [`read`](Self::read) has no room.
    pub(crate) fn is_full(&self) -> bool {
        self.len() == self.bytes.len()
    }

    /// The frames in the buffer, of which at most `budget` may be delivered; and for replies the bytes, the echo range and the buffer.
    #[inline]
    pub(crate) fn frames<D: Decode>(
        &mut self,
        decoder: D,
        budget: usize,
        max_payload: u32,
    ) -> (Frames<'_, D>, &[u8], &mut Range<usize>, &mut ReplyBuffer) {
        let bytes = &self.bytes[..self.end];
        let Self { next, searched, .. } = *self;
        let frames = Frames { bytes, next, searched, budget, decoder, max_payload, stopped: Stopped::INCOMPLETE };
        (frames, bytes, &mut self.echo, &mut self.replies)
    }

    /// How many undelivered bytes were searched for a delimiter.
    pub(crate) fn searched(&self) -> usize {
        self.searched
    }

    /// Notes that the first `len` undelivered bytes were delivered. If the frame goes on, the others were searched.
    pub(crate) fn part_delivered(&mut self, len: usize, is_last: bool) {
        self.next += len;
        self.searched = if is_last { 0 } else { self.len() };
    }

    /// Notes that frames were delivered up to `next`, and how many bytes after that were searched for a delimiter.
    #[inline]
    pub(crate) fn delivered(&mut self, next: usize, searched: usize) {
        (self.next, self.searched) = (next, searched);
    }

    /// Notes that the framing has changed: no byte was searched for its delimiter.
    pub(crate) fn search_anew(&mut self) {
        self.searched = 0;
    }

    /// Puts bytes into the empty buffer.
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        debug_assert!(self.is_empty() && bytes.len() <= self.bytes.len());
        self.bytes[..bytes.len()].copy_from_slice(bytes);
        (self.next, self.end) = (0, bytes.len());
        self.echo = 0..0;
    }

    /// Writes the frames to be echoed, or the replies, as far as the socket and the budget permit.
    #[inline]
    pub(crate) fn write(
        &mut self,
        io: &mut impl Transport,
        readiness: &mut Readiness,
        budget: &mut Budget,
    ) -> Result<(), CloseReason> {
        while !self.echo.is_empty() && readiness.writable && budget.may_write() {
            let sent = readiness.write(io, &self.bytes[self.echo.clone()], budget)?;
            self.echo.start += sent;
        }
        self.replies.write(io, readiness, budget)
    }

    /// Discards the frames that were delivered, and the replies.
    #[inline]
    pub(crate) fn discard_delivered(&mut self) {
        if self.is_empty() {
            (self.next, self.end) = (0, 0);
        }
        self.echo = self.next..self.next;
        self.replies.clear();
    }

    pub(crate) fn clear(&mut self) {
        (self.next, self.searched, self.end) = (0, 0, 0);
        self.echo = 0..0;
        self.replies.clear();
    }

    /// The length of the frame at the front, if it is whole.
    pub(crate) fn next_len(&self, rules: &Rules) -> Result<usize, Stopped> {
        let next = decode(rules.framing, &self.bytes[self.next..self.end], self.searched, rules.max_payload);
        next.map(|(frame_len, _)| frame_len)
    }

    /// Moves the undelivered bytes to the front.
    pub(crate) fn compact(&mut self) {
        if self.next > 0 {
            self.bytes.copy_within(self.next..self.end, 0);
            (self.next, self.end) = (0, self.end - self.next);
            self.echo = 0..0;
        }
    }
}

/// The length of the whole frame at the front of `bytes`, and the place of its payload.
#[inline]
pub(crate) fn decode<D: Decode>(
    decoder: D,
    bytes: &[u8],
    searched: usize,
    max_payload: u32,
) -> Result<(usize, Range<usize>), Stopped> {
    match decoder.decode(bytes, searched, max_payload) {
        Ok(Decoded::Frame { frame_len, payload }) => Ok((frame_len, payload)),
        Ok(Decoded::Partial { frame_len: Some(frame_len), payload_start, .. }) if frame_len > CHUNK_LEN => {
            Err(Stopped::Large { frame_len, payload_start })
        }
        Ok(Decoded::Partial { frame_len: None, .. }) if bytes.len() == CHUNK_LEN => Err(Stopped::Endless),
        Ok(Decoded::Partial { searched, .. }) => Err(Stopped::Incomplete { searched }),
        Err(error) => Err(Stopped::Invalid(error)),
    }
}

/// The whole frames in the read buffer, one after the other.
#[derive(Debug)]
pub(crate) struct Frames<'a, D> {
    bytes: &'a [u8],
    // Values, not references to the buffer's: each header is found through `next`, so it belongs in a register.
    pub(crate) next: usize,
    pub(crate) searched: usize,
    /// How many more may be delivered in this turn.
    pub(crate) budget: usize,
    decoder: D,
    max_payload: u32,
    pub(crate) stopped: Stopped,
}

/// Why no further frame is delivered.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Stopped {
    /// More bytes are needed, or the handler wants no more frames. So many bytes were searched for a delimiter.
    Incomplete { searched: usize },
    /// A frame longer than a chunk begins.
    Large { frame_len: usize, payload_start: usize },
    /// A frame fills the buffer, and its delimiter is not found.
    Endless,
    /// The bytes are no frame.
    Invalid(DecodeError),
    /// Pending output has reached the high-water mark.
    OutputFull,
    /// The frame budget is spent.
    BudgetSpent,
}

impl Stopped {
    pub(crate) const INCOMPLETE: Self = Self::Incomplete { searched: 0 };

    /// How many bytes of the next frame were searched for a delimiter.
    #[inline]
    pub(crate) fn searched(&self) -> usize {
        match self {
            Self::Incomplete { searched } => *searched,
            Self::Large { .. } | Self::Endless | Self::Invalid(_) | Self::OutputFull | Self::BudgetSpent => 0,
        }
    }
}

impl<'a, D: Decode> Frames<'a, D> {
    /// The length of the next frame, if it is whole, and the place of its payload.
    #[inline]
    pub(crate) fn next_len(&self) -> Result<(usize, Range<usize>), Stopped> {
        decode(self.decoder, &self.bytes[self.next..], self.searched, self.max_payload)
    }

    /// Takes the next frame, whose [length](Self::next_len) is `frame_len`, unless the budget is spent.
    #[inline]
    pub(crate) fn take(&mut self, frame_len: usize, payload: Range<usize>) -> Result<Frame<'a>, Stopped> {
        if self.budget == 0 {
            return Err(Stopped::BudgetSpent);
        }
        self.budget -= 1;
        let at = self.next;
        self.next += frame_len;
        self.searched = 0;
        Ok(Frame { body: Body::Whole { bytes: &self.bytes[at..at + frame_len], at }, payload })
    }
}

#[cfg(test)]
#[path = "../tests/conn/input.rs"]
mod tests;
