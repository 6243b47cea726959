//! What a connection notes for its deadlines, between two runs.

use std::time::Instant;

use crate::conn::workbench::Workbench;
use crate::conn::{Conn, State};

/// Since when a frame is incomplete.
///
/// Rule: the clock stands while input waits in the socket that is not read because of a pause, and only then; a pause
/// hides no deadline.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct FrameClock {
    /// When the first byte came, put off by the pauses since then.
    since: Option<Instant>,
    /// Since when it stands.
    stands_since: Option<Instant>,
}

impl FrameClock {
    /// `None` while it stands, or if there is no incomplete frame.
    pub(crate) fn since(&self) -> Option<Instant> {
        self.since.filter(|_| self.stands_since.is_none())
    }

    /// Goes on for the same frame, or begins anew for another.
    fn go_on(&mut self, is_same_frame: bool, stands: bool, now: Instant) {
        let since = self.since.filter(|_| is_same_frame).unwrap_or(now);
        self.since = match self.stands_since {
            Some(stood) if is_same_frame && !stands => since.checked_add(now.saturating_duration_since(stood)),
            _ => Some(since),
        };
        self.stands_since = if stands { self.stands_since.or(Some(now)) } else { None };
    }
}

impl Conn {
    /// Notes what the deadlines need, after a run.
    pub(crate) fn set_clocks(
        &mut self,
        bench: &mut Workbench,
        has_frames: bool,
        has_answered: bool,
        has_written: bool,
    ) {
        let (is_held, is_full) = (self.is_held(), self.is_full());
        let is_taking_frames = matches!(self.state, State::Open | State::Draining);
        let is_unread = is_held && self.edges.readable;
        let has_finished = is_taking_frames && self.flow.is_paused && self.edges.read_closed;
        let Some(backlog) = self.backlog.as_deref_mut() else { return };
        let now = bench.supplies.now;
        let is_same_frame = !has_answered && !backlog.has_frames;
        backlog.has_frames = has_frames;
        if backlog.inbox.is_empty() || has_frames {
            backlog.frame_clock = FrameClock::default();
        } else {
            backlog.frame_clock.go_on(is_same_frame, is_unread, now);
        }
        let is_pause = is_taking_frames && is_full;
        bench.supplies.counts.pauses += u64::from(is_pause && !backlog.is_pause_counted);
        backlog.is_pause_counted = is_pause;
        backlog.finished_since = has_finished.then(|| backlog.finished_since.unwrap_or(now));
        backlog.stalled_since = match backlog.stalled_since {
            _ if backlog.outbox.is_empty() => None,
            Some(since) if !has_written => Some(since),
            _ => Some(now),
        };
    }

    /// When the incomplete frame began, if the peer is to be held to the frame timeout.
    pub(crate) fn frame_since(&self) -> Option<Instant> {
        self.backlog.as_ref().and_then(|backlog| backlog.frame_clock.since())
    }

    /// Since when the peer has taken nothing of what it is owed.
    pub(crate) fn stalled_since(&self) -> Option<Instant> {
        self.backlog.as_ref().and_then(|backlog| backlog.stalled_since)
    }

    /// Since when the peer is waited for with writing, or the handler with reading on what came before a FIN.
    pub(crate) fn write_since(&self) -> Option<Instant> {
        let (stalled, finished) = (self.stalled_since(), self.finished_since());
        stalled.zip(finished).map(|(stalled, finished)| stalled.min(finished)).or(stalled).or(finished)
    }

    /// Since when the peer has finished and a handler that has paused leaves what came before unread.
    pub(crate) fn finished_since(&self) -> Option<Instant> {
        self.backlog.as_ref().and_then(|backlog| backlog.finished_since)
    }
}
