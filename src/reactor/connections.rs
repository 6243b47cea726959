//! The connections of a reactor: the content of the slots, and what a callback can do with other connections than its own.

use std::time::Instant;

use crate::address::{Dial, PeerAddr};
use crate::config::Config;
use crate::conn::Conn;
use crate::conn::io::Readiness;
use crate::conn::shared::Shared;
use crate::conn::turn::Moved;
use crate::error::{CloseReason, DialError};
use crate::id::ConnId;
use crate::reactor::deadlines::{Kind, Kinds};
use crate::reactor::slots::{Origin, OtherSlots, Own, Slot, Slots};
use crate::reactor::traced::SocketCounts;
use crate::reactor::work::Work;

/// The connections by slot, and their pending work.
#[derive(Debug)]
pub(crate) struct Connections<S, T> {
    pub(crate) slots: Slots<Phase<S, T>>,
    pub(crate) work: Work,
    pub(crate) sockets: SocketCounts,
}

/// What a slot holds.
#[derive(Debug, Default)]
pub(crate) enum Phase<S, T> {
    #[default]
    Vacant,
    /// A dial that has not begun.
    Reserved(Dial),
    /// A connect attempt, with what the kernel has reported meanwhile, and the addresses that are still to be tried or the options
    /// of the dial.
    Dialing {
        stream: S,
        peer: PeerAddr,
        readiness: Readiness,
        rest: Option<Box<Dial>>,
    },
    /// A connection for which `on_open` is being called.
    Opening,
    Open(Open<S, T>),
    /// A dial that has failed.
    Failed(DialError),
}

/// A connection's slot.
pub(crate) type ConnSlot<S, T> = Slot<Phase<S, T>>;

/// An open connection.
#[derive(Debug)]
pub(crate) struct Open<S, T> {
    pub(crate) stream: S,
    pub(crate) conn: Conn,
    pub(crate) peer: PeerAddr,
    pub(crate) state: T,
}

/// All connections except the one that a callback is about.
#[derive(Debug)]
pub(crate) struct Others<'a, S, T> {
    pub(crate) slots: OtherSlots<'a, Phase<S, T>>,
    pub(crate) work: &'a mut Work,
    pub(crate) sockets: &'a SocketCounts,
    pub(crate) own: Option<Own>,
}

/// A connection's slot, and all others.
pub(crate) type Split<'a, S, T> = (&'a mut ConnSlot<S, T>, Others<'a, S, T>);

impl<S, T> Connections<S, T> {
    pub(crate) fn new(config: &Config, now: Instant) -> Self {
        Self { slots: Slots::new(), work: Work::new(config, now), sockets: SocketCounts::default() }
    }

    #[inline]
    pub(crate) fn all(&mut self) -> Others<'_, S, T> {
        Others { slots: self.slots.all(), work: &mut self.work, sockets: &self.sockets, own: None }
    }

    /// Returns what `on_open` can reach while the connection's slot is [`Opening`](Phase::Opening).
    pub(crate) fn all_but_opening(&mut self, id: ConnId) -> Others<'_, S, T> {
        let origin = self.slots.slot(id).map_or(Origin::Accepted, Slot::origin);
        let own = Own { id, origin, active_at: self.work.tick() };
        Others { slots: self.slots.all(), work: &mut self.work, sockets: &self.sockets, own: Some(own) }
    }

    /// A connection's slot, and all others.
    #[inline]
    pub(crate) fn split(&mut self, id: ConnId) -> Option<Split<'_, S, T>> {
        let (slot, slots) = self.slots.split(id)?;
        let own = Own { id, origin: slot.origin(), active_at: slot.active_at() };
        Some((slot, Others { slots, work: &mut self.work, sockets: &self.sockets, own: Some(own) }))
    }

    /// Notes an event. Returns whether its connection exists.
    #[inline]
    pub(crate) fn note_ready(&mut self, id: ConnId, reported: Readiness) -> bool {
        let Some(slot) = self.slots.slot_mut(id) else { return false };
        match &mut slot.phase {
            Phase::Open(open) => open.conn.note_ready(reported),
            Phase::Dialing { readiness, .. } => *readiness |= reported,
            Phase::Vacant | Phase::Reserved(_) | Phase::Opening | Phase::Failed(_) => {}
        }
        self.work.queue.push_ready(id, slot.goes_first());
        true
    }

    /// Takes a connection that is about to run off the queue, so that it may be queued again. Returns the deadlines that have
    /// passed since its last run.
    pub(crate) fn dequeue(&mut self, id: ConnId) -> Option<Kinds> {
        let slot = self.slots.slot_mut(id)?;
        self.work.queue.note_running(id);
        Some(slot.take_expired())
    }

    /// Connections and connect attempts: all that have a socket.
    pub(crate) fn sockets(&self) -> usize {
        self.slots.len() - self.work.reserved()
    }

    pub(crate) fn is_queued(&self, id: ConnId) -> bool {
        self.work.queue.is_queued(id)
    }

    pub(crate) fn open_mut(&mut self, id: ConnId) -> Option<&mut Open<S, T>> {
        self.slots.slot_mut(id)?.phase.open_mut()
    }

    /// Notes that a deadline has passed, and queues the connection: it runs once more before it is closed.
    pub(crate) fn note_expired(&mut self, id: ConnId, kind: Kind) {
        let Some(slot) = self.slots.slot_mut(id) else { return };
        slot.note_expired(kind);
        if let Some(open) = slot.phase.open_mut() {
            open.conn.look_again();
        }
        self.work.queue.push(id);
    }

    /// Frees a slot.
    pub(crate) fn remove(&mut self, id: ConnId) -> Option<Phase<S, T>> {
        let phase = self.slots.remove(id)?;
        self.work.queue.forget(id.index);
        Some(phase)
    }

    /// Aborts a connection; its slot is freed at the end of the turn.
    pub(crate) fn abort(&mut self, id: ConnId, reason: CloseReason) {
        if let Some(open) = self.open_mut(id) {
            open.conn.abort(reason);
            self.work.note_ended(id);
        }
    }

    /// Aborts all connections, and fails all dials.
    pub(crate) fn abort_all(&mut self, reason: CloseReason) {
        let mut all = self.all();
        all.fail_dials(DialError::Canceled);
        for (id, slot) in all.slots.iter_mut() {
            if let Some(open) = slot.phase.open_mut() {
                open.conn.abort(reason);
                all.work.note_ended(id);
            }
        }
    }

    /// Begins to drain all connections, and fails all dials.
    pub(crate) fn drain_all(&mut self) {
        let mut all = self.all();
        all.fail_dials(DialError::Canceled);
        for (id, slot) in all.slots.iter_mut() {
            if let Some(open) = slot.phase.open_mut() {
                open.conn.drain();
                all.work.queue.push(id);
            }
        }
    }

    /// Notes that a connect attempt has begun.
    pub(crate) fn begin_attempt(&mut self, id: ConnId, stream: S, peer: PeerAddr) {
        let Some(slot) = self.slots.slot_mut(id) else { return };
        let rest = match std::mem::take(&mut slot.phase) {
            Phase::Reserved(dial) if dial.has_next() || dial.options().is_some() => Some(Box::new(dial)),
            _ => None,
        };
        slot.phase = Phase::Dialing { stream, peer, readiness: Readiness::default(), rest };
        self.work.note_unreserved();
    }

    /// Whether a connect attempt is under way.
    pub(crate) fn is_dialing(&self, id: ConnId) -> bool {
        self.slots.slot(id).is_some_and(|slot| matches!(slot.phase, Phase::Dialing { .. }))
    }

    /// After a failed connect attempt, dials the next address if there is one and it may succeed; otherwise the dial fails.
    pub(crate) fn dial_next_or_fail(&mut self, id: ConnId, error: DialError) {
        let Some(slot) = self.slots.slot_mut(id) else { return };
        if error.is_of_address() {
            match &mut slot.phase {
                Phase::Reserved(dial) if dial.has_next() => return self.work.queue_dial(id),
                Phase::Dialing { rest, .. } => {
                    if let Some(dial) = rest.take_if(|dial| dial.has_next()) {
                        slot.phase = Phase::Reserved(*dial);
                        self.work.note_reserved();
                        return self.work.queue_dial(id);
                    }
                }
                Phase::Vacant | Phase::Reserved(_) | Phase::Opening | Phase::Open(_) | Phase::Failed(_) => {}
            }
        }
        self.all().fail(id, error);
    }
}

impl<S, T> Phase<S, T> {
    #[inline]
    pub(crate) fn open_mut(&mut self) -> Option<&mut Open<S, T>> {
        match self {
            Self::Open(open) => Some(open),
            Self::Vacant | Self::Reserved(_) | Self::Dialing { .. } | Self::Opening | Self::Failed(_) => None,
        }
    }
}

impl<S, T> Others<'_, S, T> {
    /// Notes what a connection's run has moved, and queues the connection again if it has more to do.
    #[inline]
    pub(crate) fn note_run(&mut self, id: ConnId, slot: &mut ConnSlot<S, T>, moved: Moved) {
        let is_woken = self.work.take_woken();
        if moved.has_any() {
            slot.note_active(self.work.tick());
        }
        slot.note_run_len(moved.bytes());
        self.work.counters.add(id.index, moved);
        let Some(open) = slot.phase.open_mut() else { return };
        if is_woken {
            open.conn.wake();
        }
        let wants_turn = open.conn.wants_turn() || is_woken;
        if open.conn.closed().is_some() {
            self.work.note_ended(id);
        } else {
            self.work.queue_or_note_idle(id, &open.conn, wants_turn);
        }
    }

    pub(crate) fn insert(&mut self, origin: Origin, phase: Phase<S, T>) -> ConnId {
        self.slots.insert(origin, self.work.tick(), phase)
    }

    /// Queues a connection behind the others, unless it is queued.
    pub(crate) fn queue(&mut self, id: ConnId) {
        if self.slots.slot_mut(id).is_some() {
            self.work.queue.push(id);
        }
    }

    /// Fails a dial that has not succeeded yet; its slot is freed at the end of the turn. Returns whether there was one.
    pub(crate) fn fail(&mut self, id: ConnId, error: DialError) -> bool {
        let Some(slot) = self.slots.slot_mut(id) else { return false };
        match &slot.phase {
            Phase::Reserved(_) => self.work.note_unreserved(),
            Phase::Dialing { .. } => {}
            Phase::Vacant | Phase::Opening | Phase::Open(_) | Phase::Failed(_) => return false,
        }
        slot.phase = Phase::Failed(error);
        self.work.note_ended(id);
        true
    }

    fn fail_dials(&mut self, error: DialError) {
        let is_dial = |slot: &ConnSlot<S, T>| matches!(slot.phase, Phase::Reserved(_) | Phase::Dialing { .. });
        let dials = self.slots.iter_mut().filter(|(_, slot)| is_dial(slot));
        for id in dials.map(|(id, _)| id).collect::<Vec<_>>() {
            self.fail(id, error);
        }
    }

    /// Frees the buffers of a connection and closes it; its slot is freed at the end of the turn.
    pub(crate) fn evict(&mut self, index: u32, shared: &mut Shared) {
        let Some(id) = self.slots.id_of(index) else { return };
        #[cfg(test)]
        self.check_victim(id);
        let Some(slot) = self.slots.slot_mut(id) else { return };
        self.work.eviction.set(&mut slot.eviction_entry, index, 0, false, shared.now);
        if let Some(open) = slot.phase.open_mut() {
            open.conn.evict((0, 0), shared);
            self.work.note_ended(id);
        }
    }

    /// Panics unless the connection to be evicted has buffers, and no other connection has larger ones if they are large. The
    /// running connection is excepted.
    ///
    /// The lists are exact to an eighth, and one connection may be protected.
    #[cfg(test)]
    fn check_victim(&mut self, id: ConnId) {
        let buffered = |slot: &mut ConnSlot<S, T>| slot.phase.open_mut().map(|open| open.conn.buffered_bytes());
        let Some(held) = self.slots.slot_mut(id).and_then(buffered) else { panic!("[{id}] is no connection") };
        assert!(held > 0, "[{id}] is evicted, and has no buffers");
        for (other, slot) in self.slots.iter_mut() {
            let Some(more) = buffered(slot) else { continue };
            let is_sound = self.work.eviction.is_protected(other.index) || !self.work.eviction.goes_before(more, held);
            assert!(is_sound, "[{id}] is evicted with {held} bytes, [{other}] has {more}");
        }
    }
}
