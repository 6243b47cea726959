//! The frame that a handler gets.

use std::cell::{OnceCell, RefCell};
use std::collections::VecDeque;

use crate::conn::chunk::Chunk;
use crate::wire::HEADER_LEN;

/// Gives a handler access to one complete frame.
///
/// It borrows the buffers into which it was received, so copy what you need after the callback.
/// [`Connection::reply_frame`](crate::Connection::reply_frame) sends the bytes back without a copy.
#[derive(Debug)]
pub struct Frame<'a> {
    pub(crate) body: Body<'a>,
}

/// The bytes of a frame, header first.
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
        self.frame_len() - HEADER_LEN
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
            Body::Whole { bytes, .. } => &bytes[HEADER_LEN..],
            Body::Large { chunks, joined, frame_len } => &joined.bytes(chunks, *frame_len)[HEADER_LEN..],
        }
    }

    /// Returns the pieces of the payload in order, without a copy. A frame of up to 68 KiB is one piece.
    pub fn payload_chunks(&self) -> impl Iterator<Item = &[u8]> {
        let (whole, chunks) = match &self.body {
            Body::Whole { bytes, .. } => (Some(*bytes), None),
            Body::Large { chunks, .. } => (None, Some(chunks.iter().map(Chunk::as_slice))),
        };
        // The first piece begins with the header: a large frame begins with the chunk in which its header was decoded.
        whole.into_iter().chain(chunks.into_iter().flatten()).enumerate().map(|(index, piece)| match index {
            0 => &piece[HEADER_LEN..],
            _ => piece,
        })
    }
}
