//! Plays a script: one connection after the other, and the part of the reactor.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use crate::conn::io::Readiness;
use crate::conn::shared::Shared;
use crate::conn::sink::Drain;
use crate::conn::state::State;
use crate::error::{CloseReason, SendError};
use crate::fuzzing::content::{Content, LONGEST, Rest, is_flushed};
use crate::fuzzing::driver::Driver;
use crate::fuzzing::script::{Setup, Step, TIMEOUT};
use crate::fuzzing::socket::{End, Room};
use crate::net::mio::beginning;
use crate::wire::encode_header;

/// Plays a script to its end, and continues until everything is delivered, answered and closed.
pub(super) fn play(setup: &Setup, steps: &[Step]) {
    let mut scene = Scene::new(setup);
    for step in steps {
        if scene.driver.conn.closed().is_some() {
            scene.finish();
            scene = scene.reconnect();
        }
        scene.take(step);
    }
    scene.finish();
}

pub(super) struct Scene {
    setup: Setup,
    pub(super) driver: Driver,
    /// What the peer has to send, or has sent.
    stream: Vec<u8>,
    sent: usize,
    /// A drain has begun.
    is_drained: bool,
    /// The number of frames that had arrived by then.
    frames_at_drain: usize,
    /// The socket did not return all its bytes: then a drain need not wait for them.
    may_drain_less: bool,
    /// Reasons for which the connection may end.
    permitted: Vec<CloseReason>,
    /// The reactor has to run it without an event.
    is_queued: bool,
}

/// A peer sends at most this many bytes, so that a script ends soon.
const STREAM_LEN_MAX: usize = 2 * LONGEST;

/// The bytes of payloads: the period is no length that matters.
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
        let shared = Shared::new(&setup.config(), beginning());
        Self::on(Driver::with(shared, setup.socket(), setup.sink()), setup)
    }

    fn on(driver: Driver, setup: &Setup) -> Self {
        Self {
            setup: setup.clone(),
            driver,
            stream: Vec::new(),
            sent: 0,
            is_drained: false,
            frames_at_drain: 0,
            may_drain_less: false,
            permitted: Vec::new(),
            is_queued: false,
        }
    }

    /// Begins another connection on the same read buffer, of which no byte may be left.
    pub(super) fn reconnect(mut self) -> Self {
        self.driver.replace(self.setup.socket(), self.setup.sink());
        Self::on(self.driver, &self.setup)
    }

    /// Takes a step, if the connection has not ended.
    pub(super) fn take(&mut self, step: &Step) {
        if self.driver.conn.closed().is_some() {
            return;
        }
        self.may_drain_less |= matches!(step, Step::Block(_) | Step::ShortRead(_));
        match *step {
            Step::Frame { .. } | Step::Raw(_) | Step::Deliver(_) | Step::Room(_) => self.stream(step),
            Step::Event { readable, writable } => self.event(readable, writable),
            Step::Spurious { readable, writable } => {
                let edge = Readiness { readable, writable, ..Readiness::default() };
                self.driver.socket.note(edge);
                self.driver.conn.note_ready(edge);
                self.turn();
            }
            Step::Turn => self.turn(),
            Step::Settle => self.settle(),
            Step::Fin | Step::Reset | Step::FailRead | Step::FailWrite | Step::TakeZero => self.fail(step),
            Step::Interrupt(count) => self.driver.socket.interrupt(count.into()),
            Step::Block(count) => self.driver.socket.blocks = count,
            Step::ShortRead(len) => self.driver.socket.read_len_max = Some(len),
            Step::Act(act) => self.driver.sink.act_next(act),
            Step::Pause(_) | Step::Send { .. } | Step::Close | Step::Finish | Step::Drain | Step::Cut => {
                self.interfere(step);
            }
            Step::Pass(millis) => self.pass(Duration::from_millis(millis.into())),
        }
        self.driver.check();
    }

    /// The steps of the peer and the network.
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
                    self.driver.socket.deliver(&unsent[..len]);
                }
                self.sent += len;
            }
            &Step::Room(len) => {
                self.driver.socket.rooms.push_back(Room::Bytes(len));
                self.driver.socket.make_room();
            }
            _ => {}
        }
    }

    fn compose(&mut self, bytes: &[u8]) {
        let room = STREAM_LEN_MAX - self.stream.len();
        self.stream.extend(&bytes[..bytes.len().min(room)]);
    }

    /// The steps that fail something.
    fn fail(&mut self, step: &Step) {
        match step {
            Step::Fin if self.driver.socket.end.is_none() => self.driver.socket.finish(End::Fin),
            Step::Reset => {
                self.driver.socket.reset();
                self.permitted.push(CloseReason::Reset);
            }
            Step::FailRead => {
                self.driver.socket.end.take_if(|end| *end == End::Fin);
                self.driver.socket.finish(End::Failed(ErrorKind::TimedOut));
                self.driver.socket.edge.failed = true;
                // If nothing is read, only the event reports the failure, without its cause.
                self.permitted.extend([CloseReason::Io(ErrorKind::TimedOut), CloseReason::Reset]);
            }
            Step::FailWrite => {
                self.driver.socket.fail_write(Room::Fail(ErrorKind::HostUnreachable));
                self.permitted.push(CloseReason::Io(ErrorKind::HostUnreachable));
            }
            Step::TakeZero => {
                self.driver.socket.fail_write(Room::Zero);
                self.permitted.push(CloseReason::WriteZero);
            }
            _ => {}
        }
    }

    /// The steps of other code; the connection runs in the next turn.
    fn interfere(&mut self, step: &Step) {
        match *step {
            Step::Pause(is_paused) => self.driver.conn.pause(is_paused),
            Step::Send { payload_len } => {
                let payload = vec![0xee; payload_len.min(LONGEST)];
                let sent = self.driver.send(&payload);
                assert!(!matches!(sent, Err(SendError::TooLong { .. })));
            }
            Step::Close => {
                self.driver.conn.close(CloseReason::ClosedByHandler);
                self.permitted.push(CloseReason::ClosedByHandler);
            }
            Step::Finish => self.driver.finish(),
            Step::Drain => {
                if self.driver.conn.state().takes_frames() && !self.is_drained {
                    self.frames_at_drain = self.content().frames.len();
                }
                self.is_drained = true;
                self.driver.drain();
                self.permitted.push(CloseReason::Drained);
            }
            Step::Cut => {
                self.driver.conn.abort(CloseReason::Cut);
                self.permitted.push(CloseReason::Cut);
            }
            _ => {}
        }
        self.is_queued = true;
    }

    /// Lets time pass, and closes the connection at a deadline as the reactor does.
    fn pass(&mut self, duration: Duration) {
        self.driver.shared.now += duration;
        let now = self.now();
        let is_late = |since: Option<Instant>| since.is_some_and(|since| since + TIMEOUT <= now);
        for (since, reason) in [
            (self.driver.conn.frame_since(), CloseReason::FrameTimeout),
            (self.driver.conn.stalled_since(), CloseReason::WriteTimeout),
            (self.driver.lingering_since(), CloseReason::Cut),
        ] {
            if is_late(since) {
                self.driver.conn.abort(reason);
                self.permitted.push(reason);
            }
        }
    }

    fn now(&self) -> Instant {
        self.driver.shared.now
    }

    fn event(&mut self, readable: bool, writable: bool) {
        self.driver.note(readable, writable);
        self.turn();
    }

    fn turn(&mut self) {
        self.is_queued = false;
        self.driver.turn();
        self.permitted.extend(self.driver.sink.ended);
        let sink = &self.driver.sink;
        assert!(sink.drains == 0 || self.is_drained, "the handler was asked without a drain");
        let is_early = sink.drains > 0 && sink.frames < self.frames_at_drain && !self.may_drain_less;
        assert!(!is_early, "the handler was asked before it had all frames");
    }

    /// Reports everything, and runs the connection while it has work.
    fn settle(&mut self) {
        let mut turns = 0;
        while self.driver.conn.closed().is_none()
            && (self.driver.socket.edge != Readiness::default() || self.is_queued || self.driver.conn.wants_turn())
        {
            self.event(true, true);
            turns += 1;
            assert!(turns < TURNS_MAX, "it wants a turn for ever: {:?}", self.driver.conn);
        }
        self.nothing_is_forgotten();
    }

    // The promises.

    fn nothing_is_forgotten(&self) {
        self.driver.nothing_is_lost();
        let conn = &self.driver.conn;
        let is_broken = matches!(self.driver.socket.end, Some(End::Failed(_)));
        let lives_on = conn.closed().is_none() && conn.unsent_bytes() == 0;
        assert!(!is_broken || !lives_on, "an error was reported, and it lives on: {conn:?}");
    }

    /// Checks that everything is answered once all bytes arrive, all output is accepted and no pause is left, and that the
    /// connection ends when the peer finishes.
    pub(super) fn finish(&mut self) {
        self.take(&Step::Deliver(usize::MAX));
        self.take(&Step::Room(usize::MAX));
        self.driver.sink.acts.clear();
        for _ in 0..=self.stream.len() {
            self.take(&Step::Pause(false));
            self.take(&Step::Settle);
            if !(self.driver.conn.state().takes_frames() && self.driver.conn.is_input_paused()) {
                break;
            }
        }
        self.everything_is_answered();
        self.take(&Step::Fin);
        self.take(&Step::Settle);
        if self.driver.conn.state() == State::HalfClosed {
            self.take(&Step::Close);
            self.take(&Step::Settle);
        }
        self.it_has_ended();
    }

    fn everything_is_answered(&self) {
        let conn = &self.driver.conn;
        if conn.closed().is_some() {
            return;
        }
        assert!(
            self.driver.socket.written.len() == self.driver.sink.queued.len(),
            "output waits with room for it: {conn:?}"
        );
        let content = self.content();
        let rest = match content.rest {
            Rest::Part(len) => len,
            Rest::TooLong { .. } => 0,
        };
        match conn.state() {
            State::Open | State::Finished => {
                assert!(!conn.is_input_paused(), "it is paused: {conn:?}");
                assert_eq!((self.driver.sink.frames, conn.held_bytes().0), (content.frames.len(), rest), "{conn:?}");
                assert!(!conn.is_draining() || rest > 0, "the drain waits for nothing: {conn:?}");
                let waits = self.is_drained && self.setup.reply_to_drain == Drain::AtRest && !conn.is_draining();
                assert!(!waits, "the drain goes no further: {conn:?}");
            }
            State::HalfClosed => {
                assert_eq!((self.driver.sink.frames, rest), (content.frames.len(), 0));
            }
            State::Lingering { .. } => {}
            State::Finishing
            | State::Detaching
            | State::Flushing { .. }
            | State::FlushingAfterFin { .. }
            | State::ShuttingDown { .. }
            | State::Closed(_) => {
                panic!("it goes no further, with nothing in its way: {conn:?}");
            }
        }
        assert_eq!(conn.has_buffers(), conn.held_bytes().0 > 0);
    }

    /// What has arrived.
    fn content(&self) -> Content {
        Content::of(&self.driver.socket.delivered, self.setup.max_payload)
    }

    fn it_has_ended(&mut self) {
        let Some(reason) = self.driver.conn.closed() else {
            panic!("it does not end with its peer: {:?}", self.driver.conn);
        };
        self.driver.check();
        match reason {
            CloseReason::PeerFinished | CloseReason::TruncatedFrame { .. } | CloseReason::FrameTooLong(_) => {
                let content = self.content();
                assert_eq!(reason, content.reason(&self.driver.socket.delivered, self.setup.max_payload));
                assert_eq!(self.driver.sink.frames, content.frames.len());
            }
            CloseReason::Evicted { input, output } => assert!(input + output > 0, "it held nothing"),
            _ => assert!(self.permitted.contains(&reason), "{reason:?} is none of {:?}", self.permitted),
        }
        if reason == CloseReason::Drained {
            assert_eq!((self.driver.sink.drains, self.setup.reply_to_drain), (1, Drain::AtRest));
        }
        if is_flushed(&reason) {
            assert_eq!(self.driver.socket.written.len(), self.driver.sink.queued.len(), "output is lost: {reason:?}");
        }
        self.driver.release();
    }
}
