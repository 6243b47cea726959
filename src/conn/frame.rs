//! The frame that a handler gets.

use std::cell::{OnceCell, RefCell};
use std::collections::VecDeque;
use std::ops::Range;

use crate::conn::chunk::{Chunk, ChunkPool};

/// Gives a handler access to one complete frame.
///
/// It borrows the buffers into which it was received, so copy what you need after the callback.
/// [`Connection::reply_frame`](crate::Connection::reply_frame) sends the bytes back without a copy.
#[derive(Debug)]
pub struct Frame<'a> {
    pub(crate) body: Body<'a>,
    /// The place of the payload among the bytes of the frame.
    pub(crate) payload: Range<usize>,
}

/// The bytes of a frame, with its header or delimiter.
#[derive(Debug)]
pub(crate) enum Body<'a> {
    /// One piece, at the offset `at` of the read buffer.
    Whole { bytes: &'a [u8], at: usize },
    /// Several chunks, which a reply may take over.
    Large { chunks: &'a mut VecDeque<Chunk>, frame_len: usize, joined: &'a Joined },
}

/// A large frame in one piece, from the first call of [`Frame::payload`] on.
#[derive(Debug, Default)]
pub(crate) struct Joined {
    bytes: OnceCell<Vec<u8>>,
    /// An unused buffer, which may still hold the bytes of an earlier frame.
    spare: RefCell<Vec<u8>>,
}

impl Joined {
    pub(crate) fn with_buffer(spare: Vec<u8>) -> Self {
        Self { bytes: OnceCell::new(), spare: RefCell::new(spare) }
    }

    pub(crate) fn into_buffer(self) -> Vec<u8> {
        self.bytes.into_inner().unwrap_or_else(|| self.spare.into_inner())
    }

    fn bytes(&self, chunks: &VecDeque<Chunk>, len: usize) -> &[u8] {
        self.bytes.get_or_init(|| {
            let mut bytes = self.spare.take();
            bytes.clear();
            bytes.reserve_exact(len);
            chunks.iter().for_each(|chunk| bytes.extend_from_slice(chunk.as_slice()));
            bytes
        })
    }
}

impl Frame<'_> {
    /// Returns the length of the payload, in bytes.
    #[must_use]
    pub fn payload_len(&self) -> usize {
        self.payload.len()
    }

    pub(crate) fn frame_len(&self) -> usize {
        match &self.body {
            Body::Whole { bytes, .. } => bytes.len(),
            Body::Large { frame_len, .. } => *frame_len,
        }
    }

    /// Returns the payload in one piece.
    ///
    /// A frame of up to 68 KiB is returned without a copy. A longer one is copied, once, into a buffer that the reactor keeps;
    /// [`payload_chunks`](Self::payload_chunks) avoids that.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        match &self.body {
            Body::Whole { bytes, .. } => &bytes[self.payload.clone()],
            Body::Large { chunks, joined, frame_len } => &joined.bytes(chunks, *frame_len)[self.payload.clone()],
        }
    }

    /// Returns the bytes before the payload: the length field, and what is before it by its
    /// [offset](crate::wire::LengthPrefix::offset). It is empty if the payload includes them, or if there is no header.
    #[must_use]
    pub fn header(&self) -> &[u8] {
        let header = ..self.payload.start;
        match &self.body {
            Body::Whole { bytes, .. } => &bytes[header],
            // The chunk in which the header was decoded.
            Body::Large { chunks, .. } => chunks.front().map_or(&[], |first| &first.as_slice()[header]),
        }
    }

    /// Takes the chunks of a large frame, without the bytes around its payload.
    pub(crate) fn take_payload_chunks(&mut self, pool: &mut ChunkPool) -> Option<VecDeque<Chunk>> {
        let Body::Large { chunks, frame_len, .. } = &mut self.body else { return None };
        let mut taken = std::mem::take(*chunks);
        if let Some(first) = taken.front_mut() {
            first.consume(self.payload.start);
        }
        let mut surplus = *frame_len - self.payload.end;
        while let Some(last) = taken.back_mut().filter(|_| surplus > 0) {
            let len = last.len().min(surplus);
            last.truncate(last.len() - len);
            surplus -= len;
            if last.is_empty() {
                taken.pop_back().into_iter().for_each(|chunk| pool.release(chunk));
            }
        }
        if taken.front().is_some_and(Chunk::is_empty) {
            taken.pop_front().into_iter().for_each(|chunk| pool.release(chunk));
        }
        Some(taken)
    }

    /// The payload, if the frame is in one piece.
    #[cfg(feature = "load")]
    #[inline]
    pub(crate) fn whole_payload(&self) -> Option<&[u8]> {
        match &self.body {
            Body::Whole { bytes, .. } => bytes.get(self.payload.clone()),
            Body::Large { .. } => None,
        }
    }

    /// Returns the pieces of the payload in order, without a copy. A frame of up to 68 KiB is one piece.
    pub fn payload_chunks(&self) -> impl Iterator<Item = &[u8]> {
        let (whole, chunks) = match &self.body {
            Body::Whole { bytes, .. } => (Some(*bytes), None),
            Body::Large { chunks, .. } => (None, Some(chunks.iter().map(Chunk::as_slice))),
        };
        let Range { start, end } = self.payload;
        let mut at = 0;
        let pieces = whole.into_iter().chain(chunks.into_iter().flatten()).map(move |piece| {
            let within = |place: usize| place.saturating_sub(at).min(piece.len());
            let part = &piece[within(start)..within(end)];
            at += piece.len();
            part
        });
        let is_whole = matches!(self.body, Body::Whole { .. });
        // A delimiter may be all of the last chunk.
        pieces.filter(move |piece| is_whole || !piece.is_empty())
    }
}
