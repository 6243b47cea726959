//! Bytes in, frames out: where a frame ends, and the two places that hold one which is not whole yet.
//!
//! A frame that fits a chunk is decoded where it lies, on the workbench, and lies in one piece. Between turns its bytes are
//! kept in a chunk of their own size ([`Inbox::Bytes`]). A longer frame collects its chunks in a row ([`Inbox::Large`])
//! and is read straight into them, exactly the bytes still missing; no byte of it is moved again.

use std::collections::VecDeque;

use crate::conn::chunk::{CHUNK_LEN, Chunk, ChunkPool, capacity_for};
use crate::frame::{FrameError, HEADER_LEN, announced_len};

/// What lies at the front of some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decoded {
    /// A whole frame of this many bytes, its header included.
    Frame { frame_len: usize },
    /// The beginning of a frame, which will fit a chunk; or nothing.
    Incomplete,
    /// The beginning of a frame of this many bytes, more than a chunk holds.
    Large { frame_len: usize },
}

/// Tells what lies at the front of `bytes`, of which there are at most a chunk's.
///
/// # Errors
///
/// [`FrameError`] at the fourth byte of a header that announces more than `payload_len_max`.
#[inline]
pub(crate) fn decode(bytes: &[u8], payload_len_max: u32) -> Result<Decoded, FrameError> {
    let Some(payload_len) = announced_len(bytes, payload_len_max)? else {
        return Ok(Decoded::Incomplete);
    };
    let frame_len = HEADER_LEN + payload_len as usize;
    Ok(if frame_len <= bytes.len() {
        Decoded::Frame { frame_len }
    } else if frame_len <= CHUNK_LEN {
        Decoded::Incomplete
    } else {
        Decoded::Large { frame_len }
    })
}

/// What a connection has received and not yet handed to its handler.
#[derive(Debug, Default)]
pub(crate) enum Inbox {
    #[default]
    Empty,
    /// Less than a frame, or frames that wait for their turn; never more than a chunk.
    Bytes(Chunk),
    /// A frame longer than a chunk, on its way in.
    Large(LargeFrame),
}

impl Inbox {
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }

    /// Bytes that the inbox's chunks take.
    pub(crate) fn capacity(&self) -> usize {
        match self {
            Self::Empty => 0,
            Self::Bytes(chunk) => chunk.capacity(),
            Self::Large(frame) => frame.capacity,
        }
    }

    pub(crate) fn release(self, pool: &mut ChunkPool) {
        match self {
            Self::Empty => {}
            Self::Bytes(chunk) => pool.give_back(chunk),
            Self::Large(mut frame) => frame.release(pool),
        }
    }
}

/// A frame that is longer than a chunk.
#[derive(Debug)]
pub(crate) struct LargeFrame {
    // Invariant: the chunks hold `received` bytes together; only the last may have room to spare, or be empty.
    pub(crate) chunks: VecDeque<Chunk>,
    // Invariant: the sum of the chunks' capacities.
    pub(crate) capacity: usize,
    received: usize,
    frame_len: usize,
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

    /// Bytes of the chunk that is needed to read on; 0 if the last one has spare room.
    pub(crate) fn room_needed(&self) -> usize {
        let is_full = self.chunks.back().is_none_or(|last| last.spare_len() == 0);
        if is_full { capacity_for(self.next_chunk_len()) } else { 0 }
    }

    /// A new chunk is no longer than what has been received: capacity follows bytes, not the peer's word.
    fn next_chunk_len(&self) -> usize {
        self.missing().min(self.received).min(CHUNK_LEN)
    }

    /// Room for bytes still missing and no others, at most a chunk of it. The pool has [room](Self::room_needed) for that.
    pub(crate) fn spare_mut(&mut self, pool: &mut ChunkPool) -> &mut [u8] {
        let missing = self.missing();
        if self.room_needed() > 0 {
            let chunk = pool.lend(self.next_chunk_len());
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

    /// Counts `len` bytes of the spare room as received.
    pub(crate) fn advance(&mut self, len: usize) {
        if let Some(last) = self.chunks.back_mut() {
            last.advance(len);
            self.received += len;
        }
    }

    fn release(&mut self, pool: &mut ChunkPool) {
        self.chunks.drain(..).for_each(|chunk| pool.give_back(chunk));
    }
}

/// One whole frame, as a handler receives it.
///
/// Its bytes lie where they were received. [`Context::reply_frame`](crate::Context::reply_frame) sends them back from
/// there.
#[derive(Debug)]
pub struct Frame<'a> {
    pub(crate) body: Body<'a>,
}

/// Where a frame's bytes, header first, are.
#[derive(Debug)]
pub(crate) enum Body<'a> {
    /// In one piece, at this offset of the workbench.
    Whole { bytes: &'a [u8], at: usize },
    /// In several chunks, which whoever takes them owns. `joined` is empty until somebody asks for one piece.
    Large { chunks: &'a mut VecDeque<Chunk>, frame_len: usize, joined: &'a mut Vec<u8> },
}

impl Frame<'_> {
    /// The payload's length, in bytes.
    #[must_use]
    pub fn payload_len(&self) -> usize {
        self.frame_len() - HEADER_LEN
    }

    pub(crate) fn frame_len(&self) -> usize {
        match &self.body {
            Body::Whole { bytes, .. } => bytes.len(),
            Body::Large { frame_len, .. } => *frame_len,
        }
    }

    /// The payload, in one piece.
    ///
    /// Costs nothing for payloads up to 68 KiB less a header. A longer one is copied, once, into a buffer that the
    /// reactor keeps; [`payload_chunks`](Self::payload_chunks) reads it without a copy.
    #[must_use]
    pub fn payload(&mut self) -> &[u8] {
        match &mut self.body {
            Body::Whole { bytes, .. } => &bytes[HEADER_LEN..],
            Body::Large { chunks, joined, frame_len } => {
                if joined.is_empty() {
                    joined.reserve_exact(*frame_len);
                    chunks.iter().for_each(|chunk| joined.extend_from_slice(chunk.as_slice()));
                }
                &joined[HEADER_LEN..]
            }
        }
    }

    /// The payload in order, in the pieces in which it lies.
    pub fn payload_chunks(&self) -> impl Iterator<Item = &[u8]> {
        let (whole, chunks) = match &self.body {
            Body::Whole { bytes, .. } => (Some(*bytes), None),
            Body::Large { chunks, .. } => (None, Some(chunks.iter().map(Chunk::as_slice))),
        };
        // The header lies within the first piece: a large frame begins with the chunk that its header was decoded in.
        whole.into_iter().chain(chunks.into_iter().flatten()).enumerate().map(|(index, piece)| match index {
            0 => &piece[HEADER_LEN..],
            _ => piece,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::encode_header;

    const LIMIT: u32 = 16 << 20;

    fn stream(payload_lens: &[usize]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for &len in payload_lens {
            bytes.extend(encode_header(len as u32));
            bytes.extend((0..len).map(|i| i as u8));
        }
        bytes
    }

    #[test]
    fn a_frame_is_whole_at_its_last_byte_and_not_before() {
        for payload_len in [0, 1, 5, 300] {
            let bytes = stream(&[payload_len]);
            for len in 0..bytes.len() {
                assert_eq!(decode(&bytes[..len], LIMIT), Ok(Decoded::Incomplete), "{len} of {payload_len}");
            }
            let frame_len = bytes.len();
            assert_eq!(decode(&bytes, LIMIT), Ok(Decoded::Frame { frame_len }));
        }
    }

    #[test]
    fn only_the_first_of_several_frames_is_decoded() {
        assert_eq!(decode(&stream(&[3, 4]), LIMIT), Ok(Decoded::Frame { frame_len: 7 }));
    }

    #[test]
    fn a_frame_longer_than_a_chunk_is_large_at_its_fourth_byte() {
        let fits = encode_header((CHUNK_LEN - HEADER_LEN) as u32);
        let large = encode_header((CHUNK_LEN - HEADER_LEN) as u32 + 1);
        assert_eq!(decode(&fits, LIMIT), Ok(Decoded::Incomplete));
        assert_eq!(decode(&large, LIMIT), Ok(Decoded::Large { frame_len: CHUNK_LEN + 1 }));
    }

    #[test]
    fn a_length_over_the_limit_is_refused_at_the_fourth_byte() {
        let header = encode_header(LIMIT + 1);
        assert_eq!(decode(&header[..3], LIMIT), Ok(Decoded::Incomplete));
        assert!(decode(&header, LIMIT).is_err());
    }

    #[test]
    fn a_large_frame_takes_at_most_twice_the_bytes_received() {
        let mut pool = ChunkPool::new(1 << 30, 0);
        let bytes = stream(&[1 << 20]);
        for step in [1, 1_000, 100_000] {
            let mut first = pool.lend(HEADER_LEN);
            first.append(&bytes[..HEADER_LEN]);
            let mut frame = LargeFrame::new(first, bytes.len());
            while frame.missing() > 0 {
                let at = frame.received();
                let needed = frame.room_needed();
                let lent_before = pool.lent_bytes();
                let spare = frame.spare_mut(&mut pool);
                let len = step.min(spare.len());
                spare[..len].copy_from_slice(&bytes[at..at + len]);
                frame.advance(len);
                assert_eq!(pool.lent_bytes(), lent_before + needed);
                let capacity: usize = frame.chunks.iter().map(Chunk::capacity).sum();
                assert!(capacity <= 2 * frame.received() + 4_096);
                assert_eq!(capacity, frame.capacity);
            }
            let joined: Vec<u8> = frame.chunks.iter().flat_map(Chunk::as_slice).copied().collect();
            assert_eq!(joined, bytes);
            frame.release(&mut pool);
        }
        assert_eq!(pool.lent_bytes(), 0);
    }

    #[test]
    fn a_payload_is_the_same_in_one_piece_and_in_several() {
        let bytes = stream(&[100_000]);
        let mut pool = ChunkPool::new(1 << 20, 0);
        let mut chunks: VecDeque<Chunk> = bytes
            .chunks(40_000)
            .map(|piece| {
                let mut chunk = pool.lend(piece.len());
                chunk.append(piece);
                chunk
            })
            .collect();
        let mut joined = Vec::new();
        let body = Body::Large { chunks: &mut chunks, frame_len: bytes.len(), joined: &mut joined };
        let mut frame = Frame { body };
        assert_eq!(frame.payload_len(), 100_000);
        assert_eq!(frame.payload_chunks().collect::<Vec<_>>().concat(), &bytes[HEADER_LEN..]);
        assert_eq!(frame.payload(), &bytes[HEADER_LEN..]);

        let mut frame = Frame { body: Body::Whole { bytes: &bytes, at: 0 } };
        assert_eq!(frame.payload_chunks().collect::<Vec<_>>(), [&bytes[HEADER_LEN..]]);
        assert_eq!(frame.payload(), &bytes[HEADER_LEN..]);
    }
}
