//! The seam to the handler: [`Sink`], which a turn calls, and [`Replies`], through which a callback acts on its connection.

use std::net::SocketAddr;
use std::ops::Range;

use crate::conn::buffers::Buffers;
use crate::conn::chunk::capacity_for;
use crate::conn::flags::{Flag, Flags};
use crate::conn::frame::{Body, Frame};
use crate::conn::input::{Frames, Stopped};
use crate::conn::io::Transport;
use crate::conn::part::FramePart;
use crate::conn::payloads::SharedPayload;
use crate::conn::profile::Rules;
use crate::conn::reply_buffer::ReplyBuffer;
use crate::conn::shared::Shared;
use crate::conn::state::State;
use crate::error::{CloseReason, SendError};
use crate::options::Limits;
use crate::wire::{Decode, Enclosure, Framing};

/// The handler, as a turn sees it.
pub(crate) trait Sink {
    fn on_frame(&mut self, frame: Frame<'_>, replies: &mut Replies<'_>);
    /// A part of a frame that is longer than a chunk, if the limits say so.
    fn on_frame_part(&mut self, part: FramePart<'_>, replies: &mut Replies<'_>);
    /// Delivers the frames of one read.
    fn on_frames<D: Decode>(&mut self, frames: &mut Frames<'_, D>, replies: &mut Replies<'_>) {
        while let Some(frame) = replies.next_frame(frames) {
            self.on_frame(frame, replies);
        }
    }
    /// The connection closes after this call, because a frame is not permitted.
    fn on_frame_rejected(&mut self, replies: &mut Replies<'_>, reason: &CloseReason) {
        let _ = (replies, reason);
    }
    /// The peer has sent FIN, and every whole frame was delivered.
    fn on_half_close(&mut self, replies: &mut Replies<'_>);
    fn on_wake(&mut self, replies: &mut Replies<'_>) {
        let _ = replies;
    }
    /// Pending output has fallen from the high-water mark to the low-water mark.
    fn on_writable(&mut self, replies: &mut Replies<'_>);
    /// The reactor drains, and all input that has arrived was delivered.
    fn on_drain(&mut self, replies: &mut Replies<'_>) -> Drain {
        let _ = replies;
        Drain::AtRest
    }
    /// The connection has buffers of `held` bytes and needs `needed` more, for which the pool has no room. Evicts other
    /// connections that hold more. Returns whether there is room now.
    fn make_room(&mut self, held: usize, needed: usize, shared: &mut Shared) -> bool {
        let _ = (held, needed, shared);
        false
    }
}

/// Reports when a drain may close a connection. [`Handler::on_drain`](crate::Handler::on_drain) returns it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Drain {
    /// Now, once its pending output is sent.
    AtRest,
    /// When the handler closes it: a reply is still to come, for example from another thread. Until then the connection works like
    /// any other.
    WhenClosed,
}

/// Our end of a connection.
pub(crate) trait Local {
    fn addr(&self) -> Option<SocketAddr>;
}

impl<T: Transport> Local for T {
    fn addr(&self) -> Option<SocketAddr> {
        self.local_addr()
    }
}

/// What a callback may do with its own connection. The turn acts on it when the callback has returned.
pub(crate) struct Replies<'a> {
    /// The bytes in the read buffer.
    pub(crate) bytes: &'a [u8],
    /// Frames of `bytes`, one after the other, to be sent as they are. Only while no other output is pending.
    pub(crate) echo: &'a mut Range<usize>,
    /// Where short replies go while nothing else is pending. `None` where the turn does not write them next.
    pub(crate) direct: Option<&'a mut ReplyBuffer>,
    pub(crate) buffers: &'a mut Option<Box<Buffers>>,
    /// As the callback has found it.
    pub(crate) state: &'a State,
    /// `None` outside of a callback about the connection.
    pub(crate) local: Option<&'a dyn Local>,
    pub(crate) shared: &'a mut Shared,
    pub(crate) flags: &'a mut Flags,
    pub(crate) rules: &'a mut Rules,
    pub(crate) verdict: &'a mut Verdict,
}

/// What happens to the connection after the callback.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Continue,
    /// Flush pending output, then send FIN. Frames are delivered.
    Finish,
    /// Flush pending output, then close.
    Close(CloseReason),
    /// Close immediately.
    Fail(CloseReason),
    /// End with this turn, and leave the socket to other code.
    Detach,
}

impl<'a> Replies<'a> {
    #[inline]
    pub(crate) fn reborrow(&mut self) -> Replies<'_> {
        Replies {
            bytes: self.bytes,
            echo: self.echo,
            direct: self.direct.as_deref_mut(),
            buffers: self.buffers,
            state: self.state,
            local: self.local,
            shared: self.shared,
            flags: self.flags,
            rules: self.rules,
            verdict: self.verdict,
        }
    }

    /// Takes the next frame that may be delivered now.
    #[inline]
    pub(crate) fn next_frame<'b, D: Decode>(&mut self, frames: &mut Frames<'b, D>) -> Option<Frame<'b>> {
        if self.flags.ends_delivery() || !self.delivers() {
            return None;
        }
        let next = frames.next_len().and_then(|(frame_len, payload)| {
            if self.pending_bytes() >= self.rules.output_high_water && !self.delivers_when_full() {
                return Err(Stopped::OutputFull);
            }
            frames.take(frame_len, payload)
        });
        match next {
            Ok(frame) => Some(frame),
            Err(stopped) => {
                frames.stopped = stopped;
                None
            }
        }
    }

    /// Whether frames are delivered although the pending output has reached the high-water mark. Then it is moved out of the
    /// read buffer, so that a reply to this frame is refused like any other.
    #[cold]
    fn delivers_when_full(&mut self) -> bool {
        // Without room, the echo is written first.
        if self.flags.has(Flag::PausesWhenFull) || !self.shared.pool.has_room(self.room_needed(0)) {
            return false;
        }
        self.queue_direct(0);
        true
    }

    /// Pending output, in bytes: queued, to be echoed from the read buffer, or to be written from the reply buffer.
    #[inline]
    pub(crate) fn pending_bytes(&self) -> usize {
        self.direct_bytes() + self.queued_bytes()
    }

    /// What is written next without being queued, in bytes.
    #[inline]
    fn direct_bytes(&self) -> usize {
        self.echo.len() + self.direct.as_ref().map_or(0, |direct| direct.len())
    }

    /// Whether output is queued, or a reply is unfinished.
    #[inline]
    fn has_queue(&self) -> bool {
        self.buffers.as_ref().is_some_and(|buffers| !buffers.output.is_empty() || buffers.output.unfinished().is_some())
    }

    /// Whether output is pending that is not an echo, or a reply is unfinished.
    #[inline]
    fn has_output(&self) -> bool {
        self.has_queue() || self.direct.as_ref().is_some_and(|direct| !direct.is_empty())
    }

    #[inline]
    fn queued_bytes(&self) -> usize {
        self.buffers.as_ref().map_or(0, |buffers| buffers.output.len())
    }

    /// Whether no callback has closed or finished the connection so far.
    #[inline]
    pub(crate) fn continues(&self) -> bool {
        matches!(*self.verdict, Verdict::Continue)
    }

    /// Whether no callback has closed the connection so far.
    #[inline]
    fn delivers(&self) -> bool {
        matches!(*self.verdict, Verdict::Continue | Verdict::Finish)
    }

    /// Closes the connection after the callback.
    pub(crate) fn close(&mut self) {
        if self.delivers() {
            *self.verdict = Verdict::Close(CloseReason::ClosedByHandler);
        }
    }

    /// Half-closes the connection after the callback.
    pub(crate) fn finish(&mut self) {
        if self.continues() {
            *self.verdict = Verdict::Finish;
        }
    }

    /// Aborts the connection after the callback.
    pub(crate) fn abort(&mut self) {
        *self.verdict = Verdict::Fail(CloseReason::AbortedByHandler);
    }

    /// Ends the connection with the turn, and leaves its socket to other code.
    pub(crate) fn detach(&mut self) {
        if self.continues() {
            *self.verdict = Verdict::Detach;
        }
    }

    /// The capacity of the connection's buffers, including those of the frame that is being delivered, in bytes.
    pub(crate) fn buffered_bytes(&self) -> usize {
        self.shared.delivering.capacity + self.buffers.as_ref().map_or(0, |buffers| buffers.capacity())
    }

    /// The most capacity that is needed to queue a copy of a frame of `frame_len` bytes.
    pub(crate) fn room_needed(&self, frame_len: usize) -> usize {
        let len = self.direct_bytes() + frame_len;
        self.buffers.as_ref().map_or_else(|| capacity_for(len), |buffers| buffers.output.room_needed(len))
    }

    /// Queues a frame with a copy of `payload`.
    pub(crate) fn reply(&mut self, payload: &[u8]) -> Result<(), SendError> {
        self.check_room()?;
        let enclosure = self.rules.enclose(payload.len())?;
        let frame_len = enclosure.len() + payload.len();
        if frame_len == 0 {
            // Without a header, an empty message has no bytes.
            return self.queued();
        }
        if !self.shared.pool.has_room(self.room_needed(frame_len)) {
            return Err(SendError::NoMemory);
        }
        if self.append_direct(&enclosure, payload) {
            return self.queued();
        }
        self.queue_direct(frame_len);
        let high = self.rules.output_high_water;
        self.shared.buffers(self.buffers).output.append_frame(&enclosure, payload, high, &mut self.shared.pool);
        self.queued()
    }

    /// Adds a frame to the replies that are written next, if nothing else is pending and they stay few. Returns whether it was added.
    #[inline]
    fn append_direct(&mut self, enclosure: &Enclosure, payload: &[u8]) -> bool {
        if self.echo.start != self.echo.end || self.has_queue() {
            return false;
        }
        let high = self.rules.output_high_water;
        self.direct.as_deref_mut().is_some_and(|direct| direct.append(enclosure, payload, high))
    }

    /// Queues a frame with this payload, which is not copied unless it is short.
    pub(crate) fn reply_shared(&mut self, payload: &mut SharedPayload<'_>) -> Result<(), SendError> {
        if payload.is_copied() {
            return self.reply(payload.as_slice());
        }
        self.check_room()?;
        let enclosure = self.rules.enclose(payload.len())?;
        if !self.shared.pool.has_room(payload.room_needed(enclosure.len(), |len| self.room_needed(len))) {
            return Err(SendError::NoMemory);
        }
        self.queue_direct(0);
        let high = self.rules.output_high_water;
        self.shared.buffers(self.buffers).output.append_shared(&enclosure, payload, high, &mut self.shared.pool);
        self.queued()
    }

    /// Begins a reply whose payload comes in parts.
    pub(crate) fn begin_reply(&mut self, payload_len: usize) -> Result<(), SendError> {
        if payload_len == 0 {
            return self.reply(&[]);
        }
        self.check_room()?;
        let enclosure = self.rules.enclose(payload_len)?;
        self.shared.buffers(self.buffers).output.begin_reply(enclosure, payload_len);
        self.queued()
    }

    /// Queues a part of the payload of the reply that was begun.
    pub(crate) fn reply_part(&mut self, part: &[u8]) -> Result<(), SendError> {
        let missing = self.unfinished().unwrap_or(0);
        if part.len() > missing {
            return Err(SendError::TooLong { len: part.len(), max: missing });
        }
        if part.is_empty() {
            return Ok(());
        }
        self.check_high_water()?;
        let frame_len = part.len() + Enclosure::LEN_MAX;
        if !self.shared.pool.has_room(self.room_needed(frame_len)) {
            return Err(SendError::NoMemory);
        }
        self.queue_direct(frame_len);
        let high = self.rules.output_high_water;
        self.shared.buffers(self.buffers).output.append_part(part, high, &mut self.shared.pool);
        Ok(())
    }

    /// How many bytes of the payload of the unfinished reply are missing.
    pub(crate) fn unfinished(&self) -> Option<usize> {
        self.buffers.as_ref().and_then(|buffers| buffers.output.unfinished())
    }

    /// Queues bytes as they are.
    fn queue_bytes(&mut self, bytes: &[u8]) -> Result<(), SendError> {
        if !self.shared.pool.has_room(self.room_needed(bytes.len())) {
            return Err(SendError::NoMemory);
        }
        self.queue_direct(bytes.len());
        self.append_before(0, bytes);
        self.queued()
    }

    /// Queues the frame of another connection. A large one is moved. Consumes nothing of it unless it is queued.
    pub(crate) fn forward(&mut self, frame: &mut Frame<'_>) -> Result<(), SendError> {
        if self.rules.framing == self.shared.delivering.framing {
            return self.queue_frame(frame);
        }
        if matches!(frame.body, Body::Whole { .. }) {
            return self.reply(frame.payload());
        }
        self.check_room()?;
        let enclosure = self.rules.enclose(frame.payload_len())?;
        let high = self.rules.output_high_water;
        let Some(chunks) = frame.take_payload_chunks(&mut self.shared.pool) else { return Ok(()) };
        self.shared.buffers(self.buffers).output.append_enclosed(&enclosure, chunks, high);
        self.queued()
    }

    /// Changes the framing, for all bytes that are not delivered.
    pub(crate) fn set_framing(&mut self, framing: Framing) {
        *self.rules = self.shared.profiles.change(self.rules.profile, |profile| profile.framing = framing);
        self.flags.set(Flag::Redecode, true);
    }

    /// Changes the limits. Pending output is compared with the new marks.
    pub(crate) fn set_limits(&mut self, limits: Limits) {
        *self.rules = self.shared.profiles.change(self.rules.profile, |profile| profile.limits = limits);
        self.flags.set(Flag::Redecode, true);
        self.flags.set(Flag::Relimited, true);
        if let Some(pauses) = limits.pause_input_when_full {
            self.flags.set(Flag::PausesWhenFull, pauses);
        }
        if let Some(buffers) = self.buffers {
            buffers.output.marks_changed(limits.output_high_water, limits.output_low_water);
        }
    }

    /// Queues a frame as it was received: without a copy if that keeps the order.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn reply_frame(&mut self, mut frame: Frame<'_>) -> Result<(), SendError> {
        self.echo(&frame).unwrap_or_else(|| self.queue_frame(&mut frame))
    }

    /// Lets the frame be sent from the read buffer, if all pending output is right before it there.
    #[inline]
    pub(crate) fn echo(&mut self, frame: &Frame<'_>) -> Option<Result<(), SendError>> {
        match &frame.body {
            Body::Whole { bytes, at } if self.echo.end == *at && !self.has_output() && self.continues() => {
                self.echo.end += bytes.len();
                Some(self.queued())
            }
            Body::Whole { .. } | Body::Large { .. } => None,
        }
    }

    /// Queues any frame as it was received. Consumes nothing of it unless it is queued. Not inlined, so that the loop over
    /// small frames stays short.
    #[cold]
    pub(crate) fn queue_frame(&mut self, frame: &mut Frame<'_>) -> Result<(), SendError> {
        self.check_room()?;
        match &mut frame.body {
            Body::Whole { bytes, at } if self.pending_bytes() == 0 && self.has_read(bytes) => {
                *self.echo = *at..*at + bytes.len();
                self.queued()
            }
            Body::Whole { bytes, .. } => self.queue_bytes(bytes),
            Body::Large { chunks, .. } => {
                // The read buffer is empty, and the chunks belong to the connection already.
                debug_assert!(self.echo.start == self.echo.end);
                let high = self.rules.output_high_water;
                self.shared.buffers(self.buffers).output.append_chunks(chunks, high);
                self.queued()
            }
        }
    }

    /// Whether these bytes are in the read buffer of this connection's turn: a frame that is forwarded to it is not.
    fn has_read(&self, bytes: &[u8]) -> bool {
        self.bytes.as_ptr_range().contains(&bytes.as_ptr())
    }

    /// Whether a frame may be queued, whatever its length.
    #[inline]
    fn check_room(&mut self) -> Result<(), SendError> {
        if self.continues() && self.unfinished().is_some() {
            return Err(SendError::ReplyUnfinished);
        }
        self.check_high_water()
    }

    /// Whether more output may be queued.
    #[inline]
    fn check_high_water(&mut self) -> Result<(), SendError> {
        if !self.continues() {
            return Err(SendError::Closed);
        }
        if !self.is_full() {
            return Ok(());
        }
        if !self.shared.pool.has_room(self.room_needed(0)) {
            return Err(SendError::NoMemory);
        }
        // Only `Output` records that the mark was reached, so that the handler is called when there is room again.
        self.queue_direct(0);
        Err(SendError::Full)
    }

    /// Whether pending output has reached the high-water mark, and not fallen to the low-water mark since.
    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        self.pending_bytes() >= self.rules.output_high_water
            || self.buffers.as_ref().is_some_and(|buffers| buffers.output.is_full())
    }

    /// Received bytes that wait in the connection's buffers.
    pub(crate) fn pending_input(&self) -> usize {
        self.buffers.as_ref().map_or(0, |buffers| buffers.input.len())
    }

    #[inline]
    fn queued(&mut self) -> Result<(), SendError> {
        self.shared.counts.frames_out += 1;
        Ok(())
    }

    /// Copies what is to be echoed from the read buffer, or the replies, to the queue, before `more` bytes that follow. The pool has room.
    fn queue_direct(&mut self, more: usize) {
        if self.echo.start == self.echo.end {
            return self.queue_replies(more);
        }
        let echo = std::mem::replace(self.echo, 0..0);
        let bytes = self.bytes;
        self.append_before(more, &bytes[echo]);
    }

    fn queue_replies(&mut self, more: usize) {
        let Some(direct) = self.direct.as_deref_mut().filter(|direct| !direct.is_empty()) else { return };
        let high = self.rules.output_high_water;
        let output = &mut self.shared.buffers(self.buffers).output;
        output.append_before(more, direct.unsent(), high, &mut self.shared.pool);
        direct.clear();
    }

    fn append_before(&mut self, more: usize, bytes: &[u8]) {
        let high = self.rules.output_high_water;
        self.shared.buffers(self.buffers).output.append_before(more, bytes, high, &mut self.shared.pool);
    }
}
