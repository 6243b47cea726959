//! One connection after the other, and a reactor's part towards them, as a script has it.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use crate::conn::Conn;
use crate::conn::input::ReadBuffer;
use crate::conn::io::Readiness;
use crate::conn::shared::Shared;
use crate::conn::state::State;
use crate::conn::turn::run;
use crate::error::{CloseReason, SendError};
use crate::fuzzing::content::{Content, Rest};
use crate::fuzzing::script::{Act, LONGEST, Setup, Step, TIMEOUT};
use crate::fuzzing::sink::Model;
use crate::fuzzing::socket::{End, Room, Socket};
use crate::net::mio::beginning;
use crate::wire::encode_header;

/// Plays a script to its end, and beyond: until everything is delivered, answered and closed.
pub(super) fn play(setup: &Setup, steps: &[Step]) {
    let mut scene = Scene::new(setup);
    for step in steps {
        if scene.conn.closed().is_some() {
            scene.finish();
            scene = scene.reconnect();
        }
        scene.take(step);
    }
    scene.finish();
}

pub(super) struct Scene {
    setup: Setup,
    pub(super) conn: Conn,
    pub(super) socket: Socket,
    read_buffer: ReadBuffer,
    pub(super) shared: Shared,
    pub(super) model: Model,
    /// What the peer has to send, or has sent.
    stream: Vec<u8>,
    sent: usize,
    /// So many frames had arrived when the drain began.
    owed_by_drain: usize,
    /// Somebody paused, or the socket did not give what it had: then a drain need not wait for it.
    may_drain_less: bool,
    /// Reasons for which the connection may end.
    permitted: Vec<CloseReason>,
    /// The reactor is to run it, without an event.
    is_queued: bool,
    /// How much of what came and went is known to be right.
    compared_in: usize,
    compared_out: usize,
    /// Frames in and out of the connections before this one.
    counted: (u64, u64),
}

/// A peer sends no more than this, in bytes, so that a script is soon over.
const STREAM_LEN_MAX: usize = 2 * LONGEST;

/// What payloads are made of: no period of it is a length that matters.
const PATTERN: [u8; 1_009] = {
    let mut pattern = [0; 1_009];
    let mut at = 0;
    while at < pattern.len() {
        pattern[at] = (at * 7 + at / 256 + 1) as u8;
        at += 1;
    }
    pattern
};

/// More turns than any script needs.
const TURNS_MAX: usize = 1_000_000;

impl Scene {
    pub(super) fn new(setup: &Setup) -> Self {
        Self::on(ReadBuffer::new(), Shared::new(&setup.config(), beginning()), setup)
    }

    fn on(read_buffer: ReadBuffer, shared: Shared, setup: &Setup) -> Self {
        let counts = &shared.counts;
        let mut socket = Socket::new(setup.room);
        socket.shutdown_error = setup.fails_shutdown.then_some(ErrorKind::NotConnected);
        Self {
            setup: setup.clone(),
            conn: Conn::new(),
            socket,
            model: Model::new(setup),
            stream: Vec::new(),
            sent: 0,
            owed_by_drain: 0,
            may_drain_less: setup.answer == Act::Pause,
            permitted: Vec::new(),
            is_queued: false,
            compared_in: 0,
            compared_out: 0,
            counted: (counts.frames_in, counts.frames_out),
            read_buffer,
            shared,
        }
    }

    /// Another connection on the same read buffer, which must be as good as new.
    pub(super) fn reconnect(mut self) -> Self {
        self.release();
        Self::on(self.read_buffer, self.shared, &self.setup)
    }

    /// Takes a step, if the connection has not ended.
    pub(super) fn take(&mut self, step: &Step) {
        if self.conn.closed().is_some() {
            return;
        }
        self.may_drain_less |=
            matches!(step, Step::Block(_) | Step::ShortRead(_) | Step::Pause(true) | Step::Act(Act::Pause));
        match *step {
            Step::Frame { .. } | Step::Raw(_) | Step::Deliver(_) | Step::Room(_) => self.stream(step),
            Step::Event { readable, writable } => self.event(readable, writable),
            Step::Spurious { readable, writable } => {
                let edge = Readiness { readable, writable, ..Readiness::default() };
                self.socket.note(edge);
                self.conn.note_ready(edge);
                self.turn();
            }
            Step::Turn => self.turn(),
            Step::Settle => self.settle(),
            Step::Fin | Step::Reset | Step::FailRead | Step::FailWrite | Step::TakeZero => self.fail(step),
            Step::Interrupt(count) => self.socket.interrupt(count.into()),
            Step::Block(count) => self.socket.blocks = count,
            Step::ShortRead(len) => self.socket.read_len_max = Some(len),
            Step::Act(act) => self.model.acts.push_back(act),
            Step::Pause(_) | Step::Send { .. } | Step::Close | Step::Drain | Step::Cut => self.interfere(step),
            Step::Pass(millis) => self.pass(Duration::from_millis(millis.into())),
        }
        self.check();
    }

    /// What peer and network do with bytes.
    fn stream(&mut self, step: &Step) {
        match step {
            &Step::Frame { payload_len } => {
                let mut rest = payload_len.min(LONGEST);
                self.compose(&encode_header(rest as u32));
                while rest > 0 {
                    let pattern = &PATTERN[self.stream.len() % 100..];
                    let len = rest.min(pattern.len());
                    self.compose(&pattern[..len]);
                    rest -= len;
                }
            }
            Step::Raw(bytes) => self.compose(bytes),
            &Step::Deliver(len) => {
                let unsent = &self.stream[self.sent..];
                let len = len.min(unsent.len());
                if len > 0 {
                    self.socket.deliver(&unsent[..len]);
                }
                self.sent += len;
            }
            &Step::Room(len) => {
                self.socket.rooms.push_back(Room::Bytes(len));
                self.socket.make_room();
            }
            _ => {}
        }
    }

    fn compose(&mut self, bytes: &[u8]) {
        let room = STREAM_LEN_MAX - self.stream.len();
        self.stream.extend(&bytes[..bytes.len().min(room)]);
    }

    /// What breaks.
    fn fail(&mut self, step: &Step) {
        match step {
            Step::Fin if self.socket.end.is_none() => self.socket.finish(End::Fin),
            Step::Reset => {
                self.socket.reset();
                self.permitted.push(CloseReason::Reset);
            }
            Step::FailRead => {
                self.socket.end.take_if(|end| *end == End::Fin);
                self.socket.finish(End::Failed(ErrorKind::TimedOut));
                self.socket.edge.failed = true;
                // Where nothing is read, only the event tells, and does not say how it failed.
                self.permitted.extend([CloseReason::Io(ErrorKind::TimedOut), CloseReason::Reset]);
            }
            Step::FailWrite => {
                self.socket.fail_write(Room::Fail(ErrorKind::HostUnreachable));
                self.permitted.push(CloseReason::Io(ErrorKind::HostUnreachable));
            }
            Step::TakeZero => {
                self.socket.fail_write(Room::Zero);
                self.permitted.push(CloseReason::WriteZero);
            }
            _ => {}
        }
    }

    /// What others want of the connection; it runs next turn.
    fn interfere(&mut self, step: &Step) {
        match *step {
            Step::Pause(is_paused) => self.conn.pause(is_paused),
            Step::Send { payload_len } => {
                let payload = vec![0xee; payload_len.min(LONGEST)];
                let sent = self.conn.send(&payload, &mut self.shared);
                self.model.note(sent, [&payload[..]]);
                assert!(!matches!(sent, Err(SendError::TooLong { .. })));
            }
            Step::Close => {
                self.conn.close(CloseReason::ClosedByHandler);
                self.permitted.push(CloseReason::ClosedByHandler);
            }
            Step::Drain => {
                if self.conn.state() == State::Open && !self.conn.is_held() {
                    self.owed_by_drain = self.content().frames.len();
                }
                self.conn.drain();
                self.socket.excuse_read();
                self.permitted.push(CloseReason::Drained);
            }
            Step::Cut => {
                self.conn.abort(CloseReason::Cut);
                self.permitted.push(CloseReason::Cut);
            }
            _ => {}
        }
        self.is_queued = true;
    }

    /// As the reactor does it: who is late is cut.
    fn pass(&mut self, duration: Duration) {
        self.shared.now += duration;
        let now = self.now();
        let is_late = |since: Option<Instant>| since.is_some_and(|since| since + TIMEOUT <= now);
        for (since, reason) in [
            (self.conn.frame_since(), CloseReason::FrameTimeout),
            (self.conn.stalled_since(), CloseReason::WriteTimeout),
            (self.conn.state().lingering_since(), CloseReason::Cut),
        ] {
            if is_late(since) {
                self.conn.abort(reason);
                self.permitted.push(reason);
            }
        }
    }

    fn now(&self) -> Instant {
        self.shared.now
    }

    fn event(&mut self, readable: bool, writable: bool) {
        let edge = self.socket.report(readable, writable);
        self.conn.note_ready(edge);
        self.turn();
    }

    /// One run. The reactor does not run a connection that has ended.
    fn turn(&mut self) {
        self.is_queued = false;
        if self.conn.closed().is_some() {
            return;
        }
        let (frames, written) = (self.model.frames, self.socket.written.len());
        let moved = run(&mut self.conn, &mut self.socket, &mut self.read_buffer, &mut self.shared, &mut self.model);
        let has_moved = moved.has_output_or_frames();
        self.conn.check_after_turn(&self.shared.limits);
        assert_eq!(has_moved, self.model.frames > frames || self.socket.written.len() > written);
        if let Some(reason) = self.model.ended {
            self.permitted.push(reason);
        }
        if self.conn.closed().is_none() {
            assert_eq!(self.conn.stalled_since().is_some(), self.conn.unsent_bytes() > 0);
            let owed_max = self.setup.output_high_water + self.model.longest.max(1);
            assert!(self.conn.unsent_bytes() < owed_max, "{} bytes are owed", self.conn.unsent_bytes());
            let is_over = self.conn.unsent_bytes() > self.setup.output_low_water();
            let is_told = !self.model.awaits_room || is_over || self.conn.state().is_ending();
            assert!(is_told, "nobody was told that there is room: {:?}", self.conn);
        }
        self.check();
    }

    /// Everything is reported that can be, and the connection runs for as long as it wants to.
    fn settle(&mut self) {
        let mut turns = 0;
        while self.conn.closed().is_none()
            && (self.socket.edge != Readiness::default() || self.is_queued || self.conn.wants_turn())
        {
            self.event(true, true);
            turns += 1;
            assert!(turns < TURNS_MAX, "it wants a turn for ever: {:?}", self.conn);
        }
        self.nothing_is_forgotten();
    }

    // What must hold.

    /// What holds between any two steps.
    fn check(&mut self) {
        let shared = &self.shared;
        assert!(self.read_buffer.is_empty(), "the read buffer is not empty");
        assert_eq!(shared.pool.used_bytes(), self.conn.buffered_bytes(), "the accounting is wrong");
        assert!(shared.pool.used_bytes() <= self.setup.memory);
        assert!(shared.pool.used_bytes() + shared.pool.joined_bytes() <= self.setup.memory);
        assert!(shared.pool.free_bytes() <= self.setup.pool_bytes_max);
        let counts = &shared.counts;
        assert_eq!(counts.frames_in - self.counted.0, self.model.frames as u64);
        assert_eq!(counts.frames_out - self.counted.1, self.model.replies);

        let (received, written) = (&self.model.received, &self.socket.written);
        let (compared_in, compared_out) = (self.compared_in, self.compared_out);
        assert!(self.socket.delivered[compared_in..].starts_with(&received[compared_in..]), "other frames than sent");
        assert!(self.model.expected[compared_out..].starts_with(&written[compared_out..]), "other bytes than queued");
        (self.compared_in, self.compared_out) = (received.len(), written.len());
        if self.conn.closed().is_none() {
            assert_eq!(written.len() + self.conn.unsent_bytes(), self.model.expected.len(), "output is lost");
            assert_eq!(self.socket.is_shut_down, matches!(self.conn.state(), State::Lingering { .. }));
            self.conn.check(&shared.limits);
        }
    }

    /// What is still to be done is announced by an event to come, or waits for somebody who has a name.
    fn nothing_is_forgotten(&self) {
        let conn = &self.conn;
        if conn.closed().is_some() {
            return;
        }
        let owes = conn.unsent_bytes() > 0;
        assert!(!owes || self.socket.is_blocked(), "output waits for nothing: {conn:?}");
        let is_broken = matches!(self.socket.end, Some(End::Failed(_)));
        assert!(owes || !is_broken, "it was told that it is broken, and lives on: {conn:?}");
        match conn.state() {
            State::Open if conn.is_held() => {}
            State::Open | State::Draining | State::Lingering { .. } => {
                let is_held = conn.unsent_bytes() > self.setup.output_low_water();
                assert!(is_held || self.socket.is_drained(), "input waits for nothing: {conn:?}");
            }
            State::Flushing { .. } | State::FlushingAfterFin { .. } => {
                assert!(owes, "its end waits for nothing: {conn:?}");
            }
            State::HalfClosed | State::Closed(_) => {}
        }
    }

    /// All that there is arrives, all that is written is taken and nobody holds the connection: then everything is answered,
    /// and once the peer finishes, it ends.
    pub(super) fn finish(&mut self) {
        self.take(&Step::Deliver(usize::MAX));
        self.take(&Step::Room(usize::MAX));
        self.model.acts.clear();
        for _ in 0..=self.stream.len() {
            self.take(&Step::Pause(false));
            self.take(&Step::Settle);
            if !(self.conn.state() == State::Open && self.conn.is_held()) {
                break;
            }
        }
        self.everything_is_answered();
        self.take(&Step::Fin);
        self.take(&Step::Settle);
        if self.conn.state() == State::HalfClosed {
            self.take(&Step::Close);
            self.take(&Step::Settle);
        }
        self.it_has_ended();
    }

    fn everything_is_answered(&self) {
        let conn = &self.conn;
        if conn.closed().is_some() {
            return;
        }
        assert!(self.socket.written.len() == self.model.expected.len(), "output waits with room for it: {conn:?}");
        let content = self.content();
        let rest = match content.rest {
            Rest::Part(len) => len,
            Rest::TooLong { .. } => 0,
        };
        match conn.state() {
            State::Open | State::Draining => {
                assert!(conn.state() == State::Draining || !conn.is_held(), "it is paused: {conn:?}");
                assert_eq!((self.model.frames, conn.held_bytes().0), (content.frames.len(), rest), "{conn:?}");
                assert!(conn.state() == State::Open || rest > 0, "the drain waits for nothing: {conn:?}");
            }
            State::HalfClosed => {
                assert_eq!((self.model.frames, rest), (content.frames.len(), 0));
            }
            State::Lingering { .. } => {}
            State::Flushing { .. } | State::FlushingAfterFin { .. } | State::Closed(_) => {
                panic!("it goes no further, with nothing in its way: {conn:?}");
            }
        }
        assert_eq!(conn.has_buffers(), conn.held_bytes().0 > 0);
    }

    /// What has arrived.
    fn content(&self) -> Content {
        Content::of(&self.socket.delivered, self.setup.max_payload)
    }

    fn it_has_ended(&mut self) {
        let Some(reason) = self.conn.closed() else {
            panic!("it does not end with its peer: {:?}", self.conn);
        };
        self.check();
        match reason {
            CloseReason::PeerFinished | CloseReason::TruncatedFrame { .. } | CloseReason::FrameTooLong(_) => {
                let content = self.content();
                assert_eq!(reason, content.reason(&self.socket.delivered, self.setup.max_payload));
                assert_eq!(self.model.frames, content.frames.len());
            }
            CloseReason::Evicted { input, output } => assert!(input + output > 0, "it held nothing"),
            _ => assert!(self.permitted.contains(&reason), "{reason:?} is none of {:?}", self.permitted),
        }
        let is_drained = reason == CloseReason::Drained && !self.may_drain_less;
        assert!(!is_drained || self.model.frames >= self.owed_by_drain, "a drain has left frames unanswered");
        if is_orderly(reason) {
            assert_eq!(self.socket.written.len(), self.model.expected.len(), "output is lost: {reason:?}");
        }
        self.release();
    }

    fn release(&mut self) {
        self.conn.release(&mut self.shared);
        assert_eq!((self.conn.buffered_bytes(), self.shared.pool.used_bytes()), (0, 0));
    }
}

/// Whether a connection that ends so has flushed what it owed.
fn is_orderly(reason: CloseReason) -> bool {
    match reason {
        CloseReason::PeerFinished
        | CloseReason::TruncatedFrame { .. }
        | CloseReason::FrameTooLong(_)
        | CloseReason::ClosedByHandler
        | CloseReason::Drained => true,
        CloseReason::Reset
        | CloseReason::IdleTimeout
        | CloseReason::FrameTimeout
        | CloseReason::WriteTimeout
        | CloseReason::Evicted { .. }
        | CloseReason::Reclaimed
        | CloseReason::WriteZero
        | CloseReason::Io(_)
        | CloseReason::AbortedByHandler
        | CloseReason::HandlerPanicked
        | CloseReason::Cut => false,
    }
}
