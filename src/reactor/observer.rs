//! What observes the connections: the trace log, and the recordings.
//!
//! Rule: without an observer, an event costs one branch, on a value that was computed once per run.

use std::cell::RefCell;
use std::time::Instant;

use log::{Level, log_enabled, trace};

use crate::conn::Conn;
use crate::error::{CloseReason, RecordRefused};
use crate::id::ConnId;
use crate::reactor::event::ConnectionEvent;
use crate::reactor::log_limit::CONN;
use crate::reactor::recording::{Known, Recording};

/// The most recordings at a time: each event of each observed connection searches all of them.
pub(crate) const RECORDINGS_MAX: usize = 16;

/// The recordings of a reactor.
#[derive(Debug, Default)]
pub(crate) struct Recordings {
    list: Vec<Recording>,
}

/// A connection during a run, if anything observes it.
#[derive(Debug)]
pub(crate) struct Observed<'a> {
    id: ConnId,
    now: Instant,
    /// Its socket and its handler report to it by turns.
    recording: Option<RefCell<&'a mut Recording>>,
}

/// What the parts of a connection report their events to during a run.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Observer<'a>(Option<&'a Observed<'a>>);

impl Recordings {
    /// Whether an event may be of interest.
    #[inline]
    pub(crate) fn is_observing(&self) -> bool {
        !self.list.is_empty() || log_enabled!(target: CONN, Level::Trace)
    }

    /// Begins to record an open connection. If it is recorded already, only the number of events changes.
    pub(crate) fn begin(&mut self, id: ConnId, events_max: usize, known: Known) -> Result<(), RecordRefused> {
        if let Some(recording) = self.running(id) {
            recording.set_events_max(events_max);
            return Ok(());
        }
        // The id of a connection that has closed may come again after very many others.
        self.end(id);
        if self.list.len() == RECORDINGS_MAX {
            return Err(RecordRefused::TooMany { allowed: RECORDINGS_MAX });
        }
        let mut recording = Recording::new(id, known);
        recording.set_events_max(events_max);
        self.list.push(recording);
        Ok(())
    }

    /// Returns whether there was one.
    pub(crate) fn end(&mut self, id: ConnId) -> bool {
        let before = self.list.len();
        self.list.retain(|recording| recording.id() != id);
        self.list.len() < before
    }

    pub(crate) fn find(&self, id: ConnId) -> Option<&Recording> {
        self.list.iter().find(|recording| recording.id() == id)
    }

    /// The recording of a connection that has not closed.
    fn running(&mut self, id: ConnId) -> Option<&mut Recording> {
        self.list.iter_mut().find(|recording| recording.id() == id && recording.closed().is_none())
    }

    /// Prepares to observe a run.
    #[inline]
    pub(crate) fn observe(&mut self, id: ConnId, now: Instant) -> Option<Observed<'_>> {
        if self.is_observing() { Some(self.observed(id, now)) } else { None }
    }

    #[cold]
    fn observed(&mut self, id: ConnId, now: Instant) -> Observed<'_> {
        Observed { id, now, recording: self.running(id).map(RefCell::new) }
    }

    /// Logs and records an event outside a run.
    #[cold]
    pub(crate) fn note(&mut self, id: ConnId, now: Instant, event: ConnectionEvent) {
        trace!(target: CONN, "[{id}] {event}");
        if let Some(recording) = self.running(id) {
            recording.push(now, event);
        }
    }

    /// Logs and records the end of a run, before which the state's name was `before`.
    #[cold]
    pub(crate) fn note_run(&mut self, id: ConnId, now: Instant, before: &'static str, conn: &Conn) {
        let (pending_input, pending_output) = conn.held_bytes();
        let event = ConnectionEvent::State { before, after: conn.state_name(), pending_input, pending_output };
        trace!(target: CONN, "[{id}] {event}");
        if let Some(recording) = self.running(id) {
            recording.push_state(now, event, Known::of(conn));
        }
    }

    /// Records the end of a connection, which loses its `pending` input and output. Its log line names the peer.
    pub(crate) fn note_closed(&mut self, id: ConnId, now: Instant, reason: CloseReason, pending: (usize, usize)) {
        if let Some(recording) = self.running(id) {
            recording.push_closed(now, reason, pending);
        }
    }
}

impl<'a> Observer<'a> {
    #[inline]
    pub(crate) fn of(observed: Option<&'a Observed<'a>>) -> Self {
        Self(observed)
    }

    /// Logs and records an event, which is not made if nothing observes the connection.
    #[inline]
    pub(crate) fn note(self, event: impl FnOnce() -> ConnectionEvent) {
        if let Some(observed) = self.0 {
            observed.note(event);
        }
    }

    /// Does the same with an event that is made from what a call has returned, and returns that. The value passes through, so that
    /// it stays in registers if nothing observes the connection.
    #[inline]
    pub(crate) fn note_of<T>(self, value: T, event: impl FnOnce(&T) -> ConnectionEvent) -> T {
        match self.0 {
            None => value,
            Some(observed) => observed.note_of(value, event),
        }
    }
}

impl Observed<'_> {
    #[cold]
    fn note_of<T>(&self, value: T, event: impl FnOnce(&T) -> ConnectionEvent) -> T {
        self.note(|| event(&value));
        value
    }

    #[cold]
    fn note(&self, event: impl FnOnce() -> ConnectionEvent) {
        let event = event();
        trace!(target: CONN, "[{}] {event}", self.id);
        if let Some(recording) = &self.recording {
            recording.borrow_mut().push(self.now, event);
        }
    }
}
