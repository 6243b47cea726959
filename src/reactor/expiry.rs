//! What happens at a deadline: the connection has a last look, and ends if it is its peer that is late.

use crate::handler::{ConnId, Handler};
use crate::reactor::Reactor;
use crate::reactor::deadlines::Kind;
use crate::reactor::net::Net;

/// The most connections whose deadline has come that are looked at in one turn.
const EXPIRY_BUDGET: usize = 1_024;

impl<H: Handler, N: Net> Reactor<H, N> {
    /// Closes connections whose deadline has come.
    pub(crate) fn expire(&mut self) {
        let now = self.now();
        let mut due = Vec::new();
        for kind in Kind::ALL {
            while due.len() < EXPIRY_BUDGET
                && let Some(index) = self.deadlines.expired(kind, now)
            {
                due.push((index, kind));
            }
        }
        // Only now: whoever is not late has the same deadline again, and is looked at again in the next turn.
        for (index, kind) in due {
            if let Some(id) = self.clients.slots.id_of(index)
                && self.is_late(id, kind)
            {
                self.clients.cut(id, kind.reason());
            }
        }
    }

    /// Whether it is the peer that is late, and not we.
    ///
    /// What the peer has done may lie in the socket, unseen: the process was stopped, a poll was interrupted or left events
    /// behind, a budget was spent; and the kernel reports room only once a third of a send buffer is free. So the connection
    /// looks for itself first, and as long as it has something to do without the peer, the peer is in time.
    fn is_late(&mut self, id: ConnId, kind: Kind) -> bool {
        if kind == Kind::Linger {
            return true;
        }
        let before = (self.bench.supplies.counts.frames_in, self.stats.bytes_out);
        // Also one that stands in the queue: its share may be some turns away.
        let Some(mut tenant) = self.clients.borrow(id) else { return false };
        tenant.conn.look_again();
        self.run_tenant(id, tenant);
        let has_answered = self.bench.supplies.counts.frames_in > before.0;
        let has_written = self.stats.bytes_out > before.1;
        let is_queued = self.clients.is_queued(id);
        let Some(conn) = self.clients.conn_mut(id) else { return false };
        let (since, is_in_time) = match kind {
            Kind::Idle => (Some(self.bench.supplies.now), has_answered || has_written || is_queued),
            Kind::Frame => (conn.frame_since(), has_answered || is_queued),
            Kind::Write => (conn.stalled_since(), has_written),
            Kind::Linger => (conn.lingering_since(), false),
        };
        if is_in_time {
            self.deadlines.set(kind, id.index, since);
        }
        !is_in_time && since.is_some()
    }
}
