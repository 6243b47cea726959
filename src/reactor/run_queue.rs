//! The connections that have work and need no new event, in the order in which they run.

use std::collections::VecDeque;

use crate::id::ConnId;
use crate::reactor::slots::{Slot, Slots};

/// The run queue.
///
/// A connection is in it at most once, whatever events arrive; otherwise a turn would grow with every event for a connection
/// that has spent a budget. An entry can outlive its connection; then it is skipped.
#[derive(Debug, Default)]
pub(crate) struct RunQueue {
    /// Connections that became ready and whose last runs were short. They run first.
    first: VecDeque<ConnId>,
    /// Connections that became ready after a long run, have spent a budget, or were queued by a handler. They run next,
    /// without a new event, in this order.
    waiting: VecDeque<ConnId>,
}

impl RunQueue {
    /// Queues a connection that became ready, unless it is queued.
    #[inline]
    pub(crate) fn push_ready<P>(&mut self, id: ConnId, slot: &mut Slot<P>) {
        let goes_first = slot.goes_first();
        if slot.note_queued() {
            if goes_first { self.first.push_back(id) } else { self.waiting.push_back(id) }
        }
    }

    /// Queues a connection behind the others, unless it is queued.
    #[inline]
    pub(crate) fn push<P>(&mut self, id: ConnId, slot: &mut Slot<P>) {
        if slot.note_queued() {
            self.waiting.push_back(id);
        }
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
