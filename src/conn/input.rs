//! Pending input: bytes that were received and are not delivered yet.
//!
//! All connections read into one buffer ([`ReadBuffer`]) and frames are delivered from there, each in one piece. Between
//! turns, a connection saves the rest in a chunk of its own size ([`Input`]). A frame that is longer than a chunk is
//! collected in several chunks ([`LargeFrame`]), and read straight into them; its bytes are never moved again.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Instant;

use crate::conn::chunk::{CHUNK_LEN, Chunk, ChunkPool, capacity_for};
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
fn next_len(bytes: &[u8], max_payload: u32) -> Result<usize, Stopped> {
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

/// The pending input of a connection between turns.
#[derive(Debug, Default)]
pub(crate) struct Input {
    pending: Pending,
    /// The next turn has a whole frame to deliver, a large one to begin, or a header to refuse.
    has_frames: bool,
    clock: FrameClock,
    /// Since when the peer has finished and input before its FIN is unread, because the handler has paused.
    finished_since: Option<Instant>,
}

#[derive(Debug, Default)]
enum Pending {
    #[default]
    Empty,
    /// Less than a frame, or frames that wait for the next turn; at most a chunk.
    Bytes(Chunk),
    /// A part of a frame that is longer than a chunk.
    Large(LargeFrame),
}

impl Input {
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self.pending, Pending::Empty)
    }

    pub(crate) fn is_large(&self) -> bool {
        matches!(self.pending, Pending::Large(_))
    }

    pub(crate) fn len(&self) -> usize {
        match &self.pending {
            Pending::Empty => 0,
            Pending::Bytes(chunk) => chunk.len(),
            Pending::Large(frame) => frame.received(),
        }
    }

    /// The capacity of its chunks, in bytes.
    pub(crate) fn capacity(&self) -> usize {
        match &self.pending {
            Pending::Empty => 0,
            Pending::Bytes(chunk) => chunk.capacity(),
            Pending::Large(frame) => frame.capacity,
        }
    }

    pub(crate) fn has_frames(&self) -> bool {
        self.has_frames
    }

    /// Takes the saved bytes out, to restore them to the read buffer.
    pub(crate) fn take_bytes(&mut self) -> Option<Chunk> {
        match std::mem::take(&mut self.pending) {
            Pending::Bytes(chunk) => Some(chunk),
            other @ (Pending::Empty | Pending::Large(_)) => {
                self.pending = other;
                None
            }
        }
    }

    pub(crate) fn save(&mut self, bytes: Chunk) {
        debug_assert!(self.is_empty());
        self.pending = Pending::Bytes(bytes);
    }

    pub(crate) fn begin_large(&mut self, frame: LargeFrame) {
        debug_assert!(self.is_empty());
        self.pending = Pending::Large(frame);
    }

    /// The capacity that [`read_large`](Self::read_large) needs.
    pub(crate) fn room_needed(&self) -> usize {
        match &self.pending {
            Pending::Large(frame) => frame.room_needed(),
            Pending::Empty | Pending::Bytes(_) => 0,
        }
    }

    /// Reads more of a large frame. The pool has [room](Self::room_needed). Returns `Ok(None)` on `EAGAIN`, and
    /// `Ok(Some(0))` on the peer's FIN.
    pub(crate) fn read_large(
        &mut self,
        io: &mut impl Transport,
        readiness: &mut Readiness,
        budget: &mut Budget,
        pool: &mut ChunkPool,
    ) -> Result<Option<usize>, CloseReason> {
        let Pending::Large(frame) = &mut self.pending else { return Ok(None) };
        let read = readiness.read(io, frame.spare_mut(pool), budget)?;
        if let Some(len) = read {
            frame.advance(len);
        }
        Ok(read)
    }

    /// Takes a large frame out if it is whole.
    pub(crate) fn take_whole_large(&mut self) -> Option<LargeFrame> {
        match std::mem::take(&mut self.pending) {
            Pending::Large(frame) if frame.missing() == 0 => Some(frame),
            other @ (Pending::Empty | Pending::Bytes(_) | Pending::Large(_)) => {
                self.pending = other;
                None
            }
        }
    }

    pub(crate) fn release(&mut self, pool: &mut ChunkPool) {
        match std::mem::take(&mut self.pending) {
            Pending::Empty => {}
            Pending::Bytes(chunk) => pool.release(chunk),
            Pending::Large(frame) => frame.chunks.into_iter().for_each(|chunk| pool.release(chunk)),
        }
    }

    pub(crate) fn reset(&mut self) {
        *self = Self::default();
    }

    /// Sets the clocks after a turn. `is_unread`: input waits in the socket because reading is paused. `is_finished`: its
    /// end is known, and the handler has paused.
    pub(crate) fn turn_ended(
        &mut self,
        has_frames: bool,
        delivered: bool,
        is_unread: bool,
        is_finished: bool,
        now: Instant,
    ) {
        let is_same_frame = !delivered && !self.has_frames;
        self.has_frames = has_frames;
        if self.is_empty() || has_frames {
            self.clock = FrameClock::default();
        } else {
            self.clock.go_on(is_same_frame, is_unread, now);
        }
        self.finished_since = is_finished.then(|| self.finished_since.unwrap_or(now));
    }

    /// When the incomplete frame began, if the frame timeout applies to it now.
    pub(crate) fn frame_since(&self) -> Option<Instant> {
        self.clock.since()
    }

    pub(crate) fn finished_since(&self) -> Option<Instant> {
        self.finished_since
    }

    /// What must be true after a turn. `is_unread` as in [`turn_ended`](Self::turn_ended).
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn check_after_turn(&self, is_unread: bool, max_payload: u32) {
        let has_frames = match &self.pending {
            Pending::Empty | Pending::Large(_) => false,
            Pending::Bytes(chunk) => !matches!(next_len(chunk.as_slice(), max_payload), Err(Stopped::Incomplete)),
        };
        assert_eq!(self.has_frames, has_frames);
        assert_eq!(self.frame_since().is_some(), !self.is_empty() && !has_frames && !is_unread);
    }
}

/// Since when a frame is incomplete.
///
/// Rule: the clock stops while input waits in the socket because reading is paused, and only then; a pause hides no
/// deadline.
#[derive(Debug, Clone, Copy, Default)]
struct FrameClock {
    /// When the first byte came, plus the time for which the clock was stopped.
    since: Option<Instant>,
    stopped_since: Option<Instant>,
}

impl FrameClock {
    /// `None` while it is stopped, or if there is no incomplete frame.
    fn since(&self) -> Option<Instant> {
        self.since.filter(|_| self.stopped_since.is_none())
    }

    /// Continues for the same frame, or starts for another.
    fn go_on(&mut self, is_same_frame: bool, stops: bool, now: Instant) {
        let since = self.since.filter(|_| is_same_frame).unwrap_or(now);
        self.since = match self.stopped_since {
            Some(stopped) if is_same_frame && !stops => since.checked_add(now.saturating_duration_since(stopped)),
            _ => Some(since),
        };
        self.stopped_since = if stops { self.stopped_since.or(Some(now)) } else { None };
    }
}

/// A part of a frame that is longer than a chunk.
#[derive(Debug)]
pub(crate) struct LargeFrame {
    // Invariant: the chunks hold `received` bytes together; only the last may have room to spare, or be empty.
    pub(crate) chunks: VecDeque<Chunk>,
    // Invariant: the sum of the chunks' capacities.
    pub(crate) capacity: usize,
    received: usize,
    pub(crate) frame_len: usize,
}

impl LargeFrame {
    pub(crate) fn new(first: Chunk, frame_len: usize) -> Self {
        debug_assert!(first.len() < frame_len);
        Self { capacity: first.capacity(), received: first.len(), chunks: VecDeque::from([first]), frame_len }
    }

    fn received(&self) -> usize {
        self.received
    }

    fn missing(&self) -> usize {
        self.frame_len - self.received
    }

    /// The capacity of the chunk that the next read needs; 0 if the last chunk has spare room.
    fn room_needed(&self) -> usize {
        let is_full = self.chunks.back().is_none_or(|last| last.spare_len() == 0);
        if is_full { capacity_for(self.next_chunk_len()) } else { 0 }
    }

    /// A new chunk is at most as long as what was received: capacity follows the bytes, not the header.
    fn next_chunk_len(&self) -> usize {
        self.missing().min(self.received).min(CHUNK_LEN)
    }

    /// Room for missing bytes, at most a chunk of it. The pool has [room](Self::room_needed).
    fn spare_mut(&mut self, pool: &mut ChunkPool) -> &mut [u8] {
        let missing = self.missing();
        if self.room_needed() > 0 {
            let chunk = pool.acquire(self.next_chunk_len());
            self.capacity += chunk.capacity();
            self.chunks.push_back(chunk);
        }
        let spare = match self.chunks.back_mut() {
            Some(last) => last.spare_mut(),
            None => &mut [],
        };
        let len = spare.len().min(missing);
        &mut spare[..len]
    }

    fn advance(&mut self, len: usize) {
        if let Some(last) = self.chunks.back_mut() {
            last.advance(len);
            self.received += len;
        }
    }
}

#[cfg(test)]
#[path = "../tests/conn/input.rs"]
mod tests;
