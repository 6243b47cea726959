//! The pending input of a connection between turns, and the clocks for its deadlines.

use std::time::Instant;

use crate::conn::chunk::{Chunk, ChunkPool};
#[cfg(any(test, feature = "fuzzing"))]
use crate::conn::input::{Stopped, decode};
use crate::conn::io::{Budget, Readiness, Transport};
use crate::conn::large::LargeFrame;
use crate::conn::part::{NextPart, PartedFrame};
#[cfg(any(test, feature = "fuzzing"))]
use crate::conn::profile::Rules;
use crate::error::CloseReason;

/// The pending input of a connection between turns.
#[derive(Debug, Default)]
pub(crate) struct Input {
    pending: Pending,
    /// A frame of which parts were delivered. What is pending belongs to it.
    parted: Option<Box<PartedFrame>>,
    /// The next turn has a whole frame to deliver, a large one to begin, or a header to refuse.
    has_frames: bool,
    clock: FrameClock,
    /// Since when the peer has finished and input before its FIN is unread, because the handler has paused.
    finished_since: Option<Instant>,
}

#[derive(Debug, Default)]
enum Pending {
    #[default]
    Empty,
    /// Less than a frame, or frames that wait for the next turn; at most a chunk. So many bytes were searched for a delimiter.
    Bytes { chunk: Chunk, searched: u32 },
    /// A part of a frame that is longer than a chunk.
    Large(LargeFrame),
}

impl Input {
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self.pending, Pending::Empty) && self.parted.is_none()
    }

    /// The frame of which parts were delivered.
    pub(crate) fn parted(&self) -> Option<&PartedFrame> {
        self.parted.as_deref()
    }

    pub(crate) fn begin_parts(&mut self, frame: PartedFrame) {
        debug_assert!(self.is_empty());
        self.parted = Some(Box::new(frame));
    }

    /// Notes that a part is delivered. Returns its offset, and the length of the whole payload if that is known.
    pub(crate) fn deliver_part(&mut self, next: NextPart) -> Option<(u64, Option<u64>)> {
        let place = self.parted.as_mut()?.deliver(next);
        self.parted.take_if(|_| next.is_last);
        Some(place)
    }

    pub(crate) fn is_large(&self) -> bool {
        matches!(self.pending, Pending::Large(_))
    }

    pub(crate) fn len(&self) -> usize {
        match &self.pending {
            Pending::Empty => 0,
            Pending::Bytes { chunk, .. } => chunk.len(),
            Pending::Large(frame) => frame.received(),
        }
    }

    /// The capacity of its chunks, in bytes.
    pub(crate) fn capacity(&self) -> usize {
        match &self.pending {
            Pending::Empty => 0,
            Pending::Bytes { chunk, .. } => chunk.capacity(),
            Pending::Large(frame) => frame.capacity,
        }
    }

    pub(crate) fn has_frames(&self) -> bool {
        self.has_frames
    }

    /// Takes the saved bytes out, to restore them to the read buffer, and how many were searched for a delimiter.
    pub(crate) fn take_bytes(&mut self) -> Option<(Chunk, usize)> {
        match std::mem::take(&mut self.pending) {
            Pending::Bytes { chunk, searched } => Some((chunk, searched as usize)),
            other @ (Pending::Empty | Pending::Large(_)) => {
                self.pending = other;
                None
            }
        }
    }

    pub(crate) fn save(&mut self, chunk: Chunk, searched: usize) {
        debug_assert!(matches!(self.pending, Pending::Empty) && searched <= chunk.len());
        self.pending = Pending::Bytes { chunk, searched: searched as u32 };
    }

    /// Saves input that was received before this connection began. The next turn looks for frames in it.
    pub(crate) fn preload(&mut self, bytes: Chunk) {
        self.save(bytes, 0);
        self.has_frames = true;
    }

    pub(crate) fn begin_large(&mut self, frame: LargeFrame) {
        debug_assert!(self.is_empty());
        self.pending = Pending::Large(frame);
    }

    /// The capacity that [`read_large`](Self::read_large) needs.
    pub(crate) fn room_needed(&self) -> usize {
        match &self.pending {
            Pending::Large(frame) => frame.room_needed(),
            Pending::Empty | Pending::Bytes { .. } => 0,
        }
    }

    /// Reads more of a large frame. The pool has [room](Self::room_needed). Returns `Ok(None)` on `EAGAIN`, and
    /// `Ok(Some(0))` on the peer's FIN.
    pub(crate) fn read_large(
        &mut self,
        io: &mut impl Transport,
        readiness: &mut Readiness,
        budget: &mut Budget,
        pool: &mut ChunkPool,
    ) -> Result<Option<usize>, CloseReason> {
        let Pending::Large(frame) = &mut self.pending else { return Ok(None) };
        let read = readiness.read(io, frame.spare_mut(pool), budget)?;
        if let Some(len) = read {
            frame.advance(len);
        }
        Ok(read)
    }

    /// The large frame of which a part has come.
    pub(crate) fn large_mut(&mut self) -> Option<&mut LargeFrame> {
        match &mut self.pending {
            Pending::Large(frame) => Some(frame),
            Pending::Empty | Pending::Bytes { .. } => None,
        }
    }

    /// Takes a large frame out if it is whole.
    pub(crate) fn take_whole_large(&mut self) -> Option<LargeFrame> {
        match std::mem::take(&mut self.pending) {
            Pending::Large(frame) if frame.missing() == 0 => Some(frame),
            other @ (Pending::Empty | Pending::Bytes { .. } | Pending::Large(_)) => {
                self.pending = other;
                None
            }
        }
    }

    /// Copies all bytes, and releases them.
    pub(crate) fn take_copy(&mut self, pool: &mut ChunkPool) -> Vec<u8> {
        let bytes = match &self.pending {
            Pending::Empty => Vec::new(),
            Pending::Bytes { chunk, .. } => chunk.as_slice().to_vec(),
            Pending::Large(frame) => frame.chunks.iter().map(Chunk::as_slice).collect::<Vec<_>>().concat(),
        };
        self.release(pool);
        bytes
    }

    pub(crate) fn release(&mut self, pool: &mut ChunkPool) {
        self.parted = None;
        match std::mem::take(&mut self.pending) {
            Pending::Empty => {}
            Pending::Bytes { chunk, .. } => pool.release(chunk),
            Pending::Large(frame) => frame.chunks.into_iter().for_each(|chunk| pool.release(chunk)),
        }
    }

    pub(crate) fn reset(&mut self) {
        *self = Self::default();
    }

    /// Sets the clocks after a turn. `is_unread`: input waits in the socket because reading is paused. `is_finished`: its
    /// end is known, and the handler has paused.
    pub(crate) fn turn_ended(
        &mut self,
        has_frames: bool,
        delivered: bool,
        is_unread: bool,
        is_finished: bool,
        now: Instant,
    ) {
        // Of a frame in parts, what waits to be delivered is the same frame, and the delay is not the peer's.
        let is_parted = self.parted.is_some();
        let is_same_frame = !delivered && (!self.has_frames || is_parted);
        self.has_frames = has_frames;
        if self.is_empty() || (has_frames && !is_parted) {
            self.clock = FrameClock::default();
        } else {
            self.clock.go_on(is_same_frame, is_unread || has_frames, now);
        }
        self.finished_since = is_finished.then(|| self.finished_since.unwrap_or(now));
    }

    /// When the incomplete frame began, if the frame timeout applies to it now.
    pub(crate) fn frame_since(&self) -> Option<Instant> {
        self.clock.since()
    }

    pub(crate) fn finished_since(&self) -> Option<Instant> {
        self.finished_since
    }

    /// What must be true after a turn. `is_unread` as in [`turn_ended`](Self::turn_ended).
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn check_after_turn(&self, is_unread: bool, rules: &Rules) {
        let has_frames = match &self.pending {
            Pending::Empty | Pending::Large(_) => false,
            Pending::Bytes { chunk, .. } => {
                // Searched from the beginning: no delimiter was missed.
                let next = match &self.parted {
                    Some(frame) => frame.next(chunk.as_slice(), 0).map(|next| next.len),
                    None => decode(rules.framing, chunk.as_slice(), 0, rules.max_payload).map(|(len, _)| len),
                };
                !matches!(next, Err(Stopped::Incomplete { .. }))
            }
        };
        assert_eq!(self.has_frames, has_frames);
        assert_eq!(self.frame_since().is_some(), !self.is_empty() && !has_frames && !is_unread);
    }
}

/// Since when a frame is incomplete.
///
/// Rule: the clock stops while input waits in the socket because reading is paused, and only then; a pause hides no
/// deadline.
#[derive(Debug, Clone, Copy, Default)]
struct FrameClock {
    /// When the first byte came, plus the time for which the clock was stopped.
    since: Option<Instant>,
    stopped_since: Option<Instant>,
}

impl FrameClock {
    /// `None` while it is stopped, or if there is no incomplete frame.
    fn since(&self) -> Option<Instant> {
        self.since.filter(|_| self.stopped_since.is_none())
    }

    /// Continues for the same frame, or starts for another.
    fn go_on(&mut self, is_same_frame: bool, stops: bool, now: Instant) {
        let since = self.since.filter(|_| is_same_frame).unwrap_or(now);
        self.since = match self.stopped_since {
            Some(stopped) if is_same_frame && !stops => since.checked_add(now.saturating_duration_since(stopped)),
            _ => Some(since),
        };
        self.stopped_since = if stops { self.stopped_since.or(Some(now)) } else { None };
    }
}
