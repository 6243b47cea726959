//! A connection's beginning and its end: each is counted, logged, and told to the handler, exactly once.

use log::{debug, warn};

use crate::addr::PeerAddr;
use crate::conn::Conn;
use crate::conn::io::Transport;
use crate::error::{CausedBy, CloseReason};
use crate::handler::{ConnId, Context, Handler, Peers};
use crate::reactor::clients::{Origin, Seat, Tenant};
use crate::reactor::deadlines::Kind;
use crate::reactor::log_gate::Source;
use crate::reactor::net::Net;
use crate::reactor::sink::{About, guarded, noted};
use crate::reactor::{Life, Reactor};

/// Whether a connection that ends for this reason is closed with a reset.
///
/// Rule: a timeout, an eviction or an abort leaves nothing in the kernel: what the peer has not acknowledged is
/// freed, and the peer sees a reset, not the orderly end of a stream that was cut short. What a drain cuts is sent as far as
/// the kernel has taken it.
fn is_reset(reason: &CloseReason, stream: &impl Transport) -> bool {
    match reason {
        CloseReason::WriteTimeout | CloseReason::Evicted { .. } => true,
        // Where nothing is lost, FIN is enough.
        CloseReason::IdleTimeout
        | CloseReason::Reclaimed
        | CloseReason::FrameTimeout
        | CloseReason::AbortedByHandler => matches!(stream.unacknowledged_bytes(), Ok(Some(1..))),
        // These have sent FIN behind their pending output, and waited for the peer.
        CloseReason::PeerFinished
        | CloseReason::FrameTooLong(_)
        | CloseReason::TruncatedFrame { .. }
        | CloseReason::Reset
        | CloseReason::WriteZero
        | CloseReason::Io(_)
        | CloseReason::ClosedByHandler
        | CloseReason::HandlerPanicked
        | CloseReason::Drained
        | CloseReason::Cut => false,
    }
}

impl<H: Handler, N: Net> Reactor<H, N> {
    /// Tells the handler of a new connection. `None` if it panicked; then there is none.
    pub(crate) fn welcome(
        &mut self,
        id: ConnId,
        stream: N::Stream,
        peer: PeerAddr,
        origin: Origin,
    ) -> Option<Tenant<N::Stream, H::State>> {
        let mut conn = Conn::new();
        conn.pause_input_when_full(origin == Origin::Accepted);
        let Self { handler, clients, shared, gates, .. } = self;
        let outcome = conn.with_replies(shared, |replies| {
            guarded(|| {
                let replies = replies.reborrow();
                handler.on_open(&mut Context { id, peer: &peer, replies, reach: clients })
            })
        });
        let state = noted(outcome, "on_open", About::Conn(id, &peer), shared, &mut gates.panicked);
        let Some(state) = state else {
            conn.release(&mut self.shared);
            return None;
        };
        if conn.has_buffers() {
            self.clients.note_held(id, conn.buffered_bytes(), false, self.now());
        }
        debug!("[{id}] open, {} {peer}", if origin == Origin::Accepted { "from" } else { "to" });
        self.stats.connections += 1;
        self.stats.connections_peak = self.stats.connections_peak.max(self.stats.connections);
        self.deadlines.set(Kind::Idle, id.index, Some(self.now()));
        Some(Tenant { stream, conn, peer, state })
    }

    /// Frees the slots of connections that have ended: only now, when no event of this turn can be about them any more.
    pub(crate) fn reap(&mut self) {
        while let Some(id) = self.clients.ended.pop() {
            let Some(mut client) = self.clients.slots.remove(id) else { continue };
            self.clients.holders.set(&mut client.holding, id.index, 0, false, self.shared.now);
            self.listeners.note_freed();
            match client.seat {
                Seat::Open(tenant) => self.bury(id, client.origin, tenant),
                Seat::Failed(error) => self.tell_dial_failed(id, error),
                Seat::Reserved(_) | Seat::Dialling { .. } | Seat::Out => {}
            }
        }
    }

    /// Closes a connection and tells the handler. Its slot is free.
    fn bury(&mut self, id: ConnId, origin: Origin, tenant: Tenant<N::Stream, H::State>) {
        let Tenant { mut stream, mut conn, peer, state } = tenant;
        let reason = conn.closed().unwrap_or(CloseReason::Cut);
        if is_reset(&reason, &stream) {
            stream.reset();
        }
        drop(stream);
        if conn.is_watched() {
            self.acceptance.forget(id.index);
        }
        if origin == Origin::Accepted {
            self.listeners.note_ended(&peer);
        }
        let unsent_bytes = match reason {
            // It has given its buffers back already.
            CloseReason::Evicted { output, .. } => output as usize,
            _ => conn.unsent_bytes(),
        };
        self.count_out(id, &peer, &reason, unsent_bytes);
        conn.release(&mut self.shared);
        self.deadlines.clear(id.index);
        let Self { handler, clients, shared, gates, .. } = self;
        let mut peers = Peers::new(clients, shared);
        let outcome = guarded(|| handler.on_close(&mut peers, id, state, &reason));
        noted(outcome, "on_close", About::Conn(id, &peer), shared, &mut gates.panicked);
    }

    /// Counts and logs the end of a connection.
    fn count_out(&mut self, id: ConnId, peer: &PeerAddr, reason: &CloseReason, unsent_bytes: usize) {
        self.stats.connections -= 1;
        self.stats.count_closed(reason);
        if self.life != Life::Running {
            match reason {
                CloseReason::Drained | CloseReason::PeerFinished | CloseReason::ClosedByHandler => {
                    self.report.drained += 1;
                }
                _ => {
                    self.report.cut += 1;
                    self.report.unsent_bytes += unsent_bytes as u64;
                }
            }
        }
        self.log_closed(id, peer, reason);
    }

    fn log_closed(&mut self, id: ConnId, peer: &PeerAddr, reason: &CloseReason) {
        let now = self.now();
        match (reason, reason.caused_by()) {
            (CloseReason::Evicted { .. } | CloseReason::Reclaimed, _) | (_, CausedBy::PeerAbruptly) => {
                if self.gates.closed_abruptly.passes(now, Source::of(peer)) {
                    warn!("[{id}] {peer}: closed: {reason}");
                }
            }
            // A panic has had its line.
            _ => debug!("[{id}] {peer}: closed: {reason}"),
        }
    }
}
