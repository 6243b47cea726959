//! The connections that have work and need no new event, in the order in which they run.
//!
//! The queue has eight bytes for each slot: whether its connection is queued, whether it is idle, and the frame that it defers. A broadcast
//! reads these instead of the slots of its receivers, which are seldom in the cache.

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
    /// By slot. One beyond the end is as if it were vacant.
    by_slot: Vec<SlotState>,
}

/// What the queue knows of the connection in a slot.
#[derive(Debug, Clone, Copy, Default)]
struct SlotState {
    /// The generation of the connection while it is idle: it takes output, nothing is pending, and it is not queued. Otherwise 0.
    idle_generation: u32,
    /// The profile of the connection while it is idle.
    profile: u16,
    // Invariant: true exactly while the connection is in the queue.
    is_queued: bool,
    /// The payload of a frame that is pending, and is queued when the connection runs.
    // Invariant: `None` unless the connection is in the queue, or has ended.
    deferred: Option<Deferred>,
}

const _: () = assert!(size_of::<SlotState>() == 8);

impl RunQueue {
    /// Queues a connection that became ready, unless it is queued. It `goes_first` if its last runs were short.
    #[inline]
    pub(crate) fn push_ready(&mut self, id: ConnId, goes_first: bool) {
        if self.slot(id.index).note_queued() {
            if goes_first { self.first.push_back(id) } else { self.waiting.push_back(id) }
        }
    }

    /// Queues a connection behind the others, unless it is queued.
    #[inline]
    pub(crate) fn push(&mut self, id: ConnId) {
        if self.slot(id.index).note_queued() {
            self.waiting.push_back(id);
        }
    }

    #[inline]
    fn slot(&mut self, index: u32) -> &mut SlotState {
        let index = index as usize;
        if index >= self.by_slot.len() {
            self.add_slots(index + 1);
        }
        &mut self.by_slot[index]
    }

    #[cold]
    fn add_slots(&mut self, count: usize) {
        self.by_slot.resize(count, SlotState::default());
    }

    fn slot_of(&self, id: ConnId) -> SlotState {
        self.by_slot.get(id.index as usize).copied().unwrap_or_default()
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
        self.slot(id.index).is_queued = false;
    }

    pub(crate) fn is_queued(&self, id: ConnId) -> bool {
        self.slot_of(id).is_queued
    }

    /// Notes that a connection, which takes output and has nothing pending, is idle unless it is queued.
    ///
    /// Rule: it is idle until it is queued or ends. Whatever else is done with a connection outside of its run queues it.
    #[inline]
    pub(crate) fn note_idle(&mut self, id: ConnId, profile: ProfileId) {
        // A number that is too long is rare.
        let Some(profile) = profile.short() else { return };
        let slot = self.slot(id.index);
        if !slot.is_queued {
            (slot.idle_generation, slot.profile) = (id.generation, profile);
        }
    }

    /// Notes that a connection has ended.
    pub(crate) fn note_ended(&mut self, id: ConnId) {
        self.slot(id.index).idle_generation = 0;
    }

    /// Notes that a slot is freed.
    pub(crate) fn forget(&mut self, index: u32) {
        let slot = self.slot(index);
        debug_assert!(slot.deferred.is_none(), "its payload would be held forever");
        *slot = SlotState::default();
    }

    /// Notes the frame that a connection defers, and queues the connection.
    pub(crate) fn defer(&mut self, id: ConnId, deferred: Deferred) {
        let earlier = self.slot(id.index).deferred.replace(deferred);
        debug_assert!(earlier.is_none(), "[{id}] has deferred a frame already");
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
            debug_assert!(id.generation > 0, "no connection has this id");
            let Some(slot) = self.by_slot.get_mut(id.index as usize) else { break };
            if slot.idle_generation != id.generation || slot.profile != profile {
                break;
            }
            *slot = SlotState { is_queued: true, deferred: Some(deferred), ..SlotState::default() };
            self.waiting.push_back(id);
        }
        self.waiting.len() - queued_before
    }

    pub(crate) fn has_deferred(&self, id: ConnId) -> bool {
        self.slot_of(id).deferred.is_some()
    }

    /// The frame that a connection has deferred, which is to be queued now.
    #[inline]
    pub(crate) fn take_deferred(&mut self, id: ConnId) -> Option<Deferred> {
        self.slot(id.index).deferred.take()
    }

    /// The id of the connection in a slot while it is idle.
    pub(crate) fn idle_id(&self, index: u32) -> Option<ConnId> {
        let generation = self.by_slot.get(index as usize)?.idle_generation;
        (generation > 0).then_some(ConnId { index, generation })
    }

    /// The frame that a connection has deferred.
    #[cfg(test)]
    pub(crate) fn deferred(&self, id: ConnId) -> Option<Deferred> {
        self.slot_of(id).deferred
    }

    /// Panics unless a connection `may_defer` if it is idle, has this profile then, and is in the queue if it has deferred a frame.
    #[cfg(test)]
    pub(crate) fn check(&self, id: ConnId, may_defer: bool, profile: Option<ProfileId>) {
        let slot = self.slot_of(id);
        let is_idle = slot.idle_generation > 0;
        let is_right =
            slot.idle_generation == id.generation && profile.and_then(ProfileId::short) == Some(slot.profile);
        assert!(!is_idle || is_right && may_defer && !slot.is_queued, "[{id}] is not idle: {slot:?}");
        assert!(slot.deferred.is_none() || slot.is_queued, "[{id}] has deferred a frame, and does not run");
    }

    /// Panics if anything is noted of a slot that is vacant.
    #[cfg(test)]
    pub(crate) fn check_vacant(&self, is_vacant: impl Fn(u32) -> bool) {
        for (slot, index) in self.by_slot.iter().zip(0..) {
            let is_empty = slot.idle_generation == 0 && !slot.is_queued && slot.deferred.is_none();
            assert!(is_empty || !is_vacant(index), "slot {index} is vacant: {slot:?}");
        }
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

impl SlotState {
    /// Notes that the connection is put in the queue. Returns whether it was not in it.
    #[inline]
    fn note_queued(&mut self) -> bool {
        self.idle_generation = 0;
        !std::mem::replace(&mut self.is_queued, true)
    }
}
