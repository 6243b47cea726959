//! What a handler says about its own connection, during one callback or during the frames of one fill.

use std::ops::Range;

use crate::conn::Backlog;
use crate::conn::chunk::capacity_for;
use crate::conn::decoder::{Body, Frame};
use crate::conn::outbox::Sent;
use crate::conn::workbench::Supplies;
use crate::error::CloseReason;
use crate::frame::{HEADER_LEN, encode_header};

/// Collects replies and wishes; the connection acts on them when the callback has returned.
#[derive(Debug)]
pub(crate) struct Replies<'a> {
    /// The bytes on the workbench.
    work: &'a [u8],
    /// Frames of `work`, one after the other, that are to be sent as they lie. Only while the outbox is empty.
    run: &'a mut Range<usize>,
    backlog: &'a mut Option<Box<Backlog>>,
    pub(crate) supplies: &'a mut Supplies,
    pub(crate) flow: &'a mut Flow,
    pub(crate) verdict: &'a mut Verdict,
}

/// What a handler has said about reading from its connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flow {
    /// The handler wants no more frames for now.
    pub(crate) is_paused: bool,
    /// Pending output pauses input.
    ///
    /// Rule: only an accepted connection stops reading because of its own pending output. Two peers that both stop would
    /// wait for each other forever.
    pub(crate) pause_input_when_full: bool,
}

/// What is to become of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    GoOn,
    /// Flush what is owed, then close.
    Close(CloseReason),
    /// Close at once.
    Fail(CloseReason),
}

impl<'a> Replies<'a> {
    pub(crate) fn new(
        work: &'a [u8],
        run: &'a mut Range<usize>,
        backlog: &'a mut Option<Box<Backlog>>,
        supplies: &'a mut Supplies,
        flow: &'a mut Flow,
        verdict: &'a mut Verdict,
    ) -> Self {
        Self { work, run, backlog, supplies, flow, verdict }
    }

    /// The same, for a shorter while.
    #[inline]
    pub(crate) fn reborrow(&mut self) -> Replies<'_> {
        Replies {
            work: self.work,
            run: self.run,
            backlog: self.backlog,
            supplies: self.supplies,
            flow: self.flow,
            verdict: self.verdict,
        }
    }

    /// Bytes that are owed to the peer: those in the outbox and those still on the workbench.
    #[inline]
    pub(crate) fn owed(&self) -> usize {
        self.run.len() + self.queued_bytes()
    }

    /// Bytes in the outbox.
    #[inline]
    fn queued_bytes(&self) -> usize {
        self.backlog.as_ref().map_or(0, |backlog| backlog.outbox.len())
    }

    /// Whether nothing has ended the connection so far.
    #[inline]
    pub(crate) fn goes_on(&self) -> bool {
        matches!(*self.verdict, Verdict::GoOn)
    }

    /// Bytes of buffers that the connection owns, with those of the frame that is handed over.
    pub(crate) fn buffered_bytes(&self) -> usize {
        self.supplies.handed_over_bytes + self.backlog.as_ref().map_or(0, |backlog| backlog.capacity())
    }

    /// Bytes of buffers that are needed, at most, to queue a copy of a frame of `frame_len` bytes.
    pub(crate) fn room_needed(&self, frame_len: usize) -> usize {
        let len = self.run.len() + frame_len;
        self.backlog.as_ref().map_or_else(|| capacity_for(len), |backlog| backlog.outbox.room_needed(len))
    }

    /// Queues a frame with a copy of `payload`.
    pub(crate) fn reply(&mut self, payload: &[u8]) -> Sent {
        if let Some(refusal) = self.refusal() {
            return refusal;
        }
        let Ok(payload_len) = u32::try_from(payload.len()) else {
            return Sent::TooLong;
        };
        if !self.supplies.pool.has_room(self.room_needed(HEADER_LEN + payload.len())) {
            return Sent::NoMemory;
        }
        self.stop_run(HEADER_LEN + payload.len());
        let high = self.supplies.config.outbox_bytes_high;
        let backlog = self.supplies.backlog(self.backlog);
        backlog.outbox.append_frame(encode_header(payload_len), payload, high, &mut self.supplies.pool);
        self.queued()
    }

    /// Queues a frame as it was received: where it lies, when that keeps the order, else as a copy.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn reply_frame(&mut self, mut frame: Frame<'_>) -> Sent {
        if self.is_next_in_run(&frame) { self.extend_run(&frame) } else { self.reply_body(&mut frame) }
    }

    /// Whether all that is owed lies right before the frame, so that the answer is a longer run.
    #[inline]
    pub(crate) fn is_next_in_run(&self, frame: &Frame<'_>) -> bool {
        match frame.body {
            Body::Whole { at, .. } => self.run.end == at && self.queued_bytes() == 0 && self.goes_on(),
            Body::Large { .. } => false,
        }
    }

    /// Queues a frame that [is next in the run](Self::is_next_in_run).
    #[inline]
    pub(crate) fn extend_run(&mut self, frame: &Frame<'_>) -> Sent {
        // What is owed is below the mark: above, no frame is handed over.
        debug_assert!(self.owed() < self.supplies.config.outbox_bytes_high);
        self.run.end += frame.frame_len();
        self.queued()
    }

    /// The same for any frame, of which nothing is taken unless it is queued. Apart, so that what is done for each of a row
    /// of small ones stays short.
    #[cold]
    pub(crate) fn reply_body(&mut self, frame: &mut Frame<'_>) -> Sent {
        if let Some(refusal) = self.refusal() {
            return refusal;
        }
        match &mut frame.body {
            Body::Whole { bytes, at } if self.owed() == 0 => *self.run = *at..*at + bytes.len(),
            Body::Whole { bytes, .. } => {
                if !self.supplies.pool.has_room(self.room_needed(bytes.len())) {
                    return Sent::NoMemory;
                }
                self.stop_run(bytes.len());
                self.append_before(0, bytes);
            }
            Body::Large { chunks, .. } => {
                // Nothing of another frame is on the workbench meanwhile, and the chunks are the connection's already.
                debug_assert!(self.run.start == self.run.end);
                let high = self.supplies.config.outbox_bytes_high;
                self.supplies.backlog(self.backlog).outbox.append_chunks(chunks, high);
            }
        }
        self.queued()
    }

    /// Why nothing can be queued, if so.
    #[inline]
    fn refusal(&mut self) -> Option<Sent> {
        if !self.goes_on() {
            return Some(Sent::Gone);
        }
        let is_over = self.owed() >= self.supplies.config.outbox_bytes_high
            || self.backlog.as_ref().is_some_and(|backlog| backlog.outbox.is_over());
        if !is_over {
            return None;
        }
        if !self.supplies.pool.has_room(self.room_needed(0)) {
            return Some(Sent::NoMemory);
        }
        // Only the outbox knows that it was over its mark, and so tells when there is room again.
        self.stop_run(0);
        Some(Sent::OverMark)
    }

    #[inline]
    fn queued(&mut self) -> Sent {
        self.supplies.counts.frames_out += 1;
        Sent::Queued
    }

    /// Copies what is to be sent from the workbench to the outbox, so that `more` bytes can be queued behind it. There is
    /// room for all of them.
    pub(crate) fn stop_run(&mut self, more: usize) {
        if self.run.start == self.run.end {
            return;
        }
        let run = std::mem::replace(self.run, 0..0);
        let work = self.work;
        self.append_before(more, &work[run]);
    }

    fn append_before(&mut self, more: usize, bytes: &[u8]) {
        let high = self.supplies.config.outbox_bytes_high;
        self.supplies.backlog(self.backlog).outbox.append_before(more, bytes, high, &mut self.supplies.pool);
    }
}
