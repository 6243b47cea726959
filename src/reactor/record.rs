//! What the driver of a reactor can watch of one connection: its events, and its deadlines.

use crate::error::RecordRefused;
use crate::handler::Handler;
use crate::id::ConnId;
use crate::net::Net;
use crate::reactor::Reactor;
use crate::reactor::connections::Open;
use crate::reactor::deadline_kind::Deadline;
use crate::reactor::recording::{Known, Recording};

impl<H: Handler, N: Net> Reactor<H, N> {
    /// Begins to record the events of an open connection: readiness, system calls, frames, callbacks, deadlines, changes of its
    /// state, and its end. [`recording`](Self::recording) returns the last `events_max` of them.
    ///
    /// If the connection is recorded already, only `events_max` changes. With 0, events are only counted. An event takes about
    /// 120 bytes, which do not count in [`memory`](crate::ConfigBuilder::memory), and are allocated as events come.
    ///
    /// The recording stays readable after the connection has closed, until [`stop_recording`](Self::stop_recording). At most 16
    /// recordings exist at a time. Without any, an event costs a branch.
    ///
    /// # Errors
    ///
    /// [`RecordRefused::Closed`] if the id is stale, or belongs to a dial in progress; [`RecordRefused::TooMany`] if there are 16
    /// recordings.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io::Write;
    /// use std::os::unix::net::UnixStream;
    /// use std::time::Duration;
    ///
    /// use frameloop::{CloseReason, Config, Echo, Reactor};
    ///
    /// let (ours, mut theirs) = UnixStream::pair()?;
    /// let mut reactor = Reactor::new(Config::default(), Echo)?;
    /// let id = reactor.adopt_stream(ours, b"")?;
    /// reactor.record(id, 50)?;
    ///
    /// theirs.write_all(b"\0\0\0\x05hello")?;
    /// let _ = reactor.turn(Some(Duration::from_secs(1)))?;
    /// let recording = reactor.recording(id).ok_or("it is recorded")?;
    /// let texts: Vec<String> = recording.events().map(|recorded| recorded.event.to_string()).collect();
    /// assert!(texts.contains(&"frame: 5 bytes of payload, delivered".to_string()));
    /// let seen = recording.last_seq();
    ///
    /// reactor.cx().abort(id);
    /// let _ = reactor.turn(Some(Duration::from_secs(1)))?;
    /// let recording = reactor.recording(id).ok_or("it is kept")?;
    /// let texts: Vec<String> = recording.events_after(seen).map(|recorded| recorded.event.to_string()).collect();
    /// assert_eq!(texts, ["closed: the handler aborted it"]);
    /// assert_eq!(recording.closed(), Some(CloseReason::AbortedByHandler));
    /// assert!(reactor.stop_recording(id));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn record(&mut self, id: ConnId, events_max: usize) -> Result<(), RecordRefused> {
        let Open { conn, .. } = self.connections.open_mut(id).ok_or(RecordRefused::Closed)?;
        self.recordings.begin(id, events_max, Known::of(conn))
    }

    /// Ends the recording of a connection, and frees its events. Returns `false` if there is none.
    pub fn stop_recording(&mut self, id: ConnId) -> bool {
        self.recordings.end(id)
    }

    /// Returns the recording of a connection, also after the connection has closed; `None` if there is none.
    #[must_use]
    pub fn recording(&self, id: ConnId) -> Option<&Recording> {
        self.recordings.find(id)
    }

    /// Returns the running deadlines of a connection, or of a dial in progress; none if the id is stale.
    ///
    /// # Examples
    ///
    /// ```
    /// # use frameloop::{Config, Echo, Reactor};
    /// # let mut reactor = Reactor::new(Config::default(), Echo)?;
    /// for id in reactor.cx().connections() {
    ///     for deadline in reactor.deadlines_of(id) {
    ///         let left = deadline.at.saturating_duration_since(std::time::Instant::now());
    ///         println!("{id}: {} deadline in {left:?} of {:?}", deadline.kind.name(), deadline.timeout);
    ///     }
    /// }
    /// # Ok::<(), frameloop::Error>(())
    /// ```
    #[must_use]
    pub fn deadlines_of(&self, id: ConnId) -> Vec<Deadline> {
        let slot = self.connections.slots.slot(id);
        slot.map_or_else(Vec::new, |_| self.deadlines.running(id.index).collect())
    }
}
