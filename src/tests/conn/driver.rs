//! Stands in for the reactor: hands over edges, runs the connection while it wants to, and checks it after every run.

use std::time::{Duration, Instant};

use crate::config::Config;
use crate::conn::Conn;
use crate::conn::input::ReadBuffer;
use crate::conn::shared::Shared;
use crate::conn::state::State;
use crate::conn::turn::run;
use crate::error::{CloseReason, SendError};
use crate::fuzzing::socket::{Arrival, Room, Socket};
use crate::tests::conn::sink::{Answerer, Style};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Open,
    Draining,
    HalfClosed,
    Flushing,
    FlushingAfterFin,
    Lingering,
    Closed,
}

pub(super) struct Driver {
    pub(super) conn: Conn,
    pub(super) socket: Socket,
    read_buffer: ReadBuffer,
    pub(super) shared: Shared,
    pub(super) sink: Answerer,
    /// Runs so far.
    pub(super) turns: usize,
    pub(super) started: Instant,
    /// Output that was owed when the connection ended.
    pub(super) lost: usize,
    /// How much of what was written is known to be right.
    compared: usize,
    /// Frames in and out of the connections before this one.
    counted: (u64, u64),
}

impl Driver {
    pub(super) fn new(style: Style, config: Config) -> Self {
        let started = Instant::now();
        Self {
            conn: Conn::new(),
            socket: Socket::new(usize::MAX),
            read_buffer: ReadBuffer::new(),
            shared: Shared::new(&config, started),
            sink: Answerer::new(style),
            turns: 0,
            started,
            lost: 0,
            compared: 0,
            counted: (0, 0),
        }
    }

    pub(super) fn echo() -> Self {
        Self::new(Style::Echo, Config::default())
    }

    /// Another connection on the same read buffer, which must be as good as new.
    pub(super) fn reconnect(&mut self) {
        self.conn.release(&mut self.shared);
        assert_eq!(self.shared.pool.used_bytes(), 0);
        self.conn = Conn::new();
        self.socket = Socket::new(usize::MAX);
        self.sink = Answerer::new(self.sink.style);
        self.turns = 0;
        self.lost = 0;
        self.compared = 0;
        let counts = &self.shared.counts;
        self.counted = (counts.frames_in, counts.frames_out);
    }

    // What the peer does.

    /// The peer sends `bytes`, which come as one edge, and everything is done that can be done.
    pub(super) fn receive(&mut self, bytes: &[u8]) {
        self.arrive(Arrival::Bytes(bytes.to_vec()));
    }

    pub(super) fn arrive(&mut self, arrival: Arrival) {
        self.socket.arrivals.push_back(arrival);
        self.socket.arrive();
        self.react();
    }

    /// The peer reads `len` bytes more.
    pub(super) fn take(&mut self, len: usize) {
        self.make_room(Room::Bytes(len));
    }

    pub(super) fn make_room(&mut self, room: Room) {
        self.socket.rooms.push_back(room);
        self.socket.make_room();
        self.react();
    }

    /// Plays both scripts to their ends, one step of each at a time.
    pub(super) fn play(&mut self) {
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

    // What the reactor does.

    /// An event comes and the connection runs, then again for as long as it wants to.
    pub(super) fn react(&mut self) {
        self.note();
        self.turn();
        self.settle();
    }

    /// Tells the connection what the kernel has to report.
    pub(super) fn note(&mut self) {
        let edge = self.socket.report(true, true);
        self.conn.note_ready(edge);
    }

    /// One run. The reactor does not run a connection that has ended.
    pub(super) fn turn(&mut self) {
        if self.conn.closed().is_some() {
            return;
        }
        let (frames, written) = (self.sink.frames, self.socket.written.len());
        let moved = run(&mut self.conn, &mut self.socket, &mut self.read_buffer, &mut self.shared, &mut self.sink);
        let has_moved = moved.has_output_or_frames();
        assert_eq!(has_moved, self.sink.frames > frames || self.socket.written.len() > written);
        self.turns += 1;
        self.invariants();
        if self.conn.closed().is_some() {
            self.reap();
        }
    }

    /// What is owed is told up to the end; then all memory is given back.
    pub(super) fn reap(&mut self) {
        self.lost += self.conn.unsent_bytes();
        self.conn.release(&mut self.shared);
        self.at_rest();
    }

    pub(super) fn settle(&mut self) {
        let turns_max = self.turns + 100_000;
        while self.conn.wants_turn() {
            self.turn();
            assert!(self.turns < turns_max, "it wants a turn for ever: {:?}", self.conn);
        }
        self.nothing_is_lost();
    }

    pub(super) fn pass(&mut self, millis: u64) {
        self.shared.now += Duration::from_millis(millis);
    }

    /// An instant, in milliseconds since the start.
    pub(super) fn millis(&self, instant: Option<Instant>) -> Option<u128> {
        instant.map(|instant| (instant - self.started).as_millis())
    }

    // What somebody else says about the connection.

    pub(super) fn send(&mut self, payload: &[u8]) -> Result<(), SendError> {
        let sent = self.conn.send(payload, &mut self.shared);
        let _ = self.sink.note(sent, payload);
        self.turn();
        self.settle();
        sent
    }

    pub(super) fn close(&mut self) {
        self.conn.close(CloseReason::ClosedByHandler);
        self.turn();
        self.settle();
    }

    pub(super) fn resume(&mut self) {
        self.conn.pause(false);
        self.turn();
        self.settle();
    }

    pub(super) fn drain(&mut self) {
        self.conn.drain();
        self.socket.excuse_read();
        self.turn();
        self.settle();
    }

    // What must hold.

    /// The connection has ended for `reason`, everything that was queued was sent, and its memory is given back.
    pub(super) fn ended(&mut self, reason: CloseReason) {
        assert_eq!(self.conn.closed(), Some(reason), "{:?}", self.conn);
        self.sent_all();
        self.at_rest();
    }

    /// Everything that was queued was sent.
    pub(super) fn sent_all(&self) {
        assert_eq!(self.socket.written.len(), self.sink.queued.len(), "{:?}", self.conn);
    }

    /// No memory is held.
    pub(super) fn at_rest(&self) {
        assert!(!self.conn.has_buffers());
        assert_eq!((self.conn.buffered_bytes(), self.shared.pool.used_bytes()), (0, 0));
        assert_eq!((self.conn.frame_since(), self.conn.stalled_since()), (None, None));
    }

    /// The state, without its data.
    pub(super) fn phase(&self) -> Phase {
        match self.conn.state() {
            State::Open => Phase::Open,
            State::Draining => Phase::Draining,
            State::HalfClosed => Phase::HalfClosed,
            State::Flushing { .. } => Phase::Flushing,
            State::FlushingAfterFin { .. } => Phase::FlushingAfterFin,
            State::Lingering { .. } => Phase::Lingering,
            State::Closed(_) => Phase::Closed,
        }
    }

    /// What holds between two runs.
    fn invariants(&mut self) {
        let shared = &self.shared;
        assert!(self.read_buffer.is_empty());
        assert_eq!(shared.pool.used_bytes(), self.conn.buffered_bytes());
        let (frames_in, frames_out) = (shared.counts.frames_in, shared.counts.frames_out);
        assert_eq!(frames_in - self.counted.0, self.sink.frames as u64);
        assert_eq!(frames_out - self.counted.1, self.sink.replies as u64);

        let written = &self.socket.written;
        assert!(written[self.compared..] == self.sink.queued[self.compared..written.len()], "other bytes than queued");
        self.compared = written.len();
        match self.phase() {
            Phase::Open | Phase::Draining | Phase::HalfClosed | Phase::Flushing | Phase::FlushingAfterFin => {
                assert!(!self.socket.is_shut_down);
                assert_eq!(self.compared + self.conn.unsent_bytes(), self.sink.queued.len());
            }
            Phase::Lingering => {
                assert!(self.socket.is_shut_down);
                self.sent_all();
                self.at_rest();
            }
            Phase::Closed => assert_eq!(self.conn.held_bytes().0, 0),
        }
        let limits = &self.shared.limits;
        self.conn.check_after_turn(limits);
        let owed_max = limits.output_high_water + self.sink.longest.max(1);
        assert!(self.phase() == Phase::Closed || self.conn.unsent_bytes() < owed_max, "{:?}", self.conn);
    }

    /// What is still to be done is announced by an event, or waits for somebody who has a name.
    fn nothing_is_lost(&self) {
        if self.conn.closed().is_some() || self.socket.edge != Default::default() {
            return;
        }
        if self.conn.unsent_bytes() > 0 {
            assert!(self.socket.is_blocked(), "output waits for nothing: {:?}", self.conn);
        }
        if self.conn.state().takes_frames() && !self.conn.is_held() {
            assert!(self.socket.is_drained(), "input waits for nothing: {:?}", self.conn);
        }
        match self.phase() {
            Phase::Lingering => assert!(self.socket.is_drained(), "input waits for nothing"),
            Phase::Flushing | Phase::FlushingAfterFin => {
                assert!(self.conn.unsent_bytes() > 0, "its end waits for nothing");
            }
            Phase::Draining => {
                assert!(self.conn.readiness().readable || self.conn.held_bytes().0 > 0, "the drain waits for nothing")
            }
            Phase::Open | Phase::HalfClosed | Phase::Closed => {}
        }
    }
}
