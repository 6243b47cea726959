//! The read buffer, and the frames in it.
//!
//! All connections read into one buffer and frames are delivered from there, each in one piece. What is left between turns
//! is in `pending.rs`. A frame that is longer than a chunk is collected in `large.rs`.

use std::ops::Range;

use crate::conn::chunk::{CHUNK_LEN, Chunk, ChunkPool};
use crate::conn::frame::{Body, Frame};
use crate::conn::io::{Budget, Readiness, Transport};
use crate::error::CloseReason;
use crate::wire::{Decoded, FrameError, decode};

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
    /// Where the next frame begins.
    next: usize,
    /// Where the received bytes end.
    end: usize,
}

impl ReadBuffer {
    pub(crate) fn new() -> Self {
        Self { bytes: vec![0; CHUNK_LEN].into_boxed_slice(), echo: 0..0, next: 0, end: 0 }
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

    pub(crate) fn echo_bytes(&self) -> &[u8] {
        &self.bytes[self.echo.clone()]
    }

    /// Restores the input that was saved after the last turn.
    pub(crate) fn restore(&mut self, saved: Chunk, pool: &mut ChunkPool) {
        Range { start: self.next, end: self.end } = pool.restore(saved, &mut self.bytes);
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
        debug_assert!(self.echo.is_empty());
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

    /// The frames in the buffer, of which at most `budget` may be delivered; and the bytes and the echo range, for replies.
    #[inline]
    pub(crate) fn frames(&mut self, budget: usize, max_payload: u32) -> (Frames<'_>, &[u8], &mut Range<usize>) {
        let bytes = &self.bytes[..self.end];
        (Frames { bytes, next: self.next, budget, max_payload, stopped: Stopped::Incomplete }, bytes, &mut self.echo)
    }

    /// Notes that frames were delivered up to `next`.
    #[inline]
    pub(crate) fn delivered(&mut self, next: usize) {
        self.next = next;
    }

    /// Writes the frames to be echoed, as far as the socket and the budget permit.
    #[inline]
    pub(crate) fn write_echo(
        &mut self,
        io: &mut impl Transport,
        readiness: &mut Readiness,
        budget: &mut Budget,
    ) -> Result<(), CloseReason> {
        while !self.echo.is_empty() && readiness.writable && budget.may_write() {
            let sent = readiness.write(io, &self.bytes[self.echo.clone()], budget)?;
            self.echo.start += sent;
        }
        Ok(())
    }

    /// Discards the frames that were delivered.
    #[inline]
    pub(crate) fn discard_delivered(&mut self) {
        if self.is_empty() {
            (self.next, self.end) = (0, 0);
        }
        self.echo = self.next..self.next;
    }

    pub(crate) fn clear(&mut self) {
        (self.next, self.end) = (0, 0);
        self.echo = 0..0;
    }

    /// The length of the frame at the front, if it is whole.
    pub(crate) fn next_len(&self, max_payload: u32) -> Result<usize, Stopped> {
        next_len(&self.bytes[self.next..self.end], max_payload)
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

#[inline]
pub(crate) fn next_len(bytes: &[u8], max_payload: u32) -> Result<usize, Stopped> {
    match decode(bytes, max_payload) {
        Ok(Decoded::Frame { frame_len }) => Ok(frame_len),
        Ok(Decoded::Partial { frame_len }) if frame_len <= CHUNK_LEN => Err(Stopped::Incomplete),
        Ok(Decoded::Partial { frame_len }) => Err(Stopped::Large { frame_len }),
        Err(error) => Err(Stopped::Invalid(error)),
    }
}

/// The whole frames in the read buffer, one after the other.
#[derive(Debug)]
pub(crate) struct Frames<'a> {
    bytes: &'a [u8],
    // A value, not a reference to the buffer's: each header is found through `next`, so it belongs in a register.
    pub(crate) next: usize,
    /// How many more may be delivered in this turn.
    pub(crate) budget: usize,
    max_payload: u32,
    pub(crate) stopped: Stopped,
}

/// Why no further frame is delivered.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Stopped {
    /// More bytes are needed, or the handler wants no more frames.
    Incomplete,
    /// A frame longer than a chunk begins.
    Large { frame_len: usize },
    /// The header is refused.
    Invalid(FrameError),
    /// Pending output has reached the high-water mark.
    OutputFull,
    /// The frame budget is spent.
    BudgetSpent,
}

impl<'a> Frames<'a> {
    /// The length of the next frame, if it is whole.
    #[inline]
    pub(crate) fn next_len(&self) -> Result<usize, Stopped> {
        next_len(&self.bytes[self.next..], self.max_payload)
    }

    /// Takes the next frame, whose [length](Self::next_len) is `frame_len`, unless the budget is spent.
    #[inline]
    pub(crate) fn take(&mut self, frame_len: usize) -> Result<Frame<'a>, Stopped> {
        if self.budget == 0 {
            return Err(Stopped::BudgetSpent);
        }
        self.budget -= 1;
        let at = self.next;
        self.next += frame_len;
        Ok(Frame { body: Body::Whole { bytes: &self.bytes[at..at + frame_len], at } })
    }
}

#[cfg(test)]
#[path = "../tests/conn/input.rs"]
mod tests;
