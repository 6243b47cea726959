//! What happens at a deadline: the connection has a last look, and ends if it is its peer that is late.

use crate::error::CloseReason;
use crate::handler::{ConnId, Handler};
use crate::reactor::Reactor;
use crate::reactor::deadlines::Kind;
use crate::reactor::net::Net;

/// The most deadlines of a kind that are taken up in one turn: what closing so many connections takes.
const EXPIRY_BUDGET: usize = 32;

impl<H: Handler, N: Net> Reactor<H, N> {
    /// Queues the connections whose deadline has come for a last look, as part of the turn's budget like any other run.
    ///
    /// Rule: a connection is closed at a deadline only after a run of its own that began when the deadline had come.
    ///
    /// What the peer has done may lie in the socket, unseen: the process was stopped, a poll was interrupted or left events
    /// behind, a budget was spent; and the kernel reports room only once a third of a send buffer is free.
    pub(crate) fn expire(&mut self) {
        let now = self.now();
        for kind in Kind::ALL {
            for _ in 0..EXPIRY_BUDGET {
                let Some(index) = self.deadlines.expired(kind, now) else { break };
                let Some(id) = self.clients.slots.id_of(index) else { continue };
                match kind {
                    Kind::Linger => self.clients.cut(id, kind.reason()),
                    Kind::Idle | Kind::Frame | Kind::Write | Kind::Connect => self.clients.note_expired(id, kind),
                }
            }
        }
    }

    /// Closes a connection that has just run and is late all the same; `has_moved` says whether that run moved anything.
    pub(crate) fn judge(&mut self, id: ConnId, has_moved: bool) {
        let expired = self.clients.take_expired(id);
        if expired.is_empty() {
            return;
        }
        if expired.contains(Kind::Connect) {
            self.dial_timed_out(id);
        }
        for kind in [Kind::Idle, Kind::Frame, Kind::Write] {
            if expired.contains(kind) && self.is_late(id, kind, has_moved) {
                self.clients.cut(id, kind.reason());
            }
        }
    }

    /// Whether it is the peer that is late, and not we, now that the connection has looked.
    ///
    /// As long as it has something to do without the peer, the peer is in time. Only with writing it may be late all the
    /// same: who stands in the queue to read need not have found out that there is room.
    fn is_late(&mut self, id: ConnId, kind: Kind, has_moved: bool) -> bool {
        let now = self.now();
        let is_queued = self.clients.is_queued(id);
        let Some(conn) = self.clients.conn_mut(id) else { return false };
        let (since, is_in_time) = match kind {
            Kind::Idle => (Some(now), has_moved || is_queued),
            Kind::Frame => (conn.frame_since(), is_queued || !self.deadlines.is_over(kind, conn.frame_since(), now)),
            // Not whether this look has written: what it owes now may be owed since then.
            Kind::Write => {
                let is_over = |since| self.deadlines.is_over(kind, since, now);
                let is_late = is_over(conn.stalled_since());
                if !is_late && is_over(conn.finished_since()) {
                    // Its peer has finished, and its handler leaves what came before that unread.
                    conn.close(CloseReason::PeerFinished);
                    self.clients.queue(id);
                    return false;
                }
                (conn.write_since(), !is_late)
            }
            Kind::Linger | Kind::Connect => (conn.lingering_since(), false),
        };
        if is_in_time {
            self.deadlines.set(kind, id.index, since);
        }
        !is_in_time
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::config::{Config, ConfigBuilder};
    use crate::frame::encode_header;
    use crate::handler::Echo;
    use crate::reactor::Reactor;
    use crate::sim::Sim;

    const TIMEOUT: Duration = Duration::from_secs(30);

    /// A peer is owed more than its send buffer holds, and reads so little of it in time that the kernel tells nothing: only
    /// the last look finds that. Whether it keeps its connection by reading as many bytes as `reads` says, one after another.
    fn assert_kept(config: ConfigBuilder, then_sends: &[u8], reads: [(usize, bool); 3]) {
        let sim = Sim::new(1);
        sim.set_send_buffer_bytes(300);
        let config = config.write_timeout(Some(TIMEOUT)).frame_timeout(None).build().unwrap();
        let mut reactor = Reactor::with_net(sim.net(), config, Echo).unwrap();
        reactor.listen(&sim.addr(7007)).unwrap();
        let peer = sim.connect(7007).unwrap();
        peer.send(&[&encode_header(1_000)[..], &[7; 1_000]].concat());
        let _ = sim.settle(&mut reactor).unwrap();
        peer.send(then_sends);

        for (bytes, is_kept) in reads {
            assert_eq!(peer.receive_some(bytes).len(), bytes);
            sim.advance(TIMEOUT);
            let _ = reactor.turn(Some(Duration::ZERO)).unwrap();
            reactor.check_invariants();
            assert_eq!(sim.open_sockets() == 1, is_kept, "having read {bytes} bytes: {}", reactor.stats());
        }
    }

    #[test]
    fn a_peer_that_reads_a_little_is_in_time_also_while_it_sends_more_than_a_turn_takes() {
        let frame = [&encode_header(1_000_000)[..], &[7; 999_000]].concat();
        assert_kept(Config::builder().read_budget_bytes(64), &frame, [(50, true), (1, true), (0, false)]);
    }

    #[test]
    fn a_peer_that_reads_a_little_is_in_time_also_when_two_of_its_deadlines_come_at_once() {
        assert_kept(Config::builder().idle_timeout(Some(TIMEOUT)), &[], [(50, true), (1, true), (0, false)]);
    }
}
