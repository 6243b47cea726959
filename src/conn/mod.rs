//! One connection: a state machine between a socket and a handler.
//!
//! It never sees a poll, a token or the clock: it is given something to read from and write to, the present instant, and a
//! [`Sink`] for whole frames. So every transition is tested without a socket.
//!
//! ```text
//!            drain            at rest: socket drained, no frame under way
//!   Open ------------> Draining ----------------------------+
//!    |  \                  |                                |
//!    |   \ FIN between     | FIN                            v
//!    |    \ frames         +-------------------------> Flushing
//!    |     v                                           ^    |  outbox empty
//!    |    HalfClosed --- closed, or drain -------------+    |
//!    |                                                 |    +-- peer still sends --> Lingering
//!    +-- closed, a length over the limit, FIN in a frame    |    (our FIN is sent;       |
//!                                                           |     input is discarded)    | FIN, RST
//!                                                           +-- peer has finished        | or deadline
//!                                                           v                            v
//!   any state -- RST, error, deadline, abort, panic ---> Closed(reason) <----------------+
//! ```
//!
//! Paused reading is not a state: it follows from the outbox ([`Outbox::is_over`]) and the [`Flow`].

pub(crate) mod chunk;
mod clocks;
pub(crate) mod decoder;
mod ending;
mod memory;
pub(crate) mod outbox;
pub(crate) mod readiness;
pub(crate) mod replies;
pub(crate) mod run;
#[cfg(test)]
mod tests;
pub(crate) mod workbench;

use std::time::Instant;

use crate::conn::clocks::FrameClock;
use crate::conn::decoder::{Frame, Inbox};
use crate::conn::outbox::Outbox;
pub use crate::conn::readiness::{Readiness, Transport};

use crate::conn::replies::{Flow, Replies, Verdict};
use crate::conn::run::{Frames, Moved};
use crate::conn::workbench::Supplies;
use crate::error::CloseReason;

/// Receives what a connection brings, on behalf of a handler.
pub(crate) trait Sink {
    fn on_frame(&mut self, frame: Frame<'_>, replies: &mut Replies<'_>);
    /// The frames of one fill.
    fn on_frames(&mut self, frames: &mut Frames<'_>, replies: &mut Replies<'_>) {
        while let Some(frame) = frames.next(replies) {
            self.on_frame(frame, replies);
        }
    }
    /// The peer has sent its last byte, and every whole frame has been handed over.
    fn on_half_close(&mut self, replies: &mut Replies<'_>);
    /// The connection was woken.
    fn on_wake(&mut self, replies: &mut Replies<'_>) {
        let _ = replies;
    }
    /// The outbox was over its high watermark, and has fallen to its low one.
    fn on_low_water(&mut self, replies: &mut Replies<'_>);
    /// The connection has buffers of `held` bytes, and needs `needed` more, for which the pool has no room: frees buffers of
    /// others that hold more. Returns whether there is room now.
    fn make_room(&mut self, held: usize, needed: usize, supplies: &mut Supplies) -> bool {
        let _ = (held, needed, supplies);
        false
    }
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Conn {
    state: State,
    /// What the kernel has reported and has not been used up.
    edges: Readiness,
    flow: Flow,
    /// The handler is to be asked what it has to say when the connection runs next.
    is_woken: bool,
    /// The next run looks for the peer's end also while frames may not be handed over.
    is_looking: bool,
    /// Its output is measured over a window of the write timeout.
    is_watched: bool,
    /// Bytes written since [`take_written`](Self::take_written), or the most that may be unacknowledged.
    written: u32,
    // Invariant: there is one exactly while a frame is incomplete or waits, or output is owed.
    backlog: Option<Box<Backlog>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// The reactor drains: what the socket holds is still answered, then everything is flushed.
    Draining,
    /// The peer has sent FIN, and may still read.
    HalfClosed,
    /// No frame is taken any more; what is owed is sent, then FIN.
    Flushing {
        reason: CloseReason,
        peer_still_sends: bool,
    },
    /// Our FIN is sent. Closing now, with input unread, would send RST and could destroy what is on its way.
    Lingering {
        reason: CloseReason,
        since: Instant,
    },
    Closed(CloseReason),
}

/// The most bytes that may be unacknowledged, for all that is known, without a deadline. Then the kernel is asked.
pub(crate) const UNWATCHED_BYTES_MAX: u32 = 64 << 10;

/// With fewer bytes unacknowledged than these, the peer accepts its replies as they come, and they need no deadline yet.
const WATCHED_BYTES_MIN: usize = 16 << 10;

/// The part of a connection that an idle one does without.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    inbox: Inbox,
    /// The inbox holds whole frames, or a header to refuse.
    has_frames: bool,
    outbox: Outbox,
    /// The pause that the outbox asks for was counted.
    is_pause_counted: bool,
    /// The outbox has fallen to its low watermark, and the handler was not called for that yet.
    is_low_water_due: bool,
    /// The handler has filled the outbox above the mark when it was called for that.
    has_refilled: bool,
    frame_clock: FrameClock,
    /// Since when output is owed and nothing of it was taken.
    stalled_since: Option<Instant>,
    /// Since when the peer has finished and a handler that has paused leaves what came before unread.
    finished_since: Option<Instant>,
}

impl Backlog {
    pub(crate) fn is_empty(&self) -> bool {
        self.inbox.is_empty() && self.outbox.is_empty() && !self.is_low_water_due
    }

    /// Bytes that its buffers take.
    pub(crate) fn capacity(&self) -> usize {
        self.inbox.capacity() + self.outbox.capacity()
    }

    /// Makes it as good as new, but for the memory it keeps.
    pub(crate) fn reset(&mut self) {
        self.has_frames = false;
        self.is_pause_counted = false;
        self.is_low_water_due = false;
        self.has_refilled = false;
        self.frame_clock = FrameClock::default();
        self.stalled_since = None;
        self.finished_since = None;
    }
}

impl Conn {
    pub(crate) fn new() -> Self {
        Self {
            state: State::Open,
            // A socket is writable when it is new; whether it is readable, the first event tells.
            edges: Readiness { writable: true, ..Readiness::default() },
            flow: Flow { is_paused: false, pause_input_when_full: true },
            is_woken: false,
            is_looking: false,
            is_watched: false,
            written: 0,
            backlog: None,
        }
    }

    /// The kernel reported readiness.
    pub(crate) fn note_ready(&mut self, readiness: Readiness) {
        self.edges |= readiness;
        self.edges.readable |= readiness.read_closed;
    }

    /// Flushes what is owed when the connection runs next, then closes.
    pub(crate) fn close(&mut self, reason: CloseReason) {
        self.state = match self.state {
            State::Open | State::Draining => State::Flushing { reason, peer_still_sends: true },
            State::HalfClosed => {
                let reason = match reason {
                    // To close behind the peer's FIN is only to agree.
                    CloseReason::ClosedByHandler | CloseReason::Drained => CloseReason::PeerFinished,
                    other => other,
                };
                State::Flushing { reason, peer_still_sends: false }
            }
            ending @ (State::Flushing { .. } | State::Lingering { .. } | State::Closed(_)) => ending,
        }
    }

    /// Closes at once; what is owed is lost.
    pub(crate) fn cut(&mut self, reason: CloseReason) {
        self.state = match self.state {
            State::Lingering { reason, .. } | State::Closed(reason) => State::Closed(reason),
            State::Open | State::Draining | State::HalfClosed | State::Flushing { .. } => State::Closed(reason),
        }
    }

    /// Answers what the socket holds by now, then flushes and closes.
    pub(crate) fn drain(&mut self) {
        match self.state {
            State::Open => {
                self.state = State::Draining;
                // What came before the drain is looked for even if its event has not been seen yet.
                self.edges.readable = true;
            }
            State::HalfClosed => self.close(CloseReason::Drained),
            State::Draining | State::Flushing { .. } | State::Lingering { .. } | State::Closed(_) => {}
        }
    }

    /// Whether nothing is under way that a connection which is open would finish: no incomplete frame, no pending output, no
    /// unread input that is known of.
    pub(crate) fn is_at_rest(&self) -> bool {
        let is_open = match self.state {
            State::Open => !self.edges.readable,
            State::HalfClosed => true,
            State::Draining | State::Flushing { .. } | State::Lingering { .. } | State::Closed(_) => false,
        };
        is_open && self.backlog.is_none() && !self.is_woken
    }

    /// Whether the peer's FIN was read, and the handler has not closed yet.
    pub(crate) fn is_half_closed(&self) -> bool {
        self.state == State::HalfClosed
    }

    /// Lets the next run look for itself what the socket has, whatever events there were.
    pub(crate) fn look_again(&mut self) {
        let is_large = self.backlog.as_ref().is_some_and(|backlog| matches!(backlog.inbox, Inbox::Large(_)));
        // Of a large frame that is held back nothing is read, so that events alone tell what is there.
        self.edges.readable |= !(is_large && self.is_held());
        self.edges.writable = true;
        self.is_looking = true;
    }

    /// Pauses or resumes the handing over of frames.
    pub(crate) fn pause(&mut self, is_paused: bool) {
        self.flow.is_paused = is_paused;
    }

    /// Lets pending output pause input, or not.
    pub(crate) fn pause_input_when_full(&mut self, pauses: bool) {
        self.flow.pause_input_when_full = pauses;
    }

    /// Lets the handler speak when the connection runs next.
    pub(crate) fn wake(&mut self) {
        self.is_woken = true;
    }

    /// Whether there is something to do that no event will announce.
    pub(crate) fn wants_turn(&self) -> bool {
        let backlog = self.backlog.as_deref();
        let owes = backlog.is_some_and(|backlog| !backlog.outbox.is_empty());
        let has_frames = backlog.is_some_and(|backlog| backlog.has_frames);
        match self.state {
            State::Open | State::Draining => {
                (owes && self.edges.writable)
                    || (!self.is_held() && (has_frames || self.edges.readable))
                    || self.has_low_water_to_report()
            }
            State::HalfClosed => (owes && self.edges.writable) || self.has_low_water_to_report(),
            State::Flushing { .. } => owes && self.edges.writable,
            State::Lingering { .. } => self.edges.readable,
            State::Closed(_) => false,
        }
    }

    /// The reason, once the connection has ended.
    pub(crate) fn closed(&self) -> Option<CloseReason> {
        match self.state {
            State::Closed(reason) => Some(reason),
            State::Open | State::Draining | State::HalfClosed | State::Flushing { .. } | State::Lingering { .. } => {
                None
            }
        }
    }

    /// Whether frames are still to come.
    #[cfg(test)]
    pub(crate) fn is_taking_frames(&self) -> bool {
        matches!(self.state, State::Open | State::Draining)
    }

    /// Whether it is on its way to its end, so that a run takes it further.
    pub(crate) fn is_ending(&self) -> bool {
        !matches!(self.state, State::Open | State::HalfClosed)
    }

    /// Since when input is only discarded.
    pub(crate) fn lingering_since(&self) -> Option<Instant> {
        match self.state {
            State::Lingering { since, .. } => Some(since),
            State::Open | State::Draining | State::HalfClosed | State::Flushing { .. } | State::Closed(_) => None,
        }
    }

    /// Output not yet sent, in bytes.
    pub(crate) fn unsent_bytes(&self) -> usize {
        self.backlog.as_ref().map_or(0, |backlog| backlog.outbox.len())
    }

    /// Whether its output is to be measured and is not yet: some is unsent, or more may be unacknowledged than a peer may
    /// cost unnoticed.
    #[inline]
    pub(crate) fn is_to_be_watched(&self) -> bool {
        !self.is_watched && (self.written >= UNWATCHED_BYTES_MAX || self.write_since().is_some())
    }

    /// Whether its output is measured over a window of the write timeout.
    pub(crate) fn is_watched(&self) -> bool {
        self.is_watched
    }

    /// Puts off measuring its output if its last run wrote little, nothing is unsent and little is unacknowledged. Returns
    /// whether it was put off.
    ///
    /// The kernel is not asked behind each large write: such a connection has a window all the time.
    pub(crate) fn watch_later(&mut self, io: &impl Transport, moved: Moved) -> bool {
        if self.write_since().is_some() || moved.written >= WATCHED_BYTES_MIN {
            return false;
        }
        match io.unacknowledged_bytes_max() {
            Ok(Some(bytes)) if bytes < WATCHED_BYTES_MIN => {
                // Counted on from there, so that no more than `UNWATCHED_BYTES_MAX` are ever without a deadline.
                self.written = u32::try_from(bytes).unwrap_or(u32::MAX);
                true
            }
            Ok(_) | Err(_) => false,
        }
    }

    /// Begins or ends to measure its output.
    pub(crate) fn watch(&mut self, is_watched: bool) {
        self.is_watched = is_watched;
    }

    /// Bytes written since the last call. 4 GiB - 1 stands for more.
    pub(crate) fn take_written(&mut self) -> u32 {
        std::mem::take(&mut self.written)
    }

    /// Whether it has a buffer, and so perhaps a deadline.
    pub(crate) fn has_backlog(&self) -> bool {
        self.backlog.is_some()
    }

    /// Bytes that its buffers take.
    pub(crate) fn buffered_bytes(&self) -> usize {
        self.backlog.as_ref().map_or(0, |backlog| backlog.capacity())
    }

    /// The state's name, for a log line.
    pub(crate) fn state_name(&self) -> &'static str {
        match self.state {
            State::Open if self.flow.is_paused => "Open (paused by the handler)",
            State::Open if self.is_held() => "Open (paused by backpressure)",
            State::Open => "Open",
            State::Draining => "Draining",
            State::HalfClosed => "HalfClosed",
            State::Flushing { .. } => "Flushing",
            State::Lingering { .. } => "Lingering",
            State::Closed(_) => "Closed",
        }
    }

    /// What it holds between turns, for a log line: bytes received and not handed over, and bytes owed.
    pub(crate) fn held_bytes(&self) -> (usize, usize) {
        self.backlog.as_ref().map_or((0, 0), |backlog| {
            let undecoded = match &backlog.inbox {
                Inbox::Empty => 0,
                Inbox::Bytes(chunk) => chunk.len(),
                Inbox::Large(frame) => frame.received(),
            };
            (undecoded, backlog.outbox.len())
        })
    }

    /// Gives its buffers back.
    pub(crate) fn release(&mut self, supplies: &mut Supplies) {
        if let Some(mut backlog) = self.backlog.take() {
            std::mem::take(&mut backlog.inbox).release(&mut supplies.pool);
            backlog.outbox.release(&mut supplies.pool);
            backlog.is_low_water_due = false;
            supplies.shelve_backlog(backlog);
        }
    }

    /// Whether no frame may be handed over for now: backpressure, or the handler's wish.
    pub(crate) fn is_held(&self) -> bool {
        self.flow.is_paused || self.is_full()
    }

    /// Whether the handler may still send.
    fn is_taking_output(&self) -> bool {
        matches!(self.state, State::Open | State::Draining | State::HalfClosed)
    }

    fn has_refilled(&self) -> bool {
        self.backlog.as_ref().is_some_and(|backlog| backlog.has_refilled)
    }

    /// Whether there is room again of which the handler does not know.
    fn has_low_water_to_report(&self) -> bool {
        self.backlog.as_ref().is_some_and(|backlog| backlog.is_low_water_due && !backlog.outbox.is_over())
    }

    /// Whether pending output pauses input.
    fn is_full(&self) -> bool {
        self.flow.pause_input_when_full && self.backlog.as_ref().is_some_and(|backlog| backlog.outbox.is_over())
    }

    /// Lets somebody speak about this connection outside the frames on the workbench, and does what was said.
    pub(crate) fn with_replies<R>(
        &mut self,
        supplies: &mut Supplies,
        callback: impl FnOnce(&mut Replies<'_>) -> R,
    ) -> R {
        let mut verdict = Verdict::GoOn;
        let mut run = 0..0;
        let mut replies = Replies::new(&[], &mut run, &mut self.backlog, supplies, &mut self.flow, &mut verdict);
        let outcome = callback(&mut replies);
        self.obey(verdict);
        outcome
    }

    fn obey(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::GoOn => {}
            Verdict::Close(reason) => self.close(reason),
            Verdict::Fail(reason) => self.cut(reason),
        }
    }
}

#[cfg(any(test, feature = "fuzzing"))]
impl Conn {
    /// What must be true between two runs.
    pub(crate) fn check_invariants(&self, config: &crate::config::Config) {
        let Some(backlog) = self.backlog.as_deref() else { return };
        let (undecoded, _) = self.held_bytes();
        // One that was cut from outside a run is released when its slot is freed.
        let is_cut = self.closed().is_some();
        assert!(is_cut || !backlog.is_empty(), "an idle connection owns no buffer: {self:?}");
        let capacity = backlog.inbox.capacity();
        assert!(capacity <= 2 * undecoded + 4_096, "{capacity} bytes are held for {undecoded} received");
        backlog.outbox.invariants(config.outbox_bytes_high, config.outbox_bytes_low);
    }
}
