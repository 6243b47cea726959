//! What a peer has to say: whole frames, and perhaps something behind them that is none.

use std::ops::Range;

use crate::sim::Rng;
use crate::tests::sim::campaign::action::Action;
use crate::wire::{HEADER_LEN, decode_header, encode_header};

/// The bytes that a peer will send.
#[derive(Debug)]
pub(super) struct Script {
    bytes: Vec<u8>,
    /// Where the whole frames lie, one behind the other.
    frames: Vec<Range<usize>>,
    tail: Tail,
}

/// What lies behind the last whole frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tail {
    Nothing,
    /// A header that announces more than is allowed, or another protocol's first bytes.
    TooLong,
    /// The beginning of a frame.
    Incomplete,
}

impl Script {
    /// Up to `frames_max` frames with payloads of up to `payload_max` bytes.
    pub(super) fn new(rng: &mut Rng, frames_max: usize, payload_max: usize) -> Self {
        let mut script = Self { bytes: Vec::new(), frames: Vec::new(), tail: Tail::Nothing };
        for _ in 0..rng.below(frames_max + 1) {
            let begin = script.bytes.len();
            append_frame(&mut script.bytes, rng, payload_max);
            script.frames.push(begin..script.bytes.len());
        }
        script
    }

    pub(super) fn with_tail(mut self, tail: Tail, bytes: &[u8]) -> Self {
        self.tail = tail;
        self.bytes.extend(bytes);
        self
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whole frames, in all.
    pub(super) fn frames(&self) -> usize {
        self.frames.len()
    }

    pub(super) fn frame(&self, number: usize) -> Option<&[u8]> {
        self.frames.get(number).map(|range| &self.bytes[range.clone()])
    }

    /// Where a frame ends.
    pub(super) fn frame_end(&self, number: usize) -> Option<usize> {
        self.frames.get(number).map(|range| range.end)
    }

    /// Whole frames among the first `len` bytes.
    pub(super) fn frames_within(&self, len: usize) -> usize {
        self.frames.partition_point(|frame| frame.end <= len)
    }

    /// How many of the first `len` bytes belong to a frame that is not whole by then.
    pub(super) fn incomplete_len(&self, len: usize) -> usize {
        let whole = self.frames_within(len);
        len - if whole == 0 { 0 } else { self.frames[whole - 1].end }
    }

    /// What is announced by a header that is to be refused, if it is among the first `len` bytes.
    pub(super) fn refused_within(&self, len: usize) -> Option<u32> {
        let begin = self.frames.last().map_or(0, |frame| frame.end);
        let header = self.bytes.get(begin..begin + HEADER_LEN)?.first_chunk()?;
        (self.tail == Tail::TooLong && begin + HEADER_LEN <= len).then(|| decode_header(*header))
    }
}

/// Appends a frame whose first byte of payload is an order for the handler.
fn append_frame(bytes: &mut Vec<u8>, rng: &mut Rng, payload_max: usize) {
    let payload_len = match rng.below(20) {
        0 | 1 => 0,
        2 => payload_max,
        3..=11 => rng.below(payload_max.min(300) + 1),
        _ => rng.below(payload_max + 1),
    };
    bytes.extend(encode_header(payload_len as u32));
    let begin = bytes.len();
    // Cheap to make, and different in each frame and each block of it.
    while bytes.len() < begin + payload_len {
        let block = [rng.next_u64().to_le_bytes(); 32];
        let len = (begin + payload_len - bytes.len()).min(256);
        bytes.extend_from_slice(&block.as_flattened()[..len]);
    }
    if payload_len > 0 {
        bytes[begin] = Action::asked_for(rng) as u8;
    }
}
