//! A frame that is longer than a chunk: it is collected in several chunks, and read straight into them.

use std::collections::VecDeque;

use crate::conn::chunk::{CHUNK_LEN, Chunk, ChunkPool, capacity_for};

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
