//! Pending output: frames that are queued and not sent, and the high-water and low-water marks.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::time::Instant;

use crate::conn::chunk::{CHUNK_LEN, Chunk, ChunkPool, capacity_for};
use crate::conn::io::{Budget, Readiness, Transport};
use crate::conn::payloads::{SharedPayload, Slice};
use crate::conn::piece::{Inline, Piece};
use crate::error::CloseReason;
use crate::wire::Enclosure;

/// The queued, unsent output of a connection.
#[derive(Debug, Default)]
pub(crate) struct Output {
    // Invariant: no piece is empty; `len` is the sum of their lengths.
    pieces: VecDeque<Piece>,
    len: usize,
    // Invariant: the sum of the pieces' capacities.
    capacity: usize,
    // Invariant: set once `len` has reached the high-water mark, until it has fallen to the low-water mark.
    is_full: bool,
    /// The pause of reading because of `is_full` was counted.
    is_pause_counted: bool,
    /// It was full, has fallen to the low-water mark, and the handler was not called for that yet.
    is_low_water_due: bool,
    /// The handler has filled it again when it was called for that.
    was_refilled: bool,
    /// Since when output is pending and none of it was sent.
    stalled_since: Option<Instant>,
    /// A reply of which the handler has queued a part.
    unfinished: Option<Box<UnfinishedReply>>,
}

/// A reply whose payload comes in parts.
#[derive(Debug, Clone, Copy)]
struct UnfinishedReply {
    /// How many bytes of its payload are missing.
    missing: usize,
    /// What is around the payload. The head is queued with the first part, so that both or none cross the high-water mark.
    enclosure: Enclosure,
    has_head: bool,
}

/// The most pieces that one write takes.
const PIECES_MAX: usize = 16;

impl Output {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether the high-water mark was reached, and the low-water mark not since.
    pub(crate) fn is_full(&self) -> bool {
        self.is_full
    }

    /// The capacity of its chunks, and the whole of the shared payloads in it, in bytes.
    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    /// The most capacity that is needed to append `len` bytes.
    pub(crate) fn room_needed(&self, len: usize) -> usize {
        let Some(Piece::Chunk(last)) = self.pieces.back() else { return capacity_for(len) };
        let rest = len.saturating_sub(last.spare_len());
        match rest {
            0 => 0,
            _ if last.capacity() == CHUNK_LEN => capacity_for(rest),
            // It is copied to a larger one, and released only then.
            _ => capacity_for(last.len().saturating_add(len)),
        }
    }

    /// Copies `bytes` to the end. The pool has [room](Self::room_needed) for them.
    pub(crate) fn append(&mut self, bytes: &[u8], high: usize, pool: &mut ChunkPool) {
        self.append_before(0, bytes, high, pool);
    }

    /// Copies `bytes` to the end, before `more` others that follow directly. The pool has room for all of them, so that one
    /// chunk grows only once.
    pub(crate) fn append_before(&mut self, more: usize, mut bytes: &[u8], high: usize, pool: &mut ChunkPool) {
        while !bytes.is_empty() {
            let copied = match self.pieces.back_mut() {
                Some(Piece::Chunk(last)) if last.spare_len() > 0 => last.append(bytes),
                _ => 0,
            };
            bytes = &bytes[copied..];
            self.grew_by(copied, high);
            if !bytes.is_empty() {
                self.make_room(bytes.len() + more, pool);
            }
        }
    }

    /// Copies a frame to the end. The pool has [room](Self::room_needed) for it.
    #[inline]
    pub(crate) fn append_frame(&mut self, enclosure: &Enclosure, payload: &[u8], high: usize, pool: &mut ChunkPool) {
        let (head, tail) = (enclosure.head(), enclosure.tail());
        let frame_len = head.len() + payload.len() + tail.len();
        if self.pieces.is_empty() && frame_len > 0 {
            self.push(pool.acquire(frame_len));
        }
        match self.pieces.back_mut() {
            Some(Piece::Chunk(last)) if last.spare_len() >= frame_len => {
                last.append(head);
                last.append(payload);
                last.append(tail);
                self.grew_by(frame_len, high);
            }
            _ => {
                self.append_before(payload.len() + tail.len(), head, high, pool);
                self.append_before(tail.len(), payload, high, pool);
                self.append(tail, high, pool);
            }
        }
    }

    /// Moves chunks to the end.
    pub(crate) fn append_chunks(&mut self, chunks: &mut VecDeque<Chunk>, high: usize) {
        let len = chunks.iter().map(Chunk::len).sum();
        self.capacity += chunks.iter().map(Chunk::capacity).sum::<usize>();
        self.pieces.extend(chunks.drain(..).map(Piece::Chunk));
        self.grew_by(len, high);
    }

    /// Moves the chunks of a payload to the end, and copies the few bytes before and after it.
    pub(crate) fn append_enclosed(&mut self, enclosure: &Enclosure, mut chunks: VecDeque<Chunk>, high: usize) {
        self.append_inline(enclosure.head());
        self.append_chunks(&mut chunks, high);
        self.append_inline(enclosure.tail());
        self.grew_by(enclosure.len(), high);
    }

    /// Adds a frame to the end: its payload without a copy, and copies of the few bytes before and after it. The pool has
    /// [room](SharedPayload::added_bytes) for it.
    pub(crate) fn append_shared(
        &mut self,
        enclosure: &Enclosure,
        payload: &mut SharedPayload<'_>,
        high: usize,
        pool: &mut ChunkPool,
    ) {
        self.append_slice(enclosure, pool.acquire_slice(payload), high);
    }

    /// Adds a frame to the end, whose payload is a slice that the pool has counted.
    pub(crate) fn append_slice(&mut self, enclosure: &Enclosure, slice: Slice, high: usize) {
        let (head, tail, slice) = (enclosure.head(), enclosure.tail(), Piece::Shared(slice));
        let frame_len = head.len() + slice.len() + tail.len();
        self.append_inline(head);
        self.capacity += slice.capacity();
        self.pieces.push_back(slice);
        self.append_inline(tail);
        self.grew_by(frame_len, high);
    }

    /// Begins a reply whose payload, of at least a byte, comes in parts.
    pub(crate) fn begin_reply(&mut self, enclosure: Enclosure, payload_len: usize) {
        self.unfinished = Some(Box::new(UnfinishedReply { missing: payload_len, enclosure, has_head: false }));
    }

    /// Copies a part of the payload of the unfinished reply to the end. The pool has [room](Self::room_needed) for it and for what is
    /// around it.
    pub(crate) fn append_part(&mut self, part: &[u8], high: usize, pool: &mut ChunkPool) {
        let Some(mut reply) = self.unfinished.take() else { return };
        if !reply.has_head {
            let more = part.len() + reply.enclosure.tail().len();
            self.append_before(more, reply.enclosure.head(), high, pool);
        }
        (reply.has_head, reply.missing) = (true, reply.missing - part.len());
        if reply.missing > 0 {
            self.append(part, high, pool);
            self.unfinished = Some(reply);
        } else {
            let tail = reply.enclosure.tail();
            self.append_before(tail.len(), part, high, pool);
            self.append(tail, high, pool);
        }
    }

    /// No part of the unfinished reply will follow.
    pub(crate) fn give_up_reply(&mut self) {
        self.unfinished = None;
    }

    /// How many bytes of the payload of the unfinished reply are missing.
    pub(crate) fn unfinished(&self) -> Option<usize> {
        self.unfinished.as_ref().map(|reply| reply.missing)
    }

    /// Copies a few bytes to the end, without a new chunk. The caller counts them.
    fn append_inline(&mut self, bytes: &[u8]) {
        match self.pieces.back_mut() {
            _ if bytes.is_empty() => {}
            Some(Piece::Chunk(last)) if last.spare_len() >= bytes.len() => {
                last.append(bytes);
            }
            Some(Piece::Inline(last)) if last.spare_len() >= bytes.len() => last.append(bytes),
            _ => {
                let mut inline = Inline::default();
                inline.append(bytes);
                self.pieces.push_back(Piece::Inline(inline));
            }
        }
    }

    /// Writes until everything is sent, the socket would block or the budget is spent.
    pub(crate) fn write(
        &mut self,
        io: &mut impl Transport,
        readiness: &mut Readiness,
        budget: &mut Budget,
        low: usize,
        pool: &mut ChunkPool,
    ) -> Result<(), CloseReason> {
        let was_full = self.is_full;
        while !self.is_empty() && readiness.writable && budget.may_write() {
            let sent = self.write_front(io, readiness, budget, pool)?;
            self.consume(sent, pool);
            self.is_full &= self.len > low;
        }
        self.is_pause_counted &= self.is_full;
        self.is_low_water_due |= was_full && !self.is_full;
        Ok(())
    }

    /// Writes once: the pieces at the front, up to the one that crosses the budget, and no more bytes than it allows.
    /// Returns how many bytes the socket accepted.
    fn write_front(
        &self,
        io: &mut impl Transport,
        readiness: &mut Readiness,
        budget: &mut Budget,
        pool: &ChunkPool,
    ) -> Result<usize, CloseReason> {
        if let Some(only) = self.pieces.front().filter(|_| self.pieces.len() == 1) {
            return readiness.write(io, only.as_slice(pool), budget);
        }
        let asked_max = budget.write_len_max();
        let mut slices = [IoSlice::new(&[]); PIECES_MAX];
        let (mut count, mut asked) = (0, 0);
        for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
            if asked >= budget.write_bytes.min(asked_max) {
                break;
            }
            let len = piece.len().min(asked_max - asked);
            *slice = IoSlice::new(&piece.as_slice(pool)[..len]);
            asked += len;
            count += 1;
        }
        readiness.write_with(asked, budget, || io.write_pieces(&slices[..count]))
    }

    /// Discards the first `len` bytes.
    fn consume(&mut self, mut len: usize, pool: &mut ChunkPool) {
        self.len -= len;
        while let Some(first) = self.pieces.front_mut() {
            let consumed = len.min(first.len());
            first.consume(consumed);
            len -= consumed;
            if !first.is_empty() {
                return;
            }
            if let Some(piece) = self.pieces.pop_front() {
                self.capacity -= piece.capacity();
                piece.release(pool);
            }
        }
    }

    fn push(&mut self, chunk: Chunk) {
        self.capacity += chunk.capacity();
        self.pieces.push_back(Piece::Chunk(chunk));
    }

    #[inline]
    fn grew_by(&mut self, len: usize, high: usize) {
        self.len += len;
        self.is_full |= self.len >= high;
    }

    /// Makes room for `len` more bytes: in the last chunk, if enough of it was sent; or by copying a last chunk that is not
    /// of the largest size to a larger one, so that the output stays in few pieces; or in another chunk.
    fn make_room(&mut self, len: usize, pool: &mut ChunkPool) {
        if let Some(Piece::Chunk(last)) = self.pieces.back_mut()
            && last.consumed_len() >= len.max(last.len())
        {
            // No more bytes are moved than were sent, so a byte is moved once on average.
            last.compact();
            return;
        }
        let grows = matches!(self.pieces.back(), Some(Piece::Chunk(last)) if last.capacity() < CHUNK_LEN);
        let last = if grows { self.pieces.pop_back() } else { None };
        let Some(Piece::Chunk(last)) = last else { return self.push(pool.acquire(len)) };
        let mut larger = pool.acquire(last.len() + len);
        larger.append(last.as_slice());
        self.capacity -= last.capacity();
        self.push(larger);
        pool.release(last);
    }

    /// Copies all bytes, and releases them.
    pub(crate) fn take_copy(&mut self, pool: &mut ChunkPool) -> Vec<u8> {
        let bytes = self.pieces.iter().map(|piece| piece.as_slice(pool)).collect::<Vec<_>>().concat();
        self.release(pool);
        bytes
    }

    pub(crate) fn release(&mut self, pool: &mut ChunkPool) {
        self.pieces.drain(..).for_each(|piece| piece.release(pool));
        self.reset();
    }

    /// Empties it for another connection, and keeps the memory of its queue.
    pub(crate) fn reset(&mut self) {
        *self = Self { pieces: std::mem::take(&mut self.pieces), ..Self::default() };
    }

    /// Compares what is pending with changed marks.
    pub(crate) fn marks_changed(&mut self, high: usize, low: usize) {
        let was_full = self.is_full;
        self.is_full = self.len >= high || (was_full && self.len > low);
        self.is_low_water_due |= was_full && !self.is_full;
    }

    /// Whether there is room again and the handler was not called for that yet.
    pub(crate) fn has_low_water_to_report(&self) -> bool {
        self.is_low_water_due && !self.is_full
    }

    /// Whether the handler is still to be called because there is room again.
    pub(crate) fn is_low_water_due(&self) -> bool {
        self.is_low_water_due
    }

    pub(crate) fn low_water_reported(&mut self) {
        self.is_low_water_due = false;
    }

    /// The handler was called because there was room.
    pub(crate) fn handler_called(&mut self) {
        self.was_refilled = self.is_full;
    }

    pub(crate) fn was_refilled(&self) -> bool {
        self.was_refilled
    }

    /// Sets the stall clock after a turn. `pauses`: reading is paused because this is full. Returns whether a pause begins.
    pub(crate) fn turn_ended(&mut self, pauses: bool, has_written: bool, now: Instant) -> bool {
        self.stalled_since = match self.stalled_since {
            _ if self.is_empty() => None,
            Some(since) if !has_written => Some(since),
            _ => Some(now),
        };
        let is_counted = std::mem::replace(&mut self.is_pause_counted, pauses);
        pauses && !is_counted
    }

    pub(crate) fn stalled_since(&self) -> Option<Instant> {
        self.stalled_since
    }

    /// How many pieces of shared payloads it has, and the whole of those payloads, in bytes.
    #[cfg(test)]
    pub(crate) fn shared_counts(&self) -> (usize, usize) {
        self.pieces.iter().fold((0, 0), |(slices, bytes), piece| match piece {
            Piece::Shared(slice) => (slices + 1, bytes + slice.payload_len()),
            Piece::Chunk(_) | Piece::Inline(_) => (slices, bytes),
        })
    }

    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn check(&self, high: usize, low: usize) {
        assert!(self.pieces.iter().all(|piece| !piece.is_empty()));
        assert_eq!(self.len, self.pieces.iter().map(Piece::len).sum::<usize>());
        assert_eq!(self.capacity, self.pieces.iter().map(Piece::capacity).sum::<usize>());
        assert!(!self.is_full || self.len > low);
        assert!(self.is_full || self.len < high);
    }
}

#[cfg(test)]
#[path = "../tests/conn/output.rs"]
mod tests;
