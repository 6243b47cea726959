//! How a connection opens and closes: each is counted, logged and reported to the handler exactly once.

use log::{debug, warn};

use crate::address::PeerAddr;
use crate::conn::Conn;
use crate::conn::handover::Handover;
use crate::conn::io::{Readiness, Transport};
use crate::conn::profile::ProfileId;
use crate::error::{CausedBy, CloseReason, DialError};
use crate::handler::{Connection, Handler};
use crate::id::ConnId;
use crate::net::{Detached, Net, Released};
use crate::reactor::callbacks::{About, guarded, noted};
use crate::reactor::connections::{Connections, Open, Phase};
use crate::reactor::deadlines::Kind;
use crate::reactor::drain_report::CutConnection;
use crate::reactor::event::ConnectionEvent;
use crate::reactor::log_limit::{CONN, Source};
use crate::reactor::sending::queue_deferred;
use crate::reactor::slots::Origin;
use crate::reactor::{Life, Reactor, lint_turn};

/// Whether a connection that ends for this reason is closed with a reset.
///
/// Rule: a timeout, an eviction or an abort leaves nothing in the kernel. Unacknowledged output is freed, and the peer sees a
/// reset, not the clean end of a truncated stream. An abort by the handler is a reset even if nothing is lost: ABORT of RFC 9293,
/// section 3.10.5. When a drain aborts a connection, the kernel still sends what it has accepted.
fn is_reset(reason: &CloseReason, stream: &impl Transport) -> bool {
    match reason {
        CloseReason::WriteTimeout | CloseReason::Evicted { .. } => true,
        CloseReason::AbortedByHandler => true,
        // FIN is enough if nothing is lost.
        CloseReason::IdleTimeout | CloseReason::Reclaimed | CloseReason::FrameTimeout => {
            stream.wants_write() || matches!(stream.unacknowledged_bytes(), Ok(Some(1..)))
        }
        // These have sent FIN after their pending output, and waited for the peer.
        CloseReason::PeerFinished
        | CloseReason::FrameTooLong(_)
        | CloseReason::InvalidLength(_)
        | CloseReason::TruncatedFrame { .. }
        | CloseReason::Reset
        | CloseReason::WriteZero
        | CloseReason::Io(_)
        | CloseReason::ClosedByHandler
        | CloseReason::HandlerPanicked
        | CloseReason::Drained
        | CloseReason::Cut => false,
        // Other code has it.
        CloseReason::Detached => false,
    }
}

/// The pending input and output of a connection that has ended, in bytes.
fn pending_at_end(reason: &CloseReason, conn: &Conn) -> (usize, usize) {
    match *reason {
        // It has released its buffers already.
        CloseReason::Evicted { input, output } => (input as usize, output as usize),
        _ => conn.held_bytes(),
    }
}

impl<H: Handler, N: Net> Reactor<H, N> {
    /// Calls `on_open` for a connection whose slot is taken. Returns whether the connection is open; if the handler panicked,
    /// it is not, and its slot is free.
    ///
    /// It takes one user of the profile over.
    pub(super) fn open(
        &mut self,
        id: ConnId,
        stream: N::Stream,
        peer: PeerAddr,
        profile: ProfileId,
        readiness: Readiness,
    ) -> bool {
        let is_running = self.life == Life::Running;
        let Self { handler, connections, shared, log_limits, lints, net, .. } = self;
        let Some(origin) = connections.slots.slot(id).map(|slot| slot.origin()) else { return false };
        let mut conn = Conn::new(profile);
        let pauses = shared.profiles.limits(profile).pause_input_when_full;
        conn.pause_input_when_full(pauses.unwrap_or(origin != Origin::Dialed));
        let mut others = connections.all_but_opening(id);
        others.work.counters.open(id.index, shared.now);
        let begun = lint_turn::begun(lints.as_deref(), net);
        let outcome = conn.with_replies(Some(&stream), shared, |replies| {
            let replies = replies.reborrow();
            guarded(|| handler.on_open(&mut Connection { id, peer: &peer, replies, reach: &mut others }))
        });
        lint_turn::ended(lints.as_deref_mut(), net, "on_open", About::Conn(id, &peer), begun);
        let is_woken = others.work.take_woken();
        let state = noted(outcome, "on_open", About::Conn(id, &peer), shared, &mut log_limits.panicked);
        let Some(state) = state else {
            conn.release(shared);
            conn.release_profile(shared);
            connections.remove(id);
            return false;
        };
        conn.note_ready(readiness);
        if !is_running {
            conn.drain();
        }
        let is_dialed = origin == Origin::Dialed;
        debug!(target: CONN, "[{id}] open, {} {peer}", if is_dialed { "to" } else { "from" });
        connections.work.stats.note_open(is_dialed);
        match origin {
            Origin::Accepted => self.per_ip.note_open(&peer),
            Origin::Apart => self.listeners.note_apart_open(shared.profiles.profile(conn.profile()).listener),
            Origin::Dialed => {}
        }
        if shared.profiles.rules(conn.profile()).has_own_timeouts {
            self.deadlines.set_limits(id.index, shared.profiles.limits(conn.profile()));
        }
        self.deadlines.set(Kind::Idle, id.index, Some(shared.now));
        let Connections { slots, work, .. } = connections;
        let Some(slot) = slots.slot_mut(id) else { return false };
        if conn.has_buffers() {
            work.eviction.set(&mut slot.eviction_entry, id.index, conn.buffered_bytes(), false, shared.now);
        }
        if is_woken {
            conn.wake();
            work.queue.push(id);
        }
        slot.phase = Phase::Open(Open { stream, conn, peer, state });
        true
    }

    /// Frees the slots of connections that have closed, when no event of this turn can name them any more.
    #[inline]
    pub(super) fn reap(&mut self) {
        while let Some(id) = self.connections.work.next_ended() {
            self.free(id);
        }
    }

    fn free(&mut self, id: ConnId) {
        let Connections { slots, work, .. } = &mut self.connections;
        let Some(slot) = slots.slot_mut(id) else { return };
        let origin = slot.origin();
        queue_deferred(id, slot, work, &mut self.shared);
        work.eviction.set(&mut slot.eviction_entry, id.index, 0, false, self.shared.now);
        let phase = self.connections.remove(id);
        self.listeners.note_freed();
        match phase {
            Some(Phase::Open(open)) => self.close(id, origin, open),
            Some(Phase::Failed(error)) => self.report_failed_dial(id, error),
            Some(Phase::Vacant | Phase::Reserved(_) | Phase::Dialing { .. } | Phase::Opening) | None => {}
        }
    }

    /// Closes a connection's socket and calls `on_close`. Its slot is free.
    fn close(&mut self, id: ConnId, origin: Origin, open: Open<N::Stream, H::State>) {
        let Open { mut stream, mut conn, peer, mut state } = open;
        let reason = conn.closed().unwrap_or(CloseReason::Cut);
        let mut detached = None;
        if reason == CloseReason::Detached {
            detached = Some(self.detach(stream, &peer, &mut conn));
        } else {
            if is_reset(&reason, &stream) {
                stream.reset();
            }
            drop(stream);
        }
        if conn.is_watched() {
            self.write_progress.forget(id.index);
        }
        match origin {
            Origin::Accepted => self.per_ip.note_ended(&peer),
            Origin::Apart => self.listeners.note_apart_ended(self.shared.profiles.profile(conn.profile()).listener),
            Origin::Dialed => {}
        }
        let pending = pending_at_end(&reason, &conn);
        self.recordings.note_closed(id, self.shared.now, reason, pending);
        self.count_closed(&reason);
        let is_cut = self.life != Life::Running && self.report_ended(id, &peer, &reason, &conn, pending);
        if !is_cut {
            self.log_closed(id, &peer, &reason);
        }
        conn.release(&mut self.shared);
        conn.release_profile(&mut self.shared);
        self.deadlines.clear(id.index);
        let about = About::Conn(id, &peer);
        if let Some(detached) = detached {
            self.call("on_detach", about, |handler, cx| handler.on_detach(cx, id, &mut state, detached));
        }
        self.call("on_close", about, |handler, cx| handler.on_close(cx, id, state, &reason));
    }

    /// Takes a connection's socket out of the readiness queue, for other code.
    fn detach(&mut self, stream: N::Stream, peer: &PeerAddr, conn: &mut Conn) -> Detached {
        let Handover { unread, unsent } = conn.take_handover();
        let Released { fd, lease } = self.net.release(stream);
        Detached { fd, peer: peer.clone(), unread, unsent, lease }
    }

    /// Calls `on_dial_failed`. The dial's slot is free.
    fn report_failed_dial(&mut self, id: ConnId, error: DialError) {
        debug!(target: CONN, "[{id}] not connected: {error}");
        self.connections.work.stats.dials_failed += 1;
        self.deadlines.clear(id.index);
        self.call("on_dial_failed", About::Dial(id), |handler, cx| handler.on_dial_failed(cx, id, &error));
    }

    fn count_closed(&mut self, reason: &CloseReason) {
        self.connections.work.stats.connections -= 1;
        self.connections.work.stats.count_closed(reason);
    }

    /// Adds a connection that has ended to the report of the drain. Logs it, and returns `true`, if the deadline of the drain has
    /// cut it with something to finish.
    fn report_ended(
        &mut self,
        id: ConnId,
        peer: &PeerAddr,
        reason: &CloseReason,
        conn: &Conn,
        (undelivered_bytes, unsent_bytes): (usize, usize),
    ) -> bool {
        let ended = CutConnection {
            id,
            peer: peer.clone(),
            reason: *reason,
            unsent_bytes: unsent_bytes as u64,
            undelivered_bytes: undelivered_bytes as u64,
            is_awaited: conn.is_awaited(),
        };
        self.report.note_ended(&ended);
        let is_cut = *reason == CloseReason::Cut && self.life != Life::Stopped && ended.is_unfinished();
        if is_cut && self.log_limits.cut.passes(self.now(), Source::of(peer)) {
            let awaited = if ended.is_awaited { "; the drain waited for the handler" } else { "" };
            warn!(
                target: CONN,
                "[{id}] {peer}: cut by the deadline of the drain: pending: {undelivered_bytes} bytes of input, \
                 {unsent_bytes} bytes of output{awaited}"
            );
        }
        is_cut
    }

    fn log_closed(&mut self, id: ConnId, peer: &PeerAddr, reason: &CloseReason) {
        let now = self.now();
        let event = ConnectionEvent::Closed(*reason);
        match (reason, reason.caused_by()) {
            (CloseReason::Evicted { .. } | CloseReason::Reclaimed, _) | (_, CausedBy::PeerAbruptly) => {
                if self.log_limits.closed_abruptly.passes(now, Source::of(peer)) {
                    warn!(target: CONN, "[{id}] {peer}: {event}");
                }
            }
            // The panic was logged.
            _ => debug!(target: CONN, "[{id}] {peer}: {event}"),
        }
    }
}
