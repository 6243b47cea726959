//! Queues frames that come from elsewhere: from another connection's callback, or from the reactor.
//!
//! The frame of a broadcast is deferred if the connection has no buffers: the run queue notes the payload in a byte, and the frame
//! is queued when the connection runs, or before anything else is queued.
//!
//! Rule: a deferred frame counts as queued from the call on, in the memory limit and in the counters. A connection does not know of
//! it, so [`Conn::queue_deferred`] precedes a run, a query of pending output and another frame.

use crate::conn::Conn;
use crate::conn::chunk::capacity_for;
use crate::conn::frame::{Body, Frame};
use crate::conn::payloads::{Deferred, SharedPayload};
use crate::conn::shared::Shared;
use crate::conn::sink::Replies;
use crate::error::SendError;

impl Conn {
    /// Queues a frame from another connection's callback or from the reactor. The next turn sends it.
    ///
    /// Rule: a message that finds no room is lost for its sender. No connection ends because of it, neither this one nor
    /// another.
    pub(crate) fn send(&mut self, payload: &[u8], shared: &mut Shared) -> Result<(), SendError> {
        let needed = self.room_needed(self.enclosure_len_max(shared) + payload.len());
        self.send_with(shared, needed, |replies| replies.reply(payload))
    }

    /// The same for a payload that is not copied.
    pub(crate) fn send_shared(
        &mut self,
        payload: &mut SharedPayload<'_>,
        shared: &mut Shared,
    ) -> Result<(), SendError> {
        let needed = payload.room_needed(self.enclosure_len_max(shared), |len| self.room_needed(len));
        self.send_with(shared, needed, |replies| replies.reply_shared(payload))
    }

    /// The same for the frame of another connection. It is moved if it is large, and then needs no room. Consumes nothing of
    /// it unless it is queued.
    pub(crate) fn send_frame(&mut self, frame: &mut Frame<'_>, shared: &mut Shared) -> Result<(), SendError> {
        let is_as_it_came = shared.profiles.rules(self.profile).framing == shared.delivering.framing;
        let needed = match frame.body {
            Body::Whole { bytes, .. } if is_as_it_came => self.room_needed(bytes.len()),
            Body::Whole { .. } => self.room_needed(self.enclosure_len_max(shared) + frame.payload_len()),
            Body::Large { .. } => 0,
        };
        self.send_with(shared, needed, |replies| replies.forward(frame))?;
        if matches!(frame.body, Body::Large { .. }) {
            // The chunks belong to the receiver.
            shared.delivering.capacity = 0;
        }
        Ok(())
    }

    /// Defers a frame if it can be queued and would be the only thing pending; the caller notes what this returns. Otherwise
    /// [`send_shared`](Self::send_shared) queues the frame, or returns why it cannot.
    pub(crate) fn defer(&self, payload: &mut SharedPayload<'_>, shared: &mut Shared) -> Option<Deferred> {
        let fits = payload.len() > 0 && payload.fits(self.profile, &shared.profiles);
        if !fits || !self.may_defer() || !shared.pool.has_room_for_message(payload.added_bytes()) {
            return None;
        }
        let deferred = shared.pool.defer(payload);
        shared.counts.frames_out += u64::from(deferred.is_some());
        deferred
    }

    /// Whether a frame may be deferred, unless one is deferred already.
    #[inline]
    pub(crate) fn may_defer(&self) -> bool {
        self.buffers.is_none() && self.state.takes_output()
    }

    /// Queues a frame that was deferred.
    pub(crate) fn queue_deferred(&mut self, deferred: Deferred, shared: &mut Shared) {
        let rules = shared.profiles.rules(self.profile);
        let slice = shared.pool.take_deferred(deferred);
        match rules.enclose(slice.payload_len()) {
            Ok(enclosure) => {
                let output = &mut shared.buffers(&mut self.buffers).output;
                output.append_slice(&enclosure, slice, rules.output_high_water);
            }
            Err(error) => {
                debug_assert!(false, "the framing has changed before the connection ran: {error}");
                shared.pool.release_slice(&slice);
            }
        }
    }

    /// The most bytes around the payload of a reply.
    fn enclosure_len_max(&self, shared: &Shared) -> usize {
        shared.profiles.rules(self.profile).enclosure_len_max()
    }

    /// The most capacity that is needed to queue copies of `len` bytes.
    fn room_needed(&self, len: usize) -> usize {
        self.buffers.as_ref().map_or_else(|| capacity_for(len), |buffers| buffers.output.room_needed(len))
    }

    fn send_with(
        &mut self,
        shared: &mut Shared,
        needed: usize,
        reply: impl FnOnce(&mut Replies<'_>) -> Result<(), SendError>,
    ) -> Result<(), SendError> {
        if !self.state.takes_output() {
            return shared.count_refused(Err(SendError::Closed));
        }
        let is_full = self.buffers.as_ref().is_some_and(|buffers| buffers.output.is_full());
        self.with_replies(None, shared, |replies| {
            // Above the high-water mark it is refused for that, whatever room there is.
            let has_room = is_full || needed == 0 || replies.shared.pool.has_room_for_message(needed);
            let sent = if has_room { reply(replies) } else { Err(SendError::NoMemory) };
            replies.shared.count_refused(sent)
        })
    }
}
