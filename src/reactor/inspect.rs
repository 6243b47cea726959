//! What a handler sees of connections by their ids.

use crate::conn::io::Transport;
use crate::conn::shared::Shared;
use crate::handler::Handler;
use crate::id::ConnId;
use crate::info::{ConnectionInfo, Seen};
use crate::net::Net;
use crate::reactor::Reactor;
use crate::reactor::connections::{Open, Others};
use crate::reactor::reclaim::duration_of_ticks;
use crate::reactor::sending::queue_deferred;
use crate::reactor::slots::{Origin, Own};
use crate::reactor::work::Work;

impl<S: Transport, T> Others<'_, S, T> {
    /// Describes a connection. `own` is what the callback sees of its own, which is borrowed from its slot.
    pub(crate) fn inspect_with(
        &mut self,
        id: ConnId,
        own: Option<Seen<'_>>,
        shared: &mut Shared,
    ) -> Option<ConnectionInfo> {
        let own = self.own.zip(own).filter(|(own, _)| own.id == id);
        let (own_of, seen) = match own {
            Some(own) => own,
            None => {
                let slot = self.slots.slot_mut(id)?;
                queue_deferred(id, slot, self.work, shared);
                let own = Own { id, origin: slot.origin(), active_at: slot.active_at() };
                let Open { stream, conn, peer, .. } = slot.phase.open_mut()?;
                (own, Seen { snapshot: conn.snapshot(), peer, local: stream.local_addr() })
            }
        };
        Some(describe(own_of, seen, self.work, shared))
    }
}

fn describe(own: Own, seen: Seen<'_>, work: &Work, shared: &Shared) -> ConnectionInfo {
    let (Own { id, origin, active_at }, Seen { snapshot, peer, local }) = (own, seen);
    let profile = shared.profiles.profile(snapshot.profile);
    ConnectionInfo {
        id,
        peer: peer.clone(),
        local,
        listener: profile.listener,
        is_dialed: origin == Origin::Dialed,
        state: snapshot.state,
        state_name: snapshot.state_name,
        paused_by: snapshot.paused_by,
        pending_input: snapshot.pending_input,
        pending_output: snapshot.pending_output,
        buffered_bytes: snapshot.buffered_bytes,
        idle: duration_of_ticks(work.tick().wrapping_sub(active_at)),
        framing: profile.framing,
        limits: profile.limits,
        counters: work.counters.of(id.index, shared.now),
    }
}

/// The progress of [`Reactor::scan`](crate::Reactor::scan): the slot that is visited next.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Scan {
    next_slot: u32,
}

impl<H: Handler, N: Net> Reactor<H, N> {
    /// Describes the connections in the next `slots` slots, between turns. Returns whether there are more slots.
    ///
    /// With many connections, a visit to all of them takes long: scan some, run a turn, and go on. A connection that exists from the
    /// beginning of a scan to its end is visited once; one that opens or closes meanwhile is visited once or not at all. Slots
    /// are used again, so there are about as many as there ever were connections at a time.
    ///
    /// It makes no system call, so [`ConnectionInfo::local`] is `None`.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use frameloop::{Config, Echo, Reactor, Scan};
    ///
    /// let mut reactor = Reactor::new(Config::default(), Echo)?;
    /// let (mut scan, mut pending) = (Scan::default(), 0);
    /// while reactor.scan(&mut scan, 512, |info| pending += info.pending_output) {
    ///     let _ = reactor.turn(Some(Duration::ZERO))?;
    /// }
    /// assert_eq!(pending, 0);
    /// # Ok::<(), frameloop::Error>(())
    /// ```
    pub fn scan(&mut self, scan: &mut Scan, slots: usize, mut visit: impl FnMut(&ConnectionInfo)) -> bool {
        self.shared.now = self.net.now();
        let end = self.connections.slots.end();
        let begin = scan.next_slot as usize;
        let until = end.min(begin.saturating_add(slots));
        let mut all = self.connections.all();
        for index in begin..until {
            let Some(id) = all.slots.id_of(index as u32) else { continue };
            let Some(slot) = all.slots.slot_mut(id) else { continue };
            queue_deferred(id, slot, all.work, &mut self.shared);
            let own = Own { id, origin: slot.origin(), active_at: slot.active_at() };
            let Some(Open { conn, peer, .. }) = slot.phase.open_mut() else { continue };
            let seen = Seen { snapshot: conn.snapshot(), peer, local: None };
            visit(&describe(own, seen, all.work, &self.shared));
        }
        scan.next_slot = until as u32;
        until < end
    }
}
