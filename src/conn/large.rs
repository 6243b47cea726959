//! A frame that is longer than a chunk: it is collected in several chunks, and read straight into them.

use std::collections::VecDeque;
use std::ops::Range;

use crate::conn::chunk::{CHUNK_LEN, Chunk, ChunkPool, capacity_for};
use crate::wire::{Delimiter, Framing};

/// A part of a frame that is longer than a chunk.
#[derive(Debug)]
pub(crate) struct LargeFrame {
    // Invariant: the chunks hold `received` bytes together; only the last may have room to spare, or be empty.
    pub(crate) chunks: VecDeque<Chunk>,
    // Invariant: the sum of the chunks' capacities.
    pub(crate) capacity: usize,
    received: usize,
    /// The length of the frame; while its delimiter is searched for, the most that it can be.
    pub(crate) frame_len: usize,
    payload_start: usize,
    /// The length of what follows the payload.
    trailer_len: usize,
    pub(crate) framing: Framing,
    /// What ends the frame, if that is not its length, until it is found.
    delimiter: Option<Delimiter>,
}

impl LargeFrame {
    pub(crate) fn new(first: Chunk, frame_len: usize, payload_start: usize, framing: Framing) -> Self {
        debug_assert!(first.len() < frame_len);
        let delimiter = match framing {
            Framing::Delimiter(delimiter) => Some(delimiter),
            Framing::LengthPrefix(_) | Framing::Exact(_) | Framing::Raw => None,
        };
        let (capacity, received, chunks) = (first.capacity(), first.len(), VecDeque::from([first]));
        Self { chunks, capacity, received, frame_len, payload_start, trailer_len: 0, framing, delimiter }
    }

    /// The delimiter, if the frame cannot be longer and its end is not found.
    pub(crate) fn endless(&self) -> Option<Delimiter> {
        self.delimiter.filter(|_| self.missing() == 0)
    }

    /// Looks for the delimiter in the last `len` bytes, and ends the frame behind it. Returns the bytes that follow, which are
    /// removed.
    pub(crate) fn find_end(&mut self, len: usize) -> Option<Vec<u8>> {
        let delimiter = self.delimiter?;
        let (last, before) = {
            let mut chunks = self.chunks.iter().rev().map(Chunk::as_slice);
            // A delimiter may have begun in the chunk before. Each chunk but the last is longer than a delimiter.
            (chunks.next()?, chunks.next().unwrap_or(&[]))
        };
        let end = delimiter.find(before, last, last.len() - len)?;
        self.trailer_len = delimiter.trailer_len(before, &last[..end]);
        let rest = last[end..].to_vec();
        if let Some(last) = self.chunks.back_mut() {
            last.truncate(end);
        }
        self.received -= rest.len();
        self.frame_len = self.received;
        self.delimiter = None;
        Some(rest)
    }

    /// The place of the payload in the whole frame.
    pub(crate) fn payload(&self) -> Range<usize> {
        self.payload_start..self.frame_len - self.trailer_len
    }

    pub(crate) fn received(&self) -> usize {
        self.received
    }

    pub(crate) fn missing(&self) -> usize {
        self.frame_len - self.received
    }

    /// The capacity of the chunk that the next read needs; 0 if the last chunk has spare room.
    pub(crate) fn room_needed(&self) -> usize {
        let is_full = self.chunks.back().is_none_or(|last| last.spare_len() == 0);
        if is_full { capacity_for(self.next_chunk_len()) } else { 0 }
    }

    /// A new chunk is at most as long as what was received: capacity follows the bytes, not the header.
    fn next_chunk_len(&self) -> usize {
        self.missing().min(self.received).min(CHUNK_LEN)
    }

    /// Room for missing bytes, at most a chunk of it. The pool has [room](Self::room_needed).
    pub(crate) fn spare_mut(&mut self, pool: &mut ChunkPool) -> &mut [u8] {
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

    pub(crate) fn advance(&mut self, len: usize) {
        if let Some(last) = self.chunks.back_mut() {
            last.advance(len);
            self.received += len;
        }
    }
}

#[cfg(test)]
#[path = "../tests/conn/large_frame.rs"]
mod tests;
