//! The last events of one connection.

use std::collections::VecDeque;
use std::time::Instant;

use crate::conn::Conn;
use crate::error::CloseReason;
use crate::id::ConnId;
use crate::reactor::event::ConnectionEvent;

/// Holds the last events of a connection: [`Reactor::recording`](crate::Reactor::recording).
///
/// The events are numbered from 1 without a gap. A reader that polls keeps [`last_seq`](Self::last_seq), and asks for the events after it
/// next time. If the first that it gets is not the next number, those between have been dropped in favor of later ones.
#[derive(Debug)]
pub struct Recording {
    id: ConnId,
    // Invariant: at most `events_max`, and the last has the number `last_seq`.
    events: VecDeque<RecordedEvent>,
    events_max: usize,
    last_seq: u64,
    known: Known,
    closed: Option<CloseReason>,
}

/// Describes one event of a recording.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordedEvent {
    /// Its number, from 1.
    pub seq: u64,
    /// The instant at which its turn began.
    pub at: Instant,
    /// What has happened. Its text is that of the log.
    pub event: ConnectionEvent,
    /// The name of the connection's state after the event, as far as known: the state at the end of the last run. The names are those
    /// of [`ConnectionInfo::state_name`](crate::ConnectionInfo::state_name).
    pub state: &'static str,
    /// Received and not delivered after the event, in bytes, as far as known: at the end of the last run. Of the end of a connection, what
    /// is lost.
    pub pending_input: usize,
    /// The same of output: queued and not written.
    pub pending_output: usize,
}

/// A connection at the end of its last run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Known {
    /// With the reason why it is paused.
    shown: &'static str,
    state: &'static str,
    pending_input: usize,
    pending_output: usize,
}

impl Known {
    pub(crate) fn of(conn: &Conn) -> Self {
        let (pending_input, pending_output) = conn.held_bytes();
        Self { shown: conn.state_name(), state: conn.state().name(), pending_input, pending_output }
    }
}

impl Recording {
    pub(crate) fn new(id: ConnId, known: Known) -> Self {
        Self { id, events: VecDeque::new(), events_max: 0, last_seq: 0, known, closed: None }
    }

    /// Sets how many events it holds. Earlier ones are dropped.
    pub(crate) fn set_events_max(&mut self, events_max: usize) {
        self.events_max = events_max;
        self.events.drain(..self.events.len().saturating_sub(events_max));
    }

    pub(crate) fn push(&mut self, at: Instant, event: ConnectionEvent) {
        self.last_seq += 1;
        if self.events_max == 0 {
            return;
        }
        if self.events.len() == self.events_max {
            self.events.pop_front();
        }
        let Known { state, pending_input, pending_output, .. } = self.known;
        self.events.push_back(RecordedEvent { seq: self.last_seq, at, event, state, pending_input, pending_output });
    }

    /// Adds the end of a run, unless nothing has changed.
    pub(crate) fn push_state(&mut self, at: Instant, event: ConnectionEvent, now_known: Known) {
        if std::mem::replace(&mut self.known, now_known) != now_known {
            self.push(at, event);
        }
    }

    /// Adds the end of the connection, which loses its `pending` input and output.
    pub(crate) fn push_closed(&mut self, at: Instant, reason: CloseReason, pending: (usize, usize)) {
        self.known = Known { shown: "Closed", state: "Closed", pending_input: pending.0, pending_output: pending.1 };
        self.closed = Some(reason);
        self.push(at, ConnectionEvent::Closed(reason));
    }

    /// Returns the connection's id, which is stale once the connection has closed.
    #[must_use]
    pub fn id(&self) -> ConnId {
        self.id
    }

    /// Returns how many events there were since the recording began, which is the number of the last one.
    #[must_use]
    pub fn last_seq(&self) -> u64 {
        self.last_seq
    }

    /// Returns the events that are held, the oldest first: the last `events_max` of [`record`](crate::Reactor::record).
    pub fn events(&self) -> impl ExactSizeIterator<Item = &RecordedEvent> + DoubleEndedIterator {
        self.events.iter()
    }

    /// Returns those of them whose number is greater than `seq`.
    pub fn events_after(&self, seq: u64) -> impl ExactSizeIterator<Item = &RecordedEvent> + DoubleEndedIterator {
        let new = usize::try_from(self.last_seq.saturating_sub(seq)).unwrap_or(usize::MAX);
        self.events.range(self.events.len().saturating_sub(new)..)
    }

    /// Returns the reason for which the connection has closed, as [`on_close`](crate::Handler::on_close) got it; `None` while it is
    /// open.
    #[must_use]
    pub fn closed(&self) -> Option<CloseReason> {
        self.closed
    }
}
