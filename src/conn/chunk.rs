//! Buffers: a [`Chunk`] holds bytes in order; connections acquire chunks from a [`ChunkPool`], which counts them.
//!
//! All buffers of a connection come from the pool, so the pool's count is the memory that all connections use. The caller
//! asks for room first ([`ChunkPool::has_room`]); then acquiring cannot fail. So a caller that needs several chunks gets all
//! of them or none, and decides itself what follows if there is no room.

use std::ops::Range;

use crate::conn::payloads::{Deferred, Payloads, RECORD_LEN, SharedPayload, Slice};
use crate::conn::profile::ProfileId;

pub(crate) use crate::config::CHUNK_LEN;

/// The capacity of the smallest chunk, in bytes.
const CHUNK_LEN_MIN: usize = 512;

/// Sizes are powers of two from [`CHUNK_LEN_MIN`] to 32 KiB, then [`CHUNK_LEN`].
const CLASSES: usize = 8;

/// Bytes in order, in a buffer that is filled with zeros only when it is allocated.
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

    /// The room before the bytes, which [`compact`](Self::compact) adds to the spare room.
    pub(crate) fn consumed_len(&self) -> usize {
        self.start as usize
    }

    pub(crate) fn spare_len(&self) -> usize {
        self.buf.len() - self.end as usize
    }

    /// The spare room. Call [`advance`](Self::advance) with the number of bytes that were filled.
    pub(crate) fn spare_mut(&mut self) -> &mut [u8] {
        &mut self.buf[self.end as usize..]
    }

    /// Counts `len` bytes of the spare room as filled.
    pub(crate) fn advance(&mut self, len: usize) {
        debug_assert!(len <= self.spare_len());
        self.end += len as u32;
    }

    /// Discards the first `len` bytes.
    pub(crate) fn consume(&mut self, len: usize) {
        debug_assert!(len <= self.len());
        self.start += len as u32;
        if self.start == self.end {
            self.clear();
        }
    }

    /// Discards all but the first `len` bytes.
    pub(crate) fn truncate(&mut self, len: usize) {
        debug_assert!(len <= self.len());
        self.end = self.start + len as u32;
    }

    pub(crate) fn clear(&mut self) {
        self.start = 0;
        self.end = 0;
    }

    /// Moves the bytes to the front, so that all room is spare room.
    pub(crate) fn compact(&mut self) {
        if self.start == 0 {
            return;
        }
        self.buf.copy_within(self.start as usize..self.end as usize, 0);
        self.end -= self.start;
        self.start = 0;
    }

    /// Copies as many of `bytes` as there is room for, and returns how many.
    #[inline]
    pub(crate) fn append(&mut self, bytes: &[u8]) -> usize {
        let len = bytes.len().min(self.spare_len());
        self.spare_mut()[..len].copy_from_slice(&bytes[..len]);
        self.advance(len);
        len
    }
}

/// The chunks of all connections, and free ones for reuse.
///
/// Free chunks are kept because a new one costs page faults: allocating for each frame halves the speed at 64 KiB. Their
/// number is bounded, and [`trim`](Self::trim) frees them after a burst.
#[derive(Debug)]
pub(crate) struct ChunkPool {
    free: [FreeList; CLASSES],
    /// Payloads that connections share.
    payloads: Payloads,
    // Invariant: the capacities of all chunks that connections own, the shared payloads, and a record for each slice of one,
    // together; with `joined`, at most used_bytes_max.
    used_bytes: usize,
    used_bytes_max: usize,
    // Invariant: the capacities of all free chunks, together; at most free_bytes_max.
    free_bytes: usize,
    free_bytes_max: usize,
    /// A buffer kept for reuse; see [`take_joined`](Self::take_joined).
    joined: Vec<u8>,
}

/// The free chunks of one size.
#[derive(Debug, Default)]
struct FreeList {
    chunks: Vec<Chunk>,
    /// The smallest number of them since the last trim: these were not needed.
    unneeded: usize,
}

/// Messages to other connections leave this share of the limit to what connections need for themselves.
const RESERVED_SHARE: usize = 8;

impl ChunkPool {
    pub(crate) fn new(used_bytes_max: usize, free_bytes_max: usize) -> Self {
        Self {
            free: Default::default(),
            payloads: Payloads::default(),
            used_bytes: 0,
            used_bytes_max,
            free_bytes: 0,
            free_bytes_max,
            joined: Vec::new(),
        }
    }

    /// The capacity of the chunks that connections own, and the payloads that they share, in bytes.
    pub(crate) fn used_bytes(&self) -> usize {
        self.used_bytes
    }

    /// The capacity of the free chunks, in bytes.
    pub(crate) fn free_bytes(&self) -> usize {
        self.free_bytes
    }

    /// The capacity of the buffer for joined frames, in bytes, which the limit includes.
    pub(crate) fn joined_bytes(&self) -> usize {
        self.joined.capacity()
    }

    /// Whether chunks of `bytes` together can be acquired within the limit.
    #[inline]
    pub(crate) fn has_room(&mut self, bytes: usize) -> bool {
        if self.used_bytes + self.joined.capacity() + bytes > self.used_bytes_max {
            self.joined = Vec::new();
        }
        self.used_bytes + bytes <= self.used_bytes_max
    }

    /// Whether a message to another connection may acquire chunks of `bytes`.
    #[inline]
    pub(crate) fn has_room_for_message(&mut self, bytes: usize) -> bool {
        self.has_room(bytes.saturating_add(self.used_bytes_max / RESERVED_SHARE))
    }

    /// Returns an empty chunk of the smallest size that holds `len` bytes, or of the largest size. The pool has room for it.
    pub(crate) fn acquire(&mut self, len: usize) -> Chunk {
        let class = class_of(len);
        self.used_bytes += capacity_of(class);
        debug_assert!(self.used_bytes <= self.used_bytes_max, "{} bytes are in use", self.used_bytes);
        self.take_free(class)
    }

    pub(crate) fn release(&mut self, chunk: Chunk) {
        self.used_bytes -= chunk.capacity();
        self.put_free(chunk);
    }

    /// Adds a slice of a shared payload. The pool has [room](SharedPayload::added_bytes) for it.
    pub(crate) fn acquire_slice(&mut self, payload: &mut SharedPayload<'_>) -> Slice {
        self.used_bytes += payload.added_bytes();
        debug_assert!(self.used_bytes <= self.used_bytes_max, "{} bytes are in use", self.used_bytes);
        self.payloads.add(payload)
    }

    /// Adds a slice of a shared payload, as [`acquire_slice`](Self::acquire_slice) does, without making it. Returns `None` if too many
    /// payloads are deferred.
    pub(crate) fn defer(&mut self, payload: &mut SharedPayload<'_>) -> Option<Deferred> {
        let added = payload.added_bytes();
        let deferred = self.payloads.defer(payload)?;
        self.used_bytes += added;
        debug_assert!(self.used_bytes <= self.used_bytes_max, "{} bytes are in use", self.used_bytes);
        Some(deferred)
    }

    /// The number of a payload while a connection defers it, and the last profile that was asked for and fits it.
    pub(crate) fn deferred(&self, payload: &SharedPayload<'_>) -> Option<(Deferred, ProfileId)> {
        self.payloads.deferred(payload)
    }

    /// How many more connections may defer a payload that one defers.
    pub(crate) fn deferrals_room(&self) -> usize {
        let in_use = self.used_bytes + self.joined.capacity() + self.used_bytes_max / RESERVED_SHARE;
        self.used_bytes_max.saturating_sub(in_use) / RECORD_LEN
    }

    /// Defers a payload, which a connection defers already, on so many more connections. The pool has [room](Self::deferrals_room) for
    /// them.
    pub(crate) fn defer_more(&mut self, deferred: Deferred, connections: usize) {
        self.used_bytes += connections * RECORD_LEN;
        debug_assert!(self.used_bytes <= self.used_bytes_max, "{} bytes are in use", self.used_bytes);
        self.payloads.defer_more(deferred, connections);
    }

    /// Makes a slice that was deferred. It is counted already.
    pub(crate) fn take_deferred(&mut self, deferred: Deferred) -> Slice {
        self.payloads.take_deferred(deferred)
    }

    /// Whether a connection has deferred a payload.
    pub(crate) fn has_deferred(&self) -> bool {
        self.payloads.has_deferred()
    }

    /// The length of a payload that was deferred.
    #[cfg(test)]
    pub(crate) fn deferred_len(&self, deferred: Deferred) -> usize {
        self.payloads.deferred_len(deferred)
    }

    pub(crate) fn release_slice(&mut self, slice: &Slice) {
        self.used_bytes -= RECORD_LEN + self.payloads.remove(slice);
    }

    /// The unsent bytes of a shared payload.
    pub(crate) fn payload(&self, slice: &Slice) -> &[u8] {
        self.payloads.bytes(slice)
    }

    /// How many slices of shared payloads there are, and the bytes of those payloads together.
    #[cfg(test)]
    pub(crate) fn shared_counts(&self) -> (usize, usize) {
        self.payloads.counts()
    }

    /// Moves these bytes of the read buffer to a chunk for a connection: the buffer itself if they need its size, otherwise a
    /// copy in a smaller one. The pool has room for it.
    ///
    /// So a saved chunk is at most twice as large as its bytes, or of the smallest size.
    pub(crate) fn save(&mut self, buffer: &mut Box<[u8]>, bytes: Range<usize>) -> Chunk {
        let class = class_of(bytes.len());
        if class < CLASSES - 1 {
            let mut saved = self.acquire(bytes.len());
            saved.append(&buffer[bytes]);
            return saved;
        }
        self.used_bytes += buffer.len();
        let buf = std::mem::replace(buffer, self.take_free(class).buf);
        Chunk { buf, start: bytes.start as u32, end: bytes.end as u32 }
    }

    /// Moves a saved chunk back to the read buffer, which is empty: the reverse of [`save`](Self::save). Returns where its
    /// bytes are.
    pub(crate) fn restore(&mut self, saved: Chunk, buffer: &mut Box<[u8]>) -> Range<usize> {
        if saved.capacity() == CHUNK_LEN {
            self.used_bytes -= CHUNK_LEN;
            let buf = std::mem::replace(buffer, saved.buf);
            self.put_free(Chunk { buf, start: 0, end: 0 });
            return saved.start as usize..saved.end as usize;
        }
        let len = saved.len();
        buffer[..len].copy_from_slice(saved.as_slice());
        self.release(saved);
        0..len
    }

    /// Returns a buffer for a large frame in one piece, for a handler that asks for it. It may hold the bytes of an earlier
    /// frame.
    ///
    /// Until [`put_joined`](Self::put_joined) it is not counted: a handler that joins a frame uses the bytes of one frame
    /// above the limit during that callback.
    pub(crate) fn take_joined(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.joined)
    }

    /// Keeps the buffer for reuse if the limit has room for it.
    pub(crate) fn put_joined(&mut self, joined: Vec<u8>) {
        if self.used_bytes + joined.capacity() <= self.used_bytes_max {
            self.joined = joined;
        }
    }

    /// Frees half of the chunks that were not needed since the last call.
    pub(crate) fn trim(&mut self) {
        self.joined = Vec::new();
        for list in &mut self.free {
            for chunk in list.chunks.drain(..list.unneeded.div_ceil(2)) {
                self.free_bytes -= chunk.capacity();
            }
            list.unneeded = list.chunks.len();
        }
    }

    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn limit(&self) -> usize {
        self.used_bytes_max
    }

    #[cfg(test)]
    pub(crate) fn set_limit(&mut self, used_bytes_max: usize) {
        self.used_bytes_max = used_bytes_max;
    }

    fn take_free(&mut self, class: usize) -> Chunk {
        let list = &mut self.free[class];
        let Some(mut chunk) = list.chunks.pop() else {
            return Chunk::with_capacity(capacity_of(class));
        };
        list.unneeded = list.unneeded.min(list.chunks.len());
        self.free_bytes -= chunk.capacity();
        chunk.clear();
        chunk
    }

    fn put_free(&mut self, chunk: Chunk) {
        if self.free_bytes + chunk.capacity() <= self.free_bytes_max {
            self.free_bytes += chunk.capacity();
            self.free[class_of(chunk.capacity())].chunks.push(chunk);
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

/// The capacity of the chunks for `len` bytes: as many of the largest size as they fill, and one for the rest.
pub(crate) fn capacity_for(len: usize) -> usize {
    let full = len / CHUNK_LEN * CHUNK_LEN;
    if full == len { full } else { full.saturating_add(capacity_of(class_of(len - full))) }
}

#[cfg(test)]
#[path = "../tests/conn/chunk.rs"]
mod tests;
