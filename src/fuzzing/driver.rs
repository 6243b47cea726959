//! Runs one connection with a scripted socket and handler in place of the reactor, and checks it after every turn.

#[cfg(test)]
use std::time::Duration;
use std::time::Instant;

#[cfg(test)]
use crate::config::Config;
use crate::conn::Conn;
use crate::conn::input::ReadBuffer;
use crate::conn::shared::Shared;
use crate::conn::state::State;
use crate::conn::turn::run;
#[cfg(test)]
use crate::error::CloseReason;
use crate::error::SendError;
use crate::fuzzing::sink::ScriptedSink;
#[cfg(test)]
use crate::fuzzing::sink::Style;
use crate::fuzzing::socket::Socket;
#[cfg(test)]
use crate::fuzzing::socket::{Arrival, Room};
#[cfg(test)]
use crate::net::mio::beginning;

pub(crate) struct Driver {
    pub(crate) conn: Conn,
    pub(crate) socket: Socket,
    pub(crate) sink: ScriptedSink,
    read_buffer: ReadBuffer,
    pub(crate) shared: Shared,
    #[cfg(test)]
    started: Instant,
    lingering_since: Option<Instant>,
    pub(crate) turns: usize,
    /// Output that was pending when the connection closed, in bytes.
    pub(crate) lost: usize,
    /// How many bytes of input and output were compared.
    compared_in: usize,
    compared_out: usize,
    /// Frames in and out of the connections before this one.
    counted: (u64, u64),
}

impl Driver {
    pub(crate) fn with(mut shared: Shared, socket: Socket, sink: ScriptedSink) -> Self {
        let counted = (shared.counts.frames_in, shared.counts.frames_out);
        Self {
            conn: Conn::new(shared.profiles.acquire_usual()),
            socket,
            sink,
            read_buffer: ReadBuffer::new(),
            #[cfg(test)]
            started: shared.now,
            lingering_since: None,
            shared,
            turns: 0,
            lost: 0,
            compared_in: 0,
            compared_out: 0,
            counted,
        }
    }

    /// Begins another connection on the same read buffer, of which no byte may be left.
    pub(crate) fn replace(&mut self, socket: Socket, sink: ScriptedSink) {
        self.release();
        self.conn.release_profile(&mut self.shared);
        self.conn = Conn::new(self.shared.profiles.acquire_usual());
        (self.socket, self.sink, self.lingering_since) = (socket, sink, None);
        (self.turns, self.lost, self.compared_in, self.compared_out) = (0, 0, 0, 0);
        self.counted = (self.shared.counts.frames_in, self.shared.counts.frames_out);
    }

    /// Reports to the connection which of these are true.
    pub(crate) fn note(&mut self, readable: bool, writable: bool) {
        let edge = self.socket.report(readable, writable);
        self.conn.note_ready(edge);
    }

    /// Runs one turn. The reactor does not run a connection that has ended.
    pub(crate) fn turn(&mut self) {
        if self.conn.closed().is_some() {
            return;
        }
        let (frames, written) = (self.sink.frames, self.socket.written.len());
        let moved = run(&mut self.conn, &mut self.socket, &mut self.read_buffer, &mut self.shared, &mut self.sink);
        let has_moved = moved.has_output_or_frames();
        assert_eq!(has_moved, self.sink.frames > frames || self.socket.written.len() > written);
        self.turns += 1;
        let since = self.lingering_since().unwrap_or(self.shared.now);
        self.lingering_since = self.conn.state().is_lingering().then_some(since);
        self.conn.check_after_turn(&self.shared);
        let limits = self.shared.profiles.rules(self.conn.profile());
        if self.conn.closed().is_none() {
            let unsent = self.conn.unsent_bytes();
            assert!(unsent < limits.output_high_water + self.sink.longest.max(1), "{:?}", self.conn);
            let is_reported =
                !self.sink.awaits_room || unsent > limits.output_low_water || self.conn.state().is_ending();
            assert!(is_reported, "no callback has reported that there is room: {:?}", self.conn);
            self.check();
        } else {
            self.check();
            assert_eq!(self.conn.held_bytes().0, 0);
            self.reap();
        }
    }

    /// Since when input is only discarded, after our FIN.
    pub(crate) fn lingering_since(&self) -> Option<Instant> {
        self.lingering_since.filter(|_| self.conn.state().is_lingering())
    }

    /// Notes the lost output of a connection that has ended, and checks that its memory is released.
    pub(crate) fn reap(&mut self) {
        self.lost += self.conn.unsent_bytes();
        self.release();
    }

    pub(crate) fn release(&mut self) {
        self.conn.release(&mut self.shared);
        self.at_rest();
    }

    pub(crate) fn send(&mut self, payload: &[u8]) -> Result<(), SendError> {
        let sent = self.conn.send(payload, &mut self.shared);
        self.sink.note(sent, payload);
        sent
    }

    pub(crate) fn finish(&mut self) {
        self.conn.finish();
        self.sink.finish();
    }

    pub(crate) fn drain(&mut self) {
        self.conn.drain();
        self.socket.excuse_read();
    }

    // The promises.

    /// Checks what holds between any two turns.
    pub(crate) fn check(&mut self) {
        let shared = &self.shared;
        assert!(self.read_buffer.is_empty());
        assert_eq!(shared.pool.used_bytes(), self.conn.buffered_bytes(), "the accounting is wrong");
        assert!(shared.pool.used_bytes() + shared.pool.joined_bytes() <= shared.pool.limit());
        let (frames_in, frames_out) = (shared.counts.frames_in, shared.counts.frames_out);
        assert_eq!(frames_in - self.counted.0, self.sink.frames as u64);
        assert_eq!(frames_out - self.counted.1, self.sink.replies as u64);

        let (received, written) = (&self.sink.received, &self.socket.written);
        let delivered = &self.socket.delivered[self.compared_in..];
        assert!(delivered.starts_with(&received[self.compared_in..]), "other frames than sent");
        let queued = &self.sink.queued[self.compared_out..];
        assert!(queued.starts_with(&written[self.compared_out..]), "other bytes than queued");
        (self.compared_in, self.compared_out) = (received.len(), written.len());
        if self.conn.closed().is_none() {
            assert_eq!(written.len() + self.conn.unsent_bytes(), self.sink.queued.len(), "output is lost");
            let is_lingering = matches!(self.conn.state(), State::Lingering { .. });
            let has_finished = self.conn.state() == State::Finished;
            assert_eq!(self.socket.is_shut_down, is_lingering || has_finished);
            self.conn.check(shared);
            if is_lingering || has_finished {
                self.sent_all();
            }
            // If the handler has closed a finished connection, its next turn discards the input.
            if self.conn.state().is_lingering() {
                self.at_rest();
            }
        }
    }

    /// Checks that pending work waits for an event, or for a named part.
    pub(crate) fn nothing_is_lost(&self) {
        let conn = &self.conn;
        if conn.closed().is_some() || self.socket.edge != Default::default() {
            return;
        }
        let has_output = conn.unsent_bytes() > 0;
        assert!(!has_output || self.socket.is_blocked(), "output waits for nothing: {conn:?}");
        if conn.state().takes_frames() && !conn.is_input_paused() {
            assert!(self.socket.is_drained(), "input waits for nothing: {conn:?}");
        }
        match conn.state() {
            State::Lingering { .. } => assert!(self.socket.is_drained(), "input waits for nothing"),
            State::Flushing { .. } | State::FlushingAfterFin { .. } => assert!(has_output, "its end waits for nothing"),
            State::Finishing if !has_output => panic!("our FIN waits for nothing: {conn:?}"),
            State::Open | State::Finishing | State::Finished if conn.is_draining() => {
                let has_input = conn.readiness().readable || conn.held_bytes().0 > 0;
                assert!(has_input || conn.is_awaited(), "the drain waits for nothing: {conn:?}");
            }
            State::Detaching => panic!("it outlives its last turn"),
            State::ShuttingDown { .. } => panic!("this socket postpones no FIN"),
            State::HalfClosed => assert!(!conn.is_draining(), "the handler was not asked: {conn:?}"),
            State::Open | State::Finishing | State::Finished | State::Closed(_) => {}
        }
    }

    /// Checks that everything that was queued was sent.
    pub(crate) fn sent_all(&self) {
        assert_eq!(self.socket.written.len(), self.sink.queued.len(), "{:?}", self.conn);
    }

    /// Checks that no memory is held.
    pub(crate) fn at_rest(&self) {
        assert!(!self.conn.has_buffers());
        assert_eq!((self.conn.buffered_bytes(), self.shared.pool.used_bytes()), (0, 0));
        assert_eq!((self.conn.frame_since(), self.conn.stalled_since()), (None, None));
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg(test)]
pub(crate) enum Phase {
    Open,
    Draining,
    Finishing,
    Finished,
    HalfClosed,
    Detaching,
    Flushing,
    FlushingAfterFin,
    ShuttingDown,
    Lingering,
    Closed,
}

/// The actions of the peer, the reactor and other code. After each, the connection runs while it has work.
#[cfg(test)]
impl Driver {
    pub(crate) fn new(style: Style, config: Config) -> Self {
        let shared = Shared::new(&config, beginning());
        Self::with(shared, Socket::new(usize::MAX), ScriptedSink::new(style))
    }

    pub(crate) fn echo() -> Self {
        Self::new(Style::Echo, Config::default())
    }

    pub(crate) fn reconnect(&mut self) {
        self.replace(Socket::new(usize::MAX), self.sink.anew());
    }

    /// The peer sends `bytes`, which arrive as one edge, and the connection does what it can.
    pub(crate) fn receive(&mut self, bytes: &[u8]) {
        self.arrive(Arrival::Bytes(bytes.to_vec()));
    }

    pub(crate) fn arrive(&mut self, arrival: Arrival) {
        self.socket.arrivals.push_back(arrival);
        self.socket.arrive();
        self.react();
    }

    /// The peer reads `len` bytes more.
    pub(crate) fn take(&mut self, len: usize) {
        self.make_room(Room::Bytes(len));
    }

    pub(crate) fn make_room(&mut self, room: Room) {
        self.socket.rooms.push_back(room);
        self.socket.make_room();
        self.react();
    }

    /// Plays both scripts to their ends, one step of each at a time.
    pub(crate) fn play(&mut self) {
        loop {
            let has_arrived = self.socket.arrive();
            if has_arrived {
                self.react();
            }
            let has_room = self.socket.make_room();
            if has_room {
                self.react();
            }
            if !has_arrived && !has_room {
                return;
            }
        }
    }

    pub(crate) fn react(&mut self) {
        self.note(true, true);
        self.turn();
        self.settle();
    }

    pub(crate) fn settle(&mut self) {
        let turns_max = self.turns + 100_000;
        while self.conn.wants_turn() {
            self.turn();
            assert!(self.turns < turns_max, "it wants a turn for ever: {:?}", self.conn);
        }
        self.nothing_is_lost();
    }

    pub(crate) fn pass(&mut self, millis: u64) {
        self.shared.now += Duration::from_millis(millis);
    }

    pub(crate) fn run(&mut self) {
        self.turn();
        self.settle();
    }

    pub(crate) fn send_now(&mut self, payload: &[u8]) -> Result<(), SendError> {
        let sent = self.send(payload);
        self.run();
        sent
    }

    pub(crate) fn close(&mut self) {
        self.conn.close(CloseReason::ClosedByHandler);
        self.run();
    }

    pub(crate) fn finish_now(&mut self) {
        self.finish();
        self.run();
    }

    pub(crate) fn resume(&mut self) {
        self.conn.pause(false);
        self.run();
    }

    pub(crate) fn drain_now(&mut self) {
        self.drain();
        self.run();
    }

    /// An instant, in milliseconds since the start.
    pub(crate) fn millis(&self, instant: Option<Instant>) -> Option<u128> {
        instant.map(|instant| (instant - self.started).as_millis())
    }

    /// Checks that the connection has ended for `reason`, has sent everything, and has released its memory.
    pub(crate) fn ended(&mut self, reason: CloseReason) {
        assert_eq!(self.conn.closed(), Some(reason), "{:?}", self.conn);
        self.sent_all();
        self.at_rest();
    }

    /// The state, without its data.
    pub(crate) fn phase(&self) -> Phase {
        match self.conn.state() {
            State::Open if self.conn.is_draining() => Phase::Draining,
            State::Open => Phase::Open,
            State::Finishing => Phase::Finishing,
            State::Finished => Phase::Finished,
            State::HalfClosed => Phase::HalfClosed,
            State::Detaching => Phase::Detaching,
            State::Flushing { .. } => Phase::Flushing,
            State::FlushingAfterFin { .. } => Phase::FlushingAfterFin,
            State::ShuttingDown { .. } => Phase::ShuttingDown,
            State::Lingering { .. } => Phase::Lingering,
            State::Closed(_) => Phase::Closed,
        }
    }
}
