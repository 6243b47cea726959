//! One connection: a state machine between a socket and a handler.
//!
//! It never sees a poll, a token or the clock: it is given something to read from and write to, the current time, and a
//! [`Sink`](sink::Sink) for whole frames. So every transition is tested without a socket.
//!
//! Read [`state`] first, then [`turn`], [`input`] and [`output`]. This type is `Conn`, because `Connection` is what a
//! handler sees of it.

pub(crate) mod budgets;
pub(crate) mod buffers;
#[cfg(any(test, feature = "fuzzing"))]
mod checks;
pub(crate) mod chunk;
pub(crate) mod flags;
pub(crate) mod frame;
pub(crate) mod handover;
pub(crate) mod input;
pub(crate) mod io;
pub(crate) mod large;
pub(crate) mod output;
pub(crate) mod part;
pub(crate) mod payloads;
pub(crate) mod pending;
pub(crate) mod piece;
pub(crate) mod profile;
pub(crate) mod reply_buffer;
pub(crate) mod send;
pub(crate) mod shared;
pub(crate) mod sink;
pub(crate) mod snapshot;
pub(crate) mod state;
pub(crate) mod turn;
pub(crate) mod wishes;

use std::time::Instant;

use crate::conn::buffers::Buffers;
use crate::conn::chunk::capacity_for;
use crate::conn::flags::{Flag, Flags};
use crate::conn::handover::Handover;
use crate::conn::io::{Readiness, Transport};
use crate::conn::profile::{ProfileId, Rules};
use crate::conn::reply_buffer::ReplyBuffer;
use crate::conn::shared::Shared;
use crate::conn::sink::{Drain, Local, Replies, Verdict};
use crate::conn::state::{DrainStage, State};
use crate::error::CloseReason;

#[derive(Debug)]
pub(crate) struct Conn {
    state: State,
    /// What the kernel has reported and was not used up.
    readiness: Readiness,
    flags: Flags,
    drain: DrainStage,
    /// Its framing and its limits.
    profile: ProfileId,
    /// Bytes written since [`take_written`](Self::take_written), or the most that may be unacknowledged.
    written: u32,
    // Invariant: present exactly while a frame is incomplete or waits, or output is pending that is not deferred.
    buffers: Option<Box<Buffers>>,
}

/// The most bytes that may be unacknowledged, for all that is known, without a deadline. Above that, the kernel is asked.
pub(crate) const UNWATCHED_BYTES_MAX: u32 = 64 << 10;

/// With fewer unacknowledged bytes than this, the peer accepts its replies as they come, and needs no deadline yet.
const WATCHED_BYTES_MIN: usize = 16 << 10;

impl Conn {
    /// Takes one user of the profile over, and releases it with [`release_profile`](Self::release_profile).
    pub(crate) fn new(profile: ProfileId) -> Self {
        Self {
            state: State::Open,
            // A new socket is writable; the first event reports whether it is readable.
            readiness: Readiness { writable: true, ..Readiness::default() },
            flags: Flags::of_new(),
            drain: DrainStage::NotBegun,
            profile,
            written: 0,
            buffers: None,
        }
    }

    /// The kernel reported readiness.
    pub(crate) fn note_ready(&mut self, readiness: Readiness) {
        self.readiness |= readiness;
        self.readiness.readable |= readiness.read_closed;
    }

    /// Closes the connection once its pending output is flushed, in its next turns.
    pub(crate) fn close(&mut self, reason: CloseReason) {
        self.state.close_requested(reason);
        self.drain = DrainStage::Done;
    }

    /// Half-closes the connection: FIN is sent once its pending output is flushed, in its next turns. Frames are delivered.
    pub(crate) fn finish(&mut self) {
        self.state.finish_requested();
        // Its input has no replies that could add to its output.
        self.flags.set(Flag::PausesWhenFull, false);
        if let Some(buffers) = &mut self.buffers {
            buffers.output.give_up_reply();
        }
    }

    /// Closes immediately; pending output is lost.
    pub(crate) fn abort(&mut self, reason: CloseReason) {
        self.state.failed(reason);
    }

    /// Delivers the frames that the socket holds by now, then asks the handler whether the connection may close.
    ///
    /// Rule: a drain loses no frame that has arrived. It waits for a handler that has paused, and for the rest of a frame.
    pub(crate) fn drain(&mut self) {
        // Input that came before the drain is looked for even if its event was not seen yet.
        self.readiness.readable |= self.state.takes_frames();
        if !self.state.is_ending() && self.drain == DrainStage::NotBegun {
            self.drain = DrainStage::Delivering;
        }
    }

    /// Whether a drain has begun, and the handler was not asked yet.
    pub(crate) fn is_draining(&self) -> bool {
        self.drain == DrainStage::Delivering && !self.state.is_ending()
    }

    /// Whether a drain waits for the handler: to close the connection, or to resume it.
    pub(crate) fn is_awaited(&self) -> bool {
        match self.drain {
            DrainStage::Awaiting => true,
            DrainStage::Delivering => self.flags.has(Flag::Paused) || self.has_unfinished_reply(),
            DrainStage::NotBegun | DrainStage::Done => false,
        }
    }

    /// The handler was asked, and answered this.
    fn drain_answered(&mut self, answer: Drain) {
        match answer {
            Drain::AtRest => self.close(CloseReason::Drained),
            Drain::WhenClosed if !self.state.is_ending() => self.drain = DrainStage::Awaiting,
            Drain::WhenClosed => self.drain = DrainStage::Done,
        }
    }

    /// Whether an open connection has nothing to finish: no incomplete frame, no pending output, no known unread input.
    pub(crate) fn is_at_rest(&self) -> bool {
        let is_open = match self.state {
            State::Open | State::Finished => !self.readiness.readable,
            State::HalfClosed => true,
            State::Finishing
            | State::Detaching
            | State::Flushing { .. }
            | State::FlushingAfterFin { .. }
            | State::ShuttingDown { .. }
            | State::Lingering { .. }
            | State::Closed(_) => false,
        };
        is_open && self.buffers.is_none() && !self.flags.has(Flag::Woken) && self.drain == DrainStage::NotBegun
    }

    /// Whether the peer's FIN was read, and the handler has not closed yet.
    pub(crate) fn is_half_closed(&self) -> bool {
        self.state == State::HalfClosed
    }

    /// Lets the next turn try to read and write, whatever events there were.
    pub(crate) fn look_again(&mut self) {
        // Nothing of a large frame is read while reading is paused, so only events report what is there.
        self.readiness.readable |= !(self.is_input_large() && self.is_input_paused());
        self.readiness.writable = true;
        self.flags.set(Flag::Looking, true);
    }

    /// Pauses or resumes the delivery of frames.
    pub(crate) fn pause(&mut self, is_paused: bool) {
        self.flags.set(Flag::Paused, is_paused);
    }

    /// Sets whether pending output pauses reading.
    pub(crate) fn pause_input_when_full(&mut self, pauses: bool) {
        self.flags.set(Flag::PausesWhenFull, pauses);
    }

    /// Lets the next turn call the handler's `on_wake`.
    pub(crate) fn wake(&mut self) {
        self.flags.set(Flag::Woken, true);
    }

    /// Whether the next turn calls the handler's `on_wake`.
    pub(crate) fn is_woken(&self) -> bool {
        self.flags.has(Flag::Woken)
    }

    /// Whether there is something to do that no event will announce.
    pub(crate) fn wants_turn(&self) -> bool {
        let has_output = self.unsent_bytes() > 0;
        let has_frames = self.buffers.as_ref().is_some_and(|buffers| buffers.input.has_frames());
        let has_input = || {
            if self.is_input_paused() { self.flags.has(Flag::Looking) } else { has_frames || self.readiness.readable }
        };
        match self.state {
            State::Open => (has_output && self.readiness.writable) || has_input() || self.has_low_water_to_report(),
            // FIN is sent in the turn that flushes the output, unless the transport waits for an event.
            State::Finishing => self.readiness.writable || has_input(),
            State::Finished => has_input(),
            State::HalfClosed => (has_output && self.readiness.writable) || self.has_low_water_to_report(),
            State::Flushing { .. } | State::FlushingAfterFin { .. } => has_output && self.readiness.writable,
            State::ShuttingDown { .. } => self.readiness.readable || self.readiness.writable,
            State::Lingering { has_begun, .. } => self.readiness.readable || !has_begun,
            // Its next turn is its last.
            State::Detaching => true,
            State::Closed(_) => false,
        }
    }

    pub(crate) fn state(&self) -> State {
        self.state
    }

    /// The reason, once the connection has ended.
    #[inline]
    pub(crate) fn closed(&self) -> Option<CloseReason> {
        self.state.closed()
    }

    /// Pending output, in bytes.
    pub(crate) fn unsent_bytes(&self) -> usize {
        self.buffers.as_ref().map_or(0, |buffers| buffers.output.len())
    }

    /// Whether its output is to be measured and is not yet: some is unsent, or more may be unacknowledged than is permitted
    /// without a deadline.
    #[inline]
    pub(crate) fn is_to_be_watched(&self) -> bool {
        !self.is_watched() && (self.written >= UNWATCHED_BYTES_MAX || self.write_since().is_some())
    }

    /// Whether its output is measured over a window of the write timeout.
    pub(crate) fn is_watched(&self) -> bool {
        self.flags.has(Flag::Watched)
    }

    /// Postpones measuring its output if its last turn wrote little, nothing is unsent and little is unacknowledged. Returns
    /// whether it was postponed.
    ///
    /// The kernel is not asked after each large write: such a connection has a window all the time.
    pub(crate) fn watch_later(&mut self, io: &impl Transport, just_written: usize) -> bool {
        if self.write_since().is_some() || just_written >= WATCHED_BYTES_MIN {
            return false;
        }
        match io.unacknowledged_bytes_max() {
            Ok(Some(bytes)) if bytes < WATCHED_BYTES_MIN => {
                // Counting continues from there, so that no more than `UNWATCHED_BYTES_MAX` are ever without a deadline.
                self.written = u32::try_from(bytes).unwrap_or(u32::MAX);
                true
            }
            Ok(_) | Err(_) => false,
        }
    }

    /// Returns whether a callback has changed its limits since the last call.
    #[inline]
    pub(crate) fn take_relimited(&mut self) -> bool {
        self.flags.take(Flag::Relimited)
    }

    /// Starts or stops measuring its output.
    pub(crate) fn watch(&mut self, is_watched: bool) {
        self.flags.set(Flag::Watched, is_watched);
    }

    /// Stops measuring its output, of which any number of bytes may be unacknowledged.
    pub(crate) fn watch_anew(&mut self) {
        self.watch(false);
        self.written = u32::MAX;
    }

    /// Bytes written since the last call. 4 GiB - 1 stands for more.
    pub(crate) fn take_written(&mut self) -> u32 {
        std::mem::take(&mut self.written)
    }

    /// Whether it has buffers, and so perhaps a deadline.
    pub(crate) fn has_buffers(&self) -> bool {
        self.buffers.is_some()
    }

    /// The capacity of its buffers, and the whole of the shared payloads in them, in bytes.
    pub(crate) fn buffered_bytes(&self) -> usize {
        self.buffers.as_ref().map_or(0, |buffers| buffers.capacity())
    }

    /// The state's name, for a log line.
    pub(crate) fn state_name(&self) -> &'static str {
        let is_open = self.state == State::Open;
        match (is_open && self.flags.has(Flag::Paused), is_open && self.is_input_paused()) {
            (true, _) => "Open (paused by the handler)",
            (false, true) => "Open (paused by backpressure)",
            (false, false) if is_open && self.is_draining() => "Open (draining)",
            (false, false) => self.state.name(),
        }
    }

    /// Pending input and pending output between turns, in bytes.
    pub(crate) fn held_bytes(&self) -> (usize, usize) {
        self.buffers.as_ref().map_or((0, 0), |buffers| (buffers.input.len(), buffers.output.len()))
    }

    /// Whether no frame may be delivered for now: backpressure, or the handler has paused.
    #[inline]
    pub(crate) fn is_input_paused(&self) -> bool {
        self.flags.has(Flag::Paused) || self.is_full()
    }

    /// Whether pending output pauses reading.
    #[inline]
    fn is_full(&self) -> bool {
        self.flags.has(Flag::PausesWhenFull) && self.buffers.as_ref().is_some_and(|buffers| buffers.output.is_full())
    }

    fn is_input_large(&self) -> bool {
        self.buffers.as_ref().is_some_and(|buffers| buffers.input.is_large())
    }

    /// Whether the handler has queued a part of a reply.
    fn has_unfinished_reply(&self) -> bool {
        self.buffers.as_ref().is_some_and(|buffers| buffers.output.unfinished().is_some())
    }

    fn is_input_parted(&self) -> bool {
        self.buffers.as_ref().is_some_and(|buffers| buffers.input.parted().is_some())
    }

    fn was_refilled(&self) -> bool {
        self.buffers.as_ref().is_some_and(|buffers| buffers.output.was_refilled())
    }

    fn has_low_water_to_report(&self) -> bool {
        self.buffers.as_ref().is_some_and(|buffers| buffers.output.has_low_water_to_report())
    }

    /// Releases its buffers.
    pub(crate) fn release(&mut self, shared: &mut Shared) {
        if let Some(buffers) = self.buffers.take() {
            shared.release(buffers);
        }
    }

    /// Copies input that was received before this connection began, at most a chunk. Its next turn delivers it before anything
    /// that is read. Without room, the connection is evicted.
    pub(crate) fn preload(&mut self, bytes: &[u8], shared: &mut Shared) {
        if !shared.pool.has_room(capacity_for(bytes.len())) {
            return self.evict((bytes.len(), 0), shared);
        }
        let mut chunk = shared.pool.acquire(bytes.len());
        chunk.append(bytes);
        shared.buffers(&mut self.buffers).input.preload(chunk);
    }

    /// Closes immediately, to free its buffers for others. `unsaved` are its input and output outside of its own buffers, which
    /// are lost too.
    pub(crate) fn evict(&mut self, unsaved: (usize, usize), shared: &mut Shared) {
        let (input, output) = self.held_bytes();
        let count = |bytes| u32::try_from(bytes).unwrap_or(u32::MAX);
        self.abort(CloseReason::Evicted { input: count(input + unsaved.0), output: count(output + unsaved.1) });
        self.release(shared);
    }

    /// Calls `callback` outside the delivery of frames from the read buffer, and acts on what it wants.
    pub(crate) fn with_replies<R>(
        &mut self,
        local: Option<&dyn Local>,
        shared: &mut Shared,
        callback: impl FnOnce(&mut Replies<'_>) -> R,
    ) -> R {
        let mut rules = shared.profiles.rules(self.profile);
        self.with_replies_by(&mut rules, None, local, shared, callback)
    }

    /// The same with the rules of its profile at hand, and with a buffer for short replies if the turn writes them next.
    fn with_replies_by<R>(
        &mut self,
        rules: &mut Rules,
        direct: Option<&mut ReplyBuffer>,
        local: Option<&dyn Local>,
        shared: &mut Shared,
        callback: impl FnOnce(&mut Replies<'_>) -> R,
    ) -> R {
        let mut verdict = self.verdict();
        let mut echo = 0..0;
        let Self { state, buffers, flags, .. } = self;
        let mut replies = Replies {
            bytes: &[],
            echo: &mut echo,
            direct,
            buffers,
            state,
            local,
            shared,
            flags,
            rules,
            verdict: &mut verdict,
        };
        let outcome = callback(&mut replies);
        self.profile = rules.profile;
        self.obey(verdict);
        outcome
    }

    /// The verdict with which a callback begins.
    fn verdict(&self) -> Verdict {
        if self.state.takes_output() { Verdict::Continue } else { Verdict::Finish }
    }

    pub(crate) fn profile(&self) -> ProfileId {
        self.profile
    }

    /// Releases its profile, at its end.
    pub(crate) fn release_profile(&mut self, shared: &mut Shared) {
        shared.profiles.release(self.profile);
    }

    fn obey(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Continue => {}
            Verdict::Finish => self.finish(),
            Verdict::Close(reason) => self.close(reason),
            Verdict::Fail(reason) => self.abort(reason),
            Verdict::Detach => self.state.detach_requested(),
        }
    }

    /// What a detached connection leaves, after its last turn.
    pub(crate) fn take_handover(&mut self) -> Handover {
        let kept = self.buffers.as_mut().and_then(|buffers| buffers.handover.take());
        kept.map_or_else(Handover::default, |kept| *kept)
    }

    /// Sets the clocks after a turn in which frames were `delivered` or bytes `written`.
    fn turn_ended(&mut self, has_frames: bool, delivered: bool, written: bool, shared: &mut Shared) {
        let (takes_frames, is_full) = (self.state.takes_frames(), self.is_full());
        let is_unread = self.is_input_paused() && self.readiness.readable;
        let is_finished = takes_frames && self.flags.has(Flag::Paused) && self.readiness.read_closed;
        let Some(Buffers { input, output, .. }) = self.buffers.as_deref_mut() else { return };
        input.turn_ended(has_frames, delivered, is_unread, is_finished, shared.now);
        let is_pause = output.turn_ended(takes_frames && is_full, written, shared.now);
        shared.counts.pauses += u64::from(is_pause);
    }

    /// When the incomplete frame began, if the frame timeout applies to it now.
    pub(crate) fn frame_since(&self) -> Option<Instant> {
        self.buffers.as_ref().and_then(|buffers| buffers.input.frame_since())
    }

    /// Since when output is pending and none of it was sent.
    pub(crate) fn stalled_since(&self) -> Option<Instant> {
        self.buffers.as_ref().and_then(|buffers| buffers.output.stalled_since())
    }

    /// Since when the peer has finished and input before its FIN is unread, because the handler has paused.
    pub(crate) fn finished_since(&self) -> Option<Instant> {
        self.buffers.as_ref().and_then(|buffers| buffers.input.finished_since())
    }

    /// Since when writing waits for the peer, or input before a FIN for the handler.
    pub(crate) fn write_since(&self) -> Option<Instant> {
        let (stalled, finished) = (self.stalled_since(), self.finished_since());
        stalled.zip(finished).map(|(stalled, finished)| stalled.min(finished)).or(stalled).or(finished)
    }
}
