//! The run of a connection under the readiness lint: the same run, with each callback timed and the outcome judged.

use std::time::Instant;

use crate::conn::Conn;
use crate::conn::frame::Frame;
use crate::conn::input::{Frames, ReadBuffer};
use crate::conn::io::Transport;
use crate::conn::part::FramePart;
use crate::conn::shared::Shared;
use crate::conn::sink::{Drain, Replies, Sink};
use crate::conn::state::State;
use crate::conn::turn::{Moved, run};
use crate::error::CloseReason;
use crate::net::Net;
use crate::reactor::callbacks::About;
use crate::reactor::lint::{Lints, Run};
use crate::wire::Decode;

/// What a run needs besides its connection.
pub(crate) struct Around<'a, N> {
    pub(crate) lints: &'a mut Lints,
    pub(crate) net: &'a N,
    pub(crate) about: About<'a>,
}

impl<N: Net> Around<'_, N> {
    /// Does what [`run`] does, and judges it.
    pub(crate) fn run(
        mut self,
        conn: &mut Conn,
        io: &mut impl Transport,
        buffer: &mut ReadBuffer,
        shared: &mut Shared,
        sink: &mut impl Sink,
    ) -> Moved {
        let begun = self.net.now();
        let event = self.lints.begin_run(self.about, begun);
        let before = Before::of(conn, io, shared);
        let mut timed = Timed { sink, around: &mut self, has_called: false };
        let moved = run(conn, io, buffer, shared, &mut timed);
        let has_moved = timed.has_called || moved.has_any() || before.has_changed(conn, shared);
        let is_spent = before.frame_budgets_spent < shared.counts.frame_budgets_spent;
        self.lints.note_long(self.net, begun);
        let judged = Run {
            event,
            is_open: !before.state.is_ending(),
            was_woken: before.is_woken,
            was_paused: before.is_paused,
            had_output: before.unsent > 0 || before.wants_write,
            has_moved,
            frame_budget_spent: is_spent.then_some(shared.config.frame_budget),
            is_half_closed: is_half_closed(conn),
        };
        self.lints.end_run(self.about, &judged);
        moved
    }
}

/// Whether the peer has finished and output is pending.
pub(crate) fn is_half_closed(conn: &Conn) -> bool {
    matches!(conn.state(), State::HalfClosed | State::FlushingAfterFin { .. }) && conn.unsent_bytes() > 0
}

/// A connection before its run.
struct Before {
    state: State,
    is_woken: bool,
    is_paused: bool,
    unsent: usize,
    wants_write: bool,
    frames_out: u64,
    frame_budgets_spent: u64,
}

impl Before {
    fn of(conn: &Conn, io: &impl Transport, shared: &Shared) -> Self {
        Self {
            state: conn.state(),
            is_woken: conn.is_woken(),
            is_paused: conn.is_input_paused(),
            unsent: conn.unsent_bytes(),
            wants_write: io.wants_write(),
            frames_out: shared.counts.frames_out,
            frame_budgets_spent: shared.counts.frame_budgets_spent,
        }
    }

    /// Whether the run has queued anything, or changed the connection's state.
    fn has_changed(&self, conn: &Conn, shared: &Shared) -> bool {
        let has_queued = self.frames_out != shared.counts.frames_out || self.unsent != conn.unsent_bytes();
        has_queued || self.state != conn.state() || self.is_paused != conn.is_input_paused()
    }
}

/// Times the callbacks of another sink.
struct Timed<'a, 'b, S, N> {
    sink: &'a mut S,
    around: &'a mut Around<'b, N>,
    /// A callback was called, besides `on_wake`.
    has_called: bool,
}

impl<S: Sink, N: Net> Timed<'_, '_, S, N> {
    fn time<R>(&mut self, callback: &'static str, call: impl FnOnce(&mut S) -> R) -> R {
        let begun = self.around.net.now();
        let returned = call(self.sink);
        self.note(callback, begun);
        returned
    }

    /// Notes the end of a callback. Returns the current instant.
    fn note(&mut self, callback: &'static str, begun: Instant) -> Instant {
        let Around { lints, net, about } = &mut *self.around;
        lints.note_callback(*net, callback, *about, begun)
    }
}

impl<S: Sink, N: Net> Sink for Timed<'_, '_, S, N> {
    fn on_frame(&mut self, frame: Frame<'_>, replies: &mut Replies<'_>) {
        self.has_called = true;
        self.time("on_frame", |sink| sink.on_frame(frame, replies));
    }

    fn on_frame_part(&mut self, part: FramePart<'_>, replies: &mut Replies<'_>) {
        self.has_called = true;
        self.time("on_frame_part", |sink| sink.on_frame_part(part, replies));
    }

    /// Times the frames of a read together, or each: then the end of one is the beginning of the next.
    fn on_frames<D: Decode>(&mut self, frames: &mut Frames<'_, D>, replies: &mut Replies<'_>) {
        let mut begun = self.around.net.now();
        if !self.around.lints.times_each_frame() {
            let before = frames.budget;
            self.sink.on_frames(frames, replies);
            let count = before - frames.budget;
            self.has_called |= count > 0;
            let Around { lints, net, about } = &mut *self.around;
            lints.note_frames(*net, count, *about, begun);
            return;
        }
        while let Some(frame) = replies.next_frame(frames) {
            self.has_called = true;
            self.sink.on_frame(frame, replies);
            begun = self.note("on_frame", begun);
        }
    }

    fn on_frame_rejected(&mut self, replies: &mut Replies<'_>, reason: &CloseReason) {
        self.has_called = true;
        self.time("on_frame_rejected", |sink| sink.on_frame_rejected(replies, reason));
    }

    fn on_half_close(&mut self, replies: &mut Replies<'_>) {
        self.has_called = true;
        self.time("on_half_close", |sink| sink.on_half_close(replies));
    }

    fn on_wake(&mut self, replies: &mut Replies<'_>) {
        self.time("on_wake", |sink| sink.on_wake(replies));
    }

    fn on_writable(&mut self, replies: &mut Replies<'_>) {
        self.has_called = true;
        self.time("on_writable", |sink| sink.on_writable(replies));
    }

    fn on_drain(&mut self, replies: &mut Replies<'_>) -> Drain {
        self.has_called = true;
        self.time("on_drain", |sink| sink.on_drain(replies))
    }

    fn make_room(&mut self, held: usize, needed: usize, shared: &mut Shared) -> bool {
        self.sink.make_room(held, needed, shared)
    }
}
