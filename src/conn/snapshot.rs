//! The state of a connection at one moment, for inspection.

use crate::conn::Conn;
use crate::conn::flags::{Flag, Flags};
use crate::conn::profile::ProfileId;
use crate::conn::sink::{Replies, Verdict};
use crate::conn::state::State;

/// Reports which directions of a connection are open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConnectionState {
    /// Both directions are open.
    Open,
    /// The peer has sent FIN, and the handler has not closed.
    HalfClosed,
    /// The handler has [finished](crate::Connection::finish), and the peer has not.
    Finished,
    /// It is being closed: pending output is sent, and the peer's FIN is awaited.
    Closing,
}

/// Reports why no frame is delivered from a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PausedBy {
    /// The handler has [paused](crate::Connection::pause) it.
    Handler,
    /// Its pending output has reached the high-water mark, and has not fallen to the low-water mark.
    Backpressure,
}

/// A connection at one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Snapshot {
    pub(crate) state: ConnectionState,
    pub(crate) state_name: &'static str,
    pub(crate) paused_by: Option<PausedBy>,
    pub(crate) pending_input: usize,
    pub(crate) pending_output: usize,
    pub(crate) buffered_bytes: usize,
    pub(crate) profile: ProfileId,
}

impl ConnectionState {
    fn of(state: &State) -> Self {
        match state {
            State::Open => Self::Open,
            State::HalfClosed => Self::HalfClosed,
            State::Finishing | State::Finished => Self::Finished,
            State::Flushing { .. }
            | State::FlushingAfterFin { .. }
            | State::ShuttingDown { .. }
            | State::Lingering { .. }
            | State::Detaching
            | State::Closed(_) => Self::Closing,
        }
    }
}

fn paused_by(flags: Flags, is_full: bool) -> Option<PausedBy> {
    match (flags.has(Flag::Paused), flags.has(Flag::PausesWhenFull) && is_full) {
        (true, _) => Some(PausedBy::Handler),
        (false, true) => Some(PausedBy::Backpressure),
        (false, false) => None,
    }
}

impl Conn {
    pub(crate) fn snapshot(&self) -> Snapshot {
        let is_full = self.buffers.as_ref().is_some_and(|buffers| buffers.output.is_full());
        let (pending_input, pending_output) = self.held_bytes();
        Snapshot {
            state: ConnectionState::of(&self.state),
            state_name: self.state.name(),
            paused_by: paused_by(self.flags, is_full),
            pending_input,
            pending_output,
            buffered_bytes: self.buffered_bytes(),
            profile: self.profile,
        }
    }
}

impl Replies<'_> {
    /// The connection in one of its callbacks.
    pub(crate) fn snapshot(&self) -> Snapshot {
        // The state once the callback has returned, unless it changes its mind.
        let mut state = *self.state;
        match *self.verdict {
            Verdict::Continue => {}
            Verdict::Finish => state.finish_requested(),
            Verdict::Close(reason) => state.close_requested(reason),
            Verdict::Fail(reason) => state.failed(reason),
            Verdict::Detach => state.detach_requested(),
        }
        Snapshot {
            state: ConnectionState::of(&state),
            state_name: state.name(),
            paused_by: paused_by(*self.flags, self.is_full()),
            pending_input: self.pending_input(),
            pending_output: self.pending_bytes(),
            buffered_bytes: self.buffered_bytes(),
            profile: self.rules.profile,
        }
    }
}
