//! The expected frames and end of a stream, and the ends that lose no output.

use std::ops::Range;

use crate::conn::chunk::CHUNK_LEN;
use crate::error::CloseReason;
use crate::wire::{HEADER_LEN, announced_len, decode_header};

/// The largest payload of a frame that is sent on purpose, in bytes: three chunks.
pub(super) const LONGEST: usize = 2 * CHUNK_LEN + 10_000;

/// The content of a stream.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) frames: Vec<Range<usize>>,
    pub(crate) rest: Rest,
}

/// The end of a stream, after the last whole frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rest {
    /// This many bytes of the next frame.
    Part(usize),
    TooLong {
        announced: u32,
    },
}

impl Content {
    pub(crate) fn of(bytes: &[u8], max_payload: u32) -> Self {
        let (mut frames, mut at) = (Vec::new(), 0);
        let rest = loop {
            let Some(header) = bytes[at..].first_chunk() else { break Rest::Part(bytes.len() - at) };
            let announced = decode_header(*header);
            if announced > max_payload {
                break Rest::TooLong { announced };
            }
            let end = at + HEADER_LEN + announced as usize;
            if end > bytes.len() {
                break Rest::Part(bytes.len() - at);
            }
            frames.push(at..end);
            at = end;
        };
        Self { frames, rest }
    }

    /// The bytes of the whole frames.
    pub(crate) fn whole_len(&self) -> usize {
        self.frames.last().map_or(0, |last| last.end)
    }

    /// The reason of a connection that has received this and FIN, and has replied.
    pub(crate) fn reason(&self, bytes: &[u8], max_payload: u32) -> CloseReason {
        match (self.rest, announced_len(&bytes[self.whole_len()..], max_payload)) {
            (Rest::Part(0), Ok(None)) => CloseReason::PeerFinished,
            (Rest::Part(received), Ok(_)) => CloseReason::TruncatedFrame { received },
            (Rest::TooLong { announced }, Err(error)) if error.announced() == u64::from(announced) => {
                CloseReason::FrameTooLong(error)
            }
            (rest, announced) => panic!("{rest:?} and {announced:?}"),
        }
    }
}

/// Whether a connection that ended for this reason has written everything that was queued.
pub(crate) fn is_flushed(reason: &CloseReason) -> bool {
    match reason {
        CloseReason::PeerFinished
        | CloseReason::TruncatedFrame { .. }
        | CloseReason::FrameTooLong(_)
        | CloseReason::InvalidLength(_)
        | CloseReason::ClosedByHandler
        | CloseReason::HandlerPanicked
        | CloseReason::Drained => true,
        CloseReason::Reset
        | CloseReason::IdleTimeout
        | CloseReason::FrameTimeout
        | CloseReason::WriteTimeout
        | CloseReason::Evicted { .. }
        | CloseReason::Reclaimed
        | CloseReason::WriteZero
        | CloseReason::Io(_)
        | CloseReason::AbortedByHandler
        | CloseReason::Detached
        | CloseReason::Cut => false,
    }
}
