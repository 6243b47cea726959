//! What a peer has to say: whole frames, and perhaps something behind them that is none.

use std::ops::Range;

use crate::sim::Rng;
use crate::tests::sim::campaign::action::Action;
use crate::wire::Framing;

/// The bytes that a peer will send.
#[derive(Debug)]
pub(super) struct Script {
    pub(super) framing: Framing,
    bytes: Vec<u8>,
    /// The places of the whole frames, one after the other, and of their payloads.
    frames: Vec<(Range<usize>, Range<usize>)>,
    /// After how many bytes the tail is refused, and the length that it announces.
    refused: Option<(usize, u64)>,
}

impl Script {
    /// Up to `frames_max` frames with payloads of up to `payload_max` bytes.
    pub(super) fn new(framing: Framing, rng: &mut Rng, frames_max: usize, payload_max: usize) -> Self {
        let mut script = Self { framing, bytes: Vec::new(), frames: Vec::new(), refused: None };
        for _ in 0..rng.below(frames_max + 1) {
            let payload = any_payload(rng, payload_max);
            let begin = script.bytes.len();
            assert_eq!(framing.encode(&payload, &mut script.bytes), Ok(()));
            let payload_at = begin + framing.enclose(payload.len()).map_or(0, |around| around.head().len());
            script.frames.push((begin..script.bytes.len(), payload_at..payload_at + payload.len()));
        }
        script
    }

    /// Appends the beginning of a frame.
    pub(super) fn with_incomplete(mut self, frame: &[u8]) -> Self {
        self.bytes.extend(frame);
        self
    }

    /// Appends bytes that are no frame: the peer is refused after `len` of them, because they announce `announced`.
    pub(super) fn with_refused(mut self, bytes: &[u8], len: usize, announced: u64) -> Self {
        self.refused = Some((self.bytes.len() + len, announced));
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
        self.frames.get(number).map(|(frame, _)| &self.bytes[frame.clone()])
    }

    pub(super) fn payload(&self, number: usize) -> Option<&[u8]> {
        self.frames.get(number).map(|(_, payload)| &self.bytes[payload.clone()])
    }

    /// What comes behind the whole frames.
    pub(super) fn behind_frames(&self) -> &[u8] {
        &self.bytes[self.frames.last().map_or(0, |(frame, _)| frame.end)..]
    }

    /// Where a frame ends.
    pub(super) fn frame_end(&self, number: usize) -> Option<usize> {
        self.frames.get(number).map(|(frame, _)| frame.end)
    }

    /// Whole frames among the first `len` bytes.
    pub(super) fn frames_within(&self, len: usize) -> usize {
        self.frames.partition_point(|(frame, _)| frame.end <= len)
    }

    /// How many of the first `len` bytes belong to a frame that is not whole by then.
    pub(super) fn incomplete_len(&self, len: usize) -> usize {
        let whole = self.frames_within(len);
        len - if whole == 0 { 0 } else { self.frames[whole - 1].0.end }
    }

    /// The announced length of a frame that is to be refused, if enough of it is among the first `len` bytes.
    pub(super) fn refused_within(&self, len: usize) -> Option<u64> {
        self.refused.filter(|(at, _)| *at <= len).map(|(_, announced)| announced)
    }
}

/// A payload whose first byte is an order for the handler. No byte is above 127, so that delimiters can be.
fn any_payload(rng: &mut Rng, payload_max: usize) -> Vec<u8> {
    let len = match rng.below(20) {
        0 | 1 => 0,
        2 => payload_max,
        3..=11 => rng.below(payload_max.min(300) + 1),
        _ => rng.below(payload_max + 1),
    };
    // Cheap to make, and different in each frame and each block of it.
    let mut payload = Vec::with_capacity(len);
    while payload.len() < len {
        let block = [(rng.next_u64() & 0x7f7f_7f7f_7f7f_7f7f).to_le_bytes(); 32];
        let block_len = (len - payload.len()).min(256);
        payload.extend_from_slice(&block.as_flattened()[..block_len]);
    }
    if let Some(first) = payload.first_mut() {
        *first = Action::asked_for(rng) as u8;
    }
    payload
}
