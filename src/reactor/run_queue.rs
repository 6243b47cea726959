//! The connections that have work and need no new event, in the order in which they run.
//!
//! The queue knows of each slot whether its connection is queued, and whether a broadcast can queue it without a look at the slot: the
//! receivers of a broadcast are many, and their slots are seldom in the cache, but eight bytes for each of them take few lines of it.

use std::collections::VecDeque;

use crate::conn::payloads::Deferred;
use crate::conn::profile::ProfileId;
use crate::id::ConnId;
use crate::reactor::slots::Slots;

/// The run queue.
///
/// A connection is in it at most once, whatever events arrive; otherwise a turn would grow with every event for a connection
/// that has spent a budget. An entry can outlive its connection; then it is skipped. In all calls but
/// [`defer_on_idle`](Self::defer_on_idle), an id is that of a connection that exists.
#[derive(Debug, Default)]
pub(crate) struct RunQueue {
    /// Connections that became ready and whose last runs were short. They run first.
    first: VecDeque<ConnId>,
    /// Connections that became ready after a long run, have spent a budget, or were queued by a handler. They run next,
    /// without a new event, in this order.
    waiting: VecDeque<ConnId>,
    /// By slot. A slot beyond the end is as at the beginning.
    places: Vec<Place>,
}

/// What the queue knows of the connection in a slot.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    /// The generation of the connection while it is idle; otherwise 0.
    idle: u32,
    /// The profile of the connection while it is idle.
    profile: u16,
    // Invariant: true exactly while the connection is in the queue.
    is_queued: bool,
    /// The payload of a frame that is pending, and is queued when the connection runs.
    // Invariant: `None` unless the connection is in the queue, or has ended.
    deferred: Option<Deferred>,
}

const _: () = assert!(size_of::<Place>() == 8);

impl RunQueue {
    /// Queues a connection that became ready, unless it is queued. It `goes_first` if its last runs were short.
    #[inline]
    pub(crate) fn push_ready(&mut self, id: ConnId, goes_first: bool) {
        if self.place(id.index).note_queued() {
            if goes_first { self.first.push_back(id) } else { self.waiting.push_back(id) }
        }
    }

    /// Queues a connection behind the others, unless it is queued.
    #[inline]
    pub(crate) fn push(&mut self, id: ConnId) {
        if self.place(id.index).note_queued() {
            self.waiting.push_back(id);
        }
    }

    #[inline]
    fn place(&mut self, index: u32) -> &mut Place {
        let index = index as usize;
        if index >= self.places.len() {
            self.add_places(index + 1);
        }
        &mut self.places[index]
    }

    #[cold]
    fn add_places(&mut self, count: usize) {
        self.places.resize(count, Place::default());
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_empty() && self.waiting.is_empty()
    }

    /// How many run first, and how many wait behind them.
    pub(crate) fn lens(&self) -> (usize, usize) {
        (self.first.len(), self.waiting.len())
    }

    pub(crate) fn next_first(&mut self) -> Option<ConnId> {
        self.first.pop_front()
    }

    pub(crate) fn next_waiting(&mut self) -> Option<ConnId> {
        self.waiting.pop_front()
    }

    /// Notes that a connection has left the queue to run.
    pub(crate) fn note_running(&mut self, id: ConnId) {
        self.place(id.index).is_queued = false;
    }

    pub(crate) fn is_queued(&self, id: ConnId) -> bool {
        self.places.get(id.index as usize).is_some_and(|place| place.is_queued)
    }

    /// Notes that a connection is idle, unless it is queued: it takes output, and nothing is pending.
    ///
    /// Rule: it is idle until it is queued or ends. Whatever else is done with a connection outside of its run queues it.
    #[inline]
    pub(crate) fn note_idle(&mut self, id: ConnId, profile: ProfileId) {
        // A number that is too long is rare.
        let Some(profile) = profile.short() else { return };
        let place = self.place(id.index);
        if !place.is_queued {
            (place.idle, place.profile) = (id.generation, profile);
        }
    }

    /// Notes that a connection has ended.
    pub(crate) fn note_ended(&mut self, id: ConnId) {
        self.place(id.index).idle = 0;
    }

    /// Notes that a slot is freed.
    pub(crate) fn forget(&mut self, index: u32) {
        let place = self.place(index);
        debug_assert!(place.deferred.is_none(), "its payload would be held forever");
        *place = Place::default();
    }

    /// Notes the frame that a connection defers, and queues the connection.
    pub(crate) fn defer(&mut self, id: ConnId, deferred: Deferred) {
        self.place(id.index).deferred = Some(deferred);
        self.push(id);
    }

    /// Does the same for the first of these connections, up to the first that is not idle or has another profile. Returns for how
    /// many.
    ///
    /// This loop is what a broadcast to idle connections costs.
    pub(crate) fn defer_on_idle(&mut self, to: &[ConnId], deferred: Deferred, profile: ProfileId) -> usize {
        let Some(profile) = profile.short() else { return 0 };
        let queued_before = self.waiting.len();
        for &id in to {
            let Some(place) = self.places.get_mut(id.index as usize) else { break };
            if place.idle != id.generation || place.profile != profile {
                break;
            }
            *place = Place { is_queued: true, deferred: Some(deferred), ..Place::default() };
            self.waiting.push_back(id);
        }
        self.waiting.len() - queued_before
    }

    pub(crate) fn has_deferred(&self, id: ConnId) -> bool {
        self.places.get(id.index as usize).is_some_and(|place| place.deferred.is_some())
    }

    /// The frame that a connection has deferred, which is to be queued now.
    #[inline]
    pub(crate) fn take_deferred(&mut self, id: ConnId) -> Option<Deferred> {
        self.place(id.index).deferred.take()
    }

    /// Whether a connection is idle, and the frame that it has deferred.
    #[cfg(test)]
    pub(crate) fn inspect(&self, id: ConnId) -> (bool, Option<Deferred>) {
        let place = self.places.get(id.index as usize).copied().unwrap_or_default();
        assert!(place.idle == 0 || place.idle == id.generation, "[{id}] is idle with another generation: {place:?}");
        (place.idle != 0, place.deferred)
    }

    /// Whether the connection that has waited longest had a long run recently.
    pub(crate) fn is_next_long<P: Default>(&self, slots: &Slots<P>) -> bool {
        let next = self.waiting.front().and_then(|id| slots.slot(*id));
        next.is_some_and(|slot| !slot.goes_first())
    }

    /// Visits the connections that were queued last, latest first, until `is_new` is false for one of those that run first, and for
    /// one of the others.
    pub(crate) fn visit_new(&self, mut is_new: impl FnMut(ConnId) -> bool) {
        for queue in [&self.first, &self.waiting] {
            // It counts nothing, but stops at the first that is not new.
            let _ = queue.iter().rev().take_while(|id| is_new(**id)).count();
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = ConnId> {
        self.first.iter().chain(&self.waiting).copied()
    }
}

impl Place {
    /// Notes that the connection is put in the queue. Returns whether it was not in it.
    #[inline]
    fn note_queued(&mut self) -> bool {
        self.idle = 0;
        !std::mem::replace(&mut self.is_queued, true)
    }
}
