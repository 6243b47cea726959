//! The invariants between two turns, and a connection's state for tests.

use std::time::Duration;

use crate::conn::payloads::RECORD_LEN;
use crate::handler::Handler;
use crate::id::ConnId;
use crate::info::ConnectionCounters;
use crate::net::Net;
use crate::reactor::Reactor;
use crate::reactor::connections::{Open, Phase};
use crate::reactor::deadlines::Kind;

impl<H: Handler, N: Net> Reactor<H, N> {
    /// Panics if an invariant does not hold.
    pub(crate) fn check_invariants(&self) {
        let shared = &self.shared;
        let config = &self.config;
        assert!(self.read_buffer.is_empty(), "the read buffer is empty between turns");
        assert!(self.connections.work.is_reaped(), "slots of ended connections are freed in the turn of their end");

        let mut buffered = 0;
        let mut sharing = (0, 0);
        let mut dialing = 0;
        let mut queued = 0;
        let mut watched = 0;
        let queue = &self.connections.work.queue;
        queue.check_vacant(|index| self.connections.slots.id_of(index).is_none());
        for (id, slot) in self.connections.slots.iter() {
            let conn = match &slot.phase {
                Phase::Open(open) => &open.conn,
                Phase::Reserved(_) | Phase::Dialing { .. } => {
                    queue.check(id, false, None);
                    dialing += 1;
                    let is_dialed = matches!(slot.phase, Phase::Dialing { .. });
                    let is_set = self.deadlines.is_set(Kind::Connect, id.index) || slot.has_expired(Kind::Connect);
                    assert_eq!(is_set, is_dialed, "[{id}] connect deadline");
                    assert!(is_dialed || self.connections.work.is_to_dial(id), "[{id}] is forgotten");
                    queued += usize::from(self.connections.is_queued(id));
                    continue;
                }
                Phase::Vacant | Phase::Opening => panic!("[{id}] is neither open nor dialed"),
                Phase::Failed(error) => panic!("[{id}] has failed and was not reported: {error}"),
            };
            conn.check(shared);
            buffered += conn.buffered_bytes();
            let (slices, bytes) = conn.shared_counts();
            sharing = (sharing.0 + slices, sharing.1 + bytes);
            queue.check(id, conn.may_defer(), Some(conn.profile()));
            if let Some(deferred) = self.deferred_len(id) {
                assert!(!conn.has_buffers(), "[{id}] has deferred not all that is pending: {conn:?}");
                buffered += RECORD_LEN + deferred;
                sharing = (sharing.0 + 1, sharing.1 + deferred);
            }
            let noted = self.connections.work.eviction.held(slot.eviction_entry);
            assert_eq!(noted, conn.buffered_bytes(), "[{id}] is found at the memory limit by what it holds");
            let is_queued = self.connections.is_queued(id);
            queued += usize::from(is_queued);
            assert!(is_queued || !conn.wants_turn(), "[{id}] has work that no event will announce: {conn:?}");
            let is_set = |kind| self.deadlines.is_set(kind, id.index) || slot.has_expired(kind);
            let is_due = self.deadlines.is_on(Kind::Frame, id.index) && conn.frame_since().is_some();
            assert_eq!(is_set(Kind::Frame), is_due, "[{id}] frame deadline of {conn:?}");
            assert_eq!(is_set(Kind::Write), conn.is_watched(), "[{id}] write deadline of {conn:?}");
            let is_watched = conn.is_watched() || is_queued || !self.deadlines.is_on(Kind::Write, id.index);
            assert!(is_watched || !conn.is_to_be_watched(), "[{id}] output without a deadline: {conn:?}");
            watched += usize::from(conn.is_watched());
        }
        assert!(self.write_progress.len() <= watched, "a window belongs to a connection that is watched");
        let (slices, once) = shared.pool.shared_counts();
        assert_eq!(sharing.0, slices, "a shared payload is held as often as it is pending");
        let used = buffered - sharing.1 + once;
        assert_eq!(shared.pool.used_bytes(), used, "the accounted bytes are those that connections own or share");
        assert!(used <= config.memory, "{used} bytes are buffered");
        let sleeps = queued > 0 && self.sleep(None) != Some(Duration::ZERO);
        assert!(!sleeps, "the next poll does not sleep while a connection waits for its turn");
        let queue_entries = queue.iter().filter(|id| self.connections.slots.slot(*id).is_some()).count();
        // A closed connection may leave an entry, which finds nothing.
        assert_eq!(queue_entries, queued, "a connection is in the queue at most once");
        let stats = &self.connections.work.stats;
        assert_eq!(stats.connections as usize, self.connections.slots.len() - dialing, "connections are counted");
        let limited = self.connections.sockets() - self.listeners.apart();
        assert!(limited <= config.max_connections, "connections are limited");
        let users = stats.connections as usize + self.listeners.len();
        assert_eq!(shared.profiles.users(), users, "a profile is kept for its connections and its listener");
        let moved_max = stats.turn_bytes_max;
        assert!(moved_max <= config.turn_budget as u64, "{moved_max} bytes were moved in one turn");
        let begun = stats.accepted + stats.dialed;
        assert_eq!(begun, stats.connections + stats.closed_total(), "who was accepted or dialed is open or has ended");
    }

    /// The length of the payload of the frame that a connection has deferred.
    fn deferred_len(&self, id: ConnId) -> Option<usize> {
        let deferred = self.connections.work.queue.deferred(id)?;
        Some(self.shared.pool.deferred_len(deferred))
    }

    /// How many connections became ready and go first, because their last runs were short.
    pub(crate) fn clients_going_first(&self) -> usize {
        self.connections.work.queue.lens().0
    }

    /// Lets the generations of ids wrap after `count` more connections.
    pub(crate) fn wrap_generations_after(&mut self, count: u32) {
        self.connections.slots.wrap_after(count);
    }

    pub(crate) fn clients_ids(&self) -> Vec<ConnId> {
        self.connections.slots.iter().map(|(id, _)| id).collect()
    }

    /// The counters of a connection, if they are on. After it has closed, they stay until another one opens in its slot.
    pub(crate) fn counters_of(&self, id: ConnId) -> Option<ConnectionCounters> {
        self.connections.work.counters.of(id.index, self.shared.now)
    }

    pub(crate) fn inspect(&self, id: ConnId) -> Option<Inspected> {
        let Phase::Open(Open { conn, .. }) = &self.connections.slots.slot(id)?.phase else { return None };
        Some(Inspected {
            is_queued: self.connections.is_queued(id),
            is_input_paused: conn.is_input_paused(),
            is_ending: conn.state().is_ending(),
            is_taking_frames: conn.state().takes_frames(),
            unsent_bytes: conn.unsent_bytes() + self.deferred_len(id).unwrap_or(0),
        })
    }
}

/// One connection between two turns.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Inspected {
    /// It runs in the next turn.
    pub(crate) is_queued: bool,
    /// No frame is delivered for now.
    pub(crate) is_input_paused: bool,
    pub(crate) is_ending: bool,
    /// Open or draining: the peer's end was not found.
    pub(crate) is_taking_frames: bool,
    pub(crate) unsent_bytes: usize,
}
