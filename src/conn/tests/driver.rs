//! Stands in for the reactor: hands over edges, runs the connection while it wants to, and checks it after every run.

use std::time::{Duration, Instant};

use crate::config::Config;
use crate::conn::decoder::{Decoded, Inbox, decode};
use crate::conn::outbox::Sent;
use crate::conn::tests::sink::{Answerer, Style};
use crate::conn::tests::socket::{Arrival, Room, Socket};
use crate::conn::workbench::Workbench;
use crate::conn::{Conn, State};
use crate::error::CloseReason;

pub(super) struct Driver {
    pub(super) conn: Conn,
    pub(super) socket: Socket,
    pub(super) bench: Workbench,
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
            socket: Socket::new(),
            bench: Workbench::new(config, started),
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

    /// Another connection on the same workbench, which must be as good as new.
    pub(super) fn reconnect(&mut self) {
        self.conn.release(&mut self.bench.supplies);
        assert_eq!(self.bench.supplies.pool.lent_bytes(), 0);
        self.conn = Conn::new();
        self.socket = Socket::new();
        self.sink = Answerer::new(self.sink.style);
        self.turns = 0;
        self.lost = 0;
        self.compared = 0;
        let counts = &self.bench.supplies.counts;
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
        let edge = self.socket.take_edge();
        self.conn.note_ready(edge);
    }

    /// One run. The reactor does not run a connection that has ended.
    pub(super) fn turn(&mut self) {
        if self.conn.closed().is_some() {
            return;
        }
        let (frames, written) = (self.sink.frames, self.socket.written.len());
        let moved = self.conn.run(&mut self.socket, &mut self.bench, &mut self.sink);
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
        self.conn.release(&mut self.bench.supplies);
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
        self.bench.supplies.now += Duration::from_millis(millis);
    }

    /// An instant, in milliseconds since the start.
    pub(super) fn millis(&self, instant: Option<Instant>) -> Option<u128> {
        instant.map(|instant| (instant - self.started).as_millis())
    }

    // What somebody else says about the connection.

    pub(super) fn send(&mut self, payload: &[u8]) -> Sent {
        let sent = self.conn.send(payload, &mut self.bench.supplies);
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
        assert!(!self.conn.has_backlog());
        assert_eq!((self.conn.buffered_bytes(), self.bench.supplies.pool.lent_bytes()), (0, 0));
        assert_eq!((self.conn.frame_since(), self.conn.stalled_since()), (None, None));
    }

    fn is_taking_frames(&self) -> bool {
        matches!(self.conn.state, State::Open | State::Draining)
    }

    /// What holds between two runs.
    fn invariants(&mut self) {
        let Workbench { work, run, at, supplies } = &self.bench;
        assert!(work.is_empty() && run.is_empty() && *at == 0);
        assert_eq!(supplies.pool.lent_bytes(), self.conn.buffered_bytes());
        let (frames_in, frames_out) = (supplies.counts.frames_in, supplies.counts.frames_out);
        assert_eq!(frames_in - self.counted.0, self.sink.frames as u64);
        assert_eq!(frames_out - self.counted.1, self.sink.replies as u64);

        let written = &self.socket.written;
        assert!(written[self.compared..] == self.sink.queued[self.compared..written.len()], "other bytes than queued");
        self.compared = written.len();
        match self.conn.state {
            State::Open | State::Draining | State::HalfClosed | State::Flushing { .. } => {
                assert!(!self.socket.is_shut_down);
                assert_eq!(self.compared + self.conn.unsent_bytes(), self.sink.queued.len());
            }
            State::Lingering { .. } => {
                assert!(self.socket.is_shut_down);
                self.sent_all();
                self.at_rest();
            }
            State::Closed(_) => assert_eq!(self.conn.held_bytes().0, 0),
        }
        self.backlog_invariants();
    }

    fn backlog_invariants(&self) {
        let Some(backlog) = self.conn.backlog.as_deref() else { return };
        let config = &self.bench.supplies.config;
        let (undecoded, owed) = self.conn.held_bytes();
        assert!(!backlog.is_empty());
        let capacity = backlog.inbox.capacity();
        assert!(capacity <= 2 * undecoded + 4_096, "{capacity} for {undecoded} bytes");
        assert!(self.is_taking_frames() || backlog.inbox.is_empty());

        backlog.outbox.invariants(config.outbox_bytes_high, config.outbox_bytes_low);
        if self.conn.closed().is_some() {
            // What was not sent is kept to be counted, the rest is not looked at any more.
            return;
        }
        assert!(owed < config.outbox_bytes_high + self.sink.longest.max(1), "{owed} bytes are owed");

        let front = match &backlog.inbox {
            Inbox::Empty | Inbox::Large(_) => Ok(Decoded::Incomplete),
            Inbox::Bytes(chunk) => decode(chunk.as_slice(), config.payload_len_max),
        };
        assert_eq!(backlog.has_frames, front != Ok(Decoded::Incomplete));
        let is_unread = self.conn.is_held() && self.conn.edges.readable;
        let awaits_frame = !backlog.inbox.is_empty() && !backlog.has_frames && !is_unread;
        assert_eq!(self.conn.frame_since().is_some(), awaits_frame);
        assert_eq!(backlog.stalled_since.is_some(), owed > 0);
    }

    /// What is still to be done is announced by an event, or waits for somebody who has a name.
    fn nothing_is_lost(&self) {
        if self.conn.closed().is_some() || self.socket.edge != Default::default() {
            return;
        }
        if self.conn.unsent_bytes() > 0 {
            assert!(self.socket.is_blocked(), "output waits for nothing: {:?}", self.conn);
        }
        if self.is_taking_frames() && !self.conn.is_held() {
            assert!(self.socket.is_drained(), "input waits for nothing: {:?}", self.conn);
            assert!(self.conn.backlog.as_ref().is_none_or(|backlog| !backlog.has_frames), "frames wait for nothing");
        }
        match self.conn.state {
            State::Lingering { .. } => assert!(self.socket.is_drained(), "input waits for nothing"),
            State::Flushing { .. } => assert!(self.conn.unsent_bytes() > 0, "its end waits for nothing"),
            State::Draining => {
                assert!(self.conn.edges.readable || self.conn.held_bytes().0 > 0, "the drain waits for nothing")
            }
            State::Open | State::HalfClosed | State::Closed(_) => {}
        }
    }
}
