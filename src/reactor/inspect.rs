//! What a handler sees of connections by their ids.

use std::time::Duration;

use crate::conn::io::Transport;
use crate::conn::shared::Shared;
use crate::id::ConnId;
use crate::info::{ConnectionInfo, Seen};
use crate::reactor::connections::{Open, Others};
use crate::reactor::reclaim::duration_of_ticks;
use crate::reactor::slots::{Origin, Own};

impl<S: Transport, T> Others<'_, S, T> {
    /// Describes a connection. `own` is what the callback sees of its own, which is borrowed from its slot.
    pub(crate) fn inspect_with(
        &mut self,
        id: ConnId,
        own: Option<Seen<'_>>,
        shared: &Shared,
    ) -> Option<ConnectionInfo> {
        let own = self.own.zip(own).filter(|(own, _)| own.id == id);
        let (Own { origin, active_at, .. }, seen) = match own {
            Some(own) => own,
            None => {
                let slot = self.slots.slot_mut(id)?;
                let own = Own { id, origin: slot.origin(), active_at: slot.active_at() };
                let Open { stream, conn, peer, .. } = slot.phase.open_mut()?;
                (own, Seen { snapshot: conn.snapshot(), peer, local: stream.local_addr() })
            }
        };
        let (peer, local, snapshot) = (seen.peer.clone(), seen.local, seen.snapshot);
        let profile = shared.profiles.profile(snapshot.profile);
        Some(ConnectionInfo {
            id,
            peer,
            local,
            listener: profile.listener,
            is_dialed: origin == Origin::Dialed,
            state: snapshot.state,
            state_name: snapshot.state_name,
            paused_by: snapshot.paused_by,
            pending_input: snapshot.pending_input,
            pending_output: snapshot.pending_output,
            buffered_bytes: snapshot.buffered_bytes,
            idle: self.idle_since(active_at),
            framing: profile.framing,
            limits: profile.limits,
            counters: self.work.counters.of(id.index, shared.now),
        })
    }

    fn idle_since(&self, active_at: u32) -> Duration {
        duration_of_ticks(self.work.tick().wrapping_sub(active_at))
    }
}
