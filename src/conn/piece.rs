//! The pieces of pending output.

use crate::conn::chunk::{Chunk, ChunkPool};
use crate::conn::payloads::{RECORD_LEN, Slice};

/// Bytes of pending output that lie together in memory.
#[derive(Debug)]
pub(crate) enum Piece {
    /// Copied bytes, or those of a frame that is sent on as it came.
    Chunk(Chunk),
    /// A payload that other connections may send too.
    Shared(Slice),
    /// What precedes or follows such a payload, if it is not in a chunk.
    Inline(Inline),
}

const _: () = assert!(RECORD_LEN == 3 * size_of::<Piece>());

/// A few bytes in the queue itself.
#[derive(Debug, Default)]
pub(crate) struct Inline {
    buf: [u8; Self::CAPACITY],
    // Invariant: start <= end <= CAPACITY.
    start: u8,
    end: u8,
}

impl Inline {
    /// What fits into a piece that is no longer for it.
    const CAPACITY: usize = 28;

    pub(crate) fn spare_len(&self) -> usize {
        Self::CAPACITY - usize::from(self.end)
    }

    /// Copies `bytes`, for which there is room.
    pub(crate) fn append(&mut self, bytes: &[u8]) {
        debug_assert!(bytes.len() <= self.spare_len());
        let end = usize::from(self.end) + bytes.len();
        self.buf[usize::from(self.end)..end].copy_from_slice(bytes);
        self.end = end as u8;
    }

    fn as_slice(&self) -> &[u8] {
        &self.buf[usize::from(self.start)..usize::from(self.end)]
    }
}

impl Piece {
    pub(crate) fn as_slice<'a>(&'a self, pool: &'a ChunkPool) -> &'a [u8] {
        match self {
            Self::Chunk(chunk) => chunk.as_slice(),
            Self::Shared(slice) => pool.payload(slice),
            Self::Inline(inline) => inline.as_slice(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Chunk(chunk) => chunk.len(),
            Self::Shared(slice) => slice.len(),
            Self::Inline(inline) => inline.as_slice().len(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::Chunk(chunk) => chunk.is_empty(),
            Self::Shared(_) | Self::Inline(_) => self.len() == 0,
        }
    }

    /// What the connection holds because of it, in bytes. The record of a shared payload includes the bytes around it.
    pub(crate) fn capacity(&self) -> usize {
        match self {
            Self::Chunk(chunk) => chunk.capacity(),
            Self::Shared(slice) => slice.payload_len() + RECORD_LEN,
            Self::Inline(_) => 0,
        }
    }

    /// Discards the first `len` bytes.
    pub(crate) fn consume(&mut self, len: usize) {
        match self {
            Self::Chunk(chunk) => chunk.consume(len),
            Self::Shared(slice) => slice.consume(len),
            Self::Inline(inline) => inline.start += len as u8,
        }
    }

    pub(crate) fn release(self, pool: &mut ChunkPool) {
        match self {
            Self::Chunk(chunk) => pool.release(chunk),
            Self::Shared(slice) => pool.release_slice(&slice),
            Self::Inline(_) => {}
        }
    }
}
