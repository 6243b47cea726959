//! Buffers: a [`Chunk`] holds bytes in order, a [`ChunkPool`] lends chunks to connections and keeps count.
//!
//! Whatever a connection owns in bytes is lent by the pool, so the pool's count is the memory that all connections take.
//! The caller asks for room first ([`ChunkPool::has_room`]); a chunk for which there is room is lent without fail. So what
//! needs several chunks gets all of them or none, and where there is no room, the caller decides what follows from it.

pub(crate) use crate::config::CHUNK_LEN;

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
    // Invariant: the capacities of all chunks that connections own, together; with `joined`, at most lent_bytes_max.
    lent_bytes: usize,
    lent_bytes_max: usize,
    // Invariant: the capacities of all chunks on the shelves, together; at most idle_bytes_max.
    idle_bytes: usize,
    idle_bytes_max: usize,
    /// A buffer for a frame longer than a chunk in one piece, kept for reuse; see [`take_joined`](Self::take_joined).
    joined: Vec<u8>,
}

/// The unused chunks of one size.
#[derive(Debug, Default)]
struct Shelf {
    idle: Vec<Chunk>,
    /// The fewest that lay here since the last trim: these were not needed.
    unneeded: usize,
}

/// Messages from elsewhere ([`Conn::send`](crate::conn::Conn::send)) leave this share of the limit to what connections
/// need for themselves.
const RESERVED_SHARE: usize = 8;

impl ChunkPool {
    pub(crate) fn new(lent_bytes_max: usize, idle_bytes_max: usize) -> Self {
        Self {
            shelves: Default::default(),
            lent_bytes: 0,
            lent_bytes_max,
            idle_bytes: 0,
            idle_bytes_max,
            joined: Vec::new(),
        }
    }

    /// Bytes that connections own.
    pub(crate) fn lent_bytes(&self) -> usize {
        self.lent_bytes
    }

    /// Bytes of chunks kept for reuse.
    pub(crate) fn idle_bytes(&self) -> usize {
        self.idle_bytes
    }

    /// Bytes of a buffer kept for reuse, which the limit counts.
    pub(crate) fn joined_bytes(&self) -> usize {
        self.joined.capacity()
    }

    /// Whether chunks of so many bytes in all can be lent within the limit.
    pub(crate) fn has_room(&mut self, bytes: usize) -> bool {
        if self.lent_bytes + self.joined.capacity() + bytes > self.lent_bytes_max {
            self.joined = Vec::new();
        }
        self.lent_bytes + bytes <= self.lent_bytes_max
    }

    /// The same for a message from elsewhere, which leaves a share of the limit to the connections themselves.
    pub(crate) fn has_room_for_message(&mut self, bytes: usize) -> bool {
        self.has_room(bytes.saturating_add(self.lent_bytes_max / RESERVED_SHARE))
    }

    /// An empty chunk of the smallest size that holds `len` bytes, or the largest there is. There is room for it.
    pub(crate) fn lend(&mut self, len: usize) -> Chunk {
        let class = class_of(len);
        self.lent_bytes += capacity_of(class);
        debug_assert!(self.lent_bytes <= self.lent_bytes_max, "{} bytes are lent", self.lent_bytes);
        self.unshelve(class)
    }

    /// Takes a chunk back.
    pub(crate) fn give_back(&mut self, chunk: Chunk) {
        self.lent_bytes -= chunk.capacity();
        self.shelve(chunk);
    }

    /// Makes `chunk`, which nobody owned, a connection's: the chunk itself if its bytes need its size, else a copy in a
    /// smaller one. What stays with the caller is empty and of the largest size. There is room for it.
    ///
    /// So a chunk at rest is at most twice its bytes, or of the smallest size.
    pub(crate) fn keep(&mut self, chunk: &mut Chunk) -> Chunk {
        let class = class_of(chunk.len());
        if class < CLASSES - 1 {
            let mut kept = self.lend(chunk.len());
            kept.append(chunk.as_slice());
            chunk.clear();
            return kept;
        }
        self.lent_bytes += chunk.capacity();
        let empty = self.unshelve(class);
        std::mem::replace(chunk, empty)
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

    /// A buffer to join a frame in, for a handler that asks for one piece; it may hold an earlier frame's bytes.
    ///
    /// While it is out it is not counted: a handler that joins a frame takes the bytes of one frame beyond the limit, for
    /// as long as it looks at it. There is one such frame at a time.
    pub(crate) fn take_joined(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.joined)
    }

    /// Takes it back, and keeps it for reuse where the limit has room for it.
    pub(crate) fn keep_joined(&mut self, joined: Vec<u8>) {
        if self.lent_bytes + joined.capacity() <= self.lent_bytes_max {
            self.joined = joined;
        }
    }

    /// Frees half of the chunks that were not needed since the last call; a burst's buffers are gone after some calls.
    pub(crate) fn trim(&mut self) {
        self.joined = Vec::new();
        for shelf in &mut self.shelves {
            for chunk in shelf.idle.drain(..shelf.unneeded.div_ceil(2)) {
                self.idle_bytes -= chunk.capacity();
            }
            shelf.unneeded = shelf.idle.len();
        }
    }

    #[cfg(test)]
    pub(crate) fn set_limit(&mut self, lent_bytes_max: usize) {
        self.lent_bytes_max = lent_bytes_max;
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

/// What the chunks take that hold `len` bytes, in as many of the largest size as they fill, and one for the rest.
pub(crate) fn capacity_for(len: usize) -> usize {
    let full = len / CHUNK_LEN * CHUNK_LEN;
    if full == len { full } else { full.saturating_add(capacity_of(class_of(len - full))) }
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
            let chunk = pool.lend(len);
            assert!(chunk.capacity() >= len);
            assert!(len == 0 || chunk.capacity() == capacity_for(len));
            assert!(chunk.capacity() <= 2 * len + 4_096, "{len} took {}", chunk.capacity());
            pool.give_back(chunk);
        }
        assert_eq!(pool.lent_bytes(), 0);
    }

    #[test]
    fn more_than_the_largest_chunk_is_lent_in_several() {
        assert_eq!(pool().lend(1 << 20).capacity(), CHUNK_LEN);
        assert_eq!(capacity_for(2 * CHUNK_LEN + 1), 2 * CHUNK_LEN + CHUNK_LEN_MIN);
    }

    #[test]
    fn room_ends_exactly_at_the_limit() {
        let mut pool = ChunkPool::new(1_024, 0);
        assert!(pool.has_room(1_024) && !pool.has_room(1_025));
        let first = pool.lend(1_000);
        assert!(pool.has_room(0) && !pool.has_room(1));
        pool.give_back(first);
        assert!(pool.has_room(1_024));
    }

    #[test]
    fn messages_leave_a_share_of_the_limit_to_the_connections() {
        let mut pool = ChunkPool::new(8_000, 0);
        assert!(pool.has_room_for_message(7_000) && !pool.has_room_for_message(7_001));
        assert!(!pool.has_room_for_message(usize::MAX));
    }

    #[test]
    fn a_joined_frame_is_kept_within_the_limit_and_makes_room_for_chunks() {
        let mut pool = ChunkPool::new(4_096, 0);
        pool.keep_joined(Vec::with_capacity(3_000));
        assert_eq!(pool.joined_bytes(), 3_000);
        assert!(pool.has_room(1_096));
        assert_eq!(pool.joined_bytes(), 3_000);
        assert!(pool.has_room(1_097));
        assert_eq!(pool.joined_bytes(), 0);
        let chunk = pool.lend(2_000);
        pool.keep_joined(Vec::with_capacity(2_049));
        assert_eq!(pool.joined_bytes(), 0);
        pool.give_back(chunk);
    }

    #[test]
    fn few_bytes_are_kept_in_a_small_chunk_and_many_in_the_chunk_they_lie_in() {
        let mut pool = pool();
        for len in [1, 511, 20_000, 32_768, 32_769, CHUNK_LEN] {
            let bytes: Vec<u8> = (0..len).map(|i| i as u8).collect();
            let mut work = pool.work_chunk();
            work.append(&bytes);
            let kept = pool.keep(&mut work);
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
        let mut chunk = pool.lend(CHUNK_LEN);
        chunk.append(b"old");
        pool.give_back(chunk);
        assert_eq!(pool.idle_bytes(), CHUNK_LEN);
        assert!(pool.lend(CHUNK_LEN).is_empty());
        assert_eq!(pool.idle_bytes(), 0);
    }

    #[test]
    fn no_more_is_kept_for_reuse_than_allowed() {
        let mut pool = ChunkPool::new(1 << 20, CHUNK_LEN);
        let chunks: Vec<Chunk> = (0..3).map(|_| pool.lend(CHUNK_LEN)).collect();
        chunks.into_iter().for_each(|chunk| pool.give_back(chunk));
        assert_eq!((pool.idle_bytes(), pool.lent_bytes()), (CHUNK_LEN, 0));
    }

    #[test]
    fn what_a_burst_left_is_given_back_and_what_is_used_stays() {
        let mut pool = pool();
        let burst: Vec<Chunk> = (0..8).map(|_| pool.lend(CHUNK_LEN)).collect();
        burst.into_iter().for_each(|chunk| pool.give_back(chunk));
        for _ in 0..8 {
            pool.trim();
            let used = pool.lend(CHUNK_LEN);
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
