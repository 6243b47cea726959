//! Buffers: a [`Chunk`] holds bytes in order, a [`ChunkPool`] lends chunks to connections and keeps count.
//!
//! Whatever a connection owns in bytes is lent by the pool, so the pool's count is the memory that all connections take.

use crate::error::CloseReason;
use crate::planted::{Bug, planted};

/// The capacity of the largest chunk, in bytes: a frame with a payload of 64 KiB, with room to spare for the next header.
pub(crate) const CHUNK_LEN: usize = 68 << 10;

/// The capacity of the smallest chunk, in bytes.
const CHUNK_LEN_MIN: usize = 512;

/// Sizes are powers of two from [`CHUNK_LEN_MIN`] to 32 KiB, then [`CHUNK_LEN`].
const CLASSES: usize = 8;

/// Bytes in order, in a buffer that was zero-filled once and is never filled again.
///
/// ```text
///   0          start              end          capacity
///   +----------+------------------+------------+
///   | consumed | bytes, unread    | spare      |
///   +----------+------------------+------------+
/// ```
#[derive(Debug, Default)]
pub(crate) struct Chunk {
    buf: Box<[u8]>,
    // Invariant: start <= end <= buf.len() <= CHUNK_LEN.
    start: u32,
    end: u32,
}

impl Chunk {
    fn with_capacity(capacity: usize) -> Self {
        Self { buf: vec![0; capacity].into_boxed_slice(), start: 0, end: 0 }
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.buf[self.start as usize..self.end as usize]
    }

    pub(crate) fn len(&self) -> usize {
        (self.end - self.start) as usize
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    pub(crate) fn capacity(&self) -> usize {
        self.buf.len()
    }

    /// Room before the bytes, which [`compact`](Self::compact) moves behind them.
    pub(crate) fn consumed_len(&self) -> usize {
        self.start as usize
    }

    /// Room behind the bytes.
    pub(crate) fn spare_len(&self) -> usize {
        self.buf.len() - self.end as usize
    }

    /// The room behind the bytes; [`advance`](Self::advance) says how much of it was filled.
    pub(crate) fn spare_mut(&mut self) -> &mut [u8] {
        &mut self.buf[self.end as usize..]
    }

    /// Counts `len` bytes of the spare room as filled.
    pub(crate) fn advance(&mut self, len: usize) {
        debug_assert!(len <= self.spare_len());
        self.end += len as u32;
    }

    /// Forgets the first `len` bytes.
    pub(crate) fn consume(&mut self, len: usize) {
        debug_assert!(len <= self.len());
        self.start += len as u32;
        if self.start == self.end {
            self.clear();
        }
    }

    pub(crate) fn clear(&mut self) {
        self.start = 0;
        self.end = 0;
    }

    /// Moves the bytes to the front, so that all the room is behind them.
    pub(crate) fn compact(&mut self) {
        if self.start == 0 {
            return;
        }
        self.buf.copy_within(self.start as usize..self.end as usize, 0);
        self.end -= self.start;
        self.start = 0;
    }

    /// Copies as much of `bytes` as there is room for, and returns how much that was.
    #[inline]
    pub(crate) fn append(&mut self, bytes: &[u8]) -> usize {
        let len = bytes.len().min(self.spare_len());
        self.spare_mut()[..len].copy_from_slice(&bytes[..len]);
        self.advance(len);
        len
    }
}

/// Lends chunks, takes them back, and keeps some for reuse.
///
/// Buffers are kept because a fresh one costs page faults: freed and allocated for each frame, frames of 64 KiB run at
/// half the speed. What is kept is bounded, and given back to the allocator after a burst by [`trim`](Self::trim).
#[derive(Debug)]
pub(crate) struct ChunkPool {
    shelves: [Shelf; CLASSES],
    // Invariant: the capacities of all chunks that connections own, together.
    lent_bytes: usize,
    lent_bytes_max: usize,
    // Invariant: the capacities of all chunks on the shelves, together; at most idle_bytes_max.
    idle_bytes: usize,
    idle_bytes_max: usize,
}

/// The unused chunks of one size.
#[derive(Debug, Default)]
struct Shelf {
    idle: Vec<Chunk>,
    /// The fewest that lay here since the last trim: these were not needed.
    unneeded: usize,
}

/// A buffer could not be lent: all connections together have reached the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MemoryLimit {
    pub(crate) observed: usize,
    pub(crate) allowed: usize,
}

impl From<MemoryLimit> for CloseReason {
    fn from(MemoryLimit { observed, allowed }: MemoryLimit) -> Self {
        Self::MemoryLimit { observed, allowed }
    }
}

impl ChunkPool {
    pub(crate) fn new(lent_bytes_max: usize, idle_bytes_max: usize) -> Self {
        Self { shelves: Default::default(), lent_bytes: 0, lent_bytes_max, idle_bytes: 0, idle_bytes_max }
    }

    /// Bytes that connections own.
    pub(crate) fn lent_bytes(&self) -> usize {
        self.lent_bytes
    }

    /// Whether even the smallest chunk could be lent.
    pub(crate) fn can_lend(&self) -> bool {
        self.lent_bytes + CHUNK_LEN_MIN <= self.lent_bytes_max
    }

    /// Bytes kept for reuse.
    pub(crate) fn idle_bytes(&self) -> usize {
        self.idle_bytes
    }

    /// An empty chunk of the smallest size that holds `len` bytes, or the largest there is.
    pub(crate) fn lend(&mut self, len: usize) -> Result<Chunk, MemoryLimit> {
        let class = class_of(len);
        self.count_as_lent(capacity_of(class))?;
        Ok(self.unshelve(class))
    }

    /// Takes a chunk back.
    pub(crate) fn give_back(&mut self, chunk: Chunk) {
        if !planted(Bug::MemoryMiscounted) {
            self.lent_bytes -= chunk.capacity();
        }
        self.shelve(chunk);
    }

    /// Makes `chunk`, which nobody owned, a connection's: the chunk itself if its bytes need its size, else a copy in a
    /// smaller one. What stays with the caller is empty and of the largest size.
    ///
    /// So a chunk at rest is at most twice its bytes, or of the smallest size.
    pub(crate) fn keep(&mut self, chunk: &mut Chunk) -> Result<Chunk, MemoryLimit> {
        let class = class_of(chunk.len());
        if class < CLASSES - 1 {
            let mut kept = self.lend(chunk.len())?;
            kept.append(chunk.as_slice());
            chunk.clear();
            return Ok(kept);
        }
        self.count_as_lent(chunk.capacity())?;
        let empty = self.unshelve(class);
        Ok(std::mem::replace(chunk, empty))
    }

    /// Puts the bytes of a connection's chunk into `work`, which is empty, and takes the connection's back: the reverse
    /// of [`keep`](Self::keep).
    pub(crate) fn lay(&mut self, mut kept: Chunk, work: &mut Chunk) {
        debug_assert!(work.is_empty());
        if kept.capacity() == CHUNK_LEN {
            self.lent_bytes -= CHUNK_LEN;
            std::mem::swap(&mut kept, work);
            self.shelve(kept);
        } else {
            work.append(kept.as_slice());
            self.give_back(kept);
        }
    }

    /// A chunk of the largest size that no connection owns.
    pub(crate) fn work_chunk(&mut self) -> Chunk {
        self.unshelve(CLASSES - 1)
    }

    /// Frees half of the chunks that were not needed since the last call; a burst's buffers are gone after some calls.
    pub(crate) fn trim(&mut self) {
        for shelf in &mut self.shelves {
            for chunk in shelf.idle.drain(..shelf.unneeded.div_ceil(2)) {
                self.idle_bytes -= chunk.capacity();
            }
            shelf.unneeded = shelf.idle.len();
        }
    }

    fn count_as_lent(&mut self, capacity: usize) -> Result<(), MemoryLimit> {
        let observed = self.lent_bytes + capacity;
        if observed > self.lent_bytes_max {
            return Err(MemoryLimit { observed, allowed: self.lent_bytes_max });
        }
        self.lent_bytes = observed;
        Ok(())
    }

    fn unshelve(&mut self, class: usize) -> Chunk {
        let shelf = &mut self.shelves[class];
        let Some(mut chunk) = shelf.idle.pop() else {
            return Chunk::with_capacity(capacity_of(class));
        };
        shelf.unneeded = shelf.unneeded.min(shelf.idle.len());
        self.idle_bytes -= chunk.capacity();
        chunk.clear();
        chunk
    }

    fn shelve(&mut self, chunk: Chunk) {
        if self.idle_bytes + chunk.capacity() <= self.idle_bytes_max {
            self.idle_bytes += chunk.capacity();
            self.shelves[class_of(chunk.capacity())].idle.push(chunk);
        }
    }
}

/// The smallest class that holds `len` bytes, or the largest class.
fn class_of(len: usize) -> usize {
    let doublings = len.div_ceil(CHUNK_LEN_MIN).next_power_of_two().trailing_zeros() as usize;
    doublings.min(CLASSES - 1)
}

fn capacity_of(class: usize) -> usize {
    if class == CLASSES - 1 { CHUNK_LEN } else { CHUNK_LEN_MIN << class }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool() -> ChunkPool {
        ChunkPool::new(1 << 20, 1 << 20)
    }

    #[test]
    fn a_lent_chunk_holds_what_was_asked_and_is_at_most_twice_that_or_the_smallest() {
        let mut pool = pool();
        for len in (0..CHUNK_LEN).step_by(37).chain([512, 513, 32_768, 32_769, CHUNK_LEN]) {
            let chunk = pool.lend(len).unwrap();
            assert!(chunk.capacity() >= len);
            assert!(chunk.capacity() <= 2 * len + 4_096, "{len} took {}", chunk.capacity());
            pool.give_back(chunk);
        }
        assert_eq!(pool.lent_bytes(), 0);
    }

    #[test]
    fn more_than_the_largest_chunk_is_lent_in_several() {
        assert_eq!(pool().lend(1 << 20).unwrap().capacity(), CHUNK_LEN);
    }

    #[test]
    fn nothing_is_lent_past_the_limit() {
        let mut pool = ChunkPool::new(1_024, 0);
        let first = pool.lend(1_000).unwrap();
        assert_eq!(pool.lend(1).err(), Some(MemoryLimit { observed: 1_536, allowed: 1_024 }));
        pool.give_back(first);
        assert!(pool.lend(1).is_ok());
    }

    #[test]
    fn few_bytes_are_kept_in_a_small_chunk_and_many_in_the_chunk_they_lie_in() {
        let mut pool = pool();
        for len in [1, 511, 20_000, 32_768, 32_769, CHUNK_LEN] {
            let bytes: Vec<u8> = (0..len).map(|i| i as u8).collect();
            let mut work = pool.work_chunk();
            work.append(&bytes);
            let kept = pool.keep(&mut work).unwrap();
            assert_eq!(kept.as_slice(), bytes);
            assert!(kept.capacity() <= 2 * len + 4_096);
            assert!(work.is_empty() && work.capacity() == CHUNK_LEN);
            assert_eq!(pool.lent_bytes(), kept.capacity());

            pool.lay(kept, &mut work);
            assert_eq!(work.as_slice(), bytes);
            assert_eq!((work.capacity(), pool.lent_bytes()), (CHUNK_LEN, 0));
        }
    }

    #[test]
    fn a_chunk_given_back_is_lent_again_and_empty() {
        let mut pool = pool();
        let mut chunk = pool.lend(CHUNK_LEN).unwrap();
        chunk.append(b"old");
        pool.give_back(chunk);
        assert_eq!(pool.idle_bytes(), CHUNK_LEN);
        assert!(pool.lend(CHUNK_LEN).unwrap().is_empty());
        assert_eq!(pool.idle_bytes(), 0);
    }

    #[test]
    fn no_more_is_kept_for_reuse_than_allowed() {
        let mut pool = ChunkPool::new(1 << 20, CHUNK_LEN);
        let chunks: Vec<Chunk> = (0..3).map(|_| pool.lend(CHUNK_LEN).unwrap()).collect();
        chunks.into_iter().for_each(|chunk| pool.give_back(chunk));
        assert_eq!((pool.idle_bytes(), pool.lent_bytes()), (CHUNK_LEN, 0));
    }

    #[test]
    fn what_a_burst_left_is_given_back_and_what_is_used_stays() {
        let mut pool = pool();
        let burst: Vec<Chunk> = (0..8).map(|_| pool.lend(CHUNK_LEN).unwrap()).collect();
        burst.into_iter().for_each(|chunk| pool.give_back(chunk));
        for _ in 0..8 {
            pool.trim();
            let used = pool.lend(CHUNK_LEN).unwrap();
            pool.give_back(used);
        }
        assert_eq!(pool.idle_bytes(), CHUNK_LEN);
        (0..2).for_each(|_| pool.trim());
        assert_eq!(pool.idle_bytes(), 0);
    }

    #[test]
    fn compacting_moves_the_bytes_and_gains_their_room() {
        let mut chunk = Chunk::with_capacity(8);
        chunk.append(b"abcdefgh");
        chunk.consume(5);
        chunk.compact();
        assert_eq!((chunk.as_slice(), chunk.spare_len()), (&b"fgh"[..], 5));
    }
}
